"""An enrolment is undone: the untouched are stopped for good, the touched are named, beside workers and for the second time, too."""

import threading
from pathlib import Path

import pytest

from outreach.errors import NotFound
from outreach.models import batches
from outreach.models.base import Database
from outreach.runtime import claim as claiming
from outreach.runtime import undo as undoing
from outreach.runtime.call import call
from outreach.runtime.claim import Claimed, claim
from outreach.runtime.enroll import Enrolled, enroll
from outreach.runtime.perform import perform
from outreach.runtime.prepare import Prepared, prepare
from outreach.runtime.settle import settle
from outreach.runtime.undo import Undone, undo
from tests.integration.law_support import (
    HOUR,
    WRITE,
    acts,
    friends,
    linger,
    open_house,
    plan,
    race,
    roomy_account,
    sql,
    states,
)
from tests.stage import House

pytestmark = pytest.mark.servers
SIX = [f"p{n}" for n in range(6)]


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    found = open_house(db, tmp_path, SIX)
    roomy_account(found)
    found.publish(WRITE)
    return found


def batch_of(house: House) -> str:
    return str(house.db.read("SELECT DISTINCT batch FROM lead")[0]["batch"])


def undone(house: House, batch: str) -> Undone:
    return undo(house.ctx, batch, "eva", limit=100)


def enrolled_again(house: House, people: list[int]) -> Enrolled:
    name = house.segment(f"again-{house.clock.now().timestamp()}", people)
    return enroll(house.ctx, "write", [name], by="test")


def test_the_untouched_are_stopped_and_the_touched_are_named(house: House) -> None:
    executions = plan(house, "write", friends(house, *SIX))
    for one in executions[:2]:
        perform(house.ctx, one)
    answer = undone(house, batch_of(house))
    assert (answer.sequence, answer.enrolled, answer.stopped, answer.touched) == ("write", 6, 4, 2)
    assert [(r["node"], r["kind"], r["account"], r["execution_state"]) for r in answer.went_out] == [
        ("hello", "SEND_TWITTER_DM", "we", "sent")
    ] * 2
    house.pass_time(2 * HOUR)
    assert acts(house) == [("dm", "p0"), ("dm", "p1")]
    assert sorted(states(house)) == ["cancelled"] * 4 + ["sent"] * 2
    reasons = house.db.read("SELECT exit_reason, count(*) AS n FROM lead GROUP BY 1 ORDER BY 1")
    assert [(r["exit_reason"], r["n"]) for r in reasons] == [("undone", 4), (None, 2)]


def test_undoing_again_stops_nobody_and_says_the_same(house: House) -> None:
    plan(house, "write", friends(house, *SIX))
    batch = batch_of(house)
    assert undone(house, batch).stopped == 6
    house.clock.advance(HOUR)
    answer = undo(house.ctx, batch, "otto", limit=100)
    assert (answer.stopped, answer.stopped_before, answer.touched) == (0, 6, 0)
    (row,) = house.db.run(lambda tx: batches.listed(tx, 5))
    assert (row["undone_by"], row["undone_at"], row["active"]) == ("eva", house.clock.now() - HOUR, 0)


def test_only_the_batch_is_stopped(house: House) -> None:
    people = friends(house, *SIX)
    plan(house, "write", people[:3])
    batch = batch_of(house)
    plan(house, "write", people[3:])
    assert undone(house, batch).stopped == 3
    house.tick()
    assert acts(house) == [("dm", "p3"), ("dm", "p4"), ("dm", "p5")]


def test_whom_it_stopped_has_not_been_through_the_sequence(house: House) -> None:
    people = friends(house, *SIX)
    first, *_ = plan(house, "write", people)
    perform(house.ctx, first)
    undone(house, batch_of(house))
    answer = enrolled_again(house, people)
    assert (answer.enrolled, dict(answer.left_out)) == (
        5,
        {"has been through this sequence before (--again)": 1},
    )


