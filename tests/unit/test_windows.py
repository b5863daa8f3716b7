"""Sending windows on wall clocks: half-open hours, midnight, zones, and the nights on which clocks change."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outreach.compliance.windows import is_open, next_opening, zone_of
from outreach.engine.graph import Window

WORKDAYS = Window(days=(0, 1, 2, 3, 4), start=time(9), end=time(18))
EVERY_DAY = tuple(range(7))
BERLIN, NEW_YORK, UTC_ZONE = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York"), ZoneInfo("UTC")
#: Zones with halves, quarters, midnight changes, no changes, and one that skipped a whole day.
ZONES = [
    "UTC", "Europe/Berlin", "Europe/Dublin", "America/New_York", "America/Sao_Paulo", "America/St_Johns", "Asia/Kolkata",
    "Asia/Kathmandu", "Asia/Beirut", "Asia/Tehran", "Africa/Casablanca", "Australia/Lord_Howe", "Pacific/Apia",
    "Pacific/Chatham", "Pacific/Kiritimati", "America/Havana", "Asia/Gaza",
]  # fmt: skip


def _utc(
    year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0, micro: int = 0
) -> datetime:
    return datetime(year, month, day, hour, minute, second, micro, tzinfo=UTC)


# --- plain days ----------------------------------------------------------------------------------------------


def test_a_window_opens_at_its_start_and_closes_at_its_end() -> None:
    assert not is_open(WORKDAYS, UTC_ZONE, _utc(2026, 1, 5, 8, 59, 59))
    assert is_open(WORKDAYS, UTC_ZONE, _utc(2026, 1, 5, 9))
    assert is_open(WORKDAYS, UTC_ZONE, _utc(2026, 1, 5, 17, 59, 59))
    assert not is_open(WORKDAYS, UTC_ZONE, _utc(2026, 1, 5, 18))


def test_inside_the_window_the_next_opening_is_now() -> None:
    now = _utc(2026, 1, 5, 12, 34, 56, 789)
    assert next_opening(WORKDAYS, UTC_ZONE, now) == now


def test_after_friday_it_opens_on_monday() -> None:
    assert next_opening(WORKDAYS, UTC_ZONE, _utc(2026, 1, 9, 18)) == _utc(2026, 1, 12, 9)


def test_the_zones_own_clock_counts() -> None:
    assert next_opening(WORKDAYS, BERLIN, _utc(2026, 1, 5, 6)) == _utc(2026, 1, 5, 8)
    assert next_opening(WORKDAYS, BERLIN, _utc(2026, 7, 6, 6)) == _utc(2026, 7, 6, 7)
    assert next_opening(WORKDAYS, NEW_YORK, _utc(2026, 1, 5, 12)) == _utc(2026, 1, 5, 14)


def test_a_window_without_days_never_opens() -> None:
    never = Window(days=(), start=time(9), end=time(18))
    assert next_opening(never, UTC_ZONE, _utc(2026, 1, 5, 12)) is None


# --- over midnight -------------------------------------------------------------------------------------------


def test_a_window_over_midnight_belongs_to_the_day_it_began() -> None:
    friday_night = Window(days=(4,), start=time(22), end=time(2))
    assert is_open(friday_night, UTC_ZONE, _utc(2026, 1, 9, 23))
    assert is_open(friday_night, UTC_ZONE, _utc(2026, 1, 10, 1, 59))
    assert not is_open(friday_night, UTC_ZONE, _utc(2026, 1, 10, 2))
    assert not is_open(friday_night, UTC_ZONE, _utc(2026, 1, 9, 1))
    assert next_opening(friday_night, UTC_ZONE, _utc(2026, 1, 9, 1)) == _utc(2026, 1, 9, 22)


def test_a_window_that_ends_where_it_starts_lasts_a_day() -> None:
    around = Window(days=EVERY_DAY, start=time(9), end=time(9))
    assert is_open(around, UTC_ZONE, _utc(2026, 1, 5, 3))


# --- clock changes -------------------------------------------------------------------------------------------


def test_an_opening_that_the_clocks_skip_is_the_change_itself() -> None:
    # Berlin, 29 March 2026: 01:59:59 is followed by 03:00.
    early = Window(days=EVERY_DAY, start=time(2, 30), end=time(6))
    assert next_opening(early, BERLIN, _utc(2026, 3, 28, 23)) == _utc(2026, 3, 29, 1)


def test_a_repeated_hour_opens_at_its_first_reading_and_is_closed_again_while_the_clock_stands_before_it() -> (
    None
):
    # Berlin, 25 October 2026: 02:59:59 is followed by 02:00.
    early = Window(days=EVERY_DAY, start=time(2, 30), end=time(6))
    assert next_opening(early, BERLIN, _utc(2026, 10, 24, 22)) == _utc(2026, 10, 25, 0, 30)
    assert not is_open(early, BERLIN, _utc(2026, 10, 25, 1, 15))
    assert next_opening(early, BERLIN, _utc(2026, 10, 25, 1, 15)) == _utc(2026, 10, 25, 1, 30)


def test_a_midnight_that_does_not_exist_opens_one_hour_later() -> None:
    # Beirut, 29 March 2026: midnight is skipped to 01:00.
    beirut = ZoneInfo("Asia/Beirut")
    all_day = Window(days=(6,), start=time(0), end=time(12))
    opened = next_opening(all_day, beirut, _utc(2026, 3, 28, 12))
    assert opened == _utc(2026, 3, 28, 22)
    assert opened.astimezone(beirut).time() == time(1)


def test_a_skipped_day_has_no_window() -> None:
    # Apia had no 30 December 2011, a Friday.
    fridays = Window(days=(4,), start=time(9), end=time(17))
    apia = ZoneInfo("Pacific/Apia")
    opened = next_opening(fridays, apia, datetime(2011, 12, 29, 12, tzinfo=apia).astimezone(UTC))
    assert opened is not None
    assert opened.astimezone(apia).date() == date(2012, 1, 6)


# --- whatever the zone, day and window -----------------------------------------------------------------------


def _changes(zone: ZoneInfo, year: int) -> list[datetime]:
    """The days of that year on which the zone's offset changes."""
    days = [_utc(year, 1, 1) + timedelta(days=d) for d in range(365)]
    offsets = [day.astimezone(zone).utcoffset() for day in days]
    return [day for day, here, before in zip(days[1:], offsets[1:], offsets, strict=False) if here != before]


