"""Coming in by oneself: who writes first is enrolled by their message and answered at once; who must not be, is not."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dramatiq.brokers.stub import StubBroker
from starlette.testclient import TestClient

import tests.stage as stage
from outreach.app import App
from outreach.audience.segments import create_segment
from outreach.compliance import register
from outreach.engine.kinds import Channel
from outreach.engine.problems import Problem
from outreach.models import instance
from outreach.models.base import Database, Row
from outreach.providers.registry import build_webhooks
from outreach.runtime import joining
from outreach.runtime.accept import accept
from outreach.runtime.digest import digest
from outreach.runtime.hints import Hint
from outreach.runtime.optout import opt_out
from outreach.runtime.publish import publish
from outreach.web.server import create_app
from tests.integration.law_support import (
    DAY,
    HOUR,
    MINUTE,
    NO_CAPS,
    NO_PACE,
    acts,
    id_of_handle,
    open_house,
    race,
)
from tests.stage import House

pytestmark = pytest.mark.servers
SHIPPED = (Path(__file__).parents[2] / "outreach/cli/starters/sequences/inbound-dm.yaml").read_text(
    encoding="utf-8"
)


def answering(
    entry: str = "{on: message_in}", name: str = "answer", first: str = "Thanks! {{ opt_out }}"
) -> str:
    return (
        f'sequence: {name}\nentry: {entry}\nactions:\n  hello: {{do: SEND_TWITTER_DM, message: "{first}"}}\n'
    )


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    """An account that writes to nobody who has not written first, and people of whom we know nothing."""
    found = open_house(db, tmp_path)
    found.account(caps=NO_CAPS, pace=NO_PACE)
    return found


def writes(house: House, handle: str, text: str = "Hello, what is this?", **options: Any) -> None:
    house.says(handle, text, **options)
    house.run()


def noted(house: House, *, carry: bool = True) -> list[Hint]:
    """Every hint from now on, carried out or lost."""
    found: list[Hint] = []

    def deliver(hint: Hint) -> list[Hint]:
        found.append(hint)
        return [hint] if carry else []

    house.deliver = deliver
    return found


def leads(house: House) -> list[Row]:
    return house.db.read(
        "SELECT l.*, s.name AS sequence FROM lead l JOIN sequence s ON s.id = l.sequence_id ORDER BY l.id"
    )


def refusals(house: House) -> list[str]:
    return [
        r["why"]
        for r in house.db.read(
            "SELECT payload ->> 'reason' AS why FROM event WHERE kind = 'EntryRefused' ORDER BY id"
        )
    ]


# --- the fast path ----------------------------------------------------------------------------------------------


class Listening(App):
    """An app whose hints are carried out by the house."""

    def __init__(self, house: House) -> None:
        super().__init__(
            settings=house.ctx.settings, context=house.ctx, broker=StubBroker(middleware=[]),
            instance=house.db.run(instance.read), webhooks=dict(build_webhooks()),
        )  # fmt: skip
        self._house = house

    def hint(self, hints: Any) -> None:
        self._house.hints.extend(hints)


@pytest.fixture
def web(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The real web process's application; the simulator pushes to it."""
    with TestClient(create_app(Listening(house))) as client:

        def push(_house: House, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
            answer = client.post("/webhooks/twitter/sim", content=body, headers=dict(headers))
            return answer.status_code, answer.content

        monkeypatch.setattr(stage, "_receive", push)
        yield client


@pytest.mark.usefixtures("web")
def test_a_stranger_who_writes_is_answered_by_the_shipped_sequence(house: House) -> None:
    house.publish(SHIPPED)
    house.says("ann", "Hi! Do you ship to Norway?")
    carried = noted(house)
    house.run()
    assert acts(house) == [("dm", "ann")]
    assert house.accepted()[0].t_scaled == house.clock.now(), "without any sweep, at the very instant"
    assert [hint.actor for hint in carried[:2]] == ["digest_inbound", "send_twitter_dm"], (
        "the digest itself hints the first action"
    )
    (lead,) = leads(house)
    (consent,) = house.db.read("SELECT * FROM consent")
    (told,) = house.db.read("SELECT id, state, person_id FROM inbound WHERE kind = 'message_in'")
    assert (consent["basis"], consent["proof"]) == ("inbound", f"inbound:{told['id']}")
    assert (told["state"], told["person_id"]) == ("digested", lead["person_id"])
    assert (lead["sequence"], lead["cursor"]) == ("inbound-dm", "listen")
    assert house.events(lead["id"])[0] == "LeadEnrolled"


def test_somebody_we_know_is_written_to_by_name_and_by_the_account_they_wrote_to(house: House) -> None:
    house.publish(
        answering(first="Hello {{ first_name }} of {{ company }}. {{ opt_out }}").replace(
            "entry", "requires: [first_name, company]\nentry"
        )
    )
    ann = house.person("ann", basis=None, company="Acme")
    writes(house, "ann")
    assert acts(house) == [("dm", "ann")]
    assert (house.accepted()[0].body or "").startswith("Hello Ann of Acme.")
    assert [lead["person_id"] for lead in leads(house)] == [ann]


def test_the_same_message_told_twice_and_digested_at_once_by_many_enrolls_once(house: House) -> None:
    house.publish(answering())
    house.says("ann", "Hello?")
    pushed = noted(house, carry=False)
    house.run()
    (told,) = [hint for hint in pushed if hint.actor == "digest_inbound"]
    race(*[lambda: digest(house.ctx, told.id)] * 4)
    assert len(leads(house)) == 1
    assert len(house.executions()) == 1


def test_two_messages_of_one_stranger_digested_at_once_make_one_person(house: House) -> None:
    house.publish(answering())
    pushed = noted(house, carry=False)
    for text in ("Hello?", "Anybody there?"):
        house.says("ann", text)
        house.run()
    race(*[lambda i=hint.id: digest(house.ctx, i) for hint in pushed if hint.actor == "digest_inbound"])
    assert len(leads(house)) == 1
    assert house.db.read("SELECT count(*) AS n FROM person")[0]["n"] == 1
    house.deliver = lambda hint: [hint]
    house.pass_time(2 * MINUTE)
    assert acts(house) == [("dm", "ann")]


# --- who does not come in ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["STOP", "please stop by our booth", "I am out of office until Monday", "No thanks, not interested."],
    ids=["an opt-out", "what may be one", "a machine", "a refusal"],
)
@pytest.mark.parametrize("known", [True, False], ids=["known", "stranger"])
def test_what_is_no_invitation_enrolls_nobody(house: House, text: str, known: bool) -> None:
    house.publish(answering())
    if known:
        house.person("ann", basis=None)
    writes(house, "ann", text)
    house.pass_time(2 * MINUTE)
    assert leads(house) == []
    assert acts(house) == []


