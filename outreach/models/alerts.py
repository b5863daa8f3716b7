"""Alerts as they stand: one row per alert and what it is about; and the numbers that they are raised on."""

from datetime import datetime

from outreach.models.base import Row, Tx
from outreach.models.leads import NEEDS_NEWER
from outreach.models.ticks import PAIRS

#: Advisory lock: one evaluation at a time, whichever processes look.
_WATCH_LOCK = 1004


def begin_watch(tx: Tx) -> bool:
    """False: somebody else is looking at this moment."""
    return bool(tx.value("SELECT pg_try_advisory_xact_lock(%s)", (_WATCH_LOCK,)))


def current(tx: Tx) -> list[Row]:
    """Those that are not over."""
    return tx.rows(
        "SELECT kind, subject, since, detail, told_at, clear_since, times FROM alert WHERE ended_at IS NULL ORDER BY since, kind, subject"
    )


def begin(tx: Tx, kind: str, subject: str, detail: str, now: datetime) -> int:
    """It begins, or begins again: how many times it has."""
    return int(
        tx.one(
            """
            INSERT INTO alert AS a (kind, subject, since, detail, told_at) VALUES (%(kind)s, %(subject)s, %(now)s, %(detail)s, %(now)s)
                ON CONFLICT (kind, subject) DO UPDATE SET since = excluded.since, detail = excluded.detail, told_at = excluded.told_at,
                   clear_since = NULL, ended_at = NULL, times = a.times + 1
            RETURNING times""",
            {"kind": kind, "subject": subject, "detail": detail, "now": now},
        )["times"]
    )


def remind(tx: Tx, kind: str, subject: str, detail: str, now: datetime) -> None:
    """It goes on, and is told again."""
    tx.write(
        "UPDATE alert SET detail = %s, told_at = %s WHERE kind = %s AND subject = %s",
        (detail, now, kind, subject),
    )


def set_clear(tx: Tx, kind: str, subject: str, since: datetime | None) -> None:
    """Seen to be over since then; None: it is not."""
    tx.write("UPDATE alert SET clear_since = %s WHERE kind = %s AND subject = %s", (since, kind, subject))


def end(tx: Tx, kind: str, subject: str, now: datetime) -> None:
    """It is over."""
    tx.write(
        "UPDATE alert SET ended_at = %s, told_at = %s WHERE kind = %s AND subject = %s",
        (now, now, kind, subject),
    )


def count_refused(tx: Tx, counts: dict[int, int], now: datetime) -> None:
    """Pushes whose signature was not ours, by app."""
    tx.insert_many(
        "INSERT INTO refused_push AS r (app_id, count, last_at) VALUES %s ON CONFLICT (app_id) DO UPDATE"
        " SET count = r.count + excluded.count, last_at = greatest(r.last_at, excluded.last_at)",
        [(app_id, count, now) for app_id, count in sorted(counts.items())],
    )


# --- what alerts are raised on -------------------------------------------------------------------------------------


def vital_signs(tx: Tx, optout_before: datetime) -> Row:
    """One row: the last tick, what is held, and opt-outs from before then that something may still surface after."""
    return tx.one(
        """
        SELECT coalesce(n.last_tick_at, n.created_at) AS last_tick_at, n.last_tick_at IS NULL AS never_ticked,
               (SELECT count(*) FROM execution WHERE state = 'held') AS held,
               (SELECT min(call_deadline) FROM execution WHERE state = 'held') AS held_since,
               (SELECT count(*) FROM person WHERE suppressed_at IS NOT NULL AND suppression_effective_at IS NULL
                                              AND suppressed_at <= %s) AS draining,
               (SELECT min(suppressed_at) FROM person WHERE suppressed_at IS NOT NULL AND suppression_effective_at IS NULL) AS draining_since
          FROM instance n""",
        (optout_before,),
    )


