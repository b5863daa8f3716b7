"""What the X API's read answers say, as values: pages of messages, relationships, users, tokens. Pure.

Message ids are snowflakes: they order by time, and their upper bits are milliseconds. `created_at` is cut to
whole seconds on the wire, so the id gives the exact instant wherever the two agree.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from outreach.providers.base import (
    Call,
    CannotTell,
    Found,
    InboundItem,
    InboundKind,
    Missing,
    ReadBack,
    ReadFailed,
    Relationship,
    Resolved,
    Tokens,
    Unknown,
    fingerprint,
)
from outreach.providers.http import Answer
from outreach.providers.twitter.classify import dm_ids, problem_of, read_failure

#: What a user, a message and a handle look like at X.
USER_ID = re.compile(r"[0-9]{1,19}")
HANDLE = re.compile(r"[A-Za-z0-9_]{1,15}")

_SNOWFLAKE_EPOCH = datetime(2010, 11, 4, 1, 42, 54, 657000, tzinfo=UTC)
_SNOWFLAKE_SHIFT = 22
_SECOND, _MILLISECOND = timedelta(seconds=1), timedelta(milliseconds=1)


# --- messages -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One direct message. It was created within [at, at + precision)."""

    id: int
    sender: str
    #: what the sender is called now; empty where X did not say
    handle: str
    text: str
    at: datetime
    precision: timedelta
    conversation: str
    raw: Mapping[str, object]

    @property
    def content_id(self) -> str:
        return f"dm:{self.id}"

    def maybe_since(self, instant: datetime) -> bool:
        """May it have been created at or after the instant?"""
        return self.at + self.precision > instant


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagePage:
    """A page of messages, newest first. `next_token` leads to older ones; `gaps`: X left something out of it."""

    messages: tuple[Message, ...]
    next_token: str | None
    gaps: bool = False

    @property
    def oldest(self) -> Message | None:
        return min(self.messages, key=lambda m: m.id, default=None)

    def reaches_back(self, instant: datetime) -> bool:
        """Is everything since the instant in it or on newer pages?"""
        return self.next_token is None or (self.oldest is not None and not self.oldest.maybe_since(instant))


def message_page(answer: Answer) -> MessagePage | ReadFailed:
    """The page in an answer. A 200 that carries only errors, or a message that cannot be read, is a failed read."""
    if answer.status != 200:
        return read_failure(answer)
    document = answer.document()
    data, meta = document.get("data", []), document.get("meta")
    if not isinstance(data, list) or not isinstance(meta, dict):
        return _unreadable(answer)
    handles = _handles(document)
    try:
        messages = tuple(_message(event, handles) for event in data)
    except (KeyError, TypeError, ValueError) as error:
        return ReadFailed("unreadable", detail=f"a message cannot be read: {error!r}")
    return MessagePage(
        messages=messages, next_token=meta.get("next_token"), gaps=_leaves_out_more(document, messages)
    )


def _unreadable(answer: Answer) -> ReadFailed:
    problem = problem_of(answer)
    return ReadFailed("unreadable", detail=problem.detail, code=problem.code)


def _handles(document: Mapping[str, Any]) -> Mapping[str, str]:
    """The handles of the senders that the answer describes, by id. A description that cannot be read is none."""
    includes = document.get("includes")
    described = includes.get("users") if isinstance(includes, dict) else None
    users = [user for user in described if _is_user(user)] if isinstance(described, list) else []
    return {user["id"]: str(user.get("username", "")) for user in users}


def _leaves_out_more(document: Mapping[str, Any], messages: Sequence[Message]) -> bool:
    """Do the errors speak of more than senders (gone, suspended) that X does not describe, of messages that are there?"""
    senders = {message.sender for message in messages}
    return any(
        not (
            isinstance(error, dict)
            and error.get("resource_type", "user") == "user"
            and str(error.get("resource_id", error.get("value"))) in senders
        )
        for error in document.get("errors") or ()
    )