def test_who_opted_out_does_not_come_in_by_writing(house: House) -> None:
    house.publish(answering())
    ann = house.person("ann", basis=None)
    opt_out(house.ctx, ann, reason="asked by phone", source="operator", evidence={}, actor="test")
    writes(house, "ann")
    assert (leads(house), refusals(house)) == ([], ["suppressed"])


def test_a_stranger_whose_identifier_opted_out_stays_a_stranger(house: House) -> None:
    house.publish(answering())
    writes(house, "ann", "STOP")
    house.clock.advance(HOUR)
    writes(house, "ann", "Tell me more")
    assert (leads(house), refusals(house)) == ([], ["suppressed"])
    assert house.db.read("SELECT 1 FROM person") == []


def test_who_is_in_a_sequence_answers_that_and_enters_no_other(house: House) -> None:
    house.publish(answering())
    house.publish('sequence: other\non_reply: stop\nactions:\n  wait: {do: WAIT, for: 3d, next: hello}\n'
                  '  hello: {do: SEND_TWITTER_DM, message: "Hi. {{ opt_out }}"}\n')  # fmt: skip
    house.enroll("other", [house.person("ann", basis=None)])
    writes(house, "ann")
    assert [lead["sequence"] for lead in leads(house)] == ["other"]


@pytest.mark.parametrize("minutes", [0, 3], ids=["at once", "later"])
@pytest.mark.parametrize("known", [True, False], ids=["known", "stranger"])
def test_an_answer_to_what_was_written_by_hand_is_no_first_message(
    house: House, known: bool, minutes: int
) -> None:
    house.publish(answering())
    if known:
        house.person("ann", basis=None)
    house.simulator.acts.say(
        house.clock.now(),
        id_of_handle("we"),
        id_of_handle("ann"),
        "Hi Ann, a human here",
        kind="neutral",
    )
    house.run()
    house.pass_time(minutes * MINUTE)
    writes(house, "ann", "Oh, hello")
    assert (leads(house), refusals(house)) == ([], ["in_conversation"])


