"""What a provider says of an account or an app stops exactly that, under its name, and nothing is lost or bursts out."""

import threading
from pathlib import Path
from typing import Any

import pytest

from outreach.models import accounts, executions
from outreach.models.base import Database, Row, Tx, to_json
from outreach.models.executions import LockedSend
from outreach.providers.base import AccountStopped, RateLimited
from outreach.runtime.claim import Claimed, claim
from outreach.runtime.control import set_account
from outreach.runtime.perform import perform
from outreach.runtime.prepare import Prepared, prepare
from outreach.runtime.refresh import refresh
from outreach.runtime.settle import settle
from outreach.runtime.tick import tick
from tests.integration.law_support import (
    DAY,
    FOLLOW,
    HOUR,
    MINUTE,
    NO_CAPS,
    WRITE,
    acts,
    execution,
    fault,
    friends,
    id_of_handle,
    mend,
    open_house,
    plan,
    rolling_most,
    roomy_account,
    sql,
    states,
)
from tests.stage import House

pytestmark = pytest.mark.servers


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    found = open_house(db, tmp_path, [f"p{n}" for n in range(8)], our_accounts=("we", "us"))
    for name in ("we", "us"):
        roomy_account(found, name)
    for text in (FOLLOW, WRITE):
        found.publish(text)
    return found


def account(house: House, name: str = "we") -> Row:
    return house.db.read("SELECT * FROM account WHERE name = %s", (name,))[0]


def everybody(house: House) -> list[int]:
    return friends(house, *[f"p{n}" for n in range(8)])


def begin(house: House, execution_id: int) -> Claimed:
    prepared = prepare(house.ctx, execution_id)
    assert isinstance(prepared, Prepared)
    claimed = claim(house.ctx, prepared)
    assert isinstance(claimed, Claimed)
    return claimed


# --- 429 -----------------------------------------------------------------------------------------------------


def test_a_full_bucket_holds_the_account_and_the_kind_until_its_reset(house: House) -> None:
    fault(house, "follow", "rate_limit", seconds=600, times=1)
    one, two, three, four = everybody(house)[:4]
    leads = house.enroll("follow", [one, two], account_names=["we"])
    assert acts(house) == []
    (hold,) = house.db.read("SELECT * FROM hold")
    until = house.clock.now() + 10 * MINUTE
    assert (hold["scope"], hold["kind"], hold["until"]) == ("account", "FOLLOW_ON_TWITTER", until)
    assert {house.lead(i)["waiting_on"] for i in leads} == {"capacity"}
    house.enroll("follow", [three], account_names=["us"])
    house.enroll("write", [four], account_names=["we"])
    assert sorted(acts(house)) == [("dm", "p3"), ("follow", "p2")]
    house.pass_time(9 * MINUTE)
    assert len(acts(house)) == 2
    house.pass_time(MINUTE)
    assert len(acts(house)) == 4


def test_an_app_that_is_told_to_wait_waits_with_all_its_accounts(house: House) -> None:
    one, two = everybody(house)[:2]
    (first,) = plan(house, "write", [one], account_names=["we"])
    (second,) = plan(house, "write", [two], account_names=["us"])
    claimed = begin(house, first)
    settle(house.ctx, claimed, RateLimited(scope="app", reset_at=house.clock.now() + HOUR))
    perform(house.ctx, second)
    verdict = execution(house, second)["verdict"]
    assert (verdict["rule"], verdict["numbers"]["scope"]) == ("hold.provider", "app")
    house.pass_time(59 * MINUTE)
    assert acts(house) == []
    house.pass_time(MINUTE)
    assert len(acts(house)) == 2


