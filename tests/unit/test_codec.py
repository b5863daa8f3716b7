"""The stored JSON of a graph: nothing is lost on the way there and back, and newer graphs are left alone."""

import json
from datetime import time, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outreach.engine.codec import graph_from_json, graph_hash, graph_to_json
from outreach.engine.graph import GRAPH_FORMAT, Edge, Entry, Graph, Lateness, Message, Node, Variant, Window
from outreach.engine.kinds import ActionKind, Channel, EntryKind, IfLate, TriggerKind
from outreach.errors import NeedsNewerWorker

_KEYS = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,8}", fullmatch=True)
_TEXTS = st.text(max_size=20)
_SECONDS = st.integers(0, 10**8).map(lambda seconds: timedelta(seconds=seconds))
_MINUTES = st.builds(time, st.integers(0, 23), st.integers(0, 59))
_VARIANTS = st.builds(Variant, key=_KEYS, weight=st.integers(0, 100), body=_TEXTS, subject=st.none() | _TEXTS)
_MESSAGES = st.builds(
    Message, variants=st.lists(_VARIANTS, min_size=1, max_size=3).map(tuple), fallback=st.none() | _TEXTS
)
_EDGES = st.builds(Edge, kind=st.sampled_from(TriggerKind), to=st.none() | _KEYS, after=_SECONDS)
_NODES = st.builds(
    Node,
    key=_KEYS,
    kind=st.sampled_from(ActionKind),
    edges=st.lists(_EDGES, max_size=3).map(tuple),
    message=st.none() | _MESSAGES,
    wait=_SECONDS,
    lateness=st.none() | st.builds(Lateness, after=_SECONDS, then=st.sampled_from(IfLate)),
)
_WINDOWS = st.builds(
    Window,
    days=st.sets(st.integers(0, 6)).map(lambda days: tuple(sorted(days))),
    start=_MINUTES,
    end=_MINUTES,
    zone=st.sampled_from(["lead", "account", "Europe/Vienna"]),
)
_ENTRIES = st.builds(
    Entry,
    kind=st.sampled_from(EntryKind),
    name=_TEXTS,
    channel=st.none() | st.sampled_from(Channel),
    accounts=st.lists(_TEXTS, max_size=2).map(tuple),
    pools=st.lists(_TEXTS, max_size=2).map(tuple),
    words=st.lists(_TEXTS, max_size=2).map(tuple),
    cool_off=st.none() | _SECONDS,
    source=_TEXTS,
)
GRAPHS = st.builds(
    Graph,
    sequence=_KEYS,
    start=_KEYS,
    nodes=st.lists(_NODES, max_size=4, unique_by=lambda n: n.key).map(
        lambda nodes: {n.key: n for n in nodes}
    ),
    window=st.none() | _WINDOWS,
    caps=st.dictionaries(st.sampled_from([k.value for k in ActionKind]), _TEXTS, max_size=2),
    defaults=st.dictionaries(_KEYS, _TEXTS, max_size=2),
    exclude_already_contacted=st.booleans(),
    on_reply=st.sampled_from(["stop", "continue"]),
    opt_out_line=_TEXTS,
    entries=st.lists(_ENTRIES, max_size=2).map(tuple),
)


def stored(graph: Graph) -> dict[str, Any]:
    """The graph after a stay in a JSON column that sorts keys as it likes."""
    found: dict[str, Any] = json.loads(json.dumps(graph_to_json(graph), sort_keys=True))
    return found


def small() -> dict[str, Any]:
    edge = Edge(kind=TriggerKind.NOT_REPLIED, to=None, after=timedelta(days=3))
    node = Node(key="a", kind=ActionKind.CHECK_FOR_REPLY, edges=(edge,))
    return stored(Graph(sequence="s", start="a", nodes={"a": node}))


@settings(deadline=None)
@given(GRAPHS)
def test_a_graph_comes_back_as_it_went(graph: Graph) -> None:
    again = graph_from_json(stored(graph))
    assert again == graph
    assert list(again.nodes) == list(graph.nodes)


@settings(deadline=None)
@given(GRAPHS, st.randoms(use_true_random=False))
def test_the_hash_does_not_depend_on_the_order_of_nodes_but_on_everything_in_them(
    graph: Graph, rng: Any
) -> None:
    keys = list(graph.nodes)
    rng.shuffle(keys)
    shuffled = graph_from_json(
        stored(graph) | {"nodes": [n for k in keys for n in stored(graph)["nodes"] if n["key"] == k]}
    )
    assert graph_hash(shuffled) == graph_hash(graph)
    assert graph_hash(graph) == graph_hash(graph_from_json(stored(graph)))


def test_durations_are_whole_seconds_and_times_are_hours_and_minutes() -> None:
    assert small()["nodes"][0]["edges"] == [{"kind": "NOT_REPLIED", "to": None, "after": 259_200}]
    graph = Graph(sequence="s", start="a", nodes={}, window=Window())
    assert stored(graph)["window"] == {
        "days": [0, 1, 2, 3, 4],
        "start": "09:00",
        "end": "18:00",
        "zone": "lead",
    }


def test_parts_of_a_second_survive() -> None:
    edge = Edge(kind=TriggerKind.TIMEOUT, to=None, after=timedelta(milliseconds=1500))
    graph = Graph(sequence="s", start="a", nodes={"a": Node(key="a", kind=ActionKind.BRANCH, edges=(edge,))})
    assert graph_from_json(stored(graph)) == graph


def test_a_newer_format_is_left_to_newer_workers() -> None:
    with pytest.raises(NeedsNewerWorker, match=f"format {GRAPH_FORMAT + 1}"):
        graph_from_json(small() | {"format": GRAPH_FORMAT + 1})


@pytest.mark.parametrize("place", ["node", "edge"])
def test_an_unknown_kind_is_left_to_newer_workers(place: str) -> None:
    graph = small()
    node = graph["nodes"][0]
    (node if place == "node" else node["edges"][0])["kind"] = "SEND_BY_PIGEON"
    with pytest.raises(NeedsNewerWorker, match="SEND_BY_PIGEON"):
        graph_from_json(graph)


def test_a_note_that_a_newer_release_added_does_no_harm() -> None:
    graph = small()
    graph["nodes"][0]["colour"] = "blue"
    assert graph_from_json(graph | {"colour": "blue"}) == graph_from_json(small())


def test_what_was_stored_before_steps_could_be_late_reads_and_hashes_as_it_did() -> None:
    """Published versions are immutable: their JSON has no such key, and their hash stands in the database."""
    old = small()
    assert "lateness" not in old["nodes"][0]
    assert old["format"] == 1
    assert graph_from_json(old).nodes["a"].lateness is None
    assert graph_hash(graph_from_json(old)) == (
        "e25baf3ed26038c10f70975532d7ed347231dd0ddd85ac40d2bd46ae18e50151"
    )


def test_an_answer_to_lateness_that_is_not_known_yet_is_left_to_newer_workers() -> None:
    node = small()["nodes"][0] | {"lateness": {"after": 60, "then": "shrug"}}
    with pytest.raises(NeedsNewerWorker, match="shrug"):
        graph_from_json(small() | {"nodes": [node]})