# One lead of each pair.
_LATE = f"""
WITH RECURSIVE {PAIRS}
SELECT x.id, x.due_at, p.account_id, p.next_kind AS kind, a.name AS account, a.app_id, a.zone, a.caps, a.pace, b.caps AS app_caps,
       NULL::timestamptz AS last_started_at, 0 AS on_their_way
  FROM pair p JOIN account a ON a.id = p.account_id JOIN app b ON b.id = a.app_id
 CROSS JOIN LATERAL (
       SELECT l.id, l.due_at FROM lead l JOIN sequence s ON s.id = l.sequence_id
        WHERE l.account_id = p.account_id AND l.next_kind = p.next_kind AND l.due_at <= %(late)s
          AND s.state = 'active' AND l.paused_at IS NULL AND NOT starts_with(coalesce(l.waiting_detail, ''), %(newer)s)
        ORDER BY l.due_at LIMIT 1) x
 WHERE a.state = 'ok' AND b.state = 'ok'
   AND NOT EXISTS (SELECT 1 FROM hold h WHERE h.kind = p.next_kind AND h.until > %(now)s
                      AND ((h.scope = 'account' AND h.scope_id = a.id) OR (h.scope = 'app' AND h.scope_id = b.id)))
   AND NOT EXISTS (SELECT 1 FROM execution e WHERE e.account_id = p.account_id AND e.kind = p.next_kind AND e.effect_by > %(late)s)
UNION ALL
(SELECT l.id, l.due_at, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0 FROM lead l JOIN sequence s ON s.id = l.sequence_id
  WHERE l.account_id IS NULL AND l.due_at <= %(late)s AND s.state = 'active' AND l.paused_at IS NULL
    AND NOT starts_with(coalesce(l.waiting_detail, ''), %(newer)s)
  ORDER BY l.due_at LIMIT 1)
ORDER BY due_at"""


def overdue(tx: Tx, *, now: datetime, late: datetime) -> list[Row]:
    """The oldest lead that has been due since `late`, per account and kind, unless a pause, a stop, a hold or work under way explains it.

    A full cap explains it, too: whoever asks counts. The columns are those that `runtime.tick.rooms_of` reads.
    """
    if tx.value("SELECT coalesce(paused_at, foreign_since, recovering_since) IS NOT NULL FROM instance"):
        return []
    return tx.rows(_LATE, {"now": now, "late": late, "newer": NEEDS_NEWER})


def accounts_in_need(tx: Tx, gave_up: str) -> list[Row]:
    """Accounts (or their apps) that a human must mend: not those that an operator paused or disconnected, nor those whose token is being refreshed."""
    return tx.rows(
        """
        SELECT a.name, CASE WHEN a.state NOT IN ('ok', 'paused', 'disconnected') THEN a.state ELSE b.state END AS state,
               CASE WHEN a.state NOT IN ('ok', 'paused', 'disconnected') THEN a.state_reason ELSE b.state_reason END AS reason, a.state_at AS since
          FROM account a JOIN app b ON b.id = a.app_id
         WHERE (a.state NOT IN ('ok', 'paused', 'disconnected')
                AND NOT (a.state = 'needs_reauth' AND a.refresh_token IS NOT NULL AND NOT starts_with(a.state_reason, %s)))
            OR b.state IN ('no_credits', 'restricted')
         ORDER BY a.name""",
        (gave_up,),
    )


def unread_inboxes(tx: Tx, before: datetime) -> list[Row]:
    """Accounts with people waiting at the other end whose inbox is not read up to `before`; why the last read failed, if it did."""
    return tx.rows(
        """
        SELECT a.name, w.read_up_to, w.failed FROM account a LEFT JOIN watermark w ON w.account_id = a.id AND w.stream = 'inbox'
         WHERE a.state IN ('ok', 'paused', 'no_credits') AND a.channel = 'twitter' AND (w.read_up_to IS NULL OR w.read_up_to <= %(before)s)
           AND EXISTS (SELECT 1 FROM execution e WHERE e.account_id = a.id AND e.effect_by <= %(before)s LIMIT 1)
         ORDER BY a.name""",
        {"before": before},
    )


def refused_pushes(tx: Tx, since: datetime) -> list[Row]:
    """Apps that were pushed to with a wrong signature since then."""
    return tx.rows(
        "SELECT p.name, r.count, r.last_at FROM refused_push r JOIN app p ON p.id = r.app_id WHERE r.last_at > %s ORDER BY p.name",
        (since,),
    )


def connections(tx: Tx) -> Row:
    """used and most, of the limit that is nearest to being reached: the server's, this database's, or this role's."""
    return tx.one(
        """
        SELECT used, most FROM (
            SELECT sum(numbackends)::int AS used,
                   current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS most
              FROM pg_stat_database
            UNION ALL
            SELECT s.numbackends, d.datconnlimit FROM pg_database d JOIN pg_stat_database s ON s.datid = d.oid
             WHERE d.datname = current_database() AND d.datconnlimit > 0
            UNION ALL
            SELECT (SELECT count(*) FROM pg_stat_activity t WHERE t.usename = current_user)::int, r.rolconnlimit
              FROM pg_roles r WHERE r.rolname = current_user AND r.rolconnlimit > 0) q
         ORDER BY used::float / most DESC LIMIT 1"""
    )
