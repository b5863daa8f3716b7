"""What a verification of the log reads: events beside their seals, and each lead's own numbers."""

from collections.abc import Sequence

from outreach.models.base import Row, Tx
from outreach.models.sealing import Generation


def places(tx: Tx, ids: Sequence[int]) -> dict[int, Row]:
    """Where these events stand now, those that exist: id, tx, lead_id, lead_seq, kind."""
    rows = tx.rows(
        "SELECT id, tx::text AS tx, lead_id, lead_seq, kind FROM event WHERE id = ANY(%s)", (list(ids),)
    )
    return {row["id"]: row for row in rows}


def outside(tx: Tx, generation: Generation, *, from_tx: int, limit: int) -> list[Row]:
    """Events of a generation from this tx on, in their order: id and lead_id."""
    return tx.rows(
        "SELECT id, lead_id FROM event WHERE id + 0 >= %s AND id + 0 < %s AND tx >= %s::xid8 ORDER BY tx, id LIMIT %s",
        (generation.first, generation.end, str(from_tx), limit),
    )


def unheard_of(tx: Tx, generation: Generation, *, limit: int) -> list[Row]:
    """Events of transactions that this cluster has not begun yet: id and lead_id."""
    return tx.rows(
        "SELECT id, lead_id FROM event WHERE id + 0 >= %s AND id + 0 < %s AND tx >= pg_snapshot_xmax(pg_current_snapshot())"
        " ORDER BY tx, id LIMIT %s",
        (generation.first, generation.end, limit),
    )


def unsealed(tx: Tx, generation: Generation, *, from_tx: int) -> int:
    """How many events of a generation no seal covers yet."""
    return int(
        tx.value(
            "SELECT count(*) FROM event WHERE id + 0 >= %s AND id + 0 < %s AND tx >= %s::xid8",
            (generation.first, generation.end, str(from_tx)),
        )
    )


_OWN_NUMBERS = """
SELECT l.id, l.event_seq, v.events, v.numbers, v.first, v.last
  FROM (SELECT id, event_seq FROM lead WHERE id > %(after)s ORDER BY id LIMIT %(limit)s) l
 CROSS JOIN LATERAL (SELECT count(*) AS events, count(DISTINCT lead_seq) AS numbers, min(lead_seq) AS first, max(lead_seq) AS last
                       FROM event e WHERE e.lead_id = l.id) v
 ORDER BY l.id"""


def own_numbers(tx: Tx, *, after: int, limit: int) -> list[Row]:
    """The next leads with the number of their last event, and what of their events is there: events, numbers, first, last."""
    return tx.rows(_OWN_NUMBERS, {"after": after, "limit": limit})


def numbers_of(tx: Tx, lead_id: int) -> list[int]:
    """The own numbers of one lead's events, in their order."""
    return [
        row["lead_seq"]
        for row in tx.rows(
            "SELECT lead_seq FROM event WHERE lead_id = %s AND lead_seq IS NOT NULL ORDER BY lead_seq",
            (lead_id,),
        )
    ]
