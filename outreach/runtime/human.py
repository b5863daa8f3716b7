"""A human answers a task: done (as it stood, or in words of their own), skip, never, again, release. What they did counts as sent."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from outreach.engine.events import EventKind
from outreach.engine.kinds import ExecutionState, WaitingOn
from outreach.errors import ConflictError, NotFound, UsageError
from outreach.models import events, executions, leads, persons, tasks
from outreach.models.base import Row, Tx
from outreach.models.executions import Execution, LockedSend
from outreach.models.leads import Lead
from outreach.providers.base import fingerprint
from outreach.runtime.context import Context
from outreach.runtime.decided import decided_late, decided_unclear
from outreach.runtime.draining import drain
from outreach.runtime.hints import Hints
from outreach.runtime.moving import task_look
from outreach.runtime.optout import suppress
from outreach.runtime.reviewing import answer as answer_review
from outreach.runtime.settle import absent, refuse, sent

_OVER = ("done", "skipped", "void")
#: Why a task was taken out of somebody's hands, by its outcome.
_WHY_VOID = {
    "unsubscribed": "they asked not to be contacted",
    "blocked_us": "they have blocked us",
    "replied": "they have answered",
    "merged_duplicate": "it turned out that somebody else writes to the same person",
    "late": "it came too late",
    "task_expired": "nobody began it in time",
}
#: Real seconds that the provider's clock may be behind ours.
_SKEW = timedelta(seconds=120)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the human says. `at`: when they did it; `text`: what they sent in place of what was proposed."""

    by: str
    happened: bool
    at: datetime | None = None
    text: str | None = None


def done(
    ctx: Context, task_id: int, by: str, *, at: datetime | None = None, text: str | None = None, before: bool = False
) -> Hints:  # fmt: skip
    """The human says it is done (or, of a held one, that it is there): it counts as sent. `at`: when; None: now.

    `text`: what they sent, where it is not what was proposed. `before`: it was done before the task became void, and counts.
    Raises UsageError for a task that was never started, ConflictError for one that is closed or in other hands.
    """
    if before:
        return ctx.db.run(lambda tx: _done_before(ctx, tx, task_id, by, at))
    return _close(ctx, task_id, Answer(by=by, happened=True, at=at, text=text))


def skip(ctx: Context, task_id: int, by: str) -> Hints:
    """The human says it is not done and will not be; the lead takes its FAILED edge or exits."""
    return _close(ctx, task_id, Answer(by=by, happened=False))


def _close(ctx: Context, task_id: int, answer: Answer) -> Hints:
    def work(tx: Tx) -> Hints:
        task = tasks.read(tx, task_id)
        _require_live(ctx, tx, task, answer.by)
        if answer.text is not None and (task["kind"] != "act" or not answer.text.strip()):
            raise UsageError(
                f"task {task_id} takes no text" if answer.text.strip() else "the text that was sent is empty"
            )
        if task["kind"] == "review":
            return answer_review(ctx, tx, task, answer.by, send=answer.happened)
        if task["kind"] == "decide" and task["execution_id"] is not None:
            return decided_late(ctx, tx, task, answer.by, send=answer.happened)
        if task["kind"] == "decide":
            return decided_unclear(ctx, tx, task, answer.by, resume=answer.happened)
        if task["kind"] == "act" and answer.happened and task["state"] == "open":
            raise UsageError(
                f"task {task_id} was never started",
                hint=f"outreach task start {task_id} checks that it may be done",
            )
        return _answered(ctx, tx, task, answer)

    return ctx.db.run(work)


def _require_live(ctx: Context, tx: Tx, task: Row, by: str) -> None:
    """Raises ConflictError: it is over, or in somebody else's hands. Whom the task was taken from is told what happened."""
    if task["state"] in _OVER:
        raise ConflictError(
            f"task {task['id']} is {task['state']} already: {why_over(task)}", hint=_if_done_before(task, by)
        )
    others = task["state"] == "claimed" and task["holder"] != by
    if others and task["deadline"] > ctx.clock.at(tx.database_now()):
        raise ConflictError(
            f"task {task['id']} is in the hands of {task['holder']} until {task['deadline']:%H:%M} UTC",
            hint=f"--by {task['holder']} answers for them",
        )


