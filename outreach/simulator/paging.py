"""Pages as the provider cuts them. A token is anchored at an item, so what arrives in between shifts nothing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from outreach.simulator.problems import Problem, invalid

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items, and the token of the next page (None: this was the last)."""

    items: Sequence[T]
    next_token: str | None

    def payload(self, shown: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The answer: without items there is no `data`, as the provider has it."""
        meta: dict[str, Any] = {"result_count": len(shown)}
        if self.next_token:
            meta["next_token"] = self.next_token
        return {"data": list(shown), "meta": meta} if shown else {"meta": meta}


def page_of(
    query: Mapping[str, str], items: Sequence[T], *, key: Callable[[T], str], most: int, usual: int
) -> Page[T] | Problem:
    """The page that the query asks for, of items in the order in which they are shown."""
    size = query.get("max_results", str(usual))
    if not size.isdigit() or not 1 <= int(size) <= most:
        return invalid(
            "max_results",
            size,
            f"The `max_results` query parameter value [{size}] is not between 1 and {most}",
        )
    start = 0
    if token := query.get("pagination_token"):
        anchor = _decoded(token)
        start = next((at + 1 for at, item in enumerate(items) if key(item) == anchor), -1)
        if start < 0:
            return invalid("pagination_token", token)
    shown = items[start : start + int(size)]
    more = start + len(shown) < len(items)
    return Page(shown, _encoded(key(shown[-1])) if more and shown else None)


def _encoded(key: str) -> str:
    return key.encode().hex()


def _decoded(token: str) -> str:
    try:
        return bytes.fromhex(token).decode()
    except ValueError:
        return ""
