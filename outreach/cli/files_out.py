"""Rows to a file or to stdout, as they come: csv that no spreadsheet computes, JSON, JSON lines, or a table."""

import csv
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from outreach.cli import output
from outreach.errors import UsageError

FORMATS = ("csv", "jsonl", "json", "table")
_PART = ".part"

Rows = Iterable[Mapping[str, Any]]


@contextmanager
def destination(path: Path | None) -> Iterator[IO[str]]:
    """The file, which appears whole or not at all; None: stdout. Raises UsageError where it cannot be written."""
    if path is None:
        yield sys.stdout
        return
    part = path.with_name(path.name + _PART)
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            yield file
        part.replace(path)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {(error.strerror or 'unknown').lower()}",
            hint="name another file with --output",
        ) from error
    finally:
        part.unlink(missing_ok=True)


def write(rows: Rows, columns: Sequence[str], form: str, to: IO[str]) -> int | None:
    """Write them all; how many. None: whoever read it (`| head`) has seen enough."""
    try:
        count = _write(rows, columns, form, to)
        to.flush()
    except BrokenPipeError:
        # What Python flushes while it ends must not complain of it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), to.fileno())
        return None
    return count


def _write(rows: Rows, columns: Sequence[str], form: str, to: IO[str]) -> int:
    writers: Mapping[str, Callable[[Rows, Sequence[str], IO[str]], int]] = {
        "csv": _csv, "jsonl": _jsonl, "json": _json, "table": _table,
    }  # fmt: skip
    return writers[form](rows, columns, to)


def _csv(rows: Rows, columns: Sequence[str], to: IO[str]) -> int:
    writer, count = csv.writer(to), 0
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(column)) for column in columns])
        count += 1
    return count


def _cell(value: Any) -> Any:
    """Numbers as they are; texts defused, for a spreadsheet computes them wherever they came from."""
    from outreach.audience.formulas import defused

    plain = output.plain(value)
    if plain is None or isinstance(plain, bool | int | float):
        return "" if plain is None else str(plain).lower() if isinstance(plain, bool) else plain
    return defused(plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)).replace(
        "\0", ""
    )


def _jsonl(rows: Rows, columns: Sequence[str], to: IO[str]) -> int:  # noqa: ARG001  one shape for all formats
    count = 0
    for row in rows:
        to.write(json.dumps(output.plain(row), ensure_ascii=False) + "\n")
        count += 1
    return count


def _json(rows: Rows, columns: Sequence[str], to: IO[str]) -> int:  # noqa: ARG001  one shape for all formats
    count = 0
    to.write("[")
    for row in rows:
        to.write(f"{',' if count else ''}\n{json.dumps(output.plain(row), ensure_ascii=False)}")
        count += 1
    to.write("\n]\n" if count else "]\n")
    return count


def _table(rows: Rows, columns: Sequence[str], to: IO[str]) -> int:
    """As wide as the first rows want it: what comes later may be wider, and is not cut."""
    widths, count, first = list(map(len, columns)), 0, []
    iterator = iter(rows)
    for row in iterator:
        first.append([_line(row.get(column)) for column in columns])
        if len(first) == _MEASURED:
            break
    widths = [max([width, *(len(cells[i]) for cells in first)]) for i, width in enumerate(widths)]
    if first:
        to.write(_aligned([column.replace("_", " ") for column in columns], widths))
    for cells in _chained(first, iterator, columns):
        to.write(_aligned(cells, widths))
        count += 1
    return count


_MEASURED = 500


def _chained(first: Sequence[list[str]], rest: Rows, columns: Sequence[str]) -> Iterator[list[str]]:
    yield from first
    for row in rest:
        yield [_line(row.get(column)) for column in columns]


def _line(value: Any) -> str:
    return " ".join(output.shown(value).split())


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip() + "\n"
