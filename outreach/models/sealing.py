"""Statements of the log's seals: which events are final, what each seal is made of, and which months have left as files.

Events are sealed in the order (tx, id): ids are given out in one order and committed in another, but what a transaction below the
oldest open one wrote can neither change nor gain a neighbour. So a seal covers a range of tx, and no event is missed or sealed twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import psycopg2

from outreach.errors import ConflictError
from outreach.models.base import Row, Tx

#: Advisory lock: one sealer at a time.
SEAL_LOCK = 1011
#: What an event is under its seal, 60 bytes: where it stands (id, at, tx, lead_seq), and the digest of what it says. Every column is
#: in it, and a NULL is not a zero. Binary and JSON forms of Postgres that are the same on every release.
_SAYS = "kind, lead_id, lead_seq IS NULL, person_id, sequence_id, account_id, execution_id, actor, payload"
LEAF = (
    "int8send(id) || timestamptz_send(at) || xid8send(tx) || int4send(coalesce(lead_seq, 0))"
    f" || sha256(convert_to(json_build_array({_SAYS})::text, 'UTF8'))"
)
#: Every column of an event: each of them is in its leaf, and in each line of a month that leaves as a file.
COLUMNS = frozenset(
    [
        "id",
        "at",
        "kind",
        "lead_id",
        "lead_seq",
        "person_id",
        "sequence_id",
        "account_id",
        "execution_id",
        "actor",
        "payload",
        "tx",
    ]
)
#: Not by an index: a generation is most of the log, and the range of tx is what narrows it.
_OF_GENERATION = "id + 0 >= %s AND id + 0 < %s"
_ENDLESS = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """Events from `first` on, below `end`, were written by one cluster. Closed: a newer one has begun, and nobody writes here any more."""

    id: int
    first: int
    end: int
    closed: bool
    at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """One seal without its leaves. from_tx <= tx < to_tx."""

    id: int
    generation: int
    from_tx: int
    to_tx: int
    events: int
    root: bytes
    previous: bytes
    head: bytes
    at: datetime


# --- generations ----------------------------------------------------------------------------------------------


def begin_generation(tx: Tx, now: datetime) -> int:
    """From here on events are of another cluster: call it when a restored or cloned database is adopted. The generation's number.

    It must be the transaction's first write (raises ConflictError): only then is whoever wrote before known to be waited for
    before the older generation counts as over.
    """
    # First the last id, then our own tx: whoever had an id by then had a lower tx.
    last = tx.value(
        "SELECT greatest(CASE WHEN q.is_called THEN q.last_value ELSE q.last_value - 1 END, (SELECT max(id) FROM event)) FROM event_id q"
        " WHERE pg_current_xact_id_if_assigned() IS NULL"
    )
    if last is None:
        raise ConflictError("a generation of events was begun in a transaction that has written already")
    newest = tx.one("SELECT id, first_event_id FROM event_generation ORDER BY id DESC LIMIT 1")
    if newest["first_event_id"] == last + 1:
        return int(newest["id"])
    tx.execute(
        "SELECT setval('event_id', %s) FROM event_id q WHERE CASE WHEN q.is_called THEN q.last_value ELSE q.last_value - 1 END < %s",
        (last, last),
    )
    row = tx.one(
        "INSERT INTO event_generation (id, first_event_id, horizon, at) VALUES (%s, %s, pg_current_xact_id(), %s) RETURNING id",
        (newest["id"] + 1, last + 1, now),
    )
    return int(row["id"])


def generations(tx: Tx) -> list[Generation]:
    """All of them, in their order."""
    rows = tx.rows(
        "SELECT id, first_event_id, horizon <= pg_snapshot_xmin(pg_current_snapshot()) AS over, at FROM event_generation ORDER BY id"
    )
    newer = [*rows[1:], None]
    return [
        Generation(
            id=row["id"], first=row["first_event_id"], end=after["first_event_id"] if after else _ENDLESS,
            closed=bool(after and after["over"]), at=row["at"],
        )
        for row, after in zip(rows, newer, strict=True)
    ]  # fmt: skip


# --- months that leave ------------------------------------------------------------------------------------------


def unsealed_between(tx: Tx, begin: datetime, end: datetime) -> int:
    """How many events of these instants (begin <= at < end) are not under a seal yet: 0 lets a month leave as a file."""
    last = newest_seal(tx)
    ranges = [(g.first, g.end, _unsealed_from(g.id, last)) for g in generations(tx)]
    return sum(
        int(
            tx.value(
                f"SELECT count(*) FROM event WHERE at >= %s AND at < %s AND {_OF_GENERATION} AND tx >= %s::xid8",
                (begin, end, first, beyond, str(from_tx)),
            )
        )
        for first, beyond, from_tx in ranges
        if from_tx is not None
    )


def _unsealed_from(generation: int, last: Seal | None) -> int | None:
    """The first tx of the generation that no seal covers; None: its seals are complete."""
    if last is None or generation > last.generation:
        return 0
    return last.to_tx if generation == last.generation else None


def seals_of(tx: Tx, begin: datetime, end: datetime) -> tuple[int, int] | None:
    """The first and the last seal over events of these instants; None: there are none."""
    found = []
    for generation in generations(tx):
        for order in ("ASC", "DESC"):
            at = tx.value(
                f"SELECT e.tx::text FROM event e WHERE at >= %s AND at < %s AND {_OF_GENERATION} ORDER BY e.tx {order} LIMIT 1",
                (begin, end, generation.first, generation.end),
            )
            if at is not None:
                found += tx.rows(
                    "SELECT id FROM seal WHERE generation = %s AND from_tx <= %s::xid8 AND to_tx > %s::xid8",
                    (generation.id, at, at),
                )
    ids = [row["id"] for row in found]
    return (min(ids), max(ids)) if ids else None


def note_export(
    tx: Tx, *, month: date, events: int, sha256: str, seals: tuple[int, int] | None, now: datetime
) -> None:
    """A month has left as a file of that digest. The caller appends the event EventsExported, which says the same under a seal."""
    tx.execute(
        "INSERT INTO event_export (month, events, sha256, first_seal, last_seal, at) VALUES (%s, %s, %s, %s, %s, %s)",
        (month, events, sha256, *(seals or (None, None)), now),
    )


def exports(tx: Tx) -> list[Row]:
    """The months that have left: month, events, sha256, first_seal, last_seal, at; `told`: under what digest the log tells of it."""
    return tx.rows(
        """
        SELECT x.month, x.events, x.sha256, x.first_seal, x.last_seal, x.at,
               ARRAY(SELECT v.payload ->> 'sha256' FROM event v
                      WHERE v.kind = 'EventsExported' AND v.payload ->> 'month' = to_char(x.month, 'YYYY-MM')) AS told
          FROM event_export x ORDER BY x.month"""
    )


# --- seals --------------------------------------------------------------------------------------------------------

_SEAL = "id, generation, from_tx::text AS from_tx, to_tx::text AS to_tx, events, root, previous, head, at"


def newest_seal(tx: Tx) -> Seal | None:
    """The last one, or None before the first."""
    row = tx.row(f"SELECT {_SEAL} FROM seal ORDER BY id DESC LIMIT 1")
    return None if row is None else _seal(row)


def seals(tx: Tx, *, after: int, limit: int) -> list[Seal]:
    """The next ones by number."""
    return [
        _seal(row)
        for row in tx.rows(f"SELECT {_SEAL} FROM seal WHERE id > %s ORDER BY id LIMIT %s", (after, limit))
    ]


def latest_seals(tx: Tx, limit: int) -> list[Seal]:
    """The newest ones, oldest of them first."""
    return [_seal(row) for row in tx.rows(f"SELECT {_SEAL} FROM seal ORDER BY id DESC LIMIT %s", (limit,))][
        ::-1
    ]


def sealed_to(tx: Tx, generation: int) -> int:
    """The tx up to which a generation is sealed; 0: not at all."""
    return int(
        tx.value("SELECT to_tx::text FROM seal WHERE generation = %s ORDER BY id DESC LIMIT 1", (generation,))
        or 0
    )


def _seal(row: Row) -> Seal:
    made = {name: bytes(row[name]) for name in ("root", "previous", "head")}
    return Seal(**{**row, **made, "from_tx": int(row["from_tx"]), "to_tx": int(row["to_tx"])})


def oldest_unsealed_at(tx: Tx) -> datetime | None:
    """When the first event happened that no seal covers; None: all are sealed."""
    last = newest_seal(tx)
    for generation in generations(tx):
        from_tx = _unsealed_from(generation.id, last)
        if from_tx is not None:
            at: datetime | None = tx.value(
                f"SELECT e.at FROM event e WHERE {_OF_GENERATION} AND e.tx >= %s::xid8 ORDER BY e.tx LIMIT 1",
                (generation.first, generation.end, str(from_tx)),
            )
            if at is not None:
                return at
    return None


def try_lock(tx: Tx) -> bool:
    """Is this transaction the one that seals?"""
    return bool(tx.value("SELECT pg_try_advisory_xact_lock(%s)", (SEAL_LOCK,)))


def lock(tx: Tx) -> None:
    """Become it, after whoever seals now."""
    tx.value("SELECT pg_advisory_xact_lock(%s)", (SEAL_LOCK,))


def oldest_open(tx: Tx) -> int:
    """Below this tx everything is over: committed, or never seen."""
    return int(tx.value("SELECT pg_snapshot_xmin(pg_current_snapshot())::text"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """What is still to be sealed of a generation: `events` (at most one more than asked for), the tx of the first and last of them.

    `beyond`: the tx of the event that is one too many.
    """

    events: int
    first: int
    last: int
    beyond: int | None


# Qualified: a bare tx in ORDER BY would be the text of the select list, and 100 would come before 99.
_AHEAD = """
WITH ahead AS MATERIALIZED (
    SELECT tx FROM event WHERE id + 0 >= %(first)s AND id + 0 < %(end)s AND tx >= %(from)s::xid8 AND (%(to)s::text IS NULL OR tx < %(to)s::xid8)
     ORDER BY tx LIMIT %(limit)s + 1)
