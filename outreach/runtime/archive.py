"""archive: old months of the log leave as files, one by one: written, read again, and only then taken out of the database.

Exporting twice makes the same file. Whoever dies before the month is taken out has lost nothing, and it is exported again.
"""

import gzip
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import Path

from outreach.compliance.retention import cutoffs
from outreach.engine.events import EventKind
from outreach.errors import ConfigurationError, UsageError
from outreach.models import archiving, events, instance, roles, sealing
from outreach.models.archiving import Month
from outreach.models.base import Database, Tx
from outreach.runtime.context import Context

#: Events of one statement.
_BATCH = 2000
UNSEALED, CHANGED = "not all of it is sealed yet", "somebody added to it while it was exported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What became of a month: `path` and `sha256` of its file; or why it stays."""

    month: str
    events: int = 0
    path: str | None = None
    sha256: str | None = None
    why_not: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """The months that are old enough: (name, bytes on disk, unsealed events) each. `stray`: older events without a month of their own."""

    before: datetime | None
    months: list[tuple[str, int, int]]
    stray: int


def leaving(ctx: Context) -> Leaving:
    """What `archive` would take, as far as it may. Writes nothing."""

    def work(tx: Tx) -> Leaving:
        before = _before(ctx, tx)
        if before is None:
            return Leaving(before=None, months=[], stray=0)
        found = [
            (
                one.name,
                int(archiving.size(tx, one)["bytes"]),
                sealing.unsealed_between(tx, one.begin, one.end),
            )
            for one in archiving.months(tx, before)
        ]
        return Leaving(before=before, months=found, stray=archiving.stray(tx, before)["events"])

    return ctx.db.run(work)


def require_place(ctx: Context, folder: Path) -> None:
    """Raises UsageError where no file can be written, ConfigurationError where this role may not take anything out of the log."""
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UsageError(
            f"{folder} is no directory that can be written to",
            hint="make it first; it should outlive this machine",
        )
    here = ctx.db.run(roles.standing)
    if not here.owns:
        raise ConfigurationError(
            f"only the owner of the log may take a month out of it: that is {here.owner}, and this is {here.role}",
            hint=f"run it with a DATABASE_URL of {here.owner}",
        )


def archive(ctx: Context, folder: Path, *, by: str) -> Iterator[Left]:
    """Every month that is old enough, the oldest first. Raises as `require_place` does."""
    require_place(ctx, folder)
    before = ctx.db.run(lambda tx: _before(ctx, tx))
    for month in ctx.db.run(lambda tx: archiving.months(tx, before)) if before else []:
        yield _leave(ctx, month, folder, by)


def _before(ctx: Context, tx: Tx) -> datetime | None:
    return cutoffs(instance.read(tx).policy, ctx.clock.at(tx.database_now())).get("events")


def _leave(ctx: Context, month: Month, folder: Path, by: str) -> Left:
    if ctx.db.run(lambda tx: sealing.unsealed_between(tx, month.begin, month.end)):
        return Left(month=month.name, why_not=UNSEALED)
    path = folder / f"{month.table.replace('_', '-')}.jsonl.gz"
    written = _write(ctx.db, month, path)
    digest, kept = _read(path)
    if kept != written:
        raise UsageError(
            f"{path} holds {kept} events after {written} were written",
            hint="is its disk full? nothing is dropped",
        )
    return ctx.db.run(lambda tx: _take_out(ctx, tx, month, path, kept, digest, by))


def _write(db: Database, month: Month, path: Path) -> int:
    """A file that appears whole or not at all, and is on the disk when this returns; how many events."""
    part, count, after = path.with_name(path.name + ".part"), 0, 0
    try:
        with part.open("wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed:
            while rows := db.run(partial(archiving.lines, month=month, after=after, limit=_BATCH)):
                packed.write("".join(f"{row['line']}\n" for row in rows).encode())
                count, after = count + len(rows), rows[-1]["id"]
            packed.close()
            raw.flush()
            os.fsync(raw.fileno())
        part.replace(path)
        _settle(path.parent)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise UsageError(f"{path} cannot be written: {(error.strerror or 'unknown').lower()}", hint="nothing is dropped; name another directory") from error  # fmt: skip
    return count


def _settle(folder: Path) -> None:
    """The new name itself is on the disk."""
    at = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(at)
    finally:
        os.close(at)


def _read(path: Path) -> tuple[str, int]:
    """The file's digest, and how many lines it has, read from the disk again."""
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    with gzip.open(path, "rb") as lines:
        return digest.hexdigest(), sum(1 for _ in lines)


def _take_out(ctx: Context, tx: Tx, month: Month, path: Path, exported: int, digest: str, by: str) -> Left:
    if archiving.hold(tx, month) != exported:
        return Left(month=month.name, why_not=CHANGED)
    if sealing.unsealed_between(tx, month.begin, month.end):
        return Left(month=month.name, why_not=UNSEALED)
    now, seals = ctx.clock.at(tx.database_now()), sealing.seals_of(tx, month.begin, month.end)
    archiving.drop(tx, month)
    if exported:
        sealing.note_export(tx, month=month.day, events=exported, sha256=digest, seals=seals, now=now)
        said = {"month": month.name, "events": exported, "sha256": digest}
        events.append(tx, [events.Event(kind=EventKind.EVENTS_EXPORTED, at=now, actor=by, payload=said)])
    else:
        path.unlink(missing_ok=True)  # a month in which nothing happened needs no file
        return Left(month=month.name)
    return Left(month=month.name, events=exported, path=str(path), sha256=digest)
