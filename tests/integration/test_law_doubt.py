"""Calls without an answer: in doubt, read back after the settle time, then sent, absent or held. Never sent again blindly."""

from datetime import timedelta
from pathlib import Path

import pytest

from outreach.compliance import register
from outreach.errors import ConflictError
from outreach.limits.scope import Full
from outreach.models.base import Database
from outreach.providers.base import Accepted, NotStarted, Outcome, RateLimited, Refused, Unknown
from outreach.runtime import perform as performing
from outreach.runtime.advance import advance
from outreach.runtime.call import call
from outreach.runtime.claim import Claimed, claim
from outreach.runtime.context import Context
from outreach.runtime.control import pause_all
from outreach.runtime.human import again, done, skip
from outreach.runtime.optout import opt_out
from outreach.runtime.perform import perform
from outreach.runtime.prepare import Prepared, prepare
from outreach.runtime.reconcile import reconcile
from outreach.runtime.settle import settle
from tests.integration.law_support import (
    DAY,
    FOLLOW,
    FOLLOW_THEN_UNFOLLOW,
    HOUR,
    MINUTE,
    NO_CAPS,
    WRITE,
    WRITE_AND_LISTEN,
    acts,
    execution,
    fault,
    friends,
    mend,
    only_execution,
    open_house,
    plan,
    roomy_account,
    sql,
    states,
)
from tests.stage import House

pytestmark = pytest.mark.servers
SECOND = timedelta(seconds=1)


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    found = open_house(db, tmp_path, webhooks=False)
    roomy_account(found)
    for text in (FOLLOW, WRITE, WRITE_AND_LISTEN, FOLLOW_THEN_UNFOLLOW):
        found.publish(text)
    return found


def begin(house: House, execution_id: int) -> Claimed:
    prepared = prepare(house.ctx, execution_id)
    assert isinstance(prepared, Prepared)
    claimed = claim(house.ctx, prepared)
    assert isinstance(claimed, Claimed)
    return claimed


def settled_since(house: House, lead: int) -> object:
    return only_execution(house, lead)["sent_at"]


# --- what the call brought -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("do", "accepted"), [("hang", True), ("reset", True), ("error", True), ("hang", False), ("error", False)]
)
def test_whatever_may_have_been_accepted_is_in_doubt(house: House, do: str, accepted: bool) -> None:
    fault(house, "dm.send", do, accepted=accepted, times=1)
    (lead,) = house.enroll("write", friends(house, "ann"))
    row = only_execution(house, lead)
    assert (row["state"], row["effect_by"], house.lead(lead)["waiting_on"]) == (
        "in_doubt",
        row["call_deadline"],
        "doubt",
    )
    house.clock.advance(house.ctx.call_deadline)
    advance(house.ctx, lead)
    assert (states(house, lead), row["attempts"]) == (["in_doubt"], 1)


def test_an_unreadable_yes_is_a_yes(house: House) -> None:
    fault(house, "dm.send", "garble", times=1)
    (lead,) = house.enroll("write", friends(house, "ann"))
    assert (states(house, lead), len(acts(house))) == (["sent"], 1)


# --- read back -----------------------------------------------------------------------------------------------


def test_a_message_that_is_found_was_sent_when_the_provider_says(house: House) -> None:
    fault(house, "dm.list", "error", status=503)
    fault(house, "dm.send", "hang", accepted=True, times=1)
    at = house.clock.now()
    (lead,) = house.enroll("listen", friends(house, "ann"))
    house.pass_time(3 * MINUTE)
    row = house.executions(lead)[0]
    assert (row["state"], abs(row["sent_at"] - at) < SECOND) == ("sent", True)
    assert row["provider_ids"]["dm_event_id"] == house.accepted()[0].id
    assert house.lead(lead)["cursor"] == "check"
    assert len(acts(house)) == 1


