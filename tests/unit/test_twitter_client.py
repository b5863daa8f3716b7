"""The X client over a scripted API: what it asks for, and what it makes of the answers."""

import json
import time
from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from outreach.errors import ConfigurationError
from outreach.providers.base import (
    Accepted,
    AccountRef,
    Call,
    CannotTell,
    Found,
    Idempotency,
    InboundKind,
    InboundPage,
    Missing,
    NotStarted,
    Provider,
    ReadFailed,
    Refused,
    Relationship,
    Resolved,
    Tokens,
    Unknown,
)
from outreach.providers.http import Http
from outreach.providers.registry import build_providers, build_webhooks
from outreach.providers.twitter import TwitterProvider
from outreach.providers.twitter.classify import DM, FOLLOW, UNFOLLOW

US, THEM, OTHER = "100", "200", "300"
NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
DATE = {"date": "Mon, 05 Jan 2026 12:00:09 GMT"}
ACCOUNT = AccountRef(
    id=1,
    external_id=US,
    base_url="http://127.0.0.1:9/",
    access_token="token-1",
    refresh_token="refresh-1",
    client_id="client",
    client_secret="secret",
)

Handler = Callable[[httpx.Request], httpx.Response]


class Api:
    """Answers from a list (the last one for ever) or by a function; keeps what it was asked."""

    def __init__(self, *answers: httpx.Response | Handler) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer if isinstance(answer, httpx.Response) else answer(request)

    def provider(self) -> TwitterProvider:
        http = Http(loopback_only=lambda: True, transport=httpx.MockTransport(self))
        return TwitterProvider(http, read_deadline_seconds=5, inbox_lag_seconds=5)


def ok(document: Mapping[str, Any], status: int = 200) -> httpx.Response:
    return httpx.Response(status, json=document, headers=DATE)


def call(kind: str = DM, body: str | None = "Hello there", recipient: str = THEM) -> Call:
    return Call(kind=kind, account=ACCOUNT, recipient=recipient, body=body, deadline_seconds=5)


def number(at: datetime, count: int = 0) -> int:
    """A snowflake of that instant."""
    epoch = datetime(2010, 11, 4, 1, 42, 54, 657000, tzinfo=UTC)
    return (int((at - epoch) / timedelta(milliseconds=1)) << 22) | count


def written(
    at: datetime, sender: str = US, text: str = "Hello there", peer: str = THEM, count: int = 0
) -> dict[str, str]:
    """A message as X shows it: with its instant cut to whole seconds."""
    return {
        "id": str(number(at, count)),
        "event_type": "MessageCreate",
        "text": text,
        "sender_id": sender,
        "created_at": at.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "dm_conversation_id": f"{US}-{peer}",
    }


def page(*messages: Mapping[str, str], more: str | None = None) -> dict[str, Any]:
    meta: dict[str, Any] = {"result_count": len(messages)} | ({"next_token": more} if more else {})
    return ({"data": list(messages)} if messages else {}) | {"meta": meta}


def gone(value: str) -> dict[str, str]:
    return {
        "value": value,
        "resource_id": value,
        "type": "https://api.twitter.com/2/problems/resource-not-found",
    }


# --- the registry


def test_every_channel_has_a_provider_and_names_its_kinds_once() -> None:
    providers = build_providers(True)
    assert set(providers) == {"twitter", "linkedin", "xmtp", "email"}
    assert all(isinstance(provider, Provider) for provider in providers.values())
    kinds = [kind for provider in providers.values() for kind in provider.capabilities]
    assert len(kinds) == len(set(kinds)) == 7
    assert set(build_webhooks()) == {"twitter"}


def test_x_follows_are_natural_and_messages_are_not_and_both_can_be_read_back() -> None:
    twitter = build_providers(True)["twitter"].capabilities
    assert {kind: c.idempotency for kind, c in twitter.items()} == {
        FOLLOW: Idempotency.NATURAL,
        UNFOLLOW: Idempotency.NATURAL,
        DM: Idempotency.NONE,
    }
    assert all(capability.can_read_back for capability in twitter.values())
    assert twitter[DM].max_length == 10_000