def _message(event: Mapping[str, Any], handles: Mapping[str, str]) -> Message:
    number = int(event["id"])
    at, precision = _created(number, datetime.fromisoformat(event["created_at"]).astimezone(UTC))
    return Message(
        id=number,
        sender=str(event["sender_id"]),
        handle=handles.get(str(event["sender_id"]), ""),
        text=str(event.get("text", "")),
        at=at,
        precision=precision,
        conversation=str(event.get("dm_conversation_id", "")),
        raw=event,
    )


def _created(number: int, written: datetime) -> tuple[datetime, timedelta]:
    """When a message was created, and how exactly that is known."""
    exact = _SNOWFLAKE_EPOCH + _MILLISECOND * min(number >> _SNOWFLAKE_SHIFT, 2**42)
    if written <= exact < written + _SECOND:
        return exact, _MILLISECOND
    return written, (_MILLISECOND if written.microsecond else _SECOND)


def inbound_item(message: Message, account_id: str) -> InboundItem:
    """The message as a fact about one of our accounts."""
    ours = message.sender == account_id
    return InboundItem(
        kind=InboundKind.MESSAGE_OUT if ours else InboundKind.MESSAGE_IN,
        content_id=message.content_id,
        account_external_id=account_id,
        peer=_other(message.conversation, account_id) if ours else message.sender,
        occurred_at=message.at,
        text=message.text,
        peer_handle="" if ours else message.handle,
        raw=message.raw,
    )


def _other(conversation: str, account_id: str) -> str:
    """The other side of a one-to-one conversation ("smaller-larger"); a group has none."""
    others = [side for side in conversation.split("-") if side != account_id]
    return others[0] if "-" in conversation and len(others) == 1 else ""


def sent_message(page: MessagePage, call: Call, since: datetime) -> ReadBack:
    """Is the call's message in this newest page of its conversation?

    Missing is only said when the page reaches back far enough and holds no message of ours from that time at
    all: X may rewrite a text in ways that we do not know, and a wrong Missing would be a second message.
    """
    wanted = fingerprint(call.body or "")
    ours = [m for m in page.messages if m.sender == call.account.external_id and m.maybe_since(since)]
    found = [m for m in ours if fingerprint(m.text) == wanted]
    if found:
        first = min(found, key=lambda m: m.id)
        return Found(first.at, dm_ids(str(first.id), first.conversation or None))
    if ours:
        return CannotTell("we sent something else to this person in that time")
    if page.gaps or not page.reaches_back(since):
        return CannotTell("the conversation could not be read back far enough")
    return Missing()


