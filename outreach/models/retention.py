"""Retention's statements: what has been kept for long enough goes in batches of one short transaction each.

Nothing here reads a table from end to end: what came in is walked once, by its ids, and remembered by a mark; words that were
sent have an index by age; one-off sends an index of those that still have their words. Rows of a batch are named by arrays and
looked at one by one (joined, the planner would hash whole tables).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from outreach.models.base import Row, Tx, to_json

#: Advisory lock: one batch at a time, whoever runs it.
RETENTION_LOCK = 1013
#: What is no longer there is not counted further than this.
MOST_COUNTED = 100_000
#: Rows that a walk looks at in one statement where few of them may be due.
_WINDOW = 5000
_UNREAD = "('stored', 'waiting')"
_IN_HANDS = "('open', 'claimed', 'asked')"
_CALLS = "('calling', 'in_doubt', 'held')"
_HAS_WORDS = "(m.text IS NOT NULL OR m.raw <> '{}')"
#: Nobody has understood it yet, or a human still has to read it.
_NEEDED = f"(m.state IN {_UNREAD} OR m.id IN (SELECT inbound_id FROM wanted))"
_WANTED = f"wanted AS MATERIALIZED (SELECT inbound_id FROM task WHERE state IN {_IN_HANDS} AND inbound_id IS NOT NULL)"


def try_lock(tx: Tx) -> bool:
    """False: somebody else is at a batch."""
    return bool(tx.value("SELECT pg_try_advisory_xact_lock(%s)", (RETENTION_LOCK,)))


def lock(tx: Tx) -> None:
    """Wait until nobody is at a batch."""
    tx.execute("SELECT pg_advisory_xact_lock(%s)", (RETENTION_LOCK,))


# --- runs ------------------------------------------------------------------------------------------------------------


def looked(tx: Tx, now: datetime) -> None:
    """Somebody has looked whether something is due."""
    tx.write("UPDATE instance SET retained_at = greatest(retained_at, %s)", (now,))


def open_run(tx: Tx) -> Row | None:
    """The run that has begun and not ended: id, cutoffs, steps, position, counts, by, began_at."""
    return tx.row(
        "SELECT id, began_at, by, cutoffs, steps, position, counts FROM retention_run WHERE ended_at IS NULL"
    )


def last_run_at(tx: Tx) -> datetime:
    """When the last run began; before the first one: when the instance was made."""
    found: datetime = tx.one(
        "SELECT coalesce((SELECT began_at FROM retention_run ORDER BY id DESC LIMIT 1), created_at) AS at FROM instance"
    )["at"]
    return found


def begin_run(
    tx: Tx, *, by: str, cutoffs: Mapping[str, datetime], steps: Sequence[str], now: datetime
) -> None:
    """One run, with what is due fixed."""
    tx.execute(
        "INSERT INTO retention_run (began_at, by, cutoffs, steps) VALUES (%s, %s, %s, %s)",
        (now, by, to_json({name: at.isoformat() for name, at in cutoffs.items()}), to_json(list(steps))),
    )


def note(
    tx: Tx, run: Row, *, steps: Sequence[str], position: Mapping[str, Any], counts: Mapping[str, int]
) -> None:
    """How far it has come."""
    tx.write(
        "UPDATE retention_run SET steps = %s, position = %s, counts = %s WHERE id = %s",
        (to_json(list(steps)), to_json(position), to_json(counts), run["id"]),
    )


def end_run(tx: Tx, run_id: int, now: datetime) -> None:
    """It is over."""
    tx.write("UPDATE retention_run SET ended_at = %s WHERE id = %s", (now, run_id))


def last_run(tx: Tx) -> Row | None:
    """The newest that has ended: began_at, ended_at, by, counts."""
    return tx.row(
        "SELECT began_at, ended_at, by, counts FROM retention_run WHERE ended_at IS NOT NULL ORDER BY id DESC LIMIT 1"
    )


# --- what came in ----------------------------------------------------------------------------------------------------

# Ids come in the order of arrival: the first row that is too young ends the walk.
_WALK = f"""
WITH {_WANTED},
     far AS (SELECT coalesce((SELECT up_to FROM retention_mark WHERE kind = 'messages'), 0) AS id),
     ahead AS (SELECT m.id, m.received_at FROM inbound m WHERE m.id > (SELECT id FROM far) ORDER BY m.id LIMIT %(limit)s),
     seen AS (SELECT id FROM ahead WHERE id < coalesce((SELECT min(id) FROM ahead WHERE received_at > %(cutoff)s), 9223372036854775807)),
     done AS (UPDATE inbound m SET text = NULL, raw = '{{}}', gone = 'age'
               WHERE m.id = ANY (ARRAY(SELECT id FROM seen)) AND {_HAS_WORDS} AND NOT {_NEEDED} RETURNING m.id),
     kept AS (INSERT INTO retention_left (inbound_id)
              SELECT m.id FROM inbound m
               WHERE m.id = ANY (ARRAY(SELECT id FROM seen)) AND {_HAS_WORDS} AND m.id NOT IN (SELECT id FROM done)
                  ON CONFLICT DO NOTHING),
     mark AS (INSERT INTO retention_mark (kind, up_to) SELECT 'messages', max(id) FROM seen HAVING count(*) > 0
                  ON CONFLICT (kind) DO UPDATE SET up_to = excluded.up_to)