@pytest.mark.parametrize("channel", ["linkedin", "xmtp", "email"])
def test_a_channel_without_an_adapter_never_pretends(channel: str) -> None:
    provider = build_providers(lambda: False)[channel]
    for kind in provider.capabilities:
        outcome = provider.execute(call(kind), lambda: pytest.fail("nothing may begin"))
        assert isinstance(outcome, Refused) and outcome.code == "channel_not_available"
        assert isinstance(provider.read_back(call(kind), NOON), CannotTell)
    for read in (
        provider.poll(ACCOUNT, None),
        provider.relationships(ACCOUNT, [THEM]),
        provider.resolve(ACCOUNT, ["them"]),
        provider.refresh(ACCOUNT, 5),
    ):
        assert isinstance(read, ReadFailed) and read.reason == "forbidden"


def test_a_simulated_registry_refuses_an_account_that_points_off_this_machine() -> None:
    away = Call(
        kind=FOLLOW,
        account=AccountRef(id=1, external_id=US, base_url="https://api.x.com", access_token="t"),
        recipient=THEM,
    )
    provider = build_providers(True)["twitter"]
    with pytest.raises(ConfigurationError, match=r"https://api\.x\.com"):
        provider.execute(away, lambda: pytest.fail("nothing may begin"))
    with pytest.raises(ConfigurationError, match=r"https://api\.x\.com"):
        provider.poll(away.account, None)


@pytest.mark.parametrize(
    ("base_url", "token"),
    [("http://127.0.0.1:port", "t"), ("http://127.0.0.1", "tök")],
)
def test_an_account_that_cannot_be_called_is_a_configuration_error(base_url: str, token: str) -> None:
    account = AccountRef(id=7, external_id=US, base_url=base_url, access_token=token)
    with pytest.raises(ConfigurationError, match="account 7") as refusal:
        Api(ok({})).provider().poll(account, None)
    assert "tök" not in str(refusal.value)


# --- sending


@pytest.mark.parametrize(
    ("kind", "method", "path", "body"),
    [
        (FOLLOW, "POST", f"/2/users/{US}/following", {"target_user_id": THEM}),
        (UNFOLLOW, "DELETE", f"/2/users/{US}/following/{THEM}", None),
        (DM, "POST", f"/2/dm_conversations/with/{THEM}/messages", {"text": "Hello there"}),
    ],
)
def test_a_send_is_one_request_in_the_apis_own_form(kind: str, method: str, path: str, body: Any) -> None:
    api = Api(ok({"data": {}}))
    assert api.provider().execute(call(kind), lambda: True) == Accepted({})
    (request,) = api.requests
    assert (request.method, request.url.path) == (method, path)
    assert request.headers["authorization"] == "Bearer token-1"
    assert (json.loads(request.content) if request.content else None) == body


@pytest.mark.parametrize(
    "attempt",
    [
        call(DM, body=None),
        call(DM, body=""),
        call(DM, recipient="../users/1"),
        call(FOLLOW, recipient="someone"),
        call(FOLLOW, recipient=""),
        call("SEND_EMAIL"),
    ],
)
def test_what_cannot_be_asked_of_x_is_refused_before_anything_leaves(attempt: Call) -> None:
    api = Api(ok({"data": {}}))
    outcome = api.provider().execute(attempt, lambda: pytest.fail("nothing may begin"))
    assert isinstance(outcome, Refused) and outcome.code == "bad_request"
    assert api.requests == []


def test_a_guard_that_says_no_is_not_started() -> None:
    api = Api(ok({"data": {}}))
    outcome = api.provider().execute(call(), lambda: False)
    assert isinstance(outcome, NotStarted) and outcome.guarded
    assert api.requests == []


# --- was the message sent?


def read_back(*messages: Mapping[str, str], more: str | None = None, since: datetime = NOON) -> object:
    return Api(ok(page(*messages, more=more))).provider().read_back(call(), since)


