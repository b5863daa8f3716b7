"""Who wants to hear of what, and the telling: registrations, challenges, subscriptions, signatures, attempts.

An event is written once per subscription, signed over its raw body, and tried a few times until a 2xx meets it.
Attempts wait on an agenda; whoever pumps it (a thread, or `run_until` in process) makes them outside the lock.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from outreach.simulator import dice
from outreach.simulator.agenda import Agenda
from outreach.simulator.clock import iso_millis
from outreach.simulator.faults import FaultPlan, postings
from outreach.simulator.witness import Witness

#: waits before the second, third, ... attempt. The provider documents no schedule; this one is ours.
RETRY_AFTER = (timedelta(seconds=0.5), timedelta(seconds=2), timedelta(seconds=5))
EVENT_TYPES = frozenset(
    (
        "dm.received",
        "dm.sent",
        "follow.follow",
        "follow.unfollow",
        "block.block",
        "oauth.revoke",
        "chat.received",
        "dm.read",
    )
)


class Post(Protocol):
    """Makes one HTTP request to a subscriber. None: no answer."""

    def __call__(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes] | None: ...


@dataclass(slots=True, kw_only=True)
class Hook:
    """A registered address."""

    id: str
    url: str
    created_at: datetime
    valid: bool = True

    def shown(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "url": self.url,
            "valid": self.valid,
            "created_at": iso_millis(self.created_at),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """One event type of one account, sent to one hook. `direction`: inbound or outbound follows only."""

    id: str
    event_type: str
    account: str
    webhook_id: str
    created_at: datetime
    direction: str | None = None
    tag: str | None = None

    @property
    def filter(self) -> dict[str, str]:
        parts = {"user_id": self.account, "direction": self.direction}
        return {key: value for key, value in parts.items() if value}

    def shown(self) -> dict[str, Any]:
        parts = {
            "subscription_id": self.id,
            "event_type": self.event_type,
            "filter": self.filter,
            "created_at": iso_millis(self.created_at),
            "updated_at": iso_millis(self.created_at),
            "tag": self.tag,
            "webhook_id": self.webhook_id,
        }
        return {key: value for key, value in parts.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event as one subscription hears of it."""

    uuid: str
    type: str
    account: str
    webhook_id: str
    at: datetime
    body: bytes
    #: id of the message it is about; empty for others
    about: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One attempt to tell."""

    event: Event
    signed: bool = True
    attempt: int = 1


def sign(secret: str, message: bytes) -> str:
    """As the provider signs: sha256= and the base64 HMAC-SHA256 under the app's secret."""
    return "sha256=" + base64.b64encode(hmac.new(secret.encode(), message, hashlib.sha256).digest()).decode()


