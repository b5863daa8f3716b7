"""Unfollows seen from the provider's side: they settle their call, or count as made by hand."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from outreach.models.base import Database, to_json
from outreach.rehearsal.judge import judge
from outreach.runtime import digest as digesting
from outreach.runtime.taking import start
from tests.integration.law_support import (
    DAY,
    HOUR,
    MINUTE,
    GrantsEverything,
    acts,
    fault,
    friends,
    id_of_handle,
    open_house,
    roomy_account,
    sql,
    states,
)
from tests.stage import House

pytestmark = pytest.mark.servers
#: The engine follows, and takes it back an hour later.
AND_BACK = """
sequence: and-back
actions:
  follow: {do: FOLLOW_ON_TWITTER, next: [{after: 1h, to: unfollow}]}
  unfollow: {do: UNFOLLOW_ON_TWITTER}
"""
UNDO = "sequence: undo\nactions:\n  undo: {do: UNFOLLOW_ON_TWITTER}\n"


def build_house(db: Database, folder: Path, **options: Any) -> House:
    house = open_house(db, folder, **options)
    roomy_account(house)
    for text in (AND_BACK, UNDO):
        house.publish(text)
    return house


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    return build_house(db, tmp_path)


def follow_by_hand(house: House, handle: str) -> None:
    house.simulator.acts.follow(id_of_handle("we"), id_of_handle(handle), house.clock.now(), by="hand")
    house.run()


def unfollow_by_hand(house: House, handle: str) -> None:
    house.simulator.acts.unfollow(id_of_handle("we"), id_of_handle(handle), house.clock.now(), by="hand")
    house.run()


def by_hand_and_back(house: House, *handles: str) -> None:
    for handle in handles:
        follow_by_hand(house, handle)
        unfollow_by_hand(house, handle)


def causes(house: House, kind: str = "UNFOLLOW_ON_TWITTER") -> list[str]:
    return [row["cause"] for row in house.executions() if row["kind"] == kind]


def echoes(house: House) -> list[str]:
    """What became of what was told of our unfollows."""
    rows = house.db.read("SELECT state FROM inbound WHERE kind = 'we_unfollowed' ORDER BY id")
    return [row["state"] for row in rows]


def hows(house: House) -> list[str]:
    rows = house.db.read("SELECT payload->>'how' AS how FROM event WHERE kind = 'ActionSent' ORDER BY id")
    return [row["how"] for row in rows]


# --- the engine's own ----------------------------------------------------------------------------------------


def test_the_echo_of_our_own_unfollow_is_its_own(house: House) -> None:
    (lead,) = house.enroll("and-back", friends(house, "ann"))
    house.pass_time(2 * HOUR, step=5 * MINUTE)
    assert (states(house), echoes(house)) == (["sent", "sent"], ["digested"])
    told = house.db.read("SELECT id FROM inbound ORDER BY id")
    assert [row["inbound_id"] for row in house.executions(lead)] == [row["id"] for row in told]


def test_an_echo_settles_an_unfollow_that_was_never_answered(house: House) -> None:
    fault(house, "unfollow", "hang", accepted=True, times=1)
    fault(house, "webhook:follow.unfollow", "postpone", seconds=20, times=1)
    (lead,) = house.enroll("and-back", friends(house, "ann"))
    house.pass_time(HOUR, step=HOUR)
    assert states(house, lead) == ["sent", "in_doubt"]
    house.clock.advance(timedelta(seconds=20))
    house.run()
    assert (states(house, lead), hows(house)[-1]) == (["sent", "sent"], "echo")
    assert house.lead(lead)["state"] == "finished"


def test_an_echo_that_is_understood_before_the_answer_settles_the_unfollow_once(house: House) -> None:
    house.digest_at_once = True
    fault(house, "unfollow", "delay", seconds=5, times=1)
    (lead,) = house.enroll("and-back", friends(house, "ann"))
    house.pass_time(2 * HOUR, step=5 * MINUTE)
    assert (states(house), acts(house)) == (["sent", "sent"], [("follow", "ann"), ("unfollow", "ann")])
    assert (house.events(lead).count("ActionSent"), echoes(house)) == (2, ["digested"])


def test_one_unfollow_of_ours_explains_one_echo(house: House) -> None:
    house.enroll("and-back", friends(house, "ann"))
    house.pass_time(2 * HOUR, step=5 * MINUTE)
    by_hand_and_back(house, "ann")
    house.pass_time(5 * MINUTE)
    assert causes(house) == ["NORMAL_EDGE", "by_hand"]
    assert causes(house, "FOLLOW_ON_TWITTER") == ["start", "by_hand"]


@pytest.mark.parametrize("how", ["duplicate", "shuffle", "postpone"])
def test_however_unfollows_are_told_each_is_counted_once(house: House, how: str) -> None:
    more = {"copies": 3} if how == "duplicate" else {}
    fault(house, "webhook:follow.unfollow", how, seconds=600, **more)
    house.enroll("and-back", friends(house, "ann"))
    house.pass_time(HOUR + MINUTE)
    by_hand_and_back(house, "ann")
    house.clock.advance(MINUTE)
    by_hand_and_back(house, "ann")
    house.pass_time(HOUR, step=MINUTE)
    assert causes(house) == ["NORMAL_EDGE", "by_hand", "by_hand"]


def test_an_unfollow_by_hand_is_not_explained_by_our_follow(house: House) -> None:
    """Nobody has told us of our follow: it has no echo of its own."""
    fault(house, "webhook:follow.follow", "lose", times=1)
    house.enroll("and-back", friends(house, "ann"))
    unfollow_by_hand(house, "ann")
    house.pass_time(5 * MINUTE)
    assert (causes(house, "FOLLOW_ON_TWITTER"), causes(house)) == (["start"], ["by_hand"])
    assert [row["inbound_id"] is None for row in house.executions()] == [True, False]


def test_an_unfollow_that_a_human_has_taken_on_is_done_when_it_is_seen(house: House) -> None:
    sql(house, "UPDATE account SET follow_permitted = false")
    follow_by_hand(house, "ann")
    house.pass_time(5 * MINUTE)
    (lead,) = house.enroll("undo", friends(house, "ann"))
    (task,) = house.db.read("SELECT id FROM task WHERE state = 'open'")
    start(house.ctx, task["id"], "eva")
    unfollow_by_hand(house, "ann")
    (row,) = house.executions(lead)
    assert (row["state"], row["done_by"], row["observed"]) == ("sent", "eva", True)
    house.pass_time(5 * MINUTE)
    assert causes(house) == ["start"]


# --- by hand -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [True, False], ids=["somebody known", "a stranger"])
def test_an_unfollow_by_hand_counts_after_a_while(house: House, known: bool) -> None:
    if known:
        friends(house, "ann")
    by_hand_and_back(house, "ann")
    done = house.clock.now()
    wait = house.ctx.call_deadline + house.ctx.settle
    house.pass_time(wait - timedelta(seconds=1), step=timedelta(seconds=10))
    assert (causes(house), echoes(house)) == ([], ["waiting"])
    house.pass_time(MINUTE)
    row = house.executions()[-1]
    assert (row["kind"], row["state"], row["done_by"]) == ("UNFOLLOW_ON_TWITTER", "sent", "by hand")
    assert (row["identity_id"] is not None, row["touch"], row["effect_by"]) == (known, False, done)
    assert echoes(house)[0] == "digested"


@pytest.mark.parametrize("scope", ["account", "app", "instance"])
@pytest.mark.parametrize("limiter", ["seeded", "blind"])
@pytest.mark.parametrize("known", [True, False], ids=["known", "strangers"])
def test_unfollows_by_hand_count_against_every_cap(
    db: Database, tmp_path: Path, scope: str, limiter: str, known: bool
) -> None:
    house = build_house(db, tmp_path, limiter=GrantsEverything() if limiter == "blind" else None)
    sql(house, f"UPDATE {scope} SET caps = caps || %s", to_json({"UNFOLLOW_ON_TWITTER": "2/day"}))
    if known:
        friends(house, "ann", "bob")
    by_hand_and_back(house, "ann", "bob")
    follow_by_hand(house, "cid")
    house.pass_time(5 * MINUTE)
    (lead,) = house.enroll("undo", friends(house, "cid"))
    assert house.lead(lead)["waiting_detail"] == f"cap.{scope}"
    house.pass_time(DAY - 6 * MINUTE, step=HOUR / 2)
    assert acts(house).count(("unfollow", "cid")) == 0
    house.pass_time(HOUR)
    assert acts(house)[-1] == ("unfollow", "cid")


def test_a_run_with_unfollows_by_hand_is_judged_clean(house: House) -> None:
    house.enroll("and-back", friends(house, "cid"))
    by_hand_and_back(house, "ann", "bob")
    house.pass_time(2 * HOUR, step=5 * MINUTE)
    verdict = judge(
        house.db, house.accepted(), house.deeds(), caps={}, now=house.clock.now(), machine=timedelta(seconds=1)
    )  # fmt: skip
    assert (verdict.clean, verdict.accepted, verdict.findings) == (True, 6, ())


# --- roll-outs -----------------------------------------------------------------------------------------------


def test_a_worker_that_does_not_know_of_own_unfollows_leaves_them_to_one_that_does(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it does for others goes on meanwhile. An older T1 waits with what is for that very person: the safe side."""
    with monkeypatch.context() as older:
        older.setattr(digesting, "_KINDS", digesting._KINDS - {"we_unfollowed"})
        by_hand_and_back(house, "ann")
        (lead,) = house.enroll("and-back", friends(house, "bob"))
        house.pass_time(2 * HOUR, step=5 * MINUTE)
        assert (echoes(house), causes(house)) == (["stored", "stored"], ["NORMAL_EDGE"])
        assert house.lead(lead)["state"] == "finished"
    house.pass_time(10 * MINUTE)
    assert (echoes(house), causes(house)) == (["digested", "digested"], ["NORMAL_EDGE", "by_hand"])
