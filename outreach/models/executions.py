"""The ledger: planned, opened by T1, settled by T2. Every transition of docs/state_machine.md is one function here."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from outreach.engine.kinds import ExecutionState, known
from outreach.models import leads
from outreach.models.base import (
    SENDS_LOCK,
    Hot,
    Row,
    StartAgain,
    Tx,
    columns_of,
    fields_of,
    part_of,
    table_of,
    to_json,
)
from outreach.models.leads import Lead

S = ExecutionState


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """A ledger row, as read under its lock."""

    id: int
    lead_id: int | None
    action_id: int | None
    sequence_id: int | None
    kind: str
    channel: str
    account_id: int
    app_id: int
    identity_id: int | None
    state: ExecutionState
    cause: str
    variant: str | None
    epoch: int
    attempts: int
    fence: int | None
    started_at: datetime | None
    call_deadline: datetime | None
    effect_by: datetime | None
    sent_at: datetime | None
    body_hash: str | None
    read_backs: int
    next_read_at: datetime | None
    reason: str | None
    verdict: dict[str, Any] | None
    #: from then on it comes too late; None: never
    late_at: datetime | None

    @property
    def open(self) -> bool:
        """The provider may yet have it, or somebody must find out."""
        return self.state in (S.CALLING, S.IN_DOUBT, S.HELD)


_COLUMNS = """
id, lead_id, action_id, sequence_id, kind, channel, account_id, app_id, identity_id, state, cause, variant, epoch, attempts, fence,
started_at, call_deadline, effect_by, sent_at, body_hash, read_backs, next_read_at, reason, verdict, late_at"""

_READ = Hot(f"SELECT {_COLUMNS} FROM execution WHERE id = %s")
_LOCKED = (
    f"database_now, person_id, moved, {leads.LOCKED}, {fields_of('the_execution', 'execution_', _COLUMNS)}"
)
_LOCK_SETTLEMENTS = Hot(f"SELECT {_LOCKED}, NULL AS next_fence FROM lock_settlements(%s)")
_LOCK_SENDS = Hot(f"SELECT {_LOCKED}, next_fence FROM lock_sends(%s, %s)")


def read(tx: Tx, execution_id: int) -> Execution | None:
    """The row, or None."""
    row = tx.row(_READ, (execution_id,))
    return _execution(row) if row else None


def _execution(row: Row) -> Execution:
    return Execution(**{**row, "state": known(ExecutionState, row["state"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedSend:
    """T1's or T2's locks are held: the database's time, and the rows under them."""

    database_now: datetime
    person_id: int
    execution: Execution
    lead: Lead
    #: T1's: what a claim is fenced with
    next_fence: int | None


def share_sends(tx: Tx) -> None:
    """The lock `sends`, shared: statement one of everything that opens or settles executions."""
    tx.write("SELECT pg_advisory_xact_lock_shared(%s)", (SENDS_LOCK,))


def lock_for_sends(
    tx: Tx, execution_ids: Sequence[int], scopes: Collection[str] = ()
) -> dict[int, LockedSend]:
    """`sends` shared, then persons, apps, accounts, leads, executions; by execution, those that exist. Raises StartAgain.

    `scopes`: for T1, the scopes beyond the accounts whose caps are about to be counted ("app", or a name of its own).
    """
    return _locked(tx.rows(_LOCK_SENDS, (list(execution_ids), list(scopes))))


def lock_for_send(tx: Tx, execution_id: int, scopes: Collection[str] = ()) -> LockedSend | None:
    """The same for one. None: no such row."""
    return lock_for_sends(tx, [execution_id], scopes).get(execution_id)


def lock_for_settlements(tx: Tx, execution_ids: Sequence[int]) -> dict[int, LockedSend]:
    """`sends` shared, then persons, leads, executions: whoever settles needs neither app nor account. Raises StartAgain."""
    return _locked(tx.rows(_LOCK_SETTLEMENTS, (list(execution_ids),)))


def lock_for_settlement(tx: Tx, execution_id: int) -> LockedSend | None:
    """The same for one. None: no such row."""
    return lock_for_settlements(tx, [execution_id]).get(execution_id)


