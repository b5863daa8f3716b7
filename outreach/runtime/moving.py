"""Carry a locked lead as far as decide() says. Not an entry point: every runtime function that moves leads calls it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from outreach.engine.decide import contradicted, decide
from outreach.engine.decisions import Decision, Exit, Finish, Move, Perform, Wait, Want
from outreach.engine.events import EventKind
from outreach.engine.graph import Graph
from outreach.engine.kinds import ActionKind, Channel, ExecutionState, TriggerKind, WaitingOn
from outreach.engine.variants import choose
from outreach.errors import NeedsNewerWorker
from outreach.models import executions, leads, reviews, sequences, tasks, watermarks
from outreach.models.base import Row, Tx
from outreach.models.executions import Execution
from outreach.models.leads import RESOLVE, WANTS, Binding, Lead, Seen
from outreach.runtime import hints
from outreach.runtime.context import Context
from outreach.runtime.hints import Hints

#: A lead that only an operator or a human can move is looked at this often all the same.
LOOK_AGAIN = timedelta(hours=1)
#: What only newer code can move is soon looked at again: a roll-out takes minutes.
NEWER_LOOK = timedelta(minutes=15)
TASK_LOOK = timedelta(days=1)
#: Why a step is skipped that nobody has begun in time.
TASK_EXPIRED = "task_expired"
#: The one action kind that a lead is filed under for evidence, not for a call.
_POLL = ActionKind.CHECK_FOR_REPLY


@dataclass(frozen=True, slots=True)
class _Step:
    """One lead, what was seen of it, and what decide() said."""

    lead: Lead
    graph: Graph
    seen: Seen
    decision: Decision

    @property
    def last_move(self) -> Move | None:
        return self.decision.moves[-1] if self.decision.moves else None

    @property
    def existing(self) -> int | None:
        """The node's own execution; a node that was entered just now has none yet."""
        return None if self.decision.moves else self.seen.execution_id

    @property
    def bound(self) -> Binding:
        """Whom the node's action goes to, and by which account: decide() performs only on bound channels."""
        channel = self.graph.node(self.lead.cursor).channel
        assert channel is not None
        return self.seen.bindings[channel]


def go_on(ctx: Context, tx: Tx, lead: Lead, now: datetime) -> Hints:
    """Decide and apply; the caller holds person and lead, and writes the lead afterwards."""
    return go_on_all(ctx, tx, [lead], now)[0]


def go_on_all(ctx: Context, tx: Tx, leads_: Sequence[Lead], now: datetime) -> list[Hints]:
    """The same for several leads, in two statements for all of them; their hints in the same order."""
    steps = _decided(tx, [lead for lead in leads_ if _moves(lead, now)], now)
    for step in steps.values():
        _make_moves(tx, step.lead, step.decision, now)
    planned = executions.plan(tx, [_to_plan(tx, s, now) for s in steps.values() if _needs_plan(s)])
    return [
        _then(ctx, tx, steps[lead.id], planned.get(lead.id), now) if lead.id in steps else []
        for lead in leads_
    ]


def _moves(lead: Lead, now: datetime) -> bool:
    if lead.active and (lead.paused_at is not None or lead.person_paused):
        lead.wait(now + LOOK_AGAIN, WaitingOn.PAUSE, "person" if lead.person_paused else "lead")
        return False
    return lead.active


def _decided(tx: Tx, leads_: Sequence[Lead], now: datetime) -> dict[int, _Step]:
    """By lead. Those whose graph or view this code cannot read are left to newer code."""
    graphs: list[tuple[Lead, Graph]] = []
    for lead in leads_:
        try:
            graphs.append((lead, sequences.graph_of(tx, lead.version_id)))
        except NeedsNewerWorker as newer:
            leave_to_newer(lead, newer, now)
    rows = leads.views(tx, graphs) if graphs else {}
    steps = {}
    for lead, graph in graphs:
        try:
            seen = leads.seen(lead, rows[lead.id])
            if contradicted(seen.view) and _take_back(tx, lead, graph, seen, now):
                seen = leads.seen(lead, leads.views(tx, [(lead, graph)])[lead.id])
        except NeedsNewerWorker as newer:
            leave_to_newer(lead, newer, now)
        else:
            steps[lead.id] = _Step(lead, graph, seen, decide(graph, seen.view, now))
    return steps


