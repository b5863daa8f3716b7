"""A resume knows which steps have come too late while something was paused, and does to them what the operator says."""

from datetime import timedelta
from pathlib import Path

import pytest

from outreach.engine.kinds import IfLate
from outreach.models import sequences
from outreach.models.base import Database
from outreach.runtime.control import (
    pause_all,
    pause_person,
    resume_all,
    set_account,
    set_sequence,
    unpause_person,
)
from outreach.runtime.human import done
from outreach.runtime.stale import Answer, Scope, StaleNode, answer_stale, stale_nodes
from outreach.runtime.taking import start
from tests.integration.law_support import (
    DAY,
    FOLLOW_THEN_UNFOLLOW,
    HOUR,
    MINUTE,
    acts,
    friends,
    open_house,
    roomy_account,
    sql,
    states,
)
from tests.stage import House

pytestmark = pytest.mark.servers
FOUR = [f"p{n}" for n in range(4)]
WHAT = ["instance", "account", "sequence", "person"]
SEQUENCE = """
sequence: late
max_lateness: 1d
actions:
  follow: {do: FOLLOW_ON_TWITTER, next: [{to: hello, after: 2d}]}
  hello: {do: SEND_TWITTER_DM, message: "Hello. {{ opt_out }}", next: [{to: again, after: 2d}]}
  again: {do: SEND_TWITTER_DM, if_late: ask, message: "One more word. {{ opt_out }}"}
"""


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    found = open_house(db, tmp_path, FOUR)
    roomy_account(found)
    found.publish(SEQUENCE)
    return found


def scope_of(house: House, what: str, lead: int) -> Scope:
    row = house.lead(lead)
    match what:
        case "account":
            return Scope(account=house.db.read("SELECT id FROM account")[0]["id"])
        case "sequence":
            return Scope(sequence=row["sequence_id"])
        case "person":
            return Scope(person=row["person_id"])
        case _:
            return Scope()


def pause(house: House, what: str, lead: int) -> None:
    match what:
        case "account":
            set_account(house.ctx, "we", "holidays", "test")
        case "sequence":
            set_sequence(house.ctx, "late", "paused", "holidays", "test")
        case "person":
            pause_person(house.ctx, house.lead(lead)["person_id"], "holidays", "test")
        case _:
            pause_all(house.ctx, "holidays", "test")


def resume(house: House, what: str, lead: int, answer: Answer | None) -> None:
    scope = scope_of(house, what, lead)
    if what == "person":
        house.hints.extend(unpause_person(house.ctx, scope.person or 0, "test", answer))
    elif answer is not None:
        answer_stale(house.ctx, scope, answer, "eva")
    match what:
        case "account":
            set_account(house.ctx, "we", None, "test")
        case "sequence":
            set_sequence(house.ctx, "late", "active", None, "test")
        case "instance":
            resume_all(house.ctx, "test")
    house.tick()


def paused_for(house: House, what: str, duration: timedelta) -> int:
    """A lead that has followed, and whose message falls due in two days: the pause begins before that."""
    (lead,) = house.enroll("late", friends(house, "p0"))
    house.clock.advance(HOUR)
    pause(house, what, lead)
    house.pass_time(duration, step=8 * HOUR)
    return lead


def node(name: str, leads: int, then: IfLate = IfLate.SKIP, action: str = "SEND_TWITTER_DM") -> StaleNode:
    return StaleNode(sequence="late", node=name, action=action, leads=leads, then=then)


@pytest.mark.parametrize("what", WHAT)
def test_what_has_come_too_late_is_counted_by_node(house: House, what: str) -> None:
    lead = paused_for(house, what, 3 * DAY - HOUR - MINUTE)
    scope = scope_of(house, what, lead)
    assert stale_nodes(house.ctx, scope) == []
    house.pass_time(MINUTE)
    assert stale_nodes(house.ctx, scope) == [node("hello", 1)]
    assert acts(house) == [("follow", "p0")]


@pytest.mark.parametrize(
    ("what", "answer"),
    [*((what, answer) for what in ("instance", "person") for answer in (None, *Answer)), ("account", Answer.SEND), ("sequence", Answer.SEND)],
)  # fmt: skip
def test_the_operators_word_counts(house: House, what: str, answer: Answer | None) -> None:
    lead = paused_for(house, what, 5 * DAY)
    resume(house, what, lead, answer)
    house.pass_time(2 * MINUTE)
    sent, task = acts(house)[1:], house.db.read("SELECT kind, reason FROM task WHERE state = 'open'")
    match answer:
        case Answer.SEND:
            assert (sent, states(house, lead), task) == ([("dm", "p0")], ["sent", "sent"], [])
            assert "LateAllowed" in house.events(lead)
        case Answer.ASK:
            assert (sent, states(house, lead)) == ([], ["sent", "planned"])
            assert task == [{"kind": "decide", "reason": "late.ask"}]
        case _:
            assert (sent, states(house, lead), task) == ([], ["sent", "skipped"], [])
    assert stale_nodes(house.ctx, scope_of(house, what, lead)) == []


def test_a_question_is_answered_as_any_other(house: House) -> None:
    lead = paused_for(house, "account", 5 * DAY)
    resume(house, "account", lead, Answer.ASK)
    (task,) = house.db.read("SELECT id FROM task")
    house.hints.extend(done(house.ctx, task["id"], "eva"))
    house.run()
    assert acts(house) == [("follow", "p0"), ("dm", "p0")]


