"""Every refusal of X in its two dialects: problem details ({title, detail, type}) and the older {errors: [{code}]}.

Sources: the provider's error pages and OpenAPI document, and answers that users of the real service have quoted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from outreach.simulator.wire import Response, answer

#: the host of the current document; answers quoted by users also show api.twitter.com
TYPE_BASE = "https://api.x.com/2/problems/"


class Dialect(StrEnum):
    """Which of the two a refusal is written in."""

    PROBLEM = "problem"
    LEGACY = "legacy"
    #: one or the other, by the seed and the path: both turn up in every run
    MIXED = "mixed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One refusal. `code` is its number in the older dialect; without one it has the newer form only."""

    status: int
    title: str
    detail: str
    type: str = "about:blank"
    extra: Mapping[str, Any] = field(default_factory=dict)
    code: int | None = None

    def render(self, dialect: Dialect = Dialect.PROBLEM) -> Response:
        """The refusal as a response."""
        if dialect is Dialect.LEGACY and self.code is not None:
            return answer({"errors": [{"code": self.code, "message": self.detail}]}, self.status)
        body = {"title": self.title, "detail": self.detail, "type": self.type, "status": self.status}
        return answer({**body, **self.extra}, self.status)


NO_SUCH_PAGE = Problem(
    status=404, title="Not Found", detail="Sorry, that page does not exist", code=34
)  # fmt: skip
UNAUTHORIZED = Problem(status=401, title="Unauthorized", detail="Unauthorized", code=89)
TOO_MANY = Problem(status=429, title="Too Many Requests", detail="Too Many Requests", code=88)
INTERNAL = Problem(status=500, title="Internal Server Error", detail="Something went wrong.", code=131)
UNAVAILABLE = Problem(status=503, title="Service Unavailable", detail="Service Unavailable", code=130)
CANNOT_DM = Problem(
    status=403,
    title="Forbidden",
    detail="You do not have permission to DM one or more participants.",
    code=349,
)
BLOCKED = Problem(
    status=403,
    title="Forbidden",
    detail="You have been blocked from following this account at the request of the user.",
    code=162,
)
LOCKED = Problem(
    status=403,
    title="Forbidden",
    detail="To protect our users from spam and other malicious activity, this account is temporarily locked.",
    code=326,
)
NOT_SELF_SERVE = Problem(
    status=403,
    title="Client Forbidden",
    detail="This endpoint is not available to clients on your access level.",
    type=f"{TYPE_BASE}client-forbidden",
    extra={"reason": "client-not-enrolled", "required_enrollment": "Enterprise"},
)
NO_CREDITS = Problem(
    status=402,
    title="CreditsDepleted",
    detail="Your enrolled account does not have any credits to fulfill this request.",
    type=f"{TYPE_BASE}credits",
)
USAGE_CAPPED = Problem(
    status=429,
    title="UsageCapExceeded",
    detail="Usage cap exceeded: Monthly product cap",
    type=f"{TYPE_BASE}usage-capped",
    extra={"period": "Monthly", "scope": "Product"},
)
CONFLICT = Problem(
    status=409,
    title="Conflict",
    detail="An equal object exists already.",
    type=f"{TYPE_BASE}conflict",
)
NEEDS_USER = Problem(
    status=403,
    title="Unsupported Authentication",
    detail="Authenticating with OAuth 2.0 Application-Only is forbidden for this endpoint.",
    type=f"{TYPE_BASE}unsupported-authentication",
)
NEEDS_APP = Problem(
    status=403,
    title="Unsupported Authentication",
    detail="Authenticating with OAuth 2.0 User Context is forbidden for this endpoint.",
    type=f"{TYPE_BASE}unsupported-authentication",
)

#: what a fault plan may name
BY_NAME: Mapping[str, Problem] = {
    "unauthorized": UNAUTHORIZED,
    "client_forbidden": NOT_SELF_SERVE,
    "no_credits": NO_CREDITS,
    "usage_capped": USAGE_CAPPED,
    "locked": LOCKED,
    "cannot_dm": CANNOT_DM,
    "blocked": BLOCKED,
}


def invalid(parameter: str, value: object, message: str = "") -> Problem:
    """One parameter is not valid."""
    text = message or f"The `{parameter}` query parameter value [{value}] is not valid"
    return Problem(
        status=400,
        title="Invalid Request",
        detail="One or more parameters to your request was invalid.",
        type=f"{TYPE_BASE}invalid-request",
        extra={"errors": [{"parameters": {parameter: [str(value)]}, "message": text}]},
    )


def not_found(value: str, parameter: str, resource: str = "user") -> dict[str, Any]:
    """One entry of a partial error: this user does not exist."""
    return {
        "value": value,
        "detail": f"Could not find {resource} with {parameter}: [{value}].",
        "title": "Not Found Error",
        "resource_type": resource,
        "parameter": parameter,
        "resource_id": value,
        "type": f"{TYPE_BASE}resource-not-found",
    }


def missing(value: str, parameter: str, resource: str = "user") -> Problem:
    """A write that points at nobody."""
    entry = not_found(value, parameter, resource)
    return Problem(
        status=404,
        title=entry["title"],
        detail=entry["detail"],
        type=entry["type"],
        extra={key: entry[key] for key in ("value", "resource_type", "parameter", "resource_id")},
        code=50,
    )


def lookup(
    found: Sequence[Mapping[str, Any]], errors: Sequence[Mapping[str, Any]], *, single: bool
) -> Response:
    """A look-up's answer: always 200, with the missing ones under `errors`, as the provider does."""
    payload: dict[str, Any] = {}
    if found:
        payload["data"] = found[0] if single else list(found)
    if errors:
        payload["errors"] = list(errors)
    return answer(payload)
