"""PURE: what the columns of a file mean, and what one record says of a person. Values in, values out."""

import json
import re
import shlex
import zoneinfo
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Any

from outreach.audience.formulas import is_formula, readings
from outreach.audience.identifiers import (
    READERS,
    Identifier,
    IdentityKind,
    Rejected,
    is_placeholder,
    normalise,
)
from outreach.audience.reading import Record
from outreach.engine.suggest import nearest
from outreach.errors import UsageError
from outreach.ids import digest

#: Columns that say something of the person; every other column becomes an attribute under its own name.
PERSON_FIELDS = ("name", "zone", "country", "entity_type", "invented")
FIELDS = (*READERS, *PERSON_FIELDS, "key", "ignore")
#: A column that is kept under another name, which a template can speak: `--map Firma=attribute.company`.
_ATTRIBUTE = re.compile(r"attribute\.([a-z_][a-z0-9_]{0,62})")
#: Other usual names of the same columns, in lower case with `_` for blanks and hyphens.
ALIASES = {
    "x": "twitter",
    "handle": "twitter",
    "screen_name": "twitter",
    "twitter_url": "twitter",
    "x_handle": "twitter",
    "x_id": "twitter_id",
    "e_mail": "email",
    "mail": "email",
    "email_address": "email",
    "wallet": "address",
    "wallet_address": "address",
    "eth_address": "evm_address",
    "ethereum_address": "evm_address",
    "sol_address": "solana_address",
    "linkedin_url": "linkedin",
    "full_name": "name",
    "timezone": "zone",
    "time_zone": "zone",
    "tz": "zone",
    "country_code": "country",
}
_STRENGTH = {kind: rank for rank, kind in enumerate(IdentityKind)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One record, understood. `identifiers` are distinct, strongest first; `key` is the same whenever it is imported again."""

    line: int
    identifiers: tuple[Identifier, ...]
    key: str
    attributes: Mapping[str, Any]
    name: str | None = None
    zone: str | None = None
    country: str | None = None
    entity_type: str = "person"
    invented: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """What was left out: a cell, or where `column` is empty the whole row."""

    line: int
    reason: str
    column: str = ""
    value: str = ""
    hint: str | None = None


# --- columns ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Columns:
    """What each column means: the user's word first, then the column's name."""

    overrides: Mapping[str, str]

    def field_of(self, column: str) -> str | None:
        """The field of a column; None: an attribute."""
        return self.overrides.get(column) or _usual_field(column)

    def require(self, columns: Sequence[str]) -> None:
        """Raises UsageError when a mapped column is not there, or when no column can identify anybody."""
        for column in self.overrides:
            if column not in columns:
                raise UsageError(
                    f"there is no column {column!r} to map",
                    hint=_guess(column, columns) or f"there are: {', '.join(columns)}",
                )
        if not any(self.field_of(c) in READERS for c in columns):
            raise UsageError(
                f"no column identifies anybody; the first line has: {shortened(', '.join(columns))}",
                hint=f"{_misspelt(columns)}known are {', '.join(READERS)}; another name is given by --map COLUMN=FIELD",
            )


@lru_cache(maxsize=4096)
def _usual_field(column: str) -> str | None:
    plain = re.sub(r"[\s-]+", "_", column.strip().lower())
    return ALIASES.get(plain) or (plain if plain in FIELDS else None)


def parse_columns(mappings: Sequence[str]) -> Columns:
    """`COLUMN=FIELD` words of the command line. Raises UsageError for a field that does not exist."""
    overrides = {}
    for mapping in mappings:
        column, equals, field = mapping.rpartition("=")
        if not equals or (field not in FIELDS and not _ATTRIBUTE.fullmatch(field)):
            raise UsageError(
                f"--map {mapping}: no such field",
                hint=_guess(field, FIELDS) or f"fields: {', '.join(FIELDS)}, attribute.NAME",
            )
        overrides[column] = field
    return Columns(overrides)


def _misspelt(columns: Sequence[str]) -> str:
    """What the columns may have been meant for; without a guess, the header may be missing."""
    known = {**{name: name for name in READERS}, **{a: f for a, f in ALIASES.items() if f in READERS}}
    guesses = [(column, nearest(column, known)) for column in columns]
    said = [f"--map {shlex.quote(column)}={known[guess]}" for column, guess in guesses if guess]
    return f"did you mean {' '.join(said)}? " if said else "is the header missing? "


def _guess(word: str, words: Sequence[str]) -> str | None:
    guess = nearest(word, words)
    return f"did you mean {guess}?" if guess else None


# --- rows ---------------------------------------------------------------------------------------------------


def read_row(record: Record, columns: Columns) -> tuple[Row | None, list[Reject]]:
    """The row, and what had to be left out of it. No row: nothing in it identifies anybody."""
    if why := unstorable(record.cells):
        return None, [Reject(line=record.line, reason=why)]
    rejects: list[Reject] = []
    identifiers: list[Identifier] = []
    person: dict[str, Any] = {}
    attributes: dict[str, Any] = {}
    for column, cell in record.cells.items():
        field = columns.field_of(column)
        renamed = _ATTRIBUTE.fullmatch(field or "")
        if field is None or renamed:
            value = readings(cell)[0] if isinstance(cell, str) else cell
            attributes.update({renamed[1] if renamed else column: value} if value not in (None, "") else {})
            continue
        for text in _texts(field, cell):
            read = read_cell(field, text)
            if isinstance(read, Rejected):
                rejects.append(
                    Reject(
                        line=record.line,
                        column=column,
                        value=shortened(text),
                        reason=read.reason,
                        hint=read.hint,
                    )
                )
            elif isinstance(read, Identifier):
                identifiers.append(read)
            else:
                person[field] = read
    if not identifiers:
        return None, [*rejects, Reject(line=record.line, reason="nothing in this row identifies anybody")]
    return _row(record.line, identifiers, person, attributes), rejects


def read_cell(field: str, text: str) -> Identifier | Rejected | str | bool:
    """One value of a cell. A link's text and its address may both name somebody; then they name the same."""
    read_one = _READ_CELL.get(field, _identify(field))
    words = readings(text)
    if field not in READERS:
        return read_one(words[0])
    found = [read_one(word) for word in words]
    named = {(i.kind, i.value): i for i in reversed(found) if isinstance(i, Identifier)}
    if len(named) > 1:
        return Rejected("a link whose text names one and whose address another", "keep one of the two")
    if named:
        return next(iter(named.values()))
    if is_formula(text):
        return Rejected(
            "a spreadsheet formula", "export the sheet's values: paste them as values, then save as CSV"
        )
    return found[0]


def _row(line: int, identifiers: list[Identifier], person: dict[str, Any], attributes: dict[str, Any]) -> Row:
    person.pop("ignore", None)
    distinct = {(i.kind, i.value): i for i in reversed(identifiers)}
    ranked = tuple(sorted(distinct.values(), key=lambda i: (_STRENGTH[i.kind], i.value)))
    # Without a key of its own a record is known by what it identifies: edited attributes update it in place.
    key = person.pop("key", None) or digest("\x1f".join(f"{i.kind}:{i.value}" for i in ranked))
    return Row(line=line, identifiers=ranked, key=key, attributes=attributes, **person)


def _texts(field: str, cell: Any) -> Iterator[str]:
    """The cell's values as text: JSON may hold numbers, or a list. Blank ones are nothing, as is `n/a` for an identifier."""
    for value in cell if isinstance(cell, list) else [cell]:
        text = value if isinstance(value, str) else "" if value is None else str(value)
        nothing = not text.strip() or (field in READERS and not text.startswith("@") and is_placeholder(text))
        if not nothing:
            yield text


_ZERO = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def unstorable(cells: Mapping[str, Any]) -> str | None:
    """Why the database would refuse something in here."""
    try:
        text = json.dumps(cells, ensure_ascii=False, allow_nan=False)
        text.encode()
    except UnicodeEncodeError:
        return "half of a surrogate pair in a cell"
    except ValueError:
        return "a number that no database can hold"
    return "a zero character in a cell" if _ZERO.search(text) else None


def shortened(text: str, limit: int = 120) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


# --- cells --------------------------------------------------------------------------------------------------


def _identify(field: str) -> Callable[[str], Identifier | Rejected]:
    return lambda text: normalise(field, text)


@cache
def _zones() -> Mapping[str, str]:
    return {zone.lower(): zone for zone in zoneinfo.available_timezones()}


def _read_zone(text: str) -> str | Rejected:
    plain = text.strip().replace(" ", "_")
    return _zones().get(plain.lower()) or Rejected(
        "not a time zone", _guess(plain, list(_zones().values())) or "as in Europe/Berlin"
    )


@cache
def countries() -> Mapping[str, str]:
    """ISO 3166 codes, and the names that the time zone database gives them, in lower case -> code."""
    table = resources.files("tzdata").joinpath("zoneinfo/iso3166.tab").read_text(encoding="utf-8")
    lines = [line.split("\t") for line in table.splitlines() if line and not line.startswith("#")]
    return {"uk": "GB", "united kingdom": "GB"} | {
        word.lower(): code for code, name in lines for word in (code, name)
    }


def _read_country(text: str) -> str | Rejected:
    return countries().get(text.strip().lower()) or Rejected(
        "not a country", "two letters, as in DE (ISO 3166)"
    )


_ENTITY_TYPES = {
    "person": "person",
    "human": "person",
    "individual": "person",
    "organisation": "organisation",
    "organization": "organisation",
    "company": "organisation",
    "org": "organisation",
}


def _read_entity_type(text: str) -> str | Rejected:
    return _ENTITY_TYPES.get(text.strip().lower()) or Rejected("neither person nor organisation")


_FLAGS = {
    "true": True,
    "yes": True,
    "y": True,
    "1": True,
    "false": False,
    "no": False,
    "n": False,
    "0": False,
}


def _read_flag(text: str) -> bool | Rejected:
    flag = _FLAGS.get(text.strip().lower())
    return Rejected("neither true nor false") if flag is None else flag


_READ_CELL: dict[str, Callable[[str], Identifier | Rejected | str | bool]] = {
    "name": lambda text: text,
    "key": lambda text: text.strip(),
    "ignore": lambda text: text,
    "zone": _read_zone,
    "country": _read_country,
    "entity_type": _read_entity_type,
    "invented": _read_flag,
}
