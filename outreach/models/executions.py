"""The ledger: planned, opened by T1, settled by T2. Every transition of docs/state_machine.md is one function here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from outreach.engine.kinds import ExecutionState, known
from outreach.models import leads
from outreach.models.base import SENDS_LOCK, Hot, Row, StartAgain, Tx, fields_of, part_of, to_json
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
_LOCK_SETTLEMENT = Hot(f"SELECT {_LOCKED}, NULL AS next_fence FROM lock_settlement(%s)")
_LOCK = Hot(f"SELECT {_LOCKED}, next_fence FROM lock_send(%s, %s)")


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


def lock_for_send(tx: Tx, execution_id: int, scopes: Sequence[str] = ()) -> LockedSend | None:
    """`sends` shared, then person, app, account, lead, execution. None: no such row. Raises StartAgain.

    `scopes`: for T1, the scopes beyond the account whose caps are about to be counted ("app", or a name of its own).
    """
    return _locked(tx.row(_LOCK, (execution_id, list(scopes))), execution_id)


def lock_for_settlement(tx: Tx, execution_id: int) -> LockedSend | None:
    """`sends` shared, then person, lead, execution: whoever settles needs neither app nor account. Raises StartAgain."""
    return _locked(tx.row(_LOCK_SETTLEMENT, (execution_id,)), execution_id)


def _locked(locked: Row | None, execution_id: int) -> LockedSend | None:
    if locked is None:
        return None
    if locked["moved"]:
        raise StartAgain(f"execution {execution_id}: the lead changed its person")
    return LockedSend(
        database_now=locked["database_now"],
        person_id=locked["person_id"],
        execution=_execution(part_of(locked, "execution_")),
        lead=leads.locked(locked),
        next_fence=locked["next_fence"],
    )


_LOCK_LEAD = Hot(
    f"SELECT database_now, moved, {leads.LOCKED}, {fields_of('open_execution', 'execution_', _COLUMNS)} FROM lock_lead(%s)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedLead:
    """Person and lead are locked: the database's time, the lead, and its one open execution."""

    database_now: datetime
    lead: Lead
    open: Execution | None


def lock_lead(tx: Tx, lead_id: int) -> LockedLead | None:
    """Lock person, then lead. None: there is no such lead. Raises StartAgain."""
    row = tx.row(_LOCK_LEAD, (lead_id,))
    if row is None:
        return None
    if row["moved"]:
        raise StartAgain(f"lead {lead_id} changed its person")
    execution = part_of(row, "execution_")
    return LockedLead(
        database_now=row["database_now"],
        lead=leads.locked(row),
        open=None if execution["id"] is None else _execution(execution),
    )


_PLAN = Hot("""
INSERT INTO execution (lead_id, action_id, visit, sequence_id, kind, channel, account_id, app_id, identity_id, state, cause,
                       cause_deadline, cause_node, first_due_at, late_at, variant, created_at)
VALUES (%(lead_id)s, %(action_id)s, %(visit)s, %(sequence_id)s, %(kind)s, %(channel)s, %(account_id)s, %(app_id)s,
        %(identity_id)s, 'planned', %(cause)s, %(cause_deadline)s, %(cause_node)s, %(first_due_at)s, %(late_at)s, %(variant)s, %(now)s)
ON CONFLICT (lead_id, action_id, visit) DO NOTHING RETURNING id""")


def plan(tx: Tx, values: Mapping[str, Any]) -> int:
    """The planned row of (lead, action, visit): a new one, or the one that stands there."""
    inserted = tx.row(_PLAN, values)
    if inserted:
        return int(inserted["id"])
    return int(
        tx.one(
            "SELECT id FROM execution WHERE lead_id = %(lead_id)s AND action_id = %(action_id)s AND visit = %(visit)s",
            values,
        )["id"]
    )


_BEGIN_CALL = Hot("""
UPDATE execution SET state = 'calling', fence = %(fence)s, started_at = %(now)s, call_deadline = %(deadline)s,
       effect_by = %(deadline)s, attempts = attempts + 1, epoch = %(epoch)s, body_hash = %(body_hash)s, touch = %(touch)s,
       verdict = %(verdict)s, reason = NULL, read_backs = 0, next_read_at = NULL
 WHERE id = %(id)s""")


def begin_call(tx: Tx, execution_id: int, values: Mapping[str, Any]) -> None:
    """planned -> calling; the caller has seen it planned under its lock. `values`: fence, now, deadline, epoch, body_hash, touch, verdict."""
    tx.write(_BEGIN_CALL, {**values, "id": execution_id, "verdict": to_json(values["verdict"])})


_SETTLE_SENT = Hot("""
UPDATE execution SET state = 'sent', sent_at = %(sent_at)s, effect_by = greatest(%(effect_by)s, started_at), settled_at = %(now)s,
       provider_ids = provider_ids || %(ids)s::jsonb, reason = NULL, started_at = coalesce(started_at, %(sent_at)s),
       done_by = coalesce(%(done_by)s, done_by), observed = coalesce(%(observed)s, observed)
 WHERE id = %(id)s""")


def settle_sent(
    tx: Tx,
    execution_id: int,
    *,
    sent_at: datetime,
    effect_by: datetime,
    now: datetime,
    ids: Mapping[str, str],
    done_by: str | None = None,
    observed: bool | None = None,
) -> None:
    """Any open state (or a claimed task's plan) -> sent. A later answer may add ids, never change the instant of effect."""
    tx.write(
        _SETTLE_SENT,
        {
            "id": execution_id, "sent_at": sent_at, "effect_by": effect_by, "now": now, "ids": to_json(dict(ids)), "done_by": done_by,
            "observed": observed,
        },
    )  # fmt: skip


def add_ids(tx: Tx, execution_id: int, ids: Mapping[str, str]) -> None:
    """What the provider calls it."""
    tx.write(
        "UPDATE execution SET provider_ids = provider_ids || %s WHERE id = %s",
        (to_json(dict(ids)), execution_id),
    )


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


_WRITE_BODY = Hot("""
INSERT INTO message_body (execution_id, subject, body, written_at) VALUES (%s, %s, %s, %s)
    ON CONFLICT (execution_id) DO UPDATE SET subject = excluded.subject, body = excluded.body, written_at = excluded.written_at""")


def write_body(tx: Tx, execution_id: int, subject: str | None, body: str, now: datetime) -> None:
    """What is about to be said; erasable, apart from the ledger."""
    tx.write(_WRITE_BODY, (execution_id, subject, body, now))


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


def body_of(tx: Tx, execution_id: int) -> str | None:
    """What was said, unless it was erased."""
    found: str | None = tx.value("SELECT body FROM message_body WHERE execution_id = %s", (execution_id,))
    return found
