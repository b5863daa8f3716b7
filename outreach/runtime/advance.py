"""advance: decide and write down one step for one lead. Idempotent; also the reaper of calls past their deadline."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from outreach.engine.events import EventKind
from outreach.engine.kinds import ExecutionState
from outreach.models import executions, leads
from outreach.models.base import Tx
from outreach.models.executions import Execution
from outreach.models.leads import Lead
from outreach.runtime import hints
from outreach.runtime.context import Context
from outreach.runtime.hints import Hints
from outreach.runtime.moving import go_on, go_on_all
from outreach.runtime.reconcile import read_back_at


def advance(ctx: Context, lead_id: int) -> Hints:
    """Look at a lead; what to look at next."""
    return advance_all(ctx, [lead_id])[0]


def advance_all(ctx: Context, lead_ids: Sequence[int]) -> list[Hints]:
    """The same for several, in one transaction; a lead that is asked about twice is looked at once."""

    def work(tx: Tx) -> dict[int, Hints]:
        locked = executions.lock_leads(tx, list(dict.fromkeys(lead_ids)))
        if not locked:
            return {}
        now = ctx.clock.at(max(one.database_now for one in locked.values()))
        # A lead that has left may have a call under way still.
        reaped = {id_: _reap(ctx, tx, one.lead, one.open, now) for id_, one in locked.items()}
        others = [one.lead for id_, one in locked.items() if not reaped[id_]]
        found = dict(zip([lead.id for lead in others], go_on_all(ctx, tx, others, now), strict=True))
        leads.write_all(tx, [one.lead for one in locked.values()])
        return reaped | found

    by_lead = ctx.db.run(work, shared=len(lead_ids) > 1)
    return [by_lead.pop(lead_id, []) for lead_id in lead_ids]


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
