"""join: who meets the condition of a segment comes into the sequence that names it, in bounded batches.

New people are looked at first; then those known before, in a slow round, for what is known of them changes. Once per person
and sequence. The condition counts, not the list that was frozen when the segment was made.
"""

from dataclasses import dataclass

from outreach.audience.segment_language import parse_condition
from outreach.models import enrolling, entries, segments, sequences
from outreach.models.base import Row, Tx
from outreach.models.segments import Condition, Test
from outreach.runtime import hints
from outreach.runtime.context import Context
from outreach.runtime.doors import senders_of
from outreach.runtime.enroll import Senders, channels_of, enroll_rows
from outreach.runtime.entering import Door, door_of
from outreach.runtime.hints import Hints

#: Persons that one batch looks at, and lets in, at most.
_WALK, _BATCH = 5000, 500


def join(ctx: Context, entry_id: int) -> Hints:
    """One batch; hints for those who came in, and for the next batch where there is more to do at once."""

    def work(tx: Tx) -> Hints:
        row = entries.take_segment_door(tx, entry_id)
        if row is None:
            return []  # shut, or somebody is at it
        door = door_of(tx, row)
        condition = _condition(tx, door.entry.name)
        senders = _senders(tx, door)
        stretch = _next_stretch(tx, row)
        if condition is None or senders is None or stretch is None:
            return []
        return _let_in(ctx, tx, door, condition, senders, stretch)

    return ctx.db.run(work)


def all_doors(ctx: Context) -> Hints:
    """After an import, or a new version: look at once, instead of at the next sweep."""
    return [hints.join(i) for i in ctx.db.run(entries.segment_doors)]


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Persons by id, after `after` up to `until`. `new`: nobody has looked at them yet."""

    after: int
    until: int
    new: bool


def _next_stretch(tx: Tx, row: Row) -> _Stretch | None:
    newest = entries.stretch(tx, row["newest"], _WALK)
    if newest is not None:
        return _Stretch(row["newest"], newest, new=True)
    known = entries.stretch(tx, row["walked_to"], _WALK)
    return None if known is None else _Stretch(row["walked_to"], known, new=False)


def _condition(tx: Tx, name: str) -> Condition | None:
    """The segment's condition. One that was made without words is the list itself; None: it is gone."""
    found = segments.segment_named(tx, name)
    if found is None:
        return None
    where = found["definition"].get("where")
    return parse_condition(where) if where else Test("segment", "=", (name,))


def _senders(tx: Tx, door: Door) -> Senders | None:
    """None: nobody would speak to them first, so they come in once somebody can."""
    found = senders_of(tx, channels_of(door.graph), door.entry.accounts, door.entry.pools)
    first = door.graph.node(door.graph.start).channel
    return None if not found or (first is not None and first not in found) else Senders(by_channel=found)


def _let_in(
    ctx: Context, tx: Tx, door: Door, condition: Condition, senders: Senders, stretch: _Stretch
) -> Hints:
    row = door.row
    found = entries.newcomers(
        tx, row["sequence_id"], condition, after=stretch.after, until=stretch.until, limit=_BATCH
    )
    full = len(found) == _BATCH
    reached = found[-1] if full else stretch.until
    if stretch.new:
        entries.set_walked(tx, row["id"], newest=reached, walked_to=row["walked_to"])
    else:
        more = entries.stretch(tx, reached, 1) is not None
        entries.set_walked(tx, row["id"], newest=row["newest"], walked_to=reached if more else 0)
    again = [hints.join(row["id"])] if stretch.new or full else []
    if not found:
        return again
    version = sequences.Version(
        id=row["version_id"],
        sequence_id=row["sequence_id"],
        version=row["version"],
        content_hash=row["content_hash"],
    )
    candidates = enrolling.chosen(tx, found, row["sequence_id"])
    sequence = {"id": row["sequence_id"], "name": row["sequence"]}
    enrolled = enroll_rows(
        ctx,
        tx,
        sequence,
        version,
        door.graph,
        senders,
        candidates,
        again=False,
        limit=None,
        by="engine",
        entry="segment",
    )
    return [*enrolled.hints, *again]
