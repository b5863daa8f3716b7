"""What a send needs to know: the unlocked read that prepares it, and T1's one facts query under the locks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from outreach.models.base import Hot, Row, Tx

_PREPARE = Hot("""
SELECT x.* FROM unnest(%s::bigint[]) q (id) CROSS JOIN LATERAL (
SELECT e.id AS execution_id, e.state, e.kind, e.channel, e.account_id, e.app_id, e.identity_id, e.sequence_id, e.variant, e.attempts,
       e.done_by, l.id AS lead_id, l.state AS lead_state, l.cursor, l.version_id, l.epoch, l.data, l.person_id, l.due_at,
       p.name AS person_name, p.zone AS person_zone, i.kind AS identity_kind, i.value AS recipient,
       a.name AS account_name, a.external_id, a.handle, a.base_url, a.access_token, a.zone AS account_zone,
       a.caps AS account_caps, a.pace AS account_pace, p2.client_id, p2.caps AS app_caps,
       n.caps AS instance_caps, n.key AS instance_key, n.live_confirmed_at IS NOT NULL AS live, s.name AS sequence_name,
       a.token_expires_at, a.state AS account_state, e.late_at
  FROM execution e
  JOIN lead l ON l.id = e.lead_id
  JOIN person p ON p.id = l.person_id
  JOIN identity i ON i.id = e.identity_id
  JOIN account a ON a.id = e.account_id
  JOIN app p2 ON p2.id = e.app_id
  JOIN sequence s ON s.id = e.sequence_id
  CROSS JOIN instance n
 WHERE e.id = q.id OFFSET 0) x""")


def prepare_all(tx: Tx, execution_ids: Sequence[int]) -> dict[int, Row]:
    """Everything that rendering, the limiter and the call need, by execution. Nothing of it is believed by T1."""
    return {row["execution_id"]: row for row in tx.rows(_PREPARE, (list(execution_ids),))}


def prepare(tx: Tx, execution_id: int) -> Row | None:
    """The same for one."""
    return prepare_all(tx, [execution_id]).get(execution_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One cap of one scope, ready to be counted: the scope's rows with effect_by after `since`, at most `limit`.

    Of one more claim in the same transaction the limit is one less: the first one's row is not written yet.
    """

    scope: Literal["account", "app", "sequence", "instance"]
    scope_id: int
    kind: str
    limit: int
    since: datetime
    #: a local date counts a row that ends exactly at its midnight; a rolling window does not
    inclusive: bool

    @property
    def after(self) -> datetime:
        """Rows count with effect_by later than this: Postgres keeps microseconds."""
        return self.since - _MICROSECOND if self.inclusive else self.since


_MICROSECOND = timedelta(microseconds=1)
#: Per window its limit-th newest effect, NULL while there is room. The execution's own row stands aside.
_NTH_NEWEST = """
(SELECT array_agg(x.nth ORDER BY x.i) FROM (
    SELECT q.i, CASE q.scope
        WHEN 'account' THEN (SELECT t.effect_by FROM execution t WHERE t.account_id = q.scope_id AND t.kind = e.kind
                               AND t.effect_by > q.since AND t.id <> e.id ORDER BY t.effect_by DESC OFFSET q.most - 1 LIMIT 1)
        WHEN 'app' THEN (SELECT t.effect_by FROM execution t WHERE t.app_id = q.scope_id AND t.kind = e.kind
                               AND t.effect_by > q.since AND t.id <> e.id ORDER BY t.effect_by DESC OFFSET q.most - 1 LIMIT 1)
        WHEN 'sequence' THEN (SELECT t.effect_by FROM execution t WHERE t.sequence_id = q.scope_id AND t.kind = e.kind
                               AND t.effect_by > q.since AND t.id <> e.id ORDER BY t.effect_by DESC OFFSET q.most - 1 LIMIT 1)
        -- The whole instance, app by app: an index of its own would have to be written for every send.
        ELSE (SELECT n.effect_by FROM app y CROSS JOIN LATERAL (
                     SELECT t.effect_by FROM execution t WHERE t.app_id = y.id AND t.kind = e.kind
                        AND t.effect_by > q.since AND t.id <> e.id ORDER BY t.effect_by DESC LIMIT q.most) n
               ORDER BY n.effect_by DESC OFFSET q.most - 1 LIMIT 1)
        END AS nth
      FROM unnest(%(owners)s::bigint[], %(scopes)s::text[], %(scope_ids)s::bigint[], %(sinces)s::timestamptz[], %(mosts)s::int[])
           WITH ORDINALITY AS q (owner, scope, scope_id, since, most, i) WHERE q.owner = e.id) x) AS nth_newest"""

