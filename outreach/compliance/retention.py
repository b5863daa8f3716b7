"""PURE: how long what is kept is kept, within which bounds that may be changed, and when it is looked at.

What proves a permission or an objection has no limit, nor has what dedupes: the ledger, digests, ids.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """One kind of what is kept. `default`, `least` and `most` in its unit; default None: kept for ever unless somebody sets it."""

    unit: Literal["days", "months"]
    default: int | None
    least: int
    most: int
    what: str
    stays: str


#: In the order in which a run takes them.
KINDS: Mapping[str, Keeping] = {
    "messages": Keeping(
        unit="days", default=180, least=7, most=3650, what="words and raw form of what came in",
        stays="its id, its class, who wrote it and when; what is not understood yet; what an open task is about",
    ),
    "bodies": Keeping(
        unit="days", default=365, least=30, most=3650, what="the words that were sent",
        stays="the ledger row with its digest; the words of open calls and of tasks in somebody's hands",
    ),
    "notices": Keeping(
        unit="days", default=30, least=1, most=365, what="notices that were delivered or given up", stays="alerts as they stand",
    ),
    "profiles": Keeping(
        unit="days", default=None, least=30, most=3650, what="attributes of people who were never contacted",
        stays="the person, their handles, permissions and objections",
    ),
    "events": Keeping(
        unit="months", default=24, least=2, most=120, what="whole months of the log: exported, then dropped",
        stays="the export with its digest; months that are not sealed",
    ),
}  # fmt: skip
#: The hour, UTC, from which the daily run begins; it may begin within this many hours.
_HOUR, _HOURS = 2, 4
#: A platform that asks for a message to be deleted wants it within a day; one whose access has ended, within ten business days.
MESSAGE_WITHIN = timedelta(hours=24)
ACCESS_BUSINESS_DAYS = 10
#: So long before its time something open is an alarm, and what would hold it up does not any more.
PRESSING = timedelta(hours=4)
#: An access that ended may have been ended by mistake: until so long before the end nothing of it is deleted.
_LAST_DAY = timedelta(days=1)


def limits(policy: Mapping[str, Any]) -> dict[str, int | None]:
    """Kind -> how long it is kept, in its unit; None: for ever. `policy`: the instance's."""
    said = policy.get("retention", {})
    return {name: said.get(name, kind.default) for name, kind in KINDS.items()}


def wrong(name: str, amount: int) -> str | None:
    """Why this is no limit for the kind; None: it is one."""
    kind = KINDS[name]
    if kind.least <= amount <= kind.most:
        return None
    return f"{name} are kept for {kind.least} to {kind.most} {kind.unit}, not {amount}"


def cutoff(name: str, amount: int, now: datetime) -> datetime:
    """What is not younger than this instant has been kept for long enough. Events: the first instant of the oldest month that stays."""
    if KINDS[name].unit == "days":
        return now - timedelta(days=amount)
    year, month = divmod(now.astimezone(UTC).year * 12 + now.astimezone(UTC).month - 1 - amount, 12)
    return datetime(year, month + 1, 1, tzinfo=UTC)


def cutoffs(policy: Mapping[str, Any], now: datetime) -> dict[str, datetime]:
    """Of every kind that has a limit."""
    return {name: cutoff(name, amount, now) for name, amount in limits(policy).items() if amount is not None}


def is_time(now: datetime, last: datetime) -> bool:
    """Is the daily run to begin? Once in a night; where the nights were missed, whenever it can."""
    since = now - last
    at_night = _HOUR <= now.astimezone(UTC).hour < _HOUR + _HOURS
    return since >= timedelta(hours=36) or (at_night and since >= timedelta(hours=20))


def access_ends(ended_at: datetime) -> tuple[datetime, datetime]:
    """From when, and by when, what an account wrote and received is deleted once our access to it has ended."""
    due, left = ended_at, ACCESS_BUSINESS_DAYS
    while left:
        due += timedelta(days=1)
        left -= due.weekday() < 5
    return due - _LAST_DAY, due


def spelt(name: str, amount: int | None) -> str:
    """As people read it."""
    return "for ever" if amount is None else f"{amount} {KINDS[name].unit}"


def gone_words(why: str | None, name: str, policy: Mapping[str, Any]) -> str:
    """What stands in place of words that are gone. `why`: inbound.gone; `name`: the kind that they were of."""
    if why == "deleted":
        return "(gone: its author deleted it)"
    if why == "purged":
        return "(gone: deleted with the account)"
    return f"(gone: kept {spelt(name, limits(policy)[name])})"
