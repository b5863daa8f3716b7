"""Batches: what one enrolment made, and what has gone out to whom of it."""

from collections.abc import Sequence
from datetime import datetime

from outreach.engine.suggest import did_you_mean
from outreach.errors import NotFound
from outreach.models.base import Row, Tx, to_json

#: The exit reason of a lead whose enrolment was undone before anything went out: it has not been through the sequence.
UNDONE = "undone"
_COLUMNS = """
b.id, b.sequence_id, s.name AS sequence, v.version, b.segments, b.enrolled, b.first_lead, b.last_lead, b.at, b.by, b.undone_at, b.undone_by"""


def note(
    tx: Tx,
    batch: str,
    sequence_id: int,
    version_id: int,
    segments: Sequence[str],
    lead_ids: Sequence[int],
    *,
    at: datetime,
    by: str,
) -> None:
    """Remember the batch; one without leads is none."""
    if lead_ids:
        tx.execute(
            "INSERT INTO enroll_batch (id, sequence_id, version_id, segments, enrolled, first_lead, last_lead, at, by)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (batch, sequence_id, version_id, to_json(list(segments)), len(lead_ids), min(lead_ids), max(lead_ids), at, by),
        )  # fmt: skip


def find(tx: Tx, batch: str) -> Row:
    """The batch. Raises NotFound naming the nearest of the newest."""
    row = tx.row(
        f"SELECT {_COLUMNS} FROM enroll_batch b JOIN sequence s ON s.id = b.sequence_id"
        " JOIN sequence_version v ON v.id = b.version_id WHERE b.id = %s",
        (batch,),
    )
    if row is None:
        known = [r["id"] for r in tx.rows("SELECT id FROM enroll_batch ORDER BY at DESC LIMIT 100")]
        near = did_you_mean(batch, known) if known else ""
        raise NotFound(f"no batch {batch!r}", hint=f"{near} outreach enroll list shows them".strip())
    return row


def listed(tx: Tx, limit: int) -> list[Row]:
    """The newest first, with how many of their leads are active."""
    return tx.rows(
        f"""
        SELECT {_COLUMNS}, (SELECT count(*) FROM lead l WHERE l.id BETWEEN b.first_lead AND b.last_lead AND l.batch = b.id
                               AND l.state = 'active') AS active
          FROM enroll_batch b JOIN sequence s ON s.id = b.sequence_id JOIN sequence_version v ON v.id = b.version_id
         ORDER BY b.at DESC, b.id LIMIT %s""",
        (limit,),
    )


def set_undone(tx: Tx, batch: str, by: str, now: datetime) -> None:
    """Who undid it first, and when."""
    tx.execute(
        "UPDATE enroll_batch SET undone_at = %s, undone_by = %s WHERE id = %s AND undone_at IS NULL",
        (now, by, batch),
    )


def active_leads(tx: Tx, batch: Row, *, after: int, limit: int) -> list[int]:
    """The next page of its active leads, by id."""
    rows = tx.rows(
        "SELECT id FROM lead WHERE id > %s AND id BETWEEN %s AND %s AND batch = %s AND state = 'active' ORDER BY id LIMIT %s",
        (after, batch["first_lead"], batch["last_lead"], batch["id"], limit),
    )
    return [row["id"] for row in rows]


def touched_among(tx: Tx, lead_ids: Sequence[int]) -> set[int]:
    """Those to whom something has gone out, or may have, or is going out now. The caller holds their rows."""
    rows = tx.rows(
        "SELECT DISTINCT lead_id FROM execution WHERE lead_id = ANY(%s) AND effect_by IS NOT NULL",
        (list(lead_ids),),
    )
    return {row["lead_id"] for row in rows}


_OF_BATCH = "l.id BETWEEN %(first_lead)s AND %(last_lead)s AND l.batch = %(id)s"
_TOUCHED = "EXISTS (SELECT 1 FROM execution e WHERE e.lead_id = l.id AND e.effect_by IS NOT NULL)"


def sums(tx: Tx, batch: Row) -> Row:
    """touched; undone; of these `called`: a call was made, and surely had no effect; over: ended untouched, some other way."""
    return tx.one(
        f"""
        SELECT count(*) FILTER (WHERE x.touched) AS touched,
               count(*) FILTER (WHERE NOT x.touched AND x.exit_reason = %(undone)s) AS undone,
               count(*) FILTER (WHERE NOT x.touched AND x.exit_reason = %(undone)s AND x.called) AS called,
               count(*) FILTER (WHERE NOT x.touched AND x.state <> 'active' AND x.exit_reason IS DISTINCT FROM %(undone)s) AS over
          FROM (SELECT l.state, l.exit_reason, {_TOUCHED} AS touched,
                       EXISTS (SELECT 1 FROM execution e WHERE e.lead_id = l.id AND e.started_at IS NOT NULL) AS called
                  FROM lead l WHERE {_OF_BATCH}) x""",
        {**batch, "undone": UNDONE},
    )


def went_out(tx: Tx, batch: Row, limit: int) -> list[Row]:
    """What went out, or may have, to its touched leads; by lead."""
    return tx.rows(
        f"""
        SELECT l.id AS lead_id, l.person_id, l.state, k.key AS node, e.id AS execution_id, e.kind, a.name AS account,
               e.state AS execution_state, coalesce(e.sent_at, e.started_at) AS at
          FROM lead l JOIN execution e ON e.lead_id = l.id AND e.effect_by IS NOT NULL
          JOIN sequence_action k ON k.id = e.action_id JOIN account a ON a.id = e.account_id
         WHERE {_OF_BATCH} ORDER BY l.id, e.id LIMIT %(limit)s""",
        {**batch, "limit": limit},
    )
