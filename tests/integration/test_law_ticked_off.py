"""Own messages that are pushed and say what the ledger knows: ticked off without a digest. What it does not know is understood."""

from pathlib import Path

import pytest

from outreach.models.base import Database, Row
from outreach.providers.base import Accepted, InboundItem, InboundKind, NotStarted, Unknown
from outreach.runtime import hints
from outreach.runtime.accept import Push, _accept_all, accept
from outreach.runtime.call import call
from outreach.runtime.erase import erase
from outreach.runtime.hints import Hints
from outreach.runtime.settle import settle
from tests.integration.law_support import (
    MINUTE,
    WRITE,
    acts,
    execution,
    friends,
    id_of_handle,
    open_house,
    plan,
    roomy_account,
    states,
)
from tests.integration.step_support import begin
from tests.stage import House

pytestmark = pytest.mark.servers
HELLO = "Hello. Reply STOP and I will not write again."


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    """Nothing is pushed unless the test does it."""
    found = open_house(db, tmp_path, webhooks=False)
    roomy_account(found)
    found.publish(WRITE)
    return found


def own(handle: str, message: str, text: str = HELLO) -> InboundItem:
    """Our account's message as the provider pushes it."""
    return InboundItem(
        kind=InboundKind.MESSAGE_OUT, content_id=f"dm:{message}", account_external_id=id_of_handle("we"), peer=id_of_handle(handle),
        occurred_at=None, text=text,
    )  # fmt: skip


def pushed(house: House, *items: InboundItem) -> Hints:
    return accept(house.ctx, "twitter", items)


def arrived(house: House) -> list[Row]:
    return house.db.read("SELECT id, state, person_id, content_id FROM inbound ORDER BY id")


def told(house: House) -> list[str]:
    return [row["state"] for row in arrived(house)]


def sent(house: House, *execution_ids: int) -> list[str]:
    """Called and settled; what the provider calls the messages."""
    for execution_id in execution_ids:
        claimed = begin(house, execution_id)
        settle(house.ctx, claimed, call(house.ctx, claimed))
    return [execution(house, i)["provider_ids"]["dm_event_id"] for i in execution_ids]


def test_the_echo_of_a_settled_send_is_ticked_off_where_it_is_stored(house: House) -> None:
    (ann,) = friends(house, "ann")
    (execution_id,) = plan(house, "write", [ann])
    (message,) = sent(house, execution_id)
    row = execution(house, execution_id)
    before = (row, house.lead(row["lead_id"]), house.events(row["lead_id"]))
    assert pushed(house, own("ann", message)) == []
    assert [(one["state"], one["person_id"]) for one in arrived(house)] == [("digested", ann)]
    house.pass_time(5 * MINUTE)
    assert (
        execution(house, execution_id),
        house.lead(row["lead_id"]),
        house.events(row["lead_id"]),
    ) == before
    assert states(house) == ["sent"]


def test_the_echo_of_a_call_under_way_is_ticked_off_by_its_own_answer(house: House) -> None:
    (ann,) = friends(house, "ann")
    claimed = begin(house, plan(house, "write", [ann])[0])
    assert pushed(house, own("ann", "77")) == []
    assert told(house) == ["stored"]
    settle(house.ctx, claimed, Accepted({"dm_event_id": "77"}))
    assert [(one["state"], one["person_id"]) for one in arrived(house)] == [("digested", ann)]
    house.pass_time(5 * MINUTE)
    assert states(house) == ["sent"]


@pytest.mark.parametrize("answer", ["none", "in doubt"])
def test_the_echo_of_a_call_whose_answer_is_lost_settles_it(house: House, answer: str) -> None:
    claimed = begin(house, plan(house, "write", friends(house, "ann"))[0])
    pushed(house, own("ann", "77"))
    if answer == "in doubt":
        settle(house.ctx, claimed, Unknown("the line broke"))
    house.tick()
    row = execution(house, claimed.execution_id)
    assert (row["state"], row["provider_ids"]["dm_event_id"], told(house)) == ("sent", "77", ["digested"])


