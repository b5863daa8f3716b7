"""From a definition to the graph that workers run, or to every problem that stands against it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from outreach.engine.codec import graph_hash
from outreach.engine.definition import Definition, read_definition
from outreach.engine.entry import check_entries
from outreach.engine.flow import Flow, check_flow
from outreach.engine.graph import Edge, Entry, Graph, Message, Node, Variant
from outreach.engine.lateness import check_lateness
from outreach.engine.messages import CheckTemplate, check_messages
from outreach.engine.problems import Problem, Report
from outreach.engine.source import decode_source
from outreach.engine.specs import ActionSpec, MessageSpec

#: Says what is wrong with a cap, or None. Caps are the limiter's language, and the engine does not speak it.
CheckCaps = Callable[[str], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A graph that may be published, its hash, and what its author should look at all the same."""

    definition: Definition
    graph: Graph
    content_hash: str
    warnings: tuple[Problem, ...] = ()


def compile_definition(
    definition: Definition, *, check_template: CheckTemplate, check_caps: CheckCaps
) -> Compiled | list[Problem]:
    """The compiled definition, or all problems by line, warnings included."""
    return _compile(definition, check_template, check_caps, Report())


def compile_text(
    text: str, filename: str, *, check_template: CheckTemplate, check_caps: CheckCaps
) -> Compiled | list[Problem]:
    """As parse_definition and compile_definition, with the problems of both at once."""
    report = Report()
    definition = read_definition(text, filename, report)
    return (
        report.by_line() if definition is None else _compile(definition, check_template, check_caps, report)
    )


def compile_bytes(
    data: bytes, filename: str, *, check_template: CheckTemplate, check_caps: CheckCaps
) -> Compiled | list[Problem]:
    """As compile_text, from a file's bytes."""
    text = decode_source(data)
    if not isinstance(text, str):
        return text
    return compile_text(text, filename, check_template=check_template, check_caps=check_caps)


def _compile(
    definition: Definition, check_template: CheckTemplate, check_caps: CheckCaps, report: Report
) -> Compiled | list[Problem]:
    if not definition.actions:
        return report.by_line()
    flow = check_flow(definition, report)
    check_messages(definition, flow, check_template, report)
    _check_caps(definition, check_caps, report)
    check_lateness(list(definition.actions.values()), definition.window, report)
    entries = check_entries(definition.entries, dict(definition.actions), flow.start, report)
    if report.has_errors:
        return report.by_line()
    graph = _build(definition, flow, entries)
    return Compiled(
        definition=definition, graph=graph, content_hash=graph_hash(graph), warnings=tuple(report.by_line())
    )


def _check_caps(definition: Definition, check_caps: CheckCaps, report: Report) -> None:
    used = {spec.kind for spec in definition.actions.values()}
    for kind, text in definition.caps.items():
        wrong = check_caps(text.value)
        if wrong is not None:
            report.add("S110", text.mark, f"caps.{kind}", wrong, "Write caps as in 8/hour; 40/date.")
        if kind not in used:
            report.add("S112", text.mark, f"caps.{kind}", f"No action of this sequence is {kind}.")


def _build(definition: Definition, flow: Flow, entries: tuple[Entry, ...]) -> Graph:
    nodes = {key: _node(spec) for key, spec in definition.actions.items()}
    return Graph(
        sequence=definition.name,
        start=flow.start,
        nodes=nodes,
        window=definition.window,
        caps={kind.value: _compact(text.value) for kind, text in definition.caps.items()},
        defaults={name: text.value.strip() for name, text in definition.variables.items()},
        exclude_already_contacted=definition.exclude_already_contacted,
        on_reply=definition.on_reply,
        opt_out_line=definition.opt_out.value.strip(),
        review_first=definition.review_first,
        entries=entries,
        format=_format(definition, nodes),
    )


def _format(definition: Definition, nodes: Mapping[str, Node]) -> int:
    """The oldest one that says all of it."""
    if definition.review_first:
        return 3
    return 2 if any(node.lateness for node in nodes.values()) else 1


def _node(spec: ActionSpec) -> Node:
    assert spec.kind is not None  # only a definition without errors is built
    return Node(
        key=spec.key,
        kind=spec.kind,
        edges=_edges(spec),
        message=None if spec.message is None else _message(spec.message),
        wait=spec.wait,
        lateness=None if spec.lateness is None else spec.lateness.value,
        task_expires=spec.task_expires,
    )


def _edges(spec: ActionSpec) -> tuple[Edge, ...]:
    return tuple(
        Edge(kind=edge.kind, to=None if edge.to is None else edge.to.value, after=edge.after or timedelta(0))
        for edge in spec.edges
        if edge.kind is not None
    )


def _message(spec: MessageSpec) -> Message:
    """Texts are trimmed: space at their ends is an accident of YAML's block styles and is never sent."""
    variants = tuple(
        Variant(
            key=variant.key,
            weight=variant.weight,
            body=variant.body.value.strip(),
            subject=None if variant.subject is None else variant.subject.value.strip(),
        )
        for variant in spec.variants
    )
    return Message(variants=variants, fallback=None if spec.fallback is None else spec.fallback.value.strip())


def _compact(caps: str) -> str:
    """`8/hour; 40/date` as `8/hour;40/date`: one spelling, one hash."""
    return ";".join(part.strip() for part in caps.split(";") if part.strip())
