"""Which peppers and keys this database has met, and which it needs: what is stored says what it was stored under. No secrets here."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from outreach.models.base import Row, Tx
from outreach.models.identities import pages

#: Held, for an instant, by whoever learns a secret, or moves digests to another pepper; shared by those who look for digests.
KEYS_LOCK = 1014
_SEALED = """
SELECT s.* FROM (
    SELECT 'account' AS of, 'access_token' AS field, a.id, a.name, a.channel || '/' || a.external_id AS "row", a.access_token AS sealed FROM account a
     WHERE a.access_token <> ''
     UNION ALL
    SELECT 'account', 'refresh_token', a.id, a.name, a.channel || '/' || a.external_id, a.refresh_token FROM account a
     WHERE a.refresh_token IS NOT NULL
     UNION ALL
    SELECT 'app', 'client_secret', b.id, b.name, b.name, b.client_secret FROM app b WHERE b.client_secret IS NOT NULL
     UNION ALL
    SELECT 'app', 'consumer_secret', b.id, b.name, b.name, b.consumer_secret FROM app b WHERE b.consumer_secret IS NOT NULL
     UNION ALL
    SELECT 'sequence_entry', 'secret', e.id, q.name || '/' || e.name, e.sequence_id || '/' || e.name, e.secret
      FROM sequence_entry e JOIN sequence q ON q.id = e.sequence_id WHERE e.secret IS NOT NULL) s"""
#: From pepper to pepper along the index, whatever the table holds: a digest is hexadecimal, and the next pepper's come after `g`.
_PEPPERS = """
WITH RECURSIVE used (pepper) AS (
    (SELECT left(x.hmac, 8) FROM {table} x WHERE {condition} ORDER BY x.hmac LIMIT 1)
     UNION
    SELECT (SELECT left(x.hmac, 8) FROM {table} x WHERE {condition} AND x.hmac >= u.pepper || 'g' ORDER BY x.hmac LIMIT 1)
      FROM used u WHERE u.pepper IS NOT NULL)
