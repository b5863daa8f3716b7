"""Tasks: what a platform leaves to humans is handed over, checked like any send, and never offered twice."""

from datetime import timedelta
from pathlib import Path

import pytest

from outreach.errors import ConflictError, RefusedByGate, UsageError
from outreach.models.base import Database, Row
from outreach.runtime.control import set_account
from outreach.runtime.human import done, skip
from outreach.runtime.optout import opt_out
from outreach.runtime.taking import Started, start
from tests.integration.law_support import (
    DAY,
    FOLLOW_THEN_UNFOLLOW,
    HOUR,
    MINUTE,
    NO_CAPS,
    WRITE,
    acts,
    fault,
    friends,
    id_of_handle,
    only_execution,
    open_house,
    race,
    roomy_account,
    sql,
    states,
)
from tests.stage import House

pytestmark = pytest.mark.servers


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    """The account may neither follow by itself nor write to who has not written first."""
    found = open_house(db, tmp_path)
    found.account(follow_permitted=False, caps=NO_CAPS | {"FOLLOW_ON_TWITTER": "1/day"})
    for text in (WRITE, FOLLOW_THEN_UNFOLLOW):
        found.publish(text)
    return found


def task_of(house: House, lead: int) -> Row:
    return house.db.read("SELECT * FROM task WHERE lead_id = %s ORDER BY id DESC LIMIT 1", (lead,))[0]


def follows(house: House, *handles: str) -> list[int]:
    return house.enroll("follow-unfollow", friends(house, *handles, basis=None))


def by_hand(house: House, handle: str) -> None:
    house.simulator.acts.follow(id_of_handle("we"), id_of_handle(handle), house.clock.now(), by="hand")
    house.run()


# --- handing over --------------------------------------------------------------------------------------------


def test_a_follow_that_the_platform_does_not_permit_is_handed_to_a_human(house: House) -> None:
    (lead,) = follows(house, "ann")
    task, row = task_of(house, lead), only_execution(house, lead)
    assert (task["kind"], task["state"], task["reason"]) == ("act", "open", "x.follow.not_permitted")
    assert (row["state"], row["effect_by"], house.lead(lead)["waiting_on"]) == ("planned", None, "task")
    house.pass_time(5 * DAY, step=DAY / 2)
    assert acts(house) == []
    assert len(house.db.read("SELECT id FROM task")) == 1


def test_a_message_to_who_has_not_written_first_is_handed_over_with_its_words(house: House) -> None:
    (lead,) = house.enroll("write", friends(house, "ann"))
    started = start(house.ctx, task_of(house, lead)["id"], "eva")
    assert (started.text, started.recipient) == (
        "Hello. Reply STOP and I will not write again.",
        id_of_handle("ann"),
    )


def test_a_human_who_did_it_moves_the_lead_and_counts(house: House) -> None:
    lead, other = follows(house, "ann", "bob")
    start(house.ctx, task_of(house, lead)["id"], "eva")
    house.hints.extend(done(house.ctx, task_of(house, lead)["id"], "eva"))
    house.run()
    row = only_execution(house, lead)
    assert (row["state"], row["done_by"], row["observed"], row["effect_by"]) == (
        "sent",
        "eva",
        False,
        house.clock.now(),
    )
    assert house.lead(lead)["waiting_on"] == "signal"
    with pytest.raises(RefusedByGate, match=r"cap\.account"):
        start(house.ctx, task_of(house, other)["id"], "eva")


def test_a_human_who_will_not_do_it_ends_the_step(house: House) -> None:
    (lead,) = follows(house, "ann")
    skip(house.ctx, task_of(house, lead)["id"], "eva")
    assert (states(house, lead), house.lead(lead)["exit_reason"]) == (["skipped"], "skipped by eva")


# --- claiming ------------------------------------------------------------------------------------------------


def test_of_several_hands_one_holds_the_task(house: House) -> None:
    (lead,) = follows(house, "ann")
    task_id = task_of(house, lead)["id"]

    def grab(name: str) -> Started | None:
        try:
            return start(house.ctx, task_id, name)
        except ConflictError:
            return None

    held = [one for one in race(*[lambda n=n: grab(f"hand {n}") for n in range(8)]) if one]
    assert len(held) == 1
    assert task_of(house, lead)["holder"] == held[0].holder


def test_two_humans_cannot_pass_a_cap_together(house: House) -> None:
    leads = follows(house, "ann", "bob", "cid")

    def grab(task_id: int) -> Started | None:
        try:
            return start(house.ctx, task_id, "eva")
        except RefusedByGate:
            return None

    tasks = [task_of(house, lead)["id"] for lead in leads]
    assert sum(one is not None for one in race(*[lambda t=t: grab(t) for t in tasks])) == 1


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ("UPDATE account SET state = 'paused', state_reason = 'x'", "account.paused"),
        ("UPDATE account SET state = 'restricted', state_reason = 'x'", "account.restricted"),
        ("UPDATE sequence SET state = 'paused', state_reason = 'x'", "pause.sequence"),
        ("UPDATE instance SET paused_at = now(), pause_reason = 'x'", "pause.instance"),
        ("UPDATE person SET paused_at = now(), pause_reason = 'x'", "pause.person"),
    ],
)
def test_whatever_stops_the_engine_stops_the_human_too_and_leaves_the_task(
    house: House, change: str, rule: str
) -> None:
    (lead,) = follows(house, "ann")
    sql(house, change)
    with pytest.raises(RefusedByGate, match=rule):
        start(house.ctx, task_of(house, lead)["id"], "eva")
    assert task_of(house, lead)["state"] == "open"


