"""Persons, identities and the links between them: named queries and SQL text. No decisions."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final, TypeVar

from outreach.errors import ConflictError
from outreach.models import inbound
from outreach.models.base import Row, Tx, to_json

T = TypeVar("T")

#: Advisory lock of whoever changes which identities belong to which person: imports and merges take turns.
AUDIENCE_LOCK: Final = 1003
#: Identifiers per look-up statement.
_PAGE = 10_000

#: The channel that reaches an identity `i`, in SQL. LinkedIn pages of companies and Solana addresses receive nothing.
CHANNEL_SQL: Final = """CASE
    WHEN i.kind IN ('twitter_id', 'twitter_handle') THEN 'twitter'
    WHEN i.kind IN ('linkedin_urn', 'linkedin_member') OR (i.kind = 'linkedin_slug' AND i.value LIKE 'in/%%') THEN 'linkedin'
    WHEN i.kind = 'evm_address' THEN 'xmtp'
    WHEN i.kind = 'email' THEN 'email' END"""


def pages(items: Iterable[T], size: int = _PAGE) -> Iterator[list[T]]:
    """The items in lists of at most `size`."""
    rest = iter(items)
    while page := list(islice(rest, size)):
        yield page


def lock_audience(tx: Tx, patience: float = 120.0) -> None:
    """Wait for our turn to change who is who, so many real seconds at most. Held until the transaction ends."""
    milliseconds = int(patience * 1000)
    tx.execute(f"SET LOCAL lock_timeout = {milliseconds}; SET LOCAL statement_timeout = {milliseconds}")
    tx.execute("SELECT pg_advisory_xact_lock(%s)", (AUDIENCE_LOCK,))
    # Between statements the caller computes: a large file may take longer than an idle transaction is else given.
    tx.execute(
        "SET LOCAL lock_timeout = '5s'; SET LOCAL statement_timeout = '60s';"
        " SET LOCAL idle_in_transaction_session_timeout = '120s'"
    )


# --- reading ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownIdentity:
    """An identity's row, as far as linking needs it."""

    id: int
    kind: str
    value: str
    person_id: int
    status: str
    hmac: str


def known_identities(tx: Tx, keys: Sequence[tuple[str, str]]) -> list[KnownIdentity]:
    """Those of the (kind, value) pairs that are in the database."""
    sql = """SELECT i.id, i.kind, i.value, i.person_id, i.status, i.hmac
               FROM unnest(%s::text[], %s::text[]) AS f(kind, value) JOIN identity i USING (kind, value)"""
    found = (row for page in pages(keys) for row in tx.rows(sql, tuple(map(list, zip(*page, strict=True)))))
    return [KnownIdentity(**row) for row in found]


def known_links(tx: Tx, identity_ids: Sequence[int]) -> dict[tuple[int, int], str]:
    """(a, b) -> status of every link between two of the identities."""
    members = set(identity_ids)
    sql = "SELECT a, b, status FROM identity_link WHERE a = ANY(%s)"
    found = (row for page in pages(identity_ids) for row in tx.rows(sql, (page,)))
    return {(row["a"], row["b"]): row["status"] for row in found if row["b"] in members}


def link_degrees(tx: Tx, identity_ids: Sequence[int]) -> dict[tuple[int, str], int]:
    """(identity, kind of the other end) -> number of active links."""
    sql = """SELECT e.id, o.kind, count(*) AS links
               FROM (SELECT a AS id, b AS other FROM identity_link WHERE a = ANY(%(ids)s) AND status = 'active'
                     UNION ALL
                     SELECT b, a FROM identity_link WHERE b = ANY(%(ids)s) AND status = 'active') e
               JOIN identity o ON o.id = e.other
              GROUP BY e.id, o.kind"""
    found = (row for page in pages(identity_ids) for row in tx.rows(sql, {"ids": page}))
    return {(row["id"], row["kind"]): row["links"] for row in found}


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPerson:
    """A person as the guards see one: how many identities, and the values of those kinds that one human has once."""

    id: int
    size: int
    unique: Mapping[str, str]
    suppressed: bool


def known_persons(tx: Tx, person_ids: Sequence[int], unique_kinds: Sequence[str]) -> list[KnownPerson]:
    """The persons with their sizes and unique values."""
    sql = """SELECT p.id, p.suppressed_at IS NOT NULL AS suppressed, count(i.id) AS size,
                    coalesce(jsonb_object_agg(i.kind, i.value) FILTER (WHERE i.kind = ANY(%s)), '{}') AS unique
               FROM person p LEFT JOIN identity i ON i.person_id = p.id
              WHERE p.id = ANY(%s) GROUP BY p.id"""
    found = (row for page in pages(person_ids) for row in tx.rows(sql, (list(unique_kinds), page)))
    return [KnownPerson(**row) for row in found]


