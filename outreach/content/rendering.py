"""Renders a message for one lead, once. What a lead brings is data: a person called `{{7*7}}` is called just that.

The order for a variable that a lead lacks: the variable's own default, then the message's fallback, else Missing.
Nothing blank is ever put in: a value of white space counts as missing.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from jinja2 import Undefined

from outreach.content.templates import compiled

#: No channel takes more (email: 100 kB).
MAX_OUTPUT = 100_000
#: RFC 5322, 2.1.1: the longest line
MAX_SUBJECT = 998
_LINE_BREAKS = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")
#: Control characters have no place in a name; tab and line feed may stand in a longer text.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """What is sent."""

    text: str
    subject: str | None = None
    used_fallback: bool = False


@dataclass(frozen=True, slots=True)
class Missing:
    """Nothing is sent: the lead lacks these variables. None at all: the text came out empty."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TooLong:
    """Nothing is sent: the text has at least `length` characters, and the channel takes `limit`."""

    length: int
    limit: int


def compose(
    *,
    body: str,
    subject: str | None = None,
    fallback: str | None = None,
    values: Mapping[str, str],
    defaults: Mapping[str, str],
    max_length: int | None = None,
) -> Rendered | Missing | TooLong:
    """A whole message: body or fallback, and the subject where there is one.

    `values`: the lead's attributes, and the engine's own (opt_out, sender_name, sequence) over them.
    """
    known = _present(defaults) | _present(values)
    text = render(body, known, max_length)
    used_fallback = False
    if isinstance(text, Missing) and fallback is not None:
        text, used_fallback = render(fallback, known, max_length), True
    if not isinstance(text, Rendered):
        return text
    line = None if subject is None else render_subject(subject, known)
    if line is None or isinstance(line, Rendered):
        return Rendered(text=text.text, subject=line.text if line else None, used_fallback=used_fallback)
    return line


def render(
    source: str, values: Mapping[str, str], max_length: int | None = None
) -> Rendered | Missing | TooLong:
    """One template with one lead's values. `max_length` in characters. Raises ValueError for a refused template."""
    template, names = compiled(source)
    present = _present(values)
    missing: dict[str, None] = {}
    absent = {name: _Absent(name, missing) for name in sorted(names - present.keys())}
    text = _bounded(template.generate(present | absent))
    if missing:
        return Missing(tuple(missing))
    limit = min(max_length or MAX_OUTPUT, MAX_OUTPUT)
    if len(text) > limit:
        return TooLong(len(text), limit)
    return Rendered(text=text) if text else Missing(tuple(absent))


def render_subject(source: str, values: Mapping[str, str]) -> Rendered | Missing | TooLong:
    """As render, on one line: a line break in a subject would begin a header of the sender's own."""
    subject = render(source, values)
    if not isinstance(subject, Rendered):
        return subject
    line = _LINE_BREAKS.sub(" ", subject.text)
    return TooLong(len(line), MAX_SUBJECT) if len(line) > MAX_SUBJECT else Rendered(text=line)


def _present(values: Mapping[str, str]) -> dict[str, str]:
    """The values that say something, trimmed and without control characters."""
    cleaned = {name: _CONTROLS.sub("", value).strip() for name, value in values.items()}
    return {name: value for name, value in cleaned.items() if value}


def _bounded(pieces: Iterator[str]) -> str:
    """The trimmed text, cut off once it is longer than any channel takes: a bomb costs no more than a long letter."""
    taken, length = [], 0
    for piece in pieces:
        taken.append(piece)
        length += len(piece)
        if length > 2 * MAX_OUTPUT:
            break
    return "".join(taken).strip()


class _Absent(Undefined):
    """A variable that the lead lacks. It may be asked for (`{% if company %}`); whoever prints it is noted down."""

    def __init__(self, name: str, missing: dict[str, None]) -> None:
        super().__init__(name=name)
        self._name, self._missing = name, missing

    def __str__(self) -> str:
        self._missing[self._name] = None
        return ""

    def __len__(self) -> int:
        return len(str(self))