def test_a_message_is_looked_for_in_the_conversation_with_its_recipient() -> None:
    api = Api(ok(page()))
    api.provider().read_back(call(), NOON)
    (request,) = api.requests
    assert request.url.path == f"/2/dm_conversations/with/{THEM}/dm_events"
    assert request.url.params["event_types"] == "MessageCreate"
    assert "sender_id" in request.url.params["dm_event.fields"]


def test_our_text_since_then_is_found_at_the_providers_own_time() -> None:
    at = NOON + timedelta(seconds=3, milliseconds=250)
    event_id = str(number(at))
    assert read_back(written(at)) == Found(
        at, {"content_id": f"dm:{event_id}", "dm_event_id": event_id, "dm_conversation_id": f"{US}-{THEM}"}
    )


def test_a_message_of_the_same_second_is_found_although_its_time_is_cut_to_seconds() -> None:
    since = NOON + timedelta(milliseconds=500)
    assert isinstance(read_back(written(NOON + timedelta(milliseconds=900)), since=since), Found)


def test_a_message_whose_id_carries_no_time_is_found_within_its_second() -> None:
    message = written(NOON) | {"id": "17"}
    since = NOON + timedelta(milliseconds=500)
    assert read_back(message, since=since) == Found(
        NOON, {"content_id": "dm:17", "dm_event_id": "17", "dm_conversation_id": f"{US}-{THEM}"}
    )


def test_a_shortened_link_does_not_hide_the_message() -> None:
    api = Api(ok(page(written(NOON, text="Look: https://t.co/Ab1"))))
    assert isinstance(api.provider().read_back(call(body="Look: https://example.test/x"), NOON), Found)


def test_the_same_text_from_the_other_side_is_not_ours() -> None:
    assert read_back(written(NOON + timedelta(seconds=1), sender=THEM)) == Missing()


def test_an_empty_conversation_does_not_have_the_message() -> None:
    assert read_back() == Missing()


def test_an_older_message_of_ours_with_another_text_proves_that_the_page_reaches_back() -> None:
    old = written(NOON - timedelta(minutes=3), text="Before")
    assert read_back(written(NOON, sender=THEM), old, more="t") == Missing()


def test_a_page_that_does_not_reach_back_cannot_tell() -> None:
    assert isinstance(read_back(written(NOON, sender=THEM), more="t"), CannotTell)
    assert isinstance(read_back(more="t"), CannotTell)


def test_another_text_of_ours_since_then_cannot_tell_because_texts_may_be_rewritten() -> None:
    assert isinstance(read_back(written(NOON + timedelta(seconds=1), text="Something else")), CannotTell)


def test_the_same_text_from_before_is_another_message() -> None:
    assert read_back(written(NOON - timedelta(seconds=30))) == Missing()


def test_a_page_with_gaps_is_good_enough_to_find_and_not_to_miss() -> None:
    def gappy(*messages: Mapping[str, str]) -> object:
        return Api(ok(page(*messages) | {"errors": [gone("9")]})).provider().read_back(call(), NOON)

    assert isinstance(gappy(written(NOON)), Found)
    assert isinstance(gappy(), CannotTell)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(500),
        httpx.Response(429),
        httpx.Response(200, text="<html>"),
        ok({}),
        ok({"errors": [{"title": "Forbidden"}]}),
        ok(page({"id": "1"})),
        ok(page(written(NOON) | {"created_at": "soon"})),
    ],
)
def test_a_read_back_that_cannot_be_read_cannot_tell(answer: httpx.Response) -> None:
    assert isinstance(Api(answer).provider().read_back(call(), NOON), CannotTell)


# --- does the follow stand?


def user(user_id: str = THEM, *status: str, receives: bool = True) -> dict[str, Any]:
    return {
        "id": user_id,
        "username": f"u{user_id}",
        "name": "N",
        "connection_status": list(status),
        "receives_your_dm": receives,
    }


