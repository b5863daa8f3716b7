"""A lead that kills whoever looks at it is counted before each try, tried alone, and parked; what merely waits is never blamed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from outreach import failpoints
from outreach.models.base import Database
from outreach.runtime.hints import Hint
from outreach.runtime.perform import look_and_perform
from outreach.runtime.suspect import IN_VAIN, try_lead
from outreach.runtime.tick import tick
from tests.integration.law_support import FOLLOW, MINUTE, open_house, roomy_account, sql
from tests.stage import House

pytestmark = pytest.mark.servers


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    house = open_house(db, tmp_path)
    house.ctx = replace(house.ctx, carries=frozenset({"twitter"}))
    roomy_account(house)
    house.publish(FOLLOW)
    return house


def enrolled(house: House, *handles: str) -> list[int]:
    """Enrolled; nobody has looked yet, and the lease of their hints is over."""
    deliver, house.deliver = house.deliver, lambda _hint: []
    found = house.enroll("follow", [house.person(handle) for handle in handles])
    house.deliver = deliver
    house.clock.advance(MINUTE)
    return found


@contextmanager
def deadly(lead_id: int, point: str) -> Iterator[None]:
    """Whoever has this lead in hand at this point dies."""

    def die(at: str, leads: object) -> None:
        if at == point and isinstance(leads, tuple) and lead_id in leads:
            raise Killed

    failpoints._deadly = die
    try:
        yield
    finally:
        failpoints._deadly = None


def work(house: House, hint: Hint) -> bool:
    """As a worker does; False: it died of it."""
    try:
        house.hints.extend((try_lead if hint.actor == "try_lead" else look_and_perform)(house.ctx, hint.id))
    except Killed:
        return False
    return True


def minute(house: House) -> list[Hint]:
    """A sweep, and what it hints of leads."""
    hints = [hint for hint in tick(house.ctx) if hint.actor in ("advance_lead", "try_lead")]
    house.clock.advance(MINUTE)
    return hints


def apart(house: House, answer: Callable[[int], str | None]) -> None:
    house.ctx = replace(house.ctx, apart=answer)


def suspected(house: House, lead_id: int, attempts: int = 0) -> None:
    sql(house, "UPDATE lead SET hints = %s, attempts = %s WHERE id = %s", IN_VAIN + 1, attempts, lead_id)


@pytest.mark.parametrize("point", ["perform.before", "claim.before"])
def test_it_is_tried_five_times_with_its_name_written_down_and_parked_and_the_rest_goes_on(
    house: House, point: str
) -> None:
    bad, good, better = enrolled(house, "ann", "bob", "cid")
    alone: list[int] = []
    apart(house, lambda lead_id: alone.append(lead_id) or "killed by SIGSEGV")  # type: ignore[func-returns-value]  # that is the point
    workers_died = 0
    with deadly(bad, point):
        for _ in range(60):
            for hint in minute(house):
                workers_died += not work(house, hint)
    lead = house.lead(bad)
    assert (lead["waiting_on"], lead["attempts"]) == ("pause", 5)
    assert lead["pause_reason"] == "failed 5 times: its process died: killed by SIGSEGV"
    assert house.events(bad)[-1] == "LeadParked"
    assert alone == [bad] * 4
    assert workers_died == IN_VAIN + 1, "after that it is looked at by itself only, whoever comes"
    assert [house.lead(one)["state"] for one in (good, better)] == ["finished"] * 2
    assert len(house.accepted()) == 2


def test_who_waits_for_an_hour_in_a_queue_that_nobody_takes_from_is_blamed_for_nothing(house: House) -> None:
    leads = enrolled(house, "ann", "bob", "cid")
    waiting = [hint for _ in range(60) for hint in minute(house)]
    assert len(waiting) == 180
    assert {house.lead(lead_id)["attempts"] for lead_id in leads} == {0}
    for hint in waiting:
        assert work(house, hint)
    assert [house.lead(lead_id)["state"] for lead_id in leads] == ["finished"] * 3
    assert len(house.accepted()) == 3


def test_an_outage_of_ten_minutes_parks_nobody_and_the_first_sweep_after_it_moves_everybody(
    house: House,
) -> None:
    leads = enrolled(house, "ann", "bob", "cid")
    for _ in range(10):
        minute(house)  # it hints, and nothing arrives
    for hint in minute(house):
        work(house, hint)
    rows = [house.lead(lead_id) for lead_id in leads]
    assert [(row["state"], row["attempts"], row["hints"]) for row in rows] == [("finished", 0, 0)] * 3


def test_a_look_that_ends_leaves_nothing_on_its_name(house: House) -> None:
    (lead_id,) = enrolled(house, "ann")
    suspected(house, lead_id, attempts=1)
    seen = []
    apart(house, lambda one: seen.append(house.lead(one)["attempts"]))
    try_lead(house.ctx, lead_id)
    assert seen == [2], "counted before it began"
    assert (house.lead(lead_id)["attempts"], house.lead(lead_id)["hints"]) == (0, 0)


def test_one_is_tried_apart_at_a_time_and_who_waits_is_not_counted(house: House) -> None:
    (lead_id,) = enrolled(house, "ann")
    suspected(house, lead_id, attempts=1)
    apart(house, lambda _: pytest.fail("another is being tried"))
    with house.ctx.alone:
        assert try_lead(house.ctx, lead_id) == []
    assert house.lead(lead_id)["attempts"] == 1


def test_a_step_that_another_process_would_take_is_taken_apart_at_once(house: House) -> None:
    (lead_id,) = enrolled(house, "ann")
    house.ctx = replace(house.ctx, carries=frozenset())
    look_and_perform(house.ctx, lead_id)  # planned, and hinted to a queue that nobody takes from
    suspected(house, lead_id)
    asked: list[int] = []
    apart(house, asked.append)
    try_lead(house.ctx, lead_id)
    assert asked == [lead_id]


def test_our_own_code_that_fails_is_counted_once(house: House) -> None:
    (lead_id,) = enrolled(house, "ann")
    sql(house, "UPDATE lead SET cursor = 'nowhere' WHERE id = %s", lead_id)
    suspected(house, lead_id)
    with pytest.raises(KeyError):
        try_lead(house.ctx, lead_id)
    assert house.lead(lead_id)["attempts"] == 1


def test_what_is_open_is_settled_and_never_blamed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    (lead_id,) = enrolled(house, "ann")
    monkeypatch.setattr("outreach.runtime.perform.call", _dies)
    with pytest.raises(Killed):
        look_and_perform(house.ctx, lead_id)
    monkeypatch.undo()
    suspected(house, lead_id, attempts=4)
    apart(house, lambda _: pytest.fail("it is settled like any other"))
    house.clock.advance(MINUTE)
    try_lead(house.ctx, lead_id)
    assert house.events(lead_id)[-1] == "ActionInDoubt"
    assert (house.lead(lead_id)["attempts"], house.lead(lead_id)["paused_at"]) == (4, None)


def _dies(*_: object) -> None:
    raise Killed


def test_a_stale_hint_of_one_that_has_moved_does_nothing(house: House) -> None:
    (lead_id,) = enrolled(house, "ann")
    assert try_lead(house.ctx, lead_id) == []
    assert house.executions() == []


def test_what_is_only_planned_has_not_moved_and_what_is_done_has(house: House) -> None:
    (lead_id,) = enrolled(house, "ann")
    sql(house, "UPDATE lead SET hints = 2 WHERE id = %s", lead_id)
    house.ctx = replace(house.ctx, carries=frozenset())
    look_and_perform(house.ctx, lead_id)
    assert (house.lead(lead_id)["next_kind"], house.lead(lead_id)["hints"]) == ("FOLLOW_ON_TWITTER", 2)
    house.ctx = replace(house.ctx, carries=frozenset({"twitter"}))
    look_and_perform(house.ctx, lead_id)
    assert house.lead(lead_id)["hints"] == 0
