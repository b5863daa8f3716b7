"""Read-only reports for people: lists, single rows, funnels. No secrets in them; persons appear as ids."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from outreach.errors import NotFound
from outreach.models.accounts import GAVE_UP
from outreach.models.base import APPLICATION_NAME, Row, Tx
from outreach.models.leads import LATE, NEEDS_NEWER

# --- leads -------------------------------------------------------------------------------------------------------

_LEAD = """
SELECT l.id, l.person_id, s.name AS sequence, v.version, l.state, l.exit_reason, l.cursor AS node, l.entered_at, l.due_at, l.waiting_on,
       l.waiting_detail, l.next_kind, a.name AS account, l.paused_at, l.pause_reason, l.key, l.batch, l.enrolled_at, l.ended_at
  FROM lead l JOIN sequence s ON s.id = l.sequence_id JOIN sequence_version v ON v.id = l.version_id
  LEFT JOIN account a ON a.id = l.account_id"""


def leads(
    tx: Tx, *, sequence: str | None, state: str | None, waiting_on: str | None, limit: int
) -> list[Row]:
    """The newest first."""
    return tx.rows(
        f"""{_LEAD}
         WHERE (%(sequence)s::text IS NULL OR s.name = %(sequence)s) AND (%(state)s::text IS NULL OR l.state = %(state)s)
           AND (%(waiting)s::text IS NULL OR l.waiting_on = %(waiting)s)
         ORDER BY l.id DESC LIMIT %(limit)s""",
        {"sequence": sequence, "state": state, "waiting": waiting_on, "limit": limit},
    )


def lead(tx: Tx, lead_id: int) -> Row:
    """One lead. Raises NotFound."""
    row = tx.row(f"{_LEAD} WHERE l.id = %s", (lead_id,))
    if row is None:
        raise NotFound(f"no lead {lead_id}", hint="outreach lead list shows them")
    return row


def leads_of_person(tx: Tx, person_id: int) -> list[Row]:
    """All leads of the person, oldest first."""
    return tx.rows(f"{_LEAD} WHERE l.person_id = %s ORDER BY l.id", (person_id,))


def planned_of_lead(tx: Tx, lead_id: int) -> int | None:
    """The execution that the lead would carry out next."""
    found: int | None = tx.value(
        "SELECT id FROM execution WHERE lead_id = %s AND state = 'planned' ORDER BY id DESC LIMIT 1",
        (lead_id,),
    )
    return found


# --- the ledger --------------------------------------------------------------------------------------------------

_EXECUTION = """
SELECT e.id, e.lead_id, i.person_id, s.name AS sequence, x.key AS node, e.visit, e.kind, a.name AS account, e.state, e.cause, e.variant,
       e.attempts, e.touch, e.created_at, e.started_at, e.effect_by, e.sent_at, e.reason, e.done_by, e.observed, e.provider_ids, e.verdict,
       e.read_backs, e.call_deadline,
       (SELECT t.id FROM task t WHERE t.execution_id = e.id AND t.state IN ('open', 'claimed', 'asked')) AS task_id
  FROM execution e LEFT JOIN identity i ON i.id = e.identity_id JOIN account a ON a.id = e.account_id
  LEFT JOIN sequence s ON s.id = e.sequence_id LEFT JOIN sequence_action x ON x.id = e.action_id"""


def ledger(
    tx: Tx, *, state: str | None, account: str | None, since: datetime | None, limit: int
) -> list[Row]:
    """The newest first."""
    return tx.rows(
        f"""{_EXECUTION}
         WHERE (%(state)s::text IS NULL OR e.state = %(state)s) AND (%(account)s::text IS NULL OR a.name = %(account)s)
           AND (%(since)s::timestamptz IS NULL OR coalesce(e.started_at, e.created_at) >= %(since)s)
         ORDER BY e.id DESC LIMIT %(limit)s""",
        {"state": state, "account": account, "since": since, "limit": limit},
    )


def execution(tx: Tx, execution_id: int) -> Row:
    """One row of the ledger. Raises NotFound."""
    row = tx.row(f"{_EXECUTION} WHERE e.id = %s", (execution_id,))
    if row is None:
        raise NotFound(f"no execution {execution_id}", hint="outreach ledger list shows them")
    return row


def executions_of_lead(tx: Tx, lead_id: int) -> list[Row]:
    """The lead's part of the ledger, oldest first."""
    return tx.rows(f"{_EXECUTION} WHERE e.lead_id = %s ORDER BY e.id", (lead_id,))


