"""The sweep and its hints: lost, doubled, late and forged hints change nothing; a tick claims what there is room for."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from outreach.limits.limiter import MemoryLimiter
from outreach.models.base import Database, Tx
from outreach.models.health import unexplained
from outreach.runtime.advance import advance
from outreach.runtime.digest import digest
from outreach.runtime.hints import Hint
from outreach.runtime.lookup import look_up
from outreach.runtime.perform import perform
from outreach.runtime.poll import poll
from outreach.runtime.reconcile import reconcile
from outreach.runtime.refresh import refresh
from outreach.runtime.resolve import resolve
from outreach.runtime.tick import tick
from tests.integration.law_support import (
    DAY,
    FOLLOW,
    FOLLOW_THEN_UNFOLLOW,
    HOUR,
    MINUTE,
    NO_CAPS,
    WRITE_AND_LISTEN,
    acts,
    fault,
    friends,
    open_house,
    race,
    rolling_most,
    roomy_account,
    sql,
    states,
)
from tests.stage import House

pytestmark = pytest.mark.servers
HANDLES = tuple(f"p{n}" for n in range(12))


def story(house: House) -> Counter[tuple[str, str]]:
    """Six days in which people are written to, answer, keep silent, say stop, and follow back."""
    house.publish(WRITE_AND_LISTEN)
    house.publish(FOLLOW_THEN_UNFOLLOW)
    persons = friends(house, *HANDLES)
    house.enroll("listen", persons[:8])
    house.enroll("follow-unfollow", persons[8:])
    house.pass_time(DAY, step=HOUR)
    house.says("p0", "Yes please, sounds great!")
    house.says("p1", "STOP")
    house.says("p2", "No thanks, not interested")
    we = house.simulator.network.by_handle("we")
    them = house.simulator.network.by_handle("p8")
    assert we is not None
    assert them is not None
    house.simulator.acts.follow_back(house.clock.now(), them.id, we.id)
    house.pass_time(5 * DAY, step=HOUR)
    house.pass_time(10 * MINUTE)
    return Counter(acts(house))


EXPECTED = Counter(
    {
        **{("dm", f"p{n}"): 1 for n in range(3)},
        ("dm", "p0"): 2,
        **{("dm", f"p{n}"): 2 for n in range(3, 8)},
        **{("follow", f"p{n}"): 1 for n in range(8, 12)},
        **{("unfollow", f"p{n}"): 1 for n in range(9, 12)},
    }
)


def lossy(dice: random.Random) -> Callable[[Hint], Sequence[Hint]]:
    return lambda hint: [hint] if dice.random() < 0.5 else []


def doubled(dice: random.Random) -> Callable[[Hint], Sequence[Hint]]:
    return lambda hint: [hint] * dice.choice((1, 2, 3))


def shuffled(dice: random.Random) -> Callable[[Hint], Sequence[Hint]]:
    held: list[Hint] = []

    def deliver(hint: Hint) -> Sequence[Hint]:
        held.append(hint)
        if len(held) < 4:
            return []
        dice.shuffle(held)
        out = list(held)
        held.clear()
        return out

    return deliver


@pytest.mark.parametrize("trouble", [None, lossy, doubled, shuffled])
def test_hints_may_be_lost_doubled_or_out_of_order_and_the_same_is_done(
    db: Database,
    tmp_path: Path,
    trouble: Callable[[random.Random], Callable[[Hint], Sequence[Hint]]] | None,
) -> None:
    house = open_house(db, tmp_path, HANDLES)
    roomy_account(house)
    if trouble is not None:
        house.deliver = trouble(random.Random(7))
    assert story(house) == EXPECTED
    assert set(states(house)) == {"sent"}
    assert house.db.read("SELECT id FROM lead WHERE state = 'active'") == []


def test_without_any_webhook_the_reads_find_it_all(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path, HANDLES, webhooks=False)
    roomy_account(house)
    assert story(house) == EXPECTED


def test_forged_hints_touch_nothing(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path, HANDLES)
    account = roomy_account(house)
    house.publish(WRITE_AND_LISTEN)
    (lead,) = house.enroll("listen", friends(house, "p0"))
    before = (house.lead(lead), house.executions(), acts(house))
    for number in (-1, 0, 1, 2, 99_999):
        for actor in (advance, digest, reconcile, perform):
            actor(house.ctx, number)
    refresh(house.ctx, account)
    look_up(house.ctx, account)
    resolve(house.ctx, account)
    poll(house.ctx, account)
    after = (house.lead(lead), house.executions(), acts(house))
    assert after == before


def test_two_sweeps_at_once_hint_each_lead_once(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path, HANDLES)
    roomy_account(house)
    due_for_follow(house)
    leads = [row["id"] for row in house.db.read("SELECT id FROM lead")]
    answers = race(*[lambda: tick(house.ctx)] * 4)
    hinted = Counter(hint.id for hints in answers for hint in hints if hint.actor == "advance_lead")
    assert hinted == Counter(leads)


def test_a_hinted_lead_is_hinted_again_only_when_the_lease_is_over(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path, HANDLES, hint_lease_seconds=120.0)
    roomy_account(house)
    house.publish(FOLLOW)
    house.deliver = lambda hint: []
    house.enroll("follow", friends(house, *HANDLES))
    counts = []
    for _ in range(4):
        counts.append(sum(hint.actor == "advance_lead" for hint in tick(house.ctx)))
        house.clock.advance(MINUTE)
    # Enrolling has hinted them first.
    assert counts == [0, 0, 12, 0]


# --- how much one tick takes ---------------------------------------------------------------------------------


def due_for_follow(house: House, pace: int = 0, caps: str = "none") -> None:
    """Everybody's follow is planned and due; nobody has been told."""
    house.publish(FOLLOW)
    sql(house, "UPDATE account SET caps = jsonb_build_object('FOLLOW_ON_TWITTER', %s::text)", caps)
    sql(house, "UPDATE account SET pace = jsonb_build_object('FOLLOW_ON_TWITTER', %s::int)", pace)
    house.deliver = lambda hint: [hint] if hint.actor == "advance_lead" else []
    house.enroll("follow", friends(house, *HANDLES))


