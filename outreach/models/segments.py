"""Segments: conditions on persons as values, their SQL, and the frozen lists. Users' words become parameters, never SQL."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from outreach.models.base import Row, Tx, to_json
from outreach.models.identities import CHANNEL_SQL

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "in", "not in", "contains", "exists"]


@dataclass(frozen=True, slots=True)
class Test:
    """One field against values. `exists` has none, `in` and `not in` have one or more, all others exactly one."""

    #: pytest is not to take this for a test case
    __test__ = False

    field: str
    operator: Operator
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Not:
    """The contrary. Every condition is true or false of every person, never unknown, so this is the rest of them."""

    condition: "Condition"


@dataclass(frozen=True, slots=True)
class All:
    """Every one of the conditions. None: everybody."""

    conditions: "tuple[Condition, ...]"


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of the conditions."""

    conditions: "tuple[Condition, ...]"


Condition = Test | Not | All | AnyOf

# --- fields: a whitelist ------------------------------------------------------------------------------------

_PERSON: Final = {"name": "p.name", "zone": "p.zone", "country": "p.country", "entity_type": "p.entity_type"}
_PROFILE: Final = {"source": "f.source", "import": "f.import_id::text"}
_KINDS: Final = (
    "twitter_id", "twitter_handle", "email", "evm_address", "solana_address", "linkedin_slug", "linkedin_urn",
    "linkedin_member",
)  # fmt: skip
_CHANNELS: Final = ("twitter", "linkedin", "xmtp")
#: Every field but `attribute.NAME`; a field with the values it can have, where these are few.
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys((*_PERSON, *_PROFILE, *_KINDS, *_CHANNELS, "segment"), ()),
    "entity_type": ("person", "organisation"),
    "invented": ("true", "false"),
    "basis": ("consent", "opt_in", "existing_customer", "legitimate_interest", "inbound"),
}
#: Fields of which it can only be asked whether there is one.
EXISTS_ONLY: Final = frozenset(_CHANNELS)
ATTRIBUTE: Final = "attribute."

_COMPARE: Final[Mapping[str, str]] = {
    "=": "{x} = %s",
    "in": "{x} = ANY(%s)",
    "contains": "{x} ILIKE %s",
    "exists": "{x} IS NOT NULL",
}
#: A number, as far as text may be one; anything else compares to nothing.
_NUMBER: Final = "CASE WHEN {x} ~ '^[+-]?[0-9]{{1,30}}([.][0-9]{{1,30}})?$' THEN ({x})::numeric END"


#: Where a person's rows are found: by the plan that suits everybody, or, for a few persons, always from the person. A plan for
#: few that is made while the tables are unknown reads whole indexes for each of them; OFFSET 0 keeps it from that.
_ROWS: Final[Mapping[str, tuple[str, str]]] = {
    "@profile": (
        "profile f WHERE f.person_id = p.id",
        "(SELECT * FROM profile o WHERE o.person_id = p.id OFFSET 0) f WHERE true",
    ),
    "@identity": (
        "identity i WHERE i.person_id = p.id",
        "(SELECT * FROM identity o WHERE o.person_id = p.id OFFSET 0) i WHERE true",
    ),
    "@consent": (
        "identity i JOIN consent c ON c.identity_id = i.id WHERE i.person_id = p.id",
        "(SELECT * FROM identity o WHERE o.person_id = p.id OFFSET 0) i"
        " CROSS JOIN LATERAL (SELECT * FROM consent o WHERE o.identity_id = i.id OFFSET 0) c WHERE true",
    ),
    "@member": (
        "segment_member m JOIN segment s ON s.id = m.segment_id JOIN person q ON q.id = m.person_id"
        " WHERE p.id IN (q.id, q.merged_into)",
        # Who was in the list under a person that has become part of this one is found by the list's own enrolment.
        "segment s CROSS JOIN LATERAL (SELECT 1 FROM segment_member o WHERE o.segment_id = s.id AND o.person_id = p.id OFFSET 0) m"
        " WHERE true",
    ),
}


def condition_sql(condition: Condition, *, of_few: bool = False) -> tuple[str, list[Any]]:
    """An SQL expression over `person p` that is true or false, with its parameters. `of_few`: it is asked of few persons."""
    sql, params = _condition_sql(condition)
    for place, (of_all, of_each) in _ROWS.items():
        sql = sql.replace(place, of_each if of_few else of_all)
    return sql, params


def _condition_sql(condition: Condition) -> tuple[str, list[Any]]:
    match condition:
        case Test():
            return _test_sql(condition)
        case Not(inner):
            sql, params = _condition_sql(inner)
            return f"NOT ({sql})", params
        case All(conditions):
            return _joined(" AND ", conditions, "true")
        case AnyOf(conditions):
            return _joined(" OR ", conditions, "false")


def _joined(word: str, conditions: Sequence[Condition], nothing: str) -> tuple[str, list[Any]]:
    parts = [_condition_sql(c) for c in conditions]
    return word.join(f"({sql})" for sql, _ in parts) or nothing, [p for _, params in parts for p in params]


def _test_sql(test: Test) -> tuple[str, list[Any]]:
    """`!=` and `not in` are the contrary of `=` and `in`: also true of those of whom nothing is known."""
    contrary: dict[str, Operator] = {"!=": "=", "not in": "in"}
    if test.operator in contrary:
        return _condition_sql(Not(Test(test.field, contrary[test.operator], test.values)))
    compare, params = _compare(test)
    return _place(test.field)(test.field, compare, params)


