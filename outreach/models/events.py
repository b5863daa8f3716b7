"""The append-only log's writer and its readers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from outreach.engine.events import EventKind
from outreach.models.base import Hot, Row, Tx, columns_of, table_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One fact. `lead_seq` comes from the lead's lock; payloads carry no handle and no body."""

    kind: EventKind
    at: datetime
    actor: str = "engine"
    lead_id: int | None = None
    lead_seq: int | None = None
    person_id: int | None = None
    sequence_id: int | None = None
    account_id: int | None = None
    execution_id: int | None = None
    payload: dict[str, Any] = field(default_factory=dict)


_NOTED = {
    "at": "timestamptz", "kind": "text", "lead_id": "bigint", "lead_seq": "int", "person_id": "bigint", "sequence_id": "bigint",
    "account_id": "bigint", "execution_id": "bigint", "actor": "text", "payload": "jsonb",
}  # fmt: skip
_INSERT = Hot(f"INSERT INTO event ({', '.join(_NOTED)}) SELECT q.* FROM {table_of(_NOTED)}")


def append(tx: Tx, events: Sequence[Event]) -> None:
    """Write the events in their order."""
    if events:
        rows = [{name: getattr(event, name) for name in _NOTED} for event in events]
        tx.write(_INSERT, columns_of(_NOTED, rows))


def tail(
    tx: Tx,
    *,
    after_id: int,
    limit: int,
    lead_id: int | None = None,
    person_id: int | None = None,
    kind: str | None = None,
) -> list[Row]:
    """Events with a higher id, oldest first. Reads below the oldest open transaction, so that none is ever skipped."""
    return tx.rows(
        """
        SELECT id, at, kind, lead_id, lead_seq, person_id, sequence_id, account_id, execution_id, actor, payload FROM event
         WHERE id > %(after)s AND tx < pg_snapshot_xmin(pg_current_snapshot())
           AND (%(lead)s::bigint IS NULL OR lead_id = %(lead)s) AND (%(person)s::bigint IS NULL OR person_id = %(person)s)
           AND (%(kind)s::text IS NULL OR kind = %(kind)s)
         ORDER BY id LIMIT %(limit)s""",
        {"after": after_id, "lead": lead_id, "person": person_id, "kind": kind, "limit": limit},
    )


def latest(
    tx: Tx, *, limit: int, lead_id: int | None = None, person_id: int | None = None, kind: str | None = None
) -> list[Row]:
    """The newest events, oldest of them first."""
    found = tx.rows(
        """
        SELECT id, at, kind, lead_id, lead_seq, person_id, sequence_id, account_id, execution_id, actor, payload FROM event
         WHERE (%(lead)s::bigint IS NULL OR lead_id = %(lead)s) AND (%(person)s::bigint IS NULL OR person_id = %(person)s)
           AND (%(kind)s::text IS NULL OR kind = %(kind)s)
         ORDER BY id DESC LIMIT %(limit)s""",
        {"lead": lead_id, "person": person_id, "kind": kind, "limit": limit},
    )
    return found[::-1]
