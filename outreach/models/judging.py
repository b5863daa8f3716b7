"""What the judge of a run reads: the ledger as the provider would name it, opt-outs, and leads that nobody explains."""

from datetime import datetime, timedelta

from outreach.models import health
from outreach.models.base import Row, Tx
from outreach.models.leads import LATE


def ledger(tx: Tx) -> list[Row]:
    """Every execution, with account and recipient by their ids at the provider, and its words."""
    return tx.rows(
        """
        SELECT e.id, e.kind, e.state, e.reason, e.started_at, e.effect_by, e.attempts, a.external_id AS account, coalesce(i.value, m.peer) AS recipient,
               coalesce(b.body, m.text) AS body
          FROM execution e JOIN account a ON a.id = e.account_id LEFT JOIN identity i ON i.id = e.identity_id
          LEFT JOIN message_body b ON b.execution_id = e.id
          LEFT JOIN inbound m ON m.id = e.inbound_id  -- sent by hand: only the echo knows to whom, and what"""
    )


def effective_suppressions(tx: Tx) -> dict[str, datetime]:
    """Identity at the provider -> since when nothing may arrive there."""
    rows = tx.rows(
        "SELECT i.value, p.suppression_effective_at AS at FROM person p JOIN identity i ON i.person_id = p.id"
        " WHERE p.suppression_effective_at IS NOT NULL AND i.kind = 'twitter_id'"
    )
    return {row["value"]: row["at"] for row in rows}


def overdue(tx: Tx, now: datetime, late: timedelta) -> list[Row]:
    """The watchdog's leads; those whose cap is full are among them."""
    return health.unexplained(tx, now, late)


def answers(tx: Tx) -> list[Row]:
    """Sent messages that a reply caused and that nothing deferred."""
    return tx.rows(
        """
        SELECT a.external_id AS account, i.value AS recipient, b.body
          FROM execution e JOIN account a ON a.id = e.account_id JOIN identity i ON i.id = e.identity_id
          JOIN message_body b ON b.execution_id = e.id
         WHERE e.state = 'sent' AND e.attempts = 1 AND e.cause IN ('REPLIED', 'POSITIVE_REPLY', 'NEGATIVE_REPLY')
           AND NOT EXISTS (SELECT 1 FROM event v WHERE v.lead_id = e.lead_id AND v.execution_id = e.id AND v.kind = 'ActionDeferred')"""
    )


def counts_by_node(tx: Tx, sequence: str) -> list[Row]:
    """Per node: leads standing there, executions by what became of them. What came too late has not failed: its lead went on."""
    return tx.rows(
        """
        SELECT k.key, k.kind,
               (SELECT count(*) FROM lead l WHERE l.sequence_id = s.id AND l.cursor = k.key AND l.state = 'active') AS here,
               (SELECT count(*) FROM execution e WHERE e.action_id = k.id AND e.state = 'sent') AS sent,
               (SELECT count(*) FROM execution e WHERE e.action_id = k.id AND e.state IN ('refused', 'blocked', 'skipped')
                   AND e.reason <> %(late)s) AS failed,
               (SELECT count(*) FROM execution e WHERE e.action_id = k.id AND e.reason = %(late)s) AS passed_over,
               (SELECT count(*) FROM execution e JOIN task t ON t.execution_id = e.id AND t.state IN ('open', 'claimed')
                 WHERE e.action_id = k.id) AS human
          FROM sequence s JOIN sequence_action k ON k.sequence_id = s.id WHERE s.name = %(sequence)s ORDER BY k.id""",
        {"sequence": sequence, "late": LATE},
    )


def pulse(tx: Tx) -> Row:
    """What a progress display shows, in one row."""
    return tx.one(
        """
        SELECT (SELECT count(*) FROM lead WHERE state = 'active') AS active,
               (SELECT count(*) FROM lead WHERE state = 'active' AND waiting_on = 'task') AS on_task,
               (SELECT count(*) FROM lead WHERE state = 'active' AND waiting_on = 'pause') AS paused,
               (SELECT count(*) FROM lead WHERE state = 'active' AND waiting_on = 'doubt' AND waiting_detail = 'held') AS on_held,
               (SELECT count(*) FROM lead WHERE state = 'active' AND waiting_on = 'evidence') AS on_evidence,
               (SELECT count(*) FROM lead WHERE state = 'finished') AS finished,
               (SELECT count(*) FROM lead WHERE state = 'exited') AS exited,
               (SELECT count(*) FROM execution WHERE state = 'sent') AS sent,
               (SELECT count(*) FROM execution WHERE state IN ('calling', 'in_doubt')) AS open,
               (SELECT count(*) FROM execution WHERE state = 'in_doubt') AS in_doubt,
               (SELECT count(*) FROM inbound WHERE kind = 'message_in') AS replies,
               (SELECT count(*) FROM inbound WHERE state IN ('stored', 'waiting')) AS undigested,
               (SELECT count(*) FROM task) AS tasks,
               (SELECT count(*) FROM person WHERE suppressed_at IS NOT NULL) AS opted_out,
               (SELECT count(*) FROM person WHERE suppressed_at IS NOT NULL AND suppression_effective_at IS NULL) AS draining"""
    )
