"""Evidence: how far each inbox is read, and when each relationship was looked up. Only polls and look-ups move it."""

from collections.abc import Sequence
from datetime import datetime

from outreach.models.base import Hot, Row, Tx

INBOX = "inbox"


_BEGIN_POLL = Hot("""
INSERT INTO watermark AS w (account_id, stream, fence, retry_at) VALUES (%(account)s, 'inbox', nextval('fence'), %(lease)s)
    ON CONFLICT (account_id, stream) DO UPDATE SET fence = excluded.fence, retry_at = excluded.retry_at
 WHERE (w.retry_at IS NULL OR w.retry_at <= %(now)s)
   AND (w.polled_at IS NULL OR w.read_up_to IS NULL OR w.polled_at <= %(stale)s
        OR (w.polled_at <= %(recent)s AND EXISTS (SELECT 1 FROM lead l WHERE l.account_id = w.account_id
                                                     AND l.next_kind = 'CHECK_FOR_REPLY' AND l.due_at <= %(now)s)))
RETURNING w.cursor, w.fence""")


def begin_poll(
    tx: Tx, account_id: int, *, now: datetime, lease: datetime, stale: datetime, recent: datetime
) -> Row | None:
    """Take the stream's fence (compare-and-set): its cursor and fence.

    None while another poll is under way or told to wait; while the last one is younger than `stale` and nobody waits for
    evidence; and while it is younger than `recent` in any case: a hundred leads that ask at once cost one poll.
    """
    return tx.row(
        _BEGIN_POLL, {"account": account_id, "now": now, "lease": lease, "stale": stale, "recent": recent}
    )


def end_poll(
    tx: Tx,
    account_id: int,
    fence: int,
    *,
    cursor: str | None,
    read_up_to: datetime | None,
    polled_at: datetime,
) -> bool:
    """Move the cursor and the mark (never back). False: the fence is no longer ours, and nothing was moved."""
    return bool(
        tx.execute(
            "UPDATE watermark SET cursor = coalesce(%s, cursor), read_up_to = greatest(read_up_to, %s), polled_at = %s, retry_at = NULL, failed = NULL"
            " WHERE account_id = %s AND stream = %s AND fence = %s",
            (cursor, read_up_to, polled_at, account_id, INBOX, fence),
        )
    )


def fail_poll(tx: Tx, account_id: int, fence: int, reason: str, retry_at: datetime) -> None:
    """It could not be read: silence stays unproven."""
    tx.execute(
        "UPDATE watermark SET failed = %s, retry_at = %s WHERE account_id = %s AND stream = %s AND fence = %s",
        (reason, retry_at, account_id, INBOX, fence),
    )


def oldest_undigested(tx: Tx, account_id: int) -> datetime | None:
    """The mark never passes what is stored but not understood."""
    found: datetime | None = tx.value(
        "SELECT min(occurred_at) FROM inbound WHERE account_id = %s AND state = 'stored'", (account_id,)
    )
    return found


_WAKE_READERS = Hot("""
UPDATE lead SET due_at = least(due_at, %(now)s), hinted_until = %(lease)s WHERE id IN (
    SELECT id FROM lead WHERE account_id = %(account)s AND next_kind = %(kind)s
       AND (waiting_on = 'evidence' OR due_at <= %(up_to)s) AND (hinted_until IS NULL OR hinted_until <= %(now)s)
     ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)
RETURNING id""")


def wake_readers(
    tx: Tx, account_id: int, kind: str, *, up_to: datetime, now: datetime, lease: datetime
) -> list[int]:
    """Leads filed under this read whose evidence it may have brought (those that were due by `up_to`): leased; their ids."""
    rows = tx.rows(
        _WAKE_READERS, {"account": account_id, "kind": kind, "up_to": up_to, "now": now, "lease": lease}
    )
    return sorted(row["id"] for row in rows)


def want_relationship(tx: Tx, account_id: int, identity_id: int, now: datetime) -> bool:
    """Somebody waits for a look-up of this very person. True: nobody did before."""
    return bool(
        tx.execute(
            "INSERT INTO relationship (account_id, identity_id, wanted_at) VALUES (%s, %s, %s)"
            " ON CONFLICT (account_id, identity_id) DO UPDATE SET wanted_at = excluded.wanted_at"
            " WHERE relationship.wanted_at IS NULL OR relationship.checked_at >= relationship.wanted_at",
            (account_id, identity_id, now),
        )
    )


