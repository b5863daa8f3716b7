"""Two executions, one slot of a cap: who counts what, and when."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.model.search import Searched, search


@dataclass(frozen=True, slots=True, kw_only=True)
class Counting:
    #: T1 holds the account's row from its count to its commit
    locks: bool = True
    #: what nobody knows the outcome of uses its slot
    doubt_counts: bool = True
    #: a fresh statement counts, after the lock; else the statement that took the lock, on what it saw before
    counts_after_lock: bool = True


@dataclass(frozen=True, slots=True)
class Sending:
    #: planned, seen (counted, not yet written), calling, in_doubt, sent, refused
    row: str = "planned"
    #: how many it saw in use
    seen: int = 0
    #: the provider may still accept it
    on_its_way: bool = False


State = tuple[int, tuple[Sending, Sending]]


def explore(how: Counting) -> Searched:
    """I3: the provider accepts one, not two."""
    start: State = (0, (Sending(), Sending()))
    return search(start, lambda s: _steps(s, how), {"I3": lambda s: s[0] <= 1})


def _steps(state: State, how: Counting) -> Iterator[tuple[str, State]]:
    accepted, both = state
    for index, one in enumerate(both):
        other = both[1 - index]
        for label, after, more in _moves(one, other, how):
            yield f"{index}: {label}", (accepted + more, (after, other) if index == 0 else (other, after))


def _moves(one: Sending, other: Sending, how: Counting) -> Iterator[tuple[str, Sending, int]]:
    used = _uses(other, how)
    if one.row == "planned" and how.locks and how.counts_after_lock:
        yield "counts and claims", _claimed(one, used), 0
    elif one.row == "planned":
        # either without a lock, or with one that it waits for after it has taken its snapshot
        yield "counts", replace(one, row="seen", seen=used), 0
    if one.row == "seen":
        yield "claims", _claimed(one, one.seen), 0
    if one.row == "calling":
        yield "deadline", replace(one, row="in_doubt"), 0
    if one.on_its_way:
        yield "accepted", replace(one, on_its_way=False), 1
        yield "lost", replace(one, on_its_way=False), 0
    if one.row == "calling" and not one.on_its_way:
        yield "settled", replace(one, row="sent"), 0


def _claimed(one: Sending, used: int) -> Sending:
    return replace(one, row="calling", on_its_way=True) if used == 0 else replace(one, row="refused")


def _uses(other: Sending, how: Counting) -> int:
    return int(other.row in ("calling", "sent") or (other.row == "in_doubt" and how.doubt_counts))