NEAR_CHANGES = [
    (zone, change)
    for zone in ZONES
    for change in _changes(ZoneInfo(zone), 2011 if zone == "Pacific/Apia" else 2026)
]
WINDOWS = st.builds(
    Window,
    days=st.lists(st.sampled_from(EVERY_DAY), min_size=1, unique=True).map(lambda days: tuple(sorted(days))),
    start=st.builds(time, st.integers(0, 23), st.sampled_from([0, 15, 30, 45])),
    end=st.builds(time, st.integers(0, 23), st.sampled_from([0, 15, 30, 45])),
)
MOMENTS = st.one_of(
    st.tuples(
        st.sampled_from(ZONES),
        st.integers(0, 25 * 365 * 24 * 60).map(lambda minutes: _utc(2010, 1, 1) + timedelta(minutes=minutes)),
    ),
    st.tuples(st.sampled_from(NEAR_CHANGES), st.integers(-48 * 60, 48 * 60)).map(
        lambda drawn: (drawn[0][0], drawn[0][1] + timedelta(minutes=drawn[1]))
    ),
)


@given(window=WINDOWS, moment=MOMENTS)
@settings(max_examples=200, deadline=None)
def test_the_next_opening_is_open_and_nothing_before_it_is(
    window: Window, moment: tuple[str, datetime]
) -> None:
    zone, now = ZoneInfo(moment[0]), moment[1]
    opens = next_opening(window, zone, now)
    assert opens is not None
    assert opens >= now
    assert is_open(window, zone, opens)
    if opens > now:
        assert not is_open(window, zone, opens - timedelta(microseconds=1))
        steps = min(int((opens - now) / timedelta(minutes=10)), 300)
        for step in range(steps + 1):
            assert not is_open(window, zone, now + step * (opens - now) / (steps + 1))


@given(window=WINDOWS, moment=MOMENTS)
@settings(max_examples=100, deadline=None)
def test_asking_again_at_the_opening_changes_nothing(window: Window, moment: tuple[str, datetime]) -> None:
    zone = ZoneInfo(moment[0])
    opens = next_opening(window, zone, moment[1])
    assert opens is not None
    assert next_opening(window, zone, opens) == opens


# --- whose zone ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "person", "account", "expected"),
    [
        ("lead", "America/New_York", "Europe/Berlin", "America/New_York"),
        ("lead", None, "Europe/Berlin", "Europe/Berlin"),
        ("lead", "Mars/Phobos", "Europe/Berlin", "Europe/Berlin"),
        ("lead", "America", "Europe/Berlin", "Europe/Berlin"),
        ("lead", "../etc/passwd", "Europe/Berlin", "Europe/Berlin"),
        ("account", "America/New_York", "Europe/Berlin", "Europe/Berlin"),
        ("Asia/Tokyo", "America/New_York", "Europe/Berlin", "Asia/Tokyo"),
        ("Asia/Atlantis", "America/New_York", "Europe/Berlin", "Europe/Berlin"),
    ],
)
def test_the_zone_is_the_wanted_one_and_else_the_accounts(
    wanted: str, person: str | None, account: str, expected: str
) -> None:
    found = zone_of(Window(zone=wanted), person, account)
    assert found is not None
    assert found.key == expected


def test_where_even_the_accounts_zone_is_unknown_there_is_none() -> None:
    assert zone_of(Window(zone="lead"), None, "Nowhere/At_All") is None
