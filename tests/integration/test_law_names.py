"""Who wrote: a message without a name is nobody's silence. Handles whose id nobody has learnt, and senders nobody describes."""

from pathlib import Path

import pytest

from outreach.models import identities
from outreach.models.base import Database, Tx
from outreach.models.identities import IdentityRow
from outreach.simulator.network import User
from tests.integration.law_support import (
    DAY,
    HOUR,
    MINUTE,
    WRITE_AND_LISTEN,
    fault,
    friends,
    id_of_handle,
    open_house,
    roomy_account,
    sql,
)
from tests.stage import House

pytestmark = pytest.mark.servers
YES = "Yes please, sounds great!"


def listening_house(db: Database, folder: Path, *, webhooks: bool = False) -> House:
    house = open_house(db, folder, ("ann", "bob", "cid", "eve"), webhooks=webhooks)
    roomy_account(house)
    house.publish(WRITE_AND_LISTEN)
    return house


def contacted(house: House) -> int:
    """A lead whose person was written to as ann, and is bob as well: a handle whose id nobody has learnt."""
    (ann,) = friends(house, "ann")
    house.db.run(lambda tx: house.identity(tx, ann, "twitter_handle", "bob"))
    (lead,) = house.enroll("listen", [ann])
    house.pass_time(HOUR, step=5 * MINUTE)
    return lead


def suspend(house: House, handle: str) -> User:
    """From now on the provider describes them to nobody."""
    user = house.simulator.network.users[id_of_handle(handle)]
    house.simulator.network.remove(user.id)
    return user


def writes_and_is_suspended(house: House, handle: str, text: str) -> User:
    house.says(handle, text)
    return suspend(house, handle)


def said(house: House) -> list[str]:
    """The first word of each message of ours, in the provider's order."""
    return [str(one.body).split()[0] for one in house.accepted()]


def inbound_states(house: House) -> list[str]:
    rows = house.db.read("SELECT state FROM inbound WHERE kind = 'message_in' ORDER BY id")
    return [row["state"] for row in rows]


# --- a handle is enough --------------------------------------------------------------------------------------


def test_a_poll_recognises_whom_we_know_by_handle_alone(db: Database, tmp_path: Path) -> None:
    house = listening_house(db, tmp_path)
    contacted(house)
    house.says("bob", YES)
    house.pass_time(HOUR, step=5 * MINUTE)
    assert said(house) == ["Hello.", "Thank"]
    (row,) = house.db.read("SELECT peer_handle, via FROM inbound WHERE kind = 'message_in'")
    assert row == {"peer_handle": "bob", "via": "poll"}


def test_the_push_that_comes_after_the_poll_says_who_it_was(db: Database, tmp_path: Path) -> None:
    house = listening_house(db, tmp_path, webhooks=True)
    lead = contacted(house)
    fault(house, "webhook:dm.received", "postpone", seconds=2 * 3600)
    writes_and_is_suspended(house, "bob", YES)
    house.pass_time(HOUR, step=5 * MINUTE)
    assert inbound_states(house) == ["unmatched"]
    house.pass_time(2 * HOUR, step=5 * MINUTE)
    assert (said(house), inbound_states(house)) == (["Hello.", "Thank"], ["digested"])
    house.pass_time(4 * DAY, step=HOUR)
    assert (said(house), house.lead(lead)["state"]) == (["Hello.", "Thank"], "finished")


# --- nobody says who it was ----------------------------------------------------------------------------------


def test_whom_nobody_can_name_may_be_theirs_and_is_no_silence(db: Database, tmp_path: Path) -> None:
    house = listening_house(db, tmp_path)
    lead = contacted(house)
    writes_and_is_suspended(house, "bob", "No, thank you")
    house.pass_time(10 * DAY, step=HOUR)
    waiting = house.lead(lead)
    assert (said(house), waiting["cursor"], waiting["waiting_on"]) == (["Hello."], "check", "evidence")
    assert waiting["waiting_detail"] == "NOT_REPLIED: a message whose sender nobody can name"


def test_whose_every_handle_has_its_id_is_not_held_up_by_it(db: Database, tmp_path: Path) -> None:
    house = listening_house(db, tmp_path)
    (lead,) = house.enroll("listen", friends(house, "ann"))
    house.pass_time(HOUR, step=5 * MINUTE)
    writes_and_is_suspended(house, "eve", "Buy this")
    house.pass_time(3 * DAY, step=HOUR)
    assert (said(house), house.lead(lead)["state"]) == (["Hello.", "One"], "finished")


