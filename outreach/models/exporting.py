"""What leaves the house as files, in batches by id: each is one short statement, so that a large export holds nothing open."""

from datetime import datetime
from typing import Any

from outreach.models.base import Row, Tx

# Each look-up is fenced with OFFSET 0: what is newest of one person is never looked for in the whole table's order.
_PEOPLE = """
SELECT p.id, p.name, p.entity_type, p.country, p.zone, p.created_at, p.suppressed_at, p.suppression_reason, p.paused_at,
       i.handles, f.attributes, w.last_contact_at, r.last_reply_at, r.last_reply_class,
       l.lead_id, l.sequence, l.lead_state, l.exit_reason, l.node
  FROM (SELECT * FROM person x WHERE x.id > %(after)s AND x.merged_into IS NULL AND x.erased_at IS NULL
           AND (%(since)s::timestamptz IS NULL OR x.created_at >= %(since)s)
           AND (%(sequence)s::bigint IS NULL OR EXISTS (SELECT 1 FROM lead y WHERE y.person_id = x.id AND y.sequence_id = %(sequence)s))
         ORDER BY x.id LIMIT %(limit)s) p
  LEFT JOIN LATERAL (SELECT jsonb_object_agg(h.kind, h.value) AS handles FROM (
                         SELECT DISTINCT ON (x.kind) x.kind, x.value
                           FROM (SELECT * FROM identity y WHERE y.person_id = p.id OFFSET 0) x WHERE x.status = 'active'
                          ORDER BY x.kind, x.id) h) i ON true
  LEFT JOIN LATERAL (SELECT jsonb_object_agg(a.key, a.value) AS attributes FROM (
                         SELECT e.key, (array_agg(e.value ORDER BY x.updated_at DESC))[1] AS value
                           FROM (SELECT * FROM profile y WHERE y.person_id = p.id OFFSET 0) x, jsonb_each(x.attributes) e GROUP BY e.key) a) f ON true
  LEFT JOIN LATERAL (SELECT max(e.sent_at) AS last_contact_at FROM (SELECT y.id FROM identity y WHERE y.person_id = p.id OFFSET 0) x
                      CROSS JOIN LATERAL (SELECT * FROM execution z WHERE z.identity_id = x.id OFFSET 0) e WHERE e.state = 'sent' AND e.touch) w ON true
  LEFT JOIN LATERAL (SELECT m.occurred_at AS last_reply_at, m.class AS last_reply_class FROM (SELECT * FROM inbound y WHERE y.person_id = p.id OFFSET 0) m
                      WHERE m.kind = 'message_in' ORDER BY m.occurred_at DESC LIMIT 1) r ON true
  LEFT JOIN LATERAL (SELECT x.id AS lead_id, s.name AS sequence, x.state AS lead_state, x.exit_reason, x.cursor AS node
                       FROM (SELECT * FROM lead y WHERE y.person_id = p.id OFFSET 0) x JOIN sequence s ON s.id = x.sequence_id
                      WHERE (%(sequence)s::bigint IS NULL OR x.sequence_id = %(sequence)s)
                      ORDER BY x.id DESC LIMIT 1) l ON true
 ORDER BY p.id"""

_REPLIES = """
SELECT m.id, m.occurred_at, m.received_at, m.person_id, m.channel, a.name AS account, m.peer_handle AS handle, m.class, m.state, m.text, m.gone,
       (SELECT s.name FROM signal g JOIN lead l ON l.id = g.lead_id JOIN sequence s ON s.id = l.sequence_id
         WHERE l.person_id = m.person_id AND g.inbound_id = m.id ORDER BY g.id LIMIT 1) AS sequence
  FROM inbound m LEFT JOIN account a ON a.id = m.account_id
 WHERE m.id > %(after)s AND m.kind = 'message_in' AND (%(since)s::timestamptz IS NULL OR m.received_at >= %(since)s)
   AND (%(sequence)s::bigint IS NULL OR EXISTS (SELECT 1 FROM lead l JOIN signal g ON g.lead_id = l.id
                                                 WHERE l.person_id = m.person_id AND l.sequence_id = %(sequence)s AND g.inbound_id = m.id))
 ORDER BY m.id LIMIT %(limit)s"""

_LEDGER = """
SELECT e.id, e.lead_id, i.person_id, s.name AS sequence, x.key AS node, e.visit, e.kind, e.channel, a.name AS account, i.shown AS recipient,
       e.state, e.cause, e.variant, e.touch, e.attempts, e.created_at, e.started_at, e.sent_at, e.effect_by, e.reason, e.done_by, e.observed,
       e.verdict->>'rule' AS rule
  FROM execution e JOIN account a ON a.id = e.account_id LEFT JOIN identity i ON i.id = e.identity_id
  LEFT JOIN sequence s ON s.id = e.sequence_id LEFT JOIN sequence_action x ON x.id = e.action_id
 WHERE e.id > %(after)s AND (%(since)s::timestamptz IS NULL OR coalesce(e.started_at, e.created_at) >= %(since)s)
   AND (%(sequence)s::bigint IS NULL OR e.sequence_id = %(sequence)s)
 ORDER BY e.id LIMIT %(limit)s"""

_BATCHES = {"people": _PEOPLE, "replies": _REPLIES, "ledger": _LEDGER}


def batch(
    tx: Tx, what: str, *, after: int, since: datetime | None, sequence_id: int | None, limit: int
) -> list[Row]:
    """The next rows of people, replies or the ledger, by id."""
    params: dict[str, Any] = {"after": after, "since": since, "sequence": sequence_id, "limit": limit}
    return tx.rows(_BATCHES[what], params)


def sequences(tx: Tx, sequence_id: int | None) -> list[Row]:
    """id and name of all sequences, or of the one."""
    return tx.rows(
        "SELECT id, name FROM sequence WHERE %(only)s::bigint IS NULL OR id = %(only)s ORDER BY name",
        {"only": sequence_id},
    )
