"""The sweep's statements: level-triggered, batched, their cost following what is due and never the number of leads."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from outreach.models.base import Row, Tx
from outreach.models.leads import NEEDS_NEWER

#: Action kinds per channel that an account may be asked for, and the reads that leads wait for.
_ASKED = """
(VALUES ('twitter', 'FOLLOW_ON_TWITTER'), ('twitter', 'UNFOLLOW_ON_TWITTER'), ('twitter', 'SEND_TWITTER_DM'),
        ('linkedin', 'SEND_CONNECTION_REQUEST'), ('linkedin', 'SEND_LINKEDIN_DM'), ('xmtp', 'SEND_XMTP_DM'), ('email', 'SEND_EMAIL'),
        ('twitter', 'CHECK_FOR_REPLY'), ('linkedin', 'CHECK_FOR_REPLY'), ('xmtp', 'CHECK_FOR_REPLY'), ('email', 'CHECK_FOR_REPLY'),
        ('twitter', 'LOOK_UP'), ('linkedin', 'LOOK_UP'), ('twitter', 'RESOLVE')) AS k (channel, kind)"""

_ASKED_FOR = f"""
SELECT a.id AS account_id, a.app_id, a.zone, a.caps, a.pace, a.state, b.caps AS app_caps, b.state AS app_state, k.kind,
       (SELECT max(h.until) FROM hold h WHERE h.kind = k.kind
           AND ((h.scope = 'account' AND h.scope_id = a.id) OR (h.scope = 'app' AND h.scope_id = a.app_id))) AS held_until,
       (SELECT max(t.started_at) FROM execution t WHERE t.account_id = a.id AND t.kind = k.kind
           AND t.effect_by > %(recently)s) AS last_started_at,
       -- hinted and not yet looked at: they have their place in the room already (the oldest due are the hinted ones)
       (SELECT count(*) FILTER (WHERE q.hinted_until > %(now)s)
          FROM (SELECT l.hinted_until FROM lead l WHERE l.account_id = a.id AND l.next_kind = k.kind AND l.due_at <= %(horizon)s
                 ORDER BY l.due_at LIMIT 400) q) AS on_their_way
  FROM account a JOIN app b ON b.id = a.app_id JOIN {_ASKED} ON k.channel = a.channel
 WHERE EXISTS (SELECT 1 FROM lead l WHERE l.account_id = a.id AND l.next_kind = k.kind AND l.due_at <= %(horizon)s)
 ORDER BY a.id, k.kind"""


def asked_for(tx: Tx, *, now: datetime, horizon: datetime, recently: datetime) -> list[Row]:
    """(account, kind) pairs that some lead waits for, with what bounds them."""
    return tx.rows(_ASKED_FOR, {"now": now, "horizon": horizon, "recently": recently})


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many rows of a scope to count, at most `limit`."""

    scope: str
    scope_id: int
    kind: str
    since: datetime
    inclusive: bool
    limit: int


_COLUMN = {"account": "account_id", "app": "app_id", "sequence": "sequence_id"}


def counted(tx: Tx, counts: Sequence[Count]) -> list[int]:
    """The ledger's numbers, in the order asked, in one statement per scope kind."""
    answers = [0] * len(counts)
    for scope in {c.scope for c in counts}:
        mine = [(i, c) for i, c in enumerate(counts) if c.scope == scope]
        column = _COLUMN.get(scope)
        where = f"e.{column} = q.scope_id AND" if column else ""
        rows = tx.rows(
            f"""
            SELECT q.i, (SELECT count(*) FROM (SELECT 1 FROM execution e
                          WHERE {where} e.kind = q.kind AND (e.effect_by > q.since OR (q.inclusive AND e.effect_by = q.since))
                          LIMIT q.most) r) AS n
              FROM unnest(%s::int[], %s::bigint[], %s::text[], %s::timestamptz[], %s::boolean[], %s::int[])
                   AS q (i, scope_id, kind, since, inclusive, most)""",
            [
                list(column)
                for column in zip(
                    *((i, c.scope_id, c.kind, c.since, c.inclusive, c.limit) for i, c in mine), strict=True
                )
            ],
        )
        for row in rows:
            answers[row["i"]] = row["n"]
    return answers


_CLAIM_FILED = """
UPDATE lead SET hinted_until = %(lease)s, hints = hints + 1 WHERE id IN (
    SELECT d.id FROM unnest(%(accounts)s::bigint[], %(kinds)s::text[], %(tops)s::int[]) AS q (account_id, kind, top)
     CROSS JOIN LATERAL (SELECT l.id FROM lead l
                          WHERE l.account_id = q.account_id AND l.next_kind = q.kind AND l.due_at <= %(horizon)s
                            AND l.state = 'active' AND (l.hinted_until IS NULL OR l.hinted_until <= %(now)s)
                          ORDER BY l.due_at LIMIT q.top FOR NO KEY UPDATE SKIP LOCKED) d)
RETURNING id, due_at, hints, account_id, next_kind"""


