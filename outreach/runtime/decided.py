"""What a human says to a question: an unclear reply is none to stop at, a late step is sent all the same. Under the caller's transaction."""

from datetime import datetime

from outreach.engine.events import EventKind
from outreach.engine.kinds import WaitingOn
from outreach.errors import ConflictError
from outreach.models import executions, leads, persons, sequences, tasks
from outreach.models.base import Row, Tx
from outreach.models.leads import Lead
from outreach.runtime.context import Context
from outreach.runtime.hints import Hints
from outreach.runtime.late import pass_over
from outreach.runtime.moving import go_on


def decided_late(ctx: Context, tx: Tx, task: Row, by: str, *, send: bool) -> Hints:
    """A step came too late. done: it is sent all the same, if T1 allows it; skip: it is passed over."""
    locked = executions.lock_for_settlement(tx, task["execution_id"])
    assert locked is not None
    lead = leads.read(tx, task["lead_id"])
    now = ctx.clock.at(locked.database_now)
    state = "done" if send else "skipped"
    if not tasks.close(tx, task["id"], state, "send it" if send else "pass over", by, now):
        raise ConflictError(f"task {task['id']} was closed meanwhile")
    lead.log(
        EventKind.TASK_CLOSED,
        now,
        actor=by,
        execution_id=locked.execution.id,
        task_id=task["id"],
        state=state,
    )
    if send:
        found = _send_late(ctx, tx, lead, locked.execution.id, now)
    else:
        found = pass_over(ctx, tx, lead, locked.execution.id, now, actor=by)
    lead.write(tx)
    return found


def _send_late(ctx: Context, tx: Tx, lead: Lead, execution_id: int, now: datetime) -> Hints:
    """It has its time again: what a human allowed today is not sent in half a year."""
    lateness = sequences.graph_of(tx, lead.version_id).node(lead.cursor).lateness
    assert lateness is not None, "a step without a limit is never late"
    executions.allow_until(tx, execution_id, now + lateness.after)
    lead.wait(now, WaitingOn.TIME)
    return go_on(ctx, tx, lead, now)


def decided_unclear(ctx: Context, tx: Tx, task: Row, by: str, *, resume: bool) -> Hints:
    """A human has read the unclear reply. done: no opt-out, the person goes on; skip: they stay paused."""
    person = persons.lock_present(tx, task["person_id"])
    assert person is not None
    now = ctx.clock.at(person.database_now)
    tasks.close(
        tx, task["id"], "done" if resume else "skipped", "resumed" if resume else "left paused", by, now
    )
    if not resume:
        return []
    return resume_person(ctx, tx, person.id, now, by)


def resume_person(ctx: Context, tx: Tx, person_id: int, now: datetime, by: str) -> Hints:
    """The person's leads go on; the caller holds the person's row."""
    persons.set_paused(tx, person_id, None, now)
    found: Hints = []
    for lead_id in leads.of_person(tx, person_id):
        lead = leads.read(tx, lead_id)
        lead.log(EventKind.PERSON_RESUMED, now, actor=by)
        lead.wait(now, WaitingOn.TIME)
        found += go_on(ctx, tx, lead, now)
        lead.write(tx)
    return found
