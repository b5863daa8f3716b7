"""Caps: the text, the windows, local dates over clock changes, and who refuses until when."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outreach.engine.kinds import CHANNEL_OF, ActionKind, Channel
from outreach.errors import UsageError
from outreach.limits.caps import (
    DEFAULT_APP_CAPS,
    DEFAULT_CAPS,
    DEFAULT_PACE,
    Cap,
    Counted,
    Refusal,
    capacity,
    format_caps,
    judge_caps,
    paced_starts,
    parse_caps,
)

HOUR = Cap(limit=8, seconds=3600)
DAY = Cap(limit=40, seconds=86_400)
DATE = Cap(limit=40, seconds=None)
NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

caps = st.builds(
    Cap,
    limit=st.integers(1, 5_000),
    seconds=st.none() | st.integers(1, 3_000) | st.sampled_from([3_600, 86_400, 604_800, 172_800]),
)
instants = st.datetimes(datetime(2012, 1, 1), datetime(2037, 12, 31)).map(lambda d: d.replace(tzinfo=UTC))  # noqa: DTZ001
zones = st.sampled_from(
    [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",  # moves by half an hour
        "Antarctica/Troll",  # moves by two hours
        "America/Santiago",  # skips its midnight
        "America/Havana",  # goes back at 01:00 to its midnight
        "Asia/Beirut",
        "Asia/Kathmandu",
        "Pacific/Kiritimati",
    ]
)


def local(zone: str, *args: int) -> datetime:
    return datetime(*args, tzinfo=ZoneInfo(zone)).astimezone(UTC)  # type: ignore[misc, arg-type]


# --- text ------------------------------------------------------------------------------------------------------


def test_every_form_of_the_syntax_is_read() -> None:
    assert parse_caps("8/hour; 40/day; 40/date; 15/15minute; 200/week") == (
        HOUR,
        DAY,
        DATE,
        Cap(limit=15, seconds=900),
        Cap(limit=200, seconds=604_800),
    )


@pytest.mark.parametrize(
    "text", ["8/hour;40/day", " 8 / Hour ,40/day ; ", "8/60minutes; 40/24hours", "8/3600seconds,40/1day"]
)
def test_spelling_does_not_matter(text: str) -> None:
    assert parse_caps(text) == (HOUR, DAY)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("8/fortnight", "'fortnight' is not a window"),
        ("8/hour; lots", "'lots' is not a cap"),
        ("8/hour;;40/day", "'' is not a cap"),
        ("", "'' is not a cap"),
        ("-1/hour", "'-1/hour' is not a cap"),
        ("8/2date", "a local date has no multiple"),
        ("8/0hour", "at least 1 second"),
        ("8/367day", "at most 366 days"),
        ("8/hour; 10/60minute", "10/hour gives a window that was given before"),
        ("8 per hour", "'8 per hour' is not a cap"),
    ],
)
def test_a_wrong_text_is_refused_with_the_part_at_fault(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_caps(text)
    assert said in caught.value.message
    assert repr(text) in caught.value.message


def test_a_cap_of_zero_is_refused_and_says_to_pause_instead() -> None:
    with pytest.raises(UsageError, match="'0/hour' allows nothing") as caught:
        parse_caps("40/day; 0/hour")
    assert caught.value.hint is not None
    assert "pause" in caught.value.hint


def test_a_cap_that_would_let_everything_through_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="allows nothing"):
        Cap(limit=0, seconds=60)
    with pytest.raises(ValueError, match="not within"):
        Cap(limit=1, seconds=0)


@given(st.lists(caps, min_size=1, max_size=5, unique_by=lambda cap: cap.seconds))
def test_caps_read_back_as_they_were_written(some: list[Cap]) -> None:
    assert parse_caps(format_caps(some)) == tuple(some)


def test_caps_are_written_in_the_largest_unit() -> None:
    assert (
        format_caps(parse_caps("1/7day; 2/24hour; 3/90minute; 4/date")) == "1/week; 2/day; 3/90minute; 4/date"
    )


# --- windows ---------------------------------------------------------------------------------------------------


def test_a_rolling_window_counts_what_is_younger_than_itself_and_not_what_is_as_old() -> None:
    assert HOUR.since(NOON, "UTC") == NOON - timedelta(hours=1)
    assert not HOUR.counts(NOON - timedelta(hours=1), NOON, "UTC")
    assert HOUR.counts(NOON - timedelta(hours=1) + MICROSECOND, NOON, "UTC")
    assert HOUR.counts(NOON + timedelta(seconds=15), NOON, "UTC"), "an open call counts"


def test_a_date_counts_from_its_first_instant_on() -> None:
    midnight = local("Europe/Berlin", 2026, 1, 5)
    assert DATE.since(NOON, "Europe/Berlin") == midnight
    assert DATE.counts(midnight, NOON, "Europe/Berlin")
    assert not DATE.counts(midnight - MICROSECOND, NOON, "Europe/Berlin")


def test_the_date_is_the_zones_and_not_utcs() -> None:
    evening = datetime(2026, 1, 5, 23, 30, tzinfo=UTC)
    assert DATE.since(evening, "Europe/Berlin") == datetime(2026, 1, 5, 23, 0, tzinfo=UTC)
    assert DATE.since(evening, "America/New_York") == datetime(2026, 1, 5, 5, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", (2026, 3, 29), 23),
        ("Europe/Berlin", (2026, 10, 25), 25),
        ("Europe/Berlin", (2026, 7, 1), 24),
        ("Antarctica/Troll", (2026, 3, 29), 22),
        ("Antarctica/Troll", (2026, 10, 25), 26),
        ("America/Santiago", (2026, 9, 6), 23),
        ("Australia/Lord_Howe", (2026, 4, 5), 24.5),
    ],
)
def test_a_date_is_as_long_as_the_clock_change_makes_it(
    zone: str, day: tuple[int, int, int], hours: float
) -> None:
    noon = local(zone, *day, 12)
    since, until = DATE.since(noon, zone), DATE.frees_at(noon, noon, zone)
    assert until - since == timedelta(hours=hours)
    assert since.astimezone(ZoneInfo(zone)).date().timetuple()[:3] == day
    assert (since - MICROSECOND).astimezone(ZoneInfo(zone)).date().timetuple()[:3] < day
    assert until - since <= DATE.length


def test_a_midnight_that_is_skipped_is_the_instant_of_the_skip() -> None:
    noon = local("America/Santiago", 2026, 9, 6, 12)
    assert DATE.since(noon, "America/Santiago") == datetime(2026, 9, 6, 4, 0, tzinfo=UTC)
    assert local("America/Santiago", 2026, 9, 6, 1) == datetime(2026, 9, 6, 4, 0, tzinfo=UTC)


def test_a_date_that_a_clock_change_enters_twice_frees_in_the_future_on_both_passes() -> None:
    # St. John's went back from 00:01 to 23:01 of the day before: 7 November 2010 began twice.
    for minutes in (-0.5, 0, 30, 60):
        now = datetime(2010, 11, 7, 2, 31, tzinfo=UTC) + timedelta(minutes=minutes)
        assert DATE.since(now, "America/St_Johns") <= now < DATE.frees_at(now, now, "America/St_Johns")


@given(now=instants, zone=zones, part=st.floats(0, 1))
def test_a_date_is_exactly_the_instants_of_one_local_day(now: datetime, zone: str, part: float) -> None:
    since, until = DATE.since(now, zone), DATE.frees_at(now, now, zone)
    day = now.astimezone(ZoneInfo(zone)).date()
    within = since + (until - since - MICROSECOND) * part
    assert since <= now < until
    assert within.astimezone(ZoneInfo(zone)).date() == day
    assert (since - MICROSECOND).astimezone(ZoneInfo(zone)).date() < day
    assert until.astimezone(ZoneInfo(zone)).date() > day


@given(cap=caps, effect_by=instants, age=st.timedeltas(timedelta(0), timedelta(days=8)), zone=zones)
def test_what_counts_frees_at_the_stated_instant_and_not_a_microsecond_before(
    cap: Cap, effect_by: datetime, age: timedelta, zone: str
) -> None:
    now = effect_by + age
    if not cap.counts(effect_by, now, zone):
        return
    until = cap.frees_at(effect_by, now, zone)
    assert until > now
    assert cap.counts(effect_by, until - MICROSECOND, zone)
    assert not cap.counts(effect_by, until, zone)


def test_an_unknown_zone_says_what_to_write() -> None:
    for name in ("Mars/Olympus", "", "../etc/passwd"):
        with pytest.raises(UsageError, match="there is no time zone"):
            DATE.since(NOON, name)


# --- judging ---------------------------------------------------------------------------------------------------


def test_caps_with_room_refuse_nothing() -> None:
    assert (
        judge_caps([Counted(cap=HOUR, nth_newest=None), Counted(cap=DATE, nth_newest=None)], NOON, "UTC")
        is None
    )


def test_a_cap_refuses_until_its_nth_newest_effect_leaves_the_window() -> None:
    eighth = NOON - timedelta(minutes=10)
    refusal = judge_caps(
        [Counted(cap=HOUR, nth_newest=eighth), Counted(cap=DAY, nth_newest=None)], NOON, "UTC"
    )
    assert refusal == Refusal(cap=HOUR, until=eighth + timedelta(hours=1))


def test_an_nth_newest_that_has_left_the_window_refuses_nothing() -> None:
    assert judge_caps([Counted(cap=HOUR, nth_newest=NOON - timedelta(hours=1))], NOON, "UTC") is None


def test_of_several_refusals_the_one_that_lasts_longest_is_named_and_the_first_of_equals() -> None:
    lately = NOON - timedelta(minutes=1)
    both = [Counted(cap=HOUR, nth_newest=lately), Counted(cap=DATE, nth_newest=lately)]
    refusal = judge_caps(both, NOON, "UTC")
    assert refusal == Refusal(cap=DATE, until=datetime(2026, 1, 6, tzinfo=UTC))
    same = Cap(limit=1, seconds=3600)
    twice = judge_caps(
        [Counted(cap=HOUR, nth_newest=lately), Counted(cap=same, nth_newest=lately)], NOON, "UTC"
    )
    assert twice is not None
    assert twice.cap is HOUR


def test_capacity_is_what_the_tightest_cap_leaves() -> None:
    assert capacity([(HOUR, 3), (DAY, 38)], most=100) == 2
    assert capacity([(HOUR, 3)], most=4) == 4
    assert capacity([(HOUR, 9)], most=100) == 0
    assert capacity([], most=100) == 100


def test_as_many_start_before_the_horizon_as_the_pace_lets() -> None:
    minute, pace = timedelta(minutes=1), timedelta(seconds=20)
    assert paced_starts(pace, None, NOON, minute, most=100) == 4
    assert paced_starts(pace, NOON - timedelta(seconds=5), NOON, minute, most=100) == 3
    assert paced_starts(pace, NOON, NOON, timedelta(seconds=19), most=100) == 0
    assert paced_starts(pace, None, NOON, timedelta(0), most=100) == 1
    assert paced_starts(pace, None, NOON, minute, most=2) == 2
    assert paced_starts(timedelta(0), NOON, NOON, minute, most=7) == 7


@given(
    pace=st.timedeltas(timedelta(seconds=1), timedelta(minutes=5)),
    ago=st.none() | st.timedeltas(timedelta(0), timedelta(minutes=10)),
    horizon=st.timedeltas(timedelta(0), timedelta(minutes=10)),
)
def test_paced_starts_counts_what_starting_one_by_one_would(
    pace: timedelta, ago: timedelta | None, horizon: timedelta
) -> None:
    last = None if ago is None else NOON - ago
    begun, at = 0, NOON if last is None else max(NOON, last + pace)
    while at <= NOON + horizon:
        begun, at = begun + 1, at + pace
    assert paced_starts(pace, last, NOON, horizon, most=10_000) == begun


# --- defaults --------------------------------------------------------------------------------------------------


def per_day(kind: ActionKind) -> float:
    return min(cap.limit * 86_400 / (cap.seconds or 86_400) for cap in DEFAULT_CAPS[kind].caps)


def test_every_action_that_reaches_a_provider_has_default_caps_with_a_source_and_a_pace() -> None:
    assert set(DEFAULT_CAPS) == set(CHANNEL_OF)
    assert set(DEFAULT_APP_CAPS) <= set(CHANNEL_OF)
    assert set(DEFAULT_PACE) == set(Channel)
    assert all(default.source for default in [*DEFAULT_CAPS.values(), *DEFAULT_APP_CAPS.values()])


def test_defaults_are_lowest_for_twitter_and_highest_for_email() -> None:
    twitter, linkedin = per_day(ActionKind.SEND_TWITTER_DM), per_day(ActionKind.SEND_LINKEDIN_DM)
    xmtp, email = per_day(ActionKind.SEND_XMTP_DM), per_day(ActionKind.SEND_EMAIL)
    assert twitter < linkedin < xmtp < email


@pytest.mark.parametrize(
    ("kind", "published"),
    [
        (ActionKind.FOLLOW_ON_TWITTER, "50/15minute; 400/day"),
        (ActionKind.UNFOLLOW_ON_TWITTER, "50/15minute"),
        (ActionKind.SEND_TWITTER_DM, "15/15minute; 1440/day"),
        (ActionKind.SEND_CONNECTION_REQUEST, "80/day; 150/week"),
        (ActionKind.SEND_XMTP_DM, "3000/5minute"),
        (ActionKind.SEND_EMAIL, "500/day"),
    ],
)
def test_defaults_stay_below_what_the_provider_publishes(kind: ActionKind, published: str) -> None:
    for ceiling in parse_caps(published):
        lower = [cap for cap in DEFAULT_CAPS[kind].caps if cap.limit < ceiling.limit]
        assert any(cap.length >= ceiling.length for cap in lower), str(ceiling)