def why_over(task: Row) -> str:
    """Why a closed task is closed, for people."""
    outcome = str(task["outcome"])
    return _WHY_VOID.get(outcome, outcome)


def _if_done_before(task: Row, by: str) -> str | None:
    if task["state"] != "void" or task["holder"] != by or task["kind"] != "act":
        return None
    return (
        "do not do it any more. If you had done it before you read this,"
        f" it counts: outreach task done {task['id']} --before"
    )


def _answered(ctx: Context, tx: Tx, task: Row, answer: Answer) -> Hints:
    locked, lead, now = _locked(ctx, tx, task)
    state = "done" if answer.happened else "skipped"
    outcome = "said, edited" if answer.text is not None else "said"
    if not tasks.close(tx, task["id"], state, outcome, answer.by, now):
        raise ConflictError(f"task {task['id']} was closed meanwhile")
    lead.log(
        EventKind.TASK_CLOSED, now, actor=answer.by, execution_id=task["execution_id"], task_id=task["id"], state=state, outcome=outcome
    )  # fmt: skip
    if answer.text is not None:
        text = answer.text.strip()
        executions.reword(tx, task["execution_id"], text, fingerprint(text), now)
    found = _settle_by_human(ctx, tx, lead, locked.execution, answer, now)
    return _written(ctx, tx, lead, found, now)


def _locked(ctx: Context, tx: Tx, task: Row) -> tuple[LockedSend, Lead, datetime]:
    locked = executions.lock_for_settlement(tx, task["execution_id"])
    assert locked is not None
    return locked, leads.read(tx, task["lead_id"]), ctx.clock.at(locked.database_now)


def _written(ctx: Context, tx: Tx, lead: Lead, found: Hints, now: datetime) -> Hints:
    if lead.draining:
        drain(ctx, tx, lead.person_id, now)
    lead.write(tx)
    return found


def _settle_by_human(ctx: Context, tx: Tx, lead: Lead, execution: Execution, answer: Answer, now: datetime) -> Hints:  # fmt: skip
    if execution.state not in (ExecutionState.PLANNED, ExecutionState.HELD):
        return []
    by = answer.by
    if answer.happened:
        moment = min(max(answer.at or now, execution.started_at or now), now)
        return sent(
            ctx, tx, lead, execution, at=moment, now=now, ids={}, how="said", done_by=by, observed=False, actor=by
        )  # fmt: skip
    return refuse(ctx, tx, lead, execution, ExecutionState.SKIPPED, f"skipped by {by}", now, actor=by)


# --- it was not there, it was not done -----------------------------------------------------------------------


def again(ctx: Context, task_id: int, by: str) -> Hints:
    """The human has looked for a held one and it is not there: it is planned again, and passes every check anew.

    Raises UsageError for a task that asks something else, ConflictError for one that is closed.
    """

    def work(tx: Tx) -> Hints:
        task = tasks.read(tx, task_id)
        if task["kind"] != "held":
            raise UsageError(
                f"task {task_id} is about nothing held", hint=f"outreach task skip {task_id} ends it"
            )
        locked, lead, now = _locked(ctx, tx, task)
        if not tasks.close(tx, task_id, "done", "not there", by, now):
            raise ConflictError(f"task {task_id} is closed already")
        lead.log(
            EventKind.TASK_CLOSED, now, actor=by, execution_id=locked.execution.id, task_id=task_id, state="done"
        )  # fmt: skip
        found: Hints = []
        if locked.execution.state is ExecutionState.HELD:
            found = absent(ctx, tx, lead, locked.execution, now, reason=f"not there, says {by}", actor=by)
        return _written(ctx, tx, lead, found, now)

    return ctx.db.run(work)