def test_once_per_person_and_with_a_cool_off_again_after_it(house: House) -> None:
    house.publish(answering("{on: message_in, cool_off: 10d}"))
    for days, expected in ((0, 1), (9, 1), (2, 2)):
        house.clock.advance(days * DAY)
        writes(house, "ann")
        assert len(leads(house)) == expected
    assert refusals(house) == ["cool_off"]


def test_without_a_cool_off_never_again(house: House) -> None:
    house.publish(answering())
    writes(house, "ann")
    house.clock.advance(400 * DAY)
    writes(house, "ann")
    assert (len(leads(house)), refusals(house)) == (1, ["been_here"])


def test_what_was_written_before_the_door_opened_enrolls_nobody(house: House) -> None:
    """The first read of an old inbox would else write to everybody in it."""
    house.deliver = lambda hint: []
    writes(house, "ann")
    house.clock.advance(MINUTE)
    house.publish(answering())
    writes(house, "bob")
    house.deliver = lambda hint: [hint]
    house.tick()
    house.pass_time(2 * MINUTE)
    assert acts(house) == [("dm", "bob")]


def test_what_was_written_long_ago_enrolls_nobody(house: House) -> None:
    house.publish(answering())
    house.deliver = lambda hint: []
    writes(house, "ann")
    house.clock.advance(8 * DAY)
    house.deliver = lambda hint: [hint]
    house.tick()
    assert leads(house) == []


def test_only_words_that_stand_in_the_message_open_a_door_that_asks_for_words(house: House) -> None:
    house.publish(answering("{on: message_in, words: [Info, más datos]}", name="by-words"))
    house.publish(answering(name="by-any"))
    writes(house, "ann", "INFO!")
    writes(house, "bob", "informal")
    writes(house, "cid", "quiero MAS  datos, por favor")
    assert [lead["sequence"] for lead in leads(house)] == ["by-words", "by-any", "by-words"]


def test_a_door_of_one_account_is_shut_for_who_writes_to_another(house: House, db: Database) -> None:
    house.publish(answering("{on: message_in, account: we}"))
    other = house.account("other", external_id="999")
    item = house.db.read("SELECT 1 FROM inbound")
    assert item == []
    from outreach.providers.base import InboundItem, InboundKind

    message = InboundItem(
        kind=InboundKind.MESSAGE_IN, content_id="dm:1", account_external_id="999", peer="12345", peer_handle="zoe", text="Hello",
        occurred_at=house.clock.now(), raw={},
    )  # fmt: skip
    house.hints.extend(accept(house.ctx, "twitter", [message]))
    house.run()
    assert (other > 0, leads(house)) == (True, [])


def test_an_archived_sequence_lets_nobody_in_and_a_paused_one_keeps_them(house: House) -> None:
    from outreach.runtime.control import set_sequence

    house.publish(answering())
    set_sequence(house.ctx, "answer", "paused", "a typo", "test")
    writes(house, "ann")
    assert ([lead["waiting_on"] for lead in leads(house)], acts(house)) == (["pause"], [])
    set_sequence(house.ctx, "answer", "archived", "over", "test")
    writes(house, "bob")
    assert len(leads(house)) == 1


# --- publishing -------------------------------------------------------------------------------------------------


def test_names_that_are_not_there_are_problems_by_line_and_nothing_is_published(house: House) -> None:
    text = answering("{on: message_in, account: wee, pool: outbound}") + "\n"
    found = publish(house.ctx, text.encode(), "a.yaml", by="test")
    assert isinstance(found, list)
    assert [(p.code, p.line, p.path) for p in found if isinstance(p, Problem)] == [
        ("S404", 2, "entry.account"), ("S404", 2, "entry.pool")
    ]  # fmt: skip
    assert "Did you mean we?" in (found[0].hint or "")
    assert house.db.read("SELECT 1 FROM sequence") == []


def test_a_door_that_stays_is_open_since_it_was_first_there_and_one_that_goes_is_shut(house: House) -> None:
    house.publish(answering())
    before = house.db.read("SELECT id, since FROM sequence_entry")
    house.clock.advance(HOUR)
    house.publish(answering(first="Another text. {{ opt_out }}"))
    assert house.db.read("SELECT id, since FROM sequence_entry") == before
    house.publish(answering().replace("entry: {on: message_in}\n", ""))
    writes(house, "ann")
    assert leads(house) == []