def test_what_stops_only_the_api_does_not_stop_a_human(house: House) -> None:
    (lead,) = follows(house, "ann")
    sql(house, "UPDATE account SET state = 'needs_reauth', state_reason = 'x'")
    assert start(house.ctx, task_of(house, lead)["id"], "eva").recipient == id_of_handle("ann")


def test_a_block_ends_the_task_and_the_step(house: House) -> None:
    (lead,) = house.enroll("write", friends(house, "ann", basis=None))
    with pytest.raises(RefusedByGate, match=r"basis\.none"):
        start(house.ctx, task_of(house, lead)["id"], "eva")
    assert (task_of(house, lead)["state"], states(house, lead)) == ("void", ["blocked"])
    assert house.lead(lead)["exit_reason"] == "basis.none"


def test_a_task_is_not_done_before_it_was_started(house: House) -> None:
    (lead,) = follows(house, "ann")
    with pytest.raises(UsageError, match="never started"):
        done(house.ctx, task_of(house, lead)["id"], "eva")


# --- time passes ---------------------------------------------------------------------------------------------


def expired(house: House) -> int:
    (lead,) = follows(house, "ann")
    start(house.ctx, task_of(house, lead)["id"], "eva")
    house.pass_time(20 * MINUTE)
    return lead


def test_a_claim_that_expires_asks_and_is_never_offered_as_new(house: House) -> None:
    lead = expired(house)
    task = task_of(house, lead)
    assert (task["state"], task["holder"]) == ("asked", "eva")
    with pytest.raises(ConflictError, match="asked by eva"):
        start(house.ctx, task["id"], "kim")
    house.pass_time(3 * DAY, step=DAY / 2)
    assert len(house.db.read("SELECT id FROM task")) == 1
    row = only_execution(house, lead)
    assert (row["state"], row["effect_by"] is not None) == ("planned", True)


def test_whoever_is_asked_may_say_when_it_was(house: House) -> None:
    lead = expired(house)
    at = house.clock.now() - 15 * MINUTE
    done(house.ctx, task_of(house, lead)["id"], "eva", at=at)
    row = only_execution(house, lead)
    assert (row["state"], row["sent_at"], row["effect_by"]) == ("sent", at, at)


def test_a_time_before_the_claim_is_not_believed(house: House) -> None:
    lead = expired(house)
    done(house.ctx, task_of(house, lead)["id"], "eva", at=house.clock.now() - DAY)
    row = only_execution(house, lead)
    assert row["sent_at"] == row["started_at"]


# --- what the provider shows ---------------------------------------------------------------------------------


def test_a_follow_that_is_seen_settles_the_claimed_task(house: House) -> None:
    (lead,) = follows(house, "ann")
    start(house.ctx, task_of(house, lead)["id"], "eva")
    house.clock.advance(MINUTE)
    by_hand(house, "ann")
    row, task = only_execution(house, lead), task_of(house, lead)
    assert (row["state"], row["done_by"], row["observed"]) == ("sent", "eva", True)
    assert (task["state"], task["outcome"]) == ("done", "observed at the provider")
    with pytest.raises(ConflictError, match="done already"):
        done(house.ctx, task["id"], "eva")


def test_a_follow_that_is_seen_after_the_human_said_so_counts_once(house: House) -> None:
    (lead,) = follows(house, "ann")
    fault(house, "webhook:follow.follow", "postpone", seconds=120)
    start(house.ctx, task_of(house, lead)["id"], "eva")
    by_hand(house, "ann")
    done(house.ctx, task_of(house, lead)["id"], "eva")
    house.pass_time(HOUR, step=5 * MINUTE)
    assert states(house) == ["sent"]


# --- opt-outs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("claimed", [False, True])
def test_an_opt_out_voids_the_task_and_its_holder_can_see_it(house: House, claimed: bool) -> None:
    (ann,) = friends(house, "ann", basis=None)
    (lead,) = house.enroll("follow-unfollow", [ann])
    if claimed:
        start(house.ctx, task_of(house, lead)["id"], "eva")
    opt_out(house.ctx, ann, reason="asked", source="operator", evidence={}, actor="test")
    task = task_of(house, lead)
    assert (task["state"], task["outcome"], states(house, lead)) == ("void", "unsubscribed", ["cancelled"])
    told = house.db.read("SELECT payload FROM event WHERE kind = 'TaskClosed'")[0]["payload"]
    assert (told["state"], told["held_by"]) == ("void", "eva" if claimed else None)
    with pytest.raises(ConflictError, match="void already"):
        done(house.ctx, task["id"], "eva")


def test_what_a_holder_did_all_the_same_is_seen_and_counted(house: House) -> None:
    (ann,) = friends(house, "ann", basis=None)
    (lead,) = house.enroll("follow-unfollow", [ann])
    start(house.ctx, task_of(house, lead)["id"], "eva")
    opt_out(house.ctx, ann, reason="asked", source="operator", evidence={}, actor="test")
    by_hand(house, "ann")
    house.pass_time(HOUR, step=timedelta(minutes=5))
    assert [(r["state"], r["cause"]) for r in house.executions()] == [
        ("cancelled", "start"),
        ("sent", "by_hand"),
    ]


def test_when_the_account_may_follow_after_all_the_task_still_stands(house: House) -> None:
    (lead,) = follows(house, "ann")
    sql(house, "UPDATE account SET follow_permitted = true")
    set_account(house.ctx, "we", None, "test")
    house.pass_time(2 * DAY, step=DAY / 4)
    assert (acts(house), task_of(house, lead)["state"]) == ([], "open")


def test_a_roomy_account_hands_nothing_over(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path)
    roomy_account(house)
    house.publish(WRITE)
    house.enroll("write", friends(house, "ann"))
    assert (acts(house), house.db.read("SELECT id FROM task")) == ([("dm", "ann")], [])