def claim_filed(
    tx: Tx, tops: Sequence[tuple[int, str, int]], *, now: datetime, horizon: datetime, lease: datetime
) -> list[Row]:
    """Per (account, kind, top): the top leads by due_at, leased."""
    if not tops:
        return []
    accounts, kinds, most = (list(column) for column in zip(*tops, strict=True))
    params: dict[str, Any] = {
        "accounts": accounts,
        "kinds": kinds,
        "tops": most,
        "now": now,
        "horizon": horizon,
        "lease": lease,
    }
    return tx.rows(_CLAIM_FILED, params)


_HOLD_BACK = """
UPDATE lead SET waiting_on = 'account', waiting_detail = h.rule, due_at = %(until)s FROM (
    SELECT d.id, q.rule FROM unnest(%(accounts)s::bigint[], %(kinds)s::text[], %(rules)s::text[]) AS q (account_id, kind, rule)
     CROSS JOIN LATERAL (SELECT l.id FROM lead l
                          WHERE l.account_id = q.account_id AND l.next_kind = q.kind AND l.due_at <= %(now)s AND l.state = 'active'
                          ORDER BY l.due_at LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED) d) h
 WHERE lead.id = h.id"""


def hold_back(
    tx: Tx, held: Sequence[tuple[int, str, str]], *, now: datetime, until: datetime, limit: int
) -> None:
    """Per (account, kind, rule): leads that are due wait for the account until then, and say which rule holds it."""
    if held:
        accounts, kinds, rules = (list(column) for column in zip(*held, strict=True))
        params = {
            "accounts": accounts,
            "kinds": kinds,
            "rules": rules,
            "now": now,
            "until": until,
            "limit": limit,
        }
        tx.execute(_HOLD_BACK, params)


def claim_late(tx: Tx, *, now: datetime, lease: datetime, limit: int) -> list[Row]:
    """Due leads whose planned step has come too late while nothing stands still: it needs no room, so it waits for none; leased."""
    return tx.rows(
        """
        UPDATE lead SET hinted_until = %(lease)s, hints = hints + 1 WHERE id IN (
            SELECT l.id FROM execution e JOIN lead l ON l.id = e.lead_id JOIN account a ON a.id = e.account_id
              JOIN sequence s ON s.id = e.sequence_id
             WHERE e.state = 'planned' AND e.late_at <= %(now)s AND l.due_at <= %(now)s AND a.state = 'ok' AND s.state = 'active'
               AND (l.hinted_until IS NULL OR l.hinted_until <= %(now)s)
             ORDER BY e.late_at LIMIT %(limit)s FOR NO KEY UPDATE OF l SKIP LOCKED)
        RETURNING id, due_at, hints""",
        {"now": now, "lease": lease, "limit": limit},
    )


def claim_others(tx: Tx, *, now: datetime, horizon: datetime, lease: datetime, limit: int) -> list[Row]:
    """Due leads that wait for no account: deadlines, doubts, tasks, parked ones; leased."""
    return tx.rows(
        """
        UPDATE lead SET hinted_until = %(lease)s, hints = hints + 1 WHERE id IN (
            SELECT id FROM lead WHERE account_id IS NULL AND due_at <= %(horizon)s AND (hinted_until IS NULL OR hinted_until <= %(now)s)
               AND state = 'active' AND NOT starts_with(coalesce(waiting_detail, ''), %(newer)s)
             ORDER BY due_at LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED)
        RETURNING id, due_at, hints""",
        {"now": now, "horizon": horizon, "lease": lease, "limit": limit, "newer": NEEDS_NEWER},
    )


def claim_open(tx: Tx, *, now: datetime, lease: datetime, limit: int) -> list[Row]:
    """Due leads whose call or doubt is open; leased. They are settled whatever is paused: an opt-out may wait for it."""
    return tx.rows(
        """
        UPDATE lead SET hinted_until = %(lease)s, hints = hints + 1 WHERE id IN (
            SELECT id FROM lead WHERE account_id IS NULL AND due_at <= %(now)s AND (hinted_until IS NULL OR hinted_until <= %(now)s)
               AND state = 'active' AND waiting_on IN ('call', 'doubt')
             ORDER BY due_at LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED)
        RETURNING id, due_at, hints""",
        {"now": now, "lease": lease, "limit": limit},
    )


#: The (account, kind) pairs that leads are filed under, one index look-up each: the cost follows the accounts, not the leads.
PAIRS = """pair AS (
    (SELECT account_id, next_kind FROM lead WHERE due_at IS NOT NULL AND account_id IS NOT NULL ORDER BY account_id, next_kind LIMIT 1)
    UNION ALL
    SELECT n.account_id, n.next_kind FROM pair p CROSS JOIN LATERAL (
        SELECT account_id, next_kind FROM lead WHERE due_at IS NOT NULL AND (account_id, next_kind) > (p.account_id, p.next_kind)
         ORDER BY account_id, next_kind LIMIT 1) n)"""
