"""PURE: sending windows on local wall clocks. Open means: the wall clock of the zone stands inside the window.

Where a clock change skips the opening, the window opens at the change; where one repeats an hour, the wall clock is
believed both times. A window whose `end` is not after its `start` runs over midnight and belongs to the day it began.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from outreach.engine.graph import Window

_DAY = timedelta(days=1)
#: Two weeks and a day: a zone may skip a whole date when it moves over the date line.
_HORIZON_DAYS = 15


def zone_of(window: Window, person_zone: str | None, account_zone: str) -> ZoneInfo | None:
    """The zone whose wall clock counts. Unknown ones fall back to the account's; None: that one is unknown too."""
    wanted = {"lead": person_zone, "account": account_zone}.get(window.zone, window.zone)
    return _zone(wanted) or _zone(account_zone)


def _zone(name: str | None) -> ZoneInfo | None:
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # misspelt, absolute, or a folder of the database
        return None


def is_open(window: Window, zone: ZoneInfo, now: datetime) -> bool:
    """Is the instant inside the window?"""
    local = now.astimezone(zone)
    today, clock = local.weekday(), local.time()
    if window.start < window.end:
        return today in window.days and window.start <= clock < window.end
    yesterday = (today - 1) % 7
    return (today in window.days and clock >= window.start) or (
        yesterday in window.days and clock < window.end
    )


def next_opening(window: Window, zone: ZoneInfo, now: datetime) -> datetime | None:
    """The first instant from `now` on that is inside the window (`now` itself if it is); None: it never opens."""
    if is_open(window, zone, now):
        return now
    first = now.astimezone(zone).date() - _DAY
    for offset in range(_HORIZON_DAYS + 1):
        turns = _turning_points(window, zone, first + offset * _DAY)
        openings = [at for at in turns if at > now and is_open(window, zone, at)]
        if openings:
            return min(openings)
    return None


def _turning_points(window: Window, zone: ZoneInfo, day: date) -> Iterator[datetime]:
    """Where the window can open on that local date: at its start (twice, if the hour is repeated) and at a clock change."""
    for fold in (0, 1):
        yield _instant(day, window.start, zone, fold)
    begins, ends = _instant(day, time(), zone), _instant(day + _DAY, time(), zone)
    if _offset(begins, zone) != _offset(ends, zone):
        yield _clock_change(begins, ends, zone)


def _clock_change(low: datetime, high: datetime, zone: ZoneInfo) -> datetime:
    """The first whole second in (low, high] that has high's offset."""
    after = _offset(high, zone)
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
        low, high = (low, middle) if _offset(middle, zone) == after else (middle, high)
    return high


def _instant(day: date, clock: time, zone: ZoneInfo, fold: int = 0) -> datetime:
    return datetime.combine(day, clock, tzinfo=zone).replace(fold=fold).astimezone(UTC)


def _offset(at: datetime, zone: ZoneInfo) -> timedelta | None:
    return at.astimezone(zone).utcoffset()
