"""What an adopted database's backup does not know, seen at the provider: our own messages and follows settle the steps that they were.

Not an entry point: echoes and look-ups call it under their locks, while the instance is recovering. A message that is word for word
what a lead of the person would be sent, at its node or at one further on, was that step: the lead stands there, and it is sent, at
the provider's time. Words that no step explains are never guessed about: the person is paused until a human has read them.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from outreach.content.rendering import Rendered
from outreach.engine.events import EventKind
from outreach.engine.graph import Graph, Node, Variant
from outreach.engine.kinds import ActionKind, ExecutionState, ReplyClass, SignalKind, TriggerKind
from outreach.errors import NeedsNewerWorker
from outreach.models import adoptions, events, executions, leads, persons, reviews, sequences, tasks
from outreach.models.base import Row, Tx
from outreach.models.leads import Lead
from outreach.providers.base import fingerprint
from outreach.runtime.context import Context
from outreach.runtime.hints import Hints
from outreach.runtime.moving import go_on
from outreach.runtime.observing import close_observed
from outreach.runtime.prepare import render_for
from outreach.runtime.settle import sent

UNEXPLAINED = "restore.unexplained"
_HOW = "recovered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An own message that the backup does not know: its words, when, and its id at the provider."""

    inbound_id: int
    account_id: int
    #: whom it went to
    identity_id: int
    channel: str
    words: str
    at: datetime
    ids: dict[str, str]

    @property
    def body_hash(self) -> str:
        return fingerprint(self.words)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """The step of a lead that has these very words."""

    lead: Lead
    graph: Graph
    node: Node
    #: the nodes that the lead has passed on its way there; None: it stands further on
    way: tuple[str, ...] | None
    variant: Variant
    #: models.adoptions.leads_of's
    row: Row


def settle_said(ctx: Context, tx: Tx, person_id: int, said: Said, now: datetime) -> Hints | None:
    """The message was a step of theirs, and that step is sent now. None: it explains none. The caller has locked the person."""
    rows = adoptions.leads_of(tx, person_id, said.account_id, said.channel)
    for row in rows:
        step = _step_of(tx, row, said)
        found = None if step is None else _settle(ctx, tx, step, said, now)
        if found is not None:
            return found
    if rows:
        _ask_a_human(ctx, tx, person_id, said, now)
    return None


def _step_of(tx: Tx, row: Row, said: Said) -> _Step | None:
    try:
        graph = sequences.graph_of(tx, row["version_id"])
    except NeedsNewerWorker:
        return None
    for node, way in _places(graph, row["cursor"]):
        for variant in node.message.variants if node.message and node.channel == said.channel else ():
            text = render_for({**row, "cursor": node.key, "variant": variant.key}, graph)
            if isinstance(text, Rendered) and fingerprint(text.text) == said.body_hash:
                lead = leads.read(tx, row["lead_id"])
                return _Step(lead=lead, graph=graph, node=node, way=way, variant=variant, row=row)
    return None


def _places(graph: Graph, cursor: str) -> Iterator[tuple[Node, tuple[str, ...] | None]]:
    """Where a lead may have spoken: at its node and at those that can follow it, the nearest first, each with the nodes on the way
    there; then (None) at those that it cannot come to any more: told out of order, a message may belong to a step before."""
    start: tuple[str, tuple[str, ...]] = (cursor, ())
    seen, waiting = {cursor}, deque([start])
    while waiting:
        key, way = waiting.popleft()
        node = graph.node(key)
        yield node, way
        following = [edge.to for edge in node.edges if edge.to is not None and edge.to not in seen]
        seen.update(following)
        waiting.extend((to, (*way, key)) for to in following)
    yield from ((node, None) for key, node in graph.nodes.items() if key not in seen)


def _settle(ctx: Context, tx: Tx, step: _Step, said: Said, now: datetime) -> Hints | None:
    lead = step.lead
    if step.way:
        _stand_at(tx, step, said, now)
    planned = executions.plan(tx, [_row(tx, step, step.node, said, now)])[lead.id]
    execution = executions.read(tx, planned)
    if execution is None or execution.state is not ExecutionState.PLANNED:
        # This passage of the node has said it before, and the ledger knows: these are the same words once more.
        return None
    task = tasks.of_execution(tx, planned)
    if task is not None:
        close_observed(tx, lead, task, now)
    adoptions.note_said(tx, planned, variant=step.variant.key, body_hash=said.body_hash, at=said.at)
    executions.write_bodies(
        tx, [{"execution_id": planned, "subject": None, "body": said.words, "written_at": now}]
    )
    _hear_answers(tx, lead, said, now)
    lead.epoch += 1
    found = sent(ctx, tx, lead, _read(tx, planned), at=min(said.at, now), now=now, ids=said.ids, how=_HOW)
    lead.write(tx)
    return found


def _hear_answers(tx: Tx, lead: Lead, said: Said, now: datetime) -> None:
    """What the person wrote after it was understood before anybody knew that we had written: it is an answer all the same."""
    for row in adoptions.answers(tx, lead.person_id, said.channel, said.at):
        kind = SignalKind.OUT_OF_OFFICE if row["class"] == ReplyClass.OUT_OF_OFFICE else SignalKind.REPLIED
        if leads.add_signal(
            tx, lead.id, kind, row["content_id"], at=row["occurred_at"], now=now, inbound_id=row["id"], reply_class=row["class"]
        ):  # fmt: skip
            lead.log(
                EventKind.SIGNAL_RECEIVED,
                now,
                signal=kind.value,
                reply_class=row["class"],
                inbound_id=row["id"],
            )