# --- the inbox's cursor ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """How far an inbox is known: every message up to `floor`. Written as "floor".

    A pass from the newest message down to the floor may take more pages than one poll may read. It is then
    written as "floor:top:token": the pass has been through everything from `top` down to where `token` leads.
    """

    floor: int = 0
    top: int = 0
    token: str | None = None

    @classmethod
    def parse(cls, text: str | None) -> "Cursor":
        if text is None:
            return cls()
        floor, _, rest = text.partition(":")
        top, _, token = rest.partition(":")
        return cls(floor=int(floor), top=int(top or floor), token=token or None)

    def __str__(self) -> str:
        return f"{self.floor}:{self.top}:{self.token}" if self.token else str(self.floor)

    def low_water(self, lag_seconds: float) -> int:
        """The id down to which a pass must read: messages that became visible late lie above it."""
        lag = int(lag_seconds * 1000) << _SNOWFLAKE_SHIFT
        # a number too small to be a snowflake carries no time; nothing is known to be late there
        return self.floor - lag if self.floor > lag else self.floor

    def unknown(self, page: MessagePage, low_water: int) -> Iterator[Message]:
        """The messages of a page that may not have been read before."""
        return (m for m in page.messages if m.id > low_water and m.id != self.floor)

    def seen(self, page: MessagePage) -> "Cursor":
        """After one more page of the pass."""
        newest = max((m.id for m in page.messages), default=0)
        return Cursor(floor=self.floor, top=max(self.top, newest, self.floor), token=page.next_token)

    def done(self) -> "Cursor":
        """After the pass: all that it saw is known."""
        return Cursor(floor=self.top, top=self.top)


# --- users ----------------------------------------------------------------------------------------------------


def users(answer: Answer) -> Sequence[Mapping[str, Any]] | ReadFailed:
    """The users that a look-up found. Users that no longer exist come back as errors and are left out."""
    if answer.status != 200:
        return read_failure(answer)
    document = answer.document()
    data, errors = document.get("data", []), document.get("errors", [])
    if not (_all(data, _is_user) and _all(errors, _names_a_user) and (data or errors)):
        return _unreadable(answer)
    return list(data)


def _all(values: object, are: Callable[[object], bool]) -> bool:
    return isinstance(values, list) and all(are(value) for value in values)


def _is_user(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("id"), str)


def _names_a_user(error: object) -> bool:
    """Is the error about one of those we asked for, and not about the request?"""
    return isinstance(error, dict) and any(key in error for key in ("resource_id", "value"))


def relationships(answer: Answer) -> Sequence[Relationship] | ReadFailed:
    """How the looked-up users stand to the account. Silence is no evidence: an answer that does not say fails."""
    found = users(answer)
    if isinstance(found, ReadFailed):
        return found
    # X may leave out an empty connection_status; that it did read the relation shows in its neighbour
    if not all("connection_status" in user or "receives_your_dm" in user for user in found):
        return ReadFailed("unreadable", detail="the answer does not say how the users are connected")
    return [_relationship(user) for user in found]


def _relationship(user: Mapping[str, Any]) -> Relationship:
    status = user.get("connection_status") or []
    receives = user.get("receives_your_dm")
    return Relationship(
        peer=user["id"],
        follows_us="followed_by" in status,
        we_follow="following" in status,
        pending="follow_request_sent" in status,
        receives_messages=receives if isinstance(receives, bool) else None,
    )


def resolved(answer: Answer, handles: Sequence[str]) -> Sequence[Resolved] | ReadFailed:
    """The ids behind the handles, each under the spelling that was asked for."""
    found = users(answer)
    if isinstance(found, ReadFailed):
        return found
    asked = {handle.lower(): handle for handle in handles}
    return list(_resolved(found, asked))


def _resolved(found: Sequence[Mapping[str, Any]], asked: Mapping[str, str]) -> Iterator[Resolved]:
    for user in found:
        if handle := asked.get(str(user.get("username", "")).lower()):
            yield Resolved(handle=handle, external_id=user["id"], name=str(user.get("name", "")))


# --- tokens ---------------------------------------------------------------------------------------------------


def tokens(answer: Answer, old_refresh_token: str | None) -> Tokens | ReadFailed | Unknown:
    """What a refresh or a code brought. A success spends the old refresh token, or the code: an unclear answer is Unknown."""
    if answer.ok:
        return _tokens(answer, old_refresh_token) or Unknown(
            "the tokens were given out but the answer cannot be read"
        )
    if answer.status == 429:
        return read_failure(answer)
    if answer.status in (400, 401, 403):
        return replace(_unreadable(answer), reason="unauthorised")
    return Unknown(f"status {answer.status}")


def _tokens(answer: Answer, old_refresh_token: str | None) -> Tokens | None:
    document = answer.document()
    access, lifetime = document.get("access_token"), document.get("expires_in")
    scope = document.get("scope")
    if not isinstance(access, str) or not access:
        return None
    expires = answer.date + timedelta(seconds=lifetime) if answer.date and isinstance(lifetime, int) else None
    return Tokens(
        access_token=access,
        refresh_token=document.get("refresh_token") or old_refresh_token,
        expires_at=expires,
        scopes=tuple(scope.split()) if isinstance(scope, str) else None,
    )