def test_what_is_skipped_shifts_what_follows(house: House) -> None:
    lead = paused_for(house, "instance", 5 * DAY)
    resume(house, "instance", lead, Answer.SKIP)
    house.pass_time(2 * DAY - HOUR, step=8 * HOUR)
    assert acts(house) == [("follow", "p0")]
    house.pass_time(2 * HOUR, step=HOUR)
    assert acts(house) == [("follow", "p0"), ("dm", "p0")]
    assert states(house, lead) == ["sent", "skipped", "sent"]


def test_looking_writes_nothing(house: House) -> None:
    lead = paused_for(house, "instance", 5 * DAY)
    before, planned = house.lead(lead), house.executions(lead)
    assert stale_nodes(house.ctx, Scope()) == [node("hello", 1)]
    assert (house.lead(lead), house.executions(lead)) == (before, planned)


def test_each_sequences_own_setting_is_told(house: House) -> None:
    leads = house.enroll("late", friends(house, *FOUR))
    house.pass_time(2 * DAY + MINUTE, step=8 * HOUR)
    assert len(acts(house)) == 8
    sql(house, "UPDATE lead SET cursor = 'hello' WHERE id = %s", leads[0])
    pause(house, "instance", leads[0])
    house.pass_time(4 * DAY, step=8 * HOUR)
    assert stale_nodes(house.ctx, Scope()) == [node("again", 4, IfLate.ASK)]


@pytest.mark.parametrize("still", ["account", "sequence", "person"])
def test_what_another_pause_holds_is_not_judged_yet(house: House, still: str) -> None:
    lead = paused_for(house, "instance", HOUR)
    pause(house, still, lead)
    house.pass_time(5 * DAY, step=8 * HOUR)
    assert stale_nodes(house.ctx, Scope()) == []
    resume(house, "instance", lead, Answer.SKIP)
    assert "skipped" not in states(house, lead)
    assert stale_nodes(house.ctx, scope_of(house, still, lead)) == [node("hello", 1)]
    resume(house, still, lead, Answer.SEND)
    house.pass_time(2 * MINUTE)
    assert acts(house) == [("follow", "p0"), ("dm", "p0")]


def test_what_a_human_holds_is_left_to_them(house: House) -> None:
    sql(house, "UPDATE account SET follow_permitted = false")
    (lead,) = house.enroll("late", friends(house, "p0"))
    (task,) = house.db.read("SELECT id FROM task")
    start(house.ctx, task["id"], "eva")
    pause(house, "instance", lead)
    house.pass_time(2 * DAY, step=8 * HOUR)
    assert stale_nodes(house.ctx, Scope()) == []
    assert answer_stale(house.ctx, Scope(), Answer.SKIP, "eva") == 0
    assert states(house, lead) == ["planned"]


def test_a_task_that_nobody_has_begun_makes_room_for_the_question(house: House) -> None:
    sql(house, "UPDATE account SET follow_permitted = false")
    (lead,) = house.enroll("late", friends(house, "p0"))
    pause(house, "instance", lead)
    house.pass_time(2 * DAY, step=8 * HOUR)
    assert stale_nodes(house.ctx, Scope()) == [node("follow", 1, action="FOLLOW_ON_TWITTER")]
    resume(house, "instance", lead, Answer.ASK)
    tasks = house.db.read("SELECT kind, state FROM task ORDER BY id")
    assert [(t["kind"], t["state"]) for t in tasks] == [("act", "void"), ("decide", "open")]


def test_what_they_did_meanwhile_comes_before_how_late_it_is(house: House) -> None:
    """A step that is planned on a silence which has been broken is neither skipped nor sent: it is taken back."""
    house.publish(FOLLOW_THEN_UNFOLLOW.replace("actions:", "max_lateness: 1d\nactions:"))
    (lead,) = house.enroll("follow-unfollow", friends(house, "p0"))
    pause(house, "account", lead)
    house.pass_time(5 * DAY, step=8 * HOUR)
    scope = scope_of(house, "account", lead)
    assert [one.node for one in stale_nodes(house.ctx, scope)] == ["unfollow"]
    sql(
        house,
        "INSERT INTO signal (lead_id, kind, content_id, at, received_at) VALUES (%s, 'FOLLOWED_BACK', 'x', %s, %s)",
        lead, house.clock.now(), house.clock.now(),
    )  # fmt: skip
    assert stale_nodes(house.ctx, scope) == []
    assert answer_stale(house.ctx, scope, Answer.SKIP, "eva") == 0
    set_account(house.ctx, "we", None, "test")
    house.tick()
    assert (acts(house), states(house, lead)) == ([("follow", "p0")], ["sent", "cancelled"])


def test_a_sequence_without_limits_has_nothing_stale(house: House) -> None:
    house.publish("sequence: free\nactions:\n  follow: {do: FOLLOW_ON_TWITTER}\n")
    pause_all(house.ctx, "holidays", "test")
    house.enroll("free", friends(house, "p0"))
    house.pass_time(9 * DAY, step=DAY)
    assert stale_nodes(house.ctx, Scope()) == []
    assert house.db.run(lambda tx: sequences.find(tx, "free"))["state"] == "active"
