"""decide() over random legal graphs and histories: what must hold whatever an author wrote and whatever happened."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from outreach.engine.decide import decide
from outreach.engine.decisions import Exit, Finish, Perform, Wait
from outreach.engine.graph import Edge, Graph, Node
from outreach.engine.kinds import (
    NEGATIVE_TRIGGERS,
    ActionKind,
    Channel,
    ExecutionState,
    ReplyClass,
    SignalKind,
    TriggerKind,
    WaitingOn,
)
from outreach.engine.state import ExecutionView, LeadView, SignalView

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
OPEN = (ExecutionState.CALLING, ExecutionState.IN_DOUBT, ExecutionState.HELD)
#: Edges that take time or may; all others are taken the moment something happens.
_DELAYED = (*sorted(NEGATIVE_TRIGGERS), TriggerKind.TIMEOUT, TriggerKind.NORMAL_EDGE)
#: What most often matters stands several times in these.
_KINDS = (
    *ActionKind,
    *[ActionKind.SEND_TWITTER_DM, ActionKind.FOLLOW_ON_TWITTER, ActionKind.CHECK_FOR_REPLY] * 3,
)
_TRIGGERS = (
    *TriggerKind,
    *_DELAYED,
    *_DELAYED,
    *sorted(NEGATIVE_TRIGGERS),
    TriggerKind.REPLIED,
    TriggerKind.FOLLOWED_BACK,
)
_SIGNALS = (*SignalKind, *[SignalKind.REPLIED] * 3, *[SignalKind.FOLLOWED_BACK] * 3)
_STATES = (*ExecutionState, *[ExecutionState.SENT] * 8, *OPEN)

hours = st.integers(0, 5).map(lambda n: n * HOUR)
instants = st.integers(-9, -3).map(lambda n: NOW + n * HOUR)
proofs = st.none() | instants | st.just(NOW)


@st.composite
def nodes(draw: st.DrawFn, index: int, count: int) -> Node:
    """Edges without a delay lead onward only, as the compiler wants it: every cycle takes time."""
    kind = draw(st.sampled_from(_KINDS))
    triggers = draw(st.lists(st.sampled_from(_TRIGGERS), unique=True, min_size=1, max_size=4))
    edges = []
    for trigger in triggers:
        after = draw(hours) if trigger in _DELAYED else timedelta(0)
        if trigger in NEGATIVE_TRIGGERS:
            after += HOUR
        anywhere = [f"n{i}" for i in range(count)]
        targets = anywhere if after else anywhere[index + 1 :]
        to = None if trigger is TriggerKind.END else draw(st.sampled_from([None, *targets]))
        edges.append(Edge(kind=trigger, to=to, after=after))
    wait = draw(hours) if kind is ActionKind.WAIT else timedelta(0)
    return Node(key=f"n{index}", kind=kind, edges=tuple(edges), wait=wait)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    count = draw(st.integers(1, 6))
    made = [draw(nodes(index, count)) for index in range(count)]
    return Graph(
        sequence="any",
        start="n0",
        nodes={node.key: node for node in made},
        on_reply=draw(st.sampled_from(["stop", "continue"])),
    )


signals = st.builds(
    SignalView,
    id=st.integers(1, 10**6),
    kind=st.sampled_from(_SIGNALS),
    at=instants,
    reply_class=st.sampled_from([None, *ReplyClass]),
)


@st.composite
def histories(
    draw: st.DrawFn, states: Sequence[ExecutionState] = _STATES, most_signals: int = 3
) -> tuple[Graph, LeadView]:
    """A graph and somebody who stands somewhere in it, whose action there, if there was one, is in one of `states`."""
    graph = draw(graphs())
    cursor = draw(st.sampled_from([*graph.nodes]))
    execution = ExecutionView(state=draw(st.sampled_from(states)), sent_at=draw(instants), reason="why")
    return graph, LeadView(
        cursor=cursor,
        entered_at=draw(instants),
        visits={cursor: draw(st.integers(1, 3))},
        execution=draw(st.sampled_from([execution, execution, execution, None])),
        signals=tuple(draw(st.lists(signals, max_size=most_signals, unique_by=lambda s: s.id))),
        read_up_to=draw(proofs),
        looked_up_at=draw(proofs),
        entered_by=draw(st.none() | st.sampled_from([*TriggerKind])),
        channels=frozenset(draw(st.sampled_from([[*Channel], [*Channel], [Channel.TWITTER], []]))),
    )


def is_open(graph: Graph, lead: LeadView) -> bool:
    acts = graph.node(lead.cursor).channel is not None
    return acts and lead.execution is not None and lead.execution.state in OPEN


Many = settings(max_examples=200, deadline=None)


@Many
@given(histories())
def test_it_always_ends_and_says_the_same_twice(history: tuple[Graph, LeadView]) -> None:
    graph, lead = history
    first = decide(graph, lead, NOW)
    assert first == decide(graph, lead, NOW)
    assert isinstance(first.then, Perform | Wait | Finish | Exit)


@Many
@given(histories(states=OPEN, most_signals=1))
def test_nothing_moves_and_nothing_is_performed_while_a_call_is_open(history: tuple[Graph, LeadView]) -> None:
    graph, lead = history
    found = decide(graph, lead, NOW)
    if is_open(graph, lead):
        assert found.moves == ()
        assert isinstance(found.then, Wait | Exit)
        assert not isinstance(found.then, Exit) or found.then.signal_id is not None


@Many
@given(histories(states=[ExecutionState.SENT], most_signals=0))
def test_no_negative_edge_is_taken_before_its_deadline_or_without_evidence_of_it(
    history: tuple[Graph, LeadView],
) -> None:
    graph, lead = history
    for move in decide(graph, lead, NOW).moves:
        if move.trigger not in NEGATIVE_TRIGGERS:
            continue
        proof = lead.read_up_to if move.trigger is TriggerKind.NOT_REPLIED else lead.looked_up_at
        assert move.deadline is not None
        assert move.deadline <= NOW
        assert proof is not None
        assert proof >= move.deadline


@Many
@given(histories(states=[ExecutionState.SENT]))
def test_no_negative_edge_is_taken_while_a_signal_says_otherwise(history: tuple[Graph, LeadView]) -> None:
    graph, lead = history
    unused = {signal.id: signal.kind.value for signal in lead.signals}
    for move in decide(graph, lead, NOW).moves:
        unused.pop(move.signal_id or 0, None)
        if move.trigger in NEGATIVE_TRIGGERS:
            assert move.trigger.replace("NOT_", "") not in unused.values()


@Many
@given(histories())
def test_the_stop_rules_win_over_everything_else(history: tuple[Graph, LeadView]) -> None:
    graph, lead = history
    here = {edge.kind for edge in graph.node(lead.cursor).edges}
    kinds = {signal.kind for signal in lead.signals}
    objected = SignalKind.BLOCKED in kinds or (
        SignalKind.UNSUBSCRIBED in kinds and TriggerKind.UNSUBSCRIBED not in here
    )
    if objected:
        found = decide(graph, lead, NOW)
        assert found.moves == ()
        assert isinstance(found.then, Exit)
        assert found.then.reason in ("unsubscribed", "blocked_us", "replied")


@Many
@given(histories())
def test_what_it_performs_is_where_the_lead_stands_and_can_be_reached(
    history: tuple[Graph, LeadView],
) -> None:
    graph, lead = history
    found = decide(graph, lead, NOW)
    if isinstance(found.then, Perform):
        assert found.then.key == found.cursor
        assert graph.node(found.cursor).channel in lead.channels


@Many
@given(histories())
def test_a_signal_is_used_once_and_each_move_follows_an_edge(history: tuple[Graph, LeadView]) -> None:
    graph, lead = history
    found = decide(graph, lead, NOW)
    used = [move.signal_id for move in found.moves if move.signal_id is not None]
    assert len(used) == len(set(used))
    at = lead.cursor
    for move in found.moves:
        assert move.source == at
        assert (move.trigger, move.to) in {(e.kind, e.to) for e in graph.node(at).edges}
        at = move.to or at
    assert at == found.cursor


@Many
@given(histories())
def test_a_wait_for_time_or_a_signal_lies_ahead(history: tuple[Graph, LeadView]) -> None:
    graph, lead = history
    then = decide(graph, lead, NOW).then
    if isinstance(then, Wait) and then.on in (WaitingOn.TIME, WaitingOn.SIGNAL):
        assert then.until > NOW


@Many
@given(histories())
def test_looking_again_at_once_changes_nothing_more(history: tuple[Graph, LeadView]) -> None:
    graph, lead = history
    found = decide(graph, lead, NOW)
    if not isinstance(found.then, Wait) or not found.moves:
        return
    used = {move.signal_id for move in found.moves}
    again = LeadView(
        cursor=found.cursor,
        entered_at=found.entered_at,
        visits=found.visits,
        signals=tuple(s for s in lead.signals if s.id not in used),
        read_up_to=lead.read_up_to,
        looked_up_at=lead.looked_up_at,
        entered_by=found.moves[-1].trigger,
        channels=lead.channels,
    )
    assert decide(graph, again, NOW).moves == ()


@Many
@given(histories(most_signals=0))
def test_what_is_reached_by_time_was_due_already_in_the_order_of_the_moves(
    history: tuple[Graph, LeadView],
) -> None:
    graph, lead = history
    dues = [move.due for move in decide(graph, lead, NOW).moves]
    assert all(due <= NOW for due in dues)
    assert dues == sorted(dues)