def test_clocks_of_later_edges_start_at_the_providers_time(house: House) -> None:
    fault(house, "dm.list", "error", status=503)
    fault(house, "dm.send", "hang", accepted=True, times=1)
    at = house.clock.now()
    house.publish(
        'sequence: two\nactions:\n  hello: {do: SEND_TWITTER_DM, message: "Hi. {{ opt_out }}", next: [{after: 1h, to: follow}]}\n'
        "  follow: {do: FOLLOW_ON_TWITTER}\n"
    )
    (lead,) = house.enroll("two", friends(house, "ann"))
    house.pass_time(3 * MINUTE)
    due = house.lead(lead)["due_at"]
    assert abs(due - (at + timedelta(hours=1))) < SECOND


def test_a_follow_that_is_not_there_is_planned_again_and_done_once(house: House) -> None:
    fault(house, "follow", "hang", accepted=False, times=1)
    (lead,) = house.enroll("follow", friends(house, "ann"))
    house.pass_time(3 * MINUTE)
    assert (states(house, lead), acts(house)) == (["sent"], [("follow", "ann")])
    assert {"ActionInDoubt", "ActionAbsent", "ActionSent"} <= set(house.events(lead))
    assert only_execution(house, lead)["attempts"] == 2


def test_a_follow_that_stands_is_not_done_again(house: House) -> None:
    fault(house, "follow", "reset", accepted=True, times=1)
    (lead,) = house.enroll("follow", friends(house, "ann"))
    house.pass_time(3 * MINUTE)
    assert (states(house, lead), acts(house)) == (["sent"], [("follow", "ann")])
    assert only_execution(house, lead)["attempts"] == 1


def test_a_message_that_is_not_seen_twice_is_held_for_a_human_and_never_sent_again(house: House) -> None:
    fault(house, "dm.send", "hang", accepted=False, times=1)
    (lead,) = house.enroll("write", friends(house, "ann"))
    house.pass_time(2 * MINUTE)
    assert (states(house, lead), only_execution(house, lead)["read_backs"]) == (["in_doubt"], 1)
    house.pass_time(2 * MINUTE)
    row = only_execution(house, lead)
    assert (row["state"], row["effect_by"]) == ("held", row["call_deadline"])
    (task,) = house.db.read("SELECT kind, state, execution_id FROM task")
    assert (task["kind"], task["state"], task["execution_id"]) == ("held", "open", row["id"])
    house.pass_time(2 * DAY, step=DAY / 4)
    assert acts(house) == []


def test_two_looks_at_the_same_instant_are_one_look(house: House) -> None:
    fault(house, "dm.send", "hang", accepted=False, times=1)
    (lead,) = house.enroll("write", friends(house, "ann"))
    row = only_execution(house, lead)
    house.clock.advance(row["call_deadline"] + house.ctx.settle - house.clock.now())
    for _ in range(4):
        reconcile(house.ctx, row["id"])
    assert only_execution(house, lead)["read_backs"] == 1


def test_a_look_before_the_settle_time_is_over_proves_nothing(house: House) -> None:
    fault(house, "follow", "late", seconds=30, times=1)
    (lead,) = house.enroll("follow", friends(house, "ann"))
    row = only_execution(house, lead)
    reconcile(house.ctx, row["id"])
    advance(house.ctx, lead)
    assert only_execution(house, lead)["state"] == "in_doubt"
    house.pass_time(3 * MINUTE)
    assert (states(house, lead), acts(house)) == (["sent"], [("follow", "ann")])
    assert only_execution(house, lead)["attempts"] == 1


