"""observe: the provider shows that a human did what they have in hand. It is done, observed, whoever has or has not said so."""

from datetime import datetime

from outreach.engine.events import EventKind
from outreach.engine.kinds import ExecutionState
from outreach.models import executions, leads, tasks
from outreach.models.base import Row, Tx
from outreach.models.leads import Lead
from outreach.runtime.context import Context
from outreach.runtime.draining import drain
from outreach.runtime.hints import Hints
from outreach.runtime.settle import sent


def close_observed(tx: Tx, lead: Lead, task: Row, now: datetime) -> None:
    """The task is over; the caller settles its execution."""
    tasks.close(tx, task["id"], "done", "observed at the provider", task["holder"] or "engine", now)
    lead.log(
        EventKind.TASK_CLOSED,
        now,
        execution_id=task["execution_id"],
        task_id=task["id"],
        state="done",
        observed=True,
    )


def observe(ctx: Context, execution_id: int, at: datetime) -> Hints:
    """A look-up at `at` shows what the claimed task of this execution was to bring about."""

    def work(tx: Tx) -> Hints:
        locked = executions.lock_for_settlement(tx, execution_id)
        task = tasks.of_execution(tx, execution_id)
        if locked is None or task is None or locked.execution.state is not ExecutionState.PLANNED:
            return []
        started = locked.execution.started_at
        if started is None or locked.execution.lead_id is None:
            return []
        lead, now = leads.read(tx, locked.execution.lead_id), ctx.clock.at(locked.database_now)
        close_observed(tx, lead, task, now)
        found = sent(
            ctx, tx, lead, locked.execution, at=min(max(at, started), now), now=now, ids={}, how="look_up",
            done_by=task["holder"], observed=True,
        )  # fmt: skip
        if lead.draining:
            drain(ctx, tx, lead.person_id, now)
        lead.write(tx)
        return found

    return ctx.db.run(work)
