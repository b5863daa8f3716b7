"""Replies in human hands: a corrected class decides where it still may, an answer by hand passes the gate once, an opt-out stays."""

from pathlib import Path

import pytest

from outreach.engine.kinds import ReplyClass
from outreach.errors import ConflictError, NotFound, UsageError
from outreach.models import replies
from outreach.models.base import Database, Row
from outreach.runtime.advance import advance
from outreach.runtime.answering import answer
from outreach.runtime.caring import assign, finish
from outreach.runtime.merge import merge
from outreach.runtime.perform import look_and_perform
from outreach.runtime.reclassify import Reclassified, reclassify
from tests.integration.law_support import (
    DAY,
    HOUR,
    MINUTE,
    WRITE_AND_LISTEN,
    acts,
    friends,
    id_of_handle,
    open_house,
    race,
    roomy_account,
)
from tests.stage import House

pytestmark = pytest.mark.servers
PATIENT = WRITE_AND_LISTEN.replace("sequence: listen", "sequence: listen\non_reply: continue")


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    """Leads go on after a reply that no edge takes, so that a class which is corrected finds them where they were."""
    found = open_house(db, tmp_path)
    roomy_account(found)
    found.publish(PATIENT)
    return found


def said(house: House, text: str) -> int:
    """Ann was written to, and now says this; the reply's number."""
    house.clock.advance(HOUR)
    house.says("ann", text)
    house.run()
    return int(newest(house)["id"])


def newest(house: House) -> Row:
    return house.db.run(lambda tx: replies.latest(tx, limit=1))[0]


def corrected(house: House, reply: int, word: ReplyClass) -> Reclassified:
    found = reclassify(house.ctx, reply, word, "eva")
    house.hints.extend(found.hints)
    house.run()
    return found


def lead_of_ann(house: House) -> int:
    (lead,) = house.enroll("listen", friends(house, "ann"))
    return lead


# --- a class is corrected ------------------------------------------------------------------------------------


def test_a_reply_that_turns_out_positive_takes_its_edge_at_once(house: House) -> None:
    lead = lead_of_ann(house)
    reply = said(house, "Where does one sign?")
    assert house.lead(lead)["cursor"] == "check"
    found = corrected(house, reply, ReplyClass.POSITIVE)
    assert (found.before, found.leads, found.decided, found.suppressed) == ("neutral", (lead,), (), False)
    assert acts(house) == [("dm", "ann"), ("dm", "ann")]
    assert house.lead(lead)["cursor"] == "thanks"
    event = house.db.read("SELECT actor, payload FROM event WHERE kind = 'ReplyReclassified'")[0]
    assert (event["actor"], event["payload"]) == (
        "eva",
        {"inbound_id": reply, "before": "neutral", "after": "positive"},
    )
    row = newest(house)
    assert (row["class"], row["class_was"], row["class_by"]) == ("positive", "neutral", "eva")


def test_what_was_decided_on_it_stays_decided(house: House) -> None:
    lead = lead_of_ann(house)
    reply = said(house, "Yes, great!")
    assert house.lead(lead)["cursor"] == "thanks"
    found = corrected(house, reply, ReplyClass.NEGATIVE)
    assert (found.leads, found.decided) == ((), (lead,))
    assert [kind for kind, _ in acts(house)] == ["dm", "dm"]
    assert newest(house)["class"] == "negative"


def test_an_opt_out_that_was_missed_suppresses_and_stops(house: House) -> None:
    lead = lead_of_ann(house)
    reply = said(house, "Hmm")
    assert corrected(house, reply, ReplyClass.UNSUBSCRIBE).suppressed
    (person,) = house.db.read("SELECT suppressed_at, suppression_effective_at FROM person")
    assert person["suppressed_at"] == person["suppression_effective_at"] == house.clock.now()
    assert (house.lead(lead)["state"], house.lead(lead)["exit_reason"]) == ("exited", "unsubscribed")


def test_no_class_takes_an_opt_out_back(house: House) -> None:
    lead = lead_of_ann(house)
    reply = said(house, "STOP")
    found = corrected(house, reply, ReplyClass.POSITIVE)
    assert (found.before, found.leads, found.suppressed) == ("unsubscribe", (), True)
    (person,) = house.db.read("SELECT suppressed_at FROM person")
    assert person["suppressed_at"] is not None
    assert (house.lead(lead)["state"], len(acts(house))) == ("exited", 1)
    house.pass_time(5 * DAY, step=DAY)
    assert len(acts(house)) == 1