def test_an_answer_about_an_earlier_call_is_not_believed_of_a_later_one(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(house, "follow", "hang", accepted=False, times=1)
    (lead,) = house.enroll("follow", friends(house, "ann"))
    row = only_execution(house, lead)
    house.clock.advance(row["call_deadline"] + house.ctx.settle - house.clock.now())
    provider = house.ctx.providers["twitter"]
    read_back = provider.read_back

    def slow(*args: object) -> object:
        answer = read_back(*args)  # type: ignore[arg-type]
        sql(house, "UPDATE execution SET fence = fence + 1000 WHERE id = %s", row["id"])
        return answer

    monkeypatch.setattr(provider, "read_back", slow)
    reconcile(house.ctx, row["id"])
    assert only_execution(house, lead)["state"] == "in_doubt"


def test_a_provider_that_cannot_be_read_leaves_it_to_a_human(house: House) -> None:
    fault(house, "follow", "hang", accepted=False, times=1)
    fault(house, "users*", "error", status=503)
    (lead,) = house.enroll("follow", friends(house, "ann"))
    house.pass_time(5 * MINUTE)
    assert states(house, lead) == ["held"]
    mend(house)
    house.pass_time(5 * MINUTE)
    assert (states(house, lead), acts(house)) == (["held"], [])


def test_no_negative_edge_leaves_a_node_whose_call_is_in_doubt_or_held(house: House) -> None:
    fault(house, "follow", "hang", accepted=False, times=1)
    fault(house, "users*", "error", status=503, times=2)
    (lead,) = house.enroll("follow-unfollow", friends(house, "ann"))
    house.pass_time(5 * MINUTE)
    assert states(house, lead) == ["held"]
    house.pass_time(4 * DAY, step=DAY / 4)
    assert (house.lead(lead)["cursor"], states(house, lead)) == ("follow", ["held"])


# --- the human's word ----------------------------------------------------------------------------------------


def held(house: House, sequence: str = "write") -> tuple[int, int]:
    """A lead whose message is held, and its task."""
    fault(house, "dm.send", "hang", accepted=False, times=1)
    (lead,) = house.enroll(sequence, friends(house, "ann"))
    house.pass_time(5 * MINUTE)
    assert house.executions(lead)[0]["state"] == "held"
    (task,) = house.db.read("SELECT id FROM task WHERE state = 'open'")
    return lead, task["id"]


def test_a_human_who_sees_it_there_makes_it_sent(house: House) -> None:
    lead, task = held(house, "listen")
    house.hints.extend(done(house.ctx, task, "eva"))
    house.run()
    row = house.executions(lead)[0]
    assert (row["state"], row["done_by"], row["observed"]) == ("sent", "eva", False)
    assert house.lead(lead)["cursor"] == "check"


def test_a_human_who_does_not_see_it_ends_the_step(house: House) -> None:
    lead, task = held(house)
    skip(house.ctx, task, "eva")
    row = only_execution(house, lead)
    assert (row["state"], row["effect_by"]) == ("skipped", None)
    assert house.lead(lead)["exit_reason"] == "skipped by eva"


# --- late answers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("already", ["in_doubt", "held"])
def test_the_fences_owner_may_still_bring_certainty(house: House, already: str) -> None:
    claimed = begin(house, plan(house, "write", friends(house, "ann"))[0])
    house.pass_time((2 if already == "in_doubt" else 8) * MINUTE)
    assert states(house) == [already]
    settle(house.ctx, claimed, Accepted({"dm_event_id": "77"}))
    assert states(house) == ["sent"]
    assert house.db.read("SELECT id FROM task WHERE state = 'open'") == []
    assert house.lead(execution(house, claimed.execution_id)["lead_id"])["state"] == "finished"


@pytest.mark.parametrize("settled_by", ["its own late answer", "an echo before the answer"])
def test_after_a_late_answer_the_limiter_counts_for_as_long_as_the_ledger(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settled_by: str
) -> None:
    """The claim's own deadline is long over: an hour from there would free the cap before the ledger does."""
    house = open_house(db, tmp_path, webhooks=settled_by != "its own late answer")
    roomy_account(house, caps=NO_CAPS | {"SEND_TWITTER_DM": "1/hour"})
    house.publish(WRITE)
    one, two = plan(house, "write", friends(house, "ann", "bob"))

    def late(ctx: Context, claimed: Claimed) -> Outcome:
        outcome = call(ctx, claimed)
        house.run()
        if settled_by == "an echo before the answer":
            house.tick()
        house.clock.advance(10 * MINUTE)
        return outcome

    monkeypatch.setattr(performing, "call", late)
    house.hints.extend(perform(house.ctx, one))
    row = execution(house, one)
    assert row["state"] == "sent"
    assert (row["effect_by"] > row["call_deadline"]) == (settled_by == "its own late answer")
    prepared = prepare(house.ctx, two)
    assert isinstance(prepared, Prepared)
    now = house.clock.now()
    answer = house.ctx.limiter.acquire(two, prepared.scopes, now, now + 15 * SECOND)
    assert isinstance(answer, Full)
    assert answer.until == row["effect_by"] + HOUR


def test_a_late_no_frees_a_held_send(house: House) -> None:
    claimed = begin(house, plan(house, "write", friends(house, "ann"))[0])
    house.pass_time(8 * MINUTE)
    settle(house.ctx, claimed, NotStarted("no connection"))
    row = execution(house, claimed.execution_id)
    assert (row["state"], row["effect_by"]) == ("planned", None)
    house.pass_time(5 * MINUTE)
    assert (states(house), acts(house)) == (["sent"], [("dm", "ann")])


def test_a_late_shrug_changes_nothing(house: House) -> None:
    claimed = begin(house, plan(house, "write", friends(house, "ann"))[0])
    house.pass_time(8 * MINUTE)
    settle(house.ctx, claimed, Unknown("no answer"))
    assert states(house) == ["held"]


def test_who_lost_the_fence_may_say_nothing(house: House) -> None:
    claimed = begin(house, plan(house, "write", friends(house, "ann"))[0])
    sql(house, "UPDATE execution SET fence = fence + 1 WHERE id = %s", claimed.execution_id)
    for outcome in (Accepted({}), Refused("no"), RateLimited(), Unknown("x")):
        settle(house.ctx, claimed, outcome)
    assert states(house) == ["calling"]


def test_an_answer_to_a_call_that_a_human_has_settled_is_too_late(house: House) -> None:
    claimed = begin(house, plan(house, "write", friends(house, "ann"))[0])
    house.pass_time(8 * MINUTE)
    (task,) = house.db.read("SELECT id FROM task")
    skip(house.ctx, task["id"], "eva")
    settle(house.ctx, claimed, Accepted({}))
    assert states(house) == ["skipped"]


# --- the reaper ----------------------------------------------------------------------------------------------


def test_a_call_past_its_deadline_is_in_doubt_and_never_planned(house: House) -> None:
    claimed = begin(house, plan(house, "write", friends(house, "ann"))[0])
    house.clock.advance(house.ctx.call_deadline - SECOND)
    house.tick()
    assert states(house) == ["calling"]
    house.clock.advance(SECOND)
    house.tick()
    assert states(house) == ["in_doubt"]
    perform(house.ctx, claimed.execution_id)
    assert (states(house), acts(house)) == (["in_doubt"], [])


def test_a_paused_lead_does_not_keep_the_reaper_waiting(house: House) -> None:
    claimed = begin(house, plan(house, "write", friends(house, "ann"))[0])
    house.says("ann", "Could you stop by our booth tomorrow?")
    house.pass_time(16 * MINUTE)
    assert house.db.read("SELECT state FROM task WHERE kind = 'decide'")
    assert execution(house, claimed.execution_id)["state"] == "held"


def test_five_refusals_are_enough(house: House) -> None:
    (execution_id,) = plan(house, "write", friends(house, "ann"))
    for _ in range(5):
        settle(house.ctx, begin(house, execution_id), Refused("over_capacity", retry=True))
        house.clock.advance(timedelta(hours=2))
    row = execution(house, execution_id)
    assert (row["state"], row["reason"]) == ("refused", "gave_up: over_capacity")


@pytest.mark.parametrize("outcome", [NotStarted("no connection"), NotStarted("guard", guarded=True)])
def test_a_network_that_is_down_for_long_ends_no_lead(house: House, outcome: NotStarted) -> None:
    (execution_id,) = plan(house, "write", friends(house, "ann"))
    for _ in range(8):
        settle(house.ctx, begin(house, execution_id), outcome)
        house.clock.advance(timedelta(hours=2))
    assert execution(house, execution_id)["state"] == "planned"


def test_being_told_to_wait_is_no_failed_try(house: House) -> None:
    (execution_id,) = plan(house, "write", friends(house, "ann"))
    for _ in range(6):
        settle(house.ctx, begin(house, execution_id), RateLimited())
        house.clock.advance(timedelta(hours=2))
    settle(house.ctx, begin(house, execution_id), Refused("over_capacity", retry=True))
    assert execution(house, execution_id)["state"] == "planned"


# --- late doubts, and what a human has looked for ------------------------------------------------------------


def test_looks_at_a_doubt_that_is_found_very_late_keep_their_distance(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(house, "dm.send", "hang", accepted=False, times=1)
    (lead,) = house.enroll("write", friends(house, "ann"))
    house.clock.advance(30 * house.ctx.settle)
    looked: list[object] = []
    provider = house.ctx.providers["twitter"]
    read_back = provider.read_back

    def look(*args: object) -> object:
        looked.append(house.clock.now())
        return read_back(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(type(provider), "read_back", lambda _self, *args: look(*args))
    for _ in range(3):
        house.hints.extend(advance(house.ctx, lead))
        house.run()
    assert (len(looked), states(house, lead)) == (1, ["in_doubt"])
    assert house.lead(lead)["due_at"] == house.clock.now() + house.ctx.settle
    house.clock.advance(house.ctx.settle)
    house.hints.extend(advance(house.ctx, lead))
    house.run()
    assert (len(looked), states(house, lead)) == (2, ["held"])


def test_a_human_who_did_not_find_it_has_it_sent_again_through_every_check(house: House) -> None:
    lead, task = held(house)
    before = house.executions(lead)[0]
    house.hints.extend(again(house.ctx, task, "eva"))
    house.run()
    (row,) = house.executions(lead)
    assert (row["state"], row["attempts"], row["fence"] > before["fence"]) == ("sent", 2, True)
    assert len(acts(house)) == 1
    absent = house.db.read("SELECT actor FROM event WHERE kind = 'ActionAbsent'")
    assert absent == [{"actor": "eva"}]


def test_what_a_human_did_not_find_is_not_sent_to_who_has_opted_out(house: House) -> None:
    lead, task = held(house)
    person = house.lead(lead)["person_id"]
    house.db.run(
        lambda tx: register.suppress_person(
            tx, person, reason="asked", source="test", evidence={}, now=house.clock.now()
        )
    )
    house.hints.extend(again(house.ctx, task, "eva"))
    house.run()
    assert (states(house, lead), acts(house)) == (["blocked"], [])


def test_only_what_is_held_is_sent_again(house: House) -> None:
    _, task = held(house)
    again(house.ctx, task, "eva")
    with pytest.raises(ConflictError):
        again(house.ctx, task, "eva")


@pytest.mark.parametrize("accepted", [True, False], ids=["it is there", "it is not"])
def test_a_pause_of_everything_leaves_no_call_open(house: House, accepted: bool) -> None:
    """Its worker died; while everything is paused nobody claims, and yet what is open is settled: an opt-out may wait for it."""
    (ann,) = friends(house, "ann")
    (execution_id,) = plan(house, "write", [ann])
    claimed = begin(house, execution_id)
    if accepted:
        call(house.ctx, claimed)
    pause_all(house.ctx, "a test", "ops")
    house.pass_time(MINUTE * 6)
    assert execution(house, execution_id)["state"] == ("sent" if accepted else "held")
    assert opt_out(house.ctx, ann, reason="asked", source="operator", evidence={}, actor="test"), (
        "effective at once"
    )
    assert len(acts(house)) == accepted
