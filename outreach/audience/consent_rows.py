"""PURE: what the columns of a list of permissions mean, and what one row of it says. Values in, values out."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from outreach.audience.formulas import is_formula, readings
from outreach.audience.identifiers import Identifier, Rejected, is_placeholder, recognise
from outreach.audience.reading import Record
from outreach.audience.rows import Reject, countries, read_cell, shortened, unstorable
from outreach.engine.suggest import nearest
from outreach.errors import UsageError

#: What the user may claim; `inbound` is recorded by the engine alone, when somebody writes to us.
BASES = ("consent", "opt_in", "existing_customer", "legitimate_interest")
FIELDS = ("identifier", "channel", "basis", "source", "obtained_at", "proof", "country", "expiry", "ignore")
#: Columns that a file must have.
REQUIRED = ("identifier", "basis", "source", "obtained_at", "proof")
_ALIASES = {
    "email": "identifier",
    "mail": "identifier",
    "e_mail": "identifier",
    "handle": "identifier",
    "twitter": "identifier",
    "linkedin": "identifier",
    "wallet": "identifier",
    "obtained": "obtained_at",
    "date": "obtained_at",
    "consent_date": "obtained_at",
    "country_code": "country",
    "expires": "expiry",
    "expires_at": "expiry",
    "valid_until": "expiry",
}
#: How an identifier of a channel is spelt where the row names the channel.
_SPELT = {"twitter": "twitter", "email": "email", "linkedin": "linkedin", "xmtp": "evm_address"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentRow:
    """One permission, understood."""

    line: int
    identifier: Identifier
    channel: str
    basis: str
    source: str
    proof: str
    country: str | None
    obtained_at: datetime
    expires_at: datetime | None


# --- columns ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Columns:
    """What each column means: the user's word first, then the column's name."""

    overrides: Mapping[str, str]

    @classmethod
    def of(cls, mappings: Sequence[str]) -> "Columns":
        """`COLUMN=FIELD` words. Raises UsageError for a field that does not exist."""
        overrides = {}
        for mapping in mappings:
            column, equals, name = mapping.rpartition("=")
            if not equals or name not in FIELDS:
                guess = nearest(name, FIELDS)
                hint = f"did you mean {guess}?" if guess else f"fields: {', '.join(FIELDS)}"
                raise UsageError(f"--map {mapping}: no such field", hint=hint)
            overrides[column] = name
        return cls(overrides)

    def field_of(self, column: str) -> str | None:
        """The field of a column; None: it means nothing here."""
        if column in self.overrides:
            return self.overrides[column]
        plain = re.sub(r"[\s-]+", "_", column.strip().lower())
        return _ALIASES.get(plain) or (plain if plain in FIELDS else None)

    def require(self, columns: Sequence[str]) -> list[str]:
        """The columns that mean nothing. Raises UsageError where one is missing, mapped in vain, or meant twice."""
        for column in self.overrides:
            if column not in columns:
                raise UsageError(
                    f"there is no column {column!r} to map", hint=f"there are: {', '.join(columns)}"
                )
        meant = [(self.field_of(column), column) for column in columns]
        for name in FIELDS[:-1]:
            found = [column for field_, column in meant if field_ == name]
            if len(found) > 1:
                hint = f"leave one out: --map '{found[1]}=ignore'"
                raise UsageError(f"the columns {' and '.join(found)} both mean {name}", hint=hint)
            if not found and name in REQUIRED:
                hint = f"a list of permissions has {', '.join(REQUIRED)}; another name is given by --map COLUMN={name}"
                raise UsageError(
                    f"no column is {name}; there are: {shortened(', '.join(columns))}", hint=hint
                )
        return [column for field_, column in meant if field_ is None]


# --- rows ---------------------------------------------------------------------------------------------------


def read_consent(record: Record, columns: Columns, now: datetime) -> ConsentRow | Reject:
    """One row, or why it is refused: the first thing that is wrong with it."""
    if why := unstorable(record.cells):
        return Reject(line=record.line, reason=why)
    cells = {
        name: (column, _text(record.cells.get(column)))
        for column in record.cells
        if (name := columns.field_of(column))
    }
    read: dict[str, Any] = {}
    for name, reader in _READERS.items():
        column, text = cells.get(name, (name, ""))
        value = (
            _missing(name) if not text and name in REQUIRED else reader(text, cells, now) if text else None
        )
        if isinstance(value, Rejected):
            return Reject(
                line=record.line, column=column, value=shortened(text), reason=value.reason, hint=value.hint
            )
        read[name] = value
    return _row(record.line, read)


def _row(line: int, read: Mapping[str, Any]) -> ConsentRow | Reject:
    identifier: Identifier = read["identifier"]
    if identifier.channel is None:
        return Reject(
            line=line,
            column="identifier",
            value=identifier.shown,
            reason="nothing reaches it",
            hint="no channel ends there",
        )
    channel = read["channel"] or str(identifier.channel)
    if channel != str(identifier.channel):
        reason = f"an identifier of {identifier.channel}, and the row says {channel}"
        return Reject(line=line, column="channel", value=identifier.shown, reason=reason)
    obtained, expires = read["obtained_at"], read["expiry"]
    if expires is not None and expires <= obtained:
        return Reject(line=line, column="expiry", reason="it ends before it begins")
    return ConsentRow(
        line=line, identifier=identifier, channel=channel, basis=read["basis"], source=read["source"], proof=read["proof"],
        country=read["country"], obtained_at=obtained, expires_at=expires,
    )  # fmt: skip


def _text(cell: Any) -> str:
    text = "" if cell is None else str(cell).strip()
    return "" if is_placeholder(text) else text


_WHY = {
    "identifier": ("whose it is is missing", None),
    "basis": ("the basis is missing", f"one of {', '.join(BASES)}"),
    "source": ("the source is missing", "where was it given? what cannot be told permits nothing"),
    "obtained_at": ("the date is missing", "when was it given? as in 2026-05-03"),
    "proof": ("the proof is missing", "what shows it? a form's number, a file, a mail"),
}


def _missing(name: str) -> Rejected:
    return Rejected(*_WHY[name])


# --- cells --------------------------------------------------------------------------------------------------

_Cells = Mapping[str, tuple[str, str]]


def _identifier(text: str, cells: _Cells, _now: datetime) -> Identifier | Rejected:
    """In any spelling; a link's text and its address name the same, or nobody."""
    kind = _SPELT.get(cells.get("channel", ("", ""))[1].lower())
    if kind is not None:
        read = read_cell(kind, text)
        assert isinstance(read, Identifier | Rejected)
        by_looks = recognise(text)
        # Of another channel: that is what is wrong with the row, and is said of it.
        return by_looks if isinstance(read, Rejected) and isinstance(by_looks, Identifier) else read
    found = [recognise(word) for word in readings(text)]
    named = {(i.kind, i.value): i for i in found if isinstance(i, Identifier)}
    if len(named) > 1:
        return Rejected("a link whose text names one and whose address another", "keep one of the two")
    if is_formula(text) and not named:
        return Rejected(
            "a spreadsheet formula", "export the sheet's values: paste them as values, then save as CSV"
        )
    return next(iter(named.values()), found[0])


