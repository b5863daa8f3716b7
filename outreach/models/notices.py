"""What our own people are to be told: rows that wait until the URL takes them. Of each kind the first one goes first."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from outreach.models.base import Row, Tx, to_json

#: Advisory lock: one claim at a time.
_CLAIM_LOCK = 1005


def put(tx: Tx, kind: str, key: str, payload: Mapping[str, Any], now: datetime) -> None:
    """To be told, once per key."""
    tx.write(
        "INSERT INTO notice (kind, key, payload, due_at, created_at) VALUES (%s, %s, %s, %s, %s) ON CONFLICT (key) DO NOTHING",
        (kind, key, to_json(payload), now, now),
    )


_DUE = "(SELECT f.due_at FROM notice f WHERE f.kind = %(kind)s AND f.state = 'waiting' ORDER BY f.id LIMIT 1) <= %(now)s"


def any_due(tx: Tx, kinds: Sequence[str], now: datetime) -> bool:
    """Is the first of any of these kinds due?"""
    return bool(
        tx.value(
            "SELECT bool_or(f.due_at <= %s) FROM unnest(%s::text[]) k (kind) CROSS JOIN LATERAL"
            " (SELECT n.due_at FROM notice n WHERE n.kind = k.kind AND n.state = 'waiting' ORDER BY n.id LIMIT 1) f",
            (now, list(kinds)),
        )
    )


def claim(tx: Tx, kind: str, *, now: datetime, lease: datetime, limit: int) -> list[Row]:
    """The first ones, where the very first is due: leased, so that one process at a time delivers a kind.

    The lock is a statement of its own: one that waited for rows would go on with what it had seen before it waited, and two
    processes would have the same notices.
    """
    tx.execute("SELECT pg_advisory_xact_lock(%s)", (_CLAIM_LOCK,))
    rows = tx.rows(
        f"""
        UPDATE notice SET due_at = %(lease)s WHERE {_DUE} AND id IN (
            SELECT id FROM notice WHERE kind = %(kind)s AND state = 'waiting' ORDER BY id LIMIT %(limit)s FOR UPDATE)
        RETURNING id, kind, payload, attempts, created_at""",
        {"kind": kind, "now": now, "lease": lease, "limit": limit},
    )
    return sorted(rows, key=lambda row: int(row["id"]))


def delivered(tx: Tx, ids: Sequence[int], now: datetime) -> None:
    """They were taken."""
    tx.write(
        "UPDATE notice SET state = 'delivered', due_at = NULL, attempts = attempts + 1, reason = NULL, settled_at = %s"
        " WHERE id = ANY(%s) AND state = 'waiting'",
        (now, list(ids)),
    )


def put_off(tx: Tx, notice_id: int, reason: str, until: datetime) -> None:
    """Not taken: this one first, then."""
    tx.write(
        "UPDATE notice SET due_at = %s, attempts = attempts + 1, reason = %s WHERE id = %s AND state = 'waiting'",
        (until, reason, notice_id),
    )


def give_back(tx: Tx, ids: Sequence[int], now: datetime) -> None:
    """Claimed and not tried."""
    tx.write("UPDATE notice SET due_at = %s WHERE id = ANY(%s) AND state = 'waiting'", (now, list(ids)))


def give_up(tx: Tx, kind: str, reason: str, *, before: datetime, now: datetime) -> int:
    """Those that have waited since `before` or longer are not tried any more; how many."""
    return tx.execute(
        "UPDATE notice SET state = 'given_up', due_at = NULL, reason = %s, settled_at = %s"
        " WHERE kind = %s AND state = 'waiting' AND created_at <= %s",
        (reason, now, kind, before),
    )


def forget(tx: Tx, before: datetime) -> None:
    """What was settled before then need not be kept."""
    tx.write("DELETE FROM notice WHERE state <> 'waiting' AND settled_at < %s", (before,))


def standing(tx: Tx, since: datetime) -> list[Row]:
    """Per kind: how many wait, since when and why, and how many were given up since then."""
    return tx.rows(
        """
        SELECT kind, count(*) FILTER (WHERE state = 'waiting') AS waiting, min(created_at) FILTER (WHERE state = 'waiting') AS oldest,
               (array_agg(reason ORDER BY id) FILTER (WHERE reason IS NOT NULL))[1] AS reason,
               count(*) FILTER (WHERE state = 'given_up') AS given_up
          FROM notice WHERE state = 'waiting' OR (state <> 'waiting' AND settled_at >= %s) GROUP BY kind
        HAVING count(*) FILTER (WHERE state <> 'delivered') > 0 ORDER BY kind""",
        (since,),
    )


def reply(tx: Tx, inbound_id: int) -> Row | None:
    """What a notice of a reply tells: account, channel, the other end, and the sequence that had contacted them last."""
    return tx.row(
        """
        SELECT m.channel, m.account_key, m.peer, m.text, a.name AS account,
               (SELECT s.name FROM lead l JOIN sequence s ON s.id = l.sequence_id WHERE l.person_id = m.person_id ORDER BY l.id DESC LIMIT 1)
               AS sequence
          FROM inbound m LEFT JOIN account a ON a.id = m.account_id WHERE m.id = %s""",
        (inbound_id,),
    )