@pytest.mark.parametrize(
    ("kind", "status", "stands"),
    [
        (FOLLOW, ["following", "followed_by"], True),
        (FOLLOW, ["follow_request_sent"], True),
        (FOLLOW, ["followed_by"], False),
        (FOLLOW, [], False),
        (UNFOLLOW, ["following"], False),
        (UNFOLLOW, ["follow_request_sent"], False),
        (UNFOLLOW, ["followed_by"], True),
    ],
)
def test_a_follow_is_read_back_from_the_relation_as_of_the_providers_clock(
    kind: str, status: list[str], stands: bool
) -> None:
    api = Api(ok({"data": [user(THEM, *status)]}))
    expected = Found(NOON + timedelta(seconds=9)) if stands else Missing()
    assert api.provider().read_back(call(kind), NOON) == expected


def test_nobody_is_followed_who_is_no_longer_there() -> None:
    api = Api(ok({"errors": [gone(THEM)]}))
    assert api.provider().read_back(call(FOLLOW), NOON) == Missing()
    assert isinstance(api.provider().read_back(call(UNFOLLOW), NOON), Found)


def test_a_relation_that_the_answer_does_not_say_cannot_tell() -> None:
    silent = {"id": THEM, "username": "them", "name": "N"}
    assert isinstance(Api(ok({"data": [silent]})).provider().read_back(call(FOLLOW), NOON), CannotTell)
    assert isinstance(Api(httpx.Response(503)).provider().read_back(call(FOLLOW), NOON), CannotTell)


# --- relationships and handles


def test_relationships_are_looked_up_in_one_request() -> None:
    api = Api(
        ok(
            {
                "data": [user(THEM, "followed_by"), user(OTHER, "following", receives=False)],
                "errors": [gone("400")],
            }
        )
    )
    assert api.provider().relationships(ACCOUNT, [THEM, OTHER, "400", "not-an-id"]) == [
        Relationship(peer=THEM, follows_us=True, we_follow=False, receives_messages=True),
        Relationship(peer=OTHER, follows_us=False, we_follow=True, receives_messages=False),
    ]
    (request,) = api.requests
    assert request.url.path == "/2/users"
    assert request.url.params["ids"] == f"{THEM},{OTHER},400"
    assert request.url.params["user.fields"] == "connection_status,receives_your_dm"


def test_a_status_left_out_beside_a_read_relation_means_no_connection() -> None:
    bare = {"id": THEM, "username": "them", "name": "N", "receives_your_dm": False}
    assert Api(ok({"data": [bare]})).provider().relationships(ACCOUNT, [THEM]) == [
        Relationship(peer=THEM, follows_us=False, we_follow=False, receives_messages=False)
    ]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (ok({"data": [{"id": THEM}]}), "unreadable"),
        (ok({"data": [user(), {"id": OTHER}]}), "unreadable"),
        (ok({"data": user()}), "unreadable"),
        (ok({"data": []}), "unreadable"),
        (ok({}), "unreadable"),
        (ok({"errors": [{"title": "Forbidden", "detail": "no"}]}), "unreadable"),
        (ok({"data": [user()], "errors": [{"title": "Internal"}]}), "unreadable"),
        (httpx.Response(401), "unauthorised"),
        (httpx.Response(502), "unreachable"),
    ],
)
def test_silence_about_a_relation_is_a_failed_read_and_never_evidence(
    answer: httpx.Response, reason: str
) -> None:
    found = Api(answer).provider().relationships(ACCOUNT, [THEM])
    assert isinstance(found, ReadFailed) and found.reason == reason


def test_an_empty_look_up_asks_nothing() -> None:
    api = Api(ok({}))
    assert api.provider().relationships(ACCOUNT, []) == []
    assert api.provider().resolve(ACCOUNT, ["not a handle"]) == []
    assert api.requests == []


def test_more_than_a_hundred_at_once_is_a_mistake_of_ours() -> None:
    provider = Api(ok({})).provider()
    with pytest.raises(ValueError, match="101"):
        provider.relationships(ACCOUNT, [str(n) for n in range(101)])
    with pytest.raises(ValueError, match="101"):
        provider.resolve(ACCOUNT, [f"u{n}" for n in range(101)])


