"""What the suite of faults picks from the tables, and the one row it breaks by hand."""

from outreach.models.base import Row, Tx


def active_leads(tx: Tx, limit: int) -> list[int]:
    """Leads that are under way, those due first."""
    rows = tx.rows("SELECT id FROM lead WHERE state = 'active' ORDER BY due_at LIMIT %s", (limit,))
    return [row["id"] for row in rows]


def person_under_way(tx: Tx, lot: int) -> int | None:
    """A person who has an active lead; `lot` chooses."""
    rows = tx.rows("SELECT DISTINCT person_id FROM lead WHERE state = 'active' ORDER BY person_id")
    return rows[lot % len(rows)]["person_id"] if rows else None


def person_being_called(tx: Tx, lot: int) -> int | None:
    """A person to whom a call is under way; `lot` chooses."""
    rows = tx.rows(
        "SELECT DISTINCT l.person_id FROM execution e JOIN lead l ON l.id = e.lead_id WHERE e.state = 'calling' ORDER BY l.person_id"
    )
    return rows[lot % len(rows)]["person_id"] if rows else None


def poison_one(tx: Tx, lot: int) -> int | None:
    """An active lead gets a cursor that its graph does not have; `lot` chooses. Its id."""
    rows = tx.rows(
        "SELECT id FROM lead WHERE state = 'active' AND waiting_on = 'capacity' ORDER BY id LIMIT 200"
    )
    if not rows:
        return None
    lead_id: int = rows[lot % len(rows)]["id"]
    tx.execute(
        "UPDATE lead SET cursor = 'nowhere', waiting_on = 'time', account_id = NULL, next_kind = NULL WHERE id = %s AND state = 'active'",
        (lead_id,),
    )
    return lead_id


def want_room(tx: Tx) -> None:
    """Two megabytes, given back at once. Raises where the disk has none."""
    tx.execute(
        "CREATE TEMP TABLE room ON COMMIT DROP AS SELECT repeat('x', 2000) AS x FROM generate_series(1, 1000)"
    )


def want_new_log(tx: Tx) -> None:
    """Piece after piece of Postgres's log is begun, until those that it keeps in store are used up."""
    for _ in range(24):
        tx.value("SELECT pg_logical_emit_message(true, 'chaos', 'x')")
        tx.value("SELECT pg_switch_wal()")


def checkpoint(tx: Tx) -> None:
    """Everything so far is in its place, and the log before it can go."""
    tx.execute("CHECKPOINT")


def tally(tx: Tx) -> Row:
    """How many calls were begun, how many were in doubt on the way, and how many leads were parked."""
    return tx.one(
        """
        SELECT (SELECT coalesce(sum(greatest(attempts, (started_at IS NOT NULL)::int)), 0) FROM execution) AS attempted,
               (SELECT count(*) FROM event WHERE kind = 'ActionInDoubt') AS doubted,
               (SELECT count(*) FROM event WHERE kind = 'LeadParked') AS parked"""
    )