SELECT (SELECT count(*) FROM done) AS n, (SELECT count(*) FROM seen) AS seen"""
_LEFT = f"""
WITH {_WANTED},
     next AS (SELECT inbound_id AS id FROM retention_left WHERE inbound_id > %(after)s ORDER BY 1 LIMIT %(limit)s),
     -- claimed anew by somebody they turned out to be of, or put under a longer limit: they stay on the list
     done AS (UPDATE inbound m SET text = NULL, raw = '{{}}', gone = 'age'
               WHERE m.id = ANY (ARRAY(SELECT id FROM next)) AND {_HAS_WORDS} AND NOT {_NEEDED} AND m.received_at <= %(cutoff)s
             RETURNING m.id),
     off AS (DELETE FROM retention_left l WHERE l.inbound_id = ANY (ARRAY(
              SELECT m.id FROM inbound m
               WHERE m.id = ANY (ARRAY(SELECT id FROM next)) AND (NOT {_HAS_WORDS} OR m.id IN (SELECT id FROM done)))))
SELECT (SELECT count(*) FROM done) AS n, (SELECT count(*) FROM next) AS seen, (SELECT max(id) FROM next) AS last"""


def walk_messages(tx: Tx, cutoff: datetime, limit: int) -> Row:
    """The next that came in, from the mark on: `seen` of them are old enough, the words of `n` are gone now."""
    return tx.one(_WALK, {"cutoff": cutoff, "limit": limit})


def revisit_messages(tx: Tx, cutoff: datetime, after: int, limit: int) -> Row:
    """Those that somebody needed when the walk came by: n, seen, last."""
    return tx.one(_LEFT, {"cutoff": cutoff, "after": after, "limit": limit})


# --- what was sent ---------------------------------------------------------------------------------------------------

_BODY_NEEDED = f"""((SELECT e.state FROM execution e WHERE e.id = b.execution_id) IN {_CALLS}
                 OR (SELECT 1 FROM task t WHERE t.execution_id = b.execution_id AND t.state IN {_IN_HANDS} LIMIT 1) IS NOT NULL)"""
_BODIES = f"""
WITH next AS (SELECT execution_id, written_at FROM message_body
               WHERE written_at <= %(cutoff)s AND (written_at, execution_id) > (%(since)s, %(after)s)
               ORDER BY written_at, execution_id LIMIT %(limit)s),
     done AS (DELETE FROM message_body b
               WHERE b.execution_id = ANY (ARRAY(SELECT execution_id FROM next)) AND b.written_at <= %(cutoff)s AND NOT {_BODY_NEEDED}
             RETURNING b.execution_id)
SELECT (SELECT count(*) FROM done) AS n, count(*) AS seen, max(written_at) AS since,
       (array_agg(execution_id ORDER BY written_at DESC, execution_id DESC))[1] AS after FROM next"""
_LEADS = """
UPDATE lead l SET data = l.data - 'text' - 'subject' WHERE l.id = ANY (ARRAY(
       SELECT id FROM lead WHERE key IS NOT NULL AND ended_at IS NOT NULL AND data ? 'text' AND ended_at <= %(cutoff)s
        ORDER BY ended_at LIMIT %(limit)s))"""


def drop_bodies(tx: Tx, cutoff: datetime, since: datetime, after: int, limit: int) -> Row:
    """The oldest words that were sent, from (since, after) on: n, seen, and where to go on."""
    return tx.one(_BODIES, {"cutoff": cutoff, "since": since, "after": after, "limit": limit})


def drop_one_offs(tx: Tx, cutoff: datetime, limit: int) -> int:
    """The words that one-off leads carry, of those that ended by then."""
    return tx.execute(_LEADS, {"cutoff": cutoff, "limit": limit})


# --- the rest --------------------------------------------------------------------------------------------------------


def drop_notices(tx: Tx, cutoff: datetime, limit: int) -> int:
    """Notices that were settled by then."""
    return tx.execute(
        "DELETE FROM notice WHERE id = ANY (ARRAY(SELECT id FROM notice WHERE state <> 'waiting' AND settled_at <= %s LIMIT %s))",
        (cutoff, limit),
    )


_STRANGER = """
p.updated_at <= %(cutoff)s
AND (SELECT 1 FROM lead l WHERE l.person_id = p.person_id AND l.state = 'active' LIMIT 1) IS NULL
AND (SELECT 1 FROM inbound m WHERE m.person_id = p.person_id LIMIT 1) IS NULL
AND (SELECT 1 FROM (SELECT i.id FROM identity i WHERE i.person_id = p.person_id OFFSET 0) y
      CROSS JOIN LATERAL (SELECT 1 FROM execution e WHERE e.identity_id = y.id AND e.effect_by IS NOT NULL LIMIT 1) x LIMIT 1) IS NULL"""
_PROFILES = f"""
WITH next AS (SELECT id FROM profile WHERE id > %(after)s ORDER BY id LIMIT {_WINDOW}),
     done AS (DELETE FROM profile p WHERE p.id = ANY (ARRAY(SELECT id FROM next)) AND {_STRANGER} RETURNING p.id)
