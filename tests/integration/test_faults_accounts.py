"""What a provider says of an account, through the whole engine: too much, no token, no tier; and fault plans from outside."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from outreach.embedded.servers import Servers
from outreach.models import accounts
from outreach.models.base import Database
from outreach.providers.base import Tokens
from outreach.providers.registry import build_providers
from outreach.runtime.control import set_account
from outreach.runtime.credentials import sealed_tokens
from outreach.runtime.refresh import refresh
from outreach.simulator import id_of_handle
from tests.integration.fault_support import DEADLINE, THREE, account, agree, on_the_wire, struck, waits
from tests.integration.law_support import (
    DAY,
    HOUR,
    MINUTE,
    acts,
    fault,
    friends,
    mend,
    open_house,
    people,
    race,
    roomy_account,
    states,
)
from tests.stage import House

pytestmark = pytest.mark.servers
FOUR_DAYS, STEP = 4 * DAY, 6 * HOUR


@pytest.fixture
def house(db: Database, tmp_path: Path, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """Nothing is pushed: what an answer did not say is known by reading alone."""
    with on_the_wire(db, tmp_path, servers, monkeypatch, webhooks=False) as found:
        found.publish(THREE)
        yield found


def all_finish(house: House, leads: list[int]) -> None:
    """The fault is over: every lead goes on to its end, and both books agree."""
    house.pass_time(FOUR_DAYS, step=STEP)
    assert (states(house), {house.lead(lead)["state"] for lead in leads}) == (
        ["sent"] * 3 * len(leads),
        {"finished"},
    )
    assert len(acts(house)) == 3 * len(leads)
    agree(house)


def refreshed(house: House) -> int:
    return [deed.what for deed in house.deeds()].count("refreshed")


# --- not yet -------------------------------------------------------------------------------------------------


def test_after_a_429_nothing_of_the_kind_goes_out_by_the_account_before_the_reset(house: House) -> None:
    fault(house, "follow", "rate_limit", seconds=1800, times=1)
    leads = house.enroll("three", friends(house, "ann", "bob", "cid"))
    reset = house.clock.now() + 30 * MINUTE
    (hold,) = house.db.read("SELECT scope, scope_id, kind, until FROM hold")
    assert hold == {
        "scope": "account",
        "scope_id": account(house)["id"],
        "kind": "FOLLOW_ON_TWITTER",
        "until": reset,
    }
    assert [(row["state"], row["attempts"]) for row in house.executions()] == [("planned", 0)] * 3
    assert [waits(house, lead) for lead in leads] == [("capacity", "hold.provider")] * 3
    assert [house.lead(lead)["due_at"] for lead in leads] == [reset] * 3
    assert house.events(leads[0])[-1] == "ActionDeferred"
    house.pass_time(29 * MINUTE)
    assert (acts(house), account(house)["state"]) == ([], "ok")
    house.pass_time(2 * MINUTE)
    assert sorted(acts(house)) == [("follow", "ann"), ("follow", "bob"), ("follow", "cid")]
    all_finish(house, leads)


# --- the account ---------------------------------------------------------------------------------------------


def test_a_401_in_mid_run_costs_one_refresh_and_no_contact(house: House) -> None:
    fault(house, "follow", "refuse", problem="unauthorized", skip=1, times=1)
    leads = house.enroll("three", friends(house, "ann", "bob", "cid"))
    assert acts(house)[0] == ("follow", "ann")
    house.pass_time(2 * MINUTE)
    assert (states(house), account(house)["state"]) == (["sent"] * 3, "ok")
    assert house.opened(account(house)).access_token.startswith("sim-access-")
    assert refreshed(house) == 1
    kinds = [
        row["kind"]
        for row in house.db.read("SELECT kind FROM event WHERE account_id IS NOT NULL ORDER BY id")
    ]
    assert [kind for kind in kinds if kind in ("AccountStopped", "TokenRefreshed")] == [
        "AccountStopped",
        "TokenRefreshed",
    ]
    all_finish(house, leads)


def test_a_refresh_token_that_was_used_already_is_tried_once_and_then_left_to_a_human(house: House) -> None:
    """Somebody else has spent it; the provider refuses its second use."""
    fault(house, "token", "delay", seconds=0)
    fault(house, "follow", "refuse", problem="unauthorized", times=1)
    ours = account(house)["id"]
    ref = house.opened(account(house))
    spent = house.ctx.providers["twitter"].refresh(ref, DEADLINE)
    assert isinstance(spent, Tokens)
    leads = house.enroll("three", friends(house, "ann", "bob"))
    assert account(house)["state"] == "needs_reauth"
    assert account(house)["state_reason"].startswith(
        "reconnect the account: the provider refused the refresh"
    )
    assert [(row["state"], row["attempts"]) for row in house.executions()] == [("planned", 0)] * 2
    assert {waits(house, lead)[0] for lead in leads} == {"account"}
    house.pass_time(DAY, step=STEP)
    assert (acts(house), struck(house)) == ([], [2, 1])
    assert refreshed(house) == 1
    sealed = sealed_tokens(house.ctx.vault, account(house), spent.access_token, spent.refresh_token)
    house.db.run(lambda tx: accounts.set_tokens(tx, ours, *sealed, None))
    set_account(house.ctx, "we", None, "eva")
    all_finish(house, leads)


def test_a_refresh_whose_answer_is_lost_is_never_tried_again(house: House) -> None:
    """The token may be spent: a second use would tell the provider that it was stolen."""
    fault(house, "token", "hang", accepted=True, seconds=60, times=1)
    fault(house, "follow", "refuse", problem="unauthorized", times=1)
    leads = house.enroll("three", friends(house, "ann", "bob"))
    house.pass_time(DAY, step=STEP)
    assert (account(house)["state"], account(house)["refresh_fence"]) == ("needs_reauth", None)
    assert (
        account(house)["state_reason"]
        == "reconnect the account: the refresh may have been spent without an answer"
    )
    assert (house.simulator.faults.report()[0]["seen"], refreshed(house), acts(house)) == (1, 1, [])
    assert {waits(house, lead)[0] for lead in leads} == {"account"}
    set_account(house.ctx, "we", None, "eva")
    house.tick()
    all_finish(house, leads)


def test_many_who_want_a_fresh_token_at_once_use_the_refresh_token_once(house: House) -> None:
    fault(house, "token", "delay", seconds=0.3)
    ours = account(house)["id"]
    race(*[lambda: refresh(house.ctx, ours)] * 4)
    assert (refreshed(house), struck(house), account(house)["state"]) == (1, [1], "ok")
    assert house.opened(account(house)).access_token.startswith("sim-access-")
    all_finish(house, house.enroll("three", friends(house, "ann")))


def test_a_tier_without_the_action_stops_the_account_and_loses_nobody(house: House) -> None:
    fault(house, "follow", "refuse", problem="client_forbidden")
    leads = house.enroll("three", friends(house, "ann", "bob"))
    assert (account(house)["state"], bool(account(house)["state_reason"])) == ("tier", True)
    assert [(row["state"], row["attempts"]) for row in house.executions()] == [("planned", 0)] * 2
    assert [waits(house, lead) for lead in leads] == [("account", "account.tier")] * 2
    house.pass_time(DAY, step=STEP)
    assert (struck(house), acts(house), account(house)["state"]) == ([1], [], "tier")
    mend(house)
    set_account(house.ctx, "we", None, "eva")
    house.tick()
    all_finish(house, leads)


# --- fault plans from outside --------------------------------------------------------------------------------


def test_a_plan_that_is_posted_strikes_until_it_is_replaced(house: House) -> None:
    client = httpx.Client(base_url=account(house)["base_url"])
    rule = {"match": {"route": "follow", "account": id_of_handle("we")}, "do": "error", "accepted": True}
    assert client.post("/__sim/faults", json={"rules": [rule]}).status_code == 200
    leads = house.enroll("three", friends(house, "ann", "bob"))
    assert states(house) == ["in_doubt", "in_doubt"]
    (shown,) = client.get("/__sim/faults").json()["rules"]
    assert (shown["struck"], shown["route"]) == (2, "follow")
    assert client.post("/__sim/faults", json={"rules": []}).json() == {"rules": []}
    client.close()
    house.pass_time(3 * MINUTE)
    assert states(house) == ["sent", "sent"]
    all_finish(house, leads)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[str]:
    """`python -m outreach.simulator --faults`: every other follow is accepted and its connection reset."""
    plan = {"rules": [{"match": {"route": "follow", "every": 2}, "do": "reset", "accepted": True}]}
    world = {
        "accounts": [{"handle": "we", "access_token": "token-we", "refresh_token": "refresh-we", "follow_permitted": True}],
        "people": people("ann", "bob", "cid"),
    }  # fmt: skip
    for name, content in (("plan", plan), ("world", world)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    words = [
        sys.executable, "-m", "outreach.simulator", "--keep-bodies",
        "--world", str(tmp_path / "world.json"), "--witness", str(tmp_path / "outside.jsonl"), "--faults", str(tmp_path / "plan.json"),
    ]  # fmt: skip
    running = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    yield running.stdout.readline().removeprefix("ready ").strip()
    running.terminate()
    assert running.wait() == 0
    running.stdout.close()


def test_a_plan_file_is_obeyed_by_the_program_and_outlived_by_the_engine(
    db: Database, tmp_path: Path, process: str
) -> None:
    house = open_house(db, tmp_path, webhooks=False)
    house.ctx = replace(
        house.ctx, providers=build_providers(True, read_deadline_seconds=5.0, inbox_lag_seconds=0)
    )
    house.witness_path = tmp_path / "outside.jsonl"
    roomy_account(house, base_url=process)
    house.publish(THREE)
    leads = house.enroll("three", friends(house, "ann", "bob", "cid"))
    assert states(house) == ["in_doubt", "sent", "in_doubt"]
    assert httpx.get(f"{process}/__sim/faults").json()["rules"] == [
        {"route": "follow", "do": "reset", "seen": 3, "struck": 2}
    ]
    house.pass_time(3 * MINUTE)
    assert states(house) == ["sent", "sent", "sent"]
    all_finish(house, leads)
