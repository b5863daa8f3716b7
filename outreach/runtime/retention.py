"""plan, set_limit: what retention would take now and why the rest stays; how long what is kept. Planning writes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from outreach.compliance.retention import KINDS, cutoff, limits, spelt, wrong
from outreach.engine.events import EventKind
from outreach.errors import UsageError
from outreach.models import deletions, events, instance, retention
from outreach.models.base import Row, Tx
from outreach.runtime.context import Context

_LISTED = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One kind. `rows`: what would go; `more`: that is as far as it was counted; `needed`: old enough, and still in use."""

    kind: str
    what: str
    kept: str
    until: datetime | None
    rows: int
    more: bool
    oldest: datetime | None
    bytes: int
    needed: int
    stays: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would go by age, and what somebody asked us to delete."""

    kinds: Sequence[Planned]
    asked: Sequence[Row]
    #: the newest run that has ended, and the one that is open
    last: Row | None
    running: Row | None
    now: datetime


def plan(ctx: Context) -> Plan:
    """Per kind; nothing is counted further than a hundred thousand rows."""

    def work(tx: Tx) -> Plan:
        now = ctx.clock.at(tx.database_now())
        kept = limits(instance.read(tx).policy)
        return Plan(
            kinds=[_planned(tx, name, kept[name], now) for name in KINDS if name != "events"],
            asked=deletions.open_ones(tx, _LISTED),
            last=retention.last_run(tx),
            running=retention.open_run(tx),
            now=now,
        )

    return ctx.db.run(work)


def _planned(tx: Tx, name: str, amount: int | None, now: datetime) -> Planned:
    kind = KINDS[name]
    until = cutoff(name, amount, now) if amount is not None else None
    nothing: Row = {"rows": 0, "oldest": None, "bytes": 0, "needed": 0}
    row = retention.due(tx, name, until) if until else nothing
    return Planned(
        kind=name, what=kind.what, kept=spelt(name, amount), until=until, rows=row["rows"], more=row["rows"] >= retention.MOST_COUNTED,
        oldest=row["oldest"], bytes=int(row["bytes"]), needed=row["needed"], stays=kind.stays,
    )  # fmt: skip


def set_limit(ctx: Context, name: str, amount: int | None, *, reason: str, by: str) -> dict[str, Any]:
    """How long it is kept from now on. None: for ever. Raises UsageError for what is no limit."""
    problem = wrong(name, amount) if amount is not None else None
    if problem is not None:
        raise UsageError(problem, hint=f"the default is {spelt(name, KINDS[name].default)}")

    def work(tx: Tx) -> dict[str, Any]:
        # Nobody is in the middle of a batch that would go by the old limit.
        retention.lock(tx)
        was = limits(instance.read(tx).policy)[name]
        retention.set_limit(tx, name, amount)
        now = ctx.clock.at(tx.database_now())
        said = {"kind": name, "was": spelt(name, was), "now": spelt(name, amount), "reason": reason}
        events.append(tx, [events.Event(kind=EventKind.RETENTION_SET, at=now, actor=by, payload=said)])
        return said

    return ctx.db.run(work)
