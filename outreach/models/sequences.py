"""Sequences, their immutable versions and their compiled graphs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from outreach.engine.codec import graph_from_json, graph_to_json
from outreach.engine.graph import Graph
from outreach.engine.suggest import did_you_mean
from outreach.errors import NotFound
from outreach.models.base import Row, Tx, to_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A published version: never changes."""

    id: int
    sequence_id: int
    version: int
    content_hash: str


def graph_of(tx: Tx, version_id: int) -> Graph:
    """The version's graph, kept per process: versions never change. Raises NeedsNewerWorker for a newer format."""
    kept = tx.kept.get(("graph", version_id))
    if kept is not None:
        return cast(Graph, kept)
    graph = graph_from_json(tx.value("SELECT graph FROM sequence_version WHERE id = %s", (version_id,)))
    tx.kept["graph", version_id] = graph
    return graph


def action_ids(tx: Tx, version_id: int) -> Mapping[str, int]:
    """Node key -> sequence_action.id of the version's sequence, kept per process: keys are for ever."""
    found = cast("Mapping[str, int] | None", tx.kept.get(("actions", version_id)))
    if found is None:
        rows = tx.rows(
            "SELECT a.key, a.id FROM sequence_action a JOIN sequence_version v USING (sequence_id) WHERE v.id = %s",
            (version_id,),
        )
        found = {row["key"]: row["id"] for row in rows}
        tx.kept["actions", version_id] = found
    return found


def latest_version(tx: Tx, sequence_id: int) -> Version | None:
    """The newest version, or None before the first."""
    row = tx.row(
        "SELECT id, sequence_id, version, content_hash FROM sequence_version WHERE sequence_id = %s ORDER BY version DESC LIMIT 1",
        (sequence_id,),
    )
    return Version(**row) if row else None


def sequence_of(tx: Tx, version_id: int) -> int:
    """The sequence that the version is of."""
    return int(tx.one("SELECT sequence_id FROM sequence_version WHERE id = %s", (version_id,))["sequence_id"])


def by_hash(tx: Tx, sequence_id: int, content_hash: str) -> Row | None:
    """The version of exactly this content."""
    return tx.row(
        "SELECT id, sequence_id FROM sequence_version WHERE sequence_id = %s AND content_hash = %s ORDER BY version LIMIT 1",
        (sequence_id, content_hash),
    )


def find(tx: Tx, name: str) -> Row:
    """The sequence of that name. Raises NotFound naming the nearest."""
    row = tx.row(
        "SELECT id, name, title, state, state_reason, built_in, created_at FROM sequence WHERE name = %s",
        (name,),
    )
    if row is None:
        names = [r["name"] for r in tx.rows("SELECT name FROM sequence WHERE NOT built_in ORDER BY name")]
        hint = did_you_mean(name, names) if names else "outreach sequence publish FILE makes one"
        raise NotFound(f"no sequence {name!r}", hint=hint)
    return row


def lock_or_create(tx: Tx, name: str, title: str, *, built_in: bool, now: datetime) -> int:
    """The sequence's id with its row locked; made if there is none."""
    tx.execute(
        "INSERT INTO sequence (name, title, built_in, created_at) VALUES (%s, %s, %s, %s) ON CONFLICT (name) DO NOTHING",
        (name, title, built_in, now),
    )
    return int(tx.one("SELECT id FROM sequence WHERE name = %s FOR UPDATE", (name,))["id"])


def insert_version(
    tx: Tx,
    sequence_id: int,
    graph: Graph,
    *,
    number: int,
    content_hash: str,
    source: str,
    by: str,
    now: datetime,
) -> Version:
    """Write a version with its actions, triggers and templates."""
    row = tx.one(
        "INSERT INTO sequence_version (sequence_id, version, content_hash, source, graph, graph_format, published_at, published_by)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING id, sequence_id, version, content_hash",
        (sequence_id, number, content_hash, source, to_json(graph_to_json(graph)), graph.format, now, by),
    )
    version = Version(**row)
    ids = _write_actions(tx, sequence_id, graph)
    _write_triggers(tx, version.id, graph, ids)
    _write_templates(tx, version.id, graph, ids)
    return version


def _write_actions(tx: Tx, sequence_id: int, graph: Graph) -> dict[str, int]:
    tx.insert_many(
        "INSERT INTO sequence_action (sequence_id, key, kind) VALUES %s ON CONFLICT (sequence_id, key) DO UPDATE SET kind = excluded.kind",
        [(sequence_id, node.key, node.kind.value) for node in graph.nodes.values()],
    )
    return {
        r["key"]: r["id"]
        for r in tx.rows("SELECT key, id FROM sequence_action WHERE sequence_id = %s", (sequence_id,))
    }


def _write_triggers(tx: Tx, version_id: int, graph: Graph, ids: Mapping[str, int]) -> None:
    tx.insert_many(
        "INSERT INTO sequence_trigger (version_id, from_action_id, kind, to_action_id, delay_seconds, position) VALUES %s",
        [
            (
                version_id,
                ids[node.key],
                edge.kind.value,
                ids[edge.to] if edge.to else None,
                edge.after.total_seconds(),
                position,
            )
            for node in graph.nodes.values()
            for position, edge in enumerate(node.edges)
        ],
    )


def _write_templates(tx: Tx, version_id: int, graph: Graph, ids: Mapping[str, int]) -> None:
    rows: list[Sequence[object]] = []
    for node in graph.nodes.values():
        if node.message is None:
            continue
        rows += [
            (version_id, ids[node.key], v.key, v.weight, v.subject, v.body, False)
            for v in node.message.variants
        ]
        if node.message.fallback is not None:
            rows.append((version_id, ids[node.key], "(fallback)", 0, None, node.message.fallback, True))
    tx.insert_many(
        "INSERT INTO message_template (version_id, action_id, variant, weight, subject, body, fallback) VALUES %s",
        rows,
    )


def set_state(tx: Tx, sequence_id: int, state: str, reason: str | None) -> None:
    """active, paused or archived."""
    tx.execute(
        "UPDATE sequence SET state = %s, state_reason = %s WHERE id = %s", (state, reason, sequence_id)
    )


def listed(tx: Tx) -> list[Row]:
    """All sequences with their newest version and their leads by state."""
    return tx.rows(
        """
        SELECT s.name, s.title, s.state, s.state_reason, v.version, v.published_at,
               count(l.id) FILTER (WHERE l.state = 'active') AS active,
               count(l.id) FILTER (WHERE l.state = 'finished') AS finished,
               count(l.id) FILTER (WHERE l.state = 'exited') AS exited
          FROM sequence s
          LEFT JOIN LATERAL (SELECT version, published_at FROM sequence_version WHERE sequence_id = s.id
                              ORDER BY version DESC LIMIT 1) v ON true
          LEFT JOIN lead l ON l.sequence_id = s.id
         WHERE NOT s.built_in
         GROUP BY s.id, s.name, s.title, s.state, s.state_reason, v.version, v.published_at ORDER BY s.name"""
    )
