"""What goes on: the log of events."""

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outreach.cli import output
from outreach.cli.leads import event_line, note_archived, with_alias
from outreach.cli.output import AsJson, Limit, say
from outreach.cli.session import opened

if TYPE_CHECKING:
    from outreach.models.base import Database, Row
    from outreach.models.events import Place

#: Real seconds between two looks of `events --follow`.
_EVERY = 1.0


def events(
    ctx: typer.Context,
    lead: Annotated[int, typer.Option(help="Only of this lead.")] = 0,
    person: Annotated[str, typer.Option(help="Only of this human: WHO.")] = "",
    kind: Annotated[str, typer.Option(help="Only of this kind, as in ActionSent.")] = "",
    limit: Limit = 50,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until Ctrl-C; with --json one object a line.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """The log: the newest events, oldest of them first."""
    from outreach.cli.who import find_person
    from outreach.engine.events import EventKind
    from outreach.models import events as log
    from outreach.models import reports

    output.require_word("kind", kind, [k.value for k in EventKind])
    with opened(ctx) as app:
        db = app.context.db
        person_id = find_person(db, person) if person else None
        if lead:
            db.run(lambda tx: reports.lead(tx, lead))
        only: dict[str, Any] = {"lead_id": lead or None, "person_id": person_id, "kind": kind or None}
        db.run(note_archived)
        if not follow:
            _show_events(db.run(lambda tx: log.latest(tx, limit=limit, **only)), as_json)
            return
        place = db.run(log.here)
        rows = db.run(lambda tx: log.latest(tx, limit=limit, before=place, **only))
        while True:
            for row in rows:
                say(_one_line(row) if as_json else _line(row))
            threading.Event().wait(_EVERY)
            rows, place = _after(db, place, only)


def _after(db: "Database", place: "Place", only: Mapping[str, Any]) -> tuple[list["Row"], "Place"]:
    from outreach.models.events import tail

    return db.run(lambda tx: tail(tx, after=place, limit=1000, **only))


def _show_events(rows: Sequence["Row"], as_json: bool) -> None:
    if as_json:
        output.document([with_alias(row) for row in rows])
        return
    for row in rows:
        say(_line(row))


def _line(row: "Row") -> str:
    lead = f"  lead {row['lead_id']}" if row["lead_id"] else ""
    return f"{event_line(row)}{lead}"


def _one_line(row: "Row") -> str:
    import json

    return json.dumps(output.plain(with_alias(row)), ensure_ascii=False)


def add_to(cli: typer.Typer) -> None:
    """Register these commands."""
    for command in (events,):
        cli.command()(command)
