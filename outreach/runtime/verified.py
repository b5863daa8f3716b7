"""What a verification of the log is given and what it comes to."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from outreach.models.base import Tx
from outreach.models.sealing import Seal

T = TypeVar("T")


class Reader(Protocol):
    """Whatever runs work in a transaction: a Database."""

    def run(self, work: Callable[[Tx], T]) -> T:
        """`work(tx)` in a transaction."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """A head that was noted elsewhere; `seal`: its number, where it was noted too."""

    head: bytes
    seal: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A month's exported file: what of it the export's row must know, and its events by id."""

    name: str
    sha256: str
    leaves: Mapping[int, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong. `what`: changed, deleted, added, reordered, cut_off, seal, gap, export."""

    what: str
    detail: str
    seal: int | None = None
    lead: int | None = None
    event: int | None = None


@dataclass(slots=True, kw_only=True)
class Verified:
    """What was looked at, and what was found."""

    findings: list[Finding] = field(default_factory=list)
    seals: int = 0
    events: int = 0
    #: sealed events that have left as files, by month, and of which months a file was checked
    exported: Counter[str] = field(default_factory=Counter)
    unsealed: int = 0
    last: Seal | None = None
    #: how many noted heads are in the chain
    heads: int = 0

    def add(
        self,
        what: str,
        detail: str,
        *,
        seal: int | None = None,
        lead: int | None = None,
        event: int | None = None,
    ) -> None:
        """Note what is wrong."""
        self.findings.append(Finding(what=what, detail=detail, seal=seal, lead=lead, event=event))
