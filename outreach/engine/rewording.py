"""PURE: does a file change the words of a published graph and nothing else? Which, and for whom does it come in time?"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from outreach.engine.compiler import Compiled
from outreach.engine.graph import Graph, Message, Node
from outreach.engine.problems import CODES, Mark, Problem

_TOP = Mark(1, 1)
_CODE = "S501"
#: What is words, or is compared word by word below; whatever else a graph or a node has, today or tomorrow, must be equal.
_GRAPHS_OWN = frozenset({"sequence", "nodes", "defaults", "opt_out_line", "format"})
_NODES_OWN = frozenset({"key", "message"})
_SAID = {
    "kind": "it is another kind of action",
    "edges": "where it leads, or when, is another",
    "wait": "it waits for another time",
    "lateness": "how late it may be is another",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewording:
    """One text that changes. `part`: the variant's key, `KEY.subject` or `fallback`; `node` None: a word that texts use."""

    node: str | None
    part: str
    old: str
    new: str


# --- anything but words ------------------------------------------------------------------------------------------


def more_than_words(old: Graph, new: Compiled) -> list[Problem]:
    """Every difference that is none of words, where it stands in the new file. None: only words differ, or nothing."""
    found = [*_of_sequence(old, new), *_of_nodes(old, new)]
    return sorted(found, key=lambda p: (p.line, p.column, p.path))


def _problem(mark: Mark, path: str, message: str) -> Problem:
    hint = "Publish it without --hot-text: leads in flight then stay on their version."
    return Problem(
        code=_CODE, severity=CODES[_CODE][0], line=mark.line, column=mark.column, path=path, message=message, hint=hint
    )  # fmt: skip


def _of_sequence(old: Graph, new: Compiled) -> Iterator[Problem]:
    for name in (field.name for field in fields(old) if field.name not in _GRAPHS_OWN):
        if getattr(old, name) != getattr(new.graph, name):
            yield _problem(_mark_of(new, name), name, f"`{name}` is not what leads in flight have.")
    if old.defaults.keys() != new.graph.defaults.keys():
        names = ", ".join(sorted(old.defaults.keys() ^ new.graph.defaults.keys()))
        yield _problem(_TOP, "variables", f"A default that is new or gone: {names}.")


def _mark_of(new: Compiled, name: str) -> Mark:
    if name == "start" and new.definition.start is not None:
        return new.definition.start.mark
    if name == "caps" and new.definition.caps:
        return min((text.mark for text in new.definition.caps.values()), key=lambda m: m.line)
    return _TOP


def _of_nodes(old: Graph, new: Compiled) -> Iterator[Problem]:
    for key in old.nodes.keys() - new.graph.nodes.keys():
        yield _problem(_TOP, f"actions.{key}", f"The action {key} is gone.")
    for key, node in new.graph.nodes.items():
        spec = new.definition.actions[key]
        before = old.nodes.get(key)
        if before is None:
            yield _problem(spec.mark, spec.path, f"The action {key} is new.")
        else:
            for what in _differences(before, node):
                yield _problem(spec.mark, spec.path, f"{key}: {what}.")


def _differences(old: Node, new: Node) -> Iterator[str]:
    for name in (field.name for field in fields(old) if field.name not in _NODES_OWN):
        if getattr(old, name) != getattr(new, name):
            yield _SAID.get(name, f"`{name}` is another")
    if (old.message is None) != (new.message is None):
        yield "it has a message now, or has none any more"
    elif old.message is not None and new.message is not None:
        yield from _message_differences(old.message, new.message)


def _message_differences(old: Message, new: Message) -> Iterator[str]:
    """Who gets which variant hangs on keys, weights and their order."""
    if [replace(v, body="", subject=None) for v in old.variants] != [
        replace(v, body="", subject=None) for v in new.variants
    ]:
        yield "its variants or their weights are others, so people would change theirs"
    elif [v.subject is None for v in old.variants] != [v.subject is None for v in new.variants]:
        yield "a subject is new or gone"
    if (old.fallback is None) != (new.fallback is None):
        yield "its fallback is new or gone, so other people would be written to"
    if replace(old, variants=(), fallback=None) != replace(new, variants=(), fallback=None):
        yield "its message differs in more than its texts"


# --- the words ---------------------------------------------------------------------------------------------------


def rewordings(old: Graph, new: Graph) -> list[Rewording]:
    """The texts that differ, of two graphs that differ in nothing else."""
    found = [
        Rewording(node=key, part=part, old=text, new=after)
        for key, node in old.nodes.items()
        for (part, text), (_, after) in zip(_texts(node), _texts(new.nodes[key]), strict=True)
        if text != after
    ]
    words = [("opt_out", old.opt_out_line, new.opt_out_line)]
    words += [(name, text, new.defaults[name]) for name, text in old.defaults.items()]
    return found + [Rewording(node=None, part=name, old=a, new=b) for name, a, b in words if a != b]


def _texts(node: Node) -> Iterator[tuple[str, str]]:
    if node.message is None:
        return
    for variant in node.message.variants:
        yield variant.key, variant.body
        if variant.subject is not None:
            yield f"{variant.key}.subject", variant.subject
    if node.message.fallback is not None:
        yield "fallback", node.message.fallback


def reworded_nodes(changes: list[Rewording], graph: Graph) -> frozenset[str]:
    """The nodes that say something else: by a text of their own, or by a word that one of their texts uses."""
    words = [re.compile(rf"\b{re.escape(one.part)}\b") for one in changes if one.node is None]
    using = {
        key
        for key, node in graph.nodes.items()
        if any(word.search(text) for _, text in _texts(node) for word in words)
    }
    return frozenset(using | {one.node for one in changes if one.node is not None})


# --- for whom it comes in time -----------------------------------------------------------------------------------


def still_ahead(graph: Graph, cursor: str, *, begun: bool) -> frozenset[str]:
    """The nodes that a lead may yet carry out. `begun`: the one it stands on is done, or cannot be held back."""
    seen: set[str] = set() if begun else {cursor}
    todo = [cursor]
    while todo:
        for edge in graph.node(todo.pop()).edges:
            if edge.to is not None and edge.to not in seen:
                seen.add(edge.to)
                todo.append(edge.to)
    return frozenset(seen)
