"""The law for threads that go in step: what holds for one send holds for each of a group, and nobody pays for another."""

import dataclasses
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from outreach.models.base import Database
from outreach.runtime import claim as claiming
from outreach.runtime import step
from outreach.runtime.claim import Claimed, NotClaimed, claim_all
from outreach.runtime.context import Context
from outreach.runtime.optout import opt_out
from outreach.runtime.perform import look_and_perform
from outreach.runtime.prepare import Prepared
from tests.integration.law_support import (
    FOLLOW,
    HOUR,
    MINUTE,
    WRITE,
    GrantsEverything,
    acts,
    execution,
    friends,
    open_house,
    performing,
    plan,
    roomy_account,
    sql,
    states,
)
from tests.integration.step_support import HANGS, answered, begin, going_in_step, in_one_pass, passes
from tests.stage import House

pytestmark = pytest.mark.servers
assert passes, "a fixture"

MANY = tuple(f"p{n:02}" for n in range(14))
OURS = ("we", "us")
FOLLOW_AND_WRITE = """
sequence: both
actions:
  follow: {do: FOLLOW_ON_TWITTER, next: hello}
  hello: {do: SEND_TWITTER_DM, message: "Hello. {{ opt_out }}"}
"""


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    """Two accounts of one app, without caps and pace; the ledger alone holds whatever is held."""
    found = open_house(db, tmp_path, MANY, limiter=GrantsEverything(), our_accounts=OURS, webhooks=False)
    for name in OURS:
        roomy_account(found, name)
    for text in (FOLLOW, WRITE, FOLLOW_AND_WRITE):
        found.publish(text)
    return found


def spread(house: House, sequence: str, persons: Sequence[int]) -> list[int]:
    """Planned for everybody, half by each account; the two take turns."""
    halves = [plan(house, sequence, persons[n::2], account_names=[name]) for n, name in enumerate(OURS)]
    return [one for pair in zip(*halves, strict=True) for one in pair]


def planned(house: House, sequence: str, *persons: int) -> list[int]:
    return plan(house, sequence, persons, account_names=["we"])


def followed(house: House) -> set[str]:
    return {who for kind, who in acts(house) if kind == "follow"}


def waits(house: House) -> list[str]:
    """What the active leads wait for."""
    rows = house.db.read("SELECT waiting_detail FROM lead WHERE state = 'active' ORDER BY id")
    return [row["waiting_detail"] for row in rows]


# --- caps and pace -------------------------------------------------------------------------------------------


def cap_the_sequence(house: House) -> None:
    house.publish(FOLLOW.replace("actions:", 'caps: {FOLLOW_ON_TWITTER: "7/hour"}\nactions:'))


CAPPED: dict[str, Callable[[House], None]] = {
    "account": lambda house: sql(house, """UPDATE account SET caps = caps || '{"FOLLOW_ON_TWITTER": "7/hour"}'"""),
    "app": lambda house: sql(house, """UPDATE app SET caps = '{"FOLLOW_ON_TWITTER": "7/hour"}'"""),
    "sequence": cap_the_sequence,
    "instance": lambda house: sql(house, """UPDATE instance SET caps = '{"FOLLOW_ON_TWITTER": "7/hour"}'"""),
}  # fmt: skip


@pytest.mark.parametrize("used", [0, 2])
@pytest.mark.parametrize("scope", CAPPED)
def test_a_cap_lets_exactly_so_many_of_one_pass_through(
    house: House, scope: str, used: int, passes: list[list[object]]
) -> None:
    CAPPED[scope](house)
    persons = friends(house, *MANY)
    ids = planned(house, "follow", *persons) if scope == "account" else spread(house, "follow", persons)
    for execution_id in ids[:used]:
        performing(house, execution_id)()
    passes.clear()
    assert set(in_one_pass(house, *[performing(house, i) for i in ids[used:]])) == {None}
    assert len(passes[0]) == len(MANY) - used
    house.run()
    assert len(acts(house)) == 7
    assert waits(house) == [f"cap.{scope}"] * 7


def test_who_finds_the_room_taken_by_those_before_it_waits_until_the_first_of_it_frees(house: House) -> None:
    CAPPED["app"](house)
    ids = spread(house, "follow", friends(house, *MANY))
    for execution_id in ids[:2]:
        performing(house, execution_id)()
        house.clock.advance(20 * MINUTE)
    assert set(in_one_pass(house, *[performing(house, i) for i in ids[2:]])) == {None}
    house.run()
    due = house.db.read("SELECT DISTINCT due_at FROM lead WHERE state = 'active'")
    assert [row["due_at"] for row in due] == [execution(house, ids[0])["effect_by"] + HOUR]


def test_of_one_pass_an_account_with_a_pace_begins_one(house: House) -> None:
    sql(house, """UPDATE account SET pace = '{"FOLLOW_ON_TWITTER": 60}'""")
    ids = spread(house, "follow", friends(house, *MANY[:6]))
    assert set(in_one_pass(house, *[performing(house, i) for i in ids])) == {None}
    house.run()
    begun = [row["account_id"] for row in house.executions() if row["state"] == "sent"]
    assert (len(begun), len(set(begun)), len(acts(house))) == (2, 2, 2)
    assert set(waits(house)) == {"pace.gap"}
    house.pass_time(3 * MINUTE)
    assert len(acts(house)) == 6