def test_a_withdrawal_shuts_the_mouth_that_the_message_opened(house: House) -> None:
    """Between the digest and the claim they take it back: T1 sees it."""
    house.publish(answering())
    house.deliver = lambda hint: [hint] if hint.actor == "digest_inbound" else []
    writes(house, "ann")
    (consent,) = house.db.read("SELECT identity_id FROM consent")
    house.db.run(lambda tx: register.withdraw_consent(
        tx, identity_ids=[consent["identity_id"]], channel=Channel.TWITTER, reason="asked", now=house.clock.now()))  # fmt: skip
    house.deliver = lambda hint: [hint]
    house.pass_time(timedelta(minutes=3))
    assert acts(house) == []


# --- by segment -------------------------------------------------------------------------------------------------

BY_SEGMENT = """
sequence: founders
entry: {segment: founders}
actions:
  hello: {do: SEND_TWITTER_DM, message: "Hello {{ stage }}. {{ opt_out }}"}
requires: [stage]
"""


def founders(house: House) -> None:
    create_segment(house.db, "founders", "attribute.stage = founder", house.clock.now())


def test_who_meets_the_condition_comes_in_when_it_is_published_and_later_by_the_sweep(house: House) -> None:
    early = house.person("ann", stage="founder")
    house.person("bob", stage="investor")
    founders(house)
    house.publish(BY_SEGMENT)
    house.tick()
    assert [lead["person_id"] for lead in leads(house)] == [early]
    late = house.person("cid", stage="founder")
    for _ in range(3):
        house.tick()
    assert [lead["person_id"] for lead in leads(house)] == [early, late]


def test_who_comes_to_meet_it_comes_in_and_once_for_all(house: House) -> None:
    house.person("ann", stage="founder")
    bob = house.person("bob", stage="investor")
    founders(house)
    house.publish(BY_SEGMENT)
    house.tick()
    house.db.run(lambda tx: tx.execute(
        "UPDATE profile SET attributes = '{\"stage\": \"founder\"}' WHERE person_id = %s", (bob,)))  # fmt: skip
    house.db.run(lambda tx: tx.execute(
        "UPDATE lead SET state = 'exited', exit_reason = 'x', due_at = NULL, waiting_on = NULL, account_id = NULL, next_kind = NULL,"
        " ended_at = %s", (house.clock.now(),)))  # fmt: skip
    for _ in range(3):
        house.tick()
    assert [lead["person_id"] for lead in leads(house)][1:] == [bob]


def test_large_segments_come_in_by_batches_and_opted_out_people_do_not(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "_WALK", 3)
    monkeypatch.setattr(joining, "_BATCH", 2)
    everyone = [house.person(f"p{n}", stage="founder" if n % 4 else "investor") for n in range(11)]
    opt_out(house.ctx, everyone[1], reason="asked", source="operator", evidence={}, actor="test")
    founders(house)
    house.publish(BY_SEGMENT)
    house.deliver = lambda hint: [hint] if hint.actor == "join_by_segment" else []
    house.tick()
    assert [lead["person_id"] for lead in leads(house)] == [
        p for n, p in enumerate(everyone) if n % 4 and n != 1
    ]


def test_several_at_one_door_let_nobody_in_twice(house: House) -> None:
    for n in range(5):
        house.person(f"p{n}", stage="founder")
    founders(house)
    house.publish(BY_SEGMENT)
    (door,) = house.db.read("SELECT id FROM sequence_entry")
    race(*[lambda: joining.join(house.ctx, door["id"])] * 4)
    assert len(leads(house)) == 5


def test_while_it_is_not_said_who_speaks_nobody_comes_in_and_publishing_says_so(house: House) -> None:
    ann = house.person("ann", stage="founder")
    house.account("other", external_id="999")
    founders(house)
    warnings = house.publish(BY_SEGMENT).warnings
    assert [(w.code, w.line) for w in warnings] == [("S405", 3)]
    house.tick()
    assert leads(house) == []
    house.publish(BY_SEGMENT.replace("founders}", "founders, account: we}"))
    house.tick()
    assert [lead["person_id"] for lead in leads(house)] == [ann]