def test_somebody_in_the_middle_of_a_call_is_touched(house: House) -> None:
    (execution,) = plan(house, "write", friends(house, "p0"))
    prepared = prepare(house.ctx, execution)
    assert isinstance(prepared, Prepared)
    claimed = claim(house.ctx, prepared)
    assert isinstance(claimed, Claimed)
    answer = undone(house, batch_of(house))
    assert (answer.stopped, answer.touched, answer.went_out[0]["execution_state"]) == (0, 1, "calling")
    settle(house.ctx, claimed, call(house.ctx, claimed))
    assert (acts(house), states(house)) == ([("dm", "p0")], ["sent"])


def test_what_was_rendered_before_is_not_sent_afterwards(house: House) -> None:
    (execution,) = plan(house, "write", friends(house, "p0"))
    prepared = prepare(house.ctx, execution)
    assert isinstance(prepared, Prepared)
    undone(house, batch_of(house))
    assert not isinstance(claim(house.ctx, prepared), Claimed)
    assert (acts(house), states(house)) == ([], ["cancelled"])


def test_a_call_that_surely_came_to_nothing_has_touched_nobody(house: House) -> None:
    (execution,) = plan(house, "write", friends(house, "p0"))
    sql(house, "UPDATE execution SET started_at = created_at, attempts = 1 WHERE id = %s", execution)
    answer = undone(house, batch_of(house))
    assert (answer.stopped, answer.called, answer.touched) == (1, 1, 0)


def test_a_claim_that_is_under_way_is_waited_for_and_its_lead_is_touched(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The undo comes while T1 has written everything and not committed it."""
    (execution,) = plan(house, "write", friends(house, "p0"))
    batch, answers = batch_of(house), list[Undone]()
    undo_thread = threading.Thread(target=lambda: answers.append(undone(house, batch)))
    looker = Database(house.db.url, pool_size=1)

    def at(point: str) -> None:
        if point == "claim.in":
            undo_thread.start()
            while not looker.read("SELECT 1 FROM pg_locks WHERE NOT granted"):
                assert undo_thread.is_alive(), "it has not waited for T1"
                undo_thread.join(0.01)

    monkeypatch.setattr(claiming, "failpoint", at)
    try:
        perform(house.ctx, execution)
    finally:
        undo_thread.join()
        looker.close()
    assert [(a.stopped, a.touched) for a in answers] == [(0, 1)]
    assert (acts(house), states(house)) == ([("dm", "p0")], ["sent"])


def test_beside_workers_everybody_is_either_stopped_or_touched(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(undoing, "_PAGE", 2)
    linger(monkeypatch, batches, "active_leads")
    planned = plan(house, "write", friends(house, *SIX))
    batch = batch_of(house)
    workers = [lambda one=one: perform(house.ctx, one) for one in planned[1:5]]
    race(*workers, lambda: undone(house, batch))
    answer = undone(house, batch)
    rows = house.db.read(
        "SELECT l.exit_reason, e.state FROM lead l JOIN execution e ON e.lead_id = l.id ORDER BY l.id"
    )
    fates = [(row["exit_reason"], row["state"]) for row in rows]
    assert set(fates) <= {("undone", "cancelled"), (None, "sent")}
    assert len(acts(house)) == fates.count((None, "sent")) == answer.touched
    assert answer.stopped == 0
    assert answer.stopped_before == fates.count(("undone", "cancelled"))


def test_a_batch_that_nobody_knows_is_not_found(house: House) -> None:
    with pytest.raises(NotFound, match="no batch 'nosuch'"):
        undone(house, "nosuch")


def test_an_enrolment_of_nobody_is_no_batch(house: House) -> None:
    people = friends(house, "p0")
    plan(house, "write", people)
    assert enrolled_again(house, people).enrolled == 0
    assert len(house.db.run(lambda tx: batches.listed(tx, 5))) == 1
