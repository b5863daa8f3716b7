"""reconcile: ask the provider whether a doubtful call happened. Found: sent. Can't tell: held for a human, never resent."""

from datetime import datetime, timedelta

from outreach.engine.events import EventKind
from outreach.engine.kinds import ExecutionState, WaitingOn
from outreach.failpoints import failpoint
from outreach.models import claims, executions, leads, tasks
from outreach.models.base import Row, Tx
from outreach.models.executions import Execution, LockedSend
from outreach.models.leads import Lead
from outreach.providers.base import Call, CannotTell, Found, Idempotency, Missing, Provider, ReadBack
from outreach.runtime.context import Context
from outreach.runtime.credentials import account_ref, shut_out
from outreach.runtime.draining import drain
from outreach.runtime.hints import Hints
from outreach.runtime.moving import go_on
from outreach.runtime.settle import absent, sent
from outreach.vault import CannotOpen

#: One empty read is never proof of absence; after this many a human decides.
_READS = 2
#: Real seconds that the provider's clock may be behind ours.
_SKEW = timedelta(seconds=120)


def read_back_at(ctx: Context, execution: Execution) -> datetime:
    """When the provider may next be asked: the settle time S after the call's deadline, then S after each empty read."""
    assert execution.call_deadline is not None
    return execution.next_read_at or execution.call_deadline + ctx.settle


def reconcile(ctx: Context, execution_id: int) -> Hints:
    """Settle an in_doubt execution past its settle time, by reading back. A hint that came too early changes nothing."""
    asked = _question(ctx, execution_id)
    if asked is None:
        return []
    row, body, execution = asked
    assert execution.started_at is not None
    provider = ctx.providers[execution.channel]
    answer = _read_back(ctx, provider, row, body, ctx.clock.real(execution.started_at) - _SKEW)
    failpoint("readback.after")
    natural = provider.capabilities[execution.kind].idempotency is Idempotency.NATURAL
    return ctx.db.run(lambda tx: _write(ctx, tx, execution, answer, natural))


def _read_back(ctx: Context, provider: Provider, row: Row, body: str | None, since: datetime) -> ReadBack:
    """An account that cannot be opened cannot be read: after a while a human decides."""
    try:
        asked = _call(ctx, row, body)
    except CannotOpen as broken:
        shut_out(ctx, row["account_id"])
        return CannotTell(broken.message)
    return provider.read_back(asked, since)


def _question(ctx: Context, execution_id: int) -> tuple[Row, str | None, Execution] | None:
    def work(tx: Tx) -> tuple[Row, str | None, Execution] | None:
        row, execution = claims.prepare(tx, execution_id), executions.read(tx, execution_id)
        if row is None or execution is None or execution.state is not ExecutionState.IN_DOUBT:
            return None
        if ctx.clock.at(tx.database_now()) < read_back_at(ctx, execution):
            return None
        if (
            execution.channel not in ctx.providers
            or execution.kind not in ctx.providers[execution.channel].capabilities
        ):
            return None  # a newer release's call: it stays in doubt until somebody asks who can
        return row, executions.body_of(tx, execution_id), execution

    return ctx.db.run(work)


def _call(ctx: Context, row: Row, body: str | None) -> Call:
    return Call(
        kind=row["kind"],
        account=account_ref(ctx.vault, row),
        recipient=row["recipient"],
        body=body,
        deadline_seconds=ctx.settings.call_deadline_seconds,
    )


def _write(ctx: Context, tx: Tx, asked: Execution, answer: ReadBack, natural: bool) -> Hints:
    locked = executions.lock_for_settlement(tx, asked.id)
    if locked is None or not _still_asked(asked, locked.execution):
        return []
    assert locked.execution.lead_id is not None
    lead = leads.read(tx, locked.execution.lead_id)
    now = ctx.clock.at(locked.database_now)
    found = _answered(ctx, tx, lead, locked, answer, natural, now)
    if lead.draining:
        drain(ctx, tx, lead.person_id, now)
    lead.write(tx)
    failpoint("readback.in")
    return found


def _still_asked(asked: Execution, now: Execution) -> bool:
    """Is it the call that was asked about, and has nobody else brought an answer meanwhile?"""
    same_call = (asked.fence, asked.read_backs) == (now.fence, now.read_backs)
    return same_call and now.state is ExecutionState.IN_DOUBT


def _answered(
    ctx: Context, tx: Tx, lead: Lead, locked: LockedSend, answer: ReadBack, natural: bool, now: datetime
) -> Hints:
    execution = locked.execution
    match answer:
        case Found(at=at, ids=ids):
            # The provider's own time starts the clocks of later edges; it lies within the call.
            assert execution.started_at is not None and execution.call_deadline is not None
            seen = min(max(ctx.clock.business(at), execution.started_at), now)
            return sent(ctx, tx, lead, execution, at=seen, now=now, ids=dict(ids), how="read_back")
        case Missing() if natural:
            # The state was read and does not stand: setting it once more harms nobody.
            return absent(ctx, tx, lead, execution, now, reason="read back: not there")
        case _:
            return _unseen(ctx, tx, lead, execution, now)


def _unseen(ctx: Context, tx: Tx, lead: Lead, execution: Execution, now: datetime) -> Hints:
    """Not seen, or not readable: looked at again, then held for a human. It goes on counting as used."""
    executions.note_read_back(tx, execution.id, now + ctx.settle)
    if execution.read_backs + 1 < _READS:
        if lead.active:
            lead.wait(now + ctx.settle, WaitingOn.DOUBT, "in_doubt")
        return []
    hold(tx, lead, execution, now)
    return go_on(ctx, tx, lead, now)


def hold(tx: Tx, lead: Lead, execution: Execution, now: datetime) -> None:
    """in_doubt -> held: a human looks at the provider's own pages and says whether it is there."""
    executions.hold(tx, execution.id, "the provider's pages do not show it, and cannot prove its absence")
    task_id = tasks.open_one(
        tx, kind="held", lead_id=lead.id, execution_id=execution.id, person_id=lead.person_id, reason="held", now=now,
        detail={"action": execution.kind, "read_backs": execution.read_backs + 1},
    )  # fmt: skip
    lead.log(EventKind.ACTION_HELD, now, execution_id=execution.id, task_id=task_id)
