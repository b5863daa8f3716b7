"""The web process: webhooks verified on the raw body and stored once, the opt-out page, health and metrics."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from dramatiq.brokers.stub import StubBroker
from starlette.testclient import TestClient

from outreach.app import App
from outreach.models import accounts, instance
from outreach.providers.registry import build_webhooks
from outreach.runtime.credentials import sealed_app
from outreach.simulator import id_of_handle
from outreach.web.optout import make_token
from outreach.web.server import create_app
from tests.stage import SECRET, House, build

pytestmark = pytest.mark.servers
HOOK = "/webhooks/twitter/sim"


@pytest.fixture
def house(db: Any, tmp_path: Any) -> House:
    found = build(db, tmp_path, people=[{"handle": "ann", "persona": "silent"}], webhooks=False)
    found.account()
    return found


@pytest.fixture
def client(house: House) -> Iterator[TestClient]:
    ctx = replace(house.ctx, settings=replace(house.ctx.settings, link_secret="links"))
    app = App(
        settings=ctx.settings,
        context=ctx,
        broker=StubBroker(middleware=[]),
        instance=house.db.run(instance.read),
        webhooks=dict(build_webhooks()),
    )
    for queue in ("inbound", "engine"):
        app.broker.declare_queue(queue)
    with TestClient(create_app(app)) as web:
        yield web


def message(text: str = "hello", message_id: str = "900001") -> bytes:
    payload = {
        "direct_message_events": [
            {
                "type": "message_create",
                "id": message_id,
                "created_timestamp": "1767614400000",
                "message_create": {
                    "target": {"recipient_id": id_of_handle("we")},
                    "sender_id": id_of_handle("ann"),
                    "message_data": {"text": text},
                },
            }
        ],
        "users": {},
    }
    data = {
        "event_uuid": "-1",
        "filter": {"user_id": id_of_handle("we")},
        "event_type": "dm.received",
        "tag": "",
        "payload": payload,
    }
    return json.dumps({"data": data}).encode()


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    mac = base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()
    return {"x-twitter-webhooks-signature": f"sha256={mac}"}


def stored(house: House) -> list[dict[str, Any]]:
    return house.db.read("SELECT kind, text, state, via FROM inbound ORDER BY id")


def test_a_push_is_stored_once_however_often_it_comes(client: TestClient, house: House) -> None:
    body = message()
    for _ in range(3):
        assert client.post(HOOK, content=body, headers=signed(body)).status_code == 200
    assert stored(house) == [{"kind": "message_in", "text": "hello", "state": "stored", "via": "webhook"}]


def test_a_push_with_somebody_elses_signature_is_refused_and_not_kept(
    client: TestClient, house: House
) -> None:
    body = message()
    assert client.post(HOOK, content=body, headers=signed(body, "other")).status_code == 401
    assert client.post(HOOK, content=body).status_code == 401
    assert client.post(HOOK, content=body + b" ", headers=signed(body)).status_code == 401
    assert stored(house) == []


def test_a_verified_push_that_nobody_understands_is_kept_in_sight(client: TestClient, house: House) -> None:
    body = json.dumps({"data": {"event_type": "tea.poured", "event_uuid": "1", "payload": {}}}).encode()
    assert client.post(HOOK, content=body, headers=signed(body)).status_code == 200
    assert [row["state"] for row in stored(house)] == ["unreadable"]


def test_a_push_that_is_replayed_for_ever_changes_nothing(client: TestClient, house: House) -> None:
    """The signature carries no time: who has seen one push may send it again whenever they like, under either header's name."""
    house.publish(HELLO)
    ann = house.person("ann", basis="opt_in")
    house.enroll("hello", [ann])
    body = message("please stop")
    for _ in range(2):
        assert client.post(HOOK, content=body, headers=signed(body)).status_code == 200
    house.tick()
    once = dump_of(house)
    assert [row["state"] for row in stored(house)] == ["digested"]
    for year in (1, 10):
        house.clock.advance(timedelta(days=365 * year))
        for name in ("x-twitter-webhooks-signature", "x-twitter-webhooks-signature-oauth2"):
            headers = {name: next(iter(signed(body).values()))}
            assert client.post(HOOK, content=body, headers=headers).status_code == 200
        assert dump_of(house) == once
    house.tick()
    assert len(stored(house)) == 1


HELLO = "sequence: hello\nactions:\n  hello: {do: FOLLOW_ON_TWITTER}\n"


def dump_of(house: House) -> Any:
    """What a replay might change."""
    return [
        house.db.read(f"SELECT t::text AS row FROM {name} t ORDER BY 1")
        for name in ("inbound", "signal", "event", "lead", "execution", "suppression", "consent", "notice")
    ]


