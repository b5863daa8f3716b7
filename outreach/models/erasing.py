"""Erasure's statements: what names or quotes a person, or was written by or to an account, goes; ledger, log and digests stay."""

from collections.abc import Sequence
from datetime import datetime

from outreach.models.base import Row, Tx

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


def erased_among(tx: Tx, hmacs: Sequence[str]) -> set[str]:
    """Digests of identifiers whose person was erased."""
    rows = tx.rows(
        "SELECT DISTINCT i.hmac FROM identity i JOIN person p ON p.id = i.person_id WHERE i.hmac = ANY(%s) AND p.erased_at IS NOT NULL",
        (list(hmacs),),
    )
    return {row["hmac"] for row in rows}


# --- an account's private content -------------------------------------------------------------------------------------

_BODIES = """
WITH gone AS (SELECT b.execution_id FROM message_body b JOIN execution e ON e.id = b.execution_id
               WHERE e.account_id = %(account)s AND b.execution_id > %(after)s AND e.state NOT IN ('calling', 'in_doubt', 'held')
               ORDER BY b.execution_id LIMIT %(limit)s),
     done AS (DELETE FROM message_body b USING gone g WHERE b.execution_id = g.execution_id)
SELECT count(*) AS n, max(execution_id) AS last FROM gone"""
#: What was not understood yet is kept: it may be a stop.
_MESSAGES = """
WITH gone AS (SELECT id FROM inbound WHERE account_id = %(account)s AND id > %(after)s AND state NOT IN ('stored', 'waiting')
                 AND (text IS NOT NULL OR raw <> '{}')
               ORDER BY id LIMIT %(limit)s),
     done AS (UPDATE inbound m SET text = NULL, raw = '{}' FROM gone g WHERE m.id = g.id)
SELECT count(*) AS n, max(id) AS last FROM gone"""


def forget_bodies(tx: Tx, account_id: int, after: int, limit: int) -> Row:
    """The next texts that this account sent, by the ledger's order: n of them, up to `last`."""
    return tx.one(_BODIES, {"account": account_id, "after": after, "limit": limit})


def forget_messages(tx: Tx, account_id: int, after: int, limit: int) -> Row:
    """The next messages that this account received: their text and raw form go, what was understood of them stays."""
    return tx.one(_MESSAGES, {"account": account_id, "after": after, "limit": limit})


def left_of(tx: Tx, account_id: int) -> Row:
    """What a purge had to leave: `bodies` of calls that are open, `messages` that are not understood yet."""
    return tx.one(
        """
        SELECT (SELECT count(*) FROM execution e JOIN message_body b ON b.execution_id = e.id
                 WHERE e.account_id = %(account)s AND e.state IN ('calling', 'in_doubt', 'held')) AS bodies,
               (SELECT count(*) FROM inbound WHERE account_id = %(account)s AND state IN ('stored', 'waiting')) AS messages""",
        {"account": account_id},
    )


def undigested_of(tx: Tx, account_id: int) -> list[int]:
    """What this account received and nobody has understood yet."""
    rows = tx.rows(
        "SELECT id FROM inbound WHERE account_id = %s AND state IN ('stored', 'waiting') ORDER BY id",
        (account_id,),
    )
    return [row["id"] for row in rows]
