"""Caps, pure: what `8/hour; 40/date` means, since when it counts, when it frees, and what we allow by default.

The rule, shared by the ledger and by both limiters: a row has `effect_by`, the last instant at which the provider
can have accepted it. A window of W at t counts the rows with effect_by > t - W. A local date counts the rows whose
[started_at, effect_by] touches it; as nothing starts in the future, for today that is effect_by >= midnight.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from types import MappingProxyType
from zoneinfo import ZoneInfo

from outreach.errors import UsageError

_UNITS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}
_DATE = "date"
_PART = re.compile(r"(\d{1,7}) */ *(\d{1,7})? *([a-z]+)", re.IGNORECASE)
_LONGEST_WINDOW = 366 * 86_400
#: The longest local date there is: 24 h and a clock set back by two.
_LONGEST_DATE = timedelta(hours=26)
_HINT = "write number/window and put ; between caps, as in 8/hour; 40/day; 40/date; 15/15minute; 200/week"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """At most `limit` effects in any `seconds` (rolling), or, where seconds is None, on any local date."""

    limit: int
    seconds: int | None

    def __post_init__(self) -> None:
        # Zero would ask for "the zeroth newest effect", which never exists: the cap would let everything through.
        if self.limit < 1:
            raise ValueError(f"a cap of {self.limit} allows nothing")
        if self.seconds is not None and not 1 <= self.seconds <= _LONGEST_WINDOW:
            raise ValueError(f"a window of {self.seconds} s is not within 1 s and 366 days")

    @property
    def length(self) -> timedelta:
        """How far back the cap can look: its window; for a local date the longest date there is."""
        return _LONGEST_DATE if self.seconds is None else timedelta(seconds=self.seconds)

    def since(self, now: datetime, zone: str) -> datetime:
        """Where the counting starts: now - window (exclusive), or the first instant of the local date (inclusive)."""
        if self.seconds is None:
            return _midnight(now, zone)
        return now - timedelta(seconds=self.seconds)

    def counts(self, effect_by: datetime, now: datetime, zone: str) -> bool:
        """Does a row that started at or before `now` count at `now`?"""
        since = self.since(now, zone)
        return effect_by >= since if self.seconds is None else effect_by > since

    def frees_at(self, nth_newest_effect_by: datetime, now: datetime, zone: str) -> datetime:
        """The first instant at which the `limit`-th newest effect no longer counts, if nothing else happens.

        A call that is still open over midnight may then turn out to touch the new date too; that is judged then.
        """
        if self.seconds is None:
            return _next_midnight(now, zone)
        return nth_newest_effect_by + timedelta(seconds=self.seconds)

    def __str__(self) -> str:
        if self.seconds is None:
            return f"{self.limit}/{_DATE}"
        unit, size = next((u, s) for u, s in reversed(_UNITS.items()) if self.seconds % s == 0)
        multiple = self.seconds // size
        return f"{self.limit}/{'' if multiple == 1 else multiple}{unit}"


def _midnight(now: datetime, zone: str) -> datetime:
    """The first instant of now's local date, in UTC. Where 00:00 is skipped, the instant of the skip (PEP 495, fold 0)."""
    return _start_of(now.astimezone(_zone(zone)).date(), _zone(zone), fold=0)


def _next_midnight(now: datetime, zone: str) -> datetime:
    """The first instant after `now` that belongs to the next local date, in UTC."""
    tomorrow = now.astimezone(_zone(zone)).date() + timedelta(days=1)
    first = _start_of(tomorrow, _zone(zone), fold=0)
    # A clock set back just after midnight enters the same date twice.
    return first if first > now else _start_of(tomorrow, _zone(zone), fold=1)


def _start_of(day: date, zone: ZoneInfo, fold: int) -> datetime:
    return datetime.combine(day, time(fold=fold), tzinfo=zone).astimezone(UTC)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise UsageError(
            f"there is no time zone {name!r}", hint="use an IANA name, as in Europe/Berlin"
        ) from None


# --- text ------------------------------------------------------------------------------------------------------


def parse_caps(text: str) -> tuple[Cap, ...]:
    """`8/hour; 40/date` as caps, in the author's order. Raises UsageError that names the part at fault."""
    caps = tuple(_parse_part(part.strip(), text) for part in re.split("[;,]", text.strip().rstrip(";")))
    for index, cap in enumerate(caps):
        if any(cap.seconds == earlier.seconds for earlier in caps[:index]):
            raise UsageError(
                f"caps {text!r}: {cap} gives a window that was given before", hint="keep the lower one"
            )
    return caps


def format_caps(caps: Iterable[Cap]) -> str:
    """The text that `parse_caps` reads back to the same caps."""
    return "; ".join(map(str, caps))


def _parse_part(part: str, text: str) -> Cap:
    match = _PART.fullmatch(part)
    if match is None:
        raise UsageError(f"caps {text!r}: {part!r} is not a cap", hint=_HINT)
    limit, multiple, window = int(match[1]), match[2], match[3].lower()
    if limit == 0:
        raise UsageError(
            f"caps {text!r}: {part!r} allows nothing",
            hint="to stop sending, pause the account or the sequence",
        )
    return Cap(limit=limit, seconds=_seconds(multiple, window, f"caps {text!r}: {part!r}"))


