"""Steps that come too late are passed over or asked about, never sent; what follows shifts; nothing bursts out."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from outreach.errors import RefusedByGate
from outreach.limits.limiter import MemoryLimiter
from outreach.models import judging, reports
from outreach.models.base import Database, Row, to_json
from outreach.providers.base import RateLimited
from outreach.runtime.advance import advance
from outreach.runtime.claim import Claimed, NotClaimed, claim
from outreach.runtime.control import pause_all, pause_lead, resume_all, resume_lead, set_account, set_sequence
from outreach.runtime.explain import explain_lead
from outreach.runtime.human import done, skip
from outreach.runtime.optout import opt_out
from outreach.runtime.perform import perform
from outreach.runtime.prepare import Prepared, prepare
from outreach.runtime.settle import settle
from outreach.runtime.taking import start
from outreach.runtime.tick import tick
from tests.integration.law_support import (
    DAY,
    HOUR,
    MINUTE,
    NO_CAPS,
    acts,
    friends,
    open_house,
    plan,
    roomy_account,
    sql,
    states,
)
from tests.stage import MONDAY, House

pytestmark = pytest.mark.servers
EIGHT = [f"p{n}" for n in range(8)]


def sequence(first: str, second: str = "", between: str = "after: 2d") -> str:
    """A follow and, two days later, a message; with these further keys."""
    return f"""
sequence: late
actions:
  first: {{do: FOLLOW_ON_TWITTER{first}, next: [{{to: second, {between}}}, {{on: FAILED, to: END}}]}}
  second: {{do: SEND_TWITTER_DM{second}, message: "Hello. {{{{ opt_out }}}}"}}
"""


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    found = open_house(db, tmp_path, EIGHT)
    roomy_account(found)
    return found


def enrolled(house: House, text: str, count: int = 1) -> list[int]:
    """Leads of a sequence whose account is paused."""
    house.publish(text)
    set_account(house.ctx, "we", "holidays", "test")
    return house.enroll("late", friends(house, *EIGHT[:count]))


def resumed_after(house: House, pause: timedelta) -> None:
    house.pass_time(pause, step=HOUR)
    set_account(house.ctx, "we", None, "test")
    house.tick()


def only(house: House, lead: int, node: str) -> Row:
    (row,) = house.db.read(
        "SELECT e.* FROM execution e JOIN sequence_action a ON a.id = e.action_id WHERE e.lead_id = %s AND a.key = %s",
        (lead, node),
    )
    return row


def only_task(house: House) -> Row:
    (row,) = house.db.read("SELECT * FROM task WHERE state IN ('open', 'claimed', 'asked')")
    return row


def sent_at(house: House) -> list[datetime]:
    return [one.t_scaled for one in house.accepted()]


# --- skip ----------------------------------------------------------------------------------------------------


def test_a_step_that_comes_too_late_is_passed_over_and_what_follows_shifts(house: House) -> None:
    (lead,) = enrolled(house, sequence(", max_lateness: 1d"))
    resumed_after(house, DAY)
    passed_over = house.clock.now()
    first = only(house, lead, "first")
    assert (first["state"], first["reason"], first["settled_at"]) == ("skipped", "late", passed_over)
    assert (first["effect_by"], first["attempts"]) == (None, 0)
    assert "ActionSkipped" in house.events(lead)
    house.pass_time(2 * DAY - MINUTE, step=HOUR)
    assert acts(house) == []
    house.pass_time(HOUR)
    assert acts(house) == [("dm", "p0")]
    assert passed_over + 2 * DAY <= sent_at(house)[0] <= passed_over + 2 * DAY + MINUTE
    assert house.lead(lead)["state"] == "finished"


def test_a_step_that_is_late_but_not_too_late_is_done_and_what_follows_shifts(house: House) -> None:
    (lead,) = enrolled(house, sequence(", max_lateness: 1d", ", max_lateness: 1h"))
    resumed_after(house, DAY - HOUR)
    assert acts(house) == [("follow", "p0")]
    house.pass_time(2 * DAY + MINUTE, step=HOUR)
    first, second = sent_at(house)
    assert first + 2 * DAY <= second <= first + 2 * DAY + MINUTE
    assert states(house, lead) == ["sent", "sent"]


def test_without_a_limit_a_step_is_done_however_late(house: House) -> None:
    enrolled(house, sequence(", max_lateness: none"))
    resumed_after(house, 60 * DAY)
    assert acts(house) == [("follow", "p0")]


def test_an_outage_makes_a_step_late_that_nobody_had_planned_yet(house: House) -> None:
    """The limit counts from the end of the delay, not from when somebody looked."""
    house.publish(sequence("", ", max_lateness: 1d"))
    (lead,) = house.enroll("late", friends(house, "p0"))
    house.clock.advance(3 * DAY)
    house.tick()
    second = only(house, lead, "second")
    assert (second["state"], second["first_due_at"]) == ("skipped", MONDAY + 2 * DAY)
    assert (acts(house), house.lead(lead)["state"]) == ([("follow", "p0")], "finished")


def test_nodes_that_send_nothing_do_not_hide_that_a_step_is_late(house: House) -> None:
    house.publish(
        """
