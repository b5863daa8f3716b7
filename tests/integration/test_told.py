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
from dramatiq.brokers.stub import StubBroker
from starlette.applications import Starlette
from starlette.testclient import TestClient

from outreach.app import App
from outreach.audience.aliases import alias
from outreach.engine.kinds import ReplyClass
from outreach.models import instance, notices
from outreach.models.base import Database, Tx
from outreach.outbound import Outbound
from outreach.providers.registry import build_webhooks
from outreach.runtime.alarms import alarms
from outreach.runtime.alerting import watch
from outreach.runtime.notifying import deliver, put_reply
from outreach.runtime.refusals import count_refused
from outreach.simulator import id_of_handle
from outreach.web.server import create_app
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


OVERDUE = "UPDATE lead SET due_at = %(now)s - interval '11 minutes', next_kind = 'FOLLOW_ON_TWITTER', account_id = (SELECT id FROM account)"
CASES = {
    "tick_late": "UPDATE instance SET last_tick_at = %(now)s - interval '4 minutes'",
    "due_late": OVERDUE,
    "account_needs_somebody": "UPDATE account SET state = 'no_credits', state_reason = 'no credits'",
    "held": """UPDATE execution SET state = 'held', reason = 'lost', fence = 1, started_at = %(now)s, call_deadline = %(now)s, effect_by = %(now)s
                WHERE state = 'sent'""",
    "inbox_late": """UPDATE watermark SET read_up_to = %(now)s - interval '2 hours', failed = 'unreachable';
                     UPDATE execution SET effect_by = effect_by - interval '3 hours', started_at = started_at - interval '3 hours'
                      WHERE effect_by IS NOT NULL""",
    "signatures_refused": "INSERT INTO refused_push SELECT id, 3, %(now)s - interval '14 minutes' FROM app",
    "optout_not_effective": "UPDATE person SET suppressed_at = %(now)s - interval '61 seconds', suppression_reason = 'stop'",
}
#: The same, so little less late that nobody is called.
JUST_NOT = {
    "tick_late": "UPDATE instance SET last_tick_at = %(now)s - interval '179 seconds'",
    "due_late": OVERDUE.replace("11 minutes", "599 seconds"),
    "account_needs_somebody": "UPDATE account SET state = 'paused', state_reason = 'holidays'",
    "inbox_late": CASES["inbox_late"].replace("2 hours", "59 minutes"),
    "signatures_refused": "INSERT INTO refused_push SELECT id, 3, %(now)s - interval '16 minutes' FROM app",
    "optout_not_effective": CASES["optout_not_effective"].replace("61", "59"),
}


def alarms_after(house: House, change: str) -> list[str]:
    """What would be raised if this were so; it is undone."""
    found: list[str] = []
    with pytest.raises(ZeroDivisionError), house.db.transaction() as tx:
        tx.execute(change, {"now": house.clock.now()})
        found = [a.alert.value for a in alarms(house.ctx, tx, house.clock.now())]
        raise ZeroDivisionError
    return found


def test_each_condition_raises_its_alert_and_no_other(house: House) -> None:
    _lead(house)
    house.pass_time(15 * MINUTE, step=5 * MINUTE)
    assert names(house) == []
    for name, change in CASES.items():
        assert alarms_after(house, change) == [name]
    for name, change in JUST_NOT.items():
        assert alarms_after(house, change) == [], name


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
    _lead(house)
    assert alarms_after(house, OVERDUE) == ["due_late"]
    for change in REASONS:
        assert alarms_after(house, f"{OVERDUE}; {change}") == [], change


def test_a_token_that_is_being_refreshed_calls_nobody_until_it_is_given_up(house: House) -> None:
    write(house, "UPDATE account SET state = 'needs_reauth', state_reason = 'expired'")
    assert names(house) == []
    write(house, "UPDATE account SET refresh_token = NULL")
    assert names(house) == ["account_needs_somebody"]


# --- the web process, which sees that nobody ticks --------------------------------------------------------------


@pytest.fixture
def web(house: House) -> Starlette:
    app = App(
        settings=house.ctx.settings, context=house.ctx, broker=StubBroker(middleware=[]), instance=house.db.run(instance.read),
        webhooks=dict(build_webhooks()),
    )  # fmt: skip
    return create_app(app)


def test_the_web_process_tells_of_a_dead_tick_and_of_wrong_signatures_by_itself(
    house: House, chat: Chat, web: Starlette
) -> None:
    client = TestClient(web)
    for _ in range(5):
        answer = client.post(
            "/webhooks/twitter/sim", content=b"{}", headers={"x-twitter-webhooks-signature": "sha256=x"}
        )
        assert answer.status_code == 401
    client.post("/webhooks/twitter/made-up", content=b"{}")
    assert house.db.read("SELECT 1 FROM refused_push") == []  # nothing is written per push
    house.clock.advance(4 * MINUTE)
    web.state.watchdog.look()
    assert {text.split("] ")[1].split(":")[0] for text in chat.texts()} == {
        "ALERT tick_late",
        "ALERT signatures_refused",
    }
    assert [row["count"] for row in house.db.read("SELECT count FROM refused_push")] == [5]
    web.state.watchdog.look()
    assert len(chat.texts()) == 2


def test_metrics_count_the_alerts_that_stand(house: House, web: Starlette) -> None:
    stop_account(house)
    house.tick()
    assert "outreach_alerts 1" in TestClient(web).get("/metrics").text


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
