"""retain: what was kept for long enough goes, and what somebody asked us to delete: looked at by the sweep, batch by batch."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from outreach.compliance.retention import cutoffs, is_time
from outreach.engine.events import EventKind
from outreach.models import deletions, events, instance, retention
from outreach.models.base import Row, Tx
from outreach.runtime import hints
from outreach.runtime.context import Context
from outreach.runtime.deleting import carry_out
from outreach.runtime.hints import Hints

#: Rows of one transaction.
BATCH = 1000
#: Real seconds: of one pass, so that a worker is never held for long; between two tries of somebody who waits for another's batch.
_PASS = 5.0
_RETRY = 0.05
_MOST_ASKED = 50

#: What a run does, in order, and the kind that each step belongs to.
_KIND_OF = {"left": "messages", "messages": "messages", "bodies": "bodies", "one_offs": "bodies", "notices": "notices", "profiles": "profiles"}  # fmt: skip
_LONG_AGO = datetime(1, 1, 2, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one batch did: `rows` of the run's rows are gone. `state`: there may be more, the run is over, or somebody else is at it."""

    state: Literal["more", "over", "busy", "none"]
    run: Row | None = None


def retain(ctx: Context) -> Hints:
    """One look of the sweep. Only a part of a long run is done in it; the hint goes on with the rest."""
    found: Hints = []
    for deletion_id in ctx.db.run(lambda tx: _look(ctx, tx)):
        found += carry_out(ctx, deletion_id).hints
    until = time.monotonic() + _PASS
    while (state := batch(ctx).state) == "more" and time.monotonic() < until:
        pass
    return [*found, hints.retain()] if state == "more" else found


def _look(ctx: Context, tx: Tx) -> list[int]:
    """Deletions whose time has come; and the daily run begins, if it is time."""
    now = ctx.clock.at(tx.database_now())
    retention.looked(tx, now)
    deletions.close_connected_again(tx, now)
    if retention.try_lock(tx) and retention.open_run(tx) is None and is_time(now, retention.last_run_at(tx)):
        _begin(tx, "engine", now)
    return deletions.to_do(tx, now, _MOST_ASKED)


def run_now(ctx: Context, *, by: str) -> Row:
    """A whole run, or the rest of one that was broken off: began_at, by, counts."""
    ctx.db.run(lambda tx: _begin_unless_open(ctx, tx, by))
    last: Row | None = None
    while True:
        done = batch(ctx)
        last = done.run or last
        if done.state in ("over", "none"):
            break
        if done.state == "busy":
            threading.Event().wait(_RETRY)
    ended = ctx.db.run(retention.last_run) if last is None else last
    assert ended is not None, "a run had begun, and none is open: it has ended"
    return ended


def _begin_unless_open(ctx: Context, tx: Tx, by: str) -> None:
    retention.lock(tx)
    if retention.open_run(tx) is None:
        _begin(tx, by, ctx.clock.at(tx.database_now()))


def _begin(tx: Tx, by: str, now: datetime) -> None:
    due = cutoffs(instance.read(tx).policy, now)
    steps = [step for step, kind in _KIND_OF.items() if kind in due]
    retention.begin_run(tx, by=by, cutoffs={kind: at for kind, at in due.items() if kind != "events"}, steps=steps, now=now)  # fmt: skip


def batch(ctx: Context) -> Batch:
    """One transaction of the open run. Any process may do the next one: how far it has come stands in the run's row."""

    def work(tx: Tx) -> Batch:
        if not retention.try_lock(tx):
            return Batch(state="busy")
        run = retention.open_run(tx)
        if run is None:
            return Batch(state="none")
        now = ctx.clock.at(tx.database_now())
        return _batch(tx, run, now) if run["steps"] else _end(tx, run, now)

    return ctx.db.run(work)


def _batch(tx: Tx, run: Row, now: datetime) -> Batch:
    step, *later = run["steps"]
    kind = _KIND_OF.get(step)
    cutoff = _cutoff(tx, run, kind, now) if kind else None
    # A step of a newer release, or a kind that is kept for ever since the run began: nothing of it goes.
    gone, position = _STEPS[step](tx, cutoff, run["position"]) if kind and cutoff else (0, None)
    counts = dict(run["counts"])
    if kind and gone:
        counts[kind] = counts.get(kind, 0) + gone
    steps = later if position is None else [step, *later]
    retention.note(tx, run, steps=steps, position=position or {}, counts=counts)
    run = run | {"counts": counts, "steps": steps}
    return Batch(state="more", run=run) if steps else _end(tx, run, now)


def _cutoff(tx: Tx, run: Row, kind: str, now: datetime) -> datetime | None:
    """What the run began with; earlier where the limit has been raised since."""
    today = cutoffs(instance.read(tx).policy, now).get(kind)
    return min(today, datetime.fromisoformat(run["cutoffs"][kind])) if today else None


def _end(tx: Tx, run: Row, now: datetime) -> Batch:
    retention.end_run(tx, run["id"], now)
    event = events.Event(
        kind=EventKind.RETENTION_RAN, at=now, actor=run["by"], payload={"run": run["id"], **run["counts"]}
    )
    events.append(tx, [event])
    return Batch(state="over", run=run | {"ended_at": now})


# --- steps: how many rows went, and where to go on; None: the step is over ---------------------------------------------------

_Done = tuple[int, Mapping[str, Any] | None]


def _left(tx: Tx, cutoff: datetime, at: Mapping[str, Any]) -> _Done:
    row = retention.revisit_messages(tx, cutoff, at.get("after", 0), BATCH)
    return row["n"], {"after": row["last"]} if row["seen"] == BATCH else None


def _messages(tx: Tx, cutoff: datetime, at: Mapping[str, Any]) -> _Done:  # noqa: ARG001  one shape for all steps
    row = retention.walk_messages(tx, cutoff, BATCH)
    return row["n"], {"seen": row["seen"]} if row["seen"] == BATCH else None


def _bodies(tx: Tx, cutoff: datetime, at: Mapping[str, Any]) -> _Done:
    since = datetime.fromisoformat(at["since"]) if at else _LONG_AGO
    row = retention.drop_bodies(tx, cutoff, since, at.get("after", 0), BATCH)
    more = row["seen"] == BATCH
    return row["n"], {"since": row["since"].isoformat(), "after": row["after"]} if more else None


def _one_offs(tx: Tx, cutoff: datetime, at: Mapping[str, Any]) -> _Done:  # noqa: ARG001  one shape for all steps
    gone = retention.drop_one_offs(tx, cutoff, BATCH)
    return 0, {"gone": gone} if gone == BATCH else None


def _notices(tx: Tx, cutoff: datetime, at: Mapping[str, Any]) -> _Done:  # noqa: ARG001  one shape for all steps
    gone = retention.drop_notices(tx, cutoff, BATCH)
    return gone, {"gone": gone} if gone == BATCH else None


def _profiles(tx: Tx, cutoff: datetime, at: Mapping[str, Any]) -> _Done:
    row = retention.drop_profiles(tx, cutoff, at.get("after", 0))
    return row["n"], {"after": row["last"]} if row["seen"] else None


_STEPS: Mapping[str, Callable[[Tx, datetime, Mapping[str, Any]], _Done]] = {
    "left": _left, "messages": _messages, "bodies": _bodies, "one_offs": _one_offs, "notices": _notices, "profiles": _profiles,
}  # fmt: skip
