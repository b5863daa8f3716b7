"""Calls that go wrong, through the whole engine: what the ledger says, where the lead stands, and what the provider really took."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from outreach.embedded.servers import Servers
from outreach.models.base import Database
from outreach.runtime.human import skip
from tests.integration.fault_support import ALL_THREE, THREE, agree, on_the_wire, struck, waits
from tests.integration.law_support import DAY, HOUR, MINUTE, acts, fault, friends, mend, states
from tests.stage import House

pytestmark = pytest.mark.servers
FOUR_DAYS, STEP = 4 * DAY, 6 * HOUR
#: which call of the sequence goes wrong, and when it is made after enrollment
CALLS = pytest.mark.parametrize(("route", "after", "nth"), [("follow", 0 * HOUR, 0), ("dm.send", HOUR, 1)])
NO_ANSWER = pytest.mark.parametrize(
    "how",
    [{"do": "error", "status": 500}, {"do": "error", "status": 503}, {"do": "hang", "seconds": 60}, {"do": "reset"}],
    ids=["500", "503", "hang", "reset"],
)  # fmt: skip


@pytest.fixture
def house(db: Database, tmp_path: Path, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
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
    house: House, how: dict[str, Any], route: str, after: timedelta, nth: int
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
    house: House, how: dict[str, Any]
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
    house: House, how: dict[str, Any]
) -> None:
    fault(house, "dm.send", accepted=False, times=1, **how)
    lead = start(house, HOUR)
    assert (states(house, lead), acts(house)) == (["sent", "in_doubt"], [("follow", "ann")])
    house.pass_time(5 * MINUTE)
    row = house.executions(lead)[1]
    assert (row["state"], row["attempts"], row["effect_by"]) == ("held", 1, row["call_deadline"])
    assert waits(house, lead) == ("doubt", "held")
    (task,) = house.db.read("SELECT id, kind, state, reason, execution_id FROM task")
    assert (task["kind"], task["state"], task["reason"], task["execution_id"]) == (
        "held",
        "open",
        "held",
        row["id"],
    )
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


@pytest.mark.parametrize(
    "how", [{"do": "truncate"}, {"do": "garble"}, {"do": "drip", "seconds": 600}], ids=str
)
@CALLS
def test_a_yes_that_cannot_be_read_is_a_yes_and_its_echo_no_second_send(
    told: House, how: dict[str, Any], route: str, after: timedelta, nth: int
) -> None:
    fault(told, route, times=1, **how)
    lead = start(told, after)
    row = told.executions(lead)[nth]
    assert (row["state"], row["attempts"], len(acts(told))) == ("sent", 1, nth + 1)
    assert "ActionInDoubt" not in told.events(lead)
    assert struck(told) == [1]
    finishes(told, lead)
