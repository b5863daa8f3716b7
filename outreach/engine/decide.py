"""decide(graph, lead, now): the heart. Pure: same arguments, same decision; no I/O, no clock, no randomness."""

from dataclasses import replace
from datetime import datetime, timedelta

from outreach.engine.decisions import Decision, Exit, Finish, Move, Perform, Then, Wait, Want
from outreach.engine.graph import Edge, Graph, Node
from outreach.engine.kinds import (
    CONTRADICTED_BY,
    NEGATIVE_TRIGGERS,
    ActionKind,
    ExecutionState,
    ReplyClass,
    SignalKind,
    TriggerKind,
    WaitingOn,
)
from outreach.engine.state import LeadView, SignalView

#: A node that waits for a signal only, with no time limit, is looked at this often.
_IDLE = timedelta(days=30)

_FAILED = {
    ExecutionState.REFUSED,
    ExecutionState.BLOCKED,
    ExecutionState.SKIPPED,
    ExecutionState.CANCELLED,
    ExecutionState.ABSENT,
}
_TIMED = NEGATIVE_TRIGGERS | {TriggerKind.NORMAL_EDGE, TriggerKind.TIMEOUT, TriggerKind.END}
_REPLY_SIGNALS = {SignalKind.REPLIED, SignalKind.REPLIED_TO_NOTE}
_ANSWERING = {
    TriggerKind.REPLIED,
    TriggerKind.POSITIVE_REPLY,
    TriggerKind.NEGATIVE_REPLY,
    TriggerKind.REPLIED_TO_NOTE,
}
#: Signals that stop a lead whatever it is doing, unless its node has an edge for them.
_STOPS = {SignalKind.UNSUBSCRIBED: "unsubscribed", SignalKind.BLOCKED: "blocked_us"}
#: Every other signal and the edges it may take, the most specific first.
_TAKES: dict[SignalKind, tuple[TriggerKind, ...]] = {
    SignalKind.CONNECTION_ACCEPTED: (TriggerKind.CONNECTION_ACCEPTED,),
    SignalKind.FOLLOWED_BACK: (TriggerKind.FOLLOWED_BACK,),
    SignalKind.OUT_OF_OFFICE: (TriggerKind.OUT_OF_OFFICE,),
    SignalKind.BOUNCED: (TriggerKind.BOUNCED,),
    SignalKind.UNSUBSCRIBED: (TriggerKind.UNSUBSCRIBED,),
}


def decide(graph: Graph, lead: LeadView, now: datetime) -> Decision:
    """What this lead does now: zero or more moves, then one thing. Raises KeyError for a cursor the graph lacks."""
    moves: list[Move] = []
    # The compiler refuses cycles without a wait, so at one instant each node is passed at most once by time alone, and once
    # more for each signal that shortens the way.
    for _ in range((len(graph.nodes) + 1) * (len(lead.signals) + 1)):
        step = _look(graph, lead, now)
        if not isinstance(step, Move):
            return _decision(moves, lead, step)
        moves.append(step)
        if step.to is None:
            return _decision(moves, lead, Finish())
        lead = _moved(lead, step, now)
    raise ValueError(f"{graph.sequence}: a cycle without a wait at {lead.cursor!r}")


def contradicted(lead: LeadView) -> bool:
    """Is an action planned on a silence that has been broken since? Then its edge must be taken back before anything else."""
    planned = lead.execution is not None and lead.execution.state is ExecutionState.PLANNED
    return planned and lead.entered_by is not None and _denied(lead.entered_by, lead)


def _decision(moves: list[Move], lead: LeadView, then: Then) -> Decision:
    return Decision(
        moves=tuple(moves), cursor=lead.cursor, visits=lead.visits, entered_at=lead.entered_at, then=then
    )


