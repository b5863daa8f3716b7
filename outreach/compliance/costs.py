"""What a step costs: a human's minutes, and the provider's price. Facts with their source and date; nothing is guessed.

What no entry names is unknown, and is said to be.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from outreach.engine.kinds import ActionKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars per call, as the provider publishes it."""

    dollars: Decimal
    source: str
    as_of: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Minutes:
    """How long a human needs for one: open it, read it, do it, say so."""

    minutes: Decimal
    why: str


_X_PRICING = "X API docs, pricing (pay-per-use, since February 2026)"


def _x(dollars: str) -> Price:
    return Price(dollars=Decimal(dollars), source=_X_PRICING, as_of=date(2026, 8, 22))


#: Per call by the engine. What a human does in the platform's own app is no call.
PRICES: Mapping[ActionKind, Price] = {
    ActionKind.SEND_TWITTER_DM: _x("0.015"),
    ActionKind.FOLLOW_ON_TWITTER: _x("0.015"),
    ActionKind.UNFOLLOW_ON_TWITTER: _x("0.010"),
}
#: A look at one person: whose id a handle is, or whether they follow us.
USER_READ = _x("0.010")
#: A direct message that came in, pushed or read.
MESSAGE_READ = _x("0.010")

#: Of tasks, by what is to be done. Ours, from trying it; your own stop-watch knows better.
MINUTES: Mapping[ActionKind, Minutes] = {
    ActionKind.SEND_TWITTER_DM: Minutes(minutes=Decimal(1), why="open the conversation, read, paste, send"),
    ActionKind.FOLLOW_ON_TWITTER: Minutes(minutes=Decimal("0.5"), why="open the profile, follow"),
    ActionKind.UNFOLLOW_ON_TWITTER: Minutes(minutes=Decimal("0.5"), why="open the profile, unfollow"),
    ActionKind.SEND_CONNECTION_REQUEST: Minutes(
        minutes=Decimal("1.5"), why="open the profile, read it, paste the note, invite"
    ),
    ActionKind.SEND_LINKEDIN_DM: Minutes(minutes=Decimal(1), why="open the conversation, read, paste, send"),
    ActionKind.SEND_XMTP_DM: Minutes(minutes=Decimal(1), why="open the conversation, read, paste, send"),
    ActionKind.SEND_EMAIL: Minutes(minutes=Decimal(1), why="open a draft, read, paste, send"),
}
#: A look at a message that waits for somebody's OK (`review_first`).
REVIEW = Minutes(minutes=Decimal("0.5"), why="read, say yes or no")