FACTS = Hot(
    """
SELECT f.* FROM unnest(%(ids)s::bigint[], %(pace_sinces)s::timestamptz[]) asked (id, pace_since) CROSS JOIN LATERAL (
SELECT e.id AS execution_id, e.state, e.cause, e.cause_deadline, e.first_due_at, e.late_at, l.cursor, e.kind, e.channel, e.account_id, e.identity_id, e.attempts, e.verdict,
       l.id AS lead_id, l.state AS lead_state, l.due_at, l.epoch, l.paused_at AS lead_paused_at, l.pause_reason AS lead_pause_reason,
       p.id AS person_id, p.suppressed_at, p.suppression_reason, p.paused_at AS person_paused_at, p.pause_reason AS person_pause_reason,
       p.zone AS person_zone, p.is_test, i.kind AS identity_kind, i.status AS identity_status,
       a.state AS account_state, a.state_reason AS account_state_reason, a.follow_permitted, a.dm_mode, a.zone AS account_zone, a.last_stamp,
       a.base_url, a.caps AS account_caps, a.pace AS account_pace, b.caps AS app_caps, n.caps AS instance_caps,
       b.state AS app_state, b.state_reason AS app_state_reason, s.state AS sequence_state, s.state_reason AS sequence_state_reason,
       n.paused_at AS instance_paused_at, n.pause_reason AS instance_pause_reason, n.foreign_since, n.foreign_reason, n.recovering_since,
       n.live_confirmed_at IS NOT NULL AS live, n.simulated_only, n.policy,
       sp.scopes AS hit_scopes, sp.ats AS hit_ats, sp.reasons AS hit_reasons, sp.channels AS hit_channels,
       cs.bases, cs.obtained, cs.expires, cs.basis_accounts,
       (SELECT max(m.occurred_at) FROM (SELECT * FROM inbound x WHERE x.person_id = p.id OFFSET 0) m
         WHERE m.kind = 'message_in' AND m.channel = e.channel AND m.class IS DISTINCT FROM 'out_of_office') AS last_inbound_at,
       -- By id, or by a handle that has not learnt its id yet. What nobody has read is too little to be doubted: a handle that
       -- has changed hands waits, too.
       EXISTS (SELECT 1 FROM identity y CROSS JOIN LATERAL (
                   SELECT m.kind FROM inbound m WHERE m.state = 'stored' AND m.peer_kind = y.kind AND m.peer = y.value
                    UNION ALL
                   SELECT m.kind FROM inbound m WHERE m.state = 'stored' AND m.peer_handle <> '' AND m.peer_handle = y.value
                      AND y.kind = 'twitter_handle') m
                WHERE y.person_id = p.id AND m.kind NOT IN ('message_out', 'we_followed', 'we_unfollowed')) AS undigested,
       theirs.touches, theirs.contacted_before,
       EXISTS (SELECT 1 FROM (SELECT * FROM execution x WHERE x.lead_id = l.id OFFSET 0) t
                WHERE t.channel = e.channel AND t.kind = ANY(%(message_kinds)s) AND t.effect_by IS NOT NULL AND t.id <> e.id) AS contacted_by_lead,
       CASE WHEN e.cause = 'NOT_REPLIED' THEN (SELECT r.at FROM inbox_read_up_to(l.id) r) END AS read_up_to,
       (SELECT r.checked_at FROM lead_binding k JOIN relationship r ON r.account_id = k.account_id AND r.identity_id = k.identity_id
         WHERE k.lead_id = l.id AND k.channel = CASE e.cause WHEN 'CONNECTION_NOT_ACCEPTED' THEN 'linkedin' ELSE 'twitter' END) AS looked_up_at,
       CASE WHEN e.cause_deadline IS NOT NULL
            THEN (SELECT array_agg(g.kind) FROM signal g WHERE g.lead_id = l.id AND g.used_at IS NULL) END AS unused_signals,
       hd.scopes AS hold_scopes, hd.untils AS hold_untils, hd.reasons AS hold_reasons,
       (SELECT max(t.started_at) FROM execution t WHERE t.account_id = e.account_id AND t.kind = e.kind
           AND t.effect_by > asked.pace_since AND t.id <> e.id) AS last_started_at,
       EXISTS (SELECT 1 FROM task k WHERE k.execution_id = e.id AND k.state IN ('claimed', 'asked')) AS with_human
       , {caps}
  FROM execution e
  JOIN lead l ON l.id = e.lead_id
  JOIN person p ON p.id = l.person_id
  JOIN identity i ON i.id = e.identity_id
  JOIN account a ON a.id = e.account_id
  JOIN app b ON b.id = e.app_id
  JOIN sequence s ON s.id = e.sequence_id
  CROSS JOIN instance n
  -- What was sent to any of their handles. OFFSET 0: always found from the handles, never by walking the ledger.
  CROSS JOIN LATERAL (
       SELECT array_agg(t.effect_by) FILTER (
                  WHERE t.touch AND t.id <> e.id
                    AND t.effect_by > %(now)s::timestamptz - greatest((n.policy #>> '{touch,days}')::float8 * interval '1 day',
                                                         (n.policy #>> '{touch,gap_hours}')::float8 * interval '1 hour')) AS touches,
              coalesce(bool_or(t.channel = e.channel AND t.kind = ANY(%(message_kinds)s) AND t.lead_id IS DISTINCT FROM l.id), false)
                  AS contacted_before
         FROM (SELECT y.id FROM identity y WHERE y.person_id = l.person_id OFFSET 0) y
        CROSS JOIN LATERAL (SELECT * FROM execution x WHERE x.identity_id = y.id AND x.effect_by IS NOT NULL OFFSET 0) t) theirs
  CROSS JOIN LATERAL (
       SELECT array_agg(h.scope ORDER BY h.scope) AS scopes, array_agg(h.until ORDER BY h.scope) AS untils,
              array_agg(h.reason ORDER BY h.scope) AS reasons
         FROM hold h WHERE h.kind = e.kind AND ((h.scope = 'account' AND h.scope_id = e.account_id)
                                             OR (h.scope = 'app' AND h.scope_id = e.app_id))) hd
  CROSS JOIN LATERAL (
       SELECT array_agg(x.scope) AS scopes, array_agg(x.at) AS ats, array_agg(x.reason) AS reasons, array_agg(x.channel) AS channels
         FROM (SELECT 'person' AS scope, s1.at, s1.reason, s1.channel FROM suppression s1
                WHERE s1.person_id = p.id AND s1.lifted_at IS NULL
                UNION ALL
               SELECT 'identifier', s2.at, s2.reason, s2.channel FROM suppression s2 JOIN identity y ON y.hmac = s2.hmac
                WHERE y.person_id = p.id AND s2.lifted_at IS NULL) x) sp
  -- Consent is per identity and never inherited through a merge; a handle and the id it resolved to are one account.
  CROSS JOIN LATERAL (
       SELECT array_agg(c.basis ORDER BY c.id) AS bases, array_agg(c.obtained_at ORDER BY c.id) AS obtained,
              array_agg(c.expires_at ORDER BY c.id) AS expires, array_agg(c.account_id ORDER BY c.id) AS basis_accounts
         FROM (SELECT e.identity_id AS id
                UNION ALL
               SELECT k.b FROM identity_link k WHERE k.a = e.identity_id AND k.source = 'resolved' AND k.status = 'active'
                UNION ALL
               SELECT k.a FROM identity_link k WHERE k.b = e.identity_id AND k.source = 'resolved' AND k.status = 'active') same
         JOIN consent c ON c.identity_id = same.id
        WHERE c.channel = e.channel AND c.withdrawn_at IS NULL) cs
 WHERE e.id = asked.id OFFSET 0) f""".replace("{caps}", _NTH_NEWEST)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One execution about which T1 asks: the caps to count for it, and since when its account's pace matters."""

    execution_id: int
    windows: Sequence[Window]
    pace_since: datetime


def facts(tx: Tx, asked: Sequence[Asked], *, now: datetime, message_kinds: Sequence[str]) -> dict[int, Row]:
    """T1's facts in one statement, by execution. `nth_newest`: per window its limit-th newest effect, NULL while there is room."""
    counted = [(one.execution_id, window) for one in asked for window in one.windows]
    rows = tx.rows(
        FACTS,
        {
            "ids": [one.execution_id for one in asked],
            "pace_sinces": [one.pace_since for one in asked],
            "now": now,
            "message_kinds": list(message_kinds),
            "owners": [owner for owner, _ in counted],
            "scopes": [window.scope for _, window in counted],
            "scope_ids": [window.scope_id for _, window in counted],
            "sinces": [window.after for _, window in counted],
            "mosts": [window.limit for _, window in counted],
        },
    )
    return {row["execution_id"]: row for row in rows}


_STAMP = Hot("""
UPDATE account SET last_stamp = greatest(last_stamp, q.at) FROM unnest(%s::bigint[], %s::timestamptz[]) q (id, at)
 WHERE account.id = q.id""")


def stamp_accounts(tx: Tx, stamps: Mapping[int, datetime]) -> None:
    """Stamps of an account never run backwards."""
    if stamps:
        tx.write(_STAMP, (list(stamps), list(stamps.values())))


_SCOPE_COLUMN = {"account": "account_id", "app": "app_id", "sequence": "sequence_id"}


def ledger_of(
    tx: Tx, scope: str, scope_id: int, kind: str, since: datetime
) -> tuple[list[tuple[int, datetime]], datetime | None]:
    """The scope's rows with effect_by after `since`, and its newest start: what a lost limiter log is seeded with.

    The scope's row is locked first, so that no claim slips in between the reading and the seeding.
    """
    tx.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (1002, f"{scope}:{scope_id}:{kind}"))
    column = _SCOPE_COLUMN.get(scope)
    # The whole instance is read app by app: there is no index for it alone.
    where = f"{column} = %s AND kind = %s" if column else "app_id IN (SELECT id FROM app) AND kind = %s"
    params = ([scope_id] if column else []) + [kind]
    rows = tx.rows(
        f"SELECT id, effect_by, started_at FROM execution WHERE {where} AND effect_by > %s", [*params, since]
    )
    newest = max((r["started_at"] for r in rows if r["started_at"]), default=None)
    return [(r["id"], r["effect_by"]) for r in rows], newest