def _moved(lead: LeadView, move: Move, now: datetime) -> LeadView:
    assert move.to is not None
    return replace(
        lead,
        cursor=move.to,
        entered_at=now,
        due=move.due,
        entered_by=move.trigger,
        visits={**lead.visits, move.to: lead.visits.get(move.to, 0) + 1},
        execution=None,
        signals=tuple(s for s in lead.signals if s.id != move.signal_id),
    )


def _look(graph: Graph, lead: LeadView, now: datetime) -> Move | Then:
    node = graph.node(lead.cursor)
    stop = _stop(graph, node, lead)
    if stop is not None:
        return stop
    if node.channel is not None:
        undone = _undone(node, lead, now)
        if undone is not None:
            return undone
    return _signalled(graph, node, lead) or _timed(node, lead, now)


def _stop(graph: Graph, node: Node, lead: LeadView) -> Exit | None:
    """The stop rules: the only ones that act while a call is open."""
    for signal in lead.signals:
        if signal.kind in _STOPS and not _edges_for(node, signal):
            return Exit(reason=_STOPS[signal.kind], signal_id=signal.id)
        if (
            signal.kind in _REPLY_SIGNALS
            and graph.on_reply == "stop"
            and not (_is_answering(node, lead) or _handles(graph, node, signal))
        ):
            return Exit(reason="replied", signal_id=signal.id)
    return None


def _is_answering(node: Node, lead: LeadView) -> bool:
    """Is an answer to a reply about to be sent? A second message of theirs then does not take it back."""
    undone = lead.execution is None or lead.execution.state is ExecutionState.PLANNED
    return node.channel is not None and undone and lead.entered_by in _ANSWERING


def _undone(node: Node, lead: LeadView, now: datetime) -> Move | Then | None:
    """What to do about the node's own action; None when it is done and the edges decide."""
    execution = lead.execution
    if execution is None or execution.state is ExecutionState.PLANNED:
        if node.channel in lead.channels:
            return Perform(key=node.key)
        return _failed(node, "no_identity", _since(node, lead))
    if execution.state is ExecutionState.CALLING:
        return Wait(until=now, on=WaitingOn.CALL)
    if execution.state in (ExecutionState.IN_DOUBT, ExecutionState.HELD):
        return Wait(until=now, on=WaitingOn.DOUBT, detail=execution.state.value)
    if execution.state in _FAILED and execution.passed_at is None:
        return _failed(node, execution.reason or execution.state.value, now)
    return None


def _failed(node: Node, reason: str, due: datetime) -> Move | Exit:
    for edge in node.edges:
        if edge.kind is TriggerKind.FAILED:
            return Move(trigger=edge.kind, source=node.key, to=edge.to, due=due, reason=reason)
    return Exit(reason=reason)


def _signalled(graph: Graph, node: Node, lead: LeadView) -> Move | None:
    """The edge of the oldest signal that has one here, or the first step towards the node that has."""
    for signal in lead.signals:
        due = max(_since(node, lead), signal.at)
        edges = _edges_for(node, signal)
        if edges:
            return Move(trigger=edges[0].kind, source=node.key, to=edges[0].to, due=due, signal_id=signal.id)
        onward = _onward(node)
        if signal.kind in _REPLY_SIGNALS and onward is not None and _handles(graph, node, signal):
            # Somebody answered: what lies between here and the node that asks for answers is skipped.
            return Move(trigger=onward.kind, source=node.key, to=onward.to, due=due, reason="answered")
    return None


def _handles(graph: Graph, node: Node, signal: SignalView) -> bool:
    """Has this node an edge for the reply, or a later one that is reached without any further contact?"""
    seen: set[str] = set()
    while node.key not in seen:
        if _edges_for(node, signal):
            return True
        seen.add(node.key)
        onward = _onward(node)
        if onward is None or onward.to is None or graph.node(onward.to).channel is not None:
            return False
        node = graph.node(onward.to)
    return False


def _onward(node: Node) -> Edge | None:
    return next((e for e in node.edges if e.kind is TriggerKind.NORMAL_EDGE), None)


