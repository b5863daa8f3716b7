"""What an answer of the X API means for a send: pure, by status, problem type and error code.

Two dialects are spoken: problems (`{"title", "detail", "type", …}`, alone or under "errors"), whose type is
matched on its last path segment because the host in it is api.twitter.com or api.x.com; and the old
`{"errors": [{"code", "message"}]}`. Sources: X API v2 OpenAPI 2.167, docs.x.com "error troubleshooting" and
"rate limits", and the detail texts that clients report in public.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from outreach.providers.base import (
    Accepted,
    AccountStopped,
    AlreadyDone,
    Outcome,
    RateLimited,
    ReadFailed,
    Refused,
    Unknown,
)
from outreach.providers.http import Answer

FOLLOW = "FOLLOW_ON_TWITTER"
UNFOLLOW = "UNFOLLOW_ON_TWITTER"
DM = "SEND_TWITTER_DM"

#: problem types and error codes after which the account, or all of the app, waits for a human
_STOPS: Mapping[str, AccountStopped] = {
    "usage-capped": AccountStopped("no_credits", "app"),
    "credits": AccountStopped("no_credits", "app"),
    "client-forbidden": AccountStopped("tier"),
    "client-not-enrolled": AccountStopped("tier"),
    "official-client-forbidden": AccountStopped("tier"),
    "unsupported-authentication": AccountStopped("needs_reauth"),
    "oauth1-permissions": AccountStopped("needs_reauth"),
    "32": AccountStopped("needs_reauth"),  # could not authenticate you
    "89": AccountStopped("needs_reauth"),  # invalid or expired token
    "93": AccountStopped("needs_reauth"),  # not allowed to access direct messages
    "215": AccountStopped("needs_reauth"),  # bad authentication data
    "220": AccountStopped("needs_reauth"),  # credentials do not allow access
    "64": AccountStopped("restricted"),  # your account is suspended
    "226": AccountStopped("restricted"),  # looks like it might be automated
    "326": AccountStopped("restricted"),  # temporarily locked
    "261": AccountStopped("restricted", "app"),  # the application cannot write
    "416": AccountStopped("restricted", "app"),  # the application is suspended
}
#: error codes that are a rate limit by another name, whatever their status
_LIMITS = frozenset({"88", "161", "185"})
#: problem types and error codes that are about this recipient or this text
_REFUSALS: Mapping[str, str] = {
    "resource-not-found": "no_such_user",
    "50": "no_such_user",
    "108": "no_such_user",
    "63": "suspended",
    "162": "blocked",  # blocked from following
    "150": "cannot_message",  # not following you
    "151": "cannot_message",
    "349": "cannot_message",
    "476": "cannot_message",  # sender not verified for message requests
    "354": "too_long",
    "187": "duplicate",
    "not-authorized-for-resource": "forbidden",
    "disallowed-resource": "forbidden",
}
_ALREADY_REQUESTED = "160"
#: how problems of type about:blank say in words whose they are
_RECIPIENT_WORDS: Mapping[str, str] = {
    "permission to dm": "cannot_message",
    "cannot send messages": "cannot_message",
    "this operation is not permitted": "cannot_message",
    "user has been suspended": "suspended",
    "been blocked": "blocked",
}


#: what a token endpoint may answer (RFC 6749, 5.2)
_OAUTH = ("invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope")  # fmt: skip
#: where a problem explains itself; the last one is the dialect of the token endpoint
_EXPLANATIONS = ("detail", "message", "reason", "error_description")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a request was not served, in one form for both dialects: `marks` are type names and codes, as text."""

    marks: tuple[str, ...]
    scope: str
    #: as it explains itself; it may quote what was sent
    detail: str
    #: the status and those of its marks that we know: what may be kept
    code: str
    #: False: the body says nothing, so that the answer may not even be the API's
    known: bool


def problem_of(answer: Answer) -> Problem:
    """The problem in an answer's body; empty where the body says nothing that can be read."""
    document = answer.document()
    pieces = list(_pieces(document))
    details = [str(piece[key]) for piece in pieces for key in _EXPLANATIONS if piece.get(key)]
    marks = tuple(mark for piece in pieces for mark in _marks(piece))
    known = [mark for mark in dict.fromkeys(marks) if mark in _STOPS or mark in _REFUSALS or mark in _LIMITS]
    return Problem(
        marks=marks,
        code=" ".join(
            (f"status {answer.status}", *known, *(word for word in _OAUTH if document.get("error") == word))
        ),
        scope=" ".join(str(p["scope"]) for p in pieces if p.get("scope")).lower(),
        detail="; ".join(dict.fromkeys(details)) or f"status {answer.status}",
        known=bool(document),
    )