SELECT pepper FROM used WHERE pepper IS NOT NULL LIMIT 20"""
_IN_IDENTITY = _PEPPERS.format(table="identity", condition="true")
_IN_SUPPRESSION = _PEPPERS.format(table="suppression", condition="x.hmac IS NOT NULL AND x.lifted_at IS NULL")


def met(tx: Tx) -> list[Row]:
    """What was learnt so far: kind (pepper or key), id, known_since, given_up_at; the oldest first."""
    return tx.rows("SELECT kind, id, known_since, given_up_at FROM key_check ORDER BY known_since, kind, id")


def lock(tx: Tx) -> None:
    """Nobody else learns a secret, moves a digest or looks for one until this transaction ends. May wait for an import."""
    tx.execute("SET LOCAL lock_timeout = '120s'; SET LOCAL statement_timeout = '150s'")
    tx.execute("SELECT pg_advisory_xact_lock(%s)", (KEYS_LOCK,))


def learn(tx: Tx, kind: str, ids: Sequence[str], now: datetime) -> None:
    """Of the ring of a process."""
    tx.insert_many(
        "INSERT INTO key_check (kind, id, known_since) VALUES %s ON CONFLICT DO NOTHING",
        [(kind, id_, now) for id_ in ids],
    )


def give_up(tx: Tx, kind: str, id_: str, now: datetime) -> None:
    """It is lost: what it stands before is lost, too, and nobody asks for it any more."""
    tx.execute(
        "INSERT INTO key_check (kind, id, known_since, given_up_at) VALUES (%(kind)s, %(id)s, %(now)s, %(now)s)"
        " ON CONFLICT (kind, id) DO UPDATE SET given_up_at = excluded.given_up_at",
        {"kind": kind, "id": id_, "now": now},
    )


# --- credentials -----------------------------------------------------------------------------------------------------


def keys_in_use(tx: Tx) -> dict[str, list[Row]]:
    """Key id -> what is sealed under it: of (the table), field, name."""
    found: dict[str, list[Row]] = {}
    for row in tx.rows(f"SELECT split_part(s.sealed, ':', 2) AS key, s.of, s.field, s.name FROM ({_SEALED}) s ORDER BY s.of, s.name, s.field"):  # fmt: skip
        found.setdefault(row.pop("key"), []).append(row)
    return found


def sealed_otherwise(tx: Tx, key_id: str, after: tuple[str, int, str], limit: int) -> list[Row]:
    """Credentials under another key than this, behind `after` (of, id, field): of, field, id, name, row, sealed."""
    return tx.rows(
        f"SELECT s.* FROM ({_SEALED}) s WHERE split_part(s.sealed, ':', 2) <> %s AND (s.of, s.id, s.field) > (%s, %s, %s)"
        " ORDER BY s.of, s.id, s.field LIMIT %s",
        (key_id, *after, limit),
    )


_REPLACE = {
    ("account", "access_token"): "UPDATE account SET access_token = %(new)s WHERE id = %(id)s AND access_token = %(old)s",
    ("account", "refresh_token"): "UPDATE account SET refresh_token = %(new)s WHERE id = %(id)s AND refresh_token = %(old)s",
    ("app", "client_secret"): "UPDATE app SET client_secret = %(new)s WHERE id = %(id)s AND client_secret = %(old)s",
    ("sequence_entry", "secret"): "UPDATE sequence_entry SET secret = %(new)s WHERE id = %(id)s AND secret = %(old)s",
    ("app", "consumer_secret"): "UPDATE app SET consumer_secret = %(new)s WHERE id = %(id)s AND consumer_secret = %(old)s",
}  # fmt: skip


def replace_sealed(tx: Tx, row: Mapping[str, object], sealed: str) -> bool:
    """The same credential under another key. `row`: as sealed_otherwise gave it. False: somebody wrote a newer one meanwhile."""
    values = {"id": row["id"], "old": row["sealed"], "new": sealed}
    return bool(tx.execute(_REPLACE[str(row["of"]), str(row["field"])], values))


# --- digests ---------------------------------------------------------------------------------------------------------


def peppers_in_use(tx: Tx) -> set[str]:
    """Ids of the peppers under which somebody is remembered: an identity, or a standing entry of the do-not-contact list."""
    return {row["pepper"] for sql in (_IN_IDENTITY, _IN_SUPPRESSION) for row in tx.rows(sql)}


def stored_among(tx: Tx, digests: Sequence[str]) -> set[str]:
    """Those of the digests that an identity or a standing suppression carries. Digests are not moved until this transaction ends."""
    tx.execute("SELECT pg_advisory_xact_lock_shared(%s)", (KEYS_LOCK,))
    sql = """SELECT hmac FROM identity WHERE hmac = ANY(%s) UNION
             SELECT hmac FROM suppression WHERE hmac = ANY(%s) AND lifted_at IS NULL"""
    return {row["hmac"] for page in pages(digests) for row in tx.rows(sql, (page, page))}


#: Of an erased person the digest is all there is.
_KNOWN = "NOT starts_with(i.value, 'erased:')"


def digested_otherwise(tx: Tx, pepper_id: str, after: int, limit: int) -> list[Row]:
    """Identities behind `after` whose words we have and whose digest is under another pepper: id, kind, value, hmac, person_id."""
    return tx.rows(
        f"SELECT i.id, i.kind, i.value, i.hmac, i.person_id FROM identity i WHERE i.id > %s AND left(i.hmac, 8) <> %s AND {_KNOWN}"
        " ORDER BY i.id LIMIT %s",
        (after, pepper_id, limit),
    )


def move_digests(tx: Tx, person_ids: Sequence[int], moves: Mapping[str, str]) -> None:
    """Old digest -> new one, wherever it stands: identities, also of the erased, and standing suppressions."""
    tx.execute("SELECT 1 FROM person WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE", (list(person_ids),))
    values = (list(moves), list(moves.values()))
    tx.execute(
        "UPDATE identity i SET hmac = q.new FROM unnest(%s::text[], %s::text[]) q (old, new) WHERE i.hmac = q.old",
        values,
    )
    tx.execute(
        "UPDATE suppression s SET hmac = q.new FROM unnest(%s::text[], %s::text[]) q (old, new)"
        " WHERE s.hmac = q.old AND s.lifted_at IS NULL",
        values,
    )


def digests_by_pepper(tx: Tx) -> list[Row]:
    """Pepper by pepper: how many `identities`; how many of them are `erased`; and `unknown`: standing entries of the do-not-contact
    list for identifiers whose words we do not have. The last two stay bound to their pepper. Reads both tables."""
    tx.execute("SET LOCAL statement_timeout = '300s'")
    return tx.rows(
        f"""
        SELECT pepper, sum(identities)::int AS identities, sum(erased)::int AS erased, sum(unknown)::int AS unknown
          FROM (SELECT left(i.hmac, 8) AS pepper, count(*) AS identities, count(*) FILTER (WHERE NOT ({_KNOWN})) AS erased, 0 AS unknown
                  FROM identity i GROUP BY 1
                 UNION ALL
                SELECT left(s.hmac, 8), 0, 0, count(*) FROM suppression s
                 WHERE s.hmac IS NOT NULL AND s.lifted_at IS NULL
                   AND NOT EXISTS (SELECT 1 FROM identity i WHERE i.hmac = s.hmac) GROUP BY 1) x
         GROUP BY pepper ORDER BY pepper"""
    )
