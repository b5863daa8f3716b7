"""Opt-outs: binding at commit, effective after the last T2, for the human and not the handle, whatever races."""

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from outreach.models import claims
from outreach.models.base import SENDS_LOCK, Database
from outreach.models.instance import drain_claims
from outreach.providers.base import Accepted, Unknown
from outreach.runtime.claim import Claimed, claim
from outreach.runtime.control import pause_all, resume_all
from outreach.runtime.draining import drain_person
from outreach.runtime.human import done, skip
from outreach.runtime.optout import opt_out, opt_out_identifier
from outreach.runtime.perform import perform
from outreach.runtime.prepare import Prepared, prepare
from outreach.runtime.settle import settle
from tests.integration.law_support import (
    DAY,
    FOLLOW,
    MINUTE,
    WRITE,
    WRITE_AND_LISTEN,
    GrantsEverything,
    acts,
    execution,
    friends,
    id_of_handle,
    linger,
    open_house,
    performing,
    plan,
    race,
    roomy_account,
    sql,
    states,
)
from tests.stage import House

pytestmark = pytest.mark.servers
MANY = tuple(f"p{n}" for n in range(200))


def say_no(house: House, person_id: int) -> bool:
    return opt_out(house.ctx, person_id, reason="asked", source="operator", evidence={}, actor="test")


def person(house: House, person_id: int) -> dict[str, object]:
    return house.db.read("SELECT * FROM person WHERE id = %s", (person_id,))[0]


def begin(house: House, execution_id: int) -> Claimed:
    """T1 alone: the call is ours and not made."""
    prepared = prepare(house.ctx, execution_id)
    assert isinstance(prepared, Prepared)
    claimed = claim(house.ctx, prepared)
    assert isinstance(claimed, Claimed)
    return claimed


# --- racing --------------------------------------------------------------------------------------------------


def test_of_two_hundred_opt_outs_that_race_their_sends_none_is_followed_by_a_message(
    db: Database, tmp_path: Path
) -> None:
    house = open_house(db, tmp_path, MANY, limiter=GrantsEverything())
    roomy_account(house)
    house.publish(WRITE)
    persons = friends(house, *MANY)
    planned = plan(house, "write", persons)
    #: what the provider had taken when an opt-out was answered as effective, and what it has taken in the end
    before: dict[int, int] = {}

    def objecting(person_id: int) -> Callable[[], object]:
        def work() -> object:
            if say_no(house, person_id):
                before[person_id] = taken(house, person_id)
            return None

        return work

    for start in range(0, len(persons), 10):
        pairs = list(zip(persons, planned, strict=True))[start : start + 10]
        race(*[w for who, what in pairs for w in (objecting(who), performing(house, what))])
    for person_id, count in before.items():
        assert taken(house, person_id) == count
    assert all(person(house, p)["suppression_effective_at"] for p in persons)
    outcomes = {row["state"] for row in house.executions()}
    assert outcomes <= {"sent", "cancelled"}
    for execution_id, person_id in zip(planned, persons, strict=True):
        assert taken(house, person_id) == (execution(house, execution_id)["state"] == "sent")


def taken(house: House, person_id: int) -> int:
    (row,) = house.db.read("SELECT value FROM identity WHERE person_id = %s", (person_id,))
    return sum(one.recipient == row["value"] for one in house.accepted())


def test_after_an_opt_out_has_returned_nothing_planned_can_be_claimed(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path)
    roomy_account(house)
    house.publish(WRITE)
    (ann,) = friends(house, "ann")
    (execution_id,) = plan(house, "write", [ann])
    assert say_no(house, ann) is True
    perform(house.ctx, execution_id)
    assert (acts(house), execution(house, execution_id)["state"]) == ([], "cancelled")


def test_a_planned_row_that_escaped_the_stop_is_blocked_by_the_gate(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path)
    roomy_account(house)
    house.publish(WRITE)
    (ann,) = friends(house, "ann")
    (execution_id,) = plan(house, "write", [ann])
    sql(
        house,
        "UPDATE person SET suppressed_at = %s, suppression_reason = 'x' WHERE id = %s",
        house.clock.now(),
        ann,
    )
    perform(house.ctx, execution_id)
    row = execution(house, execution_id)
    assert (acts(house), row["state"], row["reason"]) == ([], "blocked", "suppression.person")


# --- effective -----------------------------------------------------------------------------------------------


def test_an_opt_out_is_effective_only_when_the_last_call_is_settled(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path)
    roomy_account(house)
    house.publish(WRITE)
    (ann,) = friends(house, "ann")
    claimed = begin(house, plan(house, "write", [ann])[0])
    assert say_no(house, ann) is False
    assert person(house, ann)["suppression_effective_at"] is None
    settle(house.ctx, claimed, Accepted({}))
    assert person(house, ann)["suppression_effective_at"] == house.clock.now()
    assert states(house) == ["sent"]