def test_an_unclear_reply_is_answered_by_its_class_and_the_person_goes_on(house: House) -> None:
    lead = lead_of_ann(house)
    reply = said(house, "I would not stop there, tell me more")
    assert (newest(house)["class"], house.lead(lead)["waiting_on"]) == ("unclear", "pause")
    corrected(house, reply, ReplyClass.POSITIVE)
    (task,) = house.db.read("SELECT state, outcome, closed_by FROM task")
    assert (task["state"], task["outcome"], task["closed_by"]) == ("done", "read as positive", "eva")
    assert (house.lead(lead)["cursor"], house.db.read("SELECT paused_at FROM person")[0]["paused_at"]) == (
        "thanks",
        None,
    )


def test_of_two_unclear_replies_one_answer_does_not_let_the_person_go_on(house: House) -> None:
    lead = lead_of_ann(house)
    first = said(house, "I would not stop there, tell me more")
    said(house, "you should not stop there either")
    corrected(house, first, ReplyClass.POSITIVE)
    assert house.db.read("SELECT paused_at FROM person")[0]["paused_at"] is not None
    assert (house.lead(lead)["waiting_on"], len(acts(house))) == ("pause", 1)


def test_an_automatic_answer_is_no_reply_and_no_invitation(house: House) -> None:
    lead = lead_of_ann(house)
    reply = said(house, "Noted.")
    corrected(house, reply, ReplyClass.OUT_OF_OFFICE)
    (signal,) = house.db.read("SELECT kind, class FROM signal WHERE lead_id = %s", (lead,))
    assert (signal["kind"], signal["class"]) == ("OUT_OF_OFFICE", "out_of_office")
    (consent,) = house.db.read("SELECT withdrawn_at FROM consent WHERE basis = 'inbound'")
    assert consent["withdrawn_at"] == house.clock.now()
    # Nobody has answered after all: silence is proven, and the lead goes on.
    house.pass_time(4 * DAY, step=DAY / 4)
    assert house.lead(lead)["cursor"] == "again"


def test_what_was_taken_for_an_automatic_answer_is_a_reply_after_all(house: House) -> None:
    lead = lead_of_ann(house)
    reply = said(house, "I am out of office until Monday.")
    assert newest(house)["class"] == "out_of_office"
    corrected(house, reply, ReplyClass.POSITIVE)
    assert house.lead(lead)["cursor"] == "thanks"
    assert house.db.read("SELECT 1 AS one FROM consent WHERE basis = 'inbound' AND withdrawn_at IS NULL")
    # There and back again: one message stays one message.
    corrected(house, reply, ReplyClass.OUT_OF_OFFICE)
    corrected(house, reply, ReplyClass.NEGATIVE)
    assert len(acts(house)) == 2


@pytest.mark.parametrize("word", [ReplyClass.UNCLEAR, ReplyClass.BOUNCE])
def test_some_classes_are_not_for_people_to_say(house: House, word: ReplyClass) -> None:
    lead_of_ann(house)
    reply = said(house, "Hmm")
    with pytest.raises(UsageError, match="not for people"):
        reclassify(house.ctx, reply, word, "eva")


def test_a_stranger_has_nothing_to_decide(house: House) -> None:
    house.says("bob", "Hello?")
    house.run()
    for work in (
        lambda: reclassify(house.ctx, newest(house)["id"], ReplyClass.POSITIVE, "eva"),
        lambda: answer(house.ctx, newest(house)["id"], "Hello!", by="eva"),
    ):
        with pytest.raises(ConflictError, match="unmatched"):
            work()
    with pytest.raises(NotFound, match="no reply 999"):
        answer(house.ctx, 999, "Hello!", by="eva")


# --- an answer by hand ---------------------------------------------------------------------------------------