def test_handles_are_resolved_under_the_spelling_that_was_asked_for() -> None:
    api = Api(
        ok({"data": [{"id": THEM, "username": "SomeOne", "name": "Some One"}], "errors": [gone("gone")]})
    )
    assert api.provider().resolve(ACCOUNT, ["someONE", "gone", "no handle"]) == [
        Resolved(handle="someONE", external_id=THEM, name="Some One")
    ]
    (request,) = api.requests
    assert (request.url.path, request.url.params["usernames"]) == ("/2/users/by", "someONE,gone")


# --- the inbox


class Inbox:
    """Messages, newest first, in pages of two."""

    def __init__(self, *messages: dict[str, str], size: int = 2) -> None:
        self.messages = sorted(messages, key=lambda m: -int(m["id"]))
        self.size = size

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/2/dm_events"
        start = int(request.url.params.get("pagination_token", "0"))
        end = start + self.size
        more = str(end) if end < len(self.messages) else None
        return ok(page(*self.messages[start:end], more=more))


def at_minute(minute: int, sender: str = THEM) -> dict[str, str]:
    return written(NOON + timedelta(minutes=minute), sender=sender, text=f"minute {minute}")


def poll(api: Api, cursor: str | None) -> InboundPage:
    found = api.provider().poll(ACCOUNT, cursor)
    assert isinstance(found, InboundPage)
    return found


def texts(found: InboundPage) -> list[str]:
    return [item.text for item in found.items]


def test_a_first_poll_reads_everything_there_is() -> None:
    api = Api(Inbox(*(at_minute(n) for n in range(5))))
    found = poll(api, None)
    assert texts(found) == [f"minute {n}" for n in (4, 3, 2, 1, 0)]
    assert found.complete
    assert found.cursor == at_minute(4)["id"]
    assert len(api.requests) == 3


def test_messages_in_and_out_are_told_apart_and_carry_the_content_id() -> None:
    found = poll(Api(Inbox(at_minute(0), at_minute(1, sender=US))), None)
    ours, theirs = found.items
    assert (ours.kind, ours.peer) == (InboundKind.MESSAGE_OUT, THEM)
    assert (theirs.kind, theirs.peer, theirs.account_external_id) == (InboundKind.MESSAGE_IN, THEM, US)
    assert theirs.content_id == f"dm:{at_minute(0)['id']}"
    assert theirs.occurred_at == NOON


def test_who_wrote_is_named_where_x_describes_them() -> None:
    described = {"includes": {"users": [{"id": THEM, "name": "Some One", "username": "SomeOne"}, {"id": 7}]}}
    api = Api(ok(page(at_minute(0), at_minute(1, sender=US), at_minute(2, sender="77")) | described))
    found = poll(api, None)
    assert [(item.peer, item.peer_handle) for item in found.items] == [
        (THEM, "SomeOne"),
        (THEM, ""),
        ("77", ""),
    ]
    (request,) = api.requests
    assert request.url.params["expansions"] == "sender_id"
    assert request.url.params["user.fields"] == "username"


@pytest.mark.parametrize(
    ("error", "complete"),
    [
        (gone(THEM), True),
        (gone(THEM) | {"title": "Forbidden", "detail": "User has been suspended"}, True),
        (gone("77"), False),
        (gone(THEM) | {"resource_type": "dm_event"}, False),
        ({"title": "about something else"}, False),
    ],
)
def test_an_inbox_is_whole_although_a_sender_is_not_described(error: dict[str, str], complete: bool) -> None:
    found = poll(Api(ok(page(at_minute(0)) | {"errors": [error]})), None)
    assert (texts(found), found.complete) == (["minute 0"], complete)
    assert found.items[0].peer_handle == ""


def test_our_own_message_to_a_group_has_no_peer() -> None:
    grouped = at_minute(0, sender=US) | {"dm_conversation_id": "1582838499983564806"}
    assert poll(Api(Inbox(grouped)), None).items[0].peer == ""