def _pieces(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield document
    errors = document.get("errors")
    if isinstance(errors, list):
        yield from (error for error in errors if isinstance(error, dict))


def _marks(piece: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(kind := piece.get("type"), str):
        yield kind.rstrip("/").rsplit("/", 1)[-1]
    if isinstance(code := piece.get("code"), int):
        yield str(code)


def outcome_of(kind: str, answer: Answer) -> Outcome:
    """What the answer to a send means. Any 2xx is an acceptance; what is neither that nor a clear no is Unknown."""
    if answer.ok:
        return Accepted(_ids(kind, answer.document()))
    # 408: the server gave up on a request that it may have read to the end
    if answer.status < 400 or answer.status >= 500 or answer.status == 408:
        return Unknown(f"status {answer.status}")
    problem = problem_of(answer)
    return (
        _stopped(answer.status, problem)
        or _limited(answer, problem)
        or _refused(kind, answer.status, problem)
    )


def _ids(kind: str, document: Mapping[str, Any]) -> Mapping[str, str]:
    data = document.get("data")
    if not isinstance(data, dict):
        return {}
    if kind == DM:
        return dm_ids(data.get("dm_event_id"), data.get("dm_conversation_id"))
    return {"pending_follow": "true"} if data.get("pending_follow") is True else {}


def dm_ids(event_id: object, conversation_id: object) -> Mapping[str, str]:
    """The ids that a message of ours is known by; `content_id` is the one its echo carries."""
    if not isinstance(event_id, str):
        return {}
    ids = {"content_id": f"dm:{event_id}", "dm_event_id": event_id}
    return ids | ({"dm_conversation_id": conversation_id} if isinstance(conversation_id, str) else {})


def stop_of(answer: Answer) -> AccountStopped | None:
    """What stops the account, where a refusal says so: of reads as of sends."""
    return _stopped(answer.status, problem_of(answer)) if 400 <= answer.status < 500 else None


def _stopped(status: int, problem: Problem) -> AccountStopped | None:
    for mark in problem.marks:
        if stop := _STOPS.get(mark):
            return AccountStopped(stop.reason, stop.scope, problem.detail, problem.code)
    if status == 401:
        return AccountStopped("needs_reauth", detail=problem.detail, code=problem.code)
    if status == 402:
        return AccountStopped("no_credits", "app", problem.detail, problem.code)
    return None


def _limited(answer: Answer, problem: Problem) -> RateLimited | None:
    if answer.status not in (420, 429) and _LIMITS.isdisjoint(problem.marks):
        return None
    scope: Literal["account", "app"] = "account"
    if _exhausted(answer, "x-app-limit-24hour") or "app" in problem.scope:
        scope = "app"
    return RateLimited(scope, reset_of(answer))


def _refused(kind: str, status: int, problem: Problem) -> Outcome:
    if _ALREADY_REQUESTED in problem.marks:
        return AlreadyDone({"pending_follow": "true"})
    for mark in problem.marks:
        if code := _REFUSALS.get(mark):
            # a resource that may not be touched by a message is a person who may not be written to
            return Refused("cannot_message" if kind == DM and code == "forbidden" else code, problem.detail)
    for words, code in _RECIPIENT_WORDS.items():
        if words in problem.detail.lower():
            return Refused(code, problem.detail)
    if status == 404 and problem.known:
        return Refused("no_such_user", problem.detail)
    if status == 403:
        # it names neither the recipient nor a reason: rather stop one account than burn all of its leads
        return AccountStopped("restricted", detail=problem.detail, code=problem.code)
    return Refused("bad_request", problem.detail)


# --- rate limits ----------------------------------------------------------------------------------------------

#: X describes up to three buckets in an answer's headers; each has -limit, -remaining and -reset
_BUCKETS = ("x-rate-limit", "x-user-limit-24hour", "x-app-limit-24hour")


def reset_of(answer: Answer) -> datetime | None:
    """When the buckets that are empty fill again (real time); the short window's reset where none says it is empty."""
    empty = [at for bucket in _BUCKETS if _exhausted(answer, bucket) and (at := _reset(answer, bucket))]
    return max(empty) if empty else _reset(answer, "x-rate-limit")


def _exhausted(answer: Answer, bucket: str) -> bool:
    return str(answer.headers.get(f"{bucket}-remaining", "")).strip() == "0"


def _reset(answer: Answer, bucket: str) -> datetime | None:
    seconds = str(answer.headers.get(f"{bucket}-reset", "")).strip()
    readable = seconds.isdecimal() and len(seconds) < 12
    return datetime.fromtimestamp(int(seconds), UTC) if readable else None


# --- reads ----------------------------------------------------------------------------------------------------


def read_failure(answer: Answer) -> ReadFailed:
    """Why a read did not succeed."""
    problem = problem_of(answer)
    detail, code = problem.detail, problem.code
    match answer.status:
        case 401:
            return ReadFailed("unauthorised", detail=detail, code=code)
        case 402 | 403:
            return ReadFailed("forbidden", detail=detail, code=code)
        case 429:
            return ReadFailed("rate_limited", reset_of(answer), detail, code)
        case status if status >= 500:
            return ReadFailed("unreachable", detail=detail, code=code)
        case _:
            return ReadFailed("unreadable", detail=detail, code=code)