def release(ctx: Context, task_id: int, by: str) -> Hints:
    """The holder (of one that is asked about: anybody) says that it was not done: it is open again, and counts for nothing.

    Raises ConflictError for one that nobody has in hand, or somebody else.
    """

    def work(tx: Tx) -> Hints:
        task = tasks.read(tx, task_id)
        _require_live(ctx, tx, task, by)
        if task["state"] == "open" or task["kind"] != "act":
            raise UsageError(f"nobody has task {task_id} in hand")
        locked, lead, now = _locked(ctx, tx, task)
        if locked.execution.state is not ExecutionState.PLANNED or not tasks.release(tx, task_id):
            raise ConflictError(f"task {task_id} was closed meanwhile")
        executions.give_back(tx, task["execution_id"])
        lead.log(
            EventKind.TASK_RELEASED, now, actor=by, execution_id=task["execution_id"], task_id=task_id, held_by=task["holder"]
        )  # fmt: skip
        lead.wait(task_look(task, now), WaitingOn.TASK, task["reason"])
        return _written(ctx, tx, lead, [], now)

    return ctx.db.run(work)


# --- never again, and done before ----------------------------------------------------------------------------


def never(ctx: Context, task_id: int, by: str) -> bool:
    """This person is not to be contacted, ever: suppressed on every channel, their leads end, their tasks are void.

    True: already effective; False: a call to them is still under way. Whoever holds another task of theirs is told.
    """

    def work(tx: Tx) -> bool:
        task = tasks.read(tx, task_id)
        person = persons.lock_present(tx, task["person_id"])
        if person is None:
            raise NotFound(f"no person {task['person_id']}")
        now = ctx.clock.at(person.database_now)
        # One that is held asks whether something happened, and that question stays.
        if task["kind"] != "held" and task["holder"] in (None, by):
            tasks.close(tx, task_id, "skipped", "never", by, now)
        return suppress(
            ctx, tx, person.id, reason="a human said never", source="task", evidence={"task_id": task_id}, now=now, actor=by
        )  # fmt: skip

    return ctx.db.run(work)


def _done_before(ctx: Context, tx: Tx, task_id: int, by: str, at: datetime | None) -> Hints:
    """The act came before what made the task void: it happened, so the ledger says so, whatever has become of the lead."""
    task = tasks.read(tx, task_id)
    if task["state"] != "void" or task["claimed_at"] is None or task["holder"] != by:
        raise UsageError(f"task {task_id} was not taken out of the hands of {by}")
    locked, lead, now = _locked(ctx, tx, task)
    execution = locked.execution
    seen = executions.counted_by_hand(
        tx, execution.id, task["claimed_at"] - ctx.machine(_SKEW.total_seconds())
    )
    tasks.note_done_before(tx, task_id, now)
    if execution.state is not ExecutionState.CANCELLED or seen:
        return []
    moment = min(max(at or task["closed_at"], task["claimed_at"]), task["closed_at"])
    found = sent(
        ctx, tx, lead, execution, at=moment, now=now, ids={}, how="said", done_by=by, observed=False, actor=by
    )  # fmt: skip
    return _written(ctx, tx, lead, found, now)


# --- being told ----------------------------------------------------------------------------------------------


def tell_holder(ctx: Context, holder: str) -> list[Row]:
    """Tasks that were taken out of somebody's hands: once, and the log says that they were told."""

    def work(tx: Tx) -> list[Row]:
        rows = tasks.untold(tx, holder)
        if not rows:
            return []
        now = ctx.clock.at(tx.database_now())
        tasks.tell(tx, [row["id"] for row in rows], now)
        events.append(
            tx,
            [
                events.Event(
                    kind=EventKind.HOLDER_TOLD, at=now, actor=holder, person_id=row["person_id"], execution_id=row["execution_id"],
                    payload={"task_id": row["id"], "why": row["outcome"]},
                )
                for row in rows
            ],
        )  # fmt: skip
        return [{**row, "why": why_over(row)} for row in rows]

    return ctx.db.run(work)
