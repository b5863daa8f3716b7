"""Permission rows: suppression and consent. Written through compliance.register alone; no decisions here."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from outreach.models.base import Row, Tx, to_json


def person_state(tx: Tx, person_id: int) -> Row:
    """What suppression needs to know of the person. Raises LookupError where there is none."""
    return tx.one(
        """SELECT suppressed_at, suppression_reason, suppression_effective_at, merged_into, erased_at
             FROM person WHERE id = %s""",
        (person_id,),
    )


def mark_suppressed(tx: Tx, person_id: int, *, reason: str, at: datetime) -> datetime:
    """The person is suppressed since the earliest instant ever given, for the reason first given."""
    row = tx.one(
        """UPDATE person SET suppressed_at = least(suppressed_at, %s),
                             suppression_reason = coalesce(suppression_reason, %s)
            WHERE id = %s RETURNING suppressed_at""",
        (at, reason, person_id),
    )
    since: datetime = row["suppressed_at"]
    return since


def unmark_suppressed(tx: Tx, person_id: int) -> None:
    """The person may be judged on the merits again."""
    tx.execute(
        """UPDATE person SET suppressed_at = NULL, suppression_reason = NULL, suppression_effective_at = NULL
            WHERE id = %s""",
        (person_id,),
    )


def clear_effective(tx: Tx, person_id: int) -> None:
    """Something may be in flight to this person again; the suppression itself stands."""
    tx.execute("UPDATE person SET suppression_effective_at = NULL WHERE id = %s", (person_id,))


_INSERT_PERSON = """
INSERT INTO suppression (person_id, reason, source, evidence, at)
SELECT %(person)s, %(reason)s, %(source)s, %(evidence)s, %(at)s
 WHERE NOT EXISTS (SELECT 1 FROM suppression s
                    WHERE s.person_id = %(person)s AND s.hmac IS NULL AND s.channel IS NULL AND s.lifted_at IS NULL)"""

# The identifiers as they are labelled now: they stay suppressed wherever a later merge or cut puts them.
_INSERT_IDENTITIES = """
INSERT INTO suppression (person_id, hmac, reason, source, evidence, at)
SELECT %(person)s, i.hmac, %(reason)s, %(source)s, %(evidence)s, %(at)s
  FROM identity i
 WHERE i.person_id = %(person)s
   AND NOT EXISTS (SELECT 1 FROM suppression s
                    WHERE s.hmac = i.hmac AND s.channel IS NULL AND s.lifted_at IS NULL)"""


def insert_of_person(
    tx: Tx, person_id: int, *, reason: str, source: str, evidence: Mapping[str, Any], at: datetime
) -> int:
    """A standing row for the person and one for each identifier, on every channel; how many were missing."""
    values = {
        "person": person_id,
        "reason": reason,
        "source": source,
        "evidence": to_json(evidence),
        "at": at,
    }
    return tx.execute(_INSERT_PERSON, values) + tx.execute(_INSERT_IDENTITIES, values)


_INSERT_IDENTIFIER = """
INSERT INTO suppression (hmac, channel, reason, source, evidence, at)
SELECT %(hmac)s, %(channel)s, %(reason)s, %(source)s, %(evidence)s, %(at)s
 WHERE NOT EXISTS (SELECT 1 FROM suppression s
                    WHERE s.hmac = %(hmac)s AND s.channel IS NOT DISTINCT FROM %(channel)s AND s.lifted_at IS NULL)"""


def insert_of_identifier(
    tx: Tx,
    hmac: str,
    *,
    channel: str | None,
    reason: str,
    source: str,
    evidence: Mapping[str, Any],
    at: datetime,
) -> bool:
    """A standing row for an identifier nobody is known by. False: one stood already."""
    values = {
        "hmac": hmac, "channel": channel, "reason": reason,
        "source": source, "evidence": to_json(evidence), "at": at,
    }  # fmt: skip
    return bool(tx.execute(_INSERT_IDENTIFIER, values))


def restate(tx: Tx, hmac: str, *, reason: str, source: str) -> None:
    """The identifier's standing rows say only this."""
    tx.execute(
        "UPDATE suppression SET reason = %s, source = %s, evidence = '{}' WHERE hmac = %s AND lifted_at IS NULL",
        (reason, source, hmac),
    )