def leave_to_newer(lead: Lead, newer: NeedsNewerWorker, now: datetime) -> None:
    """The lead stays where it is, and says why; whoever knows more goes on with it."""
    lead.wait(now + NEWER_LOOK, WaitingOn.PAUSE, f"{leads.NEEDS_NEWER}: {newer.message}")


def _make_moves(tx: Tx, lead: Lead, decision: Decision, now: datetime) -> None:
    for move in decision.moves:
        lead.log(
            EventKind.LEAD_MOVED, now, trigger=move.trigger.value, source=move.source, to=move.to, signal_id=move.signal_id, reason=move.reason
        )  # fmt: skip
    used = [m.signal_id for m in decision.moves if m.signal_id is not None]
    if isinstance(decision.then, Exit) and decision.then.signal_id is not None:
        used.append(decision.then.signal_id)
    leads.use_signals(tx, used, now)
    lead.cursor, lead.visits, lead.entered_at = decision.cursor, decision.visits, decision.entered_at
    if decision.moves:
        lead.attempts = 0


def _then(ctx: Context, tx: Tx, step: _Step, planned: int | None, now: datetime) -> Hints:
    lead = step.lead
    match step.decision.then:
        case Finish():
            lead.end("finished", now)
            lead.log(EventKind.LEAD_FINISHED, now, at_node=lead.cursor)
        case Exit(reason=reason):
            leave(tx, lead, reason, now)
        case Wait() as wait:
            return _wait(ctx, tx, lead, wait, step.seen, now)
        case Perform():
            return _perform(ctx, tx, step, planned, now)
    return []


def leave(
    tx: Tx, lead: Lead, reason: str, now: datetime, *, actor: str = "engine", told: str | None = None
) -> None:
    """The lead exits: what is planned is cancelled, its tasks are void. An open call is left to T2.

    `told`: the log's word for a reason that is a human's, who may have named somebody: the log forgets nothing.
    """
    _cancel(tx, lead, reason, now, actor, told)
    lead.end("exited", now, reason)
    lead.epoch += 1
    lead.log(EventKind.LEAD_EXITED, now, actor=actor, reason=told or reason, at_node=lead.cursor)


def _cancel(
    tx: Tx, lead: Lead, reason: str, now: datetime, actor: str = "engine", told: str | None = None
) -> None:
    for task in tasks.void_of_lead(tx, lead.id, reason, now):
        if task["kind"] == "review":
            reviews.wake(tx, lead, most=1, now=now)
        lead.log(EventKind.TASK_CLOSED, now, actor=actor, execution_id=task["execution_id"], task_id=task["id"], state="void",
                 held_by=task["holder"])  # fmt: skip
    for execution_id in executions.cancel_planned(tx, lead.id, reason, now):
        lead.log(
            EventKind.ACTION_CANCELLED, now, actor=actor, execution_id=execution_id, reason=told or reason
        )


def _take_back(tx: Tx, lead: Lead, graph: Graph, seen: Seen, now: datetime) -> bool:
    """They were not silent after all: what was planned on it is cancelled, and the lead stands where the edge was taken.

    Nothing is done there again (its visit is the same); the next visit of the node that is left plans a row of its own.
    False: a human has begun it, which is as good as a call.
    """
    edge, deadline = seen.view.entered_by, seen.cause_deadline
    assert (
        seen.execution_id is not None
        and edge is not None
        and seen.cause_node is not None
        and deadline is not None
    )
    task = tasks.of_execution(tx, seen.execution_id)
    if task is not None and task["state"] != "open":
        return False
    source, left, reason = graph.node(seen.cause_node), lead.cursor, f"no longer {edge.value}"
    _cancel(tx, lead, reason, now)
    lead.log(EventKind.LEAD_MOVED, now, trigger=edge.value, source=left, to=source.key, reason=reason)
    after = next(e.after for e in source.edges if e.kind is edge)
    lead.cursor, lead.entered_at = source.key, deadline - after - source.wait
    return True


# --- waiting -----------------------------------------------------------------------------------------------


