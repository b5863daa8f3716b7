"""Graphs, leads and signals in a few words, for the tests of decide()."""

from datetime import UTC, datetime, timedelta

from outreach.engine.decisions import Decision, Move
from outreach.engine.graph import Edge, Graph, Node
from outreach.engine.kinds import ActionKind, Channel, ExecutionState, ReplyClass, SignalKind, TriggerKind
from outreach.engine.state import ExecutionView, LeadView, SignalView

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
T, S, X, A = TriggerKind, SignalKind, ExecutionState, ActionKind


def edge(kind: TriggerKind, to: str | None = None, after: timedelta = timedelta(0)) -> Edge:
    return Edge(kind=kind, to=to, after=after)


def graph(*nodes: Node, on_reply: str = "stop") -> Graph:
    return Graph(sequence="test", start=nodes[0].key, nodes={n.key: n for n in nodes}, on_reply=on_reply)


def follow(*edges: Edge) -> Node:
    return Node(key="follow", kind=A.FOLLOW_ON_TWITTER, edges=edges)


def dm(*edges: Edge, key: str = "dm") -> Node:
    return Node(key=key, kind=A.SEND_TWITTER_DM, edges=edges)


def check(*edges: Edge) -> Node:
    return Node(key="check", kind=A.CHECK_FOR_REPLY, edges=edges)


def wait(duration: timedelta, *edges: Edge) -> Node:
    return Node(key="wait", kind=A.WAIT, wait=duration, edges=edges)


def lead(
    cursor: str,
    *signals: SignalView,
    entered: datetime = NOW,
    state: ExecutionState | None = None,
    sent_at: datetime | None = None,
    reason: str | None = None,
    passed_at: datetime | None = None,
    read: datetime | None = None,
    looked: datetime | None = None,
    by: TriggerKind | None = None,
    channels: frozenset[Channel] = frozenset({Channel.TWITTER}),
) -> LeadView:
    execution = (
        ExecutionView(state=state, sent_at=sent_at, reason=reason, passed_at=passed_at) if state else None
    )
    return LeadView(
        cursor=cursor,
        entered_at=entered,
        visits={cursor: 1},
        execution=execution,
        signals=signals,
        read_up_to=read,
        looked_up_at=looked,
        entered_by=by,
        channels=channels,
    )


def sent(cursor: str, *signals: SignalView, at: datetime = NOW, read: datetime | None = None) -> LeadView:
    return lead(cursor, *signals, state=X.SENT, sent_at=at, read=read)


def signal(kind: SignalKind, number: int = 1, reply: ReplyClass | None = None) -> SignalView:
    return SignalView(id=number, kind=kind, at=NOW, reply_class=reply)


def only_move(decision: Decision) -> Move:
    (move,) = decision.moves
    return move