sequence: late
actions:
  first: {do: FOLLOW_ON_TWITTER, next: {to: choose, after: 2d}}
  choose: {do: BRANCH, next: second}
  second: {do: SEND_TWITTER_DM, max_lateness: 1d, message: "Hello. {{ opt_out }}"}
"""
    )
    (lead,) = house.enroll("late", friends(house, "p0"))
    house.clock.advance(3 * DAY)
    house.tick()
    assert states(house, lead) == ["sent", "skipped"]


def test_while_something_stands_still_nothing_is_decided(house: House) -> None:
    (lead,) = enrolled(house, sequence(", max_lateness: 1d"))
    house.pass_time(3 * DAY, step=HOUR)
    assert (states(house, lead), house.lead(lead)["waiting_on"]) == (["planned"], "account")
    set_account(house.ctx, "we", None, "test")
    pause_lead(house.ctx, lead, "wait", "test")
    house.pass_time(DAY, step=HOUR)
    assert states(house, lead) == ["planned"]
    house.hints.extend(resume_lead(house.ctx, lead, "test"))
    house.run()
    assert states(house, lead) == ["skipped"]


def test_a_full_cap_that_frees_too_late_does_not_keep_a_step_waiting(db: Database, tmp_path: Path) -> None:
    """It is judged at the very instant at which it comes too late, without room and without asking the limiter for any."""
    limiter = _Asked()
    house = open_house(db, tmp_path, EIGHT, limiter=limiter)
    roomy_account(house, caps=NO_CAPS | {"FOLLOW_ON_TWITTER": "1/week"})
    house.publish(sequence(", max_lateness: 1d"))
    leads = house.enroll("late", friends(house, *EIGHT))
    assert sorted(states(house)) == ["planned"] * 7 + ["sent"]
    house.pass_time(DAY - MINUTE, step=HOUR)
    assert sorted(states(house)) == ["planned"] * 7 + ["sent"]
    limiter.asked = 0
    house.pass_time(MINUTE)
    assert sorted(states(house)) == ["sent"] + ["skipped"] * 7
    assert limiter.asked == 0
    assert {house.lead(i)["waiting_on"] for i in leads} == {"time"}


class _Asked(MemoryLimiter):
    asked = 0

    def acquire(self, *args: object, **options: object) -> object:  # type: ignore[override]
        self.asked += 1
        return super().acquire(*args, **options)  # type: ignore[arg-type]


def test_what_is_too_late_does_not_stand_in_the_way_of_what_is_not(house: House) -> None:
    """A minute's room of a paced account is not spent on leads that are only passed over."""
    sql(house, "UPDATE account SET pace = %s", to_json({"FOLLOW_ON_TWITTER": 60}))
    enrolled(house, sequence(", max_lateness: 1d"), count=7)
    house.publish("sequence: fresh\nactions:\n  follow: {do: FOLLOW_ON_TWITTER}\n")
    house.pass_time(2 * DAY, step=HOUR)
    house.enroll("fresh", friends(house, "p7"))
    set_account(house.ctx, "we", None, "test")
    house.tick()
    assert (acts(house), sorted(states(house))) == ([("follow", "p7")], ["sent"] + ["skipped"] * 7)


@pytest.mark.parametrize("scope", ["account", "app"])
def test_a_hold_of_the_provider_does_not_keep_a_step_beyond_its_time(house: House, scope: str) -> None:
    """The answer that says to wait until tomorrow is no reason to hear tomorrow that it is too late."""
    house.publish(sequence(", max_lateness: 2h"))
    (execution_id,) = plan(house, "late", friends(house, "p0"))
    prepared = prepare(house.ctx, execution_id)
    assert isinstance(prepared, Prepared)
    claimed = claim(house.ctx, prepared)
    assert isinstance(claimed, Claimed)
    tomorrow = house.clock.now() + DAY
    settle(house.ctx, claimed, RateLimited(scope="app" if scope == "app" else "account", reset_at=tomorrow))
    house.pass_time(2 * HOUR - MINUTE)
    assert states(house) == ["planned"]
    house.pass_time(2 * MINUTE)
    first = only(house, house.executions()[0]["lead_id"], "first")
    assert (first["state"], first["reason"], first["settled_at"]) == ("skipped", "late", MONDAY + 2 * HOUR)
    house.pass_time(3 * DAY, step=HOUR)
    assert acts(house) == [("dm", "p0")]


