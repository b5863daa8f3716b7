"""People of the simulator are functions of (seed, user id) alone, and spread as the mixture says."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outreach.simulator import dice
from outreach.simulator.personas import Habit, Mixture, Persona, persona_of
from outreach.simulator.phrases import PHRASES

CROWD = [str(number) for number in range(1, 2001)]


def crowd(mixture: Mixture | None = None, seed: int = 7) -> list[Persona]:
    return [persona_of(seed, user_id, mixture or Mixture()) for user_id in CROWD]


def first_habit(persona: Persona) -> Habit:
    return persona.reactions[0][0].habit if persona.reactions else Habit.SILENT


@given(st.integers(0, 2**31), st.lists(st.integers(1, 10**18), min_size=2, max_size=20, unique=True))
def test_a_persona_does_not_depend_on_the_order_of_arrival(seed: int, ids: list[int]) -> None:
    mixture = Mixture()

    forwards = {one: persona_of(seed, str(one), mixture) for one in ids}
    backwards = {one: persona_of(seed, str(one), mixture) for one in reversed(ids)}

    assert forwards == backwards


def test_another_seed_is_another_population() -> None:
    assert crowd(seed=1) != crowd(seed=2)


def test_a_known_person_stays_who_they_are_from_release_to_release() -> None:
    persona = persona_of(7, "103", Mixture())
    (reaction,) = persona.to_message(0)

    assert (persona.receives_dm, persona.protected, reaction.habit) == (True, False, Habit.POSITIVE)
    assert reaction.text == "Sounds interesting. Do you have a link?"
    assert round(reaction.after / timedelta(minutes=1)) == 922
    assert persona.follow_back_after is not None
    assert round(persona.follow_back_after / timedelta(minutes=1)) == 165


def test_habits_are_spread_as_the_mixture_says() -> None:
    mixture = Mixture()
    total = sum(mixture.replies.values())
    counts = Counter(first_habit(persona) for persona in crowd(mixture))

    for habit, weight in mixture.replies.items():
        assert counts[habit] / len(CROWD) == pytest.approx(weight / total, abs=0.03), habit


def test_shares_of_followers_and_of_closed_inboxes_are_kept() -> None:
    people = crowd(Mixture(follow_back=0.25, dm_closed=0.5))

    assert sum(one.follow_back_after is not None for one in people) / len(people) == pytest.approx(
        0.25, abs=0.03
    )
    assert sum(not one.receives_dm for one in people) / len(people) == pytest.approx(0.5, abs=0.03)


def test_delays_stay_in_their_span_and_most_are_short() -> None:
    low, high = timedelta(minutes=1), timedelta(hours=100)
    people = crowd(Mixture(follow_back=1.0, follow_after=(low, high)))
    delays = sorted(one.follow_back_after for one in people if one.follow_back_after)

    assert len(delays) == len(people)
    assert low <= delays[0] and delays[-1] < high
    assert delays[len(delays) // 2] < high / 10


def test_an_out_of_office_reply_comes_soon_and_the_real_one_later() -> None:
    persona = persona_of(7, "101", Mixture(), "out_of_office")

    automatic, real = persona.to_message(0)
    assert automatic.habit is Habit.OUT_OF_OFFICE and automatic.after <= timedelta(seconds=90)
    assert real.habit in (Habit.POSITIVE, Habit.NEUTRAL, Habit.NEGATIVE) and real.after >= timedelta(hours=36)


def test_who_said_stop_says_it_again_when_written_to_again() -> None:
    persona = persona_of(7, "101", Mixture(), "stop")

    assert [reaction.habit for nth in (0, 1) for reaction in persona.to_message(nth)] == [
        Habit.STOP,
        Habit.STOP,
    ]
    assert persona.to_message(2) == ()


@pytest.mark.parametrize("habit", list(Habit))
def test_a_named_habit_is_what_the_person_does_and_they_can_be_reached(habit: Habit) -> None:
    for user_id in CROWD[:50]:
        persona = persona_of(7, user_id, Mixture(dm_closed=1.0), habit.value)
        assert (first_habit(persona), persona.receives_dm) == (habit, True)


def test_words_belong_to_their_class_and_vary() -> None:
    said = {(one.habit, one.text) for persona in crowd() for step in persona.reactions for one in step}

    for habit, text in said:
        assert text in PHRASES.get(habit.value, ("",))
    assert len(said) > 30


def test_only_the_class_of_stops_is_made_of_stops_alone() -> None:
    longest = max(len(text.split()) for text in PHRASES["stop"])

    assert longest <= 2
    assert all(len(text.split()) > 4 for text in PHRASES["stop_inside"])


def test_parts_of_a_script_can_be_fixed() -> None:
    raw = {
        "follow_back_after": 60,
        "receives_dm": False,
        "reactions": [[{"habit": "neutral", "after": 5, "text": "hm"}]],
    }

    persona = persona_of(7, "101", Mixture(), raw)

    assert persona.follow_back_after == timedelta(minutes=1)
    assert not persona.receives_dm
    assert [(one.habit, one.after, one.text) for one in persona.to_message(0)] == [
        (Habit.NEUTRAL, timedelta(seconds=5), "hm")
    ]


@pytest.mark.parametrize(
    "raw", [{"follows": 1}, {"reactions": [[{"habit": "shrug"}]]}, {"reactions": [[{"after": 1}]]}, "shrug"]
)
def test_a_script_that_is_not_understood_is_refused(raw: Any) -> None:
    with pytest.raises(ValueError, match=r"shrug|reaction|unknown key"):
        persona_of(7, "101", Mixture(), raw)


@pytest.mark.parametrize(
    "raw",
    [
        {"follow_back": 1.5},
        {"reply_after": [0, 10]},
        {"reply_after": [20, 10]},
        {"replies": {"silent": 0}},
        {"replies": {"shrug": 1}},
        {"charm": 1},
    ],
)
def test_a_mixture_that_makes_no_sense_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"mixture|shrug"):
        Mixture.read(raw)


def test_a_mixture_is_read_from_json_with_delays_in_seconds() -> None:
    mixture = Mixture.read({"follow_back": 1, "reply_after": [60, 120], "replies": {"stop": 1}})

    people = crowd(mixture)

    assert {first_habit(one) for one in people} == {Habit.STOP}
    assert all(timedelta(seconds=60) <= one.reactions[0][0].after <= timedelta(seconds=120) for one in people)


@given(st.dictionaries(st.sampled_from("abcd"), st.floats(0, 5), min_size=1), st.integers())
def test_a_weight_of_zero_is_never_drawn(weights: dict[str, float], mark: int) -> None:
    weights["sure"] = 1.0

    assert weights[dice.weighted(weights, mark)] > 0
