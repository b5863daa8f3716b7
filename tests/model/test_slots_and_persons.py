"""Caps, merges, echoes and refunds: what holds, and what breaks as soon as one part of the protocol is left out."""

import pytest

from tests.model import echoes, merging, one_slot, refunds
from tests.model.echoes import Matching
from tests.model.merging import Merging
from tests.model.one_slot import Counting


def test_a_cap_holds_with_lock_fresh_count_and_doubts_counted() -> None:
    assert not one_slot.explore(Counting()).broken


@pytest.mark.parametrize(
    "how", [Counting(locks=False), Counting(counts_after_lock=False), Counting(doubt_counts=False)], ids=str
)
def test_a_cap_breaks_without_any_of_them(how: Counting) -> None:
    assert "I3" in one_slot.explore(how).broken


def test_a_merge_in_the_middle_of_a_send() -> None:
    assert not merging.explore(Merging()).broken
    assert merging.explore(Merging(reads_again=False)).broken["I4"]
    assert merging.explore(Merging(drains_again=False)).broken["I4"] == (
        "T1 reads the person", "T1 commits", "opt-out", "effective", "merge", "accepted",
    )  # fmt: skip


def test_an_echo_before_the_answer_settles_the_call() -> None:
    assert not echoes.explore(Matching()).broken


def test_an_echo_that_is_not_held_against_open_calls_counts_twice_and_leaves_a_doubt() -> None:
    assert set(echoes.explore(Matching(open_too=False)).broken) == {"no more", "known"}


def test_an_execution_that_explains_every_echo_hides_what_was_sent_by_hand() -> None:
    assert set(echoes.explore(Matching(once=False)).broken) == {"no less"}


def test_the_loser_of_a_claim_never_refunds() -> None:
    assert not refunds.explore(loser_refunds=False).broken
    assert refunds.explore(loser_refunds=True).broken["I3"] == (
        "0: asks", "0: claims", "1: asks", "1: claims", "2: asks", "2: claims",
    )  # fmt: skip
