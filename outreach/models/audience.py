"""What an import writes beside identities: its own row and profiles; and who of it may be contacted. No decisions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from outreach.models.base import Row, Tx, to_json
from outreach.models.identities import CHANNEL_SQL, pages


def insert_import(
    tx: Tx,
    *,
    source: str,
    file_name: str,
    file_hash: str,
    basis: str | None,
    proof: str | None,
    now: datetime,
) -> int:
    """Open an import; its id."""
    return int(
        tx.value(
            """INSERT INTO import (source, file_name, file_hash, basis, proof, at) VALUES (%s, %s, %s, %s, %s, %s) RETURNING id""",
            (source, file_name, file_hash, basis, proof, now),
        )
    )


def set_import_counts(tx: Tx, import_id: int, counts: Mapping[str, Any]) -> None:
    """Write down what the import did."""
    tx.execute("UPDATE import SET counts = %s WHERE id = %s", (to_json(counts), import_id))


def list_imports(tx: Tx, limit: int) -> list[Row]:
    """The latest imports first: id, source, file_name, basis, proof, counts, at."""
    return tx.rows(
        "SELECT id, source, file_name, basis, proof, counts, at FROM import ORDER BY id DESC LIMIT %s",
        (limit,),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileRow:
    """One record of one source: the person it is about, and what it says of them."""

    person_id: int
    source_key: str
    attributes: Mapping[str, Any]


def upsert_profiles(
    tx: Tx, profiles: Sequence[ProfileRow], source: str, import_id: int, now: datetime
) -> Counter[str]:
    """Write the records (keys are distinct). How many were `new`, `changed` and `unchanged`."""
    written = tx.insert_many(
        """INSERT INTO profile (person_id, import_id, source, source_key, attributes, created_at, updated_at) VALUES %s
           ON CONFLICT (source, source_key) DO UPDATE
              SET person_id = excluded.person_id, import_id = excluded.import_id, attributes = excluded.attributes,
                  updated_at = excluded.updated_at
            WHERE (profile.person_id, profile.attributes) IS DISTINCT FROM (excluded.person_id, excluded.attributes)
           RETURNING CASE WHEN xmax = 0 THEN 'new' ELSE 'changed' END AS done""",
        [(p.person_id, import_id, source, p.source_key, to_json(p.attributes), now, now) for p in profiles],
        returning=True,
    )
    counted = Counter(row["done"] for row in written)
    counted["unchanged"] = len(profiles) - len(written)
    return counted


def standing_suppressions(tx: Tx, hmacs: Sequence[str]) -> dict[str, str]:
    """hmac -> reason, of those identifiers that may not be contacted on any channel."""
    sql = """SELECT DISTINCT ON (hmac) hmac, reason FROM suppression
              WHERE hmac = ANY(%s) AND channel IS NULL AND lifted_at IS NULL ORDER BY hmac, id"""
    return {row["hmac"]: row["reason"] for page in pages(hmacs) for row in tx.rows(sql, (page,))}


# What stands for and against contacting identities, as far as it can be said before anything is to be sent: the gate's own
# words. `chosen`: (person_id, channel, id, status). A handle and the id it resolved to are one account.
_STANDING = """
same AS (
    SELECT c.id AS chosen_id, c.channel, c.id FROM chosen c
     UNION ALL
    SELECT c.id, c.channel, k.b FROM chosen c JOIN identity_link k ON k.a = c.id AND k.source = 'resolved' AND k.status = 'active'
     UNION ALL
    SELECT c.id, c.channel, k.a FROM chosen c JOIN identity_link k ON k.b = c.id AND k.source = 'resolved' AND k.status = 'active'),
granted AS (
    SELECT s.chosen_id, s.channel, array_agg(DISTINCT concat_ws('/', t.basis, coalesce(t.expires_at <= %(now)s, false)::text, t.account_id)
                                             ORDER BY concat_ws('/', t.basis, coalesce(t.expires_at <= %(now)s, false)::text, t.account_id)) AS bases
      FROM same s JOIN consent t ON t.identity_id = s.id AND t.channel = s.channel
     WHERE t.withdrawn_at IS NULL AND t.obtained_at <= %(now)s GROUP BY 1, 2),
