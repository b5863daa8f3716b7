"""Numbers for health checks and metrics: counted by the database, cheap, without a handle in them."""

from datetime import datetime, timedelta

from outreach.models.base import Row, Tx
from outreach.models.leads import NEEDS_NEWER


def vitals(tx: Tx, now: datetime) -> Row:
    """One row: the last tick, what is due and how long overdue, what is open, held, stored and not digested."""
    return tx.one(
        """
        SELECT n.last_tick_at, n.paused_at IS NOT NULL AS paused,
               (SELECT count(*) FROM lead WHERE due_at <= %(now)s) AS due,
               (SELECT min(due_at) FROM lead WHERE due_at <= %(now)s) AS oldest_due_at,
               (SELECT count(*) FROM lead WHERE due_at IS NOT NULL) AS active,
               (SELECT count(*) FROM execution WHERE state = 'calling') AS calling,
               (SELECT count(*) FROM execution WHERE state = 'in_doubt') AS in_doubt,
               (SELECT count(*) FROM execution WHERE state = 'held') AS held,
               (SELECT count(*) FROM task WHERE state IN ('open', 'claimed', 'asked')) AS tasks,
               (SELECT count(*) FROM inbound WHERE state = 'stored') AS undigested,
               (SELECT count(*) FROM account WHERE state <> 'ok') AS accounts_stopped,
               (SELECT count(*) FROM person WHERE suppressed_at IS NOT NULL AND suppression_effective_at IS NULL) AS draining,
               (SELECT count(*) FROM alert WHERE ended_at IS NULL) AS alerts
          FROM instance n""",
        {"now": now},
    )


def unexplained(tx: Tx, now: datetime, late: timedelta) -> list[Row]:
    """The watchdog: active leads overdue by more than `late` that nothing explains.

    Explained are: a pause, a worker too old for the lead, an account or app that is stopped or held by the provider, and a lead whose account has begun
    something of that kind within `late` (it works as fast as its pace lets it). A full cap explains it, too: whoever asks counts.
    """
    return tx.rows(
        """
        SELECT l.id, l.due_at, l.waiting_on, l.waiting_detail, l.account_id, a.external_id AS account, l.next_kind FROM lead l
          JOIN sequence s ON s.id = l.sequence_id CROSS JOIN instance n
          LEFT JOIN account a ON a.id = l.account_id LEFT JOIN app b ON b.id = a.app_id
         WHERE l.due_at <= %(late)s AND coalesce(n.paused_at, n.foreign_since, n.recovering_since) IS NULL AND s.state = 'active' AND l.paused_at IS NULL
           AND NOT starts_with(coalesce(l.waiting_detail, ''), %(newer)s)
           AND (a.id IS NULL OR (a.state = 'ok' AND b.state = 'ok'))
           AND NOT EXISTS (SELECT 1 FROM hold h WHERE h.kind = l.next_kind AND h.until > %(now)s
                              AND ((h.scope = 'account' AND h.scope_id = a.id) OR (h.scope = 'app' AND h.scope_id = b.id)))
           AND NOT EXISTS (SELECT 1 FROM execution e WHERE e.account_id = l.account_id AND e.kind = l.next_kind AND e.started_at > %(late)s)
         ORDER BY l.due_at LIMIT 1000""",
        {"now": now, "late": now - late, "newer": NEEDS_NEWER},
    )
