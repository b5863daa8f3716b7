"""The append-only log's writer and its readers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from outreach.engine.events import EventKind
from outreach.models.base import Hot, Row, Tx, to_json


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


_INSERT = Hot("""
INSERT INTO event (at, kind, lead_id, lead_seq, person_id, sequence_id, account_id, execution_id, actor, payload)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""")


def append(tx: Tx, events: Sequence[Event]) -> None:
    """Write the events in their order."""
    for e in events:
        payload = to_json(e.payload)
        tx.write(
            _INSERT,
            (e.at, e.kind.value, e.lead_id, e.lead_seq, e.person_id, e.sequence_id, e.account_id, e.execution_id, e.actor, payload),
        )  # fmt: skip


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
