"""The small notations of a sequence file, and the nearest name to a misspelt one."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outreach.engine import notation
from outreach.engine.kinds import ActionKind
from outreach.engine.suggest import did_you_mean, nearest


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("15m", 900),
        ("2h", 7200),
        ("3d", 259_200),
        ("1w", 604_800),
        ("1d12h", 129_600),
        ("1d 12h", 129_600),
        ("0s", 0),
    ],
)
def test_durations_are_a_number_and_a_unit_or_several(text: str, seconds: int) -> None:
    assert notation.parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", " ", "2", "d", "-1d", "1.5h", "12h1d", "1d1d", "2 days", "999w", "٣d", "999999999999w"]
)
def test_what_is_no_duration_is_not_guessed_at(text: str) -> None:
    assert notation.parse_duration(text) is None


@settings(deadline=None)
@given(
    st.timedeltas(timedelta(0), notation.LONGEST_DURATION).map(
        lambda d: timedelta(seconds=int(d.total_seconds()))
    )
)
def test_a_formatted_duration_reads_back_as_itself(duration: timedelta) -> None:
    assert notation.parse_duration(notation.format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("mon-fri", (0, 1, 2, 3, 4)),
        ("mon-sun", (0, 1, 2, 3, 4, 5, 6)),
        ("sat-mon", (0, 5, 6)),
        ("Mon, wed , FRI", (0, 2, 4)),
        ("mon-tue,sun", (0, 1, 6)),
        ("sun", (6,)),
        ("", None),
        ("monday", None),
        ("mon-", None),
        ("mon,,tue", None),
    ],
)
def test_weekdays_are_ranges_and_lists(text: str, days: tuple[int, ...] | None) -> None:
    assert notation.parse_days(text) == days


def test_the_nearest_name_is_found_whatever_its_case_and_nothing_is_found_for_nonsense() -> None:
    assert nearest("send_dm", [kind.value for kind in ActionKind]) is not None
    assert nearest("Follow_on_twiter", [kind.value for kind in ActionKind]) == "FOLLOW_ON_TWITTER"
    assert nearest("qqq", ["hello"]) is None
    assert nearest("hello" * 100, ["hello" * 100]) is None
    assert did_you_mean("qqq", ["one", "two"]) == "There is: one, two."
