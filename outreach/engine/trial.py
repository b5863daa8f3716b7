"""PURE: a sequence as one tries it on oneself: the same actions, texts and edges, and waits of seconds."""

from dataclasses import replace
from datetime import timedelta

from outreach.engine.graph import Graph, Node

#: No author can write a colon in a name: what is tried is never mixed up with what is meant.
TRIAL_PREFIX = "try:"


def trial_of(graph: Graph, wait: timedelta, *, any_hour: bool) -> Graph:
    """Every wait, delay and deadline is at most `wait`. `any_hour`: without the window.

    Lateness, the review and the exclusion of people contacted before are wishes about strangers: they are left out, for it would be
    late, read or excluded the second time one tries. What holds for everybody (policy, suppression, caps) is no part of a graph.
    """
    return replace(
        graph,
        sequence=TRIAL_PREFIX + graph.sequence,
        nodes={key: _node(node, wait) for key, node in graph.nodes.items()},
        window=None if any_hour else graph.window,
        exclude_already_contacted=False,
        review_first=0,
        format=1,
    )


def _node(node: Node, wait: timedelta) -> Node:
    edges = tuple(replace(edge, after=min(edge.after, wait)) for edge in node.edges)
    return replace(node, edges=edges, wait=min(node.wait, wait), lateness=None)
