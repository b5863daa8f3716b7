"""The graph as Mermaid flowchart text, which code hosts and editors draw."""

from collections.abc import Mapping

from outreach.engine.graph import Edge, Graph, Node
from outreach.engine.kinds import ActionKind, TriggerKind
from outreach.engine.notation import format_duration

#: What is done is a box, what waits a rounded one, what asks a hexagon, what chooses a rhombus.
_SHAPES: dict[ActionKind, tuple[str, str]] = {
    ActionKind.WAIT: ("([", "])"),
    ActionKind.CHECK_FOR_REPLY: ("{{", "}}"),
    ActionKind.BRANCH: ("{", "}"),
}
_END = "finish"


def graph_to_mermaid(graph: Graph, counts: Mapping[str, int] | None = None) -> str:
    """Flowchart text, top down, ending in a newline. `counts`: leads now at each node, by key; missing keys count 0."""
    names = {key: f"n{number}" for number, key in enumerate(graph.nodes, start=1)}
    lines = ["flowchart TD"]
    lines += [f"    {names[key]}{_box(node, counts)}" for key, node in graph.nodes.items()]
    if any(edge.to is None for node in graph.nodes.values() for edge in _edges(node)):
        lines.append(f"    {_END}(((END)))")
    lines.append(f"    begin((start)) --> {names[graph.start]}")
    lines += [f'    door{n}[/"{entry.label}"/] --> begin' for n, entry in enumerate(graph.entries, start=1)]
    for key, node in graph.nodes.items():
        lines += [
            f"    {names[key]} {_arrow(edge)} {names[edge.to] if edge.to else _END}" for edge in _edges(node)
        ]
    return "\n".join(lines) + "\n"


def _edges(node: Node) -> tuple[Edge, ...]:
    """Where nothing leads on once the action is done, the lead finishes; that is drawn, so that no box is a dead end."""
    if all(edge.kind is TriggerKind.FAILED for edge in node.edges):
        return (Edge(kind=TriggerKind.NORMAL_EDGE, to=None), *node.edges)
    return node.edges


def _box(node: Node, counts: Mapping[str, int] | None) -> str:
    opening, closing = _SHAPES.get(node.kind, ("[", "]"))
    words = [node.key, f"{node.kind} {format_duration(node.wait)}" if node.wait else node.kind.value]
    if node.message is not None and len(node.message.variants) > 1:
        words.append(" / ".join(f"{v.key} {v.weight}" for v in node.message.variants))
    if node.lateness is not None:
        words.append(f"{format_duration(node.lateness.after)} late: {node.lateness.then}")
    if counts is not None:
        words.append(_leads(counts.get(node.key, 0)))
    return f'{opening}"{"<br/>".join(words)}"{closing}'


def _leads(count: int) -> str:
    return "1 lead" if count == 1 else f"{count:,} leads"


def _arrow(edge: Edge) -> str:
    words = [] if edge.kind is TriggerKind.NORMAL_EDGE else [edge.kind.value]
    if edge.after:
        words += ["after", format_duration(edge.after)]
    return f'-->|"{" ".join(words)}"|' if words else "-->"
