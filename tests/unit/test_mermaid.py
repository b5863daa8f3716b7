"""The drawing of a graph, word for word."""

from datetime import timedelta

from outreach.engine.graph import Edge, Graph, Message, Node, Variant
from outreach.engine.kinds import ActionKind, TriggerKind
from outreach.engine.mermaid import graph_to_mermaid


def edge(kind: TriggerKind, to: str | None, days: int = 0) -> Edge:
    return Edge(kind=kind, to=to, after=timedelta(days=days))


def nodes() -> list[Node]:
    variants = (Variant(key="a", weight=60, body="A"), Variant(key="b", weight=40, body="B"))
    return [
        Node(
            key="hello-there",
            kind=ActionKind.SEND_TWITTER_DM,
            message=Message(variants=variants),
            edges=(edge(TriggerKind.NORMAL_EDGE, "check"), edge(TriggerKind.FAILED, None)),
        ),
        Node(
            key="check",
            kind=ActionKind.CHECK_FOR_REPLY,
            edges=(edge(TriggerKind.REPLIED, "end"), edge(TriggerKind.NOT_REPLIED, "pause", 3)),
        ),
        Node(
            key="pause",
            kind=ActionKind.WAIT,
            wait=timedelta(hours=36),
            edges=(edge(TriggerKind.NORMAL_EDGE, "end", 1),),
        ),
        Node(key="end", kind=ActionKind.BRANCH),
    ]


def graph() -> Graph:
    return Graph(sequence="drawn", start="hello-there", nodes={node.key: node for node in nodes()})


def test_a_graph_is_drawn_with_its_kinds_weights_delays_and_ends() -> None:
    assert (
        graph_to_mermaid(graph())
        == """\
flowchart TD
    n1["hello-there<br/>SEND_TWITTER_DM<br/>a 60 / b 40"]
    n2{{"check<br/>CHECK_FOR_REPLY"}}
    n3(["pause<br/>WAIT 1d12h"])
    n4{"end<br/>BRANCH"}
    finish(((END)))
    begin((start)) --> n1
    n1 --> n2
    n1 -->|"FAILED"| finish
    n2 -->|"REPLIED"| n4
    n2 -->|"NOT_REPLIED after 3d"| n3
    n3 -->|"after 1d"| n4
    n4 --> finish
"""
    )


def test_counts_stand_in_the_boxes_and_a_missing_one_is_none() -> None:
    lines = graph_to_mermaid(graph(), {"check": 1, "pause": 1234}).splitlines()
    assert [line.strip() for line in lines[1:5]] == [
        'n1["hello-there<br/>SEND_TWITTER_DM<br/>a 60 / b 40<br/>0 leads"]',
        'n2{{"check<br/>CHECK_FOR_REPLY<br/>1 lead"}}',
        'n3(["pause<br/>WAIT 1d12h<br/>1,234 leads"])',
        'n4{"end<br/>BRANCH<br/>0 leads"}',
    ]


def test_an_action_that_leads_on_only_by_failing_is_drawn_with_its_end() -> None:
    node = Node(key="a", kind=ActionKind.FOLLOW_ON_TWITTER, edges=(edge(TriggerKind.FAILED, "a"),))
    lines = graph_to_mermaid(Graph(sequence="s", start="a", nodes={"a": node})).splitlines()
    assert lines[-2:] == ["    n1 --> finish", '    n1 -->|"FAILED"| n1']


def test_a_graph_that_never_ends_has_no_end_in_its_drawing() -> None:
    node = Node(
        key="a", kind=ActionKind.WAIT, wait=timedelta(days=1), edges=(edge(TriggerKind.NORMAL_EDGE, "a"),)
    )
    assert "finish" not in graph_to_mermaid(Graph(sequence="s", start="a", nodes={"a": node}))
