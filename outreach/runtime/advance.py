"""advance: decide and write down one step for one lead. Idempotent; also the reaper of calls past their deadline."""

from dataclasses import replace
from datetime import datetime

from outreach.engine.events import EventKind
from outreach.engine.kinds import ExecutionState
from outreach.models import executions, leads
from outreach.models.base import Tx
from outreach.models.leads import Lead
from outreach.runtime import hints
from outreach.runtime.context import Context
from outreach.runtime.hints import Hints
from outreach.runtime.moving import go_on
from outreach.runtime.reconcile import read_back_at


def advance(ctx: Context, lead_id: int) -> Hints:
    """Look at a lead; what to look at next."""

    def work(tx: Tx) -> Hints:
        locked = leads.lock(tx, lead_id)
        if locked is None:
            return []
        database_now, lead = locked
        now = ctx.clock.at(database_now)
        # A lead that has left may have a call under way still.
        found = _reap(ctx, tx, lead, now) or go_on(ctx, tx, lead, now)
        lead.write(tx)
        return found

    return ctx.db.run(work)


def _reap(ctx: Context, tx: Tx, lead: Lead, now: datetime) -> Hints:
    """A call past its deadline is in doubt, never planned; past its settle time the provider is asked."""
    execution = executions.open_of_lead(tx, lead.id)
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