def _seconds(multiple: str | None, window: str, where: str) -> int | None:
    if window == _DATE:
        if multiple is not None:
            raise UsageError(f"{where}: a local date has no multiple", hint=_HINT)
        return None
    unit = _UNITS.get(window.removesuffix("s"))
    if unit is None:
        raise UsageError(
            f"{where}: {window!r} is not a window", hint=f"windows are {', '.join(_UNITS)} and {_DATE}"
        )
    seconds = unit * int(multiple or 1)
    if not 1 <= seconds <= _LONGEST_WINDOW:
        raise UsageError(f"{where}: a window is at least 1 second and at most 366 days")
    return seconds


# --- judging ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """A cap and the `cap.limit`-th newest effect_by of what it governs (None: there are fewer, so there is room)."""

    cap: Cap
    nth_newest: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The cap that binds longest, and the first instant at which it does no more."""

    cap: Cap
    until: datetime


def judge_caps(counted: Iterable[Counted], now: datetime, zone: str) -> Refusal | None:
    """None: one more fits under every cap. Otherwise the refusal that lasts longest, the first of equals."""
    refusals = [
        Refusal(cap=c.cap, until=c.cap.frees_at(c.nth_newest, now, zone))
        for c in counted
        if c.nth_newest is not None and c.cap.counts(c.nth_newest, now, zone)
    ]
    return max(refusals, key=lambda refusal: refusal.until, default=None)


def capacity(used: Iterable[tuple[Cap, int]], most: int) -> int:
    """How many more fit now: what the tightest cap leaves, within 0 and `most`. `used`: each cap with what it counts."""
    return max(0, min([most, *(cap.limit - count for cap, count in used)]))


def paced_starts(
    pace: timedelta, last_started_at: datetime | None, now: datetime, horizon: timedelta, most: int
) -> int:
    """How many may start in [now, now + horizon], each at least `pace` after the one before; at most `most`."""
    if not pace:
        return most
    first = now if last_started_at is None else max(now, last_started_at + pace)
    return min(most, max(0, (now + horizon - first) // pace + 1))


# --- what we allow where nobody says otherwise --------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Default:
    """Caps with where they come from. Always below what the provider publishes: accounts are also used by hand."""

    caps: tuple[Cap, ...]
    source: str


def _default(text: str, source: str) -> Default:
    return Default(caps=parse_caps(text), source=source)


#: Per account, by action kind.
DEFAULT_CAPS: Mapping[str, Default] = MappingProxyType(
    {
        "FOLLOW_ON_TWITTER": _default(
            "8/hour; 40/day",
            "X API docs, rate limits (2026-08): 50 per 15 min and user; older follows page: 400 per day and user",
        ),
        "UNFOLLOW_ON_TWITTER": _default(
            "8/hour; 40/day",
            "X API docs, rate limits (2026-08): 50 per 15 min and user; kept equal to follows",
        ),
        "SEND_TWITTER_DM": _default(
            "8/hour; 40/day",
            "X API docs, rate limits (2026-08): 15 per 15 min and 1,440 per 24 h and user; policy asks for far less",
        ),
        "SEND_CONNECTION_REQUEST": _default(
            "5/hour; 20/date; 80/week",
            "Unipile docs, provider limits: 80-100 per day and about 200 per week (paid); 150 per week without a note (free)",
        ),
        "SEND_LINKEDIN_DM": _default(
            "10/hour; 50/day",
            "no official figure; about 100 per day is the guidance of gateways",
        ),
        "SEND_XMTP_DM": _default(
            "40/hour; 200/day",
            "XMTP docs, rate limits: 3,000 writes per 5 min and client; a person's inbox bears far less",
        ),
        "SEND_EMAIL": _default(
            "60/hour; 400/day",
            "Google Workspace help, sending limits: 2,000 per rolling day and user, 500 while in trial",
        ),
    }
)
_BY_HAND = "our choice: what one person does with attention in a day; the account's caps hold beside it"
#: Per account, by action kind: what humans do by hand. What the engine did by the same account does not count here.
DEFAULT_TASK_CAPS: Mapping[str, Default] = MappingProxyType(
    {
        "FOLLOW_ON_TWITTER": _default("40/date", _BY_HAND),
        "UNFOLLOW_ON_TWITTER": _default("40/date", _BY_HAND),
        "SEND_TWITTER_DM": _default("40/date", _BY_HAND),
        "SEND_CONNECTION_REQUEST": _default("20/date; 80/week", _BY_HAND),
        "SEND_LINKEDIN_DM": _default("50/date", _BY_HAND),
        "SEND_XMTP_DM": _default("50/date", _BY_HAND),
        "SEND_EMAIL": _default("50/date", _BY_HAND),
    }
)
#: Per developer app, by action kind: all accounts of one app share the provider's bucket.
DEFAULT_APP_CAPS: Mapping[str, Default] = MappingProxyType(
    {
        "SEND_TWITTER_DM": _default(
            "1400/day",
            "X API docs, rate limits (2026-08): 1,440 per 24 h and app; 40 are left for sends made outside the engine",
        ),
    }
)
#: Least time between two starts of one action kind on one account, by channel, in seconds. Never derived from a cap.
DEFAULT_PACE: Mapping[str, int] = MappingProxyType({"twitter": 60, "linkedin": 120, "xmtp": 5, "email": 10})