def _read(tx: Tx, execution_id: int) -> executions.Execution:
    execution = executions.read(tx, execution_id)
    assert execution is not None, "it was planned in this transaction"
    return execution


def _stand_at(tx: Tx, step: _Step, said: Said, now: datetime) -> None:
    """The lead had come here after the backup: what it stood at before is over, whatever came of it."""
    lead, graph, node = step.lead, step.graph, step.node
    why = adoptions.GONE_ON
    for task in tasks.void_of_lead(tx, lead.id, why, now):
        if task["kind"] == "review":
            reviews.wake(tx, lead, most=1, now=now)
        lead.log(
            EventKind.TASK_CLOSED,
            now,
            execution_id=task["execution_id"],
            task_id=task["id"],
            state="void",
            held_by=task["holder"],
        )
    # Whether they were followed on the way is still to be looked up, also where nobody had planned it yet.
    follows = [
        graph.node(key) for key in step.way or () if graph.node(key).kind is ActionKind.FOLLOW_ON_TWITTER
    ]
    for follow in follows:
        executions.plan(tx, [_row(tx, step, follow, said, now)])
    for execution_id in adoptions.cancel_passed(
        tx, lead.id, now, but=ActionKind.FOLLOW_ON_TWITTER.value, identity_id=said.identity_id
    ):
        lead.log(EventKind.ACTION_CANCELLED, now, execution_id=execution_id, reason=why)
    lead.log(
        EventKind.LEAD_MOVED,
        now,
        trigger=TriggerKind.NORMAL_EDGE.value,
        source=lead.cursor,
        to=node.key,
        reason=why,
    )
    lead.visits = {**lead.visits, node.key: lead.visits.get(node.key, 0) + 1}
    lead.cursor, lead.entered_at = node.key, said.at


def _row(tx: Tx, step: _Step, node: Node, said: Said, now: datetime) -> Row:
    """The row to plan, where none stands there."""
    lead, variant = step.lead, step.variant.key if node is step.node else None
    return {
        "lead_id": lead.id, "action_id": sequences.action_ids(tx, lead.version_id)[node.key], "visit": lead.visits.get(node.key, 1),
        "sequence_id": lead.sequence_id, "kind": node.kind.value, "channel": said.channel, "account_id": said.account_id,
        "app_id": step.row["app_id"], "identity_id": said.identity_id, "cause": TriggerKind.NORMAL_EDGE.value,
        "cause_deadline": None, "cause_node": None, "first_due_at": said.at, "late_at": None, "variant": variant,
        "created_at": now,
    }  # fmt: skip


def _ask_a_human(ctx: Context, tx: Tx, person_id: int, said: Said, now: datetime) -> None:
    """An account wrote to somebody whom a lead is about to write to, and nothing tells which step it was: nothing is sent until it is read."""
    reason = "a message of ours that the backup does not know"
    persons.set_paused(tx, person_id, reason, now)
    tasks.open_one(tx, kind="decide", person_id=person_id, inbound_id=said.inbound_id, reason=UNEXPLAINED, now=now,
                   detail={"written_at": said.at.isoformat()})  # fmt: skip
    events.append(
        tx,
        [
            events.Event(
                kind=EventKind.PERSON_PAUSED, at=now, person_id=person_id, account_id=said.account_id,
                payload={"inbound_id": said.inbound_id, "reason": reason},
            )
        ],
    )  # fmt: skip
    for lead_id in leads.of_person(tx, person_id):
        lead = leads.read(tx, lead_id)
        lead.epoch += 1
        go_on(ctx, tx, lead, now)
        lead.write(tx)


def settle_follow(ctx: Context, execution_id: int) -> Hints:
    """A look-up shows that the account follows them already: the planned follow was done after the backup, or long before.

    When it was done nobody can tell: now is the latest, so it counts against the caps for longer, not shorter.
    """

    def work(tx: Tx) -> Hints:
        locked = executions.lock_for_settlement(tx, execution_id)
        if locked is None:
            return []
        now = ctx.clock.at(locked.database_now)
        return _settle_follow(ctx, tx, locked, now, now)

    return ctx.db.run(work)


def settle_followed(
    ctx: Context, tx: Tx, *, account_id: int, identity_id: int, inbound_id: int, at: datetime, now: datetime
) -> Hints | None:
    """An own follow is told that the backup does not know: the planned one was it, or the one that a look-up has settled. None: neither."""
    done = adoptions.recovered_follow(tx, account_id, identity_id, at)
    if done is not None:
        executions.note_echo(tx, done, inbound_id)
        return []
    for execution_id in adoptions.planned_follows(tx, account_id, [identity_id]):
        locked = executions.lock_for_settlement(tx, execution_id)
        if locked is not None:
            found = _settle_follow(ctx, tx, locked, min(at, now), now)
            executions.note_echo(tx, execution_id, inbound_id)
            return found
    return None


def _settle_follow(ctx: Context, tx: Tx, locked: executions.LockedSend, at: datetime, now: datetime) -> Hints:
    execution = locked.execution
    if execution.state is not ExecutionState.PLANNED or execution.lead_id is None:
        return []
    # An ended lead is not moved by it; that it was done is known all the same.
    lead = leads.read(tx, execution.lead_id)
    task = tasks.of_execution(tx, execution.id)
    if task is not None:
        close_observed(tx, lead, task, now)
    adoptions.note_said(tx, execution.id, variant=execution.variant, body_hash=None, at=at, touch=False)
    lead.epoch += 1
    found = sent(ctx, tx, lead, _read(tx, execution.id), at=at, now=now, ids={}, how=_HOW)
    lead.write(tx)
    return found
