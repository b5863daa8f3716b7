"""What a command prints: results on stdout (tables, or one JSON document), everything else on stderr."""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Annotated, Any

import typer

from outreach.errors import UsageError
from outreach.settings import inherited_environment

#: More than anybody reads; a number that no integer of the database holds is an error of the one who typed it.
MOST_ROWS = 1_000_000
Limit = Annotated[int, typer.Option(min=1, max=MOST_ROWS, help="At most so many.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def say(line: str = "") -> None:
    """One line of the result."""
    sys.stdout.write(f"{line}\n")


def note(line: str) -> None:
    """One line beside the result: the mode, a hint, a warning."""
    sys.stderr.write(f"{line}\n")


def document(value: Any) -> None:
    """The result as the one JSON document on stdout."""
    say(json.dumps(plain(value), ensure_ascii=False, indent=None if isinstance(value, str) else 2))


def plain(value: Any) -> Any:
    """The value in JSON's own types; instants as ISO 8601, durations as seconds."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def shown(value: Any) -> str:
    """The value in a cell: instants in UTC to the second, nothing as a dash."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return " ".join(f"{key}={shown(inner)}" for key, inner in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value)) or "-"
    return str(plain(value))


def facts(values: Mapping[str, Any]) -> None:
    """`name  value` lines."""
    width = max(map(len, values), default=0)
    for name, value in values.items():
        say(f"{name.replace('_', ' '):<{width}}  {shown(value)}")


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, empty: str = "none") -> None:
    """The rows under their headings: a drawn table on a terminal, aligned plain lines elsewhere."""
    if not rows:
        say(empty)
        return
    cells = [[shown(row.get(column)) for column in columns] for row in rows]
    titles = [column.replace("_", " ") for column in columns]
    if sys.stdout.isatty() and not inherited_environment().get("NO_COLOR"):
        _drawn(titles, cells)
    else:
        _aligned(titles, cells)


def _drawn(titles: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, header_style="bold", pad_edge=False)
    for title in titles:
        drawn.add_column(title, overflow="fold")
    for row in cells:
        # As text: names of people are data, never markup.
        drawn.add_row(*map(Text, row))
    Console().print(drawn)


def _aligned(titles: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    lines = [titles, *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(titles))]
    for line in lines:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def listing(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], as_json: bool, *, empty: str = "none"
) -> None:
    """A list: all of every row as JSON, or the columns that people read."""
    if as_json:
        document(rows)
    else:
        table(rows, columns, empty=empty)


def _given(reason: str) -> str:
    if not reason.strip():
        raise typer.BadParameter("say why in a word or two: it is shown wherever somebody asks")
    return reason.strip()


#: A reason that says something.
Reason = Annotated[str, typer.Option("--reason", help="Why.", callback=_given)]
AskedReason = Annotated[
    str, typer.Option("--reason", help="Who asked for it, when and how.", callback=_given)
]


def require_word(option: str, word: str, known: Sequence[str]) -> None:
    """Raises UsageError for an option's word that is not among those known; an empty one was not given."""
    from outreach.engine.suggest import did_you_mean

    if word and word not in known:
        raise UsageError(f"--{option} {word!r} is unknown", hint=did_you_mean(word, known))


def done(values: Mapping[str, Any], sentence: str, as_json: bool) -> None:
    """What a command did: as JSON, or as one sentence."""
    if as_json:
        document(values)
    else:
        say(sentence)
