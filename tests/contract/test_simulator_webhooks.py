"""The simulator's webhooks: challenges, signatures, retries, replays, and all that can go wrong on the way."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from outreach.simulator import ClientPost, HttpPost
from tests.contract.simulator_bench import ACME, ANNA, DORA, START, Bench, Subscriber


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_webhook_is_registered_only_if_it_answers_the_challenge(bench: Bench) -> None:
    bench.subscriber.honest = False
    refused = bench.app.post("/2/webhooks", json={"url": "http://127.0.0.1:9/hook"})
    bench.subscriber.honest = True
    accepted = bench.app.post("/2/webhooks", json={"url": "http://127.0.0.1:9/hook"})

    assert (refused.status_code, "CrcValidationFailed" in refused.text) == (400, True)
    assert accepted.json()["data"]["valid"] is True
    assert bench.app.get("/2/webhooks").json()["meta"]["result_count"] == 1


def test_no_webhook_leaves_the_machine(bench: Bench) -> None:
    assert bench.app.post("/2/webhooks", json={"url": "https://example.test/hook"}).status_code == 400
    assert HttpPost()("GET", "http://example.test/hook", {}, b"") is None


def test_webhooks_want_the_apps_token_and_messages_the_accounts(bench: Bench) -> None:
    assert bench.acme.get("/2/webhooks").status_code == 403
    assert bench.app.get("/2/dm_events").status_code == 403


def test_a_reply_is_told_with_the_text_the_sender_and_a_right_signature(bench: Bench) -> None:
    bench.subscribe("dm.received", "dm.sent")
    bench.dm("hello", to=DORA)
    bench.run(minutes=11)

    sent, received = bench.subscriber.events
    message = received["payload"]["direct_message_events"][0]
    assert (sent["event_type"], received["event_type"]) == ("dm.sent", "dm.received")
    assert received["filter"] == {"user_id": ACME}
    assert message["message_create"]["message_data"]["text"] == "STOP"
    assert message["message_create"]["sender_id"] == DORA
    assert message["created_timestamp"] == str(int((START + timedelta(seconds=600)).timestamp() * 1000))
    assert received["payload"]["users"][DORA]["data"]["username"] == "dora"
    assert bench.subscriber.forged == 0


def test_the_witness_knows_when_a_reply_was_let_through(bench: Bench) -> None:
    bench.subscribe("dm.received")
    bench.dm(to=DORA)
    bench.run(minutes=11)

    said, delivered = bench.witness.read()[1][-2:]
    assert (said.what, delivered.what) == ("said", "delivered")
    assert (delivered.id, delivered.attempt, delivered.status) == (said.id, 1, 200)


def test_a_follow_is_told_to_both_sides_and_ids_say_who_did_it(bench: Bench) -> None:
    bench.subscribe("follow.follow")
    bench.follow(ANNA)
    bench.run(hours=2)

    ours, theirs = (event["payload"] for event in bench.subscriber.events)
    assert (ours["source"]["data"]["id"], ours["target"]["data"]["id"]) == (ACME, ANNA)
    assert (theirs["source"]["data"]["id"], theirs["target"]["data"]["id"]) == (ANNA, ACME)


def test_a_subscription_to_inbound_follows_hears_of_those_only(bench: Bench) -> None:
    hook = bench.subscribe()
    wanted = {
        "event_type": "follow.follow",
        "filter": {"user_id": ACME, "direction": "inbound"},
        "webhook_id": hook,
    }
    bench.app.post("/2/activity/subscriptions", json={**wanted, "tag": "back"})
    bench.follow(ANNA)
    bench.run(hours=2)

    (event,) = bench.subscriber.events
    assert (event["payload"]["source"]["data"]["id"], event["tag"]) == (ANNA, "back")


def test_an_equal_subscription_is_a_conflict_and_a_deleted_one_is_silent(bench: Bench) -> None:
    hook = bench.subscribe("dm.sent")
    wanted = {"event_type": "dm.sent", "filter": {"user_id": ACME}, "webhook_id": hook}
    (listed,) = bench.app.get("/2/activity/subscriptions").json()["data"]

    assert bench.app.post("/2/activity/subscriptions", json=wanted).status_code == 409
    assert bench.app.delete(f"/2/activity/subscriptions/{listed['subscription_id']}").json()["data"] == {
        "deleted": True
    }
    bench.dm()
    bench.run(seconds=1)
    assert bench.subscriber.events == []


def test_a_failed_delivery_is_tried_again_with_the_same_event_id(bench: Bench) -> None:
    bench.subscribe("dm.sent")
    bench.subscriber.refuse = 2
    bench.dm()
    bench.run(seconds=10)

    attempts = [(deed.what, deed.attempt) for deed in bench.witness.read()[1] if deed.attempt]
    assert attempts == [("undelivered", 1), ("undelivered", 2), ("delivered", 3)]
    assert len(bench.subscriber.events) == 1


def test_a_replay_tells_again_what_was_lost() -> None:
    bench = Bench(faults=[{"match": {"route": "webhook:*"}, "do": "lose"}])
    hook = bench.subscribe("dm.sent")
    bench.dm()
    bench.run(seconds=1)
    lost = list(bench.subscriber.events)
    window = {"webhook_id": hook, "from_date": "202601051200", "to_date": "202601051200"}
    answer = bench.app.post("/2/webhooks/replay", json=window)
    bench.run(seconds=1)

    assert lost == []
    assert answer.json()["data"].keys() == {"job_id", "created_at"}
    assert bench.subscriber.heard() == ["dm.sent"]


def test_a_subscriber_can_be_an_app_behind_an_httpx_client_and_an_unreachable_one_is_tried_again() -> None:
    subscriber, reachable = Subscriber(), True

    def app(request: httpx.Request) -> httpx.Response:
        if not reachable:
            raise httpx.ConnectError("nobody there", request=request)
        status, body = subscriber(request.method, str(request.url), request.headers, request.content)
        return httpx.Response(status, content=body)

    with httpx.Client(transport=httpx.MockTransport(app)) as client:
        bench = Bench(post=ClientPost(client))
        bench.subscribe("dm.sent")
        reachable = False
        bench.dm()
        bench.run(seconds=1)
        reachable = True
        bench.run(seconds=10)

    assert subscriber.heard() == ["dm.sent"]
    attempts = [(deed.what, deed.status) for deed in bench.witness.read()[1] if deed.attempt]
    assert attempts == [("undelivered", 0), ("undelivered", 0), ("delivered", 200)]


def webhook_fault(**fault: Any) -> Bench:
    bench = Bench(faults=[{"match": {"route": "webhook:*"}, **fault}])
    bench.subscribe("dm.sent")
    bench.dm()
    return bench


def test_webhooks_can_be_doubled_with_one_event_id() -> None:
    bench = webhook_fault(do="duplicate", copies=3, seconds=2)
    bench.run(seconds=3)

    assert len(bench.subscriber.events) == 3
    assert len({event["event_uuid"] for event in bench.subscriber.events}) == 1


def test_webhooks_can_be_late() -> None:
    bench = webhook_fault(do="postpone", seconds=60)
    bench.run(seconds=59)
    early = bench.subscriber.heard()
    bench.run(seconds=2)

    assert (early, bench.subscriber.heard()) == ([], ["dm.sent"])


def test_webhooks_can_be_wrongly_signed_before_the_right_one_comes() -> None:
    bench = webhook_fault(do="missign", accepted=True, seconds=1)
    bench.run(seconds=10)

    assert bench.subscriber.forged >= 1
    assert bench.subscriber.heard() == ["dm.sent"]


def test_webhooks_can_change_places() -> None:
    bench = Bench(faults=[{"match": {"route": "webhook:*"}, "do": "shuffle", "seconds": 60}])
    bench.subscribe("dm.sent")
    for number in range(8):
        bench.instant.move(seconds=1)
        bench.dm(f"number {number}")
    bench.run(seconds=120)

    texts = [
        event["payload"]["direct_message_events"][0]["message_create"]["message_data"]["text"]
        for event in bench.subscriber.events
    ]
    assert sorted(texts) == [f"number {number}" for number in range(8)]
    assert texts != sorted(texts)
