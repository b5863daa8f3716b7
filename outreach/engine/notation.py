"""The small notations inside a sequence file: durations, weekdays, times of day, zone names. None: not readable."""

import re
from datetime import time, timedelta
from functools import cache
from zoneinfo import available_timezones

#: Longer than this is a slip of the finger, not a plan.
LONGEST_DURATION = timedelta(days=731)
DURATION_HINT = (
    "Write a number and a unit: 30s, 15m, 2h, 3d, 1w, or together, as in 1d12h; two years at most."
)
DAYS_HINT = "Write days as mon-fri, as mon,wed,fri or as a list; all week is mon-sun."
TIME_HINT = 'Write a time of day as "09:00" (24 hours).'

_DURATION = re.compile(
    r"(?:(\d{1,9})w)?(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?", re.ASCII
)
_UNIT_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
#: Zones that are looked up when a lead is known: the person's, or the sending account's.
RELATIVE_ZONES = ("lead", "account")


def parse_duration(text: str) -> timedelta | None:
    """`1d12h` as a timedelta: largest unit first, each at most once."""
    compact = text.replace(" ", "")
    found = _DURATION.fullmatch(compact)
    if not compact or found is None:
        return None
    seconds = sum(int(n or 0) * unit for n, unit in zip(found.groups(), _UNIT_SECONDS.values(), strict=True))
    return timedelta(seconds=seconds) if seconds <= LONGEST_DURATION.total_seconds() else None


def format_duration(duration: timedelta) -> str:
    """The shortest text that `parse_duration` reads back as the same whole seconds."""
    left, parts = int(duration.total_seconds()), []
    for unit, size in _UNIT_SECONDS.items():
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_days(text: str) -> tuple[int, ...] | None:
    """`mon-fri` or `mon,wed,sat-sun` as sorted weekdays, 0 = Monday. A range may run over the week's end."""
    days: set[int] = set()
    for part in text.lower().replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if first not in WEEKDAYS or (dash and last not in WEEKDAYS):
            return None
        start, end = WEEKDAYS.index(first), WEEKDAYS.index(last or first)
        days.update((start + step) % 7 for step in range((end - start) % 7 + 1))
    return tuple(sorted(days))


def parse_time(text: str) -> time | None:
    """`09:00` as a time of day."""
    found = _TIME.fullmatch(text)
    return time(int(found[1]), int(found[2])) if found else None


@cache
def zone_names() -> tuple[str, ...]:
    """What `zone` may say: lead, account, or a name of the IANA time zone database."""
    return (*RELATIVE_ZONES, *sorted(available_timezones()))