@pytest.mark.parametrize("scope", ["app", "account"])
def test_a_stop_takes_its_locks_in_the_order_of_a_claim(
    house: House, monkeypatch: pytest.MonkeyPatch, scope: str
) -> None:
    """T2 of a stop waits for a T1 that holds the app, and holds by then only what stands before the app: the person.

    Whatever it held beyond that, the T1 would come to want: a deadlock, which run() would hide behind a second try.
    """
    one, two = everybody(house)[:2]
    (first,) = plan(house, "write", [one], account_names=["we"])
    (second,) = plan(house, "write", [two], account_names=["we"])
    claimed = begin(house, first)
    stop = AccountStopped("restricted", scope="app" if scope == "app" else "account")
    tries: list[int] = []

    lock_for_sends = executions.lock_for_sends

    def counted(*arguments: Any) -> dict[int, LockedSend]:
        tries.append(1)
        return lock_for_sends(*arguments)

    monkeypatch.setattr(executions, "lock_for_sends", counted)
    stopping = threading.Thread(target=lambda: settle(house.ctx, claimed, stop))

    def t1(tx: Tx) -> None:
        tx.execute("SELECT 1 FROM app FOR NO KEY UPDATE")
        stopping.start()
        while not tx.rows("SELECT 1 FROM pg_locks WHERE NOT granted"):
            assert stopping.is_alive(), "it has not waited for the app"
            stopping.join(0.01)
        # Not held by the stop: each of these would fail, not wait. The account and the claimed row come after the app.
        tx.execute("SELECT 1 FROM account WHERE name = 'we' FOR NO KEY UPDATE NOWAIT")
        tx.execute("SELECT 1 FROM lead FOR NO KEY UPDATE NOWAIT")
        tx.execute("SELECT 1 FROM execution FOR NO KEY UPDATE NOWAIT")
        assert tx.rows("SELECT id FROM person WHERE id = %s FOR NO KEY UPDATE SKIP LOCKED", (one,)) == []

    try:
        with house.db.transaction() as tx:
            t1(tx)
    finally:
        stopping.join()
    assert (tries, states(house)) == ([1], ["planned", "planned"])
    (app,) = house.db.read("SELECT state FROM app")
    assert (app["state"], account(house)["state"]) == (
        ("restricted", "ok") if scope == "app" else ("ok", "restricted")
    )
    perform(house.ctx, second)
    assert (execution(house, second)["verdict"]["rule"], acts(house)) == (f"{scope}.restricted", [])


def test_the_sweep_does_not_even_look_at_leads_of_a_held_account(house: House) -> None:
    fault(house, "follow", "rate_limit", seconds=3600)
    house.enroll("follow", everybody(house)[:4], account_names=["we"])
    sql(house, "UPDATE lead SET due_at = %s", house.clock.now())
    assert [hint for hint in tick(house.ctx) if hint.actor == "advance_lead"] == []
    house.pass_time(5 * MINUTE)
    tried = house.simulator.faults.report()[0]["seen"]
    assert tried == 1


def test_a_hold_never_grows_shorter(house: House) -> None:
    first, second = plan(house, "follow", everybody(house)[:2], account_names=["we"])
    one, two = begin(house, first), begin(house, second)
    settle(house.ctx, one, RateLimited(reset_at=house.clock.now() + HOUR))
    settle(house.ctx, two, RateLimited(reset_at=house.clock.now() + MINUTE))
    (hold,) = house.db.read("SELECT until FROM hold")
    assert hold["until"] == house.clock.now() + HOUR


# --- 401 -----------------------------------------------------------------------------------------------------


def test_a_token_that_has_expired_is_refreshed_and_the_lead_goes_on(house: House) -> None:
    fault(house, "follow", "refuse", problem="unauthorized", times=1)
    (lead,) = house.enroll("follow", everybody(house)[:1], account_names=["we"])
    house.pass_time(2 * MINUTE)
    assert (states(house, lead), acts(house)) == (["sent"], [("follow", "p0")])
    assert (account(house)["state"], house.opened(account(house)).access_token != "token-we") == ("ok", True)


def test_a_lost_hint_does_not_leave_an_account_without_a_token(house: House) -> None:
    house.deliver = lambda hint: [] if hint.actor == "refresh_token" else [hint]
    fault(house, "follow", "refuse", problem="unauthorized", times=1)
    (lead,) = house.enroll("follow", everybody(house)[:1], account_names=["we"])
    assert account(house)["state"] == "needs_reauth"
    house.deliver = lambda hint: [hint]
    house.pass_time(3 * MINUTE)
    assert states(house, lead) == ["sent"]


