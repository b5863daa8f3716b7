"""Tasks: a human acts where the engine may not. Claiming runs T1's checks; one holder, one deadline; never offered twice."""

from dataclasses import dataclass
from datetime import datetime

from outreach.compliance import gate
from outreach.compliance.facts import Performer
from outreach.compliance.verdicts import Decision, Verdict
from outreach.content.rendering import Rendered
from outreach.engine.events import EventKind
from outreach.engine.kinds import ExecutionState, WaitingOn
from outreach.errors import ConflictError, RefusedByGate, UsageError
from outreach.models import claims, executions, leads, persons, sequences, tasks
from outreach.models.base import Row, Tx
from outreach.models.leads import Lead
from outreach.providers.base import fingerprint
from outreach.runtime.claim import block
from outreach.runtime.context import Context
from outreach.runtime.draining import drain
from outreach.runtime.hints import Hints
from outreach.runtime.late import pass_over
from outreach.runtime.moving import go_on
from outreach.runtime.prepare import render_for
from outreach.runtime.reading import Question, read_facts
from outreach.runtime.reviewing import answer as answer_review
from outreach.runtime.scopes import scopes_of, to_lock
from outreach.runtime.settle import absent, refuse, sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A claimed task: what to do, for whom, by which account, until when."""

    task_id: int
    execution_id: int
    action: str
    account: str
    recipient: str
    recipient_kind: str
    person_id: int
    text: str | None
    subject: str | None
    reason: str
    holder: str
    deadline: datetime


def start(ctx: Context, task_id: int, holder: str) -> Started:
    """Claim an open `act` task. Raises RefusedByGate with the rule that stands against it, ConflictError if it is taken."""

    def work(tx: Tx) -> Started | Verdict:
        task = _open_act(tx, task_id)
        row = claims.prepare(tx, task["execution_id"])
        assert row is not None
        graph = sequences.graph_of(tx, row["version_id"])
        scopes = scopes_of(row, graph)
        locked = executions.lock_for_send(tx, task["execution_id"], to_lock(scopes))
        assert locked is not None
        lead = leads.read(tx, task["lead_id"])
        now = ctx.clock.at(locked.database_now)
        text = render_for(row, graph)
        if text is not None and not isinstance(text, Rendered):
            raise UsageError(
                f"task {task_id}: the text cannot be rendered: {text}",
                hint="outreach why shows what the lead lacks",
            )
        question = Question(
            execution_id=task["execution_id"], graph=graph, version_id=lead.version_id, scopes=scopes, epoch=lead.epoch, performer=Performer.HUMAN
        )  # fmt: skip
        facts, _ = read_facts(ctx, tx, question, now)
        verdict = gate.decide(facts)
        if not verdict.allowed:
            _refused(ctx, tx, lead, task, verdict, now)
            return verdict
        deadline = now + ctx.machine(ctx.settings.task_claim_seconds)
        if not tasks.claim(tx, task_id, holder, now=now, deadline=deadline):
            raise ConflictError(f"task {task_id} has just been taken")
        body_hash = fingerprint(text.text) if text else None
        executions.reserve_for_human(
            tx, task["execution_id"], now=now, deadline=deadline, touch=facts.is_touch, body_hash=body_hash
        )
        if text is not None:
            body = {"subject": text.subject, "body": text.text, "written_at": now}
            executions.write_bodies(tx, [{"execution_id": task["execution_id"], **body}])
        lead.wait(deadline, WaitingOn.TASK, f"held by {holder}")
        lead.log(
            EventKind.TASK_CLAIMED, now, actor=holder, execution_id=task["execution_id"], task_id=task_id
        )
        lead.write(tx)
        return _started(task, row, text, holder, deadline)

    answer = ctx.db.run(work)
    if isinstance(answer, Verdict):
        raise refusal(answer)
    return answer


def refusal(verdict: Verdict) -> RefusedByGate:
    """The verdict as an error for people."""
    until = f" (earliest {verdict.until:%Y-%m-%d %H:%M} UTC)" if verdict.until else ""
    return RefusedByGate(f"{verdict.rule}: {verdict.meaning}{until}")


def _started(task: Row, row: Row, text: Rendered | None, holder: str, deadline: datetime) -> Started:
    return Started(
        task_id=task["id"],
        execution_id=task["execution_id"],
        action=row["kind"],
        account=row["account_name"],
        recipient=row["recipient"],
        recipient_kind=row["identity_kind"],
        person_id=row["person_id"],
        text=text.text if text else None,
        subject=text.subject if text else None,
        reason=task["reason"],
        holder=holder,
        deadline=deadline,
    )


def _open_act(tx: Tx, task_id: int) -> Row:
    task = tasks.read(tx, task_id)
    if task["kind"] != "act":
        raise UsageError(
            f"task {task_id} asks for a decision, not for an act",
            hint=f"outreach task done {task_id} or skip {task_id}",
        )
    if task["state"] != "open":
        holder = f" by {task['holder']}" if task["holder"] else ""
        raise ConflictError(f"task {task_id} is {task['state']}{holder}")
    return task


def _refused(ctx: Context, tx: Tx, lead: Lead, task: Row, verdict: Verdict, now: datetime) -> None:
    """What the gate says of a human binds as it does the engine: a block ends it, a deferral leaves the task open for later."""
    if verdict.rule == "evidence.contradicted":
        go_on(ctx, tx, lead, now)
        lead.write(tx)
        return
    if verdict.stale or verdict.decision not in (Decision.BLOCK, Decision.SKIP):
        return
    if verdict.decision is Decision.SKIP:
        pass_over(ctx, tx, lead, task["execution_id"], now)
        lead.write(tx)
        return
    tasks.close(tx, task["id"], "void", verdict.rule, "engine", now)
    block(ctx, tx, lead, task["execution_id"], verdict, now)
    lead.write(tx)


# --- the human answers ---------------------------------------------------------------------------------------


def done(ctx: Context, task_id: int, by: str, *, at: datetime | None = None) -> Hints:
    """The human says it is done (or, of a held one, that it is there): it counts as sent. `at`: when; None: now.

    Raises UsageError for a task that was never started, ConflictError for one that is closed.
    """
    return _close(ctx, task_id, by, happened=True, at=at)


def skip(ctx: Context, task_id: int, by: str) -> Hints:
    """The human says it is not done and will not be; the lead takes its FAILED edge or exits."""
    return _close(ctx, task_id, by, happened=False, at=None)


def again(ctx: Context, task_id: int, by: str) -> Hints:
    """The human has looked for a held one and it is not there: it is planned again, and passes every check anew.

    Raises UsageError for a task that asks something else, ConflictError for one that is closed.
    """
    return ctx.db.run(lambda tx: _again(ctx, tx, task_id, by))


def _again(ctx: Context, tx: Tx, task_id: int, by: str) -> Hints:
    task = tasks.read(tx, task_id)
    if task["kind"] != "held":
        raise UsageError(
            f"task {task_id} is about nothing held", hint=f"outreach task skip {task_id} ends it"
        )
    locked = executions.lock_for_settlement(tx, task["execution_id"])
    assert locked is not None
    lead, now = locked.lead, ctx.clock.at(locked.database_now)
    if not tasks.close(tx, task_id, "done", "not there", by, now):
        raise ConflictError(f"task {task_id} is closed already")
    lead.log(
        EventKind.TASK_CLOSED, now, actor=by, execution_id=locked.execution.id, task_id=task_id, state="done"
    )
    found: Hints = []
    if locked.execution.state is ExecutionState.HELD:
        found = absent(ctx, tx, lead, locked.execution, now, reason=f"not there, says {by}", actor=by)
    if lead.draining:
        drain(ctx, tx, lead.person_id, now)
    lead.write(tx)
    return found


def _close(ctx: Context, task_id: int, by: str, *, happened: bool, at: datetime | None) -> Hints:
    def work(tx: Tx) -> Hints:
        task = tasks.read(tx, task_id)
        if task["state"] not in ("open", "claimed", "asked"):
            raise ConflictError(f"task {task_id} is {task['state']} already ({task['outcome']})")
        if task["kind"] == "review":
            return answer_review(ctx, tx, task, by, send=happened)
        if task["kind"] == "decide" and task["execution_id"] is not None:
            return _decided_late(ctx, tx, task, by, send=happened)
        if task["kind"] == "decide":
            return _decided(ctx, tx, task, by, resume=happened)
        if task["kind"] == "act" and happened and task["state"] == "open":
            raise UsageError(
                f"task {task_id} was never started",
                hint=f"outreach task start {task_id} checks that it may be done",
            )
        return _answered(ctx, tx, task, by, happened=happened, at=at)

    return ctx.db.run(work)


def _answered(ctx: Context, tx: Tx, task: Row, by: str, *, happened: bool, at: datetime | None) -> Hints:
    locked = executions.lock_for_settlement(tx, task["execution_id"])
    assert locked is not None
    lead = leads.read(tx, task["lead_id"])
    now = ctx.clock.at(locked.database_now)
    if not tasks.close(tx, task["id"], "done" if happened else "skipped", "said", by, now):
        raise ConflictError(f"task {task['id']} was closed meanwhile")
    lead.log(
        EventKind.TASK_CLOSED,
        now,
        actor=by,
        execution_id=task["execution_id"],
        task_id=task["id"],
        state="done" if happened else "skipped",
    )
    found = _settle_by_human(ctx, tx, lead, locked.execution, by, now, happened=happened, at=at)
    if lead.draining:
        drain(ctx, tx, lead.person_id, now)
    lead.write(tx)
    return found


def _settle_by_human(
    ctx: Context, tx: Tx, lead: Lead, execution: executions.Execution, by: str, now: datetime, *, happened: bool, at: datetime | None
) -> Hints:  # fmt: skip
    if execution.state not in (ExecutionState.PLANNED, ExecutionState.HELD):
        return []
    if happened:
        moment = min(max(at or now, execution.started_at or now), now)
        return sent(
            ctx, tx, lead, execution, at=moment, now=now, ids={}, how="said", done_by=by, observed=False, actor=by
        )  # fmt: skip
    return refuse(ctx, tx, lead, execution, ExecutionState.SKIPPED, f"skipped by {by}", now, actor=by)


def _decided_late(ctx: Context, tx: Tx, task: Row, by: str, *, send: bool) -> Hints:
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


def _decided(ctx: Context, tx: Tx, task: Row, by: str, *, resume: bool) -> Hints:
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
