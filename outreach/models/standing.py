"""How things stand, in numbers for people: what is due and next, what blocks, who waits for an answer, what today has used."""

from datetime import datetime

from outreach.models.base import Row, Tx
from outreach.models.leads import NEEDS_NEWER
from outreach.models.ticks import PAIRS

# The first lead of each pair that nothing holds back.
_NEXT = f"""
WITH RECURSIVE {PAIRS}
SELECT p.account_id, p.next_kind AS kind, a.app_id, x.due_at,
       (SELECT max(h.until) FROM hold h WHERE h.kind = p.next_kind
           AND ((h.scope = 'account' AND h.scope_id = a.id) OR (h.scope = 'app' AND h.scope_id = a.app_id))) AS held_until,
       (SELECT max(e.started_at) FROM execution e WHERE e.account_id = p.account_id AND e.kind = p.next_kind AND e.effect_by > %(recently)s)
       AS last_started_at
  FROM pair p JOIN account a ON a.id = p.account_id JOIN app b ON b.id = a.app_id
 CROSS JOIN LATERAL (
       SELECT l.due_at FROM lead l JOIN sequence s ON s.id = l.sequence_id
        WHERE l.account_id = p.account_id AND l.next_kind = p.next_kind AND l.due_at IS NOT NULL
          AND l.waiting_on NOT IN ('task', 'pause', 'account', 'missing_variable', 'call', 'doubt')
          AND s.state = 'active' AND l.paused_at IS NULL AND NOT starts_with(coalesce(l.waiting_detail, ''), %(newer)s)
        ORDER BY l.due_at LIMIT 1) x
 WHERE a.state = 'ok' AND b.state = 'ok'"""


def next_by_pair(tx: Tx, recently: datetime) -> list[Row]:
    """Per account and kind: the earliest due lead, and what of the provider and the pace lies before it."""
    return tx.rows(_NEXT, {"recently": recently, "newer": NEEDS_NEWER})


def blocked(tx: Tx, limit: int) -> list[Row]:
    """Active leads that wait for more than their own timetable, by what they wait on and the reason."""
    return tx.rows(
        """
        SELECT waiting_on, waiting_detail AS reason, count(*) AS leads, min(due_at) AS earliest FROM lead
         WHERE state = 'active' AND waiting_on NOT IN ('time', 'signal', 'evidence', 'call')
         GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT %s""",
        (limit,),
    )


def refused_for_good(tx: Tx, since: datetime) -> list[Row]:
    """What the gate blocked since then, by rule."""
    return tx.rows(
        "SELECT payload->'verdict'->>'rule' AS rule, count(*) AS times, max(at) AS last FROM event"
        " WHERE kind = 'ComplianceBlocked' AND at >= %s GROUP BY 1 ORDER BY 2 DESC",
        (since,),
    )


def unanswered(tx: Tx, since: datetime) -> Row:
    """People who wrote since then, whose last words asked for more than silence, and to whom nothing has gone out after them."""
    return tx.one(
        """
        SELECT count(*) AS unanswered, min(r.at) AS oldest FROM (
            SELECT DISTINCT ON (v.person_id) v.person_id, v.at, v.payload->>'reply_class' AS class
              FROM event v WHERE v.kind = 'DMReplyReceived' AND v.at >= %s ORDER BY v.person_id, v.at DESC) r
          JOIN person p ON p.id = r.person_id AND p.suppressed_at IS NULL AND p.merged_into IS NULL
         WHERE r.class NOT IN ('unsubscribe', 'out_of_office', 'bounce')
           AND NOT EXISTS (SELECT 1 FROM (SELECT y.id FROM identity y WHERE y.person_id = r.person_id OFFSET 0) i
                            CROSS JOIN LATERAL (SELECT * FROM execution z WHERE z.identity_id = i.id OFFSET 0) e
                            WHERE e.state = 'sent' AND e.sent_at >= r.at)""",
        (since,),
    )


def tasks(tx: Tx) -> Row:
    """Open tasks by state, and the oldest."""
    return tx.one(
        """
        SELECT count(*) FILTER (WHERE state = 'open') AS open, count(*) FILTER (WHERE state = 'claimed') AS claimed,
               count(*) FILTER (WHERE state = 'asked') AS asked, min(created_at) AS oldest
          FROM task WHERE state IN ('open', 'claimed', 'asked')"""
    )


def acts(tx: Tx, since: datetime) -> dict[str, int]:
    """Calls since then that the provider took, or may have, by kind; what humans did by hand is none of them."""
    rows = tx.rows(
        """
        SELECT k.kind, sum(n.n)::int AS n FROM account a
         CROSS JOIN unnest(ARRAY['FOLLOW_ON_TWITTER', 'UNFOLLOW_ON_TWITTER', 'SEND_TWITTER_DM', 'SEND_CONNECTION_REQUEST', 'SEND_LINKEDIN_DM',
                                 'SEND_XMTP_DM', 'SEND_EMAIL']) k (kind)
         CROSS JOIN LATERAL (SELECT count(*) AS n FROM execution e WHERE e.account_id = a.id AND e.kind = k.kind AND e.effect_by >= %s
                                AND e.started_at >= %s AND e.done_by IS NULL AND e.cause <> 'by_hand') n
         GROUP BY k.kind HAVING sum(n.n) > 0""",
        (since, since),
    )
    return {row["kind"]: row["n"] for row in rows}


def arrivals(tx: Tx, since: datetime) -> dict[tuple[str, str, str], int]:
    """What came in since then, by channel, kind and way."""
    rows = tx.rows(
        "SELECT channel, kind, via, count(*) AS n FROM inbound WHERE received_at >= %s GROUP BY 1, 2, 3",
        (since,),
    )
    return {(row["channel"], row["kind"], row["via"]): row["n"] for row in rows}