# --- sequences ---------------------------------------------------------------------------------------------------


def versions(tx: Tx, sequence_id: int) -> list[Row]:
    """The versions with their leads, newest first."""
    return tx.rows(
        """
        SELECT v.id, v.version, v.content_hash, v.published_at, v.published_by,
               count(l.id) FILTER (WHERE l.state = 'active') AS active, count(l.id) AS leads
          FROM sequence_version v LEFT JOIN lead l ON l.version_id = v.id
         WHERE v.sequence_id = %s GROUP BY v.id ORDER BY v.version DESC""",
        (sequence_id,),
    )


def version_source(tx: Tx, sequence_id: int, number: int | None) -> Row:
    """id, version and the author's file of a version; None: the newest. Raises NotFound."""
    row = tx.row(
        "SELECT id, version, source FROM sequence_version WHERE sequence_id = %(sequence)s"
        " AND (%(number)s::int IS NULL OR version = %(number)s) ORDER BY version DESC LIMIT 1",
        {"sequence": sequence_id, "number": number},
    )
    if row is None:
        raise NotFound(
            "the sequence has no such version", hint="outreach sequence show NAME lists its versions"
        )
    return row


def leads_at(tx: Tx, version_id: int) -> dict[str, int]:
    """Active leads of the version by node."""
    rows = tx.rows(
        "SELECT cursor, count(*) AS n FROM lead WHERE version_id = %s AND state = 'active' GROUP BY cursor",
        (version_id,),
    )
    return {row["cursor"]: row["n"] for row in rows}


# A reply belongs to the message that the person had last got from that lead when they wrote.
_FUNNEL = """
WITH replied AS (
    SELECT g.lead_id, g.class, g.inbound_id, g.id, (
               SELECT e.id FROM execution e WHERE e.lead_id = g.lead_id AND e.variant IS NOT NULL AND e.sent_at <= g.at
                ORDER BY e.sent_at DESC, e.id DESC LIMIT 1) AS execution_id
      FROM signal g JOIN lead l ON l.id = g.lead_id
     WHERE l.sequence_id = %(sequence)s AND g.kind IN ('REPLIED', 'REPLIED_TO_NOTE')
), read AS (
    SELECT g.lead_id FROM signal g JOIN lead l ON l.id = g.lead_id WHERE l.sequence_id = %(sequence)s AND g.kind = 'READ'
)
SELECT x.key AS node, x.kind, e.variant, count(*) AS planned,
       count(*) FILTER (WHERE e.state = 'sent') AS sent,
       count(*) FILTER (WHERE e.state IN ('refused', 'absent') OR (e.state = 'skipped' AND e.reason <> %(late)s)) AS failed,
       count(*) FILTER (WHERE e.reason = %(late)s) AS passed_over,
       count(*) FILTER (WHERE e.state = 'blocked') AS blocked,
       count(*) FILTER (WHERE e.state = 'cancelled') AS cancelled,
       count(*) FILTER (WHERE e.state IN ('planned', 'calling')) AS waiting,
       count(*) FILTER (WHERE e.state IN ('in_doubt', 'held')) AS in_doubt,
       count(DISTINCT r.lead_id) AS replies,
       count(DISTINCT r.lead_id) FILTER (WHERE r.class = 'positive') AS positive_replies,
       count(*) FILTER (WHERE e.state = 'sent' AND e.lead_id IN (SELECT lead_id FROM read)) AS reads
  FROM execution e JOIN sequence_action x ON x.id = e.action_id
  JOIN lead m ON m.id = e.lead_id JOIN person p ON p.id = m.person_id AND p.is_test = %(tests)s
  LEFT JOIN LATERAL (SELECT r.lead_id, CASE WHEN bool_or(r.class = 'positive') THEN 'positive' END AS class
                       FROM replied r WHERE r.execution_id = e.id GROUP BY r.lead_id) r ON true
 WHERE e.sequence_id = %(sequence)s
 GROUP BY x.id, x.key, x.kind, e.variant ORDER BY x.id, e.variant"""