def test_what_is_passed_over_has_not_failed(house: House) -> None:
    leads = enrolled(house, sequence(", max_lateness: 1d"), 2)
    resumed_after(house, DAY)
    first, _ = house.db.run(lambda tx: judging.counts_by_node(tx, "late"))
    assert (first["key"], first["failed"], first["passed_over"], first["sent"]) == ("first", 0, 2, 0)
    sequence_id = house.lead(leads[0])["sequence_id"]
    (row,) = house.db.run(lambda tx: reports.funnel(tx, sequence_id))
    assert (row["node"], row["planned"], row["failed"], row["passed_over"]) == ("first", 2, 0, 2)


def test_a_text_that_lacks_a_word_is_passed_over_in_the_end(house: House) -> None:
    house.publish(
        "sequence: late\nrequires: [city]\nactions:\n"
        "  hello: {do: SEND_TWITTER_DM, max_lateness: 1d, message: 'Hi {{ city }}. {{ opt_out }}'}\n"
    )
    (lead,) = house.enroll("late", friends(house, "p0"))
    assert house.lead(lead)["waiting_on"] == "missing_variable"
    house.pass_time(DAY + HOUR, step=HOUR)
    assert (states(house, lead), house.lead(lead)["state"]) == (["skipped"], "finished")


# --- T1 ------------------------------------------------------------------------------------------------------


def test_what_grew_late_between_rendering_and_claim_is_refused_by_t1(house: House) -> None:
    house.publish(sequence(", max_lateness: 1d"))
    (execution,) = plan(house, "late", friends(house, "p0"))
    house.clock.advance(DAY - MINUTE)
    prepared = prepare(house.ctx, execution)
    assert isinstance(prepared, Prepared)
    assert not prepared.late
    house.clock.advance(MINUTE)
    answer = claim(house.ctx, prepared)
    assert isinstance(answer, NotClaimed)
    assert answer.verdict is not None
    assert (answer.verdict.rule, states(house)) == ("late.skip", ["skipped"])
    assert house.db.read("SELECT verdict ->> 'rule' AS rule FROM execution")[0]["rule"] == "late.skip"


def test_a_process_whose_clock_runs_ahead_sends_nothing_that_it_did_not_render(house: House) -> None:
    house.publish(sequence(", max_lateness: 1d"))
    (execution,) = plan(house, "late", friends(house, "p0"))
    prepared = prepare(house.ctx, execution)
    assert isinstance(prepared, Prepared)
    answer = claim(house.ctx, replace(prepared, late=True))
    assert isinstance(answer, NotClaimed)
    assert (answer.verdict, states(house)) == (None, ["planned"])
    assert [(hint.id, 0 < hint.after < 1) for hint in answer.hints] == [(execution, True)]


def test_why_says_that_it_comes_too_late(house: House) -> None:
    (lead,) = enrolled(house, sequence(", max_lateness: 1d"))
    house.clock.advance(2 * DAY)
    (line,) = [v for v in explain_lead(house.ctx, lead).against if v.rule.startswith("late.")]
    assert line.numbers == {"first_due": MONDAY.isoformat(), "late_at": (MONDAY + DAY).isoformat()}


# --- ask -----------------------------------------------------------------------------------------------------


def asked(house: House) -> int:
    (lead,) = enrolled(house, sequence(", max_lateness: 1d, if_late: ask"))
    resumed_after(house, 5 * DAY)
    task = only_task(house)
    assert (task["kind"], task["reason"], task["lead_id"]) == ("decide", "late.ask", lead)
    assert task["detail"]["numbers"]["late_at"] == (MONDAY + DAY).isoformat()
    house.pass_time(3 * DAY, step=HOUR)
    assert (acts(house), states(house, lead), house.lead(lead)["waiting_on"]) == ([], ["planned"], "task")
    return lead


def test_a_human_may_say_that_it_is_sent_all_the_same(house: House) -> None:
    lead = asked(house)
    house.hints.extend(done(house.ctx, only_task(house)["id"], "eva"))
    house.run()
    assert (acts(house), states(house, lead)) == ([("follow", "p0")], ["sent"])


def test_a_human_may_say_that_it_is_passed_over(house: House) -> None:
    lead = asked(house)
    house.hints.extend(skip(house.ctx, only_task(house)["id"], "eva"))
    house.run()
    assert states(house, lead) == ["skipped"]
    house.pass_time(2 * DAY, step=HOUR)
    assert acts(house) == [("dm", "p0")]


def test_what_a_human_allowed_has_its_time_again_and_not_for_ever(house: House) -> None:
    asked(house)
    set_account(house.ctx, "we", "more holidays", "test")
    house.hints.extend(done(house.ctx, only_task(house)["id"], "eva"))
    resumed_after(house, DAY)
    assert (acts(house), only_task(house)["reason"]) == ([], "late.ask")