def test_an_empty_inbox_is_complete_and_stays_where_it_is() -> None:
    assert poll(Api(Inbox()), None) == InboundPage(items=[], cursor="0", complete=True)
    assert poll(Api(Inbox()), "77") == InboundPage(items=[], cursor="77", complete=True)


def test_a_later_poll_stops_where_the_last_one_began() -> None:
    api = Api(Inbox(*(at_minute(n) for n in range(9))))
    found = poll(api, at_minute(6)["id"])
    assert texts(found) == ["minute 8", "minute 7"]
    assert found.complete
    assert found.cursor == at_minute(8)["id"]
    assert len(api.requests) == 2


def test_a_cursor_whose_message_was_deleted_is_met_by_an_older_one() -> None:
    kept = [at_minute(n) for n in (0, 1, 2, 4, 5)]
    found = poll(Api(Inbox(*kept)), at_minute(3)["id"])
    assert texts(found) == ["minute 5", "minute 4"]
    assert found.complete


def test_a_message_that_became_visible_late_is_still_read_by_the_next_poll() -> None:
    last = written(NOON + timedelta(seconds=3), sender=THEM, text="seen")
    late = written(NOON, sender=THEM, text="late")
    assert texts(poll(Api(Inbox(late, last)), last["id"])) == ["late"]


def test_ids_are_compared_as_numbers_and_not_as_text() -> None:
    nine, ten = at_minute(0) | {"id": "9"}, at_minute(1) | {"id": "10"}
    found = poll(Api(Inbox(nine, ten)), "9")
    assert texts(found) == ["minute 1"]
    assert found.cursor == "10"


def test_a_pass_too_long_for_one_poll_goes_on_where_it_stopped_and_is_complete_only_after_a_fresh_one() -> (
    None
):
    api = Api(Inbox(*(at_minute(n) for n in range(40))))

    first = poll(api, None)
    assert (len(first.items), first.complete) == (30, False)
    assert len(api.requests) == 15
    second = poll(api, first.cursor)
    assert (texts(second), second.complete) == ([f"minute {n}" for n in range(9, -1, -1)], False)
    assert second.cursor == at_minute(39)["id"]
    third = poll(api, second.cursor)
    assert (texts(third), third.complete) == ([], True)


def test_a_poll_that_fails_at_once_is_a_failed_read() -> None:
    answer = httpx.Response(429, headers={"x-rate-limit-remaining": "0", "x-rate-limit-reset": "1767615300"})
    failed = Api(answer).provider().poll(ACCOUNT, "7")
    assert failed == ReadFailed("rate_limited", NOON + timedelta(minutes=15), "status 429")


def test_a_poll_that_fails_on_its_way_keeps_what_it_has_and_its_place() -> None:
    inbox = Inbox(*(at_minute(n) for n in range(6)))
    first = poll(Api(inbox, httpx.Response(503)), None)
    assert (texts(first), first.complete) == (["minute 5", "minute 4"], False)
    rest = poll(Api(inbox), first.cursor)
    assert texts(rest) == ["minute 3", "minute 2", "minute 1", "minute 0"]


def test_all_pages_of_a_poll_share_one_deadline() -> None:
    inbox = Inbox(*(at_minute(n) for n in range(40)))

    def slow(request: httpx.Request) -> httpx.Response:
        time.sleep(0.1)
        return inbox(request)

    http = Http(loopback_only=lambda: True, transport=httpx.MockTransport(slow))
    hurried = TwitterProvider(http, read_deadline_seconds=0.25, inbox_lag_seconds=5)
    found = hurried.poll(ACCOUNT, None)
    assert isinstance(found, InboundPage)
    read = len(found.items)
    assert 0 < read < 10 and not found.complete
    assert texts(poll(Api(inbox), found.cursor))[0] == f"minute {39 - read}"


def test_a_place_that_x_has_forgotten_begins_the_pass_again() -> None:
    started_over = poll(Api(httpx.Response(400)), "5:99:expired")
    assert started_over == InboundPage(items=(), cursor="5", complete=False)