# --- people --------------------------------------------------------------------------------------------------


def test_two_leads_of_one_person_in_one_pass_are_one_touch(house: House) -> None:
    house.publish(WRITE.replace("sequence: write", "sequence: again"))
    ann, bob = friends(house, *MANY[:2])
    ids = [i for name in ("write", "again") for i in planned(house, name, ann, bob)]
    assert set(in_one_pass(house, *[performing(house, i) for i in ids])) == {None}
    house.run()
    assert sorted(acts(house)) == [("dm", MANY[0]), ("dm", MANY[1])]
    assert waits(house) == ["touch.gap", "touch.gap"]


def test_hints_for_one_execution_in_one_pass_make_one_call(house: House, passes: list[list[object]]) -> None:
    one, other = planned(house, "write", *friends(house, *MANY[:2]))
    works = [performing(house, i) for i in (one, other, one, one)]
    assert in_one_pass(house, *works) == [None] * 4
    house.run()
    assert len(passes[0]) == 4
    assert sorted(acts(house)) == [("dm", MANY[0]), ("dm", MANY[1])]
    assert {row["attempts"] for row in house.executions()} == {1}


def test_an_opt_out_between_two_passes_stops_what_would_have_come_next(house: House) -> None:
    persons = friends(house, *MANY[:3])
    works = [answered(house, begin(house, i)) for i in planned(house, "both", *persons)]
    opt_out(house.ctx, persons[1], reason="asked", source="operator", evidence={}, actor="test")
    assert in_one_pass(house, *works) == [None] * 3
    house.run()
    assert sorted(who for kind, who in acts(house) if kind == "dm") == [MANY[0], MANY[2]]
    left = house.db.read("SELECT exit_reason FROM lead WHERE person_id = %s", (persons[1],))
    assert (left[0]["exit_reason"], states(house).count("sent")) == ("unsubscribed", 5)


def test_an_opt_out_after_the_planning_blocks_one_of_a_pass_and_not_the_others(house: House) -> None:
    persons = friends(house, *MANY[:3])
    ids = planned(house, "follow", *persons)
    sql(house, "UPDATE person SET suppressed_at = created_at, suppression_reason = 'asked' WHERE id = %s", persons[1])  # fmt: skip
    assert in_one_pass(house, *[performing(house, i) for i in ids]) == [None] * 3
    assert followed(house) == {MANY[0], MANY[2]}
    assert [execution(house, i)["state"] for i in ids] == ["sent", "blocked", "sent"]


# --- one is poisoned -----------------------------------------------------------------------------------------


class Poisoned(Exception):
    """What one execution does to every claim that it takes part in."""


def poison(patch: pytest.MonkeyPatch, execution_id: int) -> None:
    call = claiming._call

    def poisoned(ctx: Context, prepared: Prepared) -> Any:
        if prepared.execution_id == execution_id:
            raise Poisoned
        return call(ctx, prepared)

    patch.setattr(claiming, "_call", poisoned)


def test_a_poisoned_lead_meets_its_error_by_itself(house: House, passes: list[list[object]]) -> None:
    ids = planned(house, "follow", *friends(house, *MANY[:5]))
    with pytest.MonkeyPatch.context() as patch:
        poison(patch, ids[2])
        errors = in_one_pass(house, *[performing(house, i) for i in ids])
    assert [type(error) for error in errors] == [type(None), type(None), Poisoned, type(None), type(None)]
    assert len(passes[0]) == 5
    assert [execution(house, i)["state"] for i in ids] == ["sent", "sent", "planned", "sent", "sent"]
    house.pass_time(timedelta(minutes=3))
    assert followed(house) == set(MANY[:5])


def test_what_was_claimed_before_the_poisoned_one_is_called(house: House) -> None:
    """Two of one person are claimed in two transactions: the first has committed when the second fails."""
    ann, bob = friends(house, *MANY[:2])
    first, other = planned(house, "follow", ann, bob)
    (second,) = planned(house, "write", ann)
    with pytest.MonkeyPatch.context() as patch:
        poison(patch, second)
        in_one_pass(house, *[performing(house, i) for i in (first, other, second)])
    assert [execution(house, i)["state"] for i in (first, other, second)] == ["sent", "sent", "planned"]
    house.run()
    assert (followed(house), len(acts(house))) == ({MANY[0], MANY[1]}, 3)
    assert {row["attempts"] for row in house.executions()} == {1}


# --- one is locked -------------------------------------------------------------------------------------------


def hold_person(tx: Any, person_id: int) -> None:
    tx.execute("SELECT 1 FROM person WHERE id = %s FOR UPDATE", (person_id,))