def test_an_opt_out_voids_the_question(house: House) -> None:
    lead = asked(house)
    person = house.lead(lead)["person_id"]
    opt_out(house.ctx, person, reason="asked", source="operator", evidence={}, actor="test")
    (task,) = house.db.read("SELECT state FROM task")
    assert (task["state"], states(house, lead)) == ("void", ["cancelled"])


# --- a human's hands -----------------------------------------------------------------------------------------


def handed_over(house: House, keys: str) -> int:
    sql(house, "UPDATE account SET follow_permitted = false")
    house.publish(sequence(keys))
    (lead,) = house.enroll("late", friends(house, "p0"))
    assert only_task(house)["kind"] == "act"
    return lead


def test_a_task_that_nobody_begins_in_time_is_passed_over(house: House) -> None:
    lead = handed_over(house, ", max_lateness: 6h")
    house.pass_time(6 * HOUR, step=HOUR)
    (task,) = house.db.read("SELECT state, outcome FROM task")
    assert (task["state"], task["outcome"], states(house, lead)) == ("void", "late", ["skipped"])


def test_a_task_that_is_begun_too_late_is_refused_and_passed_over(house: House) -> None:
    lead = handed_over(house, ", max_lateness: 6h")
    house.clock.advance(6 * HOUR)
    with pytest.raises(RefusedByGate, match="comes later than its sequence allows"):
        start(house.ctx, only_task(house)["id"], "eva")
    assert states(house, lead) == ["skipped"]


def test_who_begins_a_late_task_need_not_be_asked(house: House) -> None:
    lead = handed_over(house, ", max_lateness: 6h, if_late: ask")
    house.pass_time(DAY, step=HOUR)
    task = only_task(house)
    assert (task["kind"], task["state"]) == ("act", "open")
    start(house.ctx, task["id"], "eva")
    done(house.ctx, task["id"], "eva")
    assert states(house, lead) == ["sent"]


def test_what_a_human_has_begun_is_never_passed_over(house: House) -> None:
    lead = handed_over(house, ", max_lateness: 6h")
    house.clock.advance(5 * HOUR)
    start(house.ctx, only_task(house)["id"], "eva")
    house.pass_time(2 * DAY, step=HOUR)
    perform(house.ctx, only(house, lead, "first")["id"])
    assert (only_task(house)["state"], states(house, lead)) == ("asked", ["planned"])


def test_what_a_human_may_have_done_is_never_done_again_by_the_engine(house: House) -> None:
    """A hint that comes late, when the claim has just expired, and the platform has meanwhile permitted the account."""
    lead = handed_over(house, "")
    start(house.ctx, only_task(house)["id"], "eva")
    sql(house, "UPDATE account SET follow_permitted = true")
    house.clock.advance(2 * DAY)
    perform(house.ctx, only(house, lead, "first")["id"])
    assert (acts(house), states(house, lead)) == ([], ["planned"])


# --- resume without a burst ----------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["instance", "sequence", "account"])
@pytest.mark.parametrize(
    ("caps", "pace", "room"), [({"FOLLOW_ON_TWITTER": "3/hour"}, 0, 3), ({}, 60, 2)], ids=["cap", "pace"]
)
def test_after_a_resume_the_sweep_hints_no_more_than_there_is_room_for(
    house: House, what: str, caps: dict[str, str], pace: int, room: int
) -> None:
    sql(
        house,
        "UPDATE account SET caps = %s, pace = %s",
        to_json(NO_CAPS | caps),
        to_json({"FOLLOW_ON_TWITTER": pace}),
    )
    house.publish(sequence(""))
    _pause(house, what)
    leads = house.enroll("late", friends(house, *EIGHT))
    house.pass_time(DAY, step=HOUR)
    assert acts(house) == []
    _resume(house, what)
    horizon = house.clock.now() + MINUTE
    due = [lead for lead in leads if house.lead(lead)["due_at"] <= horizon]
    assert len(due) > room, "there is a crowd that could burst out"
    hinted = [hint for hint in tick(house.ctx) if hint.actor == "advance_lead" and hint.id in leads]
    # What the last tick has hinted for later has its place in the room already.
    on_their_way = [hint for _, hint in house.soon if hint.id in leads]
    assert len(hinted) + len(on_their_way) == room
    assert [hint for one in hinted for hint in advance(house.ctx, one.id)] != []


def _pause(house: House, what: str) -> None:
    match what:
        case "instance":
            pause_all(house.ctx, "holidays", "test")
        case "sequence":
            set_sequence(house.ctx, "late", "paused", "holidays", "test")
        case _:
            set_account(house.ctx, "we", "holidays", "test")


def _resume(house: House, what: str) -> None:
    match what:
        case "instance":
            resume_all(house.ctx, "test")
        case "sequence":
            set_sequence(house.ctx, "late", "active", None, "test")
        case _:
            set_account(house.ctx, "we", None, "test")