def test_a_page_with_gaps_is_not_complete_and_moves_nothing() -> None:
    gappy = page(at_minute(1)) | {"errors": [gone("9")]}
    found = poll(Api(ok(gappy)), "3")
    assert (texts(found), found.complete, found.cursor) == (["minute 1"], False, "3")


@pytest.mark.parametrize("answer", [ok({}), ok({"errors": [{"title": "Forbidden"}]}), ok(page({"id": "x"}))])
def test_an_inbox_that_cannot_be_read_is_not_an_empty_one(answer: httpx.Response) -> None:
    failed = Api(answer).provider().poll(ACCOUNT, None)
    assert isinstance(failed, ReadFailed) and failed.reason == "unreadable"


# --- tokens


def refresh(answer: httpx.Response, account: AccountRef = ACCOUNT) -> tuple[object, list[httpx.Request]]:
    api = Api(answer)
    return api.provider().refresh(account, 5), api.requests


def test_a_refresh_is_one_request_in_which_a_confidential_client_proves_itself() -> None:
    brought, (request,) = refresh(ok({"access_token": "a2", "refresh_token": "r2", "expires_in": 7200}))
    assert brought == Tokens(
        access_token="a2", refresh_token="r2", expires_at=NOON + timedelta(hours=2, seconds=9)
    )
    assert (request.method, request.url.path) == ("POST", "/2/oauth2/token")
    assert parse_qs(request.content.decode()) == {
        "grant_type": ["refresh_token"],
        "refresh_token": ["refresh-1"],
        "client_id": ["client"],
    }
    assert b64decode(request.headers["authorization"].removeprefix("Basic ")) == b"client:secret"


def test_a_public_client_sends_no_proof() -> None:
    public = AccountRef(
        id=2,
        external_id=US,
        base_url="http://127.0.0.1:9",
        access_token="t",
        refresh_token="r",
        client_id="c",
    )
    _, (request,) = refresh(ok({"access_token": "a2"}), public)
    assert "authorization" not in request.headers


def test_a_refresh_without_a_new_refresh_token_or_a_lifetime_keeps_the_old_one_and_claims_no_end() -> None:
    brought, _ = refresh(httpx.Response(200, json={"access_token": "a2"}))
    assert brought == Tokens(access_token="a2", refresh_token="refresh-1", expires_at=None)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            httpx.Response(400, json={"error": "invalid_request", "error_description": "spent"}),
            "unauthorised",
        ),
        (httpx.Response(401), "unauthorised"),
        (httpx.Response(429), "rate_limited"),
    ],
)
def test_a_refused_refresh_surely_spent_nothing(answer: httpx.Response, reason: str) -> None:
    failed, _ = refresh(answer)
    assert isinstance(failed, ReadFailed) and failed.reason == reason


@pytest.mark.parametrize("answer", [httpx.Response(200, text="<html>"), ok({}), httpx.Response(502)])
def test_an_unclear_refresh_is_unknown_and_is_not_tried_again(answer: httpx.Response) -> None:
    outcome, requests = refresh(answer)
    assert isinstance(outcome, Unknown)
    assert len(requests) == 1


def test_a_refresh_that_breaks_off_is_unknown_and_one_that_cannot_connect_is_not() -> None:
    def breaking(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow", request=request)

    def refusing(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    assert isinstance(Api(breaking).provider().refresh(ACCOUNT, 5), Unknown)
    assert Api(refusing).provider().refresh(ACCOUNT, 5) == ReadFailed(
        "unreachable", detail="ConnectError: refused"
    )


def test_an_account_without_a_refresh_token_asks_for_nothing() -> None:
    bare = AccountRef(id=3, external_id=US, base_url="http://127.0.0.1:9", access_token="t")
    outcome, requests = refresh(ok({}), bare)
    assert isinstance(outcome, ReadFailed) and outcome.reason == "unauthorised"
    assert requests == []
