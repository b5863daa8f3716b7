"""Files of people, whatever program wrote them: bytes in, records with line numbers out. Knows no identifiers.

CSV (comma, semicolon or TAB) and JSON lines, in UTF-8, UTF-16 with a byte order mark, or Windows-1252. What cannot be
read at all is a UsageError that says what, where, and how to mend it; what is wrong with one line is a BadLine.
"""

import codecs
import csv
import hashlib
import io
import json
import re
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from outreach.errors import UsageError

MAX_BYTES = 500 * 1024 * 1024
#: Characters in one cell, or in one line of JSON.
MAX_FIELD = 1024 * 1024
_BLOCK = 1024 * 1024
_SEP, _LONGEST_SEP = re.compile(r'"?sep=([,;\t])"?'), 16
_UTF32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One row: the line it begins on (1 is the first), and its cells by column. Nested JSON has dotted columns."""

    line: int
    cells: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no record: why."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """An open file. `columns` is empty where each line names its own (JSON lines)."""

    name: str
    sha256: str
    encoding: str
    format: str
    columns: Sequence[str]
    records: Iterator[Record | BadLine]


@contextmanager
def open_table(path: str, stdin: BinaryIO | None = None) -> Iterator[Table]:
    """Open a file, or standard input for `-`. Raises UsageError when it is no readable table."""
    with _open(path, stdin) as stream:
        sha256, encoding = _survey(stream, path)
        text = io.TextIOWrapper(stream, encoding=encoding, newline="")
        try:
            # Once through to its end: what breaks off in its middle is refused before anything of it is written.
            deque(_table(path, sha256, encoding.removesuffix("-sig"), text).records, maxlen=0)
            text.seek(0)
            yield _table(path, sha256, encoding.removesuffix("-sig"), text)
        except UnicodeDecodeError as error:
            raise UsageError(
                f"{path} is neither UTF-8 nor Windows-1252 (byte {error.start})", hint="save it as UTF-8"
            ) from error
        finally:
            text.detach()


@contextmanager
def _open(path: str, stdin: BinaryIO | None) -> Iterator[BinaryIO]:
    """A stream that can be read twice: standard input and pipes are spooled to disk first."""
    with ExitStack() as stack:
        stream = stdin if path == "-" else stack.enter_context(_open_file(path))
        if stream is None:
            raise UsageError("there is no standard input to read", hint="name a file")
        if path == "-" or not stream.seekable():
            stream = _spool(path, stream, stack.enter_context(tempfile.TemporaryFile()))
        yield stream


def _open_file(path: str) -> BinaryIO:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {(error.strerror or 'unknown').lower()}") from error


def _spool(path: str, stream: BinaryIO, spool: IO[bytes]) -> BinaryIO:
    while block := stream.read(_BLOCK):
        spool.write(block)
        _refuse_huge(path, spool.tell())
    spool.seek(0)
    return cast(BinaryIO, spool)


def _refuse_huge(path: str, size: int) -> None:
    if size > MAX_BYTES:
        raise UsageError(
            f"{path} is larger than {MAX_BYTES // 1024**2} MB",
            hint="split it: split -C 400m --additional-suffix=.jsonl, or rows with a header each",
        )


def _survey(stream: BinaryIO, path: str) -> tuple[str, str]:
    """One pass over the bytes: their digest, and the encoding."""
    sha256, decoder = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")()
    head = stream.read(4)
    stream.seek(0)
    _refuse_others(path, head)
    wide = head.startswith(_UTF16)
    encoding = "utf-16" if wide else "utf-8-sig"
    size = 0
    while block := stream.read(_BLOCK):
        size += len(block)
        _refuse_huge(path, size)
        sha256.update(block)
        if not wide and b"\0" in block:
            raise UsageError(
                f"{path} is binary (a zero byte near {size - len(block) + block.index(0)})",
                hint="export it as CSV, or as UTF-16 with a byte order mark",
            )
        encoding = _still_utf8(decoder, block, encoding)
    if not size:
        raise UsageError(
            f"{path} is empty", hint="a file begins with a header line, as in: name,twitter,email"
        )
    stream.seek(0)
    return sha256.hexdigest(), _still_utf8(decoder, b"", encoding, final=True)


def _refuse_others(path: str, head: bytes) -> None:
    """What its first bytes say is no table, and what it is instead."""
    if head.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise UsageError(f"{path} is a workbook, not a table of text", hint="save it as: CSV UTF-8")
    if head.startswith(b"%PDF"):
        raise UsageError(f"{path} is a PDF", hint="export the table itself as CSV")
    zeros = [n for n, byte in enumerate(head) if byte == 0]
    if head.startswith(_UTF32) or (zeros in ([0, 2], [1, 3]) and not head.startswith(_UTF16)):
        raise UsageError(
            f"{path} is UTF-32, or UTF-16 without a byte order mark",
            hint="save it as UTF-8, or as Unicode text with a mark",
        )


def _still_utf8(
    decoder: codecs.IncrementalDecoder, block: bytes, encoding: str, *, final: bool = False
) -> str:
    if encoding != "utf-8-sig":
        return encoding
    try:
        decoder.decode(block, final)
    except UnicodeDecodeError:
        return "cp1252"
    return encoding


def _table(path: str, sha256: str, encoding: str, text: io.TextIOWrapper) -> Table:
    name = "standard input" if path == "-" else Path(path).name
    start = text.read(_BLOCK).lstrip()
    text.seek(0)
    if not start:
        raise UsageError(
            f"{path} holds nothing but blanks",
            hint="a file begins with a header line, as in: name,twitter,email",
        )
    if start.startswith("[") and not path.endswith(".csv"):
        raise UsageError(f"{path} is one JSON array", hint="write one object per line: jq -c '.[]'")
    if start.startswith("{") or Path(path).suffix in (".jsonl", ".ndjson"):
        return Table(
            name=name,
            sha256=sha256,
            encoding=encoding,
            format="jsonl",
            columns=(),
            records=_json_lines(path, text),
        )
    return _csv_table(path, name, sha256, encoding, text, _delimiter(start))


# --- CSV ----------------------------------------------------------------------------------------------------


def _delimiter(start: str) -> str:
    """The one of `,` `;` TAB that stands most often in the first line, outside quotes."""
    unquoted = "".join(start.split('"')[::2])
    first_line = unquoted.splitlines()[0] if unquoted else ""
    return max(",;\t", key=first_line.count)


def _csv_table(
    path: str, name: str, sha256: str, encoding: str, text: io.TextIOWrapper, delimiter: str
) -> Table:
    csv.field_size_limit(MAX_FIELD)
    stated = _stated_delimiter(text)
    # Strict: a quote that is never closed would swallow the rest of the file as one cell.
    reader = csv.reader(text, delimiter=stated or delimiter, strict=True)
    rows = _csv_rows(path, reader, before=1 if stated else 0)
    columns = _header(path, next((cells for _, cells in rows), []))
    return Table(
        name=name,
        sha256=sha256,
        encoding=encoding,
        format="csv",
        columns=columns,
        records=_csv_records(path, rows, columns),
    )


def _stated_delimiter(text: io.TextIOWrapper) -> str | None:
    """Excel's own first line `sep=;` is read away: it is neither header nor row."""
    stated = _SEP.fullmatch(text.readline(_LONGEST_SEP).rstrip("\r\n"))
    if stated is None:
        text.seek(0)
    return stated[1] if stated else None


