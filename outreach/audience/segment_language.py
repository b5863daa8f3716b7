"""PURE: `--where` in, a condition out. A small language over a whitelist of fields; what it cannot say, it refuses.

source = solana-directory and twitter exists and country in (DE, FR)
attribute.category = defi and not (invented = true or basis = opt_in)
"""

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn, cast

from outreach.audience.identifiers import READERS, Identifier, normalise
from outreach.audience.rows import countries
from outreach.errors import UsageError
from outreach.models.segments import (
    ATTRIBUTE,
    EXISTS_ONLY,
    FIELDS,
    All,
    AnyOf,
    Condition,
    Not,
    Operator,
    Test,
)

MAX_LENGTH = 4000
MAX_DEPTH = 30
EVERYBODY = "everybody"
#: Other names for the same field.
_SAME_FIELD = {"timezone": "zone", "type": "entity_type"}
_OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "in", "not in", "contains", "exists")
_TOKEN = re.compile(
    r"""\s*(?: (?P<quoted>"(?:[^"]|"")*" | '(?:[^']|'')*') | (?P<sign><=|>=|!=|<>|[=<>(),]) | (?P<word>[^\s(),=<>!"']+) )""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class _Token:
    """A piece of the text and where it begins. `kind`: word, quoted, sign or end."""

    kind: str
    text: str
    at: int

    def says(self, *words: str) -> bool:
        """Is it one of these keywords or signs (and no quoted text that looks like one)?"""
        return self.kind in ("word", "sign") and self.text.lower() in words


def parse_condition(text: str) -> Condition:
    """The condition that the text states. Raises UsageError that shows the place and, where it can, the right word."""
    if len(text) > MAX_LENGTH:
        raise UsageError(f"a condition has at most {MAX_LENGTH} characters, this one has {len(text)}")
    reader = _Reader(text, list(_tokens(text)))
    if reader.now.kind == "end":
        reader.fail("there is no condition", f"write {EVERYBODY}, or as in: twitter exists and country = DE")
    condition = reader.any_of(0)
    if reader.now.kind != "end":
        reader.fail(f"{reader.now.text!r} is not expected here", "conditions are joined with and, or")
    return condition


def _tokens(text: str) -> Iterator[_Token]:
    position = 0
    while position < len(text.rstrip()):
        found = _TOKEN.match(text, position)
        if not found or found.lastgroup is None:
            at = position + len(text[position:]) - len(text[position:].lstrip())
            _fail(
                text, at, f"cannot read {text[at]!r}", "a text with quotes or blanks in it stands in quotes"
            )
        kind = found.lastgroup
        word = found[kind]
        plain = word[1:-1].replace(word[0] * 2, word[0]) if kind == "quoted" else word
        yield _Token(kind, "!=" if (kind, word) == ("sign", "<>") else plain, found.start(kind))
        position = found.end()
    yield _Token("end", "", len(text.rstrip()))


def _fail(text: str, at: int, message: str, hint: str | None) -> NoReturn:
    start = max(0, at - 60)
    shown = text[start : at + 40].replace("\n", " ").replace("\t", " ")
    raise UsageError(f"character {at + 1}: {message}\n  {shown}\n  {' ' * (at - start)}^", hint=hint)


def _guess(word: str, words: Sequence[str], otherwise: str) -> str:
    close = difflib.get_close_matches(word, words, n=1)
    return f"did you mean {close[0]}?" if close else otherwise


@dataclass(slots=True)
class _Reader:
    """Recursive descent; `or` binds weaker than `and`, `and` weaker than `not`."""

    text: str
    tokens: list[_Token]
    index: int = 0

    @property
    def now(self) -> _Token:
        return self.tokens[self.index]

    def take(self) -> _Token:
        token = self.now
        self.index += token.kind != "end"
        return token

    def fail(self, message: str, hint: str | None = None, token: _Token | None = None) -> NoReturn:
        _fail(self.text, (token or self.now).at, message, hint)

    def accept(self, *words: str) -> bool:
        if not self.now.says(*words):
            return False
        self.take()
        return True

    def any_of(self, depth: int) -> Condition:
        parts = [self.all_of(depth)]
        while self.accept("or"):
            parts.append(self.all_of(depth))
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def all_of(self, depth: int) -> Condition:
        parts = [self.one(depth)]
        while self.accept("and"):
            parts.append(self.one(depth))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def one(self, depth: int) -> Condition:
        if depth > MAX_DEPTH:
            self.fail(f"nested deeper than {MAX_DEPTH}")
        if self.accept("not"):
            return Not(self.one(depth + 1))
        if self.accept("("):
            inner = self.any_of(depth + 1)
            if not self.accept(")"):
                self.fail("a parenthesis is not closed", "write )")
            return inner
        if self.accept(EVERYBODY):
            return All(())
        return self.test()

    def test(self) -> Condition:
        named = self.take()
        field = self.field(named)
        operator = self.operator()
        if field in EXISTS_ONLY and operator != "exists":
            kinds = [kind for kind in FIELDS if kind.startswith(f"{field}_")] or ["evm_address"]
            self.fail(f"{field} is a channel: it exists or not", f"compare one of: {', '.join(kinds)}", named)
        return Test(field, operator, self.values(field, operator))

    def field(self, token: _Token) -> str:
        name = token.text
        if name.lower().startswith(ATTRIBUTE) and len(name) > len(ATTRIBUTE):
            return ATTRIBUTE + name[len(ATTRIBUTE) :]
        field = _SAME_FIELD.get(name.lower(), name.lower())
        if token.kind != "word" or field not in FIELDS:
            known = (*FIELDS, *_SAME_FIELD, "attribute.NAME")
            otherwise = f"fields: {', '.join(known)}; a column of the file: attribute.{name or 'NAME'}"
            message = f"no field is named {name!r}" if token.kind != "end" else "a field is missing here"
            self.fail(message, _guess(name.lower(), known, otherwise), token)
        return field

    def operator(self) -> Operator:
        token = self.take()
        word = token.text.lower()
        if token.says("not") and self.accept("in"):
            word = "not in"
        if token.kind == "quoted" or word not in _OPERATORS:
            message = (
                f"no comparison is written {token.text!r}"
                if token.kind != "end"
                else "a comparison is missing here"
            )
            self.fail(message, _guess(word, _OPERATORS, f"comparisons: {', '.join(_OPERATORS)}"), token)
        return cast(Operator, word)

    def values(self, field: str, operator: Operator) -> tuple[str, ...]:
        if operator == "exists":
            return ()
        if operator not in ("in", "not in"):
            return (self.value(field, operator),)
        if not self.accept("("):
            self.fail(f"{operator} wants a list", f"as in: {field} {operator} (DE, FR)")
        values = [self.value(field, operator)]
        while self.accept(","):
            values.append(self.value(field, operator))
        if not self.accept(")"):
            self.fail("the list is not closed", "write , or )")
        return tuple(values)

    def value(self, field: str, operator: Operator) -> str:
        token = self.take()
        if token.kind not in ("word", "quoted"):
            self.fail("a value is missing here", "a text with blanks in it stands in quotes", token)
        if operator in ("<", "<=", ">", ">="):
            if not re.fullmatch(r"[+-]?[0-9]{1,30}(\.[0-9]{1,30})?", token.text):
                self.fail(f"{operator} compares numbers", None, token)
            return token.text
        return token.text if operator == "contains" else self.spelled(field, token)

    def spelled(self, field: str, token: _Token) -> str:
        """The value as it is stored: identifiers in any spelling, countries by name, fixed words checked."""
        if field in READERS:
            reading = normalise(field, token.text)
            if not isinstance(reading, Identifier):
                self.fail(reading.reason, reading.hint, token)
            return reading.value
        if field == "country":
            code = countries().get(token.text.lower())
            return code or self.fail("not a country", "two letters, as in DE (ISO 3166)", token)
        allowed = FIELDS.get(field, ())
        if allowed and token.text.lower() not in allowed:
            self.fail(
                f"{field} is never {token.text!r}",
                _guess(token.text.lower(), allowed, f"it is one of: {', '.join(allowed)}"),
                token,
            )
        return token.text.lower() if allowed else token.text
