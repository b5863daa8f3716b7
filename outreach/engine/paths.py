"""PURE: how a lead may come to a node, as far as the graph alone can tell."""

from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from typing import TypeVar

from outreach.engine.graph import Edge, Graph, Node
from outreach.engine.kinds import MESSAGE_KINDS, Channel, TriggerKind

Number = TypeVar("Number", int, Decimal)

#: Edges that are taken because they wrote to us.
_ANSWERS = frozenset(
    {
        TriggerKind.REPLIED,
        TriggerKind.POSITIVE_REPLY,
        TriggerKind.NEGATIVE_REPLY,
        TriggerKind.REPLIED_TO_NOTE,
    }
)


def reachable(graph: Graph, opens: Callable[[Node, Edge], bool]) -> frozenset[str]:
    """The nodes to which some way leads from the start over edges that are open."""
    found, ahead = {graph.start}, [graph.start]
    while ahead:
        node = graph.node(ahead.pop())
        new = {edge.to for edge in node.edges if edge.to is not None and opens(node, edge)} - found
        found |= new
        ahead += new
    return frozenset(found)


def after_an_answer(graph: Graph) -> frozenset[str]:
    """The nodes that only somebody who has answered comes to."""
    silent = reachable(graph, lambda _, edge: edge.kind not in _ANSWERS)
    return frozenset(graph.nodes) - silent


def after_a_message(graph: Graph, channel: Channel) -> frozenset[str]:
    """The nodes that a lead comes to only after a message of this sequence on the channel."""

    def unsaid(node: Node, edge: Edge) -> bool:
        says = node.kind in MESSAGE_KINDS and node.channel is channel
        return not says or edge.kind is TriggerKind.FAILED

    return frozenset(graph.nodes) - reachable(graph, unsaid)


def most_on_one_way(graph: Graph, open_nodes: Collection[str], weights: Mapping[str, Number]) -> Number:
    """The heaviest sum that one lead can gather on its way through these nodes, each passed once."""
    zero = next(iter(weights.values())) * 0
    done: dict[str, Number] = {}
    under_way: set[str] = set()

    def best(key: str) -> Number:
        if key in done:
            return done[key]
        under_way.add(key)
        onward = {edge.to for edge in graph.node(key).edges if edge.to in open_nodes} - under_way
        done[key] = weights.get(key, zero) + max((best(to) for to in onward if to is not None), default=zero)
        under_way.discard(key)
        return done[key]

    return best(graph.start)


def reached(graph: Graph, failing: Collection[str], waiting: Collection[str] = ()) -> frozenset[str]:
    """The nodes that a lead may come to whose actions fail at `failing`, and that waits for ever at `waiting`."""

    def opens(node: Node, edge: Edge) -> bool:
        return node.key not in waiting and (node.key not in failing or edge.kind is TriggerKind.FAILED)

    return reachable(graph, opens)
