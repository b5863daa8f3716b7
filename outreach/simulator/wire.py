"""What crosses the wire, as values: a request, a response, and how a response may be mangled on its way out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl

JSON_HEADERS: Mapping[str, str] = {"content-type": "application/json; charset=utf-8"}


class Manner(StrEnum):
    """How a response leaves."""

    #: complete, after `seconds` of silence
    WHOLE = "whole"
    #: nothing for `seconds`, then the connection is dropped
    HANG = "hang"
    #: the connection is reset at once
    RESET = "reset"
    #: status, headers and half of the body, then the connection is closed
    TRUNCATED = "truncated"
    #: complete, in small pieces spread over `seconds`
    DRIP = "drip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request. Header names are in lower case; of a repeated query parameter the last one counts."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    #: the client's port; 0 in process
    peer_port: int = 0

    def json_object(self) -> dict[str, Any] | None:
        """The body as a JSON object, or None where it is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return None
        return value if isinstance(value, dict) else None

    def form(self) -> dict[str, str]:
        """The body as an URL-encoded form."""
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One response, and the manner in which it leaves. `seconds` are real seconds."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: JSON_HEADERS)
    manner: Manner = Manner.WHOLE
    seconds: float = 0.0

    def with_headers(self, headers: Mapping[str, str]) -> "Response":
        """The same response with these headers beneath its own."""
        return replace(self, headers={**headers, **self.headers}) if headers else self


def answer(payload: Mapping[str, Any], status: int = 200) -> Response:
    """A response that carries JSON."""
    return Response(status=status, body=json.dumps(payload, separators=(",", ":")).encode())
