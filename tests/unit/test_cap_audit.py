"""The audit of caps: the largest count of any window, held against counting the slow way."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outreach.limits.audit import Effect, peak
from outreach.limits.caps import Cap

START = datetime(2026, 3, 28, 12, 0, tzinfo=UTC)
HOUR = Cap(limit=2, seconds=3600)
DATE = Cap(limit=2, seconds=None)


def ours(minute: float, *, lasts: float = 0, zone: str = "UTC") -> Effect:
    at = START + timedelta(minutes=minute)
    return Effect(started_at=at, effect_by=at + timedelta(minutes=lasts), known_at=at, ours=True, zone=zone)


def by_hand(minute: float, *, known: float) -> Effect:
    at = START + timedelta(minutes=minute)
    return Effect(
        started_at=at, effect_by=at, known_at=START + timedelta(minutes=known), ours=False, zone="UTC"
    )


_EFFECTS = st.lists(
    st.builds(
        ours,
        st.integers(0, 4000),
        lasts=st.integers(0, 90),
        zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]),
    ),
    min_size=1,
    max_size=25,
)


@given(_EFFECTS, st.sampled_from([HOUR, DATE, Cap(limit=3, seconds=86_400)]), st.integers(0, 4000))
def test_the_peak_is_what_counting_one_by_one_finds(effects: list[Effect], cap: Cap, minute: int) -> None:
    since = START + timedelta(minutes=minute)
    effects.sort(key=lambda e: e.started_at)
    counts = [
        sum(cap.counts(o.effect_by, e.started_at, e.zone) for o in effects[: place + 1])
        for place, e in enumerate(effects)
        if e.started_at >= since
    ]
    found = peak(effects, cap, since)
    if found is None:
        assert not counts
    else:
        assert (found.largest, found.over) == (max(counts), sum(count > cap.limit for count in counts))


def test_three_in_an_hour_are_one_too_many() -> None:
    found = peak([ours(0), ours(30), ours(59)], HOUR, START)
    assert found is not None
    assert (found.largest, found.at, found.over) == (3, START + timedelta(minutes=59), 1)


def test_a_call_counts_until_the_last_instant_it_may_have_arrived() -> None:
    assert peak([ours(0, lasts=5), ours(10), ours(61)], HOUR, START).over == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("known", "over", "over_by_hand"),
    [pytest.param(5, 1, 0, id="known in time"), pytest.param(90, 0, 1, id="told of too late")],
)
def test_what_was_sent_by_hand_is_ours_to_count_once_it_is_known(
    known: float, over: int, over_by_hand: int
) -> None:
    found = peak([by_hand(0, known=known), ours(10), ours(20)], HOUR, START)
    assert found is not None
    assert (found.largest, found.over, found.over_by_hand) == (3, over, over_by_hand)


def test_a_human_who_sends_too_much_is_no_breach_of_ours() -> None:
    found = peak([ours(0), *(by_hand(i, known=i) for i in range(1, 5))], HOUR, START)
    assert found is not None
    assert (found.largest, found.over, found.over_by_hand) == (5, 0, 3)


def test_a_date_is_the_sending_accounts_own() -> None:
    # 23:30 and 00:30 in Berlin are two dates there, and one in UTC
    late = [ours(10.5 * 60, zone="Europe/Berlin"), ours(10.75 * 60, zone="Europe/Berlin"), ours(11.5 * 60, zone="Europe/Berlin")]  # fmt: skip
    assert peak(late, DATE, START).largest == 2  # type: ignore[union-attr]
    assert peak([ours(10.5 * 60), ours(10.75 * 60), ours(11.5 * 60)], DATE, START).largest == 3  # type: ignore[union-attr]
