"""How well it goes: lateness, what providers said, leads that are stuck, times to an answer. Read-only, over a stretch of time."""

from datetime import datetime

from outreach.models.base import Row, Tx


def lateness(tx: Tx, since: datetime, sequence_id: int | None) -> Row:
    """Seconds from the instant a step could be done to its claim: the median, the slowest twentieth, and how many were claimed."""
    return tx.one(
        """
        SELECT count(*) AS claimed, percentile_cont(0.5) WITHIN GROUP (ORDER BY q.late) AS median,
               percentile_cont(0.95) WITHIN GROUP (ORDER BY q.late) AS slowest_twentieth
          FROM (SELECT extract(epoch FROM greatest(e.started_at - e.first_due_at, interval '0'))::float AS late
                  FROM account a JOIN execution e ON e.account_id = a.id AND e.effect_by >= %(since)s
                 WHERE e.started_at >= %(since)s AND e.first_due_at IS NOT NULL AND e.done_by IS NULL
                   AND (%(sequence)s::bigint IS NULL OR e.sequence_id = %(sequence)s)) q""",
        {"since": since, "sequence": sequence_id},
    )


# Events of a kind come by their index; what account they speak of stands in the event or in its execution.
_OUTCOMES = """
SELECT x.channel, v.kind, v.payload->>'rule' AS rule, count(*)::int AS n
  FROM unnest(ARRAY['ActionSent', 'ActionFailed', 'ActionDeferred', 'ActionInDoubt']) k (kind)
  JOIN event v ON v.kind = k.kind AND v.at >= %(since)s
  JOIN execution x ON x.id = v.execution_id
 WHERE v.payload->>'done_by' IS NULL
   -- deferred by a provider's answer, not by the gate; refused by it, not passed over
   AND (v.kind <> 'ActionDeferred' OR v.payload ? 'detail') AND (v.kind <> 'ActionFailed' OR v.payload->>'state' = 'refused')
   AND (%(sequence)s::bigint IS NULL OR x.sequence_id = %(sequence)s)
 GROUP BY 1, 2, 3"""


def outcomes(tx: Tx, since: datetime, sequence_id: int | None) -> list[Row]:
    """What came of actions since then: channel, event kind, rule (of deferrals), how many."""
    return tx.rows(_OUTCOMES, {"since": since, "sequence": sequence_id})


def stuck(tx: Tx, before: datetime, sequence_id: int | None, limit: int) -> list[Row]:
    """Active leads that have stood at their node since before then and wait for something that does not come by itself."""
    return tx.rows(
        """
        SELECT l.id AS lead, l.person_id, s.name AS sequence, l.cursor AS node, l.waiting_on, l.waiting_detail AS reason, l.entered_at AS since
          FROM lead l JOIN sequence s ON s.id = l.sequence_id
         WHERE l.state = 'active' AND l.waiting_on IN ('account', 'missing_variable', 'doubt', 'task', 'pause') AND l.entered_at < %(before)s
           AND (%(sequence)s::bigint IS NULL OR l.sequence_id = %(sequence)s)
         ORDER BY l.entered_at LIMIT %(limit)s""",
        {"before": before, "sequence": sequence_id, "limit": limit},
    )


def times_to_reply(tx: Tx, since: datetime, sequence_id: int | None) -> Row:
    """Seconds from our last message to their answer (`theirs`), and from their answer to our next message (`ours`): medians and counts."""
    return tx.one(
        """
        SELECT count(q.theirs) AS replies, percentile_cont(0.5) WITHIN GROUP (ORDER BY q.theirs) AS theirs,
               count(q.ours) AS answered, percentile_cont(0.5) WITHIN GROUP (ORDER BY q.ours) AS ours
          FROM (SELECT extract(epoch FROM g.at - b.sent_at)::float AS theirs, extract(epoch FROM n.sent_at - g.at)::float AS ours
                  FROM event v
                  JOIN LATERAL (SELECT x.at FROM signal x WHERE x.lead_id = v.lead_id AND x.kind = v.payload->>'signal'
                                   AND x.inbound_id = (v.payload->>'inbound_id')::bigint LIMIT 1) g ON true
                  JOIN LATERAL (SELECT e.sent_at FROM execution e WHERE e.lead_id = v.lead_id AND e.variant IS NOT NULL AND e.sent_at <= g.at
                                 ORDER BY e.sent_at DESC LIMIT 1) b ON true
                  LEFT JOIN LATERAL (SELECT e.sent_at FROM execution e WHERE e.lead_id = v.lead_id AND e.variant IS NOT NULL AND e.sent_at > g.at
                                      ORDER BY e.sent_at LIMIT 1) n ON true
                 WHERE v.kind = 'SignalReceived' AND v.at >= %(since)s AND v.payload->>'signal' IN ('REPLIED', 'REPLIED_TO_NOTE')
                   AND (%(sequence)s::bigint IS NULL OR v.sequence_id = %(sequence)s)) q""",
        {"since": since, "sequence": sequence_id},
    )