def wake_looked_up(
    tx: Tx, account_id: int, identity_ids: Sequence[int], *, now: datetime, lease: datetime
) -> list[int]:
    """Leads that waited for the look-up of exactly these people: due now, leased; their ids."""
    rows = tx.rows(
        "UPDATE lead SET due_at = least(due_at, %(now)s), hinted_until = %(lease)s"
        " WHERE id IN (SELECT l.id FROM lead l JOIN lead_binding b ON b.lead_id = l.id"
        " WHERE l.account_id = %(account)s AND l.next_kind = 'LOOK_UP' AND b.identity_id = ANY(%(identities)s)"
        " AND (l.hinted_until IS NULL OR l.hinted_until <= %(now)s) ORDER BY l.id FOR NO KEY UPDATE OF l SKIP LOCKED) RETURNING id",
        {"account": account_id, "identities": list(identity_ids), "now": now, "lease": lease},
    )
    return sorted(row["id"] for row in rows)


def wanted_relationships(tx: Tx, account_id: int, limit: int) -> list[Row]:
    """Identities to look up, the longest waiting first."""
    return tx.rows(
        """
        SELECT r.identity_id, i.value, i.person_id FROM relationship r JOIN identity i ON i.id = r.identity_id
         WHERE r.account_id = %s AND r.wanted_at IS NOT NULL AND (r.checked_at IS NULL OR r.checked_at < r.wanted_at)
         ORDER BY r.wanted_at LIMIT %s""",
        (account_id, limit),
    )


def looked_up(
    tx: Tx, account_id: int, rows: Sequence[tuple[int, bool | None, bool | None]], checked_at: datetime
) -> None:
    """(identity, follows us, we follow) as of the start of the look-up."""
    tx.insert_many(
        "INSERT INTO relationship (account_id, identity_id, follows_us, we_follow, checked_at) VALUES %s"
        " ON CONFLICT (account_id, identity_id) DO UPDATE SET follows_us = excluded.follows_us, we_follow = excluded.we_follow,"
        " checked_at = greatest(relationship.checked_at, excluded.checked_at)",
        [(account_id, identity, follows, ours, checked_at) for identity, follows, ours in rows],
    )


#: From the waiting leads to their handles, each row by its index: OFFSET 0 keeps the planner from walking the identity graph.
_UNRESOLVED = Hot("""
SELECT DISTINCT i.id AS identity_id, i.value, i.person_id
  FROM (SELECT x.id, x.person_id FROM lead x WHERE x.account_id = %s AND x.next_kind = 'RESOLVE' AND x.due_at IS NOT NULL OFFSET 0) l
 CROSS JOIN LATERAL (SELECT * FROM identity x WHERE x.person_id = l.person_id OFFSET 0) i
 WHERE i.kind = 'twitter_handle' AND i.status = 'active'
   AND (EXISTS (SELECT 1 FROM (SELECT * FROM lead_binding x WHERE x.lead_id = l.id OFFSET 0) b
                 WHERE b.channel = 'twitter' AND b.identity_id = i.id)
        OR NOT (EXISTS (SELECT 1 FROM (SELECT * FROM identity_link x WHERE x.a = i.id OFFSET 0) k WHERE k.source = 'resolved')
                OR EXISTS (SELECT 1 FROM (SELECT * FROM identity_link x WHERE x.b = i.id OFFSET 0) k WHERE k.source = 'resolved')))
 ORDER BY i.id LIMIT %s""")


def unresolved(tx: Tx, account_id: int, limit: int) -> list[Row]:
    """Handles of leads of this account that wait for an immutable id: those they are bound to, and those never resolved."""
    return tx.rows(_UNRESOLVED, (account_id, limit))


def listed(tx: Tx) -> list[Row]:
    """All streams, for people to read."""
    return tx.rows(
        "SELECT a.name AS account, w.stream, w.read_up_to, w.polled_at, w.failed, w.retry_at FROM watermark w JOIN account a ON a.id = w.account_id ORDER BY a.name"
    )