def _compare(test: Test) -> tuple[str, list[Any]]:
    """The comparison of a text `{x}`, true, false or NULL, and its parameters."""
    if test.operator in ("<", "<=", ">", ">="):
        return f"{_NUMBER} {test.operator} %s::numeric", [test.values[0]]
    if test.operator == "in":
        return _COMPARE["in"], [list(test.values)]
    if test.operator == "contains":
        escaped = test.values[0].replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        return _COMPARE["contains"], [f"%{escaped}%"]
    return _COMPARE[test.operator], list(test.values)


Placed = Callable[[str, str, list[Any]], tuple[str, list[Any]]]


def _place(field: str) -> Placed:
    """Where a field's text stands, and how its comparison becomes a statement about the person. KeyError: no such field."""
    if field.startswith(ATTRIBUTE):
        return _attribute
    if field in _PERSON:
        return lambda f, compare, params: (f"coalesce({compare.format(x=_PERSON[f])}, false)", params)
    if field in _PROFILE:
        return lambda f, compare, params: (_of_profile(compare.format(x=_PROFILE[f])), params)
    if field in _KINDS:
        return lambda f, compare, params: (
            _of_identity(f"i.kind = '{f}' AND {compare.format(x='i.value')}"),
            params,
        )
    if field in _CHANNELS:
        return lambda f, _compare, _params: (
            _of_identity(f"i.status <> 'blocked' AND {CHANNEL_SQL} = '{f}'"),
            [],
        )
    return {"invented": _invented, "basis": _basis, "segment": _segment}[field]


def _attribute(field: str, compare: str, params: list[Any]) -> tuple[str, list[Any]]:
    name = field.removeprefix(ATTRIBUTE)
    return _of_profile(compare.format(x="(f.attributes ->> %s)")), [name] * compare.count("{x}") + params


def _invented(_field: str, compare: str, params: list[Any]) -> tuple[str, list[Any]]:
    return compare.format(x="p.invented::text"), params


def _basis(_field: str, compare: str, params: list[Any]) -> tuple[str, list[Any]]:
    return (
        f"EXISTS (SELECT 1 FROM @consent AND c.withdrawn_at IS NULL AND {compare.format(x='c.basis')})",
        params,
    )


def _segment(_field: str, compare: str, params: list[Any]) -> tuple[str, list[Any]]:
    return f"EXISTS (SELECT 1 FROM @member AND {compare.format(x='s.name')})", params


def _of_profile(sql: str) -> str:
    return f"EXISTS (SELECT 1 FROM @profile AND {sql})"


def _of_identity(sql: str) -> str:
    return f"EXISTS (SELECT 1 FROM @identity AND {sql})"


# --- the frozen lists ---------------------------------------------------------------------------------------

_KEPT_OUT: Final = """CASE
    WHEN p.erased_at IS NOT NULL THEN 'erased'
    WHEN p.suppressed_at IS NOT NULL THEN 'suppressed'
    WHEN EXISTS (SELECT 1 FROM identity i JOIN suppression x ON x.hmac = i.hmac
                  WHERE i.person_id = p.id AND x.channel IS NULL AND x.lifted_at IS NULL) THEN 'suppressed' END"""


def insert_segment(tx: Tx, name: str, definition: Mapping[str, Any], now: datetime) -> int | None:
    """A new segment's id; None: the name is taken."""
    found: int | None = tx.value(
        """INSERT INTO segment (name, definition, built_at) VALUES (%s, %s, %s)
           ON CONFLICT (name) DO NOTHING RETURNING id""",
        (name, to_json(definition), now),
    )
    return found


def freeze_members(tx: Tx, segment_id: int, condition: Condition) -> dict[str, int]:
    """Write down whom the condition holds for now. `members`, and per reason how many it holds for are kept out."""
    sql, params = condition_sql(condition)
    rows = tx.rows(
        f"""WITH matched AS (SELECT p.id, {_KEPT_OUT} AS reason FROM person p WHERE p.merged_into IS NULL AND ({sql})),
                 kept AS (INSERT INTO segment_member (segment_id, person_id)
                          SELECT %s, id FROM matched WHERE reason IS NULL)
            SELECT coalesce(reason, 'members') AS reason, count(*) AS persons FROM matched GROUP BY 1""",
        [*params, segment_id],
    )
    return {"members": 0} | {row["reason"]: row["persons"] for row in rows}


def set_counts(tx: Tx, segment_id: int, counts: Mapping[str, int]) -> None:
    """Write down the counts of freezing."""
    tx.execute("UPDATE segment SET counts = %s WHERE id = %s", (to_json(counts), segment_id))


def list_segments(tx: Tx) -> list[Row]:
    """Every segment: id, name, definition, counts, built_at; the newest first."""
    return tx.rows("SELECT id, name, definition, counts, built_at FROM segment ORDER BY id DESC")


def segment_named(tx: Tx, name: str) -> Row | None:
    """The segment of that name."""
    return tx.row("SELECT id, name, definition, counts, built_at FROM segment WHERE name = %s", (name,))


def members(tx: Tx, segment_id: int, limit: int) -> list[Row]:
    """The first members as they are now: id, name, country, zone, invented, suppressed, merged_into."""
    return tx.rows(
        """SELECT p.id, p.name, p.country, p.zone, p.invented, p.suppressed_at IS NOT NULL AS suppressed, p.merged_into
             FROM segment_member m JOIN person p ON p.id = m.person_id
            WHERE m.segment_id = %s ORDER BY p.id LIMIT %s""",
        (segment_id, limit),
    )
