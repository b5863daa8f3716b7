"""A merge's statements: identities and leads are relabelled, executions never change."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from outreach.models.base import Row, Tx, to_json


def active_leads(tx: Tx, person_ids: tuple[int, int]) -> list[Row]:
    """The active leads of both, locked, by id, with how far each has come (executions begun)."""
    tx.rows(
        "SELECT id FROM lead WHERE person_id = ANY(%s) ORDER BY id FOR NO KEY UPDATE", (list(person_ids),)
    )
    return tx.rows(
        """
        SELECT l.id, l.person_id, l.sequence_id, l.key,
               (SELECT count(*) FROM execution e WHERE e.lead_id = l.id AND e.effect_by IS NOT NULL) AS begun
          FROM lead l WHERE l.person_id = ANY(%s) AND l.state = 'active' ORDER BY l.id""",
        (list(person_ids),),
    )


def relabel(tx: Tx, *, kept: int, gone: int) -> None:
    """Everything that names a person by id, except the ledger, which finds them through the identity."""
    for table in ("identity", "lead", "profile", "suppression", "task", "inbound"):
        tx.execute(f"UPDATE {table} SET person_id = %s WHERE person_id = %s", (kept, gone))
    tx.execute("UPDATE person SET merged_into = %s WHERE id = %s OR merged_into = %s", (kept, gone, gone))
    tx.execute(
        "UPDATE person k SET name = coalesce(k.name, g.name), zone = coalesce(k.zone, g.zone), country = coalesce(k.country, g.country),"
        # One of us only if both were marked: what was sent to either counts again.
        " is_test = k.is_test AND g.is_test, paused_at = coalesce(k.paused_at, g.paused_at), pause_reason = coalesce(k.pause_reason, g.pause_reason)"
        " FROM person g WHERE k.id = %s AND g.id = %s",
        (kept, gone),
    )


def raise_epochs(tx: Tx, person_id: int) -> None:
    """What was rendered before is void."""
    tx.execute("UPDATE lead SET epoch = epoch + 1 WHERE person_id = %s AND state = 'active'", (person_id,))


def note(tx: Tx, *, kept: int, gone: int, actor: str, detail: Mapping[str, Any], now: datetime) -> None:
    """The merge in the persons' own history, on both sides."""
    tx.insert_many(
        "INSERT INTO person_event (person_id, kind, other_id, actor, detail, at) VALUES %s",
        [
            (kept, "merged", gone, actor, to_json(dict(detail)), now),
            (gone, "merged_into", kept, actor, to_json(dict(detail)), now),
        ],
    )


def activate_links(tx: Tx, person_id: int) -> int:
    """Links that were only proposed between what is now one person's identities."""
    return tx.execute(
        "UPDATE identity_link k SET status = 'active' FROM identity a, identity b"
        " WHERE a.id = k.a AND b.id = k.b AND k.status = 'proposed' AND a.person_id = %s AND b.person_id = %s",
        (person_id, person_id),
    )
