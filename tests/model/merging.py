"""A lead of one person is sent to while that person turns out to be another, who has opted out or is just doing so."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from tests.model.search import Searched, search


@dataclass(frozen=True, slots=True, kw_only=True)
class Merging:
    #: T1 reads the lead's person again once it holds the person's lock
    reads_again: bool = True
    #: a merge takes back `effective`: the merged person is drained anew
    drains_again: bool = True


@dataclass(frozen=True, slots=True)
class State:
    merged: bool = False
    #: of the other person, into whom the lead's person is merged
    opt_out: Literal["none", "committed", "effective"] = "none"
    #: planned, read (T1 knows which person to lock), calling (its request may be accepted), done, blocked
    row: str = "planned"
    #: whom T1 took for the lead's person
    read_as_merged: bool = False
    late: bool = False


def explore(how: Merging) -> Searched:
    """I4: nothing is accepted once the opt-out of whoever the lead belongs to is effective."""
    return search(State(), lambda s: _steps(s, how), {"I4": lambda s: not s.late})


def _steps(s: State, how: Merging) -> Iterator[tuple[str, State]]:
    if s.row == "planned":
        yield "T1 reads the person", replace(s, row="read", read_as_merged=s.merged)
    if s.row == "read":
        if how.reads_again and s.read_as_merged != s.merged:
            yield "T1 starts again", replace(s, row="planned")
        else:
            suppressed = s.read_as_merged and s.opt_out != "none"
            yield "T1 commits", replace(s, row="blocked" if suppressed else "calling")
    if s.row == "calling":
        yield "accepted", replace(s, row="done", late=s.merged and s.opt_out == "effective")
        yield "lost", replace(s, row="done")
    if s.opt_out == "none":
        yield "opt-out", replace(s, opt_out="committed")
    if s.opt_out == "committed" and not (s.merged and s.row == "calling"):
        yield "effective", replace(s, opt_out="effective")
    if not s.merged:
        again = s.opt_out == "effective" and how.drains_again
        yield "merge", replace(s, merged=True, opt_out="committed" if again else s.opt_out)
