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


_SHOWN = "id, at, kind, lead_id, lead_seq, person_id, sequence_id, account_id, execution_id, actor, payload"
_CHOSEN = """(%(lead)s::bigint IS NULL OR lead_id = %(lead)s) AND (%(person)s::bigint IS NULL OR person_id = %(person)s)
           AND (%(kind)s::text IS NULL OR kind = %(kind)s)"""


@dataclass(frozen=True, slots=True)
class Place:
    """How far somebody has read: all of the log's generations before, and of this one all up to (tx, id)."""

    generation: int
    tx: int
    id: int


def here(tx: Tx) -> Place:
    """The end of the log as far as it is final: whoever still writes, writes behind it."""
    row = tx.one(
        "SELECT max(id) AS generation, pg_snapshot_xmin(pg_current_snapshot())::text AS tx FROM event_generation"
    )
    return Place(row["generation"], int(row["tx"]), 0)


def tail(
    tx: Tx,
    *,
    after: Place,
    limit: int,
    lead_id: int | None = None,
    person_id: int | None = None,
    kind: str | None = None,
) -> tuple[list[Row], Place]:
    """What has become final since, in the order (tx, id), and the place to go on from.

    Ids are given out in one order and committed in another, so nobody who follows ids alone sees every event. Transactions
    below the oldest open one are over: what they wrote is final.
    """  # id + 0: the range of tx narrows it, a generation is most of the log
    end = here(tx)
    begin = after if after.generation == end.generation else Place(end.generation, 0, 0)
    rows = tx.rows(
        f"""
        SELECT {_SHOWN}, tx::text AS of_tx FROM event
         WHERE id + 0 >= (SELECT first_event_id FROM event_generation WHERE id = %(generation)s)
           AND tx >= %(from)s::xid8 AND tx < %(to)s::xid8 AND (tx > %(from)s::xid8 OR id > %(after)s) AND {_CHOSEN}
         ORDER BY tx, id LIMIT %(limit)s""",
        {
            "generation": end.generation, "from": str(begin.tx), "to": str(end.tx), "after": begin.id, "lead": lead_id, "person": person_id,
            "kind": kind, "limit": limit,
        },
    )  # fmt: skip
    places = [Place(end.generation, int(row.pop("of_tx")), row["id"]) for row in rows]
    return rows, places[-1] if len(rows) == limit else end


def latest(
    tx: Tx,
    *,
    limit: int,
    lead_id: int | None = None,
    person_id: int | None = None,
    kind: str | None = None,
    before: Place | None = None,
) -> list[Row]:
    """The newest events, oldest of them first. `before`: only what was final at that place, for whoever goes on with `tail`."""
    found = tx.rows(
        f"""
        SELECT {_SHOWN} FROM event
         WHERE {_CHOSEN}
           AND (%(before)s::text IS NULL OR tx < %(before)s::xid8
                OR id < (SELECT first_event_id FROM event_generation WHERE id = %(generation)s))
         ORDER BY id DESC LIMIT %(limit)s""",
        {
            "lead": lead_id, "person": person_id, "kind": kind, "limit": limit, "before": str(before.tx) if before else None,
            "generation": before.generation if before else None,
        },
    )  # fmt: skip
    return found[::-1]