def funnel(tx: Tx, sequence_id: int, *, tests: bool = False) -> list[Row]:
    """Per node and variant: what was planned, what became of it, and who answered it. `tests`: of test persons, who else are left out."""
    return tx.rows(_FUNNEL, {"sequence": sequence_id, "late": LATE, "tests": tests})


def lead_states(tx: Tx, sequence_id: int, *, tests: bool = False) -> list[Row]:
    """How many leads are active, finished, and exited for which reason. `tests`: those of test persons, who else are left out."""
    return tx.rows(
        "SELECT l.state, l.exit_reason, count(*) AS leads FROM lead l JOIN person p ON p.id = l.person_id AND p.is_test = %s"
        " WHERE l.sequence_id = %s GROUP BY 1, 2 ORDER BY 1, 3 DESC",
        (tests, sequence_id),
    )


# --- accounts, people, the rest ------------------------------------------------------------------------------------


def accounts(tx: Tx) -> list[Row]:
    """All accounts without their secrets."""
    return tx.rows(
        """
        SELECT a.id, a.name, a.channel, b.name AS app, a.app_id, b.caps AS app_caps, a.external_id, a.handle, a.base_url, a.zone,
               a.caps, a.pace, a.follow_permitted,
               a.dm_mode, a.mode_reason, a.state, a.state_reason, a.state_at, a.token_expires_at, a.scopes,
               b.state AS app_state, b.state_reason AS app_state_reason, b.state_at AS app_state_at,
               -- a provider stopped it, and the engine cannot mend it: an operator's pause waits for nobody
               (b.state IN ('no_credits', 'restricted') OR a.state IN ('restricted', 'no_credits', 'tier')
                OR (a.state = 'needs_reauth' AND (a.refresh_token IS NULL OR starts_with(a.state_reason, %s)))) AS needs_human,
               (SELECT array_agg(p.name ORDER BY p.name) FROM sender_pool_account m JOIN sender_pool p ON p.id = m.pool_id
                 WHERE m.account_id = a.id) AS pools
          FROM account a JOIN app b ON b.id = a.app_id ORDER BY a.name""",
        (GAVE_UP,),
    )


def segments(tx: Tx) -> list[Row]:
    """All segments with their sizes."""
    return tx.rows(
        """
        SELECT s.id, s.name, s.definition, s.counts, s.built_at, count(m.person_id) AS members
          FROM segment s LEFT JOIN segment_member m ON m.segment_id = s.id GROUP BY s.id ORDER BY s.name"""
    )


def segment_members(tx: Tx, segment_id: int, limit: int) -> list[int]:
    """The first members by id."""
    rows = tx.rows(
        "SELECT person_id FROM segment_member WHERE segment_id = %s ORDER BY person_id LIMIT %s",
        (segment_id, limit),
    )
    return [row["person_id"] for row in rows]


def consents_of(tx: Tx, person_id: int) -> list[Row]:
    """What is on record of permissions, withdrawn ones too."""
    return tx.rows(
        """
        SELECT c.id, i.shown, c.channel, c.basis, c.source, c.proof, c.country, c.obtained_at, c.expires_at, c.withdrawn_at,
               c.withdraw_reason, a.name AS account
          FROM consent c JOIN identity i ON i.id = c.identity_id LEFT JOIN account a ON a.id = c.account_id
         WHERE i.person_id = %s ORDER BY c.id""",
        (person_id,),
    )


def handles_of(tx: Tx, person_id: int, like: str) -> list[str]:
    """How the person is spelt where identities of the kind `like` are: names that a human can look up before numbers."""
    channel = like.partition("_")[0]
    rows = tx.rows(
        "SELECT shown FROM identity WHERE person_id = %s AND split_part(kind, '_', 1) = %s AND status = 'active'"
        " ORDER BY kind IN ('twitter_id', 'linkedin_member', 'linkedin_urn'), id",
        (person_id, channel),
    )
    return [row["shown"] for row in rows]


def profiles_of(tx: Tx, person_id: int) -> list[Row]:
    """What the sources say of the person."""
    return tx.rows(
        "SELECT source, source_key, attributes, updated_at FROM profile WHERE person_id = %s ORDER BY id",
        (person_id,),
    )


