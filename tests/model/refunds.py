"""The limiter before the claim: two workers want the same execution, a third wants another, and there is room for one."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.model.search import Searched, search

#: Which execution each worker wants.
_WANTS = ("first", "first", "second")


@dataclass(frozen=True, slots=True)
class State:
    #: executions that the limiter's log has
    log: frozenset[str] = frozenset()
    claimed: frozenset[str] = frozenset()
    #: asking, granted, over
    workers: tuple[str, str, str] = ("asking", "asking", "asking")


def explore(*, loser_refunds: bool) -> Searched:
    """I3 by the limiter alone, without the ledger behind it: one is claimed, not two."""
    return search(State(), lambda s: _steps(s, loser_refunds), {"I3": lambda s: len(s.claimed) <= 1})


def _steps(s: State, loser_refunds: bool) -> Iterator[tuple[str, State]]:
    for index, wanted in enumerate(_WANTS):
        if s.workers[index] == "asking":
            granted = not s.log or wanted in s.log
            log = s.log | {wanted} if granted else s.log
            yield f"{index}: asks", _now(replace(s, log=log), index, "granted" if granted else "over")
        if s.workers[index] == "granted":
            won = wanted not in s.claimed
            log = s.log if won or not loser_refunds else s.log - {wanted}
            yield f"{index}: claims", _now(replace(s, log=log, claimed=s.claimed | {wanted}), index, "over")


def _now(s: State, index: int, doing: str) -> State:
    first, second, third = (doing if i == index else was for i, was in enumerate(s.workers))
    return replace(s, workers=(first, second, third))
