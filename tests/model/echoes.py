"""Our own message comes back as an echo, before or after the call's answer; and the account's owner writes by hand as well."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from tests.model.search import Searched, search


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """What an echo is held against first; what matches nothing counts as sent by hand."""

    #: executions whose outcome is open are tried, too
    open_too: bool = True
    #: an echo explains one execution, and no second echo is explained by it
    once: bool = True


@dataclass(frozen=True, slots=True)
class State:
    row: Literal["calling", "sent", "in_doubt", "held"] = "calling"
    accepted: bool = False
    answered: bool = False
    explained: bool = False
    by_hand: bool = False
    #: echoes that the provider has yet to push: of our message, of the one by hand
    echoes: tuple[str, ...] = ()
    counted_by_hand: int = 0


def explore(how: Matching) -> Searched:
    """`no less`, `no more`: at the end the ledger counts as many as the provider accepted."""
    rules = {
        "no more": lambda s: _counted(s) <= s.accepted + s.by_hand or not _over(s),
        "no less": lambda s: _counted(s) >= s.accepted + s.by_hand or not _over(s),
        "known": lambda s: not (_over(s) and s.accepted and s.row == "in_doubt"),
    }
    return search(State(), lambda s: _steps(s, how), rules)


def _counted(s: State) -> int:
    return 1 + s.counted_by_hand


def _over(s: State) -> bool:
    """Everything has arrived and is settled. A call that was never accepted, and held, still uses its slot: that is safe."""
    return not s.echoes and s.row in ("sent", "in_doubt", "held") and s.accepted


def _steps(s: State, how: Matching) -> Iterator[tuple[str, State]]:
    if not s.accepted and s.row == "calling":
        yield "accepted", replace(s, accepted=True, answered=True, echoes=(*s.echoes, "ours"))
    if not s.by_hand and s.accepted:
        yield "by hand", replace(s, by_hand=True, echoes=(*s.echoes, "hand"))
    if s.answered and s.row != "sent":
        yield "T2", replace(s, row="sent", answered=False)
    if s.answered:
        yield "the answer is lost", replace(s, answered=False)
    if s.row == "calling" and not s.answered:
        yield "deadline", replace(s, row="in_doubt")
    for index, echo in enumerate(s.echoes):
        rest = s.echoes[:index] + s.echoes[index + 1 :]
        yield f"echo of {echo}", _digested(replace(s, echoes=rest), how)


def _digested(s: State, how: Matching) -> State:
    matches = (s.row == "sent" or how.open_too) and not (s.explained and how.once)
    if not matches:
        return replace(s, counted_by_hand=s.counted_by_hand + 1)
    return replace(s, row="sent" if how.open_too else s.row, explained=True)
