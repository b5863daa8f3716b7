"""Erasure's statements: what names or quotes a person goes; ledger, log and digests stay."""

from datetime import datetime

from outreach.models.base import Tx
from outreach.models.subject import persons_of

#: Relationships are called by both sides' ids; the id of a message says nothing of anybody.
_NAMELESS = """text = NULL, raw = '{}', peer = '', peer_kind = '', peer_handle = '',
    content_id = CASE WHEN b.kind IN ('message_in', 'message_out', 'read') THEN b.content_id ELSE 'erased:' || b.id END"""
#: Each takes the persons' ids. The order does not matter (one transaction), but that the identities go last.
_FORGET = (
    "DELETE FROM message_body b USING execution e, identity i"
    " WHERE b.execution_id = e.id AND i.id = e.identity_id AND i.person_id = ANY(%(persons)s)",
    # A conversation's id is made of both sides' ids; the message's own id stays, an echo may still ask for it.
    "UPDATE execution e SET provider_ids = provider_ids - 'dm_conversation_id' FROM identity i"
    " WHERE i.id = e.identity_id AND i.person_id = ANY(%(persons)s)",
    f"UPDATE inbound b SET {_NAMELESS} WHERE b.person_id = ANY(%(persons)s)",
    f"UPDATE inbound b SET {_NAMELESS} FROM identity i WHERE i.person_id = ANY(%(persons)s) AND i.kind = b.peer_kind AND i.value = b.peer",
    # Under a handle that is theirs now, unless somebody else is known by that very id.
    f"UPDATE inbound b SET {_NAMELESS} FROM identity i"
    " WHERE i.person_id = ANY(%(persons)s) AND i.kind = 'twitter_handle' AND i.value = b.peer_handle AND b.person_id IS NULL"
    "   AND NOT EXISTS (SELECT 1 FROM identity o WHERE o.kind = b.peer_kind AND o.value = b.peer AND o.person_id <> i.person_id)",
    "UPDATE signal g SET content_id = 'erased:' || g.id FROM lead l"
    " WHERE l.id = g.lead_id AND l.person_id = ANY(%(persons)s) AND g.kind IN ('FOLLOWED_BACK', 'UNFOLLOWED', 'BLOCKED')",
    "UPDATE task SET detail = '{}' WHERE person_id = ANY(%(persons)s)",
    # What a human said of them: `detail` of their own history, the only thing of it that may change.
    "UPDATE person_event SET detail = '{}' WHERE (person_id = ANY(%(persons)s) OR other_id = ANY(%(persons)s)) AND detail <> '{}'",
    "UPDATE consent c SET proof = '(erased)', country = NULL, withdraw_reason = CASE WHEN c.withdraw_reason IS NOT NULL THEN '(erased)' END"
    " FROM identity i WHERE i.id = c.identity_id AND i.person_id = ANY(%(persons)s)",
    "UPDATE identity_link k SET evidence = '{}' FROM identity i WHERE i.id IN (k.a, k.b) AND i.person_id = ANY(%(persons)s)",
    "DELETE FROM profile WHERE person_id = ANY(%(persons)s)",
    # What stands is that they are not contacted, and by what it is known; why is a human's word, which may name them.
    "UPDATE suppression s SET reason = %(reason)s, evidence = '{}', lift_reason = CASE WHEN s.lift_reason IS NOT NULL THEN '(erased)' END"
    " WHERE s.person_id = ANY(%(persons)s) OR s.hmac IN (SELECT i.hmac FROM identity i WHERE i.person_id = ANY(%(persons)s))",
)
_LAST = (
    "UPDATE lead SET data = '{}', pause_reason = CASE WHEN pause_reason IS NOT NULL THEN '(erased)' END WHERE person_id = ANY(%(persons)s)",
    # The digest stays: a re-import of the same identifier must stay blocked.
    "UPDATE identity SET value = 'erased:' || id, shown = '', status = 'closed' WHERE person_id = ANY(%(persons)s)",
    "UPDATE person SET name = NULL, zone = NULL, country = NULL, erased_at = %(now)s, paused_at = NULL, pause_reason = NULL,"
    " suppression_reason = CASE WHEN suppressed_at IS NOT NULL THEN %(reason)s END WHERE id = ANY(%(persons)s)",
)
#: What tells of them wherever it stands, as patterns: addresses, long numbers, full names; handles only as they are written, for
#: many a handle is also a plain word.
_PRINTS = r"""
SELECT DISTINCT pattern, length(pattern) AS size FROM (
       SELECT CASE WHEN value ~ '[@0-9_]' THEN '(?<!\w)@?' ELSE '(?<!\w)[@/]' END || regexp_replace(value, '([^[:alnum:]])', '\\\1', 'g') || '(?!\w)' AS pattern
         FROM identity WHERE person_id = ANY(%(persons)s) AND length(value) >= 4
        UNION
       SELECT '(?<!\w)' || regexp_replace(name, '([^[:alnum:]])', '\\\1', 'g') || '(?!\w)'
         FROM person WHERE id = ANY(%(persons)s) AND btrim(name) LIKE '%% %%') w ORDER BY size DESC"""
#: A human's words that are about many, or that somebody typed about this one, and columns in which reports read them.
_CUT_OUT = (
    "UPDATE import SET source = regexp_replace(source, %(pattern)s, '(erased)', 'gi'), file_name = regexp_replace(file_name, %(pattern)s, '(erased)', 'gi'),"
    " proof = regexp_replace(proof, %(pattern)s, '(erased)', 'gi') WHERE concat_ws(' ', source, file_name, proof) ~* %(pattern)s",
    "UPDATE segment SET definition = regexp_replace(definition::text, %(pattern)s, '(erased)', 'gi')::jsonb WHERE definition::text ~* %(pattern)s",
    "UPDATE lead SET exit_reason = regexp_replace(exit_reason, %(pattern)s, '(erased)', 'gi') WHERE person_id = ANY(%(persons)s) AND exit_reason ~* %(pattern)s",
    "UPDATE lead SET key = 'erased:' || id WHERE person_id = ANY(%(persons)s) AND key ~* %(pattern)s",
)
#: Real milliseconds. Next to nothing is indexed by what it quotes: tables are read once, with only this person's row locked.
_TAKE_YOUR_TIME = (
    "SET LOCAL enable_seqscan = on; SET LOCAL statement_timeout = 600000; SET LOCAL plan_cache_mode = auto"
)


def forget(tx: Tx, person_id: int, now: datetime, reason: str) -> None:
    """The caller holds the person's row, and their suppression is effective. `reason`: what stands in place of human words."""
    tx.execute(_TAKE_YOUR_TIME)
    values = {"persons": persons_of(tx, person_id), "now": now, "reason": reason}
    prints = tx.rows(_PRINTS, values)
    for statement in _FORGET:
        tx.execute(statement, values)
    for one in prints:
        for statement in _CUT_OUT:
            tx.execute(statement, {**values, "pattern": one["pattern"]})
    for statement in _LAST:
        tx.execute(statement, values)


def forget_stranger(tx: Tx, kind: str, value: str) -> int:
    """Somebody of whom nothing is known but what they wrote: how many of their messages lost who and what."""
    tx.execute(_TAKE_YOUR_TIME)
    handle = " OR (b.peer_handle = %(value)s)" if kind == "twitter_handle" else ""
    return tx.execute(
        f"UPDATE inbound b SET {_NAMELESS} WHERE (b.peer_kind = %(kind)s AND b.peer = %(value)s){handle}",
        {"kind": kind, "value": value},
    )