def owners_of(tx: Tx, hmac: str) -> list[int]:
    """The persons who carry this identifier now, by id."""
    rows = tx.rows("SELECT DISTINCT person_id FROM identity WHERE hmac = %s ORDER BY person_id", (hmac,))
    return [row["person_id"] for row in rows]


# Every execution is found through its identity: executions never change, identities are relabelled by merges.
_DRAINED = """
UPDATE person p SET suppression_effective_at = %(now)s
 WHERE p.id = %(person)s AND p.suppressed_at IS NOT NULL AND p.suppression_effective_at IS NULL
   AND NOT EXISTS (
       SELECT 1 FROM execution e JOIN identity i ON i.id = e.identity_id
        WHERE i.person_id = p.id
          AND (e.state = 'calling' OR (e.state = 'in_doubt' AND e.call_deadline > %(settled_before)s)))"""


def mark_effective(tx: Tx, person_id: int, *, now: datetime, settled_before: datetime) -> bool:
    """Write suppression_effective_at once nothing is calling, and nothing in doubt had its deadline after `settled_before`."""
    return bool(tx.execute(_DRAINED, {"person": person_id, "now": now, "settled_before": settled_before}))


def still_draining(tx: Tx, *, limit: int) -> list[int]:
    """Suppressed persons to whom something may still surface, by id."""
    rows = tx.rows(
        """SELECT id FROM person WHERE suppressed_at IS NOT NULL AND suppression_effective_at IS NULL
            ORDER BY id LIMIT %s""",
        (limit,),
    )
    return [row["id"] for row in rows]


_OF_PERSON = "(person_id = %(person)s OR hmac IN (SELECT hmac FROM identity WHERE person_id = %(person)s))"
_COLUMNS = "id, person_id, hmac, channel, reason, source, evidence, at"


def standing_of_person(tx: Tx, person_id: int) -> list[Row]:
    """Standing rows that name the person or any identifier of theirs, oldest first."""
    return tx.rows(
        f"SELECT {_COLUMNS} FROM suppression WHERE lifted_at IS NULL AND {_OF_PERSON} ORDER BY at, id",
        {"person": person_id},
    )


def standing_of_identifier(tx: Tx, hmac: str) -> list[Row]:
    """Standing rows that name the identifier, oldest first."""
    return tx.rows(
        f"SELECT {_COLUMNS} FROM suppression WHERE lifted_at IS NULL AND hmac = %s ORDER BY at, id", (hmac,)
    )


def lift_of_person(tx: Tx, person_id: int, *, reason: str, at: datetime) -> int:
    """Lift every standing row of the person and of their identifiers; how many."""
    return tx.execute(
        f"UPDATE suppression SET lifted_at = %(at)s, lift_reason = %(reason)s WHERE lifted_at IS NULL AND {_OF_PERSON}",
        {"person": person_id, "at": at, "reason": reason},
    )


def lift_of_identifier(tx: Tx, hmac: str, *, reason: str, at: datetime) -> int:
    """Lift the standing rows of an identifier; how many."""
    return tx.execute(
        "UPDATE suppression SET lifted_at = %s, lift_reason = %s WHERE lifted_at IS NULL AND hmac = %s",
        (at, reason, hmac),
    )


# --- consent -------------------------------------------------------------------------------------------------