def _csv_rows(path: str, reader: Any, before: int) -> Iterator[tuple[int, list[str]]]:
    """(line on which it begins, cells) of every row that is not blank, `before` lines being read already."""
    line = before + 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield line, cells
            line = before + reader.line_num + 1
    except csv.Error as error:
        raise UsageError(
            f"{path}, line {line}: {error}", hint='a quote inside a quoted cell is written twice ("")'
        ) from error


def _header(path: str, cells: list[str]) -> list[str]:
    columns = [cell.strip() or f"column_{n}" for n, cell in enumerate(cells, 1)]
    if twice := sorted({c for c in columns if columns.count(c) > 1}):
        raise UsageError(
            f"{path} has two columns named {', '.join(twice)}", hint="rename one of them in the first line"
        )
    return columns


def _csv_records(
    path: str, rows: Iterator[tuple[int, list[str]]], columns: list[str]
) -> Iterator[Record | BadLine]:
    found = False
    for line, cells in rows:
        found = True
        if len(cells) > len(columns):
            yield BadLine(
                line,
                f"{len(cells)} cells under {len(columns)} columns: a delimiter inside a cell needs quotes around the cell",
            )
        else:
            yield Record(line=line, cells=dict(zip(columns, cells, strict=False)))
    if not found:
        raise UsageError(
            f"{path} has a header and no row below it",
            hint="each person is a line of their own below the header",
        )


# --- JSON lines ---------------------------------------------------------------------------------------------


def _json_lines(path: str, text: io.TextIOWrapper) -> Iterator[Record | BadLine]:
    line = 0
    while raw := text.readline(MAX_FIELD + 1):
        line += 1
        if len(raw) > MAX_FIELD:
            raise UsageError(
                f"{path}, line {line}: longer than {MAX_FIELD} characters", hint="one object per line"
            )
        if raw.strip():
            yield _json_record(line, raw)


def _json_record(line: int, raw: str) -> Record | BadLine:
    try:
        value = json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return BadLine(line, f"not JSON: {error}")
    if not isinstance(value, dict):
        return BadLine(line, "not a JSON object")
    return Record(line=line, cells=flat_cells(value))


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def flat_cells(value: dict[str, Any]) -> dict[str, Any]:
    """A JSON object's values by column: nested keys are joined by a dot."""
    return dict(_flat(value, ""))


def _flat(value: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """`{"social": {"twitter": …}}` as `social.twitter`."""
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from _flat(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner
