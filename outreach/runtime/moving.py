"""Carry a locked lead as far as decide() says. Not an entry point: every runtime function that moves leads calls it."""

from datetime import datetime, timedelta

from outreach.engine.decide import contradicted, decide
from outreach.engine.decisions import Decision, Exit, Finish, Move, Perform, Wait, Want
from outreach.engine.events import EventKind
from outreach.engine.graph import Graph
from outreach.engine.kinds import ActionKind, TriggerKind, WaitingOn
from outreach.engine.variants import choose
from outreach.errors import NeedsNewerWorker
from outreach.models import executions, leads, sequences, tasks, watermarks
from outreach.models.base import Tx
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
#: The one action kind that a lead is filed under for evidence, not for a call.
_POLL = ActionKind.CHECK_FOR_REPLY


def go_on(ctx: Context, tx: Tx, lead: Lead, now: datetime) -> Hints:
    """Decide and apply; the caller holds person and lead, and writes the lead afterwards."""
    if not lead.active:
        return []
    if lead.paused_at is not None or lead.person_paused:
        lead.wait(now + LOOK_AGAIN, WaitingOn.PAUSE, "person" if lead.person_paused else "lead")
        return []
    try:
        graph = sequences.graph_of(tx, lead.version_id)
        seen = leads.view(tx, lead, graph)
        if contradicted(seen.view) and _take_back(tx, lead, graph, seen, now):
            seen = leads.view(tx, lead, graph)
    except NeedsNewerWorker as newer:
        leave_to_newer(lead, newer, now)
        return []
    decision = decide(graph, seen.view, now)
    _make_moves(tx, lead, decision, now)
    return _then(ctx, tx, lead, graph, decision, seen, now)


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


def _then(
    ctx: Context, tx: Tx, lead: Lead, graph: Graph, decision: Decision, seen: Seen, now: datetime
) -> Hints:
    match decision.then:
        case Finish():
            lead.end("finished", now)
            lead.log(EventKind.LEAD_FINISHED, now, at_node=lead.cursor)
        case Exit(reason=reason):
            leave(tx, lead, reason, now)
        case Wait() as wait:
            return _wait(ctx, tx, lead, wait, seen, now)
        case Perform():
            moved = decision.moves[-1] if decision.moves else None
            return _perform(ctx, tx, lead, graph, moved, seen, now)
    return []


def leave(tx: Tx, lead: Lead, reason: str, now: datetime, *, actor: str = "engine") -> None:
    """The lead exits: what is planned is cancelled, its tasks are void. An open call is left to T2."""
    _cancel(tx, lead, reason, now, actor)
    lead.end("exited", now, reason)
    lead.epoch += 1
    lead.log(EventKind.LEAD_EXITED, now, actor=actor, reason=reason, at_node=lead.cursor)


def _cancel(tx: Tx, lead: Lead, reason: str, now: datetime, actor: str = "engine") -> None:
    for task in tasks.void_of_lead(tx, lead.id, reason, now):
        lead.log(EventKind.TASK_CLOSED, now, actor=actor, execution_id=task["execution_id"], task_id=task["id"], state="void",
                 held_by=task["holder"])  # fmt: skip
    for execution_id in executions.cancel_planned(tx, lead.id, reason, now):
        lead.log(EventKind.ACTION_CANCELLED, now, actor=actor, execution_id=execution_id, reason=reason)


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
    else:
        lead.wait(wait.until, wait.on, wait.detail)
    return []


def _wait_in_doubt(ctx: Context, lead: Lead, wait: Wait, seen: Seen, now: datetime) -> None:
    assert seen.call_deadline is not None
    if wait.detail == "held":
        lead.wait(now + TASK_LOOK, WaitingOn.DOUBT, "held")
    else:
        lead.wait(max(seen.next_read_at or seen.call_deadline + ctx.settle, now), WaitingOn.DOUBT, "in_doubt")


def _want(ctx: Context, tx: Tx, lead: Lead, wait: Wait, now: datetime) -> Hints:
    """Silence is not proven yet: file the lead under the account whose evidence it lacks, and ask for one read of it."""
    again = now + ctx.machine(ctx.settings.tick_seconds)
    if wait.wants is Want.INBOX:
        account_id, channel = leads.least_read_account(tx, lead.id)
        # A read that begins before the provider's lag is over could not reach the deadline.
        readable = wait.until + ctx.machine(ctx.providers[channel].inbox_lag_seconds)
        lead.wait_for_account(
            max(again, readable), WaitingOn.EVIDENCE, account_id, WANTS[Want.INBOX], wait.detail
        )
        return [hints.check_for_reply(account_id)] if readable <= now else []
    bound = leads.relationship_binding(tx, lead.id, wait.detail)
    if bound is None:
        # Nobody can ever see it, so it is never taken for granted.
        lead.wait(now + LOOK_AGAIN, WaitingOn.EVIDENCE, wait.detail)
        return []
    watermarks.want_relationship(tx, bound["account_id"], bound["identity_id"], now)
    lead.wait_for_account(
        again, WaitingOn.EVIDENCE, bound["account_id"], WANTS[Want.RELATIONSHIP], wait.detail
    )
    return [hints.look_up(bound["account_id"])]


