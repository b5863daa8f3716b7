"""Enrolment's statements: whom a segment holds, by which handles, and the leads that are made of them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from outreach.models.base import Row, Tx, to_json
from outreach.models.batches import UNDONE

#: The identity that a channel speaks to, the most stable first.
IDENTITY_KINDS = {
    "twitter": ("twitter_id", "twitter_handle"),
    "linkedin": ("linkedin_urn", "linkedin_member", "linkedin_slug"),
    "xmtp": ("evm_address",),
    "email": ("email",),
}

_CANDIDATE = """
SELECT DISTINCT ON (p.id) p.id AS person_id, p.name, p.suppressed_at IS NOT NULL AS suppressed, p.invented,
       EXISTS (SELECT 1 FROM lead l WHERE l.person_id = p.id AND l.sequence_id = %(sequence)s AND l.state = 'active') AS active,
       EXISTS (SELECT 1 FROM lead l WHERE l.person_id = p.id AND l.sequence_id = %(sequence)s
                  AND l.exit_reason IS DISTINCT FROM %(undone)s) AS before,
       (SELECT jsonb_object_agg(a.key, a.value) FROM (
            SELECT e.key, (array_agg(e.value ORDER BY f.updated_at DESC))[1] AS value
              FROM profile f, jsonb_each(f.attributes) e WHERE f.person_id = p.id GROUP BY e.key) a) AS attributes"""
_CANDIDATES = f"""{_CANDIDATE}
  FROM segment_member m JOIN segment s ON s.id = m.segment_id
  JOIN person q ON q.id = m.person_id
  JOIN person p ON p.id = coalesce(q.merged_into, q.id)
 WHERE s.name = ANY(%(segments)s)
 ORDER BY p.id"""
_CHOSEN = f"{_CANDIDATE} FROM person p WHERE p.id = ANY(%(persons)s) ORDER BY p.id"


def candidates(tx: Tx, segments: Sequence[str], sequence_id: int) -> list[Row]:
    """The members of the segments, each human once, with what stands against enrolling them and their attributes."""
    return tx.rows(_CANDIDATES, {"segments": list(segments), "sequence": sequence_id, "undone": UNDONE})


def chosen(tx: Tx, person_ids: Sequence[int], sequence_id: int) -> list[Row]:
    """The same for these people. `sequence_id` 0: a sequence that is not there yet."""
    return tx.rows(_CHOSEN, {"persons": list(person_ids), "sequence": sequence_id, "undone": UNDONE})


def sample(tx: Tx, segments: Sequence[str], limit: int) -> list[int]:
    """Some people of the segments (none: of everybody), always the same ones, spread over all."""
    return [
        row["id"]
        for row in tx.rows(
            """
            SELECT p.id FROM person p
             WHERE p.merged_into IS NULL AND p.erased_at IS NULL
               AND (%(all)s OR EXISTS (SELECT 1 FROM segment_member m JOIN segment s ON s.id = m.segment_id
                                        WHERE m.person_id = p.id AND s.name = ANY(%(segments)s)))
             ORDER BY md5(p.id::text) LIMIT %(limit)s""",
            {"all": not segments, "segments": list(segments), "limit": limit},
        )
    ]


def person_data(tx: Tx, person_id: int) -> Row:
    """The person's name, and what the sources say of them: `name`, `attributes`."""
    return tx.one(
        """
        SELECT p.name, (SELECT jsonb_object_agg(a.key, a.value) FROM (
                           SELECT e.key, (array_agg(e.value ORDER BY f.updated_at DESC))[1] AS value
                             FROM profile f, jsonb_each(f.attributes) e WHERE f.person_id = p.id GROUP BY e.key) a) AS attributes
          FROM person p WHERE p.id = %s""",
        (person_id,),
    )


def handles(tx: Tx, person_ids: Sequence[int], channel: str, *, prefer: Sequence[int] = ()) -> dict[int, int]:
    """Per person the identity to speak to on the channel: one of those preferred, else the most stable kind, the oldest of it."""
    rows = tx.rows(
        """
        SELECT DISTINCT ON (i.person_id) i.person_id, i.id FROM identity i
         WHERE i.person_id = ANY(%s) AND i.kind = ANY(%s) AND i.status = 'active'
           -- a company's page receives nothing
           AND (i.kind <> 'linkedin_slug' OR i.value LIKE 'in/%%')
         ORDER BY i.person_id, i.id = ANY(%s::bigint[]) DESC, array_position(%s::text[], i.kind), i.id""",
        (list(person_ids), list(IDENTITY_KINDS[channel]), list(prefer), list(IDENTITY_KINDS[channel])),
    )
    return {row["person_id"]: row["id"] for row in rows}


_INSERT_LEADS = """
INSERT INTO lead (person_id, sequence_id, version_id, key, batch, data, cursor, visits, entered_at, due_at, waiting_on, enrolled_at, event_seq, hinted_until)
VALUES %s ON CONFLICT DO NOTHING RETURNING id, person_id"""


def insert_leads(
    tx: Tx, rows: Sequence[dict[str, Any]], now: datetime, hinted_until: datetime
) -> dict[int, int]:
    """person -> lead of those that are new. `rows`: person_id, sequence_id, version_id, key, batch, data, cursor.

    The caller hints them, so the sweep leaves them alone until `hinted_until`.
    """
    values = [
        (r["person_id"], r["sequence_id"], r["version_id"], r["key"], r["batch"], to_json(r["data"]), r["cursor"], to_json({r["cursor"]: 1}),
         now, now, "time", now, 1, hinted_until)
        for r in rows
    ]  # fmt: skip
    return {row["person_id"]: row["id"] for row in tx.insert_many(_INSERT_LEADS, values, returning=True)}


def insert_bindings(tx: Tx, rows: Sequence[tuple[int, str, int, int]]) -> None:
    """(lead, channel, account, identity): sticky for the lead's life."""
    tx.insert_many(
        "INSERT INTO lead_binding (lead_id, channel, account_id, identity_id) VALUES %s ON CONFLICT DO NOTHING",
        rows,
    )


def segment_names(tx: Tx) -> list[str]:
    """All segments, for did-you-mean."""
    return [row["name"] for row in tx.rows("SELECT name FROM segment ORDER BY name")]


def by_key(tx: Tx, key: str) -> Row | None:
    """The one-off lead of a caller's key, with its execution."""
    return tx.row(
        """
        SELECT l.id AS lead_id, l.person_id, l.state, l.exit_reason, l.due_at, l.waiting_on, l.waiting_detail, l.version_id,
               e.id AS execution_id, e.state AS execution_state, e.reason, e.verdict
          FROM lead l LEFT JOIN execution e ON e.lead_id = l.id WHERE l.key = %s""",
        (key,),
    )
