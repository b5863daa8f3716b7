"""Everything that is held on one human, as they may ask for it (GDPR Art. 15): read by their id, whatever table it stands in."""

from typing import Any

from outreach.models.base import Row, Tx

_IDENTITIES = "SELECT id FROM identity WHERE person_id = ANY(%(persons)s)"
#: What it is called -> how it is read. Credentials of ours and ids that only mean something to us are left out.
_HELD = {
    "persons": "SELECT * FROM person WHERE id = ANY(%(persons)s) ORDER BY id",
    "identities": "SELECT i.id, i.kind, i.value, i.shown, i.status, i.created_at, m.source AS came_by FROM identity i"
    " LEFT JOIN import m ON m.id = i.import_id WHERE i.person_id = ANY(%(persons)s) ORDER BY i.id",
    "links": f"SELECT k.a, k.b, k.source, k.evidence, k.status, k.created_at FROM identity_link k WHERE k.a IN ({_IDENTITIES}) OR k.b IN ({_IDENTITIES}) ORDER BY k.id",
    "profiles": "SELECT f.source, m.file_name, m.at AS imported_at, f.attributes, f.created_at, f.updated_at FROM profile f"
    " JOIN import m ON m.id = f.import_id WHERE f.person_id = ANY(%(persons)s) ORDER BY f.id",
    "permissions": "SELECT c.identity_id, c.channel, c.basis, c.source, c.proof, c.country, c.obtained_at, c.expires_at, c.withdrawn_at, c.withdraw_reason"
    f" FROM consent c WHERE c.identity_id IN ({_IDENTITIES}) ORDER BY c.id",
    "do_not_contact": "SELECT channel, reason, source, at, lifted_at, lift_reason FROM suppression"
    " WHERE person_id = ANY(%(persons)s) OR hmac IN (SELECT hmac FROM identity WHERE person_id = ANY(%(persons)s)) ORDER BY id",
    "segments": "SELECT s.name, s.built_at FROM segment_member m JOIN segment s ON s.id = m.segment_id WHERE m.person_id = ANY(%(persons)s) ORDER BY s.id",
    "sequences": "SELECT l.id AS lead_id, s.name AS sequence, l.state, l.exit_reason, l.data, l.cursor, l.enrolled_at, l.ended_at, l.pause_reason"
    " FROM lead l JOIN sequence s ON s.id = l.sequence_id WHERE l.person_id = ANY(%(persons)s) ORDER BY l.id",
    "contacts": "SELECT e.id, e.lead_id, e.kind, e.channel, a.name AS account, e.identity_id, e.state, e.cause, e.sent_at, e.reason, e.verdict, e.provider_ids,"
    " e.done_by, b.subject, b.body FROM execution e JOIN account a ON a.id = e.account_id LEFT JOIN message_body b ON b.execution_id = e.id"
    f" WHERE e.identity_id IN ({_IDENTITIES}) ORDER BY e.id",
    "messages": "SELECT DISTINCT ON (m.id) m.id, m.channel, m.kind, m.peer_kind, m.peer, m.peer_handle, m.text, m.raw, m.via, m.occurred_at, m.received_at,"
    " m.class FROM inbound m LEFT JOIN identity i ON i.kind = m.peer_kind AND i.value = m.peer"
    " WHERE m.person_id = ANY(%(persons)s) OR i.person_id = ANY(%(persons)s) ORDER BY m.id",
    "signals": "SELECT g.lead_id, g.kind, g.class, g.content_id, g.at FROM signal g JOIN lead l ON l.id = g.lead_id WHERE l.person_id = ANY(%(persons)s) ORDER BY g.id",
    "tasks": "SELECT id, kind, lead_id, state, reason, detail, outcome, created_at, closed_at, closed_by FROM task WHERE person_id = ANY(%(persons)s) ORDER BY id",
    "history": "SELECT kind, actor, other_id, detail, at FROM person_event WHERE person_id = ANY(%(persons)s) ORDER BY id",
    "log": "SELECT v.at, v.kind, v.lead_id, v.actor, v.payload FROM event v WHERE v.person_id = ANY(%(persons)s)"
    " OR v.lead_id IN (SELECT id FROM lead WHERE person_id = ANY(%(persons)s)) ORDER BY v.id",
}  # fmt: skip
_PERSONS = """
WITH RECURSIVE mine AS (SELECT %s::bigint AS id UNION SELECT p.id FROM person p JOIN mine m ON p.merged_into = m.id)
SELECT array_agg(id) AS ids FROM mine"""


def persons_of(tx: Tx, person_id: int) -> list[int]:
    """The person, and everybody who turned out to be them."""
    found: list[int] = tx.one(_PERSONS, (person_id,))["ids"]
    return found


def everything_on(tx: Tx, person_id: int) -> dict[str, list[Row]]:
    """What it is called -> its rows, oldest first."""
    values: dict[str, Any] = {"persons": persons_of(tx, person_id)}
    tx.execute("SET LOCAL enable_seqscan = on")
    return {name: tx.rows(sql, values) for name, sql in _HELD.items()}
