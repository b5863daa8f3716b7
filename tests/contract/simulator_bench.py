"""What the simulator's tests share: a small world, a clock that is moved by hand, a subscriber, and a bench around them."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from outreach.simulator import InProcessTransport, ScaledClock, Simulator, Witness, WorldSpec
from outreach.simulator.faults import read_rules
from outreach.simulator.webhooks import Post

START = datetime(2026, 1, 5, 12, tzinfo=UTC)
SECRET = "consumer-secret"
ANNA, BEN, CARL, DORA = "101", "102", "103", "104"
ACME, BASIC = "900", "901"

WORLD: Mapping[str, Any] = {
    "app": {"consumer_secret": SECRET, "bearer_token": "app"},
    "accounts": [
        {"id": ACME, "handle": "acme", "access_token": "t", "refresh_token": "r", "follow_permitted": True},
        {"id": BASIC, "handle": "acme_basic", "access_token": "t2", "refresh_token": "r2"},
    ],
    "people": [
        {
            "id": ANNA,
            "handle": "anna",
            "persona": {"reactions": [], "follow_back_after": 3600, "protected": False},
        },
        {
            "id": BEN,
            "handle": "ben",
            "persona": {"protected": True, "approve_after": 60, "follow_back_after": None},
        },
        {"id": CARL, "handle": "carl", "persona": {"receives_dm": False, "protected": False}},
        {
            "id": DORA,
            "handle": "dora",
            "persona": {
                "reactions": [[{"habit": "stop", "after": 600, "text": "STOP"}]],
                "receives_dm": True,
            },
            "wrote_first": {"text": "hello, how does this work?", "after_s": -7200},
        },
    ],
    "dialect": "problem",
}


class Instant:
    """A clock's source that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def move(self, **duration: float) -> datetime:
        self.now += timedelta(**duration)
        return self.now


class Subscriber:
    """Somebody who registered a webhook: answers challenges, checks signatures, keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.forged = 0
        self.refuse = 0
        self.honest = True

    def __call__(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        if method == "GET":
            token = parse_qs(urlsplit(url).query)["crc_token"][0]
            key = SECRET if self.honest else "another secret"
            return 200, json.dumps({"response_token": signature(key, token.encode())}).encode()
        if headers["x-twitter-webhooks-signature"] != signature(SECRET, body):
            self.forged += 1
            return 403, b""
        if self.refuse:
            self.refuse -= 1
            return 503, b""
        self.events.append(json.loads(body)["data"])
        return 200, b""

    def heard(self) -> list[str]:
        return [event["event_type"] for event in self.events]


def signature(secret: str, message: bytes) -> str:
    return "sha256=" + base64.b64encode(hmac.new(secret.encode(), message, hashlib.sha256).digest()).decode()


class Bench:
    """One simulator in process, with all that a test wants to look at."""

    def __init__(
        self,
        faults: list[dict[str, Any]] | None = None,
        factor: float = 1.0,
        post: Post | None = None,
        **world: Any,
    ) -> None:
        self.instant = Instant()
        self.clock = ScaledClock(origin=START, factor=factor, now=self.instant)
        self.witness = Witness(self.clock, keep_bodies=True)
        self.subscriber = Subscriber()
        self.simulator = Simulator(
            WorldSpec.read({**WORLD, **world}),
            witness=self.witness,
            post=post or self.subscriber,
            clock=self.clock,
            rules=tuple(read_rules(faults or [])),
        )
        self.transport = InProcessTransport(self.simulator)
        self.acme = self.client("t")
        self.app = self.client("app")

    def client(self, token: str) -> httpx.Client:
        headers = {"authorization": f"Bearer {token}"}
        return httpx.Client(transport=self.transport, base_url="http://simulator", headers=headers)

    def dm(self, text: str = "hi", to: str = ANNA) -> httpx.Response:
        return self.acme.post(f"/2/dm_conversations/with/{to}/messages", json={"text": text})

    def follow(self, target: str) -> httpx.Response:
        return self.acme.post(f"/2/users/{ACME}/following", json={"target_user_id": target})

    def subscribe(self, *event_types: str) -> str:
        hook: str = self.app.post("/2/webhooks", json={"url": "http://127.0.0.1:9/hook"}).json()["data"]["id"]
        for event_type in event_types:
            wanted = {"event_type": event_type, "filter": {"user_id": ACME}, "webhook_id": hook}
            assert self.app.post("/2/activity/subscriptions", json=wanted).status_code == 200
        return hook

    def run(self, **duration: float) -> None:
        self.simulator.run_until(self.instant.move(**duration))
