"""What somebody with every right on the database does to the log: for the suite of faults and the tests, which take it back."""

from collections.abc import Mapping, Sequence

from outreach.models.base import Row, Tx
from outreach.models.sealing import Seal

#: Another value for a column, by a word for what was done to it.
EDITS: Mapping[str, str] = {
    "id": "id = (SELECT max(x.id) + 1000 FROM event x)",
    "at, by a microsecond": "at = at + interval '1 microsecond'",
    "kind": "kind = kind || 'x'",
    "lead": "lead_id = coalesce(lead_id + 1, 0)",
    "lead, to none": "lead_id = nullif(coalesce(lead_id, 0), lead_id)",
    "own number": "lead_seq = coalesce(lead_seq + 1, 0)",
    "own number, to none": "lead_seq = nullif(coalesce(lead_seq, 0), lead_seq)",
    "person": "person_id = coalesce(person_id + 1, 0)",
    "person, to none": "person_id = nullif(coalesce(person_id, 0), person_id)",
    "sequence": "sequence_id = coalesce(sequence_id + 1, 0)",
    "account": "account_id = coalesce(account_id + 1, 0)",
    "account, to none": "account_id = nullif(coalesce(account_id, 0), account_id)",
    "execution": "execution_id = coalesce(execution_id + 1, 0)",
    "actor": "actor = actor || ' '",
    "payload": """payload = payload || '{"rule": "allowed"}' || jsonb_build_object('n', id)""",
    "payload, to nothing": """payload = CASE WHEN payload = '{}' THEN '[]' ELSE '{}' END::jsonb""",
    "tx": "tx = (tx::text::bigint - 1)::text::xid8",
    "tx, to one that is not come to": "tx = '9223372036854775807'",
}


def disarm(tx: Tx) -> None:
    """Until the transaction ends no trigger and no foreign key holds."""
    tx.execute("SET LOCAL session_replication_role = replica")


def sealed(tx: Tx, lot: float) -> Row:
    """One of the sealed events; `lot` in [0, 1) chooses."""
    return tx.one(
        """
        WITH s AS (SELECT id, generation, from_tx, to_tx, events FROM seal ORDER BY id OFFSET floor(%(lot)s * (SELECT count(*) FROM seal)) LIMIT 1)
        SELECT v.id, v.at, v.tx::text AS tx, v.lead_id, s.id AS seal_id FROM s CROSS JOIN LATERAL (
            SELECT * FROM event e WHERE e.tx >= s.from_tx AND e.tx < s.to_tx ORDER BY e.tx, e.id
            OFFSET floor(s.events * (%(lot)s * 7919 - floor(%(lot)s * 7919))) LIMIT 1) v""",
        {"lot": lot},
    )


def edit(tx: Tx, event_id: int, change: str) -> None:
    """One of EDITS."""
    tx.execute(f"UPDATE event SET {EDITS[change]} WHERE id = %s", (event_id,))


def delete(tx: Tx, event_id: int) -> None:
    """It was never there."""
    tx.execute("DELETE FROM event WHERE id = %s", (event_id,))


def delete_and_renumber(tx: Tx, event_id: int) -> None:
    """It was never there, and its lead's later events and row are made to fit."""
    tx.execute(
        """
        WITH gone AS (DELETE FROM event WHERE id = %s RETURNING lead_id, lead_seq),
             later AS (UPDATE event e SET lead_seq = e.lead_seq - 1 FROM gone g WHERE e.lead_id = g.lead_id AND e.lead_seq > g.lead_seq)
        UPDATE lead l SET event_seq = l.event_seq - 1 FROM gone g WHERE l.id = g.lead_id""",
        (event_id,),
    )


_COLUMNS = "at, kind, lead_id, lead_seq, person_id, sequence_id, account_id, execution_id, actor, payload, tx"


def forge(tx: Tx, event_id: int) -> None:
    """One more of its kind, of the same transaction."""
    tx.execute(
        f"INSERT INTO event (id, {_COLUMNS}) SELECT (SELECT max(id) + 1 FROM event), {_COLUMNS} FROM event WHERE id = %s",
        (event_id,),
    )


def swap(tx: Tx, one: int, other: int, columns: str) -> bool:
    """Two events exchange these columns. False: they are alike in them, and nothing has changed."""
    names = [name.strip() for name in columns.split(",")]
    taken = ", ".join(f"{name} = o.{name}" for name in names)
    differ = " OR ".join(f"e.{name} IS DISTINCT FROM o.{name}" for name in names)
    changed = tx.execute(
        f"UPDATE event e SET {taken} FROM event o WHERE e.id IN (%s, %s) AND o.id IN (%s, %s) AND e.id <> o.id AND ({differ})",
        (one, other, one, other),
    )
    return changed > 0


def exchange_ids(tx: Tx, one: int, other: int) -> None:
    """Two events stand in each other's place."""
    tx.execute("UPDATE event SET id = -id WHERE id IN (%s, %s)", (one, other))
    tx.execute(
        "UPDATE event SET id = CASE id WHEN -%s THEN %s ELSE %s END WHERE id IN (-%s, -%s)",
        (one, other, one, one, other),
    )


def cut_off(tx: Tx, after: Seal) -> None:
    """Everything after this seal was never there: seals, events, and what the leads know of them."""
    tx.execute("DELETE FROM seal WHERE id > %s", (after.id,))
    tx.execute("DELETE FROM event WHERE tx >= %s::xid8", (str(after.to_tx),))
    tx.execute(
        "UPDATE lead l SET event_seq = (SELECT coalesce(max(e.lead_seq), 0) FROM event e WHERE e.lead_id = l.id)"
    )


def drop_seal(tx: Tx, seal_id: int) -> None:
    """It was never there."""
    tx.execute("DELETE FROM seal WHERE id = %s", (seal_id,))


def put_seals(tx: Tx, seals: Sequence[tuple[Seal, bytes]]) -> None:
    """These instead of those of the same numbers."""
    for seal, leaves in seals:
        tx.execute(
            "UPDATE seal SET events = %s, root = %s, previous = %s, head = %s, leaves = %s WHERE id = %s",
            (seal.events, seal.root, seal.previous, seal.head, leaves, seal.id),
        )
