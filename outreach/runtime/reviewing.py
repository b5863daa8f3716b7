"""`review_first`: the first messages of a version wait until somebody has read each and said yes."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from outreach.content.rendering import Rendered
from outreach.engine.events import EventKind
from outreach.engine.graph import Graph
from outreach.engine.kinds import ExecutionState, WaitingOn
from outreach.errors import ConflictError, UsageError
from outreach.models import claims, executions, leads, reviews, sequences, tasks
from outreach.models.base import Row, Tx
from outreach.models.executions import LockedSend
from outreach.models.leads import Lead
from outreach.providers.base import fingerprint
from outreach.runtime.context import Context
from outreach.runtime.hints import Hints
from outreach.runtime.moving import go_on
from outreach.runtime.prepare import render_for

#: A message that waits for its turn to be read looks again this often; whoever makes room wakes it at once.
REVIEW_LOOK = timedelta(hours=1)
#: How soon (real seconds) to look again where another worker counts the version's messages at this moment.
_BUSY_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A message to be read: to whom, from which account, and what it says."""

    task_id: int
    person_id: int
    action: str
    account: str
    recipient: str
    recipient_kind: str
    text: str
    subject: str | None
    #: how many of the version have an OK, and how many it asks for
    approved: int
    wanted: int


def turn_of(ctx: Context, tx: Tx, lead: Lead, now: datetime) -> datetime | None:
    """None: its message may be put before a reader now; else when to look again. As many are shown as OKs are missing."""
    in_hand = reviews.in_hand(tx, lead.version_id)
    if in_hand is None:
        return now + ctx.machine(_BUSY_SECONDS)
    room = in_hand < sequences.graph_of(tx, lead.version_id).review_first
    return None if room else now + REVIEW_LOOK


def show(ctx: Context, task_id: int, by: str) -> Shown | None:
    """The message as it would be sent now; None where the task is no review. What was shown is what may be approved."""

    def work(tx: Tx) -> Shown | None:
        task = tasks.read(tx, task_id)
        if task["kind"] != "review":
            return None
        if task["state"] != "open":
            raise ConflictError(f"task {task_id} is {task['state']} already ({task['outcome']})")
        row, graph, text = _text(tx, task)
        reviews.note_shown(tx, task_id, {"shown_to": by, "body_hash": fingerprint(text.text)})
        return Shown(
            task_id=task_id, person_id=task["person_id"], action=row["kind"], account=row["account_name"], recipient=row["recipient"],
            recipient_kind=row["identity_kind"], text=text.text, subject=text.subject,
            approved=reviews.approved(tx, row["version_id"]), wanted=graph.review_first,
        )  # fmt: skip

    return ctx.db.run(work)


def _text(tx: Tx, task: Row) -> tuple[Row, Graph, Rendered]:
    row = claims.prepare(tx, task["execution_id"])
    assert row is not None
    graph = sequences.graph_of(tx, row["version_id"])
    text = render_for(row, graph)
    if not isinstance(text, Rendered):
        raise UsageError(
            f"task {task['id']}: the text cannot be rendered: {text}",
            hint="outreach why shows what the lead lacks",
        )
    return row, graph, text


def answer(ctx: Context, tx: Tx, task: Row, by: str, *, send: bool) -> Hints:
    """OK: this very text may go, and everything else is judged as ever. No: this one is not sent; another takes its place.

    Raises UsageError for a text that nobody has looked at, ConflictError for one that has changed since, or is closed.
    """
    locked = executions.lock_for_settlement(tx, task["execution_id"])
    assert locked is not None
    now = ctx.clock.at(locked.database_now)
    approved_hash = _seen(tx, task) if send else None
    state = "done" if send else "skipped"
    if not tasks.close(tx, task["id"], state, "approved" if send else "not to be sent", by, now):
        raise ConflictError(f"task {task['id']} was closed meanwhile")
    lead = leads.read(tx, task["lead_id"])
    lead.log(EventKind.TASK_CLOSED, now, actor=by, execution_id=locked.execution.id, task_id=task["id"], state=state)  # fmt: skip
    if approved_hash is not None:
        reviews.approve(tx, lead.version_id, locked.execution.id, approved_hash, by, now)
        found = _send(ctx, tx, lead, now)
    else:
        found = _leave_out(ctx, tx, lead, locked, by, now)
    lead.write(tx)
    _wake(tx, lead, now)
    return found


def _seen(tx: Tx, task: Row) -> str:
    """The text's fingerprint, if it is still the one that was shown."""
    shown = task["detail"].get("body_hash")
    if shown is None:
        raise UsageError(
            f"nobody has looked at task {task['id']} yet",
            hint=f"outreach task start {task['id']} shows the text",
        )
    if fingerprint(_text(tx, task)[2].text) != shown:
        raise ConflictError(
            f"the text of task {task['id']} has changed since it was shown",
            hint=f"outreach task start {task['id']} shows it as it is now",
        )
    return str(shown)


def _send(ctx: Context, tx: Tx, lead: Lead, now: datetime) -> Hints:
    lead.wait(now, WaitingOn.TIME)
    return go_on(ctx, tx, lead, now)


def _leave_out(ctx: Context, tx: Tx, lead: Lead, locked: LockedSend, by: str, now: datetime) -> Hints:
    if locked.execution.state is not ExecutionState.PLANNED:
        return []
    reason = f"not to be sent, says {by}"
    executions.settle_not(tx, locked.execution.id, ExecutionState.SKIPPED, reason, now)
    lead.log(EventKind.ACTION_FAILED, now, actor=by, execution_id=locked.execution.id,
             account_id=locked.execution.account_id, reason=reason, state=ExecutionState.SKIPPED.value)  # fmt: skip
    return go_on(ctx, tx, lead, now)


def _wake(tx: Tx, lead: Lead, now: datetime) -> None:
    """All that wait, once the version runs by itself; else one, to be read next."""
    over = reviews.approved(tx, lead.version_id) >= sequences.graph_of(tx, lead.version_id).review_first
    reviews.wake(tx, lead, most=None if over else 1, now=now)