def test_a_stranger_without_a_name_is_told_apart_by_the_id_of_their_handle(
    db: Database, tmp_path: Path
) -> None:
    house = listening_house(db, tmp_path)
    contacted(house)
    writes_and_is_suspended(house, "eve", "Buy this")
    house.pass_time(3 * DAY - 2 * HOUR, step=HOUR)
    assert (said(house), inbound_states(house)) == (["Hello."], ["unmatched"])
    house.pass_time(2 * HOUR, step=5 * MINUTE)
    assert said(house) == ["Hello.", "One"]


def test_a_message_without_a_name_is_theirs_once_their_handle_has_its_id(
    db: Database, tmp_path: Path
) -> None:
    house = listening_house(db, tmp_path)
    lead = contacted(house)
    bob = writes_and_is_suspended(house, "bob", YES)
    house.pass_time(HOUR, step=5 * MINUTE)
    house.simulator.network.add(bob)
    house.pass_time(4 * DAY, step=HOUR)
    assert (said(house), house.lead(lead)["state"]) == (["Hello.", "Thank"], "finished")


def test_what_turns_out_to_be_theirs_is_understood_before_their_silence_is_judged(
    db: Database, tmp_path: Path
) -> None:
    house = listening_house(db, tmp_path)
    lead = contacted(house)
    bob = writes_and_is_suspended(house, "bob", YES)
    house.pass_time(3 * DAY - 2 * HOUR, step=HOUR)
    house.simulator.network.add(bob)
    house.deliver = lambda hint: [] if hint.actor == "digest_inbound" else [hint]
    house.pass_time(3 * HOUR, step=5 * MINUTE)
    assert (house.lead(lead)["cursor"], inbound_states(house)) == ("check", ["stored"])
    house.deliver = lambda hint: [hint]
    house.pass_time(HOUR, step=5 * MINUTE)
    assert said(house) == ["Hello.", "Thank"]


def test_t1_too_waits_for_whom_nobody_can_name(db: Database, tmp_path: Path) -> None:
    house = listening_house(db, tmp_path)
    lead = contacted(house)
    sql(house, """UPDATE account SET pace = '{"SEND_TWITTER_DM": 600000}'""")
    house.pass_time(3 * DAY, step=5 * MINUTE)
    assert house.lead(lead)["cursor"] == "again"
    writes_and_is_suspended(house, "bob", "No, thank you")
    sql(house, """UPDATE account SET pace = '{"SEND_TWITTER_DM": 0}'""")
    house.pass_time(8 * DAY, step=HOUR)
    assert (said(house), house.lead(lead)["waiting_on"]) == (["Hello."], "evidence")


# --- strangers who turn out to be known ----------------------------------------------------------------------


def import_id(house: House, person_id: int, handle: str) -> None:
    """The person's id at the provider, as an import writes it."""
    value = id_of_handle(handle)
    hmac = house.ctx.peppers.digest("twitter_id", value)

    def work(tx: Tx) -> None:
        (new,) = identities.take_ids(tx, "identity", 1)
        row = IdentityRow(id=new, kind="twitter_id", value=value, shown=value, hmac=hmac, person_id=person_id)
        identities.insert_identities(tx, [row], None, house.clock.now())

    house.db.run(work)


def test_a_strangers_message_is_an_answer_once_an_import_says_who_they_are(
    db: Database, tmp_path: Path
) -> None:
    house = listening_house(db, tmp_path)
    (ann,) = friends(house, "ann")
    house.enroll("listen", [ann])
    house.says("bob", YES)
    house.pass_time(HOUR, step=5 * MINUTE)
    assert (said(house), inbound_states(house)) == (["Hello."], ["unmatched"])
    import_id(house, ann, "bob")
    house.pass_time(HOUR, step=5 * MINUTE)
    assert said(house) == ["Hello.", "Thank"]


def test_what_a_stranger_said_before_we_wrote_is_no_answer(db: Database, tmp_path: Path) -> None:
    house = listening_house(db, tmp_path, webhooks=True)
    house.says("bob", YES)
    house.pass_time(HOUR, step=5 * MINUTE)
    (ann,) = friends(house, "ann")
    (lead,) = house.enroll("listen", [ann])
    import_id(house, ann, "bob")
    house.pass_time(HOUR, step=5 * MINUTE)
    assert (said(house), inbound_states(house)) == (["Hello."], ["unmatched"])
    house.pass_time(3 * DAY, step=HOUR)
    assert (said(house), house.lead(lead)["state"]) == (["Hello.", "One"], "finished")
