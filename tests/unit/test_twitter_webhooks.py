"""The X Activity API's pushes: challenge, signature, facts."""

import hashlib
import hmac
import json
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

import pytest

from outreach.providers.base import InboundItem, InboundKind, Webhooks
from outreach.providers.twitter import TwitterWebhooks

SECRET = "consumer-secret"
US, THEM, STRANGER = "1111", "2222", "3333"
WEBHOOKS: Webhooks = TwitterWebhooks()


def signed(body: bytes, secret: str = SECRET) -> str:
    return "sha256=" + b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()


def event(
    kind: str, payload: dict[str, Any], account: str | None = US, uuid: str = "-6850472171600526495"
) -> bytes:
    scope = {} if account is None else {"user_id": account}
    data = {"event_uuid": uuid, "filter": scope, "event_type": kind, "tag": "t", "payload": payload}
    return json.dumps({"data": data}).encode()


def message(sender: str, recipient: str, text: str | None = "hello!") -> dict[str, Any]:
    content = {} if text is None else {"text": text}
    return {
        "direct_message_events": [
            {
                "type": "message_create",
                "id": "2080765901528535096",
                "created_timestamp": "1784928224372",
                "message_create": {
                    "target": {"recipient_id": recipient},
                    "sender_id": sender,
                    "message_data": {**content, "entities": {}},
                },
            }
        ],
        "users": {
            THEM: {"data": {"id": THEM, "username": "Them"}},
            US: {"data": {"id": US, "username": "Us"}},
        },
    }


def pair(source: str, target: str) -> dict[str, Any]:
    return {
        "source": {"data": {"id": source, "username": f"u{source}"}},
        "target": {"data": {"id": target, "username": f"u{target}"}},
    }


def only(body: bytes) -> InboundItem:
    items = WEBHOOKS.parse(body)
    assert len(items) == 1
    return items[0]


# --- challenge and signature


def test_a_challenge_is_answered_with_the_signature_of_its_token() -> None:
    assert WEBHOOKS.challenge({"crc_token": "abc"}, SECRET) == {"response_token": signed(b"abc")}


def test_a_query_without_a_token_is_no_challenge() -> None:
    assert WEBHOOKS.challenge({"nonce": "1"}, SECRET) is None


@pytest.mark.parametrize(
    "name",
    ["x-twitter-webhooks-signature", "X-Twitter-Webhooks-Signature", "X-Twitter-Webhooks-Signature-OAuth2"],
)
def test_a_body_signed_with_our_secret_is_ours(name: str) -> None:
    assert WEBHOOKS.verify({name: signed(b"raw")}, b"raw", SECRET)


def test_one_good_signature_of_two_is_enough() -> None:
    both = {
        "x-twitter-webhooks-signature-oauth2": signed(b"raw", "client-secret"),
        "x-twitter-webhooks-signature": signed(b"raw"),
    }
    assert WEBHOOKS.verify(both, b"raw", SECRET)
    assert WEBHOOKS.verify(both, b"raw", "client-secret")
    assert not WEBHOOKS.verify(both, b"raw", "another")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-twitter-webhooks-signature": ""},
        {"x-twitter-webhooks-signature": signed(b"raw", "another")},
        {"x-twitter-webhooks-signature": signed(b"raw ")},
        {"x-twitter-webhooks-signature": signed(b"raw").removeprefix("sha256=")},
        {"x-twitter-webhooks-signature": "sha256=\udc80é"},
        {"x-signature": signed(b"raw")},
    ],
)
def test_any_other_signature_is_not(headers: dict[str, str]) -> None:
    assert not WEBHOOKS.verify(headers, b"raw", SECRET)


def test_nothing_is_ours_while_there_is_no_secret() -> None:
    assert not WEBHOOKS.verify({"x-twitter-webhooks-signature": signed(b"raw", "")}, b"raw", "")


# --- messages