# --- writing ------------------------------------------------------------------------------------------------


def take_ids(tx: Tx, table: str, count: int) -> list[int]:
    """Fresh ids of `person` or `identity`, ascending: rows that refer to each other can then be written in pages."""
    if table not in ("person", "identity"):
        raise ValueError(f"no ids for {table}")
    sql = f"SELECT nextval(pg_get_serial_sequence('{table}', 'id')) AS id FROM generate_series(1, %s)"
    return sorted(row["id"] for row in tx.rows(sql, (count,)))


def lock_persons(tx: Tx, person_ids: Iterable[int]) -> None:
    """Lock the persons by id. Raises ConflictError when one was merged or erased since it was read."""
    for page in pages(sorted(set(person_ids))):
        locked = tx.rows(
            """SELECT id, merged_into IS NULL AND erased_at IS NULL AS alive
                 FROM person WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE""",
            (page,),
        )
        if len(locked) < len(page) or not all(row["alive"] for row in locked):
            raise ConflictError("a person was merged or erased while the file was being read")


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonRow:
    """What is written of a person. `invented` False clears the mark of a known person: one real record makes them real."""

    id: int
    entity_type: str
    name: str | None
    zone: str | None
    country: str | None
    invented: bool


def insert_persons(tx: Tx, persons: Sequence[PersonRow], now: datetime) -> None:
    """Write new persons under the given ids."""
    tx.insert_many(
        """INSERT INTO person (id, entity_type, name, zone, country, invented, created_at) OVERRIDING SYSTEM VALUE VALUES %s""",
        [(p.id, p.entity_type, p.name, p.zone, p.country, p.invented, now) for p in persons],
    )


