"""Tasks: what a human must do or decide. One holder, one deadline; an expired claim is asked about, never offered as new."""

from datetime import datetime
from typing import Any

from outreach.errors import NotFound
from outreach.models.base import Row, Tx, to_json

_COLUMNS = """
t.id, t.kind, t.lead_id, t.execution_id, t.person_id, t.inbound_id, t.state, t.reason, t.detail, t.holder, t.claimed_at, t.deadline,
t.outcome, t.closed_at, t.closed_by, t.created_at, e.kind AS action_kind, e.account_id, e.late_at, a.name AS account"""
_FROM = (
    "FROM task t LEFT JOIN execution e ON e.id = t.execution_id LEFT JOIN account a ON a.id = e.account_id"
)


def open_one(tx: Tx, *, kind: str, person_id: int, reason: str, now: datetime, lead_id: int | None = None, execution_id: int | None = None,
             inbound_id: int | None = None, detail: dict[str, Any] | None = None) -> int | None:  # fmt: skip
    """A new task; None where one is open for the execution."""
    row = tx.row(
        """
        INSERT INTO task (kind, lead_id, execution_id, person_id, inbound_id, reason, detail, created_at)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (execution_id) WHERE state IN ('open', 'claimed', 'asked') DO NOTHING RETURNING id""",
        (kind, lead_id, execution_id, person_id, inbound_id, reason, to_json(detail or {}), now),
    )
    return int(row["id"]) if row else None


def read(tx: Tx, task_id: int) -> Row:
    """Raises NotFound."""
    row = tx.row(f"SELECT {_COLUMNS} {_FROM} WHERE t.id = %s", (task_id,))
    if row is None:
        raise NotFound(f"no task {task_id}", hint="outreach task list shows those that are open")
    return row


def of_execution(tx: Tx, execution_id: int) -> Row | None:
    """The open task of a planned or held execution."""
    return tx.row(
        f"SELECT {_COLUMNS} {_FROM} WHERE t.execution_id = %s AND t.state IN ('open', 'claimed', 'asked')",
        (execution_id,),
    )


def listed(tx: Tx, *, states: tuple[str, ...], limit: int) -> list[Row]:
    """The oldest first."""
    return tx.rows(
        f"SELECT {_COLUMNS} {_FROM} WHERE t.state = ANY(%s) ORDER BY t.id LIMIT %s", (list(states), limit)
    )


def claim(tx: Tx, task_id: int, holder: str, *, now: datetime, deadline: datetime) -> bool:
    """open -> claimed. False: somebody has it."""
    return bool(
        tx.execute(
            "UPDATE task SET state = 'claimed', holder = %s, claimed_at = %s, deadline = %s WHERE id = %s AND state = 'open'",
            (holder, now, deadline, task_id),
        )
    )


def close(tx: Tx, task_id: int, state: str, outcome: str, by: str, now: datetime) -> bool:
    """-> done, skipped or void. False: it was closed already."""
    return bool(
        tx.execute(
            "UPDATE task SET state = %s, outcome = %s, closed_by = %s, closed_at = %s WHERE id = %s AND state IN ('open', 'claimed', 'asked')",
            (state, outcome, by, now, task_id),
        )
    )


def void_of_lead(tx: Tx, lead_id: int, reason: str, now: datetime) -> list[Row]:
    """Open tasks about a step of a lead that stops: to do it, or to say whether it is still to be done. A claimed one is voided too: its holder is told by its outcome."""
    return tx.rows(
        "UPDATE task SET state = 'void', outcome = %s, closed_by = 'engine', closed_at = %s"
        " WHERE lead_id = %s AND kind IN ('act', 'decide', 'review') AND state IN ('open', 'claimed', 'asked') RETURNING id, kind, execution_id, holder",
        (reason, now, lead_id),
    )
