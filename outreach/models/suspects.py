"""Leads that the sweep has hinted again and again without anybody moving them: seen, noted before they are tried, let off."""

from datetime import datetime

from outreach.models.base import Row, Tx


def read(tx: Tx, lead_id: int) -> Row | None:
    """hints, attempts, next_kind, whether it is set aside, and whether a call or a doubt is open; None: it has ended."""
    return tx.row(
        "SELECT hints, attempts, next_kind, paused_at IS NOT NULL AS paused, EXISTS (SELECT 1 FROM execution e WHERE e.lead_id = l.id"
        " AND e.state IN ('calling', 'in_doubt', 'held')) AS open"
        " FROM lead l WHERE id = %s AND state = 'active'",
        (lead_id,),
    )


def put_off(tx: Tx, lead_id: int, until: datetime) -> None:
    """It is set aside: looked at again then, and its row is not even read."""
    tx.execute("UPDATE lead SET due_at = %s WHERE id = %s AND paused_at IS NOT NULL", (until, lead_id))


def note(tx: Tx, lead_id: int, *, attempts: int, until: datetime) -> bool:
    """One more attempt is about to begin: counted before it, for whoever dies of it writes nothing. False: another was first."""
    return bool(
        tx.execute(
            "UPDATE lead SET attempts = attempts + 1, hinted_until = %s WHERE id = %s AND attempts = %s AND state = 'active' AND paused_at IS NULL",
            (until, lead_id, attempts),
        )
    )


def let_off(tx: Tx, lead_id: int, *, noted: int, to: int) -> None:
    """It was looked at and nobody died: no suspect any more, with so many failures left to its name."""
    tx.execute(
        "UPDATE lead SET attempts = %s, hints = 0 WHERE id = %s AND attempts = %s", (to, lead_id, noted)
    )


def suspect(tx: Tx, lead_id: int, hints: int) -> None:
    """As if the sweep had hinted it in vain so often. The caller holds its row."""
    tx.execute("UPDATE lead SET hints = %s WHERE id = %s", (hints, lead_id))


def parked(tx: Tx, *, strikes: int, limit: int) -> list[Row]:
    """Leads that were set aside because our own code failed on them, or died of them; the oldest first."""
    return tx.rows(
        "SELECT l.id, s.name AS sequence, l.cursor AS node, l.attempts, l.paused_at, l.pause_reason FROM lead l JOIN sequence s ON s.id = l.sequence_id"
        " WHERE l.state = 'active' AND l.paused_at IS NOT NULL AND l.attempts >= %s ORDER BY l.paused_at, l.id LIMIT %s",
        (strikes, limit),
    )