def leads_hinted(hints: Sequence[Hint]) -> list[Hint]:
    return [hint for hint in hints if hint.actor == "advance_lead"]


def test_a_tick_takes_no_more_leads_than_the_cap_has_room_for(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path, HANDLES)
    roomy_account(house)
    due_for_follow(house, caps="5/hour")
    assert len(leads_hinted(tick(house.ctx))) == 5


def test_a_tick_takes_no_more_leads_than_the_pace_can_start(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path, HANDLES)
    roomy_account(house)
    due_for_follow(house, pace=20)
    hinted = leads_hinted(tick(house.ctx))
    assert [hint.after for hint in hinted] == [0, 20, 40, 60]


def test_one_accounts_crowd_does_not_keep_another_account_waiting(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path, HANDLES, our_accounts=("we", "us"))
    for name in ("we", "us"):
        roomy_account(house, name, caps=NO_CAPS | {"FOLLOW_ON_TWITTER": "1/hour"})
    house.publish(FOLLOW)
    persons = friends(house, *HANDLES)
    house.deliver = lambda hint: [hint] if hint.actor == "advance_lead" else []
    house.enroll("follow", persons[:11], account_names=["we"])
    house.enroll("follow", persons[11:], account_names=["us"])
    accounts = {house.lead(hint.id)["account_id"] for hint in leads_hinted(tick(house.ctx))}
    assert len(accounts) == 2


