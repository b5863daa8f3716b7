"""Calls that go wrong, through the whole engine: what the ledger says, where the lead stands, and what the provider really took."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from outreach.embedded.servers import Servers
from outreach.models import accounts
from outreach.models.base import Database
from outreach.providers.base import Tokens
from outreach.runtime.context import account_ref
from outreach.runtime.control import set_account
from outreach.runtime.human import done, skip
from tests.integration.fault_support import ALL_THREE, DEADLINE, THREE, account, agree, on_the_wire, struck, waits
from tests.integration.law_support import DAY, HOUR, MINUTE, acts, fault, friends, mend, states
from tests.stage import House

pytestmark = pytest.mark.servers
SECOND = timedelta(seconds=1)
FOUR_DAYS, STEP = 4 * DAY, 6 * HOUR
#: which call of the sequence goes wrong, and when it is made after enrollment
CALLS = pytest.mark.parametrize(("route", "after", "nth"), [("follow", 0 * HOUR, 0), ("dm.send", HOUR, 1)])
NO_ANSWER = pytest.mark.parametrize(
    "how",
    [{"do": "error", "status": 500}, {"do": "error", "status": 503}, {"do": "hang", "seconds": 60}, {"do": "reset"}],
    ids=["500", "503", "hang", "reset"],
)  # fmt: skip


@pytest.fixture
def house(
    db: Database, tmp_path: Path, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> Iterator[House]:
    """Nothing is pushed: what a call did not say is known by reading alone."""
    with on_the_wire(db, tmp_path, servers, monkeypatch, webhooks=False) as found:
        found.publish(THREE)
        yield found


@pytest.fixture
def told(db: Database, tmp_path: Path, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """The provider pushes what happens, our own acts too."""
    with on_the_wire(db, tmp_path, servers, monkeypatch) as found:
        found.publish(THREE)
        yield found


def start(house: House, after: timedelta, handle: str = "ann") -> int:
    """A lead that has come to its faulty call."""
    (lead,) = house.enroll("three", friends(house, handle))
    house.pass_time(after, step=HOUR)
    return lead


def finishes(house: House, lead: int) -> None:
    """The fault is over: the lead goes on to its end, and both books agree."""
    house.pass_time(FOUR_DAYS, step=STEP)
    assert (states(house, lead), [kind for kind, _ in acts(house)]) == (["sent"] * 3, ALL_THREE)
    assert (house.lead(lead)["state"], house.lead(lead)["waiting_on"]) == ("finished", None)
    assert house.events(lead).count("ActionSent") == 3
    agree(house)


# --- no answer -----------------------------------------------------------------------------------------------


@NO_ANSWER
@CALLS
def test_a_call_that_was_accepted_and_never_answered_is_found_and_not_made_again(
    house: House, how: dict[str, object], route: str, after: timedelta, nth: int
) -> None:
    fault(house, route, accepted=True, times=1, **how)
    lead = start(house, after)
    row = house.executions(lead)[nth]
    assert (row["state"], row["attempts"], row["effect_by"]) == ("in_doubt", 1, row["call_deadline"])
    assert (waits(house, lead), len(acts(house))) == (("doubt", "in_doubt"), nth + 1)
    assert house.lead(lead)["due_at"] == row["call_deadline"] + house.ctx.settle
    house.pass_time(3 * MINUTE)
    row = house.executions(lead)[nth]
    assert (row["state"], row["attempts"], row["read_backs"]) == ("sent", 1, 0)
    assert struck(house) == [1]
    finishes(house, lead)


@NO_ANSWER
def test_a_follow_that_was_not_accepted_is_proven_absent_and_made_once(
    house: House, how: dict[str, object]
) -> None:
    fault(house, "follow", accepted=False, times=1, **how)
    lead = start(house, 0 * HOUR)
    assert (states(house, lead), waits(house, lead), acts(house)) == (["in_doubt"], ("doubt", "in_doubt"), [])
    house.pass_time(3 * MINUTE)
    (row,) = house.executions(lead)
    assert (row["state"], row["attempts"], acts(house)) == ("sent", 2, [("follow", "ann")])
    assert [kind for kind in house.events(lead) if kind.startswith("Action")] == [
        "ActionScheduled", "ActionClaimed", "ActionInDoubt", "ActionAbsent", "ActionClaimed", "ActionSent",
    ]  # fmt: skip
    finishes(house, lead)


@NO_ANSWER
def test_a_message_that_was_not_accepted_is_held_for_a_human_and_never_made_again(
    house: House, how: dict[str, object]
) -> None:
    fault(house, "dm.send", accepted=False, times=1, **how)
    lead = start(house, HOUR)
    assert (states(house, lead), acts(house)) == (["sent", "in_doubt"], [("follow", "ann")])
    house.pass_time(5 * MINUTE)
    row = house.executions(lead)[1]
    assert (row["state"], row["attempts"], row["effect_by"]) == ("held", 1, row["call_deadline"])
    assert waits(house, lead) == ("doubt", "held")
    (task,) = house.db.read("SELECT id, kind, state, reason, execution_id FROM task")
    assert (task["kind"], task["state"], task["reason"], task["execution_id"]) == ("held", "open", "held", row["id"])
    house.pass_time(FOUR_DAYS, step=STEP)
    assert (states(house, lead), acts(house)) == (["sent", "held"], [("follow", "ann")])
    agree(house, held=1)
    skip(house.ctx, task["id"], "eva")
    assert (states(house, lead), house.lead(lead)["exit_reason"]) == (["sent", "skipped"], "skipped by eva")
    agree(house)


@CALLS
def test_an_own_echo_settles_a_call_that_was_accepted_and_hung(
    told: House, route: str, after: timedelta, nth: int
) -> None:
    fault(told, route, "hang", accepted=True, seconds=60, times=1)
    fault(told, "dm.with", "error", status=503)
    fault(told, "users.by_ids", "error", status=503)
    lead = start(told, after)
    row = told.executions(lead)[nth]
    assert (row["state"], row["attempts"], "ActionInDoubt" in told.events(lead)) == ("sent", 1, True)
    assert struck(told) == [1, 0, 0]
    mend(told)
    finishes(told, lead)


def test_a_message_that_comes_about_after_all_is_settled_by_its_echo_even_if_it_is_held(told: House) -> None:
    fault(told, "dm.send", "late", seconds=600, times=1)
    fault(told, "dm.list", "error", status=503)
    lead = start(told, HOUR)
    told.pass_time(5 * MINUTE)
    assert (states(told, lead), len(acts(told))) == (["sent", "held"], 1)
    told.pass_time(6 * MINUTE)
    assert (states(told, lead), acts(told)) == (["sent", "sent"], [("follow", "ann"), ("dm", "ann")])
    assert [row["state"] for row in told.db.read("SELECT state FROM task")] == ["done"]
    mend(told)
    finishes(told, lead)


# --- an answer that cannot be read ---------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{"do": "truncate"}, {"do": "garble"}, {"do": "drip", "seconds": 600}], ids=str)
@CALLS
def test_a_yes_that_cannot_be_read_is_a_yes_and_its_echo_no_second_send(
    told: House, how: dict[str, object], route: str, after: timedelta, nth: int
) -> None:
    fault(told, route, times=1, **how)
    lead = start(told, after)
    row = told.executions(lead)[nth]
    assert (row["state"], row["attempts"], len(acts(told))) == ("sent", 1, nth + 1)
    assert "ActionInDoubt" not in told.events(lead)
    assert struck(told) == [1]
    finishes(told, lead)


# --- not yet -------------------------------------------------------------------------------------------------


def test_after_a_429_nothing_of_the_kind_goes_out_by_the_account_before_the_reset(house: House) -> None:
    fault(house, "follow", "rate_limit", seconds=1800, times=1)
    leads = house.enroll("three", friends(house, "ann", "bob", "cid"))
    reset = house.clock.now() + 30 * MINUTE
    (hold,) = house.db.read("SELECT scope, scope_id, kind, until FROM hold")
    assert hold == {"scope": "account", "scope_id": account(house)["id"], "kind": "FOLLOW_ON_TWITTER", "until": reset}
    assert [(row["state"], row["attempts"]) for row in house.executions()] == [("planned", 0)] * 3
    assert [waits(house, lead) for lead in leads] == [("capacity", "hold.provider")] * 3
    assert [house.lead(lead)["due_at"] for lead in leads] == [reset] * 3
    assert house.events(leads[0])[-1] == "ActionDeferred"
    house.pass_time(29 * MINUTE)
    assert (acts(house), account(house)["state"]) == ([], "ok")
    house.pass_time(2 * MINUTE)
    assert sorted(acts(house)) == [("follow", "ann"), ("follow", "bob"), ("follow", "cid")]
    house.pass_time(FOUR_DAYS, step=STEP)
    assert (states(house), {house.lead(lead)["state"] for lead in leads}) == (["sent"] * 9, {"finished"})
    agree(house)


# --- the account ---------------------------------------------------------------------------------------------


def test_a_401_in_mid_run_costs_one_refresh_and_no_contact(house: House) -> None:
    fault(house, "follow", "refuse", problem="unauthorized", skip=1, times=1)
    leads = house.enroll("three", friends(house, "ann", "bob", "cid"))
    assert acts(house)[0] == ("follow", "ann")
    house.pass_time(2 * MINUTE)
    assert (states(house), account(house)["state"]) == (["sent"] * 3, "ok")
    assert account(house)["access_token"].startswith("sim-access-")
    assert [deed.what for deed in house.deeds()].count("refreshed") == 1
    kinds = [row["kind"] for row in house.db.read("SELECT kind FROM event WHERE account_id IS NOT NULL ORDER BY id")]
    assert [kind for kind in kinds if kind in ("AccountStopped", "TokenRefreshed")] == ["AccountStopped", "TokenRefreshed"]
    house.pass_time(FOUR_DAYS, step=STEP)
    assert (states(house), {house.lead(lead)["state"] for lead in leads}) == (["sent"] * 9, {"finished"})
    agree(house)


def test_a_refresh_token_that_was_used_already_is_tried_once_and_then_left_to_a_human(house: House) -> None:
    """Somebody else has spent it; the provider refuses its second use."""
    fault(house, "token", "delay", seconds=0)
    fault(house, "follow", "refuse", problem="unauthorized", times=1)
    ours = account(house)["id"]
    ref = account_ref(house.db.run(lambda tx: accounts.get(tx, ours)))
    spent = house.ctx.providers["twitter"].refresh(ref, DEADLINE)
    assert isinstance(spent, Tokens)
    leads = house.enroll("three", friends(house, "ann", "bob"))
    assert account(house)["state"] == "needs_reauth"
    assert account(house)["state_reason"].startswith("reconnect the account: the provider refused the refresh")
    assert [(row["state"], row["attempts"]) for row in house.executions()] == [("planned", 0)] * 2
    assert {waits(house, lead)[0] for lead in leads} == {"account"}
    house.pass_time(DAY, step=STEP)
    assert (acts(house), struck(house)) == ([], [2, 1])
    assert [deed.what for deed in house.deeds()].count("refreshed") == 1
    house.db.run(lambda tx: accounts.set_tokens(tx, ours, spent.access_token, spent.refresh_token, None))
    set_account(house.ctx, "we", None, "eva")
    house.pass_time(FOUR_DAYS + HOUR, step=STEP)
    assert (states(house), {house.lead(lead)["state"] for lead in leads}) == (["sent"] * 6, {"finished"})
    agree(house)