def _wait(ctx: Context, tx: Tx, lead: Lead, wait: Wait, seen: Seen, now: datetime) -> Hints:
    if wait.wants is not None:
        return _want(ctx, tx, lead, wait, now)
    if wait.on is WaitingOn.CALL:
        assert seen.call_deadline is not None
        lead.wait(max(seen.call_deadline, now), WaitingOn.CALL)
    elif wait.on is WaitingOn.DOUBT:
        _wait_in_doubt(ctx, lead, wait, seen, now)
    elif wait.silence and len(seen.bindings) == 1:
        _wait_for_silence(ctx, lead, wait, *seen.bindings.items())
    else:
        lead.wait(wait.until, wait.on, wait.detail)
    return []


def _wait_for_silence(ctx: Context, lead: Lead, wait: Wait, bound: tuple[Channel, Binding]) -> None:
    """Only a read that reaches the deadline can move it: file it under that read, which then wakes all that waited for it."""
    channel, binding = bound
    readable = wait.until + ctx.machine(ctx.providers[channel].inbox_lag_seconds)
    lead.wait_for_account(readable, wait.on, binding.account_id, WANTS[Want.INBOX], wait.detail)


def _wait_in_doubt(ctx: Context, lead: Lead, wait: Wait, seen: Seen, now: datetime) -> None:
    assert seen.call_deadline is not None
    if wait.detail == "held":
        lead.wait(now + TASK_LOOK, WaitingOn.DOUBT, "held")
    else:
        lead.wait(max(seen.next_read_at or seen.call_deadline + ctx.settle, now), WaitingOn.DOUBT, "in_doubt")


def _want(ctx: Context, tx: Tx, lead: Lead, wait: Wait, now: datetime) -> Hints:
    """Silence is not proven yet: file the lead under the account whose evidence it lacks, and ask for one read of it."""
    if wait.wants is Want.INBOX:
        # Before the deadline there is nothing to prove, and the push that names them may yet come.
        unnamed = leads.unnamed_message(tx, lead.id) if wait.until <= now else None
        if unnamed is not None:
            return _want_name(lead, unnamed, wait.detail, now)
        account_id, channel = leads.least_read_account(tx, lead.id)
        # A read that begins before the provider's lag is over could not reach the deadline.
        readable = wait.until + ctx.machine(ctx.providers[channel].inbox_lag_seconds)
        lead.wait_for_account(
            max(now, readable), WaitingOn.EVIDENCE, account_id, WANTS[Want.INBOX], wait.detail
        )
        return [hints.check_for_reply(account_id)] if readable <= now else []
    bound = leads.relationship_binding(tx, lead.id, wait.detail)
    if bound is None:
        # Nobody can ever see it, so it is never taken for granted.
        lead.wait(now + LOOK_AGAIN, WaitingOn.EVIDENCE, wait.detail)
        return []
    watermarks.want_relationship(tx, bound["account_id"], bound["identity_id"], now)
    lead.wait_for_account(now, WaitingOn.EVIDENCE, bound["account_id"], WANTS[Want.RELATIONSHIP], wait.detail)
    return [hints.look_up(bound["account_id"])]


def _want_name(lead: Lead, unnamed: Row, detail: str | None, now: datetime) -> Hints:
    """A message without a handle may be theirs: the id of their own handle tells. Where nobody can say it, nothing is proven."""
    if not unnamed["can_ask"]:
        lead.wait(now + LOOK_AGAIN, WaitingOn.EVIDENCE, f"{detail}: a message whose sender nobody can name")
        return []
    lead.wait_for_account(now, WaitingOn.EVIDENCE, unnamed["account_id"], RESOLVE, "the handle's id")
    return [hints.resolve(unnamed["account_id"])]


def want_again(ctx: Context, tx: Tx, lead: Lead, execution: Execution, now: datetime) -> Hints:
    """What a planned action rests on has grown old: file the lead under its evidence and read it anew."""
    about_replies = execution.cause == TriggerKind.NOT_REPLIED.value
    wants = Want.INBOX if about_replies else Want.RELATIONSHIP
    wait = Wait(until=now, on=WaitingOn.EVIDENCE, detail=execution.cause, wants=wants)
    return _want(ctx, tx, lead, wait, now)


# --- planning ----------------------------------------------------------------------------------------------


def _needs_plan(step: _Step) -> bool:
    return isinstance(step.decision.then, Perform) and step.existing is None