SELECT (SELECT count(*) FROM done) AS n, count(*) AS seen, max(id) AS last FROM next"""


def drop_profiles(tx: Tx, cutoff: datetime, after: int) -> Row:
    """Attributes, last changed by then, of people whom nobody has contacted and who have written nothing: n, seen, last."""
    return tx.one(_PROFILES, {"cutoff": cutoff, "after": after})


# --- what would go ---------------------------------------------------------------------------------------------------

_MESSAGES_DUE = f"""
WITH {_WANTED},
     far AS (SELECT coalesce((SELECT up_to FROM retention_mark WHERE kind = 'messages'), 0) AS id),
     ahead AS (SELECT m.id, m.received_at FROM inbound m WHERE m.id > (SELECT id FROM far) ORDER BY m.id LIMIT %(most)s),
     looked AS (SELECT id FROM ahead WHERE id < coalesce((SELECT min(id) FROM ahead WHERE received_at > %(cutoff)s), 9223372036854775807)
                UNION SELECT inbound_id FROM retention_left),
     due AS (SELECT m.received_at, {_NEEDED} AS needed, coalesce(pg_column_size(m.text), 0) + pg_column_size(m.raw) AS size
               FROM inbound m WHERE m.id = ANY (ARRAY(SELECT id FROM looked)) AND {_HAS_WORDS} AND m.received_at <= %(cutoff)s)
SELECT count(*) FILTER (WHERE NOT needed) AS rows, min(received_at) FILTER (WHERE NOT needed) AS oldest,
       coalesce(sum(size) FILTER (WHERE NOT needed), 0)::bigint AS bytes, count(*) FILTER (WHERE needed) AS needed FROM due"""
_BODIES_DUE = f"""
WITH due AS (SELECT b.written_at, pg_column_size(b.body) + coalesce(pg_column_size(b.subject), 0) AS size, {_BODY_NEEDED} AS needed
               FROM (SELECT * FROM message_body WHERE written_at <= %(cutoff)s ORDER BY written_at, execution_id LIMIT %(most)s) b
             UNION ALL
             (SELECT ended_at, pg_column_size(data), false FROM lead
               WHERE key IS NOT NULL AND ended_at IS NOT NULL AND data ? 'text' AND ended_at <= %(cutoff)s ORDER BY ended_at LIMIT %(most)s))
SELECT count(*) FILTER (WHERE NOT needed) AS rows, min(written_at) FILTER (WHERE NOT needed) AS oldest,
       coalesce(sum(size) FILTER (WHERE NOT needed), 0)::bigint AS bytes, count(*) FILTER (WHERE needed) AS needed FROM due"""
_NOTICES_DUE = """
SELECT count(*) AS rows, min(settled_at) AS oldest, coalesce(sum(pg_column_size(payload)), 0)::bigint AS bytes, 0 AS needed
  FROM (SELECT settled_at, payload FROM notice WHERE state <> 'waiting' AND settled_at <= %(cutoff)s LIMIT %(most)s) n"""
_PROFILES_DUE = f"""
SELECT count(*) AS rows, min(p.updated_at) AS oldest, coalesce(sum(pg_column_size(p.attributes)), 0)::bigint AS bytes, 0 AS needed
  FROM (SELECT * FROM profile ORDER BY id LIMIT %(most)s) p WHERE {_STRANGER}"""
_DUE = {"messages": _MESSAGES_DUE, "bodies": _BODIES_DUE, "notices": _NOTICES_DUE, "profiles": _PROFILES_DUE}


def due(tx: Tx, kind: str, cutoff: datetime) -> Row:
    """rows, oldest and bytes of what would go, and how many rows somebody still needs; counted up to MOST_COUNTED."""
    return tx.one(_DUE[kind], {"cutoff": cutoff, "most": MOST_COUNTED})


def set_limit(tx: Tx, kind: str, amount: int | None) -> None:
    """How long it is kept from now on; None: for ever."""
    tx.execute(
        "UPDATE instance SET policy = jsonb_set(policy, '{retention}', coalesce(policy -> 'retention', '{}') || %s)",
        (to_json({kind: amount}),),
    )
