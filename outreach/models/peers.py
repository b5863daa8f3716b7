"""The other side of a message in the identity graph: found by immutable id, else by handle, which then learns its id."""

from datetime import datetime

from outreach.models import inbound
from outreach.models.base import Row, Tx

_BY_ID = "SELECT id, kind, value, person_id, status FROM identity WHERE kind = %s AND value = %s"


def find(tx: Tx, kind: str, value: str) -> Row | None:
    """The identity of that very id."""
    return tx.row(_BY_ID, (kind, value)) if value else None


def find_handle(tx: Tx, handle: str) -> Row | None:
    """A Twitter handle that has not been resolved to an id yet."""
    return tx.row(
        """
        SELECT i.id, i.kind, i.value, i.person_id, i.status FROM identity i
         WHERE i.kind = 'twitter_handle' AND i.value = %s
           AND NOT EXISTS (SELECT 1 FROM identity_link k WHERE k.a = i.id AND k.source = 'resolved' AND k.status = 'active')
           AND NOT EXISTS (SELECT 1 FROM identity_link k WHERE k.b = i.id AND k.source = 'resolved' AND k.status = 'active')""",
        (handle.lower(),),
    )


def learn_id(
    tx: Tx, handle_identity: int, person_id: int, external_id: str, hmac: str, now: datetime
) -> Row | None:
    """Give a handle its immutable id: a new identity of the same person, linked as `resolved`, with what it wrote as a stranger.

    None where that id belongs to another person already: the handle has changed hands, or two persons are one. The link is
    then kept as held for somebody to look at, and nothing is joined.
    """
    tx.execute(
        "INSERT INTO identity (kind, value, shown, hmac, person_id, created_at) VALUES ('twitter_id', %s, %s, %s, %s, %s)"
        " ON CONFLICT (kind, value) DO NOTHING",
        (external_id, external_id, hmac, person_id, now),
    )
    found = tx.one(_BY_ID, ("twitter_id", external_id))
    same = found["person_id"] == person_id
    tx.execute(
        "INSERT INTO identity_link (a, b, source, status, created_at) VALUES (%s, %s, 'resolved', %s, %s)"
        " ON CONFLICT (a, b) DO UPDATE SET source = 'resolved'",
        (
            min(handle_identity, found["id"]),
            max(handle_identity, found["id"]),
            "active" if same else "held_conflict",
            now,
        ),
    )
    if not same:
        return None
    inbound.claim_for(tx, [found["id"]])
    return found


def rebind(tx: Tx, handle_identity: int, identity_id: int) -> None:
    """Leads bound to the handle go on with its id."""
    tx.execute(
        "UPDATE lead_binding SET identity_id = %s WHERE identity_id = %s AND channel = 'twitter'",
        (identity_id, handle_identity),
    )


def set_status(tx: Tx, identity_ids: list[int], status: str) -> None:
    """not_found: the provider knows no such handle; shared: it is not one person's."""
    tx.execute("UPDATE identity SET status = %s WHERE id = ANY(%s)", (status, identity_ids))
