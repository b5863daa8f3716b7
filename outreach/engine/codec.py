"""The graph as the JSON that is stored with a version, and back. Durations are seconds, times of day are HH:MM."""

from collections.abc import Mapping
from datetime import time, timedelta
from typing import Any

from outreach.engine.graph import (
    GRAPH_FORMAT,
    TASK_EXPIRES,
    Edge,
    Entry,
    Graph,
    Lateness,
    Message,
    Node,
    Variant,
    Window,
)
from outreach.engine.kinds import ActionKind, Channel, EntryKind, IfLate, TriggerKind, known
from outreach.errors import NeedsNewerWorker
from outreach.ids import content_hash


def graph_to_json(graph: Graph) -> dict[str, Any]:
    """JSON values only. Nodes are a list: stored JSON forgets the order of keys, and the author's order is kept."""
    # What a graph does not use is not in it: stored, and hashed, as before there was such a thing.
    review = {"review_first": graph.review_first} if graph.review_first else {}
    stored = review | {
        "format": graph.format,
        "sequence": graph.sequence,
        "start": graph.start,
        "nodes": [_node_to_json(node) for node in graph.nodes.values()],
        "window": None if graph.window is None else _window_to_json(graph.window),
        "caps": dict(graph.caps),
        "defaults": dict(graph.defaults),
        "exclude_already_contacted": graph.exclude_already_contacted,
        "on_reply": graph.on_reply,
        "opt_out_line": graph.opt_out_line,
    }
    if not graph.entries:
        return stored  # as it was stored, and hashed, before there was such a thing
    return stored | {"entries": [_entry_to_json(entry) for entry in graph.entries]}


def graph_from_json(stored: Mapping[str, Any]) -> Graph:
    """The graph again. Raises NeedsNewerWorker for a format or a kind that this release does not know."""
    if stored["format"] > GRAPH_FORMAT:
        raise NeedsNewerWorker(
            f"the graph has format {stored['format']}, formats to {GRAPH_FORMAT} are known here"
        )
    return Graph(
        sequence=stored["sequence"],
        start=stored["start"],
        nodes={node["key"]: _node_from_json(node) for node in stored["nodes"]},
        window=None if stored["window"] is None else _window_from_json(stored["window"]),
        caps=dict(stored["caps"]),
        defaults=dict(stored["defaults"]),
        exclude_already_contacted=stored["exclude_already_contacted"],
        on_reply=stored["on_reply"],
        opt_out_line=stored["opt_out_line"],
        review_first=stored.get("review_first", 0),
        entries=tuple(_entry_from_json(entry) for entry in stored.get("entries", ())),
        format=stored["format"],
    )


def graph_hash(graph: Graph) -> str:
    """Equal for graphs that mean the same: the order in which actions stand in the file does not count."""
    stored = graph_to_json(graph)
    return content_hash(stored | {"nodes": sorted(stored["nodes"], key=lambda node: str(node["key"]))})


def _node_to_json(node: Node) -> dict[str, Any]:
    stored: dict[str, Any] = {
        "key": node.key,
        "kind": node.kind.value,
        "edges": [{"kind": e.kind.value, "to": e.to, "after": _seconds(e.after)} for e in node.edges],
        "message": None if node.message is None else _message_to_json(node.message),
        "wait": _seconds(node.wait),
    }
    # What says nothing new is stored, and hashed, as it was before there was such a thing.
    if node.lateness is not None:
        stored["lateness"] = {"after": _seconds(node.lateness.after), "then": node.lateness.then.value}
    if node.task_expires != TASK_EXPIRES:
        stored["task"] = {"expires": None if node.task_expires is None else _seconds(node.task_expires)}
    return stored


def _node_from_json(stored: Mapping[str, Any]) -> Node:
    return Node(
        key=stored["key"],
        kind=known(ActionKind, stored["kind"]),
        edges=tuple(_edge_from_json(edge) for edge in stored["edges"]),
        message=None if stored["message"] is None else _message_from_json(stored["message"]),
        wait=timedelta(seconds=stored["wait"]),
        lateness=_lateness_from_json(stored["lateness"]) if "lateness" in stored else None,
        task_expires=_expiry_from_json(stored["task"]) if "task" in stored else TASK_EXPIRES,
    )


def _expiry_from_json(stored: Mapping[str, Any]) -> timedelta | None:
    return None if stored["expires"] is None else timedelta(seconds=stored["expires"])


def _edge_from_json(stored: Mapping[str, Any]) -> Edge:
    kind = known(TriggerKind, stored["kind"])
    return Edge(kind=kind, to=stored["to"], after=timedelta(seconds=stored["after"]))


def _lateness_from_json(stored: Mapping[str, Any]) -> Lateness:
    return Lateness(after=timedelta(seconds=stored["after"]), then=known(IfLate, stored["then"]))


def _entry_to_json(entry: Entry) -> dict[str, Any]:
    return {
        "kind": entry.kind.value,
        "name": entry.name,
        "channel": None if entry.channel is None else entry.channel.value,
        "accounts": list(entry.accounts),
        "pools": list(entry.pools),
        "words": list(entry.words),
        "cool_off": None if entry.cool_off is None else _seconds(entry.cool_off),
        "source": entry.source,
    }


def _entry_from_json(stored: Mapping[str, Any]) -> Entry:
    return Entry(
        kind=known(EntryKind, stored["kind"]),
        name=stored["name"],
        channel=None if stored["channel"] is None else known(Channel, stored["channel"]),
        accounts=tuple(stored["accounts"]),
        pools=tuple(stored["pools"]),
        words=tuple(stored["words"]),
        cool_off=None if stored["cool_off"] is None else timedelta(seconds=stored["cool_off"]),
        source=stored["source"],
    )


def _message_to_json(message: Message) -> dict[str, Any]:
    variants = [
        {"key": v.key, "weight": v.weight, "body": v.body, "subject": v.subject} for v in message.variants
    ]
    return {"variants": variants, "fallback": message.fallback}


def _message_from_json(stored: Mapping[str, Any]) -> Message:
    variants = tuple(
        Variant(key=v["key"], weight=v["weight"], body=v["body"], subject=v["subject"])
        for v in stored["variants"]
    )
    return Message(variants=variants, fallback=stored["fallback"])


def _window_to_json(window: Window) -> dict[str, Any]:
    start, end = (f"{t:%H:%M}" for t in (window.start, window.end))
    return {"days": list(window.days), "start": start, "end": end, "zone": window.zone}


def _window_from_json(stored: Mapping[str, Any]) -> Window:
    start, end = time.fromisoformat(stored["start"]), time.fromisoformat(stored["end"])
    return Window(days=tuple(stored["days"]), start=start, end=end, zone=stored["zone"])


def _seconds(duration: timedelta) -> int | float:
    """Whole seconds as an integer, so that equal durations have one spelling and one hash."""
    seconds = duration.total_seconds()
    return int(seconds) if seconds.is_integer() else seconds