class Webhooks:
    """All hooks and subscriptions of the app. `secrets`: consumer secret, then (if there is one) the client secret."""

    def __init__(
        self,
        *,
        secrets: tuple[str, ...],
        post: Post,
        faults: FaultPlan,
        witness: Witness,
        delay: timedelta,
        on_push: Callable[[], None],
    ) -> None:
        self.hooks: dict[str, Hook] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.pending: Agenda[Delivery] = Agenda(on_push)
        self.history: list[Event] = []
        self.outcomes: dict[str, int] = {"delivered": 0, "undelivered": 0, "lost": 0}
        #: attempts on their way: taken from the agenda, not yet settled
        self.under_way = 0
        self._secrets = secrets
        self._post = post
        self._faults = faults
        self._witness = witness
        self._delay = delay

    # --- challenges

    def challenge(self, url: str, token: str) -> bool:
        """Does the address answer a challenge with one of our secrets? Makes a request; hold no lock."""
        met = self._post("GET", f"{url}{'&' if '?' in url else '?'}crc_token={token}", {}, b"")
        if met is None or not 200 <= met[0] < 300:
            return False
        try:
            given = json.loads(met[1])["response_token"]
        except (ValueError, KeyError, TypeError):
            return False
        return any(hmac.compare_digest(str(given), sign(secret, token.encode())) for secret in self._secrets)

    # --- telling

    def publish(
        self,
        event_type: str,
        roles: Mapping[str, str],
        payload: Mapping[str, Any],
        now: datetime,
        about: str = "",
    ) -> None:
        """Tell every subscription whose account has a role in it. Roles: account id → inbound or outbound."""
        for subscription in self.subscriptions.values():
            role = roles.get(subscription.account)
            if subscription.event_type != event_type or role is None:
                continue
            if subscription.direction in (None, role):
                self._tell(subscription, payload, now, about)

    def _tell(
        self, subscription: Subscription, payload: Mapping[str, Any], now: datetime, about: str
    ) -> None:
        uuid = str(dice.signed_64("event", subscription.id, now.isoformat(), about, len(self.history)))
        event = Event(
            uuid=uuid,
            type=subscription.event_type,
            account=subscription.account,
            webhook_id=subscription.webhook_id,
            at=now,
            body=_body(uuid, subscription, payload),
            about=about,
        )
        self.history.append(event)
        self._plan(event, now)

    def _plan(self, event: Event, now: datetime) -> None:
        fault = self._faults.strike(f"webhook:{event.type}", event.account)
        planned = tuple(postings(fault, event.uuid))
        for posting in planned:
            self.pending.push(now + self._delay + posting.after, Delivery(event=event, signed=posting.signed))
        if not planned:
            self._record("lost", Delivery(event=event), now, 0)

    def replay(self, webhook_id: str, since: datetime, until: datetime, now: datetime) -> int:
        """Send again what was to be told to this hook from `since` to `until`; how many."""
        again = [
            event for event in self.history if event.webhook_id == webhook_id and since <= event.at <= until
        ]
        for event in again:
            self.pending.push(now + self._delay, Delivery(event=event))
        return len(again)

    # --- attempts

    def take(self, now: datetime) -> list[Delivery]:
        """All attempts that are due. Each must be given to `attempt` and then to `settle`."""
        taken = []
        while (due := self.pending.pop_due(now)) is not None:
            taken.append(due[1])
        self.under_way += len(taken)
        return taken

    def attempt(self, delivery: Delivery) -> int:
        """Make the request; the status it met, 0 for none. Hold no lock."""
        hook = self.hooks.get(delivery.event.webhook_id)
        if hook is None or not hook.valid:
            return 0
        met = self._post("POST", hook.url, self._headers(delivery), delivery.event.body)
        return met[0] if met else 0

    def settle(self, delivery: Delivery, status: int, now: datetime) -> None:
        """Record an attempt, and plan the next one if it failed."""
        self.under_way -= 1
        if 200 <= status < 300:
            self._record("delivered", delivery, now, status)
            return
        self._record("undelivered", delivery, now, status)
        if delivery.attempt <= len(RETRY_AFTER):
            wait = RETRY_AFTER[delivery.attempt - 1]
            self.pending.push(now + wait, replace(delivery, attempt=delivery.attempt + 1))

    def _headers(self, delivery: Delivery) -> dict[str, str]:
        names = ("x-twitter-webhooks-signature", "x-twitter-webhooks-signature-oauth2")
        body = delivery.event.body if delivery.signed else b"forged" + delivery.event.body
        signatures = {name: sign(secret, body) for name, secret in zip(names, self._secrets, strict=False)}
        return {"content-type": "application/json", **signatures}

    def _record(self, what: str, delivery: Delivery, now: datetime, status: int) -> None:
        self.outcomes[what] += 1
        event = delivery.event
        self._witness.saw(
            now,
            what,
            account=event.account,
            kind=event.type,
            id=event.about,
            attempt=delivery.attempt,
            status=status,
        )


def _body(uuid: str, subscription: Subscription, payload: Mapping[str, Any]) -> bytes:
    data: dict[str, Any] = {
        "event_uuid": uuid,
        "filter": {} if subscription.event_type == "oauth.revoke" else subscription.filter,
        "event_type": subscription.event_type,
        "payload": payload,
    }
    if subscription.tag is not None:
        data["tag"] = subscription.tag
    return json.dumps({"data": data}, separators=(",", ":")).encode()
