"""The X API v2 as a Provider: which requests are made, once each. What the answers mean is in classify and reading."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import httpx

from outreach.providers.base import (
    AccountRef,
    Call,
    CannotTell,
    Capability,
    Found,
    Idempotency,
    InboundItem,
    InboundPage,
    Missing,
    NotStarted,
    Outcome,
    ReadBack,
    ReadFailed,
    Refused,
    Relationship,
    Resolved,
    Tokens,
    Unknown,
)
from outreach.providers.connecting import Connector
from outreach.providers.http import Answer, Http
from outreach.providers.twitter.classify import DM, FOLLOW, UNFOLLOW, outcome_of
from outreach.providers.twitter.oauth import TwitterConnector
from outreach.providers.twitter.reading import (
    HANDLE,
    USER_ID,
    Cursor,
    MessagePage,
    inbound_item,
    message_page,
    relationships,
    resolved,
    sent_message,
    tokens,
)
from outreach.providers.twitter.requests import TOKEN, request_of, token_request

#: What X accepts (docs.x.com, "manage direct messages"); follows set a state, messages have no key.
CAPABILITIES: Mapping[str, Capability] = {
    FOLLOW: Capability(idempotency=Idempotency.NATURAL, can_read_back=True),
    UNFOLLOW: Capability(idempotency=Idempotency.NATURAL, can_read_back=True),
    DM: Capability(idempotency=Idempotency.NONE, can_read_back=True, max_length=10_000),
}
#: The reads that X allows per user in 15 minutes; more pages than this would only earn a 429.
MAX_PAGES = 15
#: Users that one look-up may name.
MAX_USERS = 100

_MESSAGES = {
    "max_results": "100",
    "event_types": "MessageCreate",
    "dm_event.fields": "id,text,event_type,sender_id,created_at,dm_conversation_id",
}
#: An event names its sender by id only; whoever we know by handle alone is recognised by what the expansion says of them.
_INBOX = _MESSAGES | {"expansions": "sender_id", "user.fields": "username"}


class TwitterProvider:
    """X/Twitter: follows, unfollows and direct messages of the unencrypted system."""

    channel: str = "twitter"
    capabilities: Mapping[str, Capability] = CAPABILITIES

    def __init__(self, http: Http, *, read_deadline_seconds: float, inbox_lag_seconds: float) -> None:
        self._http = http
        self._read_deadline = read_deadline_seconds
        self.inbox_lag_seconds = inbox_lag_seconds
        self.connector: Connector | None = TwitterConnector(http, read_deadline_seconds=read_deadline_seconds)

    # --- writing ---

    def execute(self, call: Call, may_begin: Callable[[], bool]) -> Outcome:
        request = _write(call)
        if isinstance(request, Refused):
            return request
        answer = self._http.call(request, deadline_seconds=call.deadline_seconds, may_begin=may_begin)
        return outcome_of(call.kind, answer) if isinstance(answer, Answer) else answer

    def refresh(self, account: AccountRef, deadline_seconds: float) -> Tokens | ReadFailed | Unknown:
        if not account.refresh_token or not account.client_id:
            return ReadFailed("unauthorised", detail="the account has no refresh token or no client id")
        form = {"grant_type": "refresh_token", "refresh_token": account.refresh_token}
        answer = self._http.call(token_request(account, TOKEN, form), deadline_seconds=deadline_seconds)
        match answer:
            case Answer():
                return tokens(answer, account.refresh_token)
            case NotStarted():
                return ReadFailed("unreachable", detail=answer.detail)
            case Unknown():
                return answer

    # --- reading ---

    def read_back(self, call: Call, since: datetime) -> ReadBack:
        if not USER_ID.fullmatch(call.recipient):
            return CannotTell("the recipient has no numeric id")
        return self._message_sent(call, since) if call.kind == DM else self._follow_stands(call, since)

    def _message_sent(self, call: Call, since: datetime) -> ReadBack:
        path = f"/2/dm_conversations/with/{call.recipient}/dm_events"
        page = self._messages(call.account, path, _MESSAGES)
        return _cannot_tell(page) if isinstance(page, ReadFailed) else sent_message(page, call, since)

    def _follow_stands(self, call: Call, since: datetime) -> ReadBack:
        answer = self._look_up(call.account, [call.recipient])
        if isinstance(answer, ReadFailed):
            return _cannot_tell(answer)
        found = relationships(answer)
        if isinstance(found, ReadFailed):
            return _cannot_tell(found)
        follows = any(person.we_follow or person.pending for person in found)
        # X does not say since when; its clock at this reading is the latest that it can be
        as_wanted = follows == (call.kind == FOLLOW)
        return Found(max(since, answer.date or since)) if as_wanted else Missing()

    def poll(self, account: AccountRef, cursor: str | None) -> InboundPage | ReadFailed:
        """One pass from the newest message down to the cursor, or the next part of a pass too long for one poll.

        Messages from shortly before the cursor come again: one of them may have become visible only now.
        All pages together have the deadline of one read.
        """
        until = time.monotonic() + self._read_deadline
        place = Cursor.parse(cursor)
        whole = place.token is None
        low = place.low_water(self.inbox_lag_seconds)
        items: list[InboundItem] = []
        for _ in range(MAX_PAGES):
            onward = {"pagination_token": place.token} if place.token else {}
            page = self._messages(account, "/2/dm_events", _INBOX | onward, until - time.monotonic())
            if isinstance(page, ReadFailed):
                return _cut_short(page, place, items)
            items += [inbound_item(m, account.external_id) for m in place.unknown(page, low)]
            if page.gaps:
                return InboundPage(items=items, cursor=cursor, complete=False)
            place = place.seen(page)
            if page.next_token is None or (page.oldest and page.oldest.id <= low):
                return InboundPage(items=items, cursor=str(place.done()), complete=whole)
        return InboundPage(items=items, cursor=str(place), complete=False)

    def relationships(self, account: AccountRef, peers: Sequence[str]) -> Sequence[Relationship] | ReadFailed:
        known = [peer for peer in _at_most(peers) if USER_ID.fullmatch(peer)]
        if not known:
            return []
        answer = self._look_up(account, known)
        return answer if isinstance(answer, ReadFailed) else relationships(answer)

    def resolve(self, account: AccountRef, handles: Sequence[str]) -> Sequence[Resolved] | ReadFailed:
        # one name that cannot be a handle would make X refuse them all
        possible = [handle for handle in _at_most(handles) if HANDLE.fullmatch(handle)]
        if not possible:
            return []
        answer = self._read(account, "/2/users/by", {"usernames": ",".join(possible)})
        return answer if isinstance(answer, ReadFailed) else resolved(answer, possible)

    def _look_up(self, account: AccountRef, peers: Sequence[str]) -> Answer | ReadFailed:
        fields = {"ids": ",".join(peers), "user.fields": "connection_status,receives_your_dm"}
        return self._read(account, "/2/users", fields)

    def _messages(
        self, account: AccountRef, path: str, params: Mapping[str, str], seconds: float | None = None
    ) -> MessagePage | ReadFailed:
        answer = self._read(account, path, params, seconds)
        return answer if isinstance(answer, ReadFailed) else message_page(answer)

    def _read(
        self, account: AccountRef, path: str, params: Mapping[str, str], seconds: float | None = None
    ) -> Answer | ReadFailed:
        if not account.access_token:
            return ReadFailed("unauthorised", detail="the account is not connected")
        request = request_of(account, "GET", path, params=params)
        deadline = self._read_deadline if seconds is None else seconds
        answer = self._http.call(request, deadline_seconds=deadline)
        return answer if isinstance(answer, Answer) else ReadFailed("unreachable", detail=answer.detail)


def _cut_short(failure: ReadFailed, place: Cursor, items: Sequence[InboundItem]) -> InboundPage | ReadFailed:
    """A poll that failed on its way: what it has is kept, and the next one goes on from there."""
    if items:
        return InboundPage(items=items, cursor=str(place), complete=False)
    if place.token and failure.reason == "unreadable":
        # X no longer knows the place: the pass starts again from the newest message
        return InboundPage(items=(), cursor=str(Cursor(floor=place.floor)), complete=False)
    return failure


def _cannot_tell(failure: ReadFailed) -> CannotTell:
    return CannotTell(f"{failure.reason}: {failure.detail}")


def _at_most(values: Sequence[str]) -> Sequence[str]:
    if len(values) > MAX_USERS:
        raise ValueError(f"{len(values)} users in one look-up; at most {MAX_USERS}")
    return values


# --- requests -------------------------------------------------------------------------------------------------


def _write(call: Call) -> httpx.Request | Refused:
    """The request of a send. What cannot be one is refused here: nothing leaves."""
    if not (USER_ID.fullmatch(call.recipient) and USER_ID.fullmatch(call.account.external_id)):
        return Refused("bad_request", "the recipient or the account has no numeric id")
    following = f"/2/users/{call.account.external_id}/following"
    match call.kind:
        case "FOLLOW_ON_TWITTER":
            return request_of(call.account, "POST", following, json={"target_user_id": call.recipient})
        case "UNFOLLOW_ON_TWITTER":
            return request_of(call.account, "DELETE", f"{following}/{call.recipient}")
        case "SEND_TWITTER_DM" if call.body:
            path = f"/2/dm_conversations/with/{call.recipient}/messages"
            return request_of(call.account, "POST", path, json={"text": call.body})
        case "SEND_TWITTER_DM":
            return Refused("bad_request", "a direct message needs a text")
        case _:
            return Refused("bad_request", f"{call.kind} is not something X can do")
