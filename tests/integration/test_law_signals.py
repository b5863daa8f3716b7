"""One content is one signal of a lead, by whichever way and however often it comes."""

from pathlib import Path

import pytest

from outreach.engine.kinds import SignalKind
from outreach.models import leads
from outreach.models.base import Database
from outreach.providers.base import InboundItem, InboundKind
from outreach.runtime.accept import accept
from outreach.runtime.digest import digest
from tests.integration.law_support import MINUTE, friends, id_of_handle, open_house, roomy_account
from tests.stage import House

pytestmark = pytest.mark.servers
#: Two questions: a second signal would answer the second one.
TWO_QUESTIONS = """
sequence: ask
actions:
  hello: {do: SEND_TWITTER_DM, message: "Hello. {{ opt_out }}", next: one}
  one: {do: CHECK_FOR_REPLY, next: [{on: REPLIED, to: two}, {on: TIMEOUT, after: 9d, to: END}]}
  two: {do: CHECK_FOR_REPLY, next: [{on: REPLIED, to: three}, {on: TIMEOUT, after: 9d, to: END}]}
  three: {do: WAIT, for: 1d}
"""


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    found = open_house(db, tmp_path, our_accounts=("we", "us"))
    for name in ("we", "us"):
        roomy_account(found, name)
    found.publish(TWO_QUESTIONS)
    return found


@pytest.fixture
def lead(house: House) -> int:
    (found,) = house.enroll("ask", friends(house, "ann"), account_names=["we"])
    assert house.lead(found)["cursor"] == "one"
    house.clock.advance(MINUTE)
    return found


def reply(house: House, content_id: str, to: str = "we") -> InboundItem:
    return InboundItem(
        kind=InboundKind.MESSAGE_IN, content_id=content_id, account_external_id=id_of_handle(to), peer=id_of_handle("ann"),
        occurred_at=house.clock.now(), text="Tell me more",
    )  # fmt: skip


def arrives(house: House, *items: InboundItem) -> None:
    house.hints.extend(accept(house.ctx, "twitter", items))
    house.run()


def signals(house: House, lead: int) -> int:
    return len(house.db.read("SELECT id FROM signal WHERE lead_id = %s", (lead,)))


def test_a_second_message_is_a_second_signal(house: House, lead: int) -> None:
    arrives(house, reply(house, "dm:1"))
    arrives(house, reply(house, "dm:2"))
    assert (house.lead(lead)["cursor"], signals(house, lead)) == ("three", 2)


def test_one_message_in_the_inboxes_of_two_accounts_answers_one_question(house: House, lead: int) -> None:
    """A conversation in which two accounts of ours take part is stored for each of them, and was said once."""
    arrives(house, reply(house, "dm:1"), reply(house, "dm:1", to="us"))
    assert house.db.read("SELECT count(*) AS n FROM inbound WHERE kind = 'message_in'")[0]["n"] == 2
    assert (house.lead(lead)["cursor"], signals(house, lead)) == ("two", 1)
    assert house.events(lead).count("SignalReceived") == 1


def test_a_message_that_is_understood_again_answers_one_question(house: House, lead: int) -> None:
    """As after a restore, or by hand: the row stands as new once more."""
    arrives(house, reply(house, "dm:1"))
    (row,) = house.db.read("SELECT id FROM inbound WHERE kind = 'message_in'")
    house.db.run(
        lambda tx: tx.execute(
            "UPDATE inbound SET state = 'stored', digested_at = NULL WHERE id = %s", (row["id"],)
        )
    )
    house.hints.extend(digest(house.ctx, row["id"]))
    house.run()
    assert (house.lead(lead)["cursor"], signals(house, lead)) == ("two", 1)


def test_the_same_content_may_be_two_kinds_of_signal(house: House, lead: int) -> None:
    now = house.clock.now()

    def add(kind: SignalKind) -> bool:
        return house.db.run(
            lambda tx: leads.add_signal(tx, lead, kind, "x:1", at=now, now=now, inbound_id=None)
        )

    kinds = (SignalKind.READ, SignalKind.READ, SignalKind.BOUNCED, SignalKind.READ)
    assert [add(kind) for kind in kinds] == [True, False, True, False]