def test_an_answer_ticks_off_its_own_message_and_no_other(house: House) -> None:
    claimed = begin(house, plan(house, "write", friends(house, "ann"))[0])
    pushed(house, own("ann", "77"), own("ann", "78", "By hand"))
    settle(house.ctx, claimed, Accepted({"dm_event_id": "77"}))
    assert told(house) == ["digested", "stored"]
    house.pass_time(10 * MINUTE)
    assert told(house) == ["digested", "digested"]
    assert sorted(row["cause"] == "by_hand" for row in house.executions()) == [False, True]


def test_a_message_of_another_id_during_a_call_that_did_nothing_is_understood(house: House) -> None:
    claimed = begin(house, plan(house, "write", friends(house, "ann"))[0])
    pushed(house, own("ann", "78", "By hand"))
    settle(house.ctx, claimed, NotStarted("no line"))
    assert told(house) == ["stored"]
    house.pass_time(10 * MINUTE)
    assert set(told(house)) == {"digested"}
    assert [row["cause"] for row in house.executions()].count("by_hand") == 1


def test_of_many_that_come_at_once_only_what_is_new_is_digested(house: House) -> None:
    persons = friends(house, "ann", "bob", "cid")
    first, second, third = plan(house, "write", persons)
    to_ann, to_bob = sent(house, first, second)
    begin(house, third)
    heard = InboundItem(
        kind=InboundKind.MESSAGE_IN, content_id="dm:5", account_external_id=id_of_handle("we"), peer=id_of_handle("bob"),
        occurred_at=None, text="Hello you",
    )  # fmt: skip
    pushes = [
        Push("twitter", [own("ann", to_ann), own("ann", "6", "By hand")], "webhook"),
        Push("twitter", [heard], "webhook"),
        Push("twitter", [own("cid", "9"), own("bob", to_bob)], "poll"),
    ]
    found = _accept_all(house.ctx, pushes)
    rows = {row["content_id"]: row for row in arrived(house)}
    assert found == [[hints.digest(rows["dm:6"]["id"])], [hints.digest(rows["dm:5"]["id"])], []]
    settled = {f"dm:{message}" for message in (to_ann, to_bob)}
    assert {key for key, row in rows.items() if row["state"] == "digested"} == settled
    assert (rows[f"dm:{to_ann}"]["person_id"], rows[f"dm:{to_bob}"]["person_id"]) == tuple(persons[:2])


def test_the_same_id_of_another_account_is_another_message(house: House) -> None:
    roomy_account(house, "us")
    (message,) = sent(house, *plan(house, "write", friends(house, "ann"), account_names=["we"]))
    item = own("ann", message)
    theirs = InboundItem(
        kind=item.kind, content_id=item.content_id, account_external_id=id_of_handle("us"), peer=item.peer,
        occurred_at=None, text="By hand, from the other one",
    )  # fmt: skip
    assert len(pushed(house, theirs)) == 1
    assert told(house) == ["stored"]


def test_the_echo_of_what_was_sent_to_somebody_who_was_erased_names_nobody(house: House) -> None:
    (ann,) = friends(house, "ann")
    (message,) = sent(house, *plan(house, "write", [ann]))
    assert erase(house.ctx, ann, by="test")
    assert len(pushed(house, own("ann", message))) == 1
    row = house.db.read("SELECT * FROM inbound")[0]
    assert (row["state"], row["person_id"], row["peer"], row["text"]) == ("stored", None, "", None)
    house.tick()
    assert (states(house), len(acts(house))) == (["sent"], 1)


def test_an_echo_that_was_not_yet_ticked_off_forgets_whom_it_was_to(house: House) -> None:
    """It waits for its call's answer, which comes after the person has been erased."""
    (ann,) = friends(house, "ann")
    claimed = begin(house, plan(house, "write", [ann])[0])
    pushed(house, own("ann", "77"))
    assert not erase(house.ctx, ann, by="test"), "a call is under way"
    settle(house.ctx, claimed, Accepted({"dm_event_id": "77"}))
    assert erase(house.ctx, ann, by="test")
    house.tick()
    rows = house.db.read("SELECT * FROM inbound")
    assert [(row["state"], row["peer"], row["text"]) for row in rows] == [("digested", "", None)]