def _channel(text: str, _cells: _Cells, _now: datetime) -> str | Rejected:
    word = readings(text)[0].strip().lower()
    return word if word in _SPELT else Rejected("no channel of ours", f"one of {', '.join(_SPELT)}")


def _basis(text: str, _cells: _Cells, _now: datetime) -> str | Rejected:
    word = re.sub(r"[\s-]+", "_", readings(text)[0].strip().lower())
    if word in BASES:
        return word
    guess = nearest(word, BASES)
    return Rejected(
        "no basis that we know", f"did you mean {guess}?" if guess else f"one of {', '.join(BASES)}"
    )


def _words(text: str, _cells: _Cells, _now: datetime) -> str:
    return readings(text)[0].strip()


def _country(text: str, _cells: _Cells, _now: datetime) -> str | Rejected:
    return countries().get(readings(text)[0].strip().lower()) or Rejected(
        "not a country", "two letters, as in DE (ISO 3166)"
    )


def _obtained(text: str, _cells: _Cells, now: datetime) -> datetime | Rejected:
    found = read_date(text)
    return Rejected("a date that is still to come") if isinstance(found, datetime) and found > now else found


def _expiry(text: str, _cells: _Cells, _now: datetime) -> datetime | Rejected:
    return read_date(text)


_DOTTED = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(?:[ ,]+(\d{1,2}:\d{2}(?::\d{2})?))?", re.ASCII)
_AS_IN = "as in 2026-05-03, 2026-05-03T14:00:00+02:00 or 03.05.2026"


def read_date(text: str) -> datetime | Rejected:
    """A date or an instant. A date is its beginning, and what names no zone is UTC: nothing is permitted a moment too long."""
    plain = readings(text)[0].strip()
    if dotted := _DOTTED.fullmatch(plain):
        day, month, year, clock = dotted.groups()
        plain = f"{year}-{month:0>2}-{day:0>2}" + (f"T{clock:0>5}" if clock else "")
    if re.search(r"\d/\d", plain):
        return Rejected("a date that may be read in two ways", _AS_IN)
    try:
        found = datetime.fromisoformat(re.sub(r"\s*(UTC|GMT)$", "+00:00", plain))
        found = (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return Rejected("not a date", _AS_IN)
    # Spreadsheets count days from 1900: what is older is a number that was taken for a year.
    return found if found.year > _OLDEST else Rejected("not a date of our time", _AS_IN)


_OLDEST = 1970
#: In the order in which a reader of the row would look for them.
_READERS = {
    "identifier": _identifier,
    "channel": _channel,
    "basis": _basis,
    "source": _words,
    "obtained_at": _obtained,
    "proof": _words,
    "country": _country,
    "expiry": _expiry,
}
