"""`outreach audit seal|seals|verify`: the log under its seals, and whether anybody has touched it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outreach.cli import output
from outreach.cli.ledger import instant
from outreach.cli.output import AsJson, Limit, note, say
from outreach.cli.session import at_the_switch, opened
from outreach.errors import UsageError

if TYPE_CHECKING:
    from outreach.models.base import Database
    from outreach.models.sealing import Seal
    from outreach.runtime.verified import Archive, Noted, Verified

_HEAD_HINT = "a file of `outreach audit seals --export FILE`, a head of 64 hexadecimal digits, or NUMBER:HEAD"
#: Lines of an exported month that are looked at in one statement.
_LINES = 5000


def seal(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Seal now what is final in the log; else the tick does it once a minute."""
    from outreach.runtime.seal import seal_next

    made = []
    with opened(ctx) as app:
        while (one := seal_next(app.context)) is not None:
            made.append(one)
    if as_json:
        output.document([_row(one) for one in made])
    elif made:
        events = sum(one.events for one in made)
        say(f"sealed {events} events; seal {made[-1].id}, head {made[-1].head.hex()}")
    else:
        say("everything that is final is sealed already")


def seals(
    ctx: typer.Context,
    export: Annotated[
        str,
        typer.Option(
            help="Write every head to this file, one JSON object a line; - is stdout. Keep it on another machine."
        ),
    ] = "",
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """The newest seals. A head that is noted elsewhere proves the log up to it: give it to `audit verify --head`."""
    from outreach.models import instance, sealing

    with at_the_switch(ctx) as desk:
        if export:
            name = desk.db.run(instance.read).name
            _export(desk.db, name, export)
            return
        rows = [_row(one) for one in desk.db.run(lambda tx: sealing.latest_seals(tx, limit))]
    output.listing(
        rows,
        ("seal", "at", "events", "head"),
        as_json,
        empty="nothing is sealed yet; the tick seals once a minute",
    )


def _row(one: "Seal") -> dict[str, Any]:
    return {
        "seal": one.id, "at": one.at, "events": one.events, "head": one.head.hex(), "root": one.root.hex(), "previous": one.previous.hex(),
        "generation": one.generation, "from_tx": one.from_tx, "to_tx": one.to_tx,
    }  # fmt: skip


def _export(db: "Database", name: str, target: str) -> None:
    lines = (json.dumps({"instance": name, **output.plain(_row(one))}) for one in _every(db))
    if target == "-":
        for line in lines:
            say(line)
        return
    path, count = Path(target), 0
    try:
        with path.open("w", encoding="utf-8") as file:
            for line in lines:
                file.write(f"{line}\n")
                count += 1
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", hint="name a file in a folder that is there"
        ) from error
    note(f"{count} heads in {path}; keep it where whoever owns the database cannot write")


def _every(db: "Database") -> Iterator["Seal"]:
    from functools import partial

    from outreach.models import sealing

    after = 0
    while page := db.run(partial(sealing.seals, after=after, limit=500)):
        yield from page
        after = page[-1].id


# --- verify -----------------------------------------------------------------------------------------------------


def verify(
    ctx: typer.Context,
    head: Annotated[
        list[str] | None,
        typer.Option(
            help="What was noted elsewhere: an exported file, a head, or NUMBER:HEAD. May be given several times."
        ),
    ] = None,
    since: Annotated[
        str,
        typer.Option(
            help="Events under seals made from then on only; the chain is followed from its beginning. ISO 8601, UTC."
        ),
    ] = "",
    archive: Annotated[
        list[Path] | None,
        typer.Option(
            help="A month that has left as a file (.jsonl or .jsonl.gz): checked against the seals."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Recompute every seal from the events as they stand. Exits 1 if anything was changed, deleted, added, reordered or cut off."""
    from outreach.runtime.verify import verify as look

    noted = [one for word in head or [] for one in _noted(word)]
    with at_the_switch(ctx) as desk:
        archives = dict(_archive(desk.db, path) for path in archive or [])
        found = look(desk.db, heads=noted, since=instant(since) if since else None, archives=archives)
    if as_json:
        output.document(_document(found))
    else:
        _print(found, noted, archives)
    if found.findings:
        raise typer.Exit(1)


def _document(found: "Verified") -> dict[str, Any]:
    return {
        "intact": not found.findings, "findings": found.findings, "seals": found.seals, "events": found.events, "exported": found.exported,
        "unsealed": found.unsealed, "heads": found.heads, "last": _row(found.last) if found.last else None,
    }  # fmt: skip


def _print(found: "Verified", noted: "Sequence[Noted]", archives: "Mapping[str, Archive]") -> None:
    output.table(
        [{"what": f.what.replace("_", " "), "seal": f.seal, "lead": f.lead, "event": f.event, "how it shows": f.detail} for f in found.findings],
        ("what", "seal", "lead", "event", "how it shows"),
        empty="nothing was changed, deleted, added or reordered",
    )  # fmt: skip
    last = (
        f"; the last is seal {found.last.id} of {output.shown(found.last.at)}, head {found.last.head.hex()}"
        if found.last
        else ""
    )
    note(f"{found.seals} seals, {found.events} sealed events looked at{last}")
    if found.unsealed:
        note(
            f"{found.unsealed} events are newer than that: not sealed yet, so nothing is proven of them (outreach audit seal)"
        )
    for month, count in sorted(found.exported.items()):
        checked = (
            "checked with its file"
            if month in archives
            else "not looked at: --archive FILE checks them with their file"
        )
        note(f"{count} sealed events of {month} have left as a file: {checked}")
    if noted:
        note(f"{found.heads} of {len(noted)} noted heads are in the chain")
    else:
        note(
            "no head was given: whether the end was cut off, or all seals were made anew, cannot be told from the database alone"
            " (--head; outreach audit seals --export FILE notes them)"
        )
    if found.findings:
        note("the log is not as it was sealed: docs/runbook.md says what to do")


def _noted(word: str) -> "list[Noted]":
    from outreach.runtime.verified import Noted

    number, _, digits = word.rpartition(":")
    if len(digits) == 64 and (not number or number.isdecimal()):
        try:
            return [Noted(head=bytes.fromhex(digits), seal=int(number) if number else None)]
        except ValueError:
            pass
    return _noted_in(Path(word))


def _noted_in(path: Path) -> "list[Noted]":
    """A file of exported seals, or an off-box journal: its lines of other kinds say nothing of seals."""
    from outreach.runtime.verified import Noted

    found = []
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            row = json.loads(line) if line.strip() else {}
            if "head" in row and "seal" in row:
                found.append(Noted(head=bytes.fromhex(row["head"]), seal=int(row["seal"])))
            elif row and "kind" not in row:
                raise UsageError(f"{path}, line {number}: no seal and no head", hint=_HEAD_HINT)
    except OSError as error:
        raise UsageError(f"--head {str(path)!r}: {error.strerror}", hint=_HEAD_HINT) from error
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path} is not what was exported: {error}", hint=_HEAD_HINT) from error
    if not found:
        raise UsageError(f"{path} holds no head", hint=_HEAD_HINT)
    return found


def _archive(db: "Database", path: Path) -> "tuple[str, Archive]":
    """The month that a file holds, and its events as leaves."""
    from outreach.runtime.archives import read_archive

    try:
        return read_archive(db, path, _LINES)
    except OSError as error:
        raise UsageError(
            f"--archive {str(path)!r}: {error.strerror or error}",
            hint="the file that `outreach retention run` has written",
        ) from error


def add_to(audit: typer.Typer) -> None:
    """Register these commands in the group."""
    for command in (seal, seals, verify):
        audit.command()(command)