def test_of_two_calls_under_way_the_last_to_be_settled_makes_an_opt_out_effective(
    db: Database, tmp_path: Path
) -> None:
    house = open_house(db, tmp_path)
    roomy_account(house)
    for text in (WRITE, FOLLOW):
        house.publish(text)
    (ann,) = friends(house, "ann")
    message, follow = (begin(house, plan(house, name, [ann])[0]) for name in ("write", "follow"))
    assert say_no(house, ann) is False
    settle(house.ctx, follow, Accepted({}))
    house.clock.advance(timedelta(seconds=5))
    drain_person(house.ctx, ann)
    assert person(house, ann)["suppression_effective_at"] is None
    settle(house.ctx, message, Accepted({}))
    assert person(house, ann)["suppression_effective_at"] == house.clock.now()
    told = [row["kind"] for row in house.db.read("SELECT kind FROM event WHERE lead_id IS NULL ORDER BY id")]
    assert told.count("SuppressionEffective") == 1


def test_saying_it_again_says_what_is_true_and_tells_it_once(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path)
    (ann,) = friends(house, "ann")
    assert [say_no(house, ann), say_no(house, ann)] == [True, True]
    told = house.db.read("SELECT kind FROM event WHERE person_id = %s ORDER BY id", (ann,))
    assert [row["kind"] for row in told] == ["PersonSuppressed", "SuppressionEffective"]


def test_a_doubt_holds_an_opt_out_open_until_its_settle_time_is_over(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path)
    roomy_account(house)
    house.publish(WRITE)
    (ann,) = friends(house, "ann")
    claimed = begin(house, plan(house, "write", [ann])[0])
    say_no(house, ann)
    settle(house.ctx, claimed, Unknown("no answer"))
    assert person(house, ann)["suppression_effective_at"] is None
    deadline = execution(house, claimed.execution_id)["call_deadline"]
    house.pass_time(5 * MINUTE)
    effective = person(house, ann)["suppression_effective_at"]
    assert effective is not None
    assert effective >= deadline + house.ctx.settle


def test_a_call_whose_worker_died_is_reaped_though_its_lead_has_left(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path)
    roomy_account(house)
    house.publish(WRITE)
    (ann,) = friends(house, "ann")
    claimed = begin(house, plan(house, "write", [ann])[0])
    say_no(house, ann)
    house.pass_time(20 * MINUTE)
    row = execution(house, claimed.execution_id)
    assert row["state"] == "held"
    assert person(house, ann)["suppression_effective_at"] is not None


# --- whose opt-out -------------------------------------------------------------------------------------------


def two_fronts(db: Database, folder: Path) -> tuple[House, int, list[int]]:
    """Ann is in two sequences, by two accounts of ours, both under way."""
    house = open_house(db, folder, our_accounts=("we", "us"))
    for name in ("we", "us"):
        roomy_account(house, name)
    sql(house, """UPDATE instance SET policy = '{"touch": {"gap_hours": 0, "limit": 9, "days": 30}}'""")
    house.publish(WRITE_AND_LISTEN)
    house.publish(WRITE_AND_LISTEN.replace("sequence: listen", "sequence: listen-too"))
    (ann,) = friends(house, "ann")
    leads = house.enroll("listen", [ann], account_names=["we"])
    leads += house.enroll("listen-too", [ann], account_names=["us"])
    assert acts(house) == [("dm", "ann")] * 2
    return house, ann, leads


def test_a_stop_word_stops_the_human_everywhere(db: Database, tmp_path: Path) -> None:
    house, ann, leads = two_fronts(db, tmp_path)
    house.says("ann", "STOP", to="us")
    house.run()
    assert [house.lead(i)["exit_reason"] for i in leads] == ["unsubscribed"] * 2
    assert person(house, ann)["suppression_effective_at"] is not None
    house.pass_time(10 * DAY, step=DAY)
    assert acts(house) == [("dm", "ann")] * 2


def test_a_stop_word_of_somebody_who_is_in_no_sequence_is_remembered(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path)
    roomy_account(house)
    house.publish(WRITE)
    house.says("bob", "unsubscribe")
    house.run()
    (bob,) = friends(house, "bob")
    house.enroll("write", [bob])
    house.pass_time(MINUTE)
    assert acts(house) == []


def test_an_identifier_on_the_list_blocks_whoever_carries_it(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path)
    roomy_account(house)
    house.publish(WRITE)
    hmac = house.ctx.peppers.digest("twitter_id", id_of_handle("ann"))
    opt_out_identifier(house.ctx, hmac, reason="asked", source="operator", evidence={}, actor="test")
    (ann,) = friends(house, "ann")
    (lead,) = house.enroll("write", [ann])
    assert (acts(house), house.lead(lead)["exit_reason"]) == ([], "suppression.identifier")


def test_an_unclear_word_pauses_the_human_and_asks_somebody(db: Database, tmp_path: Path) -> None:
    house, _ann, leads = two_fronts(db, tmp_path)
    house.says("ann", "Could you stop by our booth tomorrow?")
    house.run()
    (task,) = house.db.read("SELECT * FROM task")
    assert (task["kind"], task["state"], task["reason"]) == ("decide", "open", "reply.unclear")
    assert [house.lead(i)["waiting_on"] for i in leads] == ["pause"] * 2
    house.pass_time(5 * DAY, step=DAY)
    assert acts(house) == [("dm", "ann")] * 2


