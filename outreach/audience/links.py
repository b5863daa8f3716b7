"""PURE: web addresses as people write them, taken apart far enough to find a profile in them."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

_LINK = re.compile(
    r"(?:[a-z][a-z0-9+.-]*:)?(?://)?(?:[\w-]+\.)+[a-z]{2,}(?::\d+)?(?:[/?#].*)?", re.IGNORECASE
)
#: Hosts that serve the same pages as the host without them.
_FRONTS = ("www.", "mobile.", "m.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """`host` in lower case without www., mobile. or m.; `segments` of the path, unquoted, none of them empty."""

    host: str
    segments: list[str]
    query: dict[str, str]


def link_of(text: str) -> Link | None:
    """The parts of a web address, with or without a scheme; None where the text is none (an email is none)."""
    # A paste into a prefilled field: twitter.com/https://twitter.com/ada
    tail = re.split(r"(?<=.)(?=https?://)", text, flags=re.IGNORECASE)[-1]
    if not _LINK.fullmatch(tail):
        return None
    parts = urlsplit(tail if "//" in tail else f"//{tail}")
    path = parts.path if parts.path.strip("/") or not parts.fragment.startswith("!") else parts.fragment[1:]
    return Link(
        host=_bare(parts.hostname or ""),
        segments=[s for s in (unquote(p).strip() for p in path.split("/")) if s],
        query=dict(parse_qsl(parts.query)),
    )


def _bare(host: str) -> str:
    front = next((f for f in _FRONTS if host.startswith(f)), "")
    return host.removeprefix(front)


def near_miss(host: str, hosts: Sequence[str]) -> str | None:
    """A did-you-mean, where the host is a slip of the pen away from a known one."""
    close = difflib.get_close_matches(host, hosts, n=1, cutoff=0.8)
    return f"did you mean {close[0]}?" if close else None
