"""Pauses: what was under way when one began, and whose steps may have grown stale when it ends."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from outreach.models.base import Row, Tx

_CALLS = """
SELECT e.id AS execution_id, e.lead_id, l.person_id, s.name AS sequence, e.kind, a.name AS account, e.started_at, e.call_deadline
  FROM execution e JOIN lead l ON l.id = e.lead_id JOIN sequence s ON s.id = e.sequence_id JOIN account a ON a.id = e.account_id
 WHERE e.state = 'calling' AND (%(account)s::bigint IS NULL OR e.account_id = %(account)s)
   AND (%(sequence)s::bigint IS NULL OR e.sequence_id = %(sequence)s) AND (%(person)s::bigint IS NULL OR l.person_id = %(person)s)
 ORDER BY e.id LIMIT %(limit)s"""


def calls_under_way(
    tx: Tx, *, account: int | None = None, sequence: int | None = None, person: int | None = None, limit: int
) -> list[Row]:
    """Calls that had begun: the provider is answering them now. None named: of everything."""
    return tx.rows(_CALLS, {"account": account, "sequence": sequence, "person": person, "limit": limit})


def versions_with_leads(tx: Tx) -> list[int]:
    """Versions that some active lead stands on."""
    rows = tx.rows(
        "SELECT v.id FROM sequence_version v WHERE EXISTS (SELECT 1 FROM lead l WHERE l.sequence_id = v.sequence_id"
        " AND l.state = 'active' AND l.version_id = v.id) ORDER BY v.id"
    )
    return [row["id"] for row in rows]


def account_states(tx: Tx) -> dict[int, bool]:
    """Account -> nothing stops it or its app."""
    rows = tx.rows(
        "SELECT a.id, a.state = 'ok' AND b.state = 'ok' AS ok FROM account a JOIN app b ON b.id = a.app_id"
    )
    return {row["id"]: row["ok"] for row in rows}


#: Leads that wait for nothing but what ends now, and are due: a step of theirs may have grown stale. What stands still for
#: another reason is judged when that ends.
_RIPE = """
SELECT array_agg(l.id ORDER BY l.id) AS ids FROM lead l JOIN person p ON p.id = l.person_id JOIN sequence s ON s.id = l.sequence_id CROSS JOIN instance n
 WHERE l.state = 'active' AND l.paused_at IS NULL AND l.version_id = ANY(%(versions)s)
   AND CASE WHEN %(person)s::bigint IS NULL THEN p.paused_at IS NULL ELSE p.id = %(person)s END
   AND CASE WHEN %(sequence)s::bigint IS NULL THEN s.state = 'active' ELSE s.id = %(sequence)s END
   AND (%(everything)s OR n.paused_at IS NULL)
   AND (%(account)s::bigint IS NULL OR EXISTS (SELECT 1 FROM lead_binding k WHERE k.lead_id = l.id AND k.account_id = %(account)s))
   AND (l.due_at <= %(now)s OR l.waiting_on = 'pause'
        OR EXISTS (SELECT 1 FROM execution e WHERE e.lead_id = l.id AND e.state = 'planned' AND e.late_at <= %(now)s))"""


def ripe_leads(tx: Tx, scope: dict[str, Any], versions: Sequence[int], now: datetime) -> list[int]:
    """All of them, by id. `scope`: account, sequence, person, everything: what is resumed."""
    found: list[int] | None = tx.value(_RIPE, {**scope, "versions": list(versions), "now": now})
    return found or []


def steps(tx: Tx, execution_ids: Sequence[int]) -> dict[int, Row]:
    """By execution: first_due_at, late_at, account_id, the open task's id; `human`: one has it, or is asked already."""
    rows = tx.rows(
        """
        SELECT e.id, e.first_due_at, e.late_at, e.account_id, t.id AS task_id,
               coalesce(t.kind = 'decide' OR t.state <> 'open', false) AS human
          FROM execution e LEFT JOIN task t ON t.execution_id = e.id AND t.state IN ('open', 'claimed', 'asked')
         WHERE e.id = ANY(%s) AND e.state = 'planned'""",
        (list(execution_ids),),
    )
    return {row["id"]: row for row in rows}
