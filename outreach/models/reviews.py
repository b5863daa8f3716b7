"""`review_first`: which messages of a version somebody has read and let go, and which wait to be read."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from outreach.models.base import Row, Tx, to_json
from outreach.models.leads import Lead

#: The advisory lock under which a version's review tasks are counted and opened.
_REVIEW_LOCK = 1010
_OVER = "review over"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approvals:
    """Of a version how many messages are approved, and of one message which text."""

    approved: int
    body_hash: str | None


def pending(tx: Tx, asked: Mapping[int, tuple[int, int]]) -> dict[int, Approvals]:
    """By execution, of those whose version has not all the OKs it wants. `asked`: version, and how many it wants.

    What has been approved stays approved: of a version that has them all, this process need not read again.
    """
    unsure = {id_: version for id_, (version, _) in asked.items() if (_OVER, version) not in tx.kept}
    if not unsure:
        return {}
    rows = tx.rows(
        """
        SELECT q.execution, (SELECT count(*) FROM approval a WHERE a.version_id = q.version) AS approved,
               (SELECT a.body_hash FROM approval a WHERE a.version_id = q.version AND a.execution_id = q.execution) AS body_hash
          FROM unnest(%s::bigint[], %s::bigint[]) q (execution, version)""",
        (list(unsure), list(unsure.values())),
    )
    found = {}
    for row in rows:
        version, wanted = asked[row["execution"]]
        if row["approved"] >= wanted:
            tx.kept[_OVER, version] = True
        else:
            found[row["execution"]] = Approvals(approved=row["approved"], body_hash=row["body_hash"])
    return found


def approved(tx: Tx, version_id: int) -> int:
    """How many messages of the version have an OK."""
    return int(tx.value("SELECT count(*) FROM approval WHERE version_id = %s", (version_id,)))


def approve(tx: Tx, version_id: int, execution_id: int, body_hash: str, by: str, now: datetime) -> None:
    """This text may go. Another text of the same message, approved later, takes its place."""
    tx.execute(
        "INSERT INTO approval (version_id, execution_id, body_hash, approved_by, approved_at) VALUES (%s, %s, %s, %s, %s)"
        " ON CONFLICT (version_id, execution_id) DO UPDATE SET body_hash = excluded.body_hash, approved_by = excluded.approved_by,"
        " approved_at = excluded.approved_at",
        (version_id, execution_id, body_hash, by, now),
    )


def in_hand(tx: Tx, version_id: int) -> int | None:
    """Messages that are approved or wait to be read, counted under the version's lock. None: somebody else is counting just now."""
    if not tx.value("SELECT pg_try_advisory_xact_lock(%s, hashint8(%s))", (_REVIEW_LOCK, version_id)):
        return None
    return int(
        tx.value(
            """
            SELECT (SELECT count(*) FROM approval WHERE version_id = %(version)s)
                 + (SELECT count(*) FROM task t JOIN lead l ON l.id = t.lead_id
                     WHERE t.kind = 'review' AND t.state = 'open' AND l.version_id = %(version)s)""",
            {"version": version_id},
        )
    )


def note_shown(tx: Tx, task_id: int, detail: Row) -> None:
    """What the reader has seen, and who they are."""
    tx.execute("UPDATE task SET detail = detail || %s WHERE id = %s", (to_json(detail), task_id))


def wake(tx: Tx, besides: Lead, *, most: int | None, now: datetime) -> None:
    """Other leads of this one's version that wait for their turn to be read are due now; `most`, the oldest first (None: all)."""
    tx.write(
        """
        UPDATE lead SET due_at = %(now)s, waiting_on = 'time', waiting_detail = NULL
         WHERE id IN (SELECT l.id FROM lead l
                       WHERE l.sequence_id = %(sequence)s AND l.state = 'active' AND l.version_id = %(version)s
                         AND l.id <> %(besides)s AND l.waiting_on = 'task' AND l.waiting_detail = 'review.first' AND l.paused_at IS NULL
                         AND NOT EXISTS (SELECT 1 FROM task t WHERE t.lead_id = l.id AND t.kind = 'review' AND t.state = 'open')
                       ORDER BY l.id LIMIT %(most)s FOR NO KEY UPDATE SKIP LOCKED)""",
        {
            "now": now,
            "sequence": besides.sequence_id,
            "version": besides.version_id,
            "most": most,
            "besides": besides.id,
        },
    )
