"""advance: decide and write down one step for one lead. Idempotent; also the reaper of calls past their deadline."""

from dataclasses import replace
from datetime import datetime

from outreach.engine.events import EventKind
from outreach.engine.kinds import ExecutionState
from outreach.models import executions
from outreach.models.base import Tx
from outreach.models.executions import Execution
from outreach.models.leads import Lead
from outreach.runtime import hints
from outreach.runtime.context import Context
from outreach.runtime.hints import Hints
from outreach.runtime.moving import go_on
from outreach.runtime.reconcile import read_back_at


def advance(ctx: Context, lead_id: int) -> Hints:
    """Look at a lead; what to look at next."""

    def work(tx: Tx) -> Hints:
        locked = executions.lock_lead(tx, lead_id)
        if locked is None:
            return []
        lead, now = locked.lead, ctx.clock.at(locked.database_now)
        # A lead that has left may have a call under way still.
        found = _reap(ctx, tx, lead, locked.open, now) or go_on(ctx, tx, lead, now)
        lead.write(tx)
        return found

    return ctx.db.run(work)


def _reap(ctx: Context, tx: Tx, lead: Lead, execution: Execution | None, now: datetime) -> Hints:
    """A call past its deadline is in doubt, never planned; past its settle time the provider is asked."""
    if execution is None or execution.call_deadline is None:
        return []
    deadline = execution.call_deadline
    if execution.state is ExecutionState.CALLING and deadline <= now:
        executions.doubt(tx, execution.id)
        lead.log(
            EventKind.ACTION_IN_DOUBT, now, execution_id=execution.id, why="no answer before the deadline"
        )
        execution = replace(execution, state=ExecutionState.IN_DOUBT)
    if execution.state is ExecutionState.IN_DOUBT and read_back_at(ctx, execution) <= now:
        go_on(ctx, tx, lead, now)
        return [hints.reconcile(execution.id)]
    return []
