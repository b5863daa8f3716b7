"""late: a step that came too late is passed over. Not an entry point: T1 and the human's answer call it under their locks."""

from datetime import datetime

from outreach.engine.events import EventKind
from outreach.engine.kinds import ExecutionState
from outreach.models import executions, reviews, tasks
from outreach.models.base import Tx
from outreach.models.leads import LATE, Lead
from outreach.runtime.context import Context
from outreach.runtime.hints import Hints
from outreach.runtime.moving import go_on


def pass_over(
    ctx: Context, tx: Tx, lead: Lead, execution_id: int, now: datetime, *, actor: str = "engine"
) -> Hints:
    """planned -> skipped for good; the lead goes on as if it were done, later clocks starting now."""
    task = tasks.of_execution(tx, execution_id)
    if task is not None:
        # Nobody has begun it: what a human holds is theirs, and T1 does not judge it.
        tasks.close(tx, task["id"], "void", LATE, actor, now)
        if task["kind"] == "review":
            reviews.wake(tx, lead, most=1, now=now)
        lead.log(EventKind.TASK_CLOSED, now, actor=actor, execution_id=execution_id, task_id=task["id"], state="void",
                 held_by=None)  # fmt: skip
    executions.settle_not(tx, execution_id, ExecutionState.SKIPPED, LATE, now)
    lead.attempts = 0
    lead.log(EventKind.ACTION_SKIPPED, now, actor=actor, execution_id=execution_id, reason=LATE)
    return go_on(ctx, tx, lead, now)