def _perform(ctx: Context, tx: Tx, step: _Step, planned: int | None, now: datetime) -> Hints:
    lead, bound, node = step.lead, step.bound, step.graph.node(step.lead.cursor)
    execution_id = planned or step.existing
    assert execution_id is not None
    if planned is not None:
        _log_plan(step, planned, now)
    else:
        task = tasks.of_execution(tx, execution_id)
        if (
            task is not None
            and task["state"] == "open"
            and task["expires_at"] is not None
            and task["expires_at"] <= now
        ):
            return _expire(ctx, tx, lead, task, now)
        if _settled_wait(lead, task, now):
            return []
    # Planned before the handle's id is known: the cause and its deadline are the move's, and the move happens once.
    if bound.identity_kind == "twitter_handle":
        lead.wait_for_account(now, WaitingOn.EVIDENCE, bound.account_id, RESOLVE, "the handle's id")
        return [hints.resolve(bound.account_id)]
    if planned is None:
        executions.point_at(tx, execution_id, bound.identity_id)
    lead.wait_for_account(now, WaitingOn.TIME, bound.account_id, node.kind.value)
    return [hints.perform(node.kind, execution_id)]


def before_late(until: datetime, late_at: datetime | None, now: datetime) -> datetime:
    """No wait goes beyond the instant at which a step comes too late: it is judged again then."""
    return until if late_at is None or late_at <= now else min(until, late_at)


def task_look(task: Row, now: datetime) -> datetime:
    """When a lead looks again after its open task: before that comes too late, and when nobody has begun it in time."""
    until = before_late(now + TASK_LOOK, task["late_at"], now)
    expires = task["expires_at"]
    return until if expires is None or task["state"] != "open" else max(now, min(until, expires))


def _expire(ctx: Context, tx: Tx, lead: Lead, task: Row, now: datetime) -> Hints:
    """Nobody has begun it in time: the step has failed. What somebody has begun never expires; they are asked."""
    tasks.close(tx, task["id"], "void", TASK_EXPIRED, "engine", now)
    executions.settle_not(tx, task["execution_id"], ExecutionState.SKIPPED, TASK_EXPIRED, now)
    lead.log(
        EventKind.TASK_CLOSED, now, execution_id=task["execution_id"], task_id=task["id"], state="void", reason=TASK_EXPIRED
    )  # fmt: skip
    return go_on(ctx, tx, lead, now)


def _settled_wait(lead: Lead, task: Row | None, now: datetime) -> bool:
    """Does the planned action wait for something already: a human, or an instant that has not come?"""
    if task is not None:
        begun = task["state"] != "open" or task["kind"] not in ("act", "review")
        if task["late_at"] is not None and task["late_at"] <= now and not begun:
            return False
        lead.wait(task_look(task, now), WaitingOn.TASK, task["reason"])
        return True
    calls = lead.next_kind in ActionKind.__members__ and lead.next_kind != _POLL
    return calls and lead.due_at is not None and lead.due_at > now


def _to_plan(tx: Tx, step: _Step, now: datetime) -> dict[str, Any]:
    """The row to plan, after the moves."""
    lead, moved, bound = step.lead, step.last_move, step.bound
    node = step.graph.node(lead.cursor)
    first_due = moved.due if moved else lead.entered_at
    return {
        "lead_id": lead.id,
        "action_id": sequences.action_ids(tx, lead.version_id)[node.key],
        "visit": lead.visits.get(node.key, 1),
        "sequence_id": lead.sequence_id,
        "kind": node.kind.value,
        "channel": node.channel.value if node.channel else None,
        "account_id": bound.account_id,
        "app_id": bound.app_id,
        "identity_id": bound.identity_id,
        "cause": _cause(step),
        "cause_deadline": moved.deadline if moved else None,
        "cause_node": moved.source if moved else None,
        "first_due_at": first_due,
        "late_at": first_due + node.lateness.after if node.lateness else None,
        "variant": _variant(step),
        "created_at": now,
    }


def _cause(step: _Step) -> str:
    return step.last_move.trigger.value if step.last_move else "start"


def _variant(step: _Step) -> str | None:
    node = step.graph.node(step.lead.cursor)
    return (
        choose(node.message, person_id=step.lead.person_id, node_key=node.key).key if node.message else None
    )


def _log_plan(step: _Step, execution_id: int, now: datetime) -> None:
    node = step.graph.node(step.lead.cursor)
    step.lead.log(
        EventKind.ACTION_SCHEDULED,
        now,
        execution_id=execution_id,
        node=node.key,
        action=node.kind.value,
        cause=_cause(step),
        variant=_variant(step),
    )