# The same proof counts once. One that was withdrawn stays withdrawn, however often its file is imported again; and what
# was obtained before a withdrawal says nothing about the time after it.
_INSERT_CONSENT = """
INSERT INTO consent (identity_id, channel, account_id, basis, source, proof, country, obtained_at, expires_at, import_id, recorded_at)
SELECT v.identity_id::bigint, v.channel, v.account_id::bigint, v.basis, v.source, v.proof, v.country, v.obtained_at::timestamptz,
       v.expires_at::timestamptz, v.import_id::bigint, v.recorded_at::timestamptz
  FROM (VALUES %s) AS v (identity_id, channel, account_id, basis, source, proof, country, obtained_at, expires_at, import_id, recorded_at)
 WHERE NOT EXISTS (
       SELECT 1 FROM consent c
        WHERE c.identity_id = v.identity_id::bigint AND c.channel = v.channel AND c.basis = v.basis
          AND ((c.account_id IS NOT DISTINCT FROM v.account_id::bigint AND c.source = v.source AND c.proof = v.proof)
            OR c.withdrawn_at >= v.obtained_at::timestamptz))
RETURNING id"""


def insert_consents(tx: Tx, rows: Sequence[Sequence[Any]]) -> int:
    """Rows of (identity_id, channel, account_id, basis, source, proof, country, obtained_at, expires_at, import_id, recorded_at)."""
    return len(tx.insert_many(_INSERT_CONSENT, rows, returning=True))


# They wrote again: the newest message is the proof, and it outlives a withdrawal that came before it.
_INBOUND_BASIS = """
INSERT INTO consent (identity_id, channel, account_id, basis, source, proof, obtained_at, recorded_at)
VALUES (%(identity)s, %(channel)s, %(account)s, 'inbound', 'inbound', %(proof)s, %(at)s, %(now)s)
ON CONFLICT (identity_id, channel, account_id) WHERE basis = 'inbound' DO UPDATE
   SET obtained_at = excluded.obtained_at, proof = excluded.proof, recorded_at = excluded.recorded_at,
       withdrawn_at = CASE WHEN excluded.obtained_at > consent.withdrawn_at THEN NULL ELSE consent.withdrawn_at END,
       withdraw_reason = CASE WHEN excluded.obtained_at > consent.withdrawn_at THEN NULL ELSE consent.withdraw_reason END
 WHERE excluded.obtained_at > consent.obtained_at"""


def upsert_inbound_basis(
    tx: Tx, *, identity_id: int, channel: str, account_id: int, proof: str, at: datetime, now: datetime
) -> bool:
    """One row per identity and account they wrote to. False: a newer message is the proof already."""
    values = {
        "identity": identity_id, "channel": channel, "account": account_id, "proof": proof, "at": at, "now": now
    }  # fmt: skip
    return bool(tx.execute(_INBOUND_BASIS, values))


_WITHDRAW = """
UPDATE consent SET withdrawn_at = %(at)s, withdraw_reason = %(reason)s
 WHERE identity_id = ANY(%(identities)s) AND channel = %(channel)s AND withdrawn_at IS NULL
   AND (%(basis)s::text IS NULL OR basis = %(basis)s)
RETURNING id, identity_id, basis"""


def withdraw(
    tx: Tx, identity_ids: Sequence[int], channel: str, *, basis: str | None, reason: str, at: datetime
) -> list[Row]:
    """End the standing permissions of the identities on the channel (of one basis, or all): id, identity_id, basis of each."""
    values = {
        "identities": list(identity_ids), "channel": channel, "basis": basis, "reason": reason, "at": at
    }  # fmt: skip
    return tx.rows(_WITHDRAW, values)


# Rows that somebody holds are left to the next sweep: it waits for nobody.
_NOTE_EXPIRED = """
UPDATE consent c SET expiry_noted_at = %(now)s FROM identity i
 WHERE i.id = c.identity_id AND c.id IN (
       SELECT x.id FROM consent x
        WHERE x.expires_at <= %(now)s AND x.expiry_noted_at IS NULL AND x.withdrawn_at IS NULL
        ORDER BY x.expires_at LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED)
RETURNING c.id, i.person_id, c.channel, c.basis, c.expires_at"""


def note_expired(tx: Tx, *, now: datetime, limit: int) -> list[Row]:
    """Mark permissions that have run out as noted, each once: id, person_id, channel, basis, expires_at."""
    return tx.rows(_NOTE_EXPIRED, {"now": now, "limit": limit})