#: Those pairs, less those that this release sweeps.
_CLAIM_STRANGE = f"""
UPDATE lead SET hinted_until = %(lease)s, hints = hints + 1 WHERE id IN (
    WITH RECURSIVE {PAIRS},
    strange AS (
        SELECT p.account_id, p.next_kind FROM pair p JOIN account a ON a.id = p.account_id
         WHERE NOT EXISTS (SELECT 1 FROM {_ASKED} WHERE k.channel = a.channel AND k.kind = p.next_kind)),
    due AS (
        SELECT l.id, l.due_at FROM strange s
          JOIN lead l ON l.account_id = s.account_id AND l.next_kind = s.next_kind AND l.due_at <= %(horizon)s
        UNION ALL
        SELECT id, due_at FROM lead WHERE account_id IS NULL AND due_at <= %(horizon)s AND starts_with(waiting_detail, %(newer)s))
    SELECT l.id FROM lead l JOIN due d ON d.id = l.id
     WHERE l.state = 'active' AND (l.hinted_until IS NULL OR l.hinted_until <= %(now)s)
     ORDER BY l.due_at LIMIT %(limit)s FOR NO KEY UPDATE OF l SKIP LOCKED)
RETURNING id, due_at, hints"""


def claim_strange(tx: Tx, *, now: datetime, horizon: datetime, lease: datetime, limit: int) -> list[Row]:
    """Due leads that a worker could not read, or that wait for a kind which this release does not know; leased.

    They have a share of their own: however many there are, they keep no place from the others.
    """
    return tx.rows(
        _CLAIM_STRANGE,
        {"now": now, "horizon": horizon, "lease": lease, "limit": limit, "newer": NEEDS_NEWER},
    )


def inbound_to_digest(
    tx: Tx, now: datetime, limit: int, *, channels: Sequence[str], kinds: Sequence[str]
) -> list[int]:
    """Stored but not understood yet, or waiting and ripe; of the channels and kinds that this release can digest."""
    rows = tx.rows(
        "SELECT id FROM inbound WHERE state IN ('stored', 'waiting') AND (state = 'stored' OR digest_after <= %s)"
        " AND channel = ANY(%s) AND kind = ANY(%s) ORDER BY id LIMIT %s",
        (now, list(channels), list(kinds), limit),
    )
    return [row["id"] for row in rows]


def forsaken_calls(tx: Tx, now: datetime, settle: timedelta, limit: int) -> list[int]:
    """Leads that are not due themselves (they have left, or are paused) but whose call is past its deadline or its settle time."""
    rows = tx.rows(
        """
        SELECT e.lead_id FROM execution e JOIN lead l ON l.id = e.lead_id
         WHERE e.state IN ('calling', 'in_doubt') AND (l.due_at IS NULL OR l.waiting_on = 'pause')
           AND CASE e.state WHEN 'in_doubt' THEN coalesce(e.next_read_at, e.call_deadline + %s) ELSE e.call_deadline END <= %s
         ORDER BY e.call_deadline LIMIT %s""",
        (settle, now, limit),
    )
    return [row["lead_id"] for row in rows]


def unrefreshed(tx: Tx, now: datetime, gave_up: str) -> list[int]:
    """Accounts that lack a good token and may yet get one by themselves: no refresh is under way, none was given up."""
    rows = tx.rows(
        "SELECT id FROM account WHERE state = 'needs_reauth' AND refresh_token IS NOT NULL AND NOT starts_with(state_reason, %s)"
        " AND (refresh_deadline IS NULL OR refresh_deadline <= %s) ORDER BY id",
        (gave_up, now),
    )
    return [row["id"] for row in rows]


def expired_claims(tx: Tx, now: datetime) -> list[Row]:
    """Claimed tasks whose human let the deadline pass -> asked: never offered as new."""
    return tx.rows(
        "UPDATE task t SET state = 'asked' FROM execution e WHERE e.id = t.execution_id AND t.state = 'claimed' AND t.deadline <= %s"
        " RETURNING t.id, t.lead_id, e.account_id, e.identity_id,"
        " e.kind IN ('FOLLOW_ON_TWITTER', 'UNFOLLOW_ON_TWITTER') AS shown_by_look_up",
        (now,),
    )


def stale_inboxes(tx: Tx, *, before: datetime, now: datetime) -> list[int]:
    """Accounts with people waiting at the other end whose inbox nobody has read since `before`."""
    rows = tx.rows(
        """
        SELECT a.id FROM account a LEFT JOIN watermark w ON w.account_id = a.id AND w.stream = 'inbox'
         WHERE a.state IN ('ok', 'paused', 'no_credits') AND a.channel = 'twitter'
           AND (w.polled_at IS NULL OR w.polled_at <= %s) AND (w.retry_at IS NULL OR w.retry_at <= %s)
           AND EXISTS (SELECT 1 FROM execution e WHERE e.account_id = a.id AND e.effect_by IS NOT NULL LIMIT 1)""",
        (before, now),
    )
    return [row["id"] for row in rows]