def test_an_account_that_was_revoked_waits_for_a_human_and_says_so(house: House) -> None:
    one, two, three = everybody(house)[:3]
    leads = house.enroll("follow", [one], account_names=["we"])
    house.simulator.tokens.revoke(id_of_handle("we"), house.clock.now())
    leads += house.enroll("follow", [two, three], account_names=["we"])
    house.pass_time(3 * HOUR, step=10 * MINUTE)
    assert account(house)["state"] == "needs_reauth"
    assert "reconnect the account" in account(house)["state_reason"]
    assert [house.lead(i)["waiting_on"] for i in leads[1:]] == ["account"] * 2
    refused = [deed for deed in house.deeds() if deed.what == "refreshed"]
    assert refused == []


def test_a_reconnected_account_goes_on_without_a_burst(house: House) -> None:
    sql(house, "UPDATE account SET pace = '{\"FOLLOW_ON_TWITTER\": 60}' WHERE name = 'we'")
    sql(
        house,
        "UPDATE account SET state = 'needs_reauth', state_reason = 'reconnect the account: x' WHERE name = 'we'",
    )
    house.enroll("follow", everybody(house), account_names=["we"])
    house.pass_time(DAY, step=HOUR)
    assert acts(house) == []
    set_account(house.ctx, "we", None, "test")
    house.tick()
    assert len(acts(house)) == 1
    house.pass_time(20 * MINUTE)
    assert len(acts(house)) == 8
    assert rolling_most([one.t_scaled for one in house.accepted()], MINUTE) == 1


def test_a_pause_that_ends_lets_out_no_more_than_the_caps(house: House) -> None:
    caps = to_json(NO_CAPS | {"FOLLOW_ON_TWITTER": "3/hour"})
    house.db.run(lambda tx: tx.execute("UPDATE account SET caps = %s", (caps,)))
    set_account(house.ctx, "we", "holidays", "test")
    house.enroll("follow", everybody(house), account_names=["we"])
    house.pass_time(DAY, step=HOUR)
    assert acts(house) == []
    set_account(house.ctx, "we", None, "test")
    house.pass_time(4 * HOUR, step=5 * MINUTE)
    assert len(acts(house)) == 8
    assert rolling_most([one.t_scaled for one in house.accepted()], HOUR) == 3


def test_a_refresh_whose_answer_is_lost_is_not_tried_again(house: House) -> None:
    fault(house, "token", "hang", accepted=True, times=1)
    refresh(house.ctx, int(account(house)["id"]))
    assert account(house)["state"] == "needs_reauth"
    house.pass_time(10 * MINUTE)
    refresh(house.ctx, int(account(house)["id"]))
    assert [deed.what for deed in house.deeds()].count("refreshed") == 1


def test_a_refresh_that_died_leaves_the_account_to_a_human(house: House) -> None:
    account_id = int(account(house)["id"])
    later = house.clock.now() + house.ctx.call_deadline
    house.db.run(lambda tx: accounts.begin_refresh(tx, account_id, later))
    refresh(house.ctx, account_id)
    assert account(house)["state"] == "ok"
    sql(house, "UPDATE account SET state = 'needs_reauth', state_reason = 'x' WHERE id = %s", account_id)
    house.pass_time(5 * MINUTE)
    assert "not answered" in account(house)["state_reason"]
    assert [deed for deed in house.deeds() if deed.what == "refreshed"] == []


# --- 403 -----------------------------------------------------------------------------------------------------


def test_a_tier_that_lacks_the_action_stops_the_account_with_the_reason(house: House) -> None:
    fault(house, "follow", "refuse", problem="client_forbidden")
    (lead,) = house.enroll("follow", everybody(house)[:1], account_names=["we"])
    row = account(house)
    assert (row["state"], bool(row["state_reason"])) == ("tier", True)
    assert (states(house, lead), house.lead(lead)["waiting_on"]) == (["planned"], "account")
    mend(house)
    house.pass_time(3 * HOUR, step=10 * MINUTE)
    assert acts(house) == []
    set_account(house.ctx, "we", None, "test")
    house.pass_time(2 * MINUTE)
    assert acts(house) == [("follow", "p0")]


def test_a_recipient_who_cannot_be_written_to_stops_nobody_else(house: House) -> None:
    fault(house, "dm.send", "refuse", problem="cannot_dm", times=1)
    one, two = house.enroll("write", everybody(house)[:2], account_names=["we"])
    assert (house.lead(one)["state"], house.lead(two)["state"]) == ("exited", "finished")
    assert account(house)["state"] == "ok"