stopped AS (
    SELECT x.person_id, array_agg(DISTINCT coalesce(x.channel, '') ORDER BY coalesce(x.channel, '')) AS channels
      FROM (SELECT s1.person_id, s1.channel FROM suppression s1 WHERE s1.person_id = ANY(%(ids)s) AND s1.lifted_at IS NULL
             UNION ALL
            SELECT y.person_id, s2.channel FROM identity y JOIN suppression s2 ON s2.hmac = y.hmac
             WHERE y.person_id = ANY(%(ids)s) AND s2.lifted_at IS NULL) x GROUP BY 1)"""
_KINDS = "ARRAY['twitter_id', 'twitter_handle', 'linkedin_urn', 'linkedin_member', 'linkedin_slug', 'evm_address', 'email']"
_FACTS = """p.suppressed_at IS NOT NULL AS suppressed, p.paused_at IS NOT NULL AS paused, coalesce(b.channels, '{}') AS stopped_on,
       coalesce(g.bases, '{}') AS bases"""
# The handle that enrolment would choose: the most stable kind of those that can be used, the oldest of it.
_REACH = f"""
WITH chosen AS (
    SELECT DISTINCT ON (r.person_id, r.channel) r.* FROM (
        SELECT i.person_id, {CHANNEL_SQL} AS channel, i.id, i.status, i.kind FROM identity i WHERE i.person_id = ANY(%(ids)s)) r
     WHERE r.channel IS NOT NULL
     ORDER BY r.person_id, r.channel, r.status = 'active' DESC, r.status = 'shared' DESC, array_position({_KINDS}, r.kind), r.id),
{_STANDING}
SELECT n.channel, c.status, {_FACTS}, count(*) AS persons
  FROM person p CROSS JOIN unnest(%(channels)s) AS n(channel)
  LEFT JOIN chosen c ON c.person_id = p.id AND c.channel = n.channel
  LEFT JOIN granted g ON g.chosen_id = c.id AND g.channel = n.channel
  LEFT JOIN stopped b ON b.person_id = p.id
 WHERE p.id = ANY(%(ids)s) GROUP BY 1, 2, 3, 4, 5, 6"""


def reach(tx: Tx, person_ids: Sequence[int], channels: Sequence[str], now: datetime) -> list[Row]:
    """Per channel, persons of whom the gate would say the same: status (None: no handle), suppressed, paused, stopped_on, bases
    (`basis/has ended/account`), and how many `persons` they are."""
    found: list[Row] = []
    for page in pages(person_ids):
        found += tx.rows(_REACH, {"ids": page, "now": now, "channels": list(channels)})
    return found


_EACH = f"""
WITH chosen AS (
    SELECT i.person_id, {CHANNEL_SQL} AS channel, i.id, i.status, i.shown, i.kind FROM identity i WHERE i.person_id = ANY(%(ids)s)),
{_STANDING}
SELECT c.id AS identity_id, c.shown, c.channel, c.status, {_FACTS}
  FROM chosen c JOIN person p ON p.id = c.person_id
  LEFT JOIN granted g ON g.chosen_id = c.id AND g.channel = c.channel
  LEFT JOIN stopped b ON b.person_id = p.id
 WHERE c.channel IS NOT NULL ORDER BY c.channel, c.id"""


def reach_of_each(tx: Tx, person_id: int, now: datetime) -> list[Row]:
    """The same for each identity of a person that something reaches, with its id and how it is written."""
    return tx.rows(_EACH, {"ids": [person_id], "now": now})


def channel_accounts(tx: Tx) -> list[Row]:
    """Our accounts: id, channel, dm_mode."""
    return tx.rows("SELECT id, channel, dm_mode FROM account ORDER BY id")
