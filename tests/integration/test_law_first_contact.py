"""What somebody wrote before we contacted them answers nothing, whenever it is read; what it says of them holds all the same."""

from datetime import timedelta
from pathlib import Path

import pytest

from outreach.models.base import Database
from outreach.providers.base import Accepted, InboundItem, InboundKind
from outreach.runtime.accept import accept
from outreach.runtime.claim import Claimed, claim
from outreach.runtime.prepare import Prepared, prepare
from outreach.runtime.settle import settle
from tests.integration.law_support import (
    DAY,
    HOUR,
    MINUTE,
    acts,
    friends,
    id_of_handle,
    only_execution,
    plan,
    silent_house,
    states,
)
from tests.stage import House

pytestmark = pytest.mark.servers
YES = "Yes please, sounds great!"
AWAY = "I am out of office until Monday and will read your message then."
#: Contains a stop word, and is no opt-out.
UNCLEAR = "I will stop by tomorrow."
#: As long as a provider's clock may be behind ours.
SKEW = timedelta(minutes=2)
SECOND = timedelta(seconds=1)
#: Two contacts, none of them a touch, the second two hours after the first.
TWO_CONTACTS = """
sequence: twice
actions:
  follow: {do: FOLLOW_ON_TWITTER, next: [{after: 2h, to: unfollow}]}
  unfollow: {do: UNFOLLOW_ON_TWITTER, next: check}
  check: {do: CHECK_FOR_REPLY, next: [{on: REPLIED, to: END}, {on: TIMEOUT, after: 9d, to: END}]}
"""
LATER = """
sequence: later
actions:
  pause: {do: WAIT, for: 2h, next: follow}
  follow: {do: FOLLOW_ON_TWITTER, next: check}
  check: {do: CHECK_FOR_REPLY, next: [{on: REPLIED, to: END}, {on: TIMEOUT, after: 9d, to: END}]}
"""


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    """Nothing is pushed, and no inbox was ever read."""
    return silent_house(db, tmp_path)


def words(house: House) -> list[str]:
    return [str(one.body).split()[0] for one in house.accepted() if one.body]


def signals(house: House, lead: int | None = None) -> list[str]:
    where = "WHERE lead_id = %s" if lead is not None else ""
    values = (lead,) if lead is not None else ()
    return [row["kind"] for row in house.db.read(f"SELECT kind FROM signal {where} ORDER BY id", values)]


def classes(house: House) -> list[str]:
    return [row["class"] for row in house.db.read("SELECT class FROM inbound WHERE kind = 'message_in'")]


def wrote_a_day_ago(house: House, text: str) -> int:
    """Ann, whom we know and have not contacted, wrote; a day later a lead of hers begins, and its inbox is read for the first time."""
    ann = friends(house, "ann")
    house.says("ann", text)
    house.clock.advance(DAY)
    (lead,) = house.enroll("listen", ann)
    assert only_execution(house, lead)["state"] == "sent"
    house.pass_time(30 * MINUTE, step=MINUTE)
    assert len(classes(house)) == 1, "it was read"
    return lead


def arrives(house: House, kind: InboundKind, ago: timedelta = timedelta(0), text: str = "") -> None:
    """What Ann did that long ago is told now."""
    at = house.clock.now() - ago
    item = InboundItem(
        kind=kind, content_id=f"dm:{at.timestamp()}", account_external_id=id_of_handle("we"), peer=id_of_handle("ann"),
        occurred_at=at, text=text,
    )  # fmt: skip
    house.hints.extend(accept(house.ctx, "twitter", [item]))
    house.run()


# --- it is no answer -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reply_class"), [(YES, "positive"), ("No, thank you.", "negative"), (AWAY, "out_of_office")]
)
def test_what_they_wrote_before_we_did_answers_nothing_and_breaks_no_silence(
    house: House, text: str, reply_class: str
) -> None:
    lead = wrote_a_day_ago(house, text)
    assert (classes(house), signals(house), house.lead(lead)["cursor"]) == ([reply_class], [], "check")
    house.pass_time(3 * DAY, step=HOUR)
    assert (words(house), house.lead(lead)["state"]) == (["Hello.", "One"], "finished")
    assert house.executions(lead)[1]["cause"] == "NOT_REPLIED"


def test_an_answer_beside_an_older_message_is_still_the_answer(house: House) -> None:
    lead = wrote_a_day_ago(house, "Is anybody there?")
    house.says("ann", YES)
    house.pass_time(HOUR, step=5 * MINUTE)
    assert (words(house), house.lead(lead)["state"], signals(house)) == (
        ["Hello.", "Thank"], "finished", ["REPLIED"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "signal"), [(InboundKind.READ, "READ"), (InboundKind.UNFOLLOWED_US, "UNFOLLOWED")]
)
def test_what_they_did_before_we_wrote_is_no_signal(house: House, kind: InboundKind, signal: str) -> None:
    (lead,) = house.enroll("listen", friends(house, "ann"))
    house.clock.advance(HOUR)
    arrives(house, kind, ago=2 * HOUR)
    assert signals(house, lead) == []
    arrives(house, kind)
    assert signals(house, lead) == [signal]