def test_when_the_unclear_word_was_no_opt_out_it_was_a_reply(db: Database, tmp_path: Path) -> None:
    house, ann, leads = two_fronts(db, tmp_path)
    house.says("ann", "Could you stop by our booth tomorrow?")
    house.run()
    (task,) = house.db.read("SELECT id FROM task")
    house.hints.extend(done(house.ctx, task["id"], "somebody"))
    house.run()
    assert person(house, ann)["paused_at"] is None
    # They did answer: nobody may go on as if there had been silence.
    house.pass_time(5 * DAY, step=DAY)
    assert acts(house) == [("dm", "ann")] * 2
    assert [house.lead(i)["exit_reason"] for i in leads] == ["replied"] * 2


def test_a_person_whom_nobody_resumes_stays_paused(db: Database, tmp_path: Path) -> None:
    house, ann, _ = two_fronts(db, tmp_path)
    house.says("ann", "Could you stop by our booth tomorrow?")
    house.run()
    (task,) = house.db.read("SELECT id FROM task")
    skip(house.ctx, task["id"], "somebody")
    house.pass_time(5 * DAY, step=DAY)
    assert person(house, ann)["paused_at"] is not None
    assert acts(house) == [("dm", "ann")] * 2


def test_a_reply_stops_every_lead_of_the_human_on_every_account(db: Database, tmp_path: Path) -> None:
    house, _ann, leads = two_fronts(db, tmp_path)
    house.says("ann", "Who is this?", to="us")
    house.run()
    assert [house.lead(i)["exit_reason"] for i in leads] == ["replied"] * 2


def test_a_reply_also_stops_what_has_not_yet_begun(db: Database, tmp_path: Path) -> None:
    house, ann, _ = two_fronts(db, tmp_path)
    house.publish(
        "sequence: later\nactions:\n  pause: {do: WAIT, for: 1d, next: follow}\n  follow: {do: FOLLOW_ON_TWITTER}\n"
    )
    (waiting,) = house.enroll("later", [ann], account_names=["we"])
    house.says("ann", "Who is this?", to="us")
    house.run()
    assert house.lead(waiting)["exit_reason"] == "replied"


def test_whoever_wrote_before_we_ever_did_is_not_taken_for_an_answer(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path)
    roomy_account(house)
    house.publish(
        "sequence: later\nactions:\n  pause: {do: WAIT, for: 1d, next: follow}\n  follow: {do: FOLLOW_ON_TWITTER}\n"
    )
    (lead,) = house.enroll("later", friends(house, "ann"))
    house.says("ann", "Hello there, nice talk")
    house.run()
    assert house.lead(lead)["state"] == "active"


def test_out_of_office_is_no_reply(db: Database, tmp_path: Path) -> None:
    house, _, leads = two_fronts(db, tmp_path)
    house.says("ann", "Automatic reply: I am out of the office until Monday.")
    house.run()
    assert [house.lead(i)["state"] for i in leads] == ["active"] * 2
    kinds = {row["kind"] for row in house.db.read("SELECT kind FROM signal")}
    assert kinds == {"OUT_OF_OFFICE"}


# --- stops without a person ----------------------------------------------------------------------------------


def test_pause_all_returns_when_no_earlier_claim_can_begin_any_more(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linger(monkeypatch, claims, "facts")
    house = open_house(db, tmp_path, MANY[:8], limiter=GrantsEverything())
    roomy_account(house)
    house.publish(FOLLOW)
    planned = plan(house, "follow", friends(house, *MANY[:8]))
    seen: list[int] = []

    def pausing() -> object:
        threading.Event().wait(0.08)
        pause_all(house.ctx, "a test", "test")
        (row,) = house.db.read("SELECT count(*) AS n FROM execution WHERE started_at IS NOT NULL")
        seen.append(row["n"])
        return None

    race(pausing, *[performing(house, i) for i in planned])
    (row,) = house.db.read("SELECT count(*) AS n FROM execution WHERE started_at IS NOT NULL")
    assert [row["n"]] == seen
    resume_all(house.ctx, "test")
    house.pass_time(5 * MINUTE)
    assert len(acts(house)) == 8


def test_draining_waits_for_a_claim_that_is_under_way(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path)
    order: list[str] = []

    def holding() -> object:
        with house.db.transaction() as tx:
            tx.execute("SELECT pg_advisory_xact_lock_shared(%s)", (SENDS_LOCK,))
            begun.set()
            threading.Event().wait(0.3)
            order.append("claim")
        return None

    begun = threading.Event()

    def draining() -> object:
        begun.wait()
        drain_claims(house.db, SENDS_LOCK)
        order.append("drained")
        return None

    race(holding, draining)
    assert order == ["claim", "drained"]