def test_an_answer_by_hand_goes_out_once_however_many_hands_write_it(house: House) -> None:
    lead_of_ann(house)
    reply = said(house, "Where does one sign?")

    def write(name: str) -> int:
        made = answer(house.ctx, reply, f"Here, says {name}.", by=name)
        for hint in made.hints:
            look_and_perform(house.ctx, hint.id)
        return made.lead_id

    leads = race(*[lambda n=n: write(f"hand {n}") for n in range(4)])
    house.hints.extend(advance(house.ctx, leads[0]))
    house.run()
    assert len(set(leads)) == 1
    assert acts(house) == [("dm", "ann"), ("dm", "ann")]
    row = newest(house)
    assert (row["answer"], row["answer_lead_id"]) == ("sent", leads[0])
    assert house.db.run(lambda tx: replies.latest(tx, limit=9, only_open=True)) == []
    assert len(house.db.read("SELECT 1 AS one FROM event WHERE kind = 'ReplyAnswered'")) == 1
    # A touch it is not: it answers what they wrote within the last seven days.
    assert house.executions(leads[0])[0]["touch"] is False


def test_an_answer_goes_to_the_handle_that_wrote_by_the_account_that_was_written_to(house: House) -> None:
    """Of two handles of one human a one-off send would take the older one."""
    roomy_account(house, "other", external_id="4711")
    bob, ann = friends(house, "bob", "ann")
    house.enroll("listen", [ann], account_names=("we",))
    merge(house.ctx, bob, ann, evidence="a test", by="test")
    reply = said(house, "Where does one sign?")
    made = answer(house.ctx, reply, "Here.", by="eva")
    (bound,) = house.db.read(
        "SELECT i.value, a.name FROM lead_binding b JOIN identity i ON i.id = b.identity_id JOIN account a ON a.id = b.account_id"
        " WHERE b.lead_id = %s",
        (made.lead_id,),
    )
    assert (bound["value"], bound["name"]) == (id_of_handle("ann"), "we")


def test_the_gate_binds_an_answer_by_hand_too(house: House) -> None:
    lead_of_ann(house)
    reply = said(house, "I would not stop there, tell me more")
    made = answer(house.ctx, reply, "It costs nothing.", by="eva")
    house.hints.extend(made.hints)
    house.pass_time(2 * HOUR, step=30 * MINUTE)
    assert house.lead(made.lead_id)["waiting_on"] == "pause"
    corrected(house, reply, ReplyClass.UNSUBSCRIBE)
    house.pass_time(HOUR, step=10 * MINUTE)
    assert (house.lead(made.lead_id)["exit_reason"], acts(house)) == ("unsubscribed", [("dm", "ann")])


def test_an_answer_needs_words(house: House) -> None:
    lead_of_ann(house)
    reply = said(house, "Hmm")
    with pytest.raises(UsageError, match="needs words"):
        answer(house.ctx, reply, " \n", by="eva")


# --- who sees to it ------------------------------------------------------------------------------------------


def test_a_reply_is_open_until_somebody_has_seen_to_it(house: House) -> None:
    lead_of_ann(house)
    reply = said(house, "Where does one sign?")

    def listed(**only: object) -> list[int]:
        return [r["id"] for r in house.db.run(lambda tx: replies.latest(tx, limit=9, **only))]  # type: ignore[arg-type]

    assert listed(only_open=True) == listed(reply_class="neutral") == [reply]
    assign(house.ctx, reply, "kim", "eva")
    assert (listed(assignee="kim"), listed(assignee="eva"), listed(only_open=True)) == ([reply], [], [reply])
    assert (finish(house.ctx, reply, "kim"), finish(house.ctx, reply, "kim")) == (True, False)
    assert (listed(only_open=True), listed()) == ([], [reply])
    kinds = house.db.read(
        "SELECT kind, actor FROM event WHERE kind IN ('ReplyAssigned', 'ReplyDone') ORDER BY id"
    )
    assert [(k["kind"], k["actor"]) for k in kinds] == [("ReplyAssigned", "eva"), ("ReplyDone", "kim")]


@pytest.mark.parametrize("text", ["STOP", "I am out of office until Monday."])
def test_what_asks_for_nothing_is_never_open(house: House, text: str) -> None:
    lead_of_ann(house)
    said(house, text)
    assert house.db.run(lambda tx: replies.latest(tx, limit=9, only_open=True)) == []
