"""One execution, two workers, every order of hints, kills, lost requests, lost answers, deadlines, read-backs and an opt-out.

The provider accepts whatever reaches it. A request of a killed worker may still be on its way.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from tests.model.search import Searched, search

_HINTS, _KILLS = 3, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """What a variant does at the places where variants differ."""

    #: T1 writes `calling` before the call
    claims: bool = True
    #: what a call becomes whose deadline has passed or whose answer was lost
    unanswered: Literal["planned", "in_doubt"] = "in_doubt"
    #: what a doubtful one becomes that the provider does not show
    absent: Literal["planned", "held"] = "held"
    #: the provider is asked only when nothing of the call can arrive any more
    settles: bool = True
    #: the provider's pages may not yet show what it has accepted
    lagging: bool = False
    #: an opt-out is effective: at its commit; when no call is before its deadline; when none can arrive any more
    effective: Literal["commit", "deadline", "settled"] = "settled"


@dataclass(frozen=True, slots=True)
class Worker:
    """`begun`: T1 is committed; `written`: the request is out; `answered`: 2xx was read, T2 has not begun."""

    doing: Literal["idle", "begun", "written", "answered"] = "idle"
    fence: int = 0


@dataclass(frozen=True, slots=True)
class State:
    row: str = "planned"
    fence: int = 0
    workers: tuple[Worker, Worker] = (Worker(), Worker())
    #: whose requests are on their way; -1: a killed worker's
    wire: tuple[int, ...] = ()
    accepted: int = 0
    opt_out: Literal["none", "committed", "effective"] = "none"
    accepted_late: bool = False
    hints: int = _HINTS
    kills: int = _KILLS


def explore(protocol: Protocol) -> Searched:
    """I1: the provider accepts once at most. I4: nothing after an effective opt-out. `known`: what was accepted is never planned again."""
    rules = {
        "I1": lambda s: s.accepted <= 1,
        "I4": lambda s: not s.accepted_late,
        "known": lambda s: not (s.row == "planned" and s.accepted and _still(s)),
    }
    return search(State(), lambda s: _steps(s, protocol), rules, lambda s: f"{s.row} {s.accepted}")


def _steps(s: State, p: Protocol) -> Iterator[tuple[str, State]]:
    for index in (0, 1):
        yield from _worker(s, p, index)
    yield from _provider(s)
    yield from _time(s, p)
    yield from _opt_out(s, p)


def _worker(s: State, p: Protocol, index: int) -> Iterator[tuple[str, State]]:
    worker = s.workers[index]
    if worker.doing == "idle" and s.hints and s.row == "planned" and s.opt_out == "none":
        claimed = replace(s, hints=s.hints - 1)
        if p.claims:
            claimed = replace(claimed, row="calling", fence=s.fence + 1)
        yield f"{index}: T1", _put(claimed, index, Worker("begun", claimed.fence))
    if worker.doing == "begun":
        yield (
            f"{index}: writes",
            replace(_put(s, index, replace(worker, doing="written")), wire=_sorted(*s.wire, index)),
        )
    if worker.doing == "answered":
        mine = not p.claims or (worker.fence == s.fence and s.row in ("calling", "in_doubt", "held"))
        yield f"{index}: T2 sent", _put(replace(s, row="sent") if mine else s, index, Worker())
    if worker.doing == "answered" or (worker.doing == "written" and index not in s.wire):
        mine = worker.fence == s.fence and s.row == "calling"
        yield f"{index}: T2 no answer", _put(replace(s, row=p.unanswered) if mine else s, index, Worker())
    if worker.doing != "idle" and s.kills:
        orphaned = _sorted(*(-1 if i == index else i for i in s.wire))
        yield f"{index}: killed", _put(replace(s, kills=s.kills - 1, wire=orphaned), index, Worker())


def _provider(s: State) -> Iterator[tuple[str, State]]:
    for index in set(s.wire):
        rest = list(s.wire)
        rest.remove(index)
        gone = replace(s, wire=tuple(rest))
        yield "request lost", gone
        accepted = replace(
            gone, accepted=s.accepted + 1, accepted_late=s.accepted_late or s.opt_out == "effective"
        )
        if index >= 0:
            accepted = _put(accepted, index, replace(s.workers[index], doing="answered"))
        yield "accepted", accepted


def _time(s: State, p: Protocol) -> Iterator[tuple[str, State]]:
    if s.row == "calling":
        yield "deadline", replace(s, row=p.unanswered)
    if s.row == "in_doubt" and (_still(s) or not p.settles):
        yield "read back", replace(s, row="sent" if s.accepted else p.absent)
        if p.lagging:
            yield "read back, not shown", replace(s, row=p.absent)


def _opt_out(s: State, p: Protocol) -> Iterator[tuple[str, State]]:
    if s.opt_out == "none":
        yield "opt-out", replace(s, opt_out="effective" if p.effective == "commit" else "committed")
    drained = s.row != "calling" and (p.effective == "deadline" or s.row != "in_doubt" or _still(s))
    if s.opt_out == "committed" and drained:
        yield "effective", replace(s, opt_out="effective")


def _still(s: State) -> bool:
    """Nothing of any call can reach the provider any more: what the settle time buys, if no worker is frozen for longer."""
    return not s.wire and all(w.doing in ("idle", "answered") for w in s.workers)


def _put(s: State, index: int, worker: Worker) -> State:
    first, second = s.workers
    return replace(s, workers=(worker, second) if index == 0 else (first, worker))


def _sorted(*wire: int) -> tuple[int, ...]:
    return tuple(sorted(wire))