def suppressions(tx: Tx, limit: int) -> list[Row]:
    """Standing entries of the do-not-contact list, newest first; identifiers as digests only."""
    return tx.rows(
        """
        SELECT s.id, s.person_id, s.hmac IS NOT NULL AS identifier, substr(s.hmac, 9, 12) AS digest, s.channel, s.reason, s.source, s.at,
               p.suppression_effective_at AS effective_at
          FROM suppression s LEFT JOIN person p ON p.id = s.person_id
         WHERE s.lifted_at IS NULL ORDER BY s.id DESC LIMIT %s""",
        (limit,),
    )


def waiting(tx: Tx) -> list[Row]:
    """Active leads by what they wait on."""
    return tx.rows(
        "SELECT waiting_on, count(*) AS leads, min(due_at) AS earliest FROM lead WHERE state = 'active' GROUP BY waiting_on ORDER BY 2 DESC"
    )


def left_to_newer(tx: Tx) -> int:
    """Active leads that a worker could not read, and that only a newer one moves."""
    return int(
        tx.value(
            "SELECT count(*) FROM lead WHERE state = 'active' AND starts_with(waiting_detail, %s)",
            (NEEDS_NEWER,),
        )
    )


_SCOPE_COLUMN = {"account": "account_id", "app": "app_id"}


def nth_newest_effect(
    tx: Tx, scope: str, scope_id: int, kind: str, since: datetime, inclusive: bool, n: int
) -> datetime | None:
    """The scope's n-th newest effect in a window; None while there are fewer."""
    operator = ">=" if inclusive else ">"
    found: datetime | None = tx.value(
        f"SELECT effect_by FROM execution WHERE {_SCOPE_COLUMN[scope]} = %s AND kind = %s AND effect_by {operator} %s"
        " ORDER BY effect_by DESC OFFSET %s LIMIT 1",
        (scope_id, kind, since, n - 1),
    )
    return found


# --- the server, for doctor ------------------------------------------------------------------------------------------


def server(tx: Tx) -> Row:
    """Version, time, size, and connections: `ours`, and `limits` as rows of / most / others (held by somebody else)."""
    found = tx.one(
        """
        WITH held AS (SELECT application_name IS NOT DISTINCT FROM %(ours)s AS ours, usesysid, datname FROM pg_stat_activity
                       WHERE backend_type = 'client backend')
        SELECT current_setting('server_version') AS version, pg_database_size(current_database()) AS bytes, pg_is_in_recovery() AS read_only,
               (SELECT count(*) FROM held WHERE ours) AS ours,
               current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
                 - coalesce(current_setting('reserved_connections', true), '0')::int AS most,
               (SELECT count(*) FROM held WHERE NOT ours) AS others,
               r.rolconnlimit AS role_most, (SELECT count(*) FROM held WHERE NOT ours AND usesysid = r.oid) AS role_others,
               d.datconnlimit AS database_most, (SELECT count(*) FROM held WHERE NOT ours AND datname = d.datname) AS database_others
          FROM pg_roles r, pg_database d WHERE r.rolname = current_user AND d.datname = current_database()""",
        {"ours": APPLICATION_NAME},
    )
    limits = [{"of": "the server", "most": found["most"], "others": found["others"]}]
    for scope in ("role", "database"):
        # -1: no limit. Shared plans limit the role or the database, not the server.
        if found[f"{scope}_most"] >= 0:
            most, others = found[f"{scope}_most"], found[f"{scope}_others"]
            limits.append({"of": f"this {scope}", "most": most, "others": others})
    return {**found, "limits": limits, "now": tx.database_now()}


def has_stray_events(tx: Tx) -> bool:
    """Did events fall into no month's partition?"""
    return bool(tx.value("SELECT EXISTS (SELECT 1 FROM event_default)"))


def stopped(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Of `accounts`: those that cannot send, with the reason of the account or of its app."""
    return [
        {"name": r["name"], "state": r["state"] if r["state"] != "ok" else f"app {r['app_state']}",
         "reason": r["state_reason"] or r["app_state_reason"], "since": r["state_at"] if r["state"] != "ok" else r["app_state_at"],
         "needs_human": r["needs_human"]}
        for r in rows
        if r["state"] != "ok" or r["app_state"] != "ok"
    ]  # fmt: skip