def _edges_for(node: Node, signal: SignalView) -> list[Edge]:
    kinds = _reply_triggers(signal) if signal.kind in _REPLY_SIGNALS else _TAKES.get(signal.kind, ())
    return [edge for kind in kinds for edge in node.edges if edge.kind is kind]


def _reply_triggers(signal: SignalView) -> tuple[TriggerKind, ...]:
    classes = {
        ReplyClass.POSITIVE: TriggerKind.POSITIVE_REPLY,
        ReplyClass.NEGATIVE: TriggerKind.NEGATIVE_REPLY,
    }
    specific = classes.get(signal.reply_class) if signal.reply_class else None
    note = TriggerKind.REPLIED_TO_NOTE if signal.kind is SignalKind.REPLIED_TO_NOTE else None
    return tuple(kind for kind in (specific, note, TriggerKind.REPLIED) if kind is not None)


def _timed(node: Node, lead: LeadView, now: datetime) -> Move | Then:
    """The first edge whose time has come; a negative one only on evidence, and never against a signal."""
    timed = (e for e in node.edges if e.kind in _TIMED and not _denied(e.kind, lead))
    edges = sorted(timed, key=lambda e: e.after)
    start = _clock_start(node, lead)
    wanting: Wait | None = None
    for edge in edges:
        due = start + edge.after
        if due > now:
            break
        wants = _lacks(edge, due, lead)
        if wants is None:
            deadline = due if edge.kind in NEGATIVE_TRIGGERS else None
            came_due = _since(node, lead) + edge.after
            return Move(trigger=edge.kind, source=node.key, to=edge.to, due=came_due, deadline=deadline)
        wanting = wanting or Wait(until=due, on=WaitingOn.EVIDENCE, detail=edge.kind.value, wants=wants)
    return wanting or _rest(node, edges, start, now)


def _denied(trigger: TriggerKind, lead: LeadView) -> bool:
    """Does a signal say that they did it? Nothing need ask for the signal: it is true all the same."""
    kinds = CONTRADICTED_BY.get(trigger, frozenset())
    return any(signal.kind in kinds for signal in lead.signals)


def _rest(node: Node, timed: list[Edge], start: datetime, now: datetime) -> Wait | Finish:
    """Nothing to take now: wait for the next deadline, for a signal, or finish where no edge is left to wait for."""
    coming = [e for e in timed if start + e.after > now]
    signals = [e for e in node.edges if e.kind not in _TIMED and e.kind is not TriggerKind.FAILED]
    if not coming and not signals:
        if start > now:
            return Wait(until=start, on=WaitingOn.TIME)
        return Finish()
    on = WaitingOn.SIGNAL if signals or any(e.kind in NEGATIVE_TRIGGERS for e in timed) else WaitingOn.TIME
    if not coming:
        return Wait(until=now + _IDLE, on=on)
    return Wait(until=start + coming[0].after, on=on, silence=coming[0].kind is TriggerKind.NOT_REPLIED)


def _clock_start(node: Node, lead: LeadView) -> datetime:
    execution = lead.execution
    if node.channel is not None and execution is not None:
        done_at = execution.sent_at or execution.passed_at
        if done_at is not None:
            return done_at
    return lead.entered_at + node.wait if node.kind is ActionKind.WAIT else lead.entered_at


def _since(node: Node, lead: LeadView) -> datetime:
    """Since when the lead could have stood here, done: before its clock began, where everything on the way came late."""
    start = _clock_start(node, lead)
    return start if lead.due is None else min(start, lead.due + node.wait)


def _lacks(edge: Edge, due: datetime, lead: LeadView) -> Want | None:
    """The evidence that a negative edge needs and has not: silence is proven, never assumed."""
    if edge.kind is TriggerKind.NOT_REPLIED:
        return None if lead.read_up_to is not None and lead.read_up_to >= due else Want.INBOX
    if edge.kind in NEGATIVE_TRIGGERS:
        return None if lead.looked_up_at is not None and lead.looked_up_at >= due else Want.RELATIONSHIP
    return None