SELECT (SELECT count(*) FROM ahead) AS events, (SELECT q.tx::text FROM ahead q ORDER BY q.tx LIMIT 1) AS first,
       (SELECT q.tx::text FROM ahead q ORDER BY q.tx DESC LIMIT 1) AS last, (SELECT q.tx::text FROM ahead q ORDER BY q.tx OFFSET %(limit)s LIMIT 1) AS beyond"""


def ahead(tx: Tx, generation: Generation, *, from_tx: int, to_tx: int | None, limit: int) -> Ahead | None:
    """None: nothing."""
    row = tx.one(
        _AHEAD,
        {
            "first": generation.first, "end": generation.end, "from": str(from_tx), "to": None if to_tx is None else str(to_tx),
            "limit": limit,
        },
    )  # fmt: skip
    if not row["events"]:
        return None
    return Ahead(
        events=row["events"], first=int(row["first"]), last=int(row["last"]),
        beyond=None if row["beyond"] is None else int(row["beyond"]),
    )  # fmt: skip


def leaves(tx: Tx, generation: Generation, *, from_tx: int, to_tx: int) -> bytes:
    """The leaves of the events in this range as they stand now, in their order."""
    found = tx.value(
        f"SELECT string_agg(q.leaf, ''::bytea ORDER BY q.tx, q.id) FROM (SELECT id, tx, {LEAF} AS leaf FROM event"
        f" WHERE {_OF_GENERATION} AND tx >= %s::xid8 AND tx < %s::xid8 OFFSET 0) q",
        (generation.first, generation.end, str(from_tx), str(to_tx)),
    )
    return b"" if found is None else bytes(found)


def kept_leaves(tx: Tx, seal_id: int) -> bytes:
    """The leaves as they were when it was sealed."""
    return bytes(tx.value("SELECT leaves FROM seal WHERE id = %s", (seal_id,)))


def leaves_of_lines(tx: Tx, lines: Sequence[str]) -> bytes:
    """The leaves of events that stand in a file, a JSON object with every column each; in the lines' order. Raises ValueError."""
    try:
        found = tx.value(
            f"SELECT string_agg({LEAF}, ''::bytea ORDER BY n) FROM unnest(%s::text[]) WITH ORDINALITY u (line, n)"
            " CROSS JOIN LATERAL jsonb_populate_record(NULL::event, u.line::jsonb) e",
            (list(lines),),
        )
    except psycopg2.DataError as error:
        raise ValueError(str(error)) from error
    return b"" if found is None else bytes(found)


def insert_seal(tx: Tx, seal: Seal, leaves: bytes) -> None:
    """Add it to the chain. Its number must be the next."""
    tx.execute(
        "INSERT INTO seal (id, generation, from_tx, to_tx, events, root, previous, head, leaves, at)"
        " VALUES (%s, %s, %s::xid8, %s::xid8, %s, %s, %s, %s, %s, %s)",
        (seal.id, seal.generation, str(seal.from_tx), str(seal.to_tx), seal.events, seal.root, seal.previous, seal.head, leaves, seal.at),
    )  # fmt: skip
