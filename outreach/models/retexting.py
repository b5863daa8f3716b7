"""Rewording in flight: where leads stand, version by version, and their move to a version that says it better."""

from collections.abc import Sequence

from outreach.models.base import Row, Tx

#: A human who has begun a task has the text in hand: the execution is planned, and counts as used.
_IN_HAND = "e.state = 'planned' AND e.effect_by IS NOT NULL"


def standing(tx: Tx, sequence_id: int) -> list[Row]:
    """Active leads by version_id, version, cursor, `begun` (the step is done) and `busy` (a call is open, or a human has it)."""
    return tx.rows(
        f"""
        SELECT v.id AS version_id, v.version, l.cursor, coalesce(e.state <> 'planned', false) AS begun,
               coalesce({_IN_HAND}, false) OR EXISTS (SELECT 1 FROM execution o WHERE o.lead_id = l.id
                                                      AND o.state IN ('calling', 'in_doubt', 'held')) AS busy,
               count(*) AS leads
          FROM lead l JOIN sequence_version v ON v.id = l.version_id
          LEFT JOIN sequence_action k ON k.sequence_id = l.sequence_id AND k.key = l.cursor
          LEFT JOIN execution e ON e.lead_id = l.id AND e.action_id = k.id AND e.visit = coalesce((l.visits ->> l.cursor)::int, 1)
         WHERE l.sequence_id = %s AND l.state = 'active' GROUP BY 1, 2, 3, 4, 5 ORDER BY 2 DESC, 3""",
        (sequence_id,),
    )


def said_already(tx: Tx, sequence_id: int) -> list[Row]:
    """Per version and node: to how many leads it was said, or may have been."""
    return tx.rows(
        """
        SELECT l.version_id, k.key, count(DISTINCT l.id) AS leads
          FROM execution e JOIN lead l ON l.id = e.lead_id JOIN sequence_action k ON k.id = e.action_id
         WHERE e.sequence_id = %s AND e.effect_by IS NOT NULL GROUP BY 1, 2""",
        (sequence_id,),
    )


def leads_lacking(tx: Tx, sequence_id: int, version_ids: Sequence[int], names: Sequence[str]) -> int:
    """Active leads of these versions that have not all of these attributes."""
    found: int = tx.value(
        "SELECT count(*) FROM lead WHERE sequence_id = %s AND state = 'active' AND version_id = ANY(%s) AND NOT data ?& %s",
        (sequence_id, list(version_ids), list(names)),
    )
    return found


def leads_on(tx: Tx, sequence_id: int, version_ids: Sequence[int]) -> list[int]:
    """Active leads of these versions, by id."""
    rows = tx.rows(
        "SELECT id FROM lead WHERE sequence_id = %s AND state = 'active' AND version_id = ANY(%s) ORDER BY id",
        (sequence_id, list(version_ids)),
    )
    return [row["id"] for row in rows]


def in_hand(tx: Tx, lead_ids: Sequence[int]) -> set[int]:
    """Leads whose next text a human has in hand. The caller holds their rows."""
    rows = tx.rows(
        f"SELECT e.lead_id FROM execution e WHERE e.lead_id = ANY(%s) AND {_IN_HAND}", (list(lead_ids),)
    )
    return {row["lead_id"] for row in rows}


def pin(tx: Tx, lead_ids: Sequence[int], version_id: int) -> None:
    """These leads stand on that version from now on. The caller holds their rows and raises their epochs."""
    tx.execute("UPDATE lead SET version_id = %s WHERE id = ANY(%s)", (version_id, list(lead_ids)))
