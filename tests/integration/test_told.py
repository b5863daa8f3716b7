"""Being told: what needs somebody is said once, a URL that is down loses nothing, and nothing personal leaves by itself."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from outreach.audience.aliases import alias
from outreach.engine.kinds import ReplyClass
from outreach.models import notices
from outreach.models.base import Database, Tx
from outreach.outbound import Outbound
from outreach.runtime.alarms import alarms
from outreach.runtime.alerting import watch
from outreach.runtime.notifying import deliver, put_reply
from outreach.runtime.refusals import count_refused
from outreach.simulator import id_of_handle
from tests.integration.law_support import NO_CAPS, NO_PACE, WRITE_AND_LISTEN
from tests.stage import House, build

pytestmark = pytest.mark.servers
ALERTS, REPLIES, PULSE = (
    "https://alerts.example.test/a",
    "https://notify.example.test/n",
    "https://pulse.example.test/p",
)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@dataclass
class Chat:
    """Whoever listens at the URLs: what they got, and whether they take it."""

    status: int = 200
    got: list[tuple[str, str]] = field(default_factory=list)
    tried: int = 0
    meanwhile: Callable[[], object] = lambda: None

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.tried += 1
        self.meanwhile()
        if self.status == 200:
            text = json.loads(request.content)["text"] if request.content else ""
            self.got.append((str(request.url), text))
        return httpx.Response(self.status)

    def texts(self, url: str = ALERTS) -> list[str]:
        return [text for where, text in self.got if where == url]


@pytest.fixture
def chat() -> Chat:
    return Chat()


@pytest.fixture
def house(db: Database, tmp_path: Path, chat: Chat) -> Iterator[House]:
    found = build(
        db, tmp_path, people=[{"handle": "ann", "persona": "silent"}, {"handle": "bob", "persona": "silent"}],
        alert_url=ALERTS, notify_url=REPLIES,
    )  # fmt: skip
    outbound = Outbound(simulated=lambda: True, transport=httpx.MockTransport(chat.handle))
    found.ctx = replace(found.ctx, outbound=outbound)
    found.account(caps=NO_CAPS, pace=NO_PACE, dm_mode="opt_in", mode_reason="test")
    found.tick()
    yield found


def write(house: House, sql: str, *params: Any) -> None:
    house.db.run(lambda tx: tx.execute(sql, params))


def names(house: House) -> list[str]:
    return [a.alert.value for a in house.db.run(lambda tx: alarms(house.ctx, tx, house.clock.now()))]


def configure(house: House, **settings: Any) -> None:
    house.ctx = replace(house.ctx, settings=replace(house.ctx.settings, **settings))


def stop_account(house: House) -> None:
    write(
        house,
        "UPDATE account SET state = 'restricted', state_reason = 'locked <!channel>', state_at = %s",
        house.clock.now(),
    )


def mend_account(house: House) -> None:
    write(house, "UPDATE account SET state = 'ok', state_reason = NULL")


# --- one message when it begins, one a day, one when it ends -----------------------------------------------------


def test_an_alert_is_told_when_it_begins_once_a_day_and_when_it_is_over(house: House, chat: Chat) -> None:
    stop_account(house)
    house.pass_time(10 * MINUTE)
    (begun,) = chat.texts()
    assert begun.startswith("[SIMULATED · test] ALERT account_needs_somebody: account we: restricted")
    assert "&lt;!channel&gt;" in begun
    assert "docs/runbook.md#account_needs_somebody" in begun
    house.pass_time(DAY, step=HOUR)
    assert [text.split("] ")[1].split(" ")[0] for text in chat.texts()] == ["ALERT", "STILL"]
    mend_account(house)
    house.pass_time(10 * MINUTE)
    assert chat.texts()[2].split("] ")[1].startswith("OVER account_needs_somebody")
    house.pass_time(DAY, step=HOUR)
    assert len(chat.texts()) == 3


def test_what_flickers_is_told_once_and_what_comes_back_is_told_again(house: House, chat: Chat) -> None:
    for _ in range(4):
        stop_account(house)
        house.pass_time(2 * MINUTE)
        mend_account(house)
        house.pass_time(2 * MINUTE)
    assert len(chat.texts()) == 1
    house.pass_time(10 * MINUTE)
    stop_account(house)
    house.pass_time(2 * MINUTE)
    assert [text.split("] ")[1].split(" ")[0] for text in chat.texts()] == ["ALERT", "OVER", "ALERT"]


def test_two_processes_that_look_at_once_tell_once(house: House, chat: Chat) -> None:
    stop_account(house)
    for _ in range(3):
        watch(house.ctx)
        deliver(house.ctx)
    assert len(chat.texts()) == 1


# --- the eight -----------------------------------------------------------------------------------------------------


def _stale(house: House, minutes: int) -> None:
    write(house, "UPDATE instance SET last_tick_at = %s", house.clock.now() - timedelta(minutes=minutes))


def _lead(house: House) -> int:
    house.publish(WRITE_AND_LISTEN)
    return house.enroll("listen", [house.person("ann", basis="opt_in")])[0]


def _hold(house: House) -> None:
    lead, now = _lead(house), house.clock.now()
    write(
        house, "UPDATE execution SET state = 'held', reason = 'lost', fence = 1, started_at = %s, call_deadline = %s, effect_by = %s"
        " WHERE lead_id = %s AND state = 'sent'", now, now, now, lead,
    )  # fmt: skip


def _unread(house: House) -> None:
    _lead(house)
    write(house, "UPDATE watermark SET read_up_to = %s, failed = 'unreachable'", house.clock.now() - 2 * HOUR)
    write(
        house, "UPDATE execution SET effect_by = effect_by - interval '3 hours', started_at = started_at - interval '3 hours'"
        " WHERE effect_by IS NOT NULL",
    )  # fmt: skip


def _draining(house: House) -> None:
    person = house.person("bob")
    write(
        house, "UPDATE person SET suppressed_at = %s, suppression_reason = 'stop' WHERE id = %s", house.clock.now() - 2 * MINUTE, person
    )  # fmt: skip


def _overdue(house: House) -> None:
    lead = _lead(house)
    write(
        house, "UPDATE lead SET due_at = %s, next_kind = 'FOLLOW_ON_TWITTER', account_id = (SELECT id FROM account) WHERE id = %s",
        house.clock.now() - 11 * MINUTE, lead,
    )  # fmt: skip


CASES: dict[str, Callable[[House], None]] = {
    "tick_late": lambda house: _stale(house, 4),
    "due_late": _overdue,
    "account_needs_somebody": stop_account,
    "held": _hold,
    "inbox_late": _unread,
    "signatures_refused": lambda house: count_refused(house.ctx, {"sim": 3, "gone": 1}),
    "optout_not_effective": _draining,
}


def test_a_healthy_house_raises_nothing(house: House) -> None:
    _lead(house)
    house.pass_time(15 * MINUTE)
    assert names(house) == []


@pytest.mark.parametrize("name", CASES)
def test_each_condition_raises_its_alert_and_no_other(house: House, name: str) -> None:
    CASES[name](house)
    assert names(house) == [name]


def test_many_connections_raise_an_alert(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names(house) == []
    monkeypatch.setattr("outreach.runtime.alarms._CONNECTIONS_FULL", 0.0)
    assert names(house) == ["connections_high"]


REASONS = [
    "UPDATE instance SET paused_at = now(), pause_reason = 'x'",
    "UPDATE sequence SET state = 'paused', state_reason = 'x'",
    "UPDATE lead SET paused_at = now(), pause_reason = 'x'",
    "UPDATE account SET state = 'paused', state_reason = 'holidays'",
    """UPDATE account SET caps = '{"FOLLOW_ON_TWITTER": "1/day"}';
       UPDATE execution SET kind = 'FOLLOW_ON_TWITTER', effect_by = effect_by - interval '20 minutes',
              started_at = started_at - interval '20 minutes' WHERE effect_by IS NOT NULL""",
    "INSERT INTO hold (scope, scope_id, kind, until, reason) SELECT 'account', id, 'FOLLOW_ON_TWITTER', '2030-01-01', 'x' FROM account",
    "UPDATE execution SET kind = 'FOLLOW_ON_TWITTER' WHERE effect_by IS NOT NULL",
]


def test_what_is_late_for_a_reason_is_not_late(house: House) -> None:
    _overdue(house)
    assert names(house) == ["due_late"]
    for change in REASONS:
        with pytest.raises(ZeroDivisionError), house.db.transaction() as tx:
            tx.execute(change)
            assert alarms(house.ctx, tx, house.clock.now()) == [], change
            raise ZeroDivisionError  # undo it


def test_a_token_that_is_being_refreshed_calls_nobody_until_it_is_given_up(house: House) -> None:
    write(house, "UPDATE account SET state = 'needs_reauth', state_reason = 'expired'")
    assert names(house) == []
    write(house, "UPDATE account SET refresh_token = NULL")
    assert names(house) == ["account_needs_somebody"]


# --- a URL that is down --------------------------------------------------------------------------------------------


def test_nothing_is_lost_while_the_url_is_down_and_it_is_tried_once_per_pass(
    house: House, chat: Chat
) -> None:
    chat.status = 503
    stop_account(house)
    house.tick()
    count_refused(house.ctx, {"sim": 1})
    house.tick()
    assert chat.tried == 1  # the second waits behind the first, which waits for its time
    (standing,) = house.db.run(lambda tx: notices.standing(tx, house.clock.now() - DAY))
    assert (standing["waiting"], standing["reason"]) == (2, "it answered 503")
    house.pass_time(30 * MINUTE)
    assert 4 <= chat.tried <= 10
    chat.status = 200
    house.pass_time(HOUR, step=5 * MINUTE)
    assert ["restricted" in text for text in chat.texts()[:2]] == [True, False]


def test_what_was_not_taken_for_a_day_is_given_up_and_said(house: House, chat: Chat) -> None:
    chat.status = 404
    stop_account(house)
    house.pass_time(DAY + 2 * HOUR, step=30 * MINUTE)
    (standing,) = house.db.run(lambda tx: notices.standing(tx, house.clock.now() - DAY))
    assert standing["given_up"] == 1
    assert house.db.read("SELECT reason FROM notice WHERE state = 'given_up'")[0]["reason"] == (
        "not delivered within a day: it answered 404"
    )


def test_while_one_process_delivers_no_other_delivers_the_same(house: House, chat: Chat) -> None:
    stop_account(house)
    watch(house.ctx)
    chat.meanwhile = lambda: chat.tried < 5 and deliver(house.ctx)
    deliver(house.ctx)
    assert (chat.tried, len(chat.texts())) == (1, 1)


def test_processes_that_deliver_at_the_same_instant_deliver_once(house: House, chat: Chat) -> None:
    """More of them than connections ask at once; each notice is posted by one of them."""

    def replies(tx: Tx) -> None:
        for number in range(8):
            put_reply(
                tx, inbound_id=number, person_id=1, reply_class=ReplyClass.NEUTRAL, now=house.clock.now()
            )

    house.db.run(replies)
    begin = threading.Barrier(6)

    def one() -> None:
        begin.wait()
        deliver(house.ctx)

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(chat.texts(REPLIES)) == 8


def test_a_process_that_died_delivering_is_made_up_for(house: House, chat: Chat) -> None:
    def die() -> None:
        raise KeyboardInterrupt

    stop_account(house)
    watch(house.ctx)
    chat.meanwhile = die
    with pytest.raises(KeyboardInterrupt):
        deliver(house.ctx)
    chat.meanwhile = lambda: None
    house.tick()
    assert chat.texts() == []
    house.pass_time(5 * MINUTE)
    assert len(chat.texts()) == 1


# --- replies -------------------------------------------------------------------------------------------------------


def _answered(house: House, text: str) -> int:
    person = house.person("ann", basis="opt_in")
    house.publish(WRITE_AND_LISTEN)
    house.enroll("listen", [person])
    house.pass_time(2 * MINUTE)
    house.says("ann", text)
    house.run()
    return person


def test_a_reply_is_told_by_alias_class_and_link_and_never_by_its_words(house: House, chat: Chat) -> None:
    person = _answered(house, "Yes, I would love that!")
    (text,) = chat.texts(REPLIES)
    first, second, third = text.splitlines()
    assert first == f"[SIMULATED · test] {alias(person)} wrote: positive · listen · to we on twitter"
    assert second == f"outreach why {alias(person)}"
    assert third.startswith("https://x.com/messages/")
    low, high = third.rsplit("/", 1)[1].split("-")
    assert {low, high} == {id_of_handle("ann"), id_of_handle("we")}
    assert int(low) < int(high)
    stored = json.dumps(house.db.read("SELECT payload FROM notice"))
    assert "love" not in text + stored
    assert "ann" not in stored
    house.pass_time(HOUR, step=10 * MINUTE)
    assert len(chat.texts(REPLIES)) == 1


def test_a_setting_lets_its_words_out_as_plain_text(house: House, chat: Chat) -> None:
    configure(house, notify_body=True)
    _answered(house, "Yes <!channel> & more")
    assert "\n> Yes &lt;!channel&gt; &amp; more\n" in chat.texts(REPLIES)[0]


def test_nobody_is_told_of_replies_who_did_not_ask(house: House, chat: Chat) -> None:
    configure(house, notify_url=None, alert_url=None)
    _answered(house, "Yes!")
    assert chat.tried == 0
    assert house.db.read("SELECT 1 FROM notice") == []


# --- the pulse -----------------------------------------------------------------------------------------------------


def test_each_tick_sends_a_sign_of_life_and_goes_on_without_an_answer(house: House, chat: Chat) -> None:
    configure(house, heartbeat_url=PULSE)
    house.tick()
    assert [url for url, _ in chat.got] == [PULSE]
    chat.status = 500
    house.tick()
    assert chat.tried == 2
    write(house, "UPDATE instance SET paused_at = now(), pause_reason = 'x'")
    house.tick()
    assert chat.tried == 3


def test_the_alert_of_a_dead_tick_ends_with_the_next_tick(house: House, chat: Chat) -> None:
    _stale(house, 4)
    watch(house.ctx)  # as the web process does
    deliver(house.ctx)
    house.pass_time(10 * MINUTE)
    assert [text.split("] ")[1].split(":")[0] for text in chat.texts()] == [
        "ALERT tick_late",
        "OVER tick_late",
    ]


def _rows(tx: Tx) -> int:
    return int(tx.value("SELECT count(*) FROM notice"))


def test_what_was_delivered_is_forgotten_after_a_month(house: House, chat: Chat) -> None:
    stop_account(house)
    house.tick()
    mend_account(house)
    house.pass_time(10 * MINUTE)
    assert house.db.run(_rows) == 2
    house.clock.advance(31 * DAY)
    stop_account(house)
    house.tick()
    house.tick()
    assert house.db.run(_rows) < 5
    assert house.db.read("SELECT 1 FROM notice WHERE settled_at < %s", (house.clock.now() - 30 * DAY,)) == []
