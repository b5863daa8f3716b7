"""Erasure's statements: what names or quotes a person goes; ledger, log and digests stay."""

from datetime import datetime

from outreach.models.base import Tx

#: Relationships are called by both sides' ids; the id of a message says nothing of anybody.
_NAMELESS = """text = NULL, raw = '{}', peer = '', peer_kind = '', peer_handle = '',
    content_id = CASE WHEN b.kind IN ('message_in', 'message_out', 'read') THEN b.content_id ELSE 'erased:' || b.id END"""
#: Each takes the person's id. The order does not matter: one transaction.
_FORGET = (
    "DELETE FROM message_body b USING execution e, identity i"
    " WHERE b.execution_id = e.id AND i.id = e.identity_id AND i.person_id = %(person)s",
    # A conversation's id is made of both sides' ids; the message's own id stays, an echo may still ask for it.
    "UPDATE execution e SET provider_ids = provider_ids - 'dm_conversation_id' FROM identity i"
    " WHERE i.id = e.identity_id AND i.person_id = %(person)s",
    f"UPDATE inbound b SET {_NAMELESS} WHERE b.person_id = %(person)s",
    f"UPDATE inbound b SET {_NAMELESS} FROM identity i WHERE i.person_id = %(person)s AND i.kind = b.peer_kind AND i.value = b.peer",
    # Under a handle that is theirs now, unless somebody else is known by that very id.
    f"UPDATE inbound b SET {_NAMELESS} FROM identity i"
    " WHERE i.person_id = %(person)s AND i.kind = 'twitter_handle' AND i.value = b.peer_handle AND b.person_id IS NULL"
    "   AND NOT EXISTS (SELECT 1 FROM identity o WHERE o.kind = b.peer_kind AND o.value = b.peer AND o.person_id <> i.person_id)",
    "UPDATE signal g SET content_id = 'erased:' || g.id FROM lead l"
    " WHERE l.id = g.lead_id AND l.person_id = %(person)s AND g.kind IN ('FOLLOWED_BACK', 'UNFOLLOWED', 'BLOCKED')",
    "UPDATE lead SET data = '{}' WHERE person_id = %(person)s",
    "UPDATE consent c SET proof = '(erased)', withdraw_reason = CASE WHEN c.withdraw_reason IS NOT NULL THEN '(erased)' END"
    " FROM identity i WHERE i.id = c.identity_id AND i.person_id = %(person)s",
    "UPDATE identity_link k SET evidence = '{}' FROM identity i WHERE i.id IN (k.a, k.b) AND i.person_id = %(person)s",
    "DELETE FROM profile WHERE person_id = %(person)s",
    # The digest stays: a re-import of the same identifier must stay blocked.
    "UPDATE identity SET value = 'erased:' || id, shown = '', status = 'closed' WHERE person_id = %(person)s",
    "UPDATE person SET name = NULL, zone = NULL, country = NULL, erased_at = %(now)s WHERE id = %(person)s",
)


def forget(tx: Tx, person_id: int, now: datetime) -> None:
    """The caller holds the person's row, and their suppression is effective."""
    for statement in _FORGET:
        tx.execute(statement, {"person": person_id, "now": now})