# --- where the line is ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ago", "answers"), [(SKEW - SECOND, True), (SKEW, True), (SKEW + SECOND, False)])
def test_an_answer_whose_clock_is_a_little_behind_ours_is_not_lost(
    house: House, ago: timedelta, answers: bool
) -> None:
    (lead,) = house.enroll("listen", friends(house, "ann"))
    arrives(house, InboundKind.MESSAGE_IN, ago, YES)
    assert words(house) == (["Hello.", "Thank"] if answers else ["Hello."])
    assert signals(house, lead) == (["REPLIED"] if answers else [])


def begin(house: House) -> Claimed:
    """T1 has committed; the call is this test's to make."""
    prepared = prepare(house.ctx, plan(house, "listen", friends(house, "ann"))[0])
    assert isinstance(prepared, Prepared)
    claimed = claim(house.ctx, prepared)
    assert isinstance(claimed, Claimed)
    return claimed


def test_an_answer_that_comes_while_the_call_is_in_flight_is_one(house: House) -> None:
    claimed = begin(house)
    house.clock.advance(5 * SECOND)
    arrives(house, InboundKind.MESSAGE_IN, text=YES)
    assert (states(house), signals(house)) == (["calling"], ["REPLIED"])
    house.hints.extend(settle(house.ctx, claimed, Accepted({})).hints)
    house.run()
    assert (states(house), words(house)) == (["sent", "sent"], ["Thank"])


def test_an_answer_from_between_t1_and_a_late_t2_is_one(house: House) -> None:
    claimed = begin(house)
    house.clock.advance(10 * MINUTE)
    house.hints.extend(settle(house.ctx, claimed, Accepted({})).hints)
    house.run()
    arrives(house, InboundKind.MESSAGE_IN, ago=5 * MINUTE, text=YES)
    assert (signals(house), words(house)) == (["REPLIED"], ["Thank"])


def test_an_answer_to_the_first_contact_is_one_though_a_second_came_before_it_was_read(house: House) -> None:
    house.publish(TWO_CONTACTS)
    (lead,) = house.enroll("twice", friends(house, "ann"))
    house.pass_time(2 * HOUR + MINUTE, step=HOUR)
    assert acts(house) == [("follow", "ann"), ("unfollow", "ann")]
    arrives(house, InboundKind.MESSAGE_IN, ago=HOUR, text=YES)
    assert (signals(house), house.lead(lead)["state"]) == (["REPLIED"], "finished")


# --- whose answer it is --------------------------------------------------------------------------------------


def two_leads(house: House) -> tuple[int, int]:
    """One wrote to Ann at once, the other followed her two hours later; that is an hour ago."""
    house.publish(LATER)
    ann = friends(house, "ann")
    (first,) = house.enroll("listen", ann)
    (second,) = house.enroll("later", ann)
    house.pass_time(3 * HOUR, step=HOUR)
    assert acts(house) == [("dm", "ann"), ("follow", "ann")]
    return first, second


def test_an_answer_belongs_to_every_active_lead_also_to_one_that_began_after_it(house: House) -> None:
    first, second = two_leads(house)
    arrives(house, InboundKind.MESSAGE_IN, ago=2 * HOUR, text="Who is this?")
    assert (signals(house, first), signals(house, second)) == (["REPLIED"], ["REPLIED"])


def test_an_automatic_answer_belongs_to_those_that_had_begun(house: House) -> None:
    first, second = two_leads(house)
    arrives(house, InboundKind.MESSAGE_IN, ago=2 * HOUR, text=AWAY)
    assert (signals(house, first), signals(house, second)) == (["OUT_OF_OFFICE"], [])


# --- what holds all the same ---------------------------------------------------------------------------------


def test_an_old_stop_is_an_opt_out(house: House) -> None:
    lead = wrote_a_day_ago(house, "STOP")
    (person,) = house.db.read("SELECT suppressed_at, suppression_effective_at FROM person")
    assert None not in person.values()
    assert (house.lead(lead)["exit_reason"], words(house)) == ("unsubscribed", ["Hello."])


def test_an_old_block_is_an_opt_out(house: House) -> None:
    (lead,) = house.enroll("listen", friends(house, "ann"))
    arrives(house, InboundKind.BLOCKED_US, ago=HOUR)
    (person,) = house.db.read("SELECT suppressed_at FROM person")
    assert person["suppressed_at"] is not None
    assert (house.lead(lead)["exit_reason"], signals(house)) == ("blocked_us", [])


def test_an_old_word_that_may_be_an_opt_out_stops_everything_until_a_human_has_read_it(house: House) -> None:
    lead = wrote_a_day_ago(house, UNCLEAR)
    assert (classes(house), signals(house)) == (["unclear"], [])
    house.pass_time(4 * DAY, step=HOUR)
    assert (words(house), house.lead(lead)["waiting_on"]) == (["Hello."], "pause")
    assert [row["reason"] for row in house.db.read("SELECT reason FROM task")] == ["reply.unclear"]


def test_an_old_message_is_a_basis_to_write(house: House) -> None:
    """X lets us answer whoever has written to this very account."""
    wrote_a_day_ago(house, YES)
    (basis,) = house.db.read("SELECT account_id, obtained_at FROM consent WHERE basis = 'inbound'")
    (wrote,) = house.db.read("SELECT account_id, occurred_at FROM inbound WHERE kind = 'message_in'")
    assert tuple(basis.values()) == tuple(wrote.values())