def fill_persons(tx: Tx, persons: Sequence[PersonRow]) -> None:
    """Fill what is unknown of known persons; what is known stays."""
    tx.insert_many(
        """UPDATE person p SET name = coalesce(p.name, f.name), zone = coalesce(p.zone, f.zone),
                  country = coalesce(p.country, f.country), invented = p.invented AND f.invented
             FROM (VALUES %s) AS f(id, name, zone, country, invented)
            WHERE p.id = f.id::bigint
              AND ((p.name IS NULL AND f.name IS NOT NULL) OR (p.zone IS NULL AND f.zone IS NOT NULL)
                   OR (p.country IS NULL AND f.country IS NOT NULL) OR (p.invented AND NOT f.invented))""",
        [(p.id, p.name, p.zone, p.country, p.invented) for p in persons],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityRow:
    """What is written of an identity."""

    id: int
    kind: str
    value: str
    shown: str
    hmac: str
    person_id: int


def insert_identities(
    tx: Tx, identities: Sequence[IdentityRow], import_id: int | None, now: datetime
) -> None:
    """Write new identities under the given ids. Raises ConflictError when somebody wrote one of them meanwhile."""
    written = tx.insert_many(
        """INSERT INTO identity (id, kind, value, shown, hmac, person_id, import_id, created_at) OVERRIDING SYSTEM VALUE
           VALUES %s ON CONFLICT (kind, value) DO NOTHING RETURNING id""",
        [(i.id, i.kind, i.value, i.shown, i.hmac, i.person_id, import_id, now) for i in identities],
        returning=True,
    )
    if len(written) < len(identities):
        raise ConflictError("an identity of this file was written by somebody else meanwhile")
    inbound.claim_for(tx, [row["id"] for row in written])


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRow:
    """What is written of a link; a < b."""

    a: int
    b: int
    status: str
    evidence: Mapping[str, Any]


def insert_links(tx: Tx, links: Sequence[LinkRow], source: str, import_id: int | None, now: datetime) -> None:
    """Write new links; a link that is known keeps its status: what a human has cut stays cut."""
    tx.insert_many(
        """INSERT INTO identity_link (a, b, source, evidence, status, import_id, created_at)
           VALUES %s ON CONFLICT (a, b) DO NOTHING""",
        [(k.a, k.b, source, to_json(k.evidence), k.status, import_id, now) for k in links],
    )


def insert_person_events(
    tx: Tx, events: Sequence[tuple[int, str, int | None, Mapping[str, Any]]], actor: str, now: datetime
) -> None:
    """Append (person, kind, other person, detail) to the persons' histories."""
    tx.insert_many(
        "INSERT INTO person_event (person_id, kind, other_id, actor, detail, at) VALUES %s",
        [(person, kind, other, actor, to_json(detail), now) for person, kind, other, detail in events],
    )


# --- looking people up --------------------------------------------------------------------------------------

_PERSON = """SELECT p.id, p.entity_type, p.name, p.zone, p.country, p.invented, p.suppressed_at, p.paused_at, p.merged_into
               FROM person p """


def person_by_id(tx: Tx, person_id: int) -> Row | None:
    """The person, following merges to the one they live on as."""
    row = tx.row(f"{_PERSON} WHERE p.id = %s", (person_id,))
    while row and row["merged_into"] is not None:
        row = tx.row(f"{_PERSON} WHERE p.id = %s", (row["merged_into"],))
    return row


def person_of_identity(tx: Tx, kind: str, value: str) -> Row | None:
    """The person behind a normalised identifier."""
    return tx.row(
        f"{_PERSON} JOIN identity i ON i.person_id = p.id WHERE i.kind = %s AND i.value = %s", (kind, value)
    )


def persons_named(tx: Tx, part: str, limit: int) -> list[Row]:
    """Persons whose name contains `part`, whatever its case; whole names first."""
    escaped = part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return tx.rows(
        f"""{_PERSON} WHERE p.merged_into IS NULL AND p.name ILIKE %(pattern)s
            ORDER BY lower(p.name) = lower(%(part)s) DESC, p.id LIMIT %(limit)s""",
        {"pattern": f"%{escaped}%", "part": part, "limit": limit},
    )


def next_to(tx: Tx, kind: str, value: str, few: int) -> list[Row]:
    """The identities that stand around `value` in the order of the index: person_id, value. For one who has misspelt it."""
    return tx.rows(
        """(SELECT person_id, value FROM identity WHERE kind = %(kind)s AND value < %(value)s ORDER BY value DESC LIMIT %(few)s)
           UNION ALL
           (SELECT person_id, value FROM identity WHERE kind = %(kind)s AND value > %(value)s ORDER BY value LIMIT %(few)s)""",
        {"kind": kind, "value": value, "few": few},
    )


def next_to_name(tx: Tx, name: str, few: int) -> list[Row]:
    """The same by name: person_id, and the name in lower case."""
    live = "FROM person WHERE name IS NOT NULL AND merged_into IS NULL AND lower(name)"
    return tx.rows(
        f"""(SELECT id AS person_id, lower(name) AS value {live} < %(name)s ORDER BY lower(name) DESC LIMIT %(few)s)
            UNION ALL
            (SELECT id AS person_id, lower(name) AS value {live} > %(name)s ORDER BY lower(name) LIMIT %(few)s)""",
        {"name": name.lower(), "few": few},
    )


def identities_of(tx: Tx, person_ids: Sequence[int]) -> list[Row]:
    """The identities of the persons: id, kind, value, shown, status, person_id, created_at."""
    return tx.rows(
        "SELECT id, kind, value, shown, status, person_id, created_at FROM identity WHERE person_id = ANY(%s) ORDER BY id",
        (list(person_ids),),
    )


def links_among(tx: Tx, person_ids: Sequence[int]) -> list[Row]:
    """The links, of any status, between identities of the persons."""
    return tx.rows(
        """SELECT l.id, l.a, l.b, l.source, l.evidence, l.status, l.created_at
             FROM identity_link l JOIN identity i ON i.id = l.a JOIN identity j ON j.id = l.b
            WHERE i.person_id = ANY(%(ids)s) AND j.person_id = ANY(%(ids)s) ORDER BY l.id""",
        {"ids": list(person_ids)},
    )


def open_proposals(tx: Tx, limit: int) -> list[Row]:
    """Links that would join two persons and wait for a human: id, source, created_at and both ends (identity, person)."""
    return tx.rows(
        """SELECT l.id, l.source, l.evidence, l.created_at, i.id AS identity_a, i.shown AS shown_a, i.person_id AS person_a,
                  j.id AS identity_b, j.shown AS shown_b, j.person_id AS person_b
             FROM identity_link l JOIN identity i ON i.id = l.a JOIN identity j ON j.id = l.b
            WHERE l.status = 'proposed' AND i.person_id <> j.person_id ORDER BY l.id LIMIT %s""",
        (limit,),
    )


def hubs(tx: Tx, limit: int) -> list[Row]:
    """The most connected identities: id, kind, shown, person_id, number of active and of held links."""
    return tx.rows(
        """SELECT i.id, i.kind, i.shown, i.person_id, d.active, d.held
             FROM (SELECT e.id, count(*) FILTER (WHERE e.status = 'active') AS active,
                          count(*) FILTER (WHERE e.status LIKE 'held%%') AS held
                     FROM (SELECT a AS id, status FROM identity_link UNION ALL SELECT b, status FROM identity_link) e
                    GROUP BY e.id ORDER BY count(*) DESC, e.id LIMIT %s) d
             JOIN identity i ON i.id = d.id ORDER BY d.active + d.held DESC, i.id""",
        (limit,),
    )