def test_a_person_whom_somebody_else_holds_does_not_hold_up_the_others_of_a_pass(house: House) -> None:
    persons = friends(house, *MANY[:4])
    ids = planned(house, "follow", *persons)
    with house.db.transaction() as tx:
        hold_person(tx, persons[1])
        with going_in_step(house, [performing(house, i) for i in ids]) as futures:
            for future in (futures[0], *futures[2:]):
                future.result(timeout=HANGS)
            assert followed(house) == {MANY[0], MANY[2], MANY[3]}
            tx.roll_back()
    assert futures[1].result() == []
    assert followed(house) == set(MANY[:4])


def test_who_is_claimed_before_a_person_that_somebody_holds_is_called_in_time(house: House) -> None:
    """They keep a pace, so they are claimed in two transactions; the guard of the first must not pass in the second."""
    sql(house, """UPDATE account SET pace = '{"FOLLOW_ON_TWITTER": 60}'""")
    persons = friends(house, *MANY[:2])
    ids = planned(house, "follow", *persons)
    with house.db.transaction() as tx:
        hold_person(tx, persons[1])
        with going_in_step(house, [performing(house, i) for i in ids]) as futures:
            futures[0].result(timeout=HANGS)
            assert followed(house) == {MANY[0]}
            tx.roll_back()
    house.hints.extend(futures[1].result())
    house.run()
    assert waits(house) == ["pace.gap"]
    house.pass_time(2 * MINUTE)
    assert (followed(house), {row["attempts"] for row in house.executions()}) == (set(MANY[:2]), {1})


def test_outcomes_do_not_wait_for_a_person_whom_somebody_else_holds(house: House) -> None:
    persons = friends(house, *MANY[:3])
    works = [answered(house, begin(house, i)) for i in planned(house, "both", *persons)]
    with house.db.transaction() as tx:
        hold_person(tx, persons[1])
        with going_in_step(house, works) as futures:
            for future in (futures[0], futures[2]):
                future.result(timeout=HANGS)
            assert sorted(states_now(house)) == ["calling", "sent", "sent", "sent", "sent"]
            tx.roll_back()
    assert futures[1].exception() is None
    assert states(house) == ["sent"] * 6
    assert len(acts(house)) == 6


def states_now(house: House) -> list[str]:
    """As another process sees them: this thread has a transaction open."""
    other = Database(house.db.url, pool_size=1)
    try:
        return [row["state"] for row in other.read("SELECT state FROM execution")]
    finally:
        other.close()


# --- outcomes ------------------------------------------------------------------------------------------------


def test_an_outcome_is_never_lost_to_a_claim(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    works = [answered(house, begin(house, i)) for i in planned(house, "both", *friends(house, *MANY[:3]))]
    seen: list[list[str]] = []

    def failing(ctx: Context, asked: Sequence[Prepared]) -> list[Claimed | NotClaimed]:
        if len(asked) > 1:
            seen.append(states(house))
            raise Poisoned
        return claim_all(ctx, asked)

    monkeypatch.setattr(step, "claim_all", failing)
    assert in_one_pass(house, *works) == [None] * 3
    assert sorted(seen[0]) == ["planned"] * 3 + ["sent"] * 3
    assert states(house) == ["sent"] * 6
    assert sorted(acts(house)) == sorted((kind, who) for kind in ("dm", "follow") for who in MANY[:3])


def test_one_that_is_looked_at_and_one_that_was_answered_go_on_in_one_pass(
    house: House, passes: list[list[object]]
) -> None:
    house.ctx = dataclasses.replace(house.ctx, carries=frozenset(["twitter"]))
    ann, bob, cid = friends(house, *MANY[:3])
    work = answered(house, begin(house, planned(house, "both", ann)[0]))
    (due,) = planned(house, "follow", bob)
    (begun,) = planned(house, "follow", cid)
    looking = execution(house, due)["lead_id"]
    assert in_one_pass(house, lambda: look_and_perform(house.ctx, looking), work, performing(house, begun)) == [None] * 3  # fmt: skip
    assert [type(item).__name__ for item in passes[0]] == ["Look", "Called", "Begin"]
    assert list(house.hints) == []
    assert sorted(acts(house)) == [("dm", MANY[0]), *[("follow", who) for who in MANY[:3]]]
    assert states(house) == ["sent"] * 4


def test_what_a_pass_leaves_to_itself_is_written_down_by_each(house: House) -> None:
    """Neither a missing word nor a cap of one keeps the others of the pass."""
    house.publish(
        WRITE.replace("sequence: write", "sequence: words\nrequires: [project]").replace(
            "Hello", "Your {{ project }}"
        )
    )
    sql(house, "UPDATE account SET caps = %s::jsonb WHERE name = 'us'", '{"FOLLOW_ON_TWITTER": "1/day"}')
    persons = friends(house, *MANY[:5])
    capped = plan(house, "follow", persons[:2], account_names=["us"])
    ids = [*capped, *planned(house, "follow", persons[2]), *planned(house, "words", *persons[3:])]
    assert set(in_one_pass(house, *[performing(house, i) for i in ids])) == {None}
    house.run()
    assert len(acts(house)) == 2
    rows = house.db.read("SELECT waiting_on FROM lead WHERE state = 'active' ORDER BY id")
    assert [row["waiting_on"] for row in rows] == ["capacity", "missing_variable", "missing_variable"]