def want_again(ctx: Context, tx: Tx, lead: Lead, execution: Execution, now: datetime) -> Hints:
    """What a planned action rests on has grown old: file the lead under its evidence and read it anew."""
    about_replies = execution.cause == TriggerKind.NOT_REPLIED.value
    wants = Want.INBOX if about_replies else Want.RELATIONSHIP
    wait = Wait(until=now, on=WaitingOn.EVIDENCE, detail=execution.cause, wants=wants)
    return _want(ctx, tx, lead, wait, now)


# --- planning ----------------------------------------------------------------------------------------------


def _perform(
    ctx: Context, tx: Tx, lead: Lead, graph: Graph, moved: Move | None, seen: Seen, now: datetime
) -> Hints:
    node = graph.node(lead.cursor)
    existing = None if moved else seen.execution_id
    if existing is not None and _settled_wait(tx, lead, existing, now):
        return []
    assert node.channel is not None
    # decide() performs only on bound channels
    bound = seen.bindings[node.channel]
    # Planned before the handle's id is known: the cause and its deadline are the move's, and the move happens once.
    execution_id = existing or _plan(tx, lead, graph, moved, bound, now)
    if bound.identity_kind == "twitter_handle":
        again = now + ctx.machine(ctx.settings.tick_seconds)
        lead.wait_for_account(again, WaitingOn.EVIDENCE, bound.account_id, RESOLVE, "the handle's id")
        return [hints.resolve(bound.account_id)]
    if existing is not None:
        executions.point_at(tx, existing, bound.identity_id)
    lead.wait_for_account(now, WaitingOn.TIME, bound.account_id, node.kind.value)
    return [hints.perform(node.kind, execution_id)]


def before_late(until: datetime, late_at: datetime | None, now: datetime) -> datetime:
    """No wait goes beyond the instant at which a step comes too late: it is judged again then."""
    return until if late_at is None or late_at <= now else min(until, late_at)


def _settled_wait(tx: Tx, lead: Lead, execution_id: int, now: datetime) -> bool:
    """Does the planned action wait for something already: a human, or an instant that has not come?"""
    task = tasks.of_execution(tx, execution_id)
    if task is not None:
        begun = task["state"] != "open" or task["kind"] != "act"
        if task["late_at"] is not None and task["late_at"] <= now and not begun:
            return False
        lead.wait(before_late(now + TASK_LOOK, task["late_at"], now), WaitingOn.TASK, task["reason"])
        return True
    calls = lead.next_kind in ActionKind.__members__ and lead.next_kind != _POLL
    return calls and lead.due_at is not None and lead.due_at > now


def _plan(tx: Tx, lead: Lead, graph: Graph, moved: Move | None, bound: Binding, now: datetime) -> int:
    node = graph.node(lead.cursor)
    assert node.channel is not None
    variant = choose(node.message, person_id=lead.person_id, node_key=node.key).key if node.message else None
    cause = moved.trigger.value if moved else "start"
    first_due = moved.due if moved else lead.entered_at
    execution_id = executions.plan(
        tx,
        {
            "lead_id": lead.id,
            "action_id": sequences.action_ids(tx, lead.version_id)[node.key],
            "visit": lead.visits.get(node.key, 1),
            "sequence_id": lead.sequence_id,
            "kind": node.kind.value,
            "channel": node.channel.value,
            "account_id": bound.account_id,
            "app_id": bound.app_id,
            "identity_id": bound.identity_id,
            "cause": cause,
            "cause_deadline": moved.deadline if moved else None,
            "cause_node": moved.source if moved else None,
            "first_due_at": first_due,
            "late_at": first_due + node.lateness.after if node.lateness else None,
            "variant": variant,
            "now": now,
        },
    )
    lead.log(
        EventKind.ACTION_SCHEDULED,
        now,
        execution_id=execution_id,
        node=node.key,
        action=node.kind.value,
        cause=cause,
        variant=variant,
    )
    return execution_id
