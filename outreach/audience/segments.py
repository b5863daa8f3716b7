"""Segments: whom a condition holds for now, written down once. A segment never changes by itself."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from outreach.audience.aliases import alias
from outreach.audience.segment_language import parse_condition
from outreach.errors import NotFound, UsageError
from outreach.models import segments
from outreach.models.base import Database, Row, Tx

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A frozen list. `kept_out`: reason -> persons for whom the condition held and who are not in it."""

    id: int
    name: str
    where: str
    members: int
    kept_out: Mapping[str, int]
    built_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A person in a segment, as they are now."""

    person_id: int
    alias: str
    name: str | None
    country: str | None
    zone: str | None
    invented: bool
    #: since the segment was frozen; every send looks again
    suppressed: bool
    #: whose history they have become part of
    merged_into: int | None


def create_segment(db: Database, name: str, where: str, now: datetime) -> Segment:
    """Freeze whom `where` holds for. Suppressed persons are counted, not kept. Raises UsageError (bad name, taken, bad where)."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name for a segment",
            hint="letters, digits, and . _ - inside, as in defi-founders",
        )
    condition = parse_condition(where)

    def work(tx: Tx) -> Row | None:
        segment_id = segments.insert_segment(tx, name, {"where": where}, now)
        if segment_id is None:
            return None
        segments.set_counts(tx, segment_id, segments.freeze_members(tx, segment_id, condition))
        return segments.segment_named(tx, name)

    row = db.run(work)
    if row is None:
        raise UsageError(
            f"there is a segment {name} already",
            hint="a segment is a snapshot and is never changed: take another name",
        )
    return _segment(row)


def list_segments(db: Database) -> Sequence[Segment]:
    """Every segment, the newest first."""
    return [_segment(row) for row in db.run(segments.list_segments)]


def show_segment(db: Database, name: str, *, limit: int = 50) -> tuple[Segment, Sequence[Member]]:
    """The segment and its first members. Raises NotFound."""

    def work(tx: Tx) -> tuple[Row, list[Row]] | None:
        row = segments.segment_named(tx, name)
        return (row, segments.members(tx, row["id"], limit)) if row else None

    found = db.run(work)
    if found is None:
        raise NotFound(f"there is no segment {name}", hint="outreach segment list shows those there are")
    return _segment(found[0]), [_member(row) for row in found[1]]


def _segment(row: Row) -> Segment:
    counts: dict[str, Any] = dict(row["counts"])
    return Segment(
        id=row["id"],
        name=row["name"],
        where=row["definition"]["where"],
        members=counts.pop("members", 0),
        kept_out=counts,
        built_at=row["built_at"],
    )


def _member(row: Row) -> Member:
    return Member(
        person_id=row["id"],
        alias=alias(row["id"]),
        name=row["name"],
        country=row["country"],
        zone=row["zone"],
        invented=row["invented"],
        suppressed=row["suppressed"],
        merged_into=row["merged_into"],
    )
