"""Stop, pause and merge change the lead at once and never the open execution; one human is one human."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from outreach.errors import UsageError
from outreach.models import claims, persons
from outreach.models.base import Database
from outreach.providers.base import Accepted
from outreach.runtime.claim import Claimed, NotClaimed, claim
from outreach.runtime.control import (
    pause_lead,
    pause_person,
    resume_lead,
    set_sequence,
    stop_lead,
    unpause_person,
)
from outreach.runtime.merge import merge
from outreach.runtime.optout import opt_out
from outreach.runtime.perform import perform
from outreach.runtime.prepare import Prepared, prepare
from outreach.runtime.settle import settle
from tests.integration.law_support import (
    DAY,
    FOLLOW,
    HOUR,
    MINUTE,
    WRITE,
    WRITE_AND_LISTEN,
    GrantsEverything,
    acts,
    execution,
    friends,
    open_house,
    performing,
    plan,
    race,
    roomy_account,
    states,
)
from tests.stage import House

pytestmark = pytest.mark.servers


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    found = open_house(db, tmp_path, ("ann", "ann2", "bob"))
    roomy_account(found)
    for text in (FOLLOW, WRITE, WRITE_AND_LISTEN):
        found.publish(text)
    return found


def begin(house: House, execution_id: int) -> Claimed:
    prepared = prepare(house.ctx, execution_id)
    assert isinstance(prepared, Prepared)
    claimed = claim(house.ctx, prepared)
    assert isinstance(claimed, Claimed)
    return claimed


def lead_of(house: House, execution_id: int) -> int:
    return int(execution(house, execution_id)["lead_id"])


# --- stop ----------------------------------------------------------------------------------------------------


def test_a_stopped_lead_is_gone_at_once_and_its_call_ends_by_itself(house: House) -> None:
    claimed = begin(house, plan(house, "listen", friends(house, "ann"))[0])
    lead = lead_of(house, claimed.execution_id)
    stop_lead(house.ctx, lead, "enough", "test")
    assert (house.lead(lead)["state"], house.lead(lead)["exit_reason"]) == ("exited", "enough")
    assert states(house) == ["calling"]
    settle(house.ctx, claimed, Accepted({}))
    assert (states(house), house.lead(lead)["state"]) == (["sent"], "exited")
    house.pass_time(5 * DAY, step=DAY)
    assert len(house.executions()) == 1


def test_what_a_stopped_lead_had_planned_is_cancelled(house: House) -> None:
    (execution_id,) = plan(house, "write", friends(house, "ann"))
    stop_lead(house.ctx, lead_of(house, execution_id), "enough", "test")
    perform(house.ctx, execution_id)
    assert (states(house), acts(house)) == (["cancelled"], [])
    with pytest.raises(UsageError, match="exited: enough"):
        stop_lead(house.ctx, lead_of(house, execution_id), "again", "test")


# --- pause ---------------------------------------------------------------------------------------------------


def test_a_paused_lead_stays_where_it_is_and_goes_on_from_there(house: House) -> None:
    (lead,) = house.enroll("listen", friends(house, "ann"))
    pause_lead(house.ctx, lead, "a look", "test")
    house.pass_time(5 * DAY, step=6 * HOUR)
    assert (len(acts(house)), house.lead(lead)["cursor"]) == (1, "check")
    house.hints.extend(resume_lead(house.ctx, lead, "test"))
    house.pass_time(10 * MINUTE)
    assert len(acts(house)) == 2


def test_what_was_rendered_before_a_pause_cannot_be_claimed_after_it(house: House) -> None:
    (execution_id,) = plan(house, "write", friends(house, "ann"))
    prepared = prepare(house.ctx, execution_id)
    assert isinstance(prepared, Prepared)
    lead = lead_of(house, execution_id)
    pause_lead(house.ctx, lead, "a look", "test")
    resume_lead(house.ctx, lead, "test")
    refused = claim(house.ctx, prepared)
    assert isinstance(refused, NotClaimed)
    assert refused.verdict is not None
    assert (refused.verdict.rule, states(house)) == ("stale.epoch", ["planned"])
    house.hints.extend(refused.hints)
    house.run()
    assert acts(house) == [("dm", "ann")]


def test_a_paused_person_is_left_alone_by_every_sequence(house: House) -> None:
    (ann,) = friends(house, "ann")
    planned = plan(house, "write", [ann]) + plan(house, "follow", [ann])
    pause_person(house.ctx, ann, "a look", "test")
    for execution_id in planned:
        perform(house.ctx, execution_id)
    house.pass_time(DAY, step=HOUR)
    assert acts(house) == []
    house.hints.extend(unpause_person(house.ctx, ann, "test"))
    house.run()
    assert sorted(acts(house)) == [("dm", "ann"), ("follow", "ann")]


def test_a_paused_sequence_holds_its_leads_and_nobody_elses(house: House) -> None:
    (ann,) = friends(house, "ann")
    planned = plan(house, "write", [ann]) + plan(house, "follow", [ann])
    set_sequence(house.ctx, "write", "paused", "a look", "test")
    for execution_id in planned:
        perform(house.ctx, execution_id)
    assert acts(house) == [("follow", "ann")]
    set_sequence(house.ctx, "write", "active", None, "test")
    house.pass_time(MINUTE)
    assert acts(house) == [("follow", "ann"), ("dm", "ann")]


# --- merge ---------------------------------------------------------------------------------------------------


def test_of_two_leads_in_one_sequence_the_furthest_goes_on(house: House) -> None:
    older, newer = friends(house, "ann", "ann2")
    behind = lead_of(house, plan(house, "listen", [older])[0])
    (ahead,) = house.enroll("listen", [newer])
    ledger = house.executions()
    merged = merge(house.ctx, newer, older, evidence="the same mail", by="test")
    assert (merged.kept, merged.gone, merged.stopped) == (older, newer, (behind,))
    assert house.lead(behind)["exit_reason"] == "merged_duplicate"
    assert (house.lead(ahead)["state"], house.lead(ahead)["person_id"]) == ("active", older)
    after = {row["id"]: row for row in house.executions()}
    for row in ledger:
        changed = {k for k in row if row[k] != after[row["id"]][k]}
        assert changed == (set() if row["lead_id"] == ahead else {"state", "reason", "settled_at"})


def test_leads_in_different_sequences_all_go_on(house: House) -> None:
    one, two = friends(house, "ann", "ann2")
    house.enroll("listen", [one])
    planned = plan(house, "follow", [two])
    assert merge(house.ctx, one, two, evidence="x", by="test").stopped == ()
    for execution_id in planned:
        perform(house.ctx, execution_id)
    assert acts(house)[-1] == ("follow", "ann2")


def test_who_opted_out_as_one_has_opted_out_as_the_other(house: House) -> None:
    one, two = friends(house, "ann", "ann2")
    (execution_id,) = plan(house, "write", [two])
    opt_out(house.ctx, one, reason="asked", source="operator", evidence={}, actor="test")
    merged = merge(house.ctx, two, one, evidence="x", by="test")
    perform(house.ctx, execution_id)
    assert (merged.suppressed, acts(house), states(house)) == (True, [], ["cancelled"])
    (row,) = house.db.read("SELECT suppressed_at, suppression_effective_at FROM person WHERE id = %s", (one,))
    assert row["suppression_effective_at"] is not None


def test_a_merge_with_a_call_under_way_is_effective_when_that_is_settled(house: House) -> None:
    one, two = friends(house, "ann", "ann2")
    claimed = begin(house, plan(house, "write", [two])[0])
    opt_out(house.ctx, one, reason="asked", source="operator", evidence={}, actor="test")
    merge(house.ctx, one, two, evidence="x", by="test")
    query = "SELECT suppression_effective_at AS at FROM person WHERE id = %s"
    assert house.db.read(query, (one,))[0]["at"] is None
    house.clock.advance(MINUTE)
    settle(house.ctx, claimed, Accepted({}))
    assert house.db.read(query, (one,))[0]["at"] == house.clock.now()


def test_touches_of_both_count_for_the_one(house: House) -> None:
    one, two = friends(house, "ann", "ann2")
    house.enroll("write", [one])
    (execution_id,) = plan(house, "listen", [two])
    merge(house.ctx, one, two, evidence="x", by="test")
    perform(house.ctx, execution_id)
    assert execution(house, execution_id)["verdict"]["rule"] == "touch.gap"


def test_a_merge_that_races_its_own_sends_loses_nothing(db: Database, tmp_path: Path) -> None:
    handles = [f"p{n}" for n in range(24)]
    house = open_house(db, tmp_path, handles, limiter=GrantsEverything())
    roomy_account(house)
    house.publish(FOLLOW)
    persons = friends(house, *handles)
    planned = plan(house, "follow", persons)
    pairs = [(persons[n], persons[n + 1]) for n in range(0, 24, 2)]
    for n, pair in enumerate(pairs):
        race(performing(house, planned[2 * n]), merging(house, *pair), performing(house, planned[2 * n + 1]))
    house.pass_time(5 * MINUTE)
    accepted = {name for _, name in acts(house)}
    sent = {row["id"] for row in house.executions() if row["state"] == "sent"}
    assert len(accepted) == len(acts(house)) == len(sent)
    assert {row["state"] for row in house.executions()} <= {"sent", "cancelled"}
    open_leads = house.db.read("SELECT id FROM lead WHERE state = 'active'")
    assert open_leads == []


def merging(house: House, one: int, two: int) -> Callable[[], object]:
    return lambda: merge(house.ctx, two, one, evidence="x", by="test")


def test_a_claim_that_waited_for_a_merge_holds_the_person_whom_the_lead_then_belongs_to(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an opt-out of that person would not see the call that is about to begin."""
    kept, gone = friends(house, "ann", "ann2")
    (execution_id,) = plan(house, "write", [gone])
    prepared = prepare(house.ctx, execution_id)
    assert isinstance(prepared, Prepared)
    locked, read = threading.Event(), threading.Event()
    facts = claims.facts

    def resting(*args: Any, **options: Any) -> Any:
        answer = facts(*args, **options)
        read.set()
        threading.Event().wait(0.3)
        return answer

    monkeypatch.setattr(claims, "facts", resting)

    def merging_slowly() -> object:
        with house.db.transaction() as tx:
            persons.lock(tx, gone)
            locked.set()
            threading.Event().wait(0.2)
            tx.execute("UPDATE lead SET person_id = %s", (kept,))
            tx.execute("UPDATE identity SET person_id = %s", (kept,))
        return None

    def claiming() -> object:
        locked.wait()
        return claim(house.ctx, prepared)

    def objecting() -> object:
        read.wait()
        return opt_out(house.ctx, kept, reason="asked", source="operator", evidence={}, actor="test")

    _, claimed, effective = race(merging_slowly, claiming, objecting)
    assert isinstance(claimed, Claimed)
    assert effective is False
    settle(house.ctx, claimed, Accepted({}))
    effective_at = "SELECT suppression_effective_at AS at FROM person WHERE id = %s"
    assert house.db.read(effective_at, (kept,))[0]["at"] is not None


def test_one_person_cannot_be_merged_with_themselves(house: House) -> None:
    (ann,) = friends(house, "ann")
    with pytest.raises(UsageError, match="is one already"):
        merge(house.ctx, ann, ann, evidence="x", by="test")