def _locked(rows: Sequence[Row]) -> dict[int, LockedSend]:
    return {row["execution_id"]: _locked_send(row) for row in rows}


def _locked_send(row: Row) -> LockedSend:
    if row["moved"]:
        raise StartAgain(f"execution {row['execution_id']}: the lead changed its person")
    return LockedSend(
        database_now=row["database_now"],
        person_id=row["person_id"],
        execution=_execution(part_of(row, "execution_")),
        lead=leads.locked(row),
        next_fence=row["next_fence"],
    )


_LOCK_LEADS = Hot(
    f"SELECT database_now, moved, {leads.LOCKED}, {fields_of('open_execution', 'execution_', _COLUMNS)} FROM lock_leads(%s)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedLead:
    """Person and lead are locked: the database's time, the lead, and its one open execution."""

    database_now: datetime
    lead: Lead
    open: Execution | None


def lock_leads(tx: Tx, lead_ids: Sequence[int]) -> dict[int, LockedLead]:
    """Lock persons, then leads; by lead, those that exist. Raises StartAgain."""
    return {row["lead_id"]: _locked_lead(row) for row in tx.rows(_LOCK_LEADS, (list(lead_ids),))}


def lock_lead(tx: Tx, lead_id: int) -> LockedLead | None:
    """The same for one. None: there is no such lead."""
    return lock_leads(tx, [lead_id]).get(lead_id)


def _locked_lead(row: Row) -> LockedLead:
    if row["moved"]:
        raise StartAgain(f"lead {row['lead_id']} changed its person")
    execution = part_of(row, "execution_")
    return LockedLead(
        database_now=row["database_now"],
        lead=leads.locked(row),
        open=None if execution["id"] is None else _execution(execution),
    )


_PLANNED = {
    "lead_id": "bigint", "action_id": "bigint", "visit": "int", "sequence_id": "bigint", "kind": "text", "channel": "text",
    "account_id": "bigint", "app_id": "bigint", "identity_id": "bigint", "cause": "text", "cause_deadline": "timestamptz",
    "cause_node": "text", "first_due_at": "timestamptz", "late_at": "timestamptz", "variant": "text", "created_at": "timestamptz",
}  # fmt: skip
_PLAN = Hot(f"""
INSERT INTO execution ({", ".join(_PLANNED)}, state) SELECT q.*, 'planned' FROM {table_of(_PLANNED)}
ON CONFLICT (lead_id, action_id, visit) DO NOTHING RETURNING id, lead_id""")


def plan(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    """The planned rows of (lead, action, visit), one per lead: new ones, or those that stand there; ids by lead."""
    if not rows:
        return {}
    found = {row["lead_id"]: row["id"] for row in tx.rows(_PLAN, columns_of(_PLANNED, rows))}
    for row in rows:
        if row["lead_id"] not in found:
            found[row["lead_id"]] = tx.value(
                "SELECT id FROM execution WHERE lead_id = %(lead_id)s AND action_id = %(action_id)s AND visit = %(visit)s",
                row,
            )
    return found


_BEGUN = {
    "id": "bigint", "fence": "bigint", "now": "timestamptz", "deadline": "timestamptz", "epoch": "int", "body_hash": "text",
    "touch": "boolean", "verdict": "jsonb",
}  # fmt: skip
_BEGIN_CALLS = Hot(f"""
UPDATE execution e SET state = 'calling', fence = q.fence, started_at = q.now, call_deadline = q.deadline, effect_by = q.deadline,
       attempts = attempts + 1, epoch = q.epoch, body_hash = q.body_hash, touch = q.touch, verdict = q.verdict, reason = NULL,
       read_backs = 0, next_read_at = NULL
  FROM {table_of(_BEGUN)} WHERE e.id = q.id""")


def begin_calls(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    """planned -> calling; the caller has seen them planned under their locks. A row: the columns of _BEGUN."""
    if rows:
        tx.write(_BEGIN_CALLS, columns_of(_BEGUN, rows))


_SENT = {
    "id": "bigint", "sent_at": "timestamptz", "now": "timestamptz", "ids": "jsonb", "done_by": "text", "observed": "boolean",
}  # fmt: skip
_SETTLE_SENT = Hot(f"""
UPDATE execution e SET state = 'sent', sent_at = q.sent_at, effect_by = greatest(q.sent_at, started_at), settled_at = q.now,
       provider_ids = provider_ids || q.ids, reason = NULL, started_at = coalesce(started_at, q.sent_at),
       done_by = coalesce(q.done_by, e.done_by), observed = coalesce(q.observed, e.observed)
  FROM {table_of(_SENT)} WHERE e.id = q.id""")


def settle_sent(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    """Any open state (or a claimed task's plan) -> sent, with effect at sent_at. A row: the columns of _SENT.

    A later answer may add ids, never change the instant of effect.
    """
    if rows:
        tx.write(_SETTLE_SENT, columns_of(_SENT, rows))


def add_ids(tx: Tx, execution_id: int, ids: Mapping[str, str]) -> None:
    """What the provider calls it. What a human said they did has then been seen, too."""
    tx.write(
        "UPDATE execution SET provider_ids = provider_ids || %s, observed = CASE WHEN done_by IS NULL THEN observed ELSE true END WHERE id = %s",
        (to_json(dict(ids)), execution_id),
    )


def note_echo(tx: Tx, execution_id: int, inbound_id: int) -> None:
    """This echo was this one's: the next is another's."""
    tx.write("UPDATE execution SET inbound_id = %s WHERE id = %s", (inbound_id, execution_id))


def settle_not(tx: Tx, execution_id: int, state: ExecutionState, reason: str, now: datetime) -> None:
    """-> refused, blocked, skipped, cancelled or absent: surely no effect, so it counts for nothing."""
    tx.write(
        "UPDATE execution SET state = %s, reason = %s, effect_by = NULL, settled_at = %s WHERE id = %s",
        (state.value, reason, now, execution_id),
    )


def back_to_planned(tx: Tx, execution_id: int, *, tried: bool = True) -> None:
    """calling or absent -> planned: surely no effect; the next attempt passes T1 again. `tried`: it counts as an attempt."""
    tx.write(
        "UPDATE execution SET state = 'planned', fence = NULL, call_deadline = NULL, effect_by = NULL, touch = false,"
        " attempts = attempts - %s WHERE id = %s",
        (0 if tried else 1, execution_id),
    )


def doubt(tx: Tx, execution_id: int) -> None:
    """calling -> in_doubt. It counts as used, at the latest at its deadline."""
    tx.write("UPDATE execution SET state = 'in_doubt' WHERE id = %s", (execution_id,))


def hold(tx: Tx, execution_id: int, reason: str) -> None:
    """in_doubt -> held, for a human. It goes on counting as used."""
    tx.write("UPDATE execution SET state = 'held', reason = %s WHERE id = %s", (reason, execution_id))


def allow_until(tx: Tx, execution_id: int, late_at: datetime) -> None:
    """A human said that it may still be sent: it has its time again."""
    tx.execute("UPDATE execution SET late_at = %s WHERE id = %s", (late_at, execution_id))


def note_read_back(tx: Tx, execution_id: int, again_at: datetime) -> None:
    """One more look that found nothing; the next one not before `again_at`, however late this one was."""
    tx.write(
        "UPDATE execution SET read_backs = read_backs + 1, next_read_at = %s WHERE id = %s",
        (again_at, execution_id),
    )


def note_verdict(tx: Tx, execution_id: int, verdict: Mapping[str, Any]) -> None:
    """The gate's last word."""
    tx.write("UPDATE execution SET verdict = %s WHERE id = %s", (to_json(verdict), execution_id))


def reserve_for_human(
    tx: Tx, execution_id: int, *, now: datetime, deadline: datetime, touch: bool, body_hash: str | None
) -> None:
    """A claimed task: it stays planned, and counts as used until the human says otherwise."""
    tx.write(
        "UPDATE execution SET started_at = %s, effect_by = %s, touch = %s, body_hash = %s WHERE id = %s",
        (now, deadline, touch, body_hash, execution_id),
    )


def give_back(tx: Tx, execution_id: int) -> None:
    """A human who had begun it says that it was not done: it is as it was before, and counts for nothing."""
    tx.execute(
        "UPDATE execution SET started_at = NULL, effect_by = NULL, touch = false, body_hash = NULL WHERE id = %s AND state = 'planned'",
        (execution_id,),
    )
    tx.execute("DELETE FROM message_body WHERE execution_id = %s", (execution_id,))


def reword(tx: Tx, execution_id: int, body: str, body_hash: str, now: datetime) -> None:
    """A human sent it in words of their own: these are what was said, and what an echo is told by."""
    tx.execute(
        "INSERT INTO message_body (execution_id, body, written_at) VALUES (%s, %s, %s)"
        " ON CONFLICT (execution_id) DO UPDATE SET body = excluded.body, written_at = excluded.written_at",
        (execution_id, body, now),
    )
    tx.execute("UPDATE execution SET body_hash = %s WHERE id = %s", (body_hash, execution_id))


def counted_by_hand(tx: Tx, execution_id: int, since: datetime) -> bool:
    """Has an echo told of the same act to the same handle since then, and was it counted as made by hand?"""
    return bool(
        tx.value(
            "SELECT EXISTS (SELECT 1 FROM execution e JOIN execution h ON h.identity_id = e.identity_id AND h.account_id = e.account_id"
            " AND h.kind = e.kind AND h.lead_id IS NULL AND h.sent_at >= %s WHERE e.id = %s)",
            (since, execution_id),
        )
    )


def insert_by_hand(tx: Tx, values: Mapping[str, Any]) -> int:
    """A send that the ledger did not know: made by hand, seen at the provider. It counts against caps, whoever got it."""
    row = tx.one(
        """
        INSERT INTO execution (kind, channel, account_id, app_id, identity_id, inbound_id, state, cause, touch, started_at, effect_by, sent_at,
                               settled_at, provider_ids, done_by, observed, created_at)
        VALUES (%(kind)s, %(channel)s, %(account_id)s, %(app_id)s, %(identity_id)s, %(inbound_id)s, 'sent', 'by_hand', %(touch)s, %(at)s,
                %(at)s, %(at)s, %(now)s, %(ids)s, 'by hand', true, %(now)s) RETURNING id""",
        {**values, "ids": to_json(values["ids"])},
    )
    return int(row["id"])


_BODIES = {"execution_id": "bigint", "subject": "text", "body": "text", "written_at": "timestamptz"}
_WRITE_BODIES = Hot(f"""
INSERT INTO message_body (execution_id, subject, body, written_at) SELECT q.* FROM {table_of(_BODIES)}
    ON CONFLICT (execution_id) DO UPDATE SET subject = excluded.subject, body = excluded.body, written_at = excluded.written_at""")


def write_bodies(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    """What is about to be said; erasable, apart from the ledger. A row: the table's columns."""
    if rows:
        tx.write(_WRITE_BODIES, columns_of(_BODIES, rows))


def point_at(tx: Tx, execution_id: int, identity_id: int) -> None:
    """A planned one goes to the identity that its handle has turned out to be."""
    tx.write(
        "UPDATE execution SET identity_id = %s WHERE id = %s AND state = 'planned' AND identity_id IS DISTINCT FROM %s",
        (identity_id, execution_id, identity_id),
    )


def cancel_planned(tx: Tx, lead_id: int, reason: str, now: datetime) -> list[int]:
    """planned -> cancelled for a lead that stops; the ids. Open calls are never touched. Its tasks become void."""
    rows = tx.rows(
        "UPDATE execution SET state = 'cancelled', reason = %s, settled_at = %s, effect_by = NULL WHERE lead_id = %s AND state = 'planned'"
        " AND NOT EXISTS (SELECT 1 FROM task t WHERE t.execution_id = execution.id AND t.state IN ('claimed', 'asked')) RETURNING id",
        (reason, now, lead_id),
    )
    return [row["id"] for row in rows]


def message_of(tx: Tx, execution_id: int) -> Row | None:
    """subject and body of what was said, or is to be; None: nothing, or it was erased."""
    return tx.row("SELECT subject, body FROM message_body WHERE execution_id = %s", (execution_id,))


def body_of(tx: Tx, execution_id: int) -> str | None:
    """What was said, unless it was erased."""
    found: str | None = tx.value("SELECT body FROM message_body WHERE execution_id = %s", (execution_id,))
    return found