def test_a_received_message_is_an_inbound_one_under_the_id_that_a_poll_gives_it() -> None:
    item = only(event("dm.received", message(THEM, US)))
    assert item.kind is InboundKind.MESSAGE_IN
    assert item.content_id == "dm:2080765901528535096"
    assert (item.account_external_id, item.peer, item.peer_handle, item.text) == (US, THEM, "Them", "hello!")
    assert item.occurred_at == datetime(2026, 7, 24, 21, 23, 44, 372000, tzinfo=UTC)


def test_a_sent_message_is_our_own_echo_with_the_recipient_as_its_peer() -> None:
    item = only(event("dm.sent", message(US, THEM)))
    assert (item.kind, item.peer, item.peer_handle) == (InboundKind.MESSAGE_OUT, THEM, "Them")


def test_a_message_without_a_text_has_an_empty_one() -> None:
    assert only(event("dm.received", message(THEM, US, text=None))).text == ""


def test_an_encrypted_message_says_that_something_was_said_and_not_what() -> None:
    payload = {
        "id": "e4f4d3fc",
        "created_at_msec": "1784841183370",
        "sender_id": THEM,
        "conversation_id": f"{THEM}:{US}",
        "encoded_event": "CwAB",
    }
    heard = only(event("chat.received", payload))
    assert (heard.kind, heard.peer, heard.text, heard.content_id) == (
        InboundKind.MESSAGE_IN,
        THEM,
        "",
        "chat:e4f4d3fc",
    )
    said = only(event("chat.sent", payload | {"sender_id": US}))
    assert (said.kind, said.peer) == (InboundKind.MESSAGE_OUT, THEM)


# --- follows, blocks, revocations


@pytest.mark.parametrize(
    ("name", "source", "target", "kind"),
    [
        ("follow.follow", THEM, US, InboundKind.FOLLOWED_US),
        ("follow.follow", US, THEM, InboundKind.WE_FOLLOWED),
        ("follow.unfollow", THEM, US, InboundKind.UNFOLLOWED_US),
        ("follow.unfollow", US, THEM, InboundKind.WE_UNFOLLOWED),
        ("block.block", THEM, US, InboundKind.BLOCKED_US),
    ],
)
def test_who_did_it_is_told_by_comparing_ids(name: str, source: str, target: str, kind: InboundKind) -> None:
    item = only(event(name, pair(source, target)))
    assert (item.kind, item.peer, item.account_external_id) == (kind, THEM, US)
    assert item.peer_handle == f"u{THEM}"
    assert item.occurred_at is None
    assert item.content_id == f"{name.split('.')[1]}:{source}:{target}:-6850472171600526495"


def test_whom_we_blocked_ourselves_has_done_nothing() -> None:
    assert WEBHOOKS.parse(event("block.block", pair(US, THEM))) == []


def test_an_event_between_two_others_is_refused() -> None:
    with pytest.raises(ValueError, match="neither is the account"):
        WEBHOOKS.parse(event("follow.follow", pair(THEM, STRANGER)))


def test_a_revocation_names_the_account_in_its_payload() -> None:
    payload = {"date_time": "2026-07-23T21:44:05+00:00", "user_id": US, "app_id": "29820954"}
    item = only(event("oauth.revoke", payload, account=None))
    assert (item.kind, item.account_external_id, item.peer) == (InboundKind.ACCOUNT_REVOKED, US, "")
    assert item.occurred_at == datetime(2026, 7, 23, 21, 44, 5, tzinfo=UTC)


# --- what is not understood


@pytest.mark.parametrize("name", ["dm.read", "dm.indicate_typing", "post.create", ""])
def test_an_event_of_another_type_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=repr(name)):
        WEBHOOKS.parse(event(name, {}))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b'{"data": null}',
        b"\xff",
        event("dm.received", {}),
        event("dm.received", {"direct_message_events": [{}]}),
        event("follow.follow", {"source": {}}),
        event("dm.received", message(THEM, US), account=None),
        event("oauth.revoke", {"user_id": US}, account=None),
    ],
)
def test_a_body_that_cannot_be_read_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError):
        WEBHOOKS.parse(body)
