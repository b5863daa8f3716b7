"""The X Activity API's pushes: challenge, signature, and events as facts. Sources: docs.x.com, "webhooks" and "event payloads".

Nothing here guards against replays: the signature carries no time. The content ids do, being stored for ever.
"""

import hmac
import json
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from outreach.providers.base import InboundItem, InboundKind

#: X signs with the OAuth 2.0 client secret under the first name, with the consumer secret under the second,
#: and sends both to apps that have both. The secret we were given may be either.
SIGNATURE_HEADERS = ("x-twitter-webhooks-signature-oauth2", "x-twitter-webhooks-signature")


class TwitterWebhooks:
    """Satisfies the Webhooks protocol."""

    def challenge(self, query: Mapping[str, str], secret: str) -> Mapping[str, str] | None:
        token = query.get("crc_token")
        return None if token is None else {"response_token": _signature(token.encode(), secret)}

    def verify(self, headers: Mapping[str, str], body: bytes, secret: str) -> bool:
        if not secret:
            return False  # a signature under an empty secret is one that anybody can make
        ours = _signature(body, secret).encode()
        given = {name.lower(): value for name, value in headers.items()}
        return any(
            hmac.compare_digest(ours, given.get(name, "").encode(errors="replace"))
            for name in SIGNATURE_HEADERS
        )

    def parse(self, body: bytes) -> Sequence[InboundItem]:
        try:
            event = _Event.of(json.loads(body))
            return list(_READERS[event.kind](event))
        except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError(f"an event that cannot be read: {error!r}") from error


def _signature(message: bytes, secret: str) -> str:
    return "sha256=" + b64encode(hmac.digest(secret.encode(), message, "sha256")).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    """An event's envelope. `uuid` may be a negative number: it is text. `account`: whose subscription it is."""

    kind: str
    uuid: str
    account: str
    payload: Mapping[str, Any]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "_Event":
        data = document["data"]
        kind = str(data["event_type"])
        if kind not in _READERS:
            raise ValueError(f"events of type {kind!r} are not understood")
        account = str(data.get("filter", {}).get("user_id", ""))
        if not account and kind != "oauth.revoke":
            raise ValueError(f"an event of type {kind!r} that does not say whose it is")
        return cls(kind=kind, uuid=str(data["event_uuid"]), account=account, payload=data["payload"])


def _messages(event: _Event) -> Iterator[InboundItem]:
    """dm.received, dm.sent: who sent it decides, not the name of the event."""
    for message in event.payload["direct_message_events"]:
        created = message["message_create"]
        sender = str(created["sender_id"])
        ours = sender == event.account
        peer = str(created["target"]["recipient_id"]) if ours else sender
        yield InboundItem(
            kind=InboundKind.MESSAGE_OUT if ours else InboundKind.MESSAGE_IN,
            content_id=f"dm:{message['id']}",
            account_external_id=event.account,
            peer=peer,
            occurred_at=_milliseconds(message["created_timestamp"]),
            text=str(created["message_data"].get("text", "")),
            peer_handle=_handle(event.payload.get("users", {}).get(peer, {})),
            raw=message,
        )


def _encrypted(event: _Event) -> Iterator[InboundItem]:
    """chat.received, chat.sent: the new, encrypted system. That something was said is all that we can know."""
    sender = str(event.payload["sender_id"])
    sides = str(event.payload["conversation_id"]).split(":")
    ours = sender == event.account
    others = [side for side in sides if side != event.account]
    yield InboundItem(
        kind=InboundKind.MESSAGE_OUT if ours else InboundKind.MESSAGE_IN,
        content_id=f"chat:{event.payload['id']}",
        account_external_id=event.account,
        peer=sender if not ours else others[0] if len(others) == 1 else "",
        occurred_at=_milliseconds(event.payload["created_at_msec"]),
        raw=event.payload,
    )


def _follow(event: _Event) -> Iterator[InboundItem]:
    """follow.follow fires in both directions; only the ids tell which."""
    they_did, we_did = InboundKind.FOLLOWED_US, InboundKind.WE_FOLLOWED
    yield from _between(event, "follow", they_did=they_did, we_did=we_did)


def _unfollow(event: _Event) -> Iterator[InboundItem]:
    """follow.unfollow fires in both directions, too."""
    yield from _between(
        event, "unfollow", they_did=InboundKind.UNFOLLOWED_US, we_did=InboundKind.WE_UNFOLLOWED
    )


def _block(event: _Event) -> Iterator[InboundItem]:
    """X says that it reports blocks to whoever performs them; one of ours says nothing about the person."""
    yield from _between(event, "block", they_did=InboundKind.BLOCKED_US)


def _between(
    event: _Event, name: str, *, they_did: InboundKind, we_did: InboundKind | None = None
) -> Iterator[InboundItem]:
    """An event between two users. X gives it no time and no id of its own but the delivery's."""
    source, target = event.payload["source"]["data"], event.payload["target"]["data"]
    if event.account not in (source["id"], target["id"]):
        raise ValueError(f"{event.kind} between users of whom neither is the account {event.account!r}")
    ours = source["id"] == event.account
    kind, peer = (we_did, target) if ours else (they_did, source)
    if kind is not None:
        yield InboundItem(
            kind=kind,
            content_id=f"{name}:{source['id']}:{target['id']}:{event.uuid}",
            account_external_id=event.account,
            peer=str(peer["id"]),
            occurred_at=None,
            peer_handle=_handle({"data": peer}),
            raw=event.payload,
        )


def _revoke(event: _Event) -> Iterator[InboundItem]:
    """oauth.revoke: its filter may be empty, the payload names the account."""
    yield InboundItem(
        kind=InboundKind.ACCOUNT_REVOKED,
        content_id=f"revoke:{event.payload['user_id']}:{event.uuid}",
        account_external_id=str(event.payload["user_id"]),
        peer="",
        occurred_at=datetime.fromisoformat(event.payload["date_time"]).astimezone(UTC),
        raw=event.payload,
    )


_READERS: Mapping[str, Callable[[_Event], Iterator[InboundItem]]] = {
    "dm.received": _messages,
    "dm.sent": _messages,
    "chat.received": _encrypted,
    "chat.sent": _encrypted,
    "follow.follow": _follow,
    "follow.unfollow": _unfollow,
    "block.block": _block,
    "oauth.revoke": _revoke,
}


def _milliseconds(text: str) -> datetime:
    return datetime.fromtimestamp(int(text) / 1000, UTC)


def _handle(user: Mapping[str, Any]) -> str:
    return str(user.get("data", {}).get("username", ""))