def test_each_app_has_its_own_secret_and_no_other_is_taken_for_it(client: TestClient, house: House) -> None:
    other: dict[str, Any] = {
        "name": "other", "channel": "twitter", "client_id": "c", "client_secret": None, "consumer_secret": "other-secret", "caps": {},
        "now": house.clock.now(),
    }  # fmt: skip
    house.db.run(lambda tx: accounts.put_app(tx, sealed_app(house.ctx.vault, other)))
    body = message()
    assert client.post(HOOK, content=body, headers=signed(body, "other-secret")).status_code == 401
    assert client.post("/webhooks/twitter/other", content=body, headers=signed(body)).status_code == 401
    assert stored(house) == []
    assert (
        client.post("/webhooks/twitter/other", content=body, headers=signed(body, "other-secret")).status_code
        == 200
    )
    answers = [
        client.get(f"/webhooks/twitter/{name}", params={"crc_token": "abc"}).json()
        for name in ("sim", "other")
    ]
    assert answers[0] != answers[1]


@pytest.mark.parametrize("url", [HOOK, "/forms/hello/website"])
def test_a_huge_body_is_refused_before_it_has_been_read_to_its_end(client: TestClient, url: str) -> None:
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        for _ in range(1000):
            read += 1
            yield b"x" * 100_000

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": next(chunks), "more_body": True}

    async def send(event: Any) -> None:
        sent.append(event)

    chunks = endless()
    sent: list[Any] = []
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": url, "raw_path": url.encode(), "query_string": b"",
        "headers": [], "scheme": "http", "server": ("test", 80), "client": ("test", 1), "root_path": "",
    }  # fmt: skip
    app: Any = client.app
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 413
    assert read <= 11


@pytest.mark.parametrize(
    "body", [b"\xff\xfe", b"", b"[]", b"null", b'"data"', b"[" * 5000, b'{"data": ' + b"9" * 5000 + b"}"]
)
def test_a_signed_body_that_nobody_can_read_is_kept_by_its_digest_once(
    client: TestClient, house: House, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        assert client.post(HOOK, content=body, headers=signed(body)).status_code == 200
    assert [row["state"] for row in stored(house)] == ["unreadable"]
    assert [r.getMessage() for r in caplog.records if r.levelname == "ERROR"] == []


def test_the_challenge_is_answered_with_the_apps_secret(client: TestClient) -> None:
    answer = client.get(HOOK, params={"crc_token": "abc"}).json()["response_token"]
    expected = base64.b64encode(hmac.new(SECRET.encode(), b"abc", hashlib.sha256).digest()).decode()
    assert answer == f"sha256={expected}"
    assert client.get("/webhooks/twitter/nobody", params={"crc_token": "abc"}).status_code == 404


def test_looking_at_the_opt_out_page_changes_nothing_and_posting_suppresses(
    client: TestClient, house: House
) -> None:
    ann = house.person("ann")
    url = f"/opt-out/{make_token('links', ann)}"
    assert "Stop all messages?" in client.get(url).text

    def suppressed() -> Any:
        return house.db.read(
            "SELECT suppressed_at IS NOT NULL AS yes, suppression_effective_at IS NOT NULL AS effective FROM person"
        )[0]

    assert suppressed() == {"yes": False, "effective": False}
    assert client.post(url).status_code == 200
    assert suppressed() == {"yes": True, "effective": True}
    assert client.post(url).status_code == 200, "a second click is as good as the first"


def test_a_made_up_opt_out_link_does_nothing(client: TestClient, house: House) -> None:
    ann = house.person("ann")
    forged = make_token("other", ann)
    assert client.get(f"/opt-out/{forged}").status_code == 404
    assert client.post(f"/opt-out/{forged}").status_code == 404
    assert house.db.read("SELECT suppressed_at FROM person") == [{"suppressed_at": None}]


def test_readiness_wants_a_recent_tick(client: TestClient, house: House) -> None:
    assert client.get("/healthz").text == "ok"
    assert client.get("/readyz").status_code == 503
    house.tick()
    assert client.get("/readyz").json()["ready"] is True
    assert "outreach_leads_due 0" in client.get("/metrics").text


def test_a_push_whose_secret_cannot_be_opened_is_not_kept_and_comes_again(
    client: TestClient, house: House
) -> None:
    house.db.run(lambda tx: tx.execute("UPDATE app SET consumer_secret = 'v1:00000000:AAAA'"))
    assert client.get(HOOK, params={"crc_token": "abc"}).status_code == 503
    body = message()
    mac = base64.b64encode(hmac.new(SECRET.encode(), body, hashlib.sha256).digest()).decode()
    signed = {"x-twitter-webhooks-signature": f"sha256={mac}"}
    answer = client.post(HOOK, content=body, headers=signed)
    assert (answer.status_code, "00000000" in answer.text) == (503, False)
    assert house.db.read("SELECT 1 FROM inbound") == []