def test_the_cost_of_a_tick_does_not_grow_with_the_number_of_leads(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handles = [f"q{n}" for n in range(300)]
    house = open_house(db, tmp_path, handles)
    roomy_account(house)
    house.publish(FOLLOW)
    persons = friends(house, *handles)
    house.deliver = lambda hint: [hint] if hint.actor == "advance_lead" else []
    statements: list[str] = []
    write_out: Any = Tx._text

    def counting(self: Tx, query: str, params: Any) -> Any:
        statements.append(query)
        return write_out(self, query, params)

    costs = []
    for group in (persons[:10], persons[10:]):
        house.enroll("follow", group)
        sql(house, "UPDATE lead SET hinted_until = NULL")
        monkeypatch.setattr(Tx, "_text", counting)
        hinted = len(leads_hinted(tick(house.ctx)))
        monkeypatch.undo()
        costs.append((hinted, len(statements)))
        statements.clear()
    assert [hinted for hinted, _ in costs] == [10, 200]
    assert costs[1][1] <= costs[0][1]


# --- what is lost with Redis ---------------------------------------------------------------------------------


def test_a_limiter_lost_again_and_again_costs_nothing_but_reading_the_ledger(
    db: Database, tmp_path: Path
) -> None:
    house = open_house(db, tmp_path, HANDLES)
    roomy_account(house, caps=NO_CAPS | {"SEND_TWITTER_DM": "3/hour", "FOLLOW_ON_TWITTER": "3/hour"})
    limiter = house.ctx.limiter
    assert isinstance(limiter, MemoryLimiter)

    def losing(hint: Hint) -> Sequence[Hint]:
        limiter._logs.clear()
        return [hint]

    house.deliver = losing
    assert story(house) == EXPECTED
    for kind in ("dm", "follow"):
        stamps = [one.t_scaled for one in house.accepted() if one.kind == kind]
        assert rolling_most(stamps, HOUR) == 3


def test_a_limiter_that_does_not_answer_lets_nothing_through(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from outreach.limits.scope import Unavailable

    house = open_house(db, tmp_path, HANDLES)
    roomy_account(house, caps=NO_CAPS | {"FOLLOW_ON_TWITTER": "3/hour"})
    house.publish(FOLLOW)
    monkeypatch.setattr(house.ctx.limiter, "acquire", lambda *_: Unavailable(detail="down"))
    (lead,) = house.enroll("follow", friends(house, "p0"))
    assert (acts(house), house.lead(lead)["waiting_detail"]) == ([], "limiter.unavailable")
    monkeypatch.undo()
    house.pass_time(2 * MINUTE)
    assert acts(house) == [("follow", "p0")]


# --- the watchdog --------------------------------------------------------------------------------------------


def test_the_watchdog_names_what_is_overdue_and_nothing_else(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path, HANDLES)
    roomy_account(house)
    house.publish(FOLLOW)
    house.deliver = lambda hint: []
    one, two = house.enroll("follow", friends(house, "p0", "p1"))
    sql(house, "UPDATE lead SET paused_at = %s, pause_reason = 'x' WHERE id = %s", house.clock.now(), two)
    house.clock.advance(timedelta(seconds=91))
    late = house.db.run(lambda tx: unexplained(tx, house.clock.now(), timedelta(seconds=90)))
    assert [row["id"] for row in late] == [one]


def test_events_that_fall_outside_every_month_do_not_stop_the_sweep(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path, HANDLES)
    roomy_account(house)
    house.publish(FOLLOW)
    house.clock.advance(200 * DAY)
    house.enroll("follow", friends(house, "p0"))
    assert house.db.read("SELECT count(*) AS n FROM event_default")[0]["n"] > 0
    house.pass_time(5 * MINUTE)
    assert acts(house) == [("follow", "p0")]


def test_a_fault_of_one_lead_does_not_hold_up_the_others(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path, HANDLES)
    roomy_account(house)
    house.publish(FOLLOW)
    fault(house, "follow", "hang", accepted=False, times=1)
    house.enroll("follow", friends(house, *HANDLES[:4]))
    assert len(acts(house)) == 3
