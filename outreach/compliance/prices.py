"""What providers charge us per call and per event, as data with source and date. Facts of the world like a policy pack: look again in time.

Estimates: a provider's own bill is the truth. What is not listed is not known here, and is said to be so, never taken for free.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from types import MappingProxyType

from outreach.engine.kinds import ActionKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars for one."""

    usd: Decimal
    what: str
    source: str
    read_on: date


def _x(usd: str, what: str) -> Price:
    return Price(
        usd=Decimal(usd), what=what, source="X API docs, pricing (pay per use)", read_on=date(2026, 8, 22)
    )


#: Per action that the provider took.
ACTIONS: Mapping[ActionKind, Price] = MappingProxyType(
    {
        ActionKind.SEND_TWITTER_DM: _x("0.015", "DM: create"),
        ActionKind.FOLLOW_ON_TWITTER: _x("0.015", "follow: create"),
        ActionKind.UNFOLLOW_ON_TWITTER: _x("0.010", "interaction: delete"),
    }
)
#: A look at one person: whose id a handle is, or whether they follow us.
USER_READ = _x("0.010", "user: read")
#: Per thing that came in, by channel, kind and way. X bills no `dm.sent` and no `dm.read`; repeated reads of a UTC day are billed once.
ARRIVALS: Mapping[tuple[str, str, str], Price] = MappingProxyType(
    {
        ("twitter", "message_in", "webhook"): _x("0.010", "activity event dm.received"),
        ("twitter", "followed_us", "webhook"): _x("0.010", "activity event follow.follow"),
        ("twitter", "we_followed", "webhook"): _x("0.010", "activity event follow.follow"),
        ("twitter", "unfollowed_us", "webhook"): _x("0.010", "activity event follow.unfollow"),
        ("twitter", "we_unfollowed", "webhook"): _x("0.010", "activity event follow.unfollow"),
        ("twitter", "message_in", "poll"): _x("0.010", "DM event: read"),
        ("twitter", "message_out", "poll"): _x("0.010", "DM event: read"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """An estimate, and how many acts of which kind have no price here."""

    usd: Decimal
    without_price: Mapping[str, int]


def cost_of(acts: Mapping[str, int], arrivals: Mapping[tuple[str, str, str], int]) -> Cost:
    """Of so many acts per kind, and so many arrivals per (channel, kind, way)."""
    usd, unknown = Decimal(0), {}
    for kind, count in acts.items():
        price = ACTIONS.get(ActionKind(kind)) if kind in ActionKind.__members__ else None
        if price is None:
            unknown[kind] = count
        else:
            usd += price.usd * count
    for key, count in arrivals.items():
        usd += ARRIVALS[key].usd * count if key in ARRIVALS else 0
    return Cost(usd=usd, without_price=unknown)
