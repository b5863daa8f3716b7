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


_REACH = f"""
WITH reached AS (
    SELECT i.person_id, {CHANNEL_SQL} AS channel,
           bool_or(EXISTS (SELECT 1 FROM suppression x WHERE x.hmac = i.hmac AND x.lifted_at IS NULL
                             AND (x.channel IS NULL OR x.channel = {CHANNEL_SQL}))) AS stopped,
           bool_or(c.basis IS NOT NULL) AS basis, bool_or(c.basis IN ('inbound', 'opt_in')) AS invited
      FROM identity i
      LEFT JOIN consent c ON c.identity_id = i.id AND c.channel = {CHANNEL_SQL} AND c.withdrawn_at IS NULL
                         AND c.obtained_at <= %(now)s AND (c.expires_at IS NULL OR c.expires_at > %(now)s)
     WHERE i.person_id = ANY(%(ids)s) AND i.status IN ('active', 'shared')
     GROUP BY 1, 2)
SELECT n.channel, count(*) AS persons, CASE
         WHEN r.channel IS NULL THEN 'no_identifier'
         WHEN p.suppressed_at IS NOT NULL OR r.stopped OR EXISTS (
              SELECT 1 FROM suppression x WHERE x.person_id = p.id AND x.lifted_at IS NULL
                 AND (x.channel IS NULL OR x.channel = n.channel)) THEN 'suppressed'
         WHEN p.paused_at IS NOT NULL THEN 'paused'
         WHEN n.channel = 'twitter' AND r.invited IS NOT TRUE THEN 'waits_for_human'
         WHEN r.basis IS NOT TRUE THEN 'no_basis'
         ELSE 'may_contact' END AS verdict
  FROM person p CROSS JOIN unnest(ARRAY['twitter', 'linkedin', 'xmtp', 'email']) AS n(channel)
  LEFT JOIN reached r ON r.person_id = p.id AND r.channel = n.channel
 WHERE p.id = ANY(%(ids)s) GROUP BY n.channel, verdict"""


def reach(tx: Tx, person_ids: Sequence[int], now: datetime) -> dict[str, Counter[str]]:
    """Per channel, how many of the persons may be contacted, and why the others may not.

    A first look, not a permission: the gate judges every send anew. Twitter wants them to have written first, or an
    opt-in; else the message `waits_for_human`.
    """
    counts: dict[str, Counter[str]] = {
        channel: Counter() for channel in ("twitter", "linkedin", "xmtp", "email")
    }
    for page in pages(person_ids):
        for row in tx.rows(_REACH, {"ids": page, "now": now}):
            counts[row["channel"]][row["verdict"]] += row["persons"]
    return counts
