"""What goes on: events, funnels, and how things stand."""

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outreach.cli import output
from outreach.cli.leads import event_line, with_alias
from outreach.cli.output import AsJson, Limit, say
from outreach.cli.session import opened

if TYPE_CHECKING:
    from outreach.app import App
    from outreach.models.base import Database, Row

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
        rows = db.run(lambda tx: log.latest(tx, limit=limit, **only))
        if not follow:
            _show_events(rows, as_json)
            return
        last = 0
        while True:
            for row in rows:
                say(_one_line(row) if as_json else _line(row))
                last = row["id"]
            threading.Event().wait(_EVERY)
            rows = _after(db, last, only)


def _after(db: "Database", last: int, only: Mapping[str, Any]) -> list["Row"]:
    from outreach.models.events import tail

    return db.run(lambda tx: tail(tx, after_id=last, limit=1000, **only))


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


def stats(
    ctx: typer.Context,
    sequence: Annotated[str, typer.Argument(help="The sequence's name.")],
    as_json: AsJson = False,
) -> None:
    """The funnel per node and variant: what was planned, sent, answered. Reads where the channel tells."""
    from outreach.models import reports, sequences

    with opened(ctx) as app:

        def work(tx: Any) -> tuple[list["Row"], list["Row"]]:
            found = sequences.find(tx, sequence)
            return reports.funnel(tx, found["id"]), reports.lead_states(tx, found["id"])

        funnel, states = app.context.db.run(work)
    rows = [{**row, "reads": _reads(row)} for row in funnel]
    if as_json:
        output.document({"sequence": sequence, "leads": states, "funnel": rows})
        return
    output.table(states, ("state", "exit_reason", "leads"), empty="no leads yet")
    say()
    columns = (
        "node",
        "variant",
        "planned",
        "sent",
        "failed",
        "passed_over",
        "blocked",
        "cancelled",
        "waiting",
        "in_doubt",
        "replies",
        "positive_replies",
        "reads",
    )
    output.table(rows, columns, empty="nothing planned yet")


def _reads(row: "Row") -> int | str:
    """No channel of this release tells who has read a message; where none did, zero would be a claim."""
    return row["reads"] or "not offered"


# --- status --------------------------------------------------------------------------------------------------------


def status(ctx: typer.Context, as_json: AsJson = False) -> None:
    """How things stand: mode, due work, what waits on what, caps, accounts in trouble, how far inboxes are read."""
    with opened(ctx) as app:
        found = app.context.db.run(lambda tx: _status(app, tx))
    if as_json:
        output.document(found)
        return
    output.facts({k: v for k, v in found.items() if not isinstance(v, list)})
    for title, columns in (
        ("waiting", ("waiting_on", "leads", "earliest")),
        ("accounts_in_trouble", ("name", "state", "reason", "since")),
        ("inboxes", ("account", "stream", "read_up_to", "polled_at", "failed")),
    ):
        say(f"\n{title.replace('_', ' ')}")
        output.table(found[title], columns)
    say("\ncaps in use")
    used = [cap for cap in found["caps"] if cap["used"]]
    output.table(
        used, ("account", "kind", "cap", "used", "left", "next_free"), empty="no cap has been touched"
    )


def _status(app: "App", tx: Any) -> dict[str, Any]:
    from outreach.models import health, instance, reports, watermarks

    now = app.context.clock.at(tx.database_now())
    here, vitals = instance.read(tx), health.vitals(tx, now)
    accounts = reports.accounts(tx)
    return {
        "mode": here.mode,
        "instance": here.name,
        "now": now,
        "paused": here.pause_reason,
        "schema": app.schema_note or "up to date",
        "needs_newer_worker": reports.left_to_newer(tx),
        **{k: v for k, v in vitals.items() if k != "paused"},
        "waiting": reports.waiting(tx),
        "accounts_in_trouble": reports.stopped(accounts),
        "inboxes": watermarks.listed(tx),
        "caps": [use for account in accounts for use in _caps_of(tx, account, now)],
    }


def _caps_of(tx: Any, account: Mapping[str, Any], now: datetime) -> list[dict[str, Any]]:
    """Every cap of the account's kinds: used, left, and when a full one frees."""
    from outreach.engine.kinds import CHANNEL_OF
    from outreach.models import reports, ticks
    from outreach.runtime.scopes import account_scope, windows_of

    kinds = [kind.value for kind, channel in CHANNEL_OF.items() if channel == account["channel"]]
    scopes = [
        account_scope(account["id"], account["channel"], kind, account["caps"], account["pace"], account["zone"]) for kind in kinds
    ]  # fmt: skip
    windows = windows_of(scopes, now)
    asked = [
        ticks.Count(scope=w.window.scope, scope_id=w.window.scope_id, kind=w.window.kind, since=w.window.since,
                    inclusive=w.window.inclusive, limit=w.window.limit)
        for w in windows
    ]  # fmt: skip
    used = ticks.counted(tx, asked)
    found = []
    for counted, number in zip(windows, used, strict=True):
        w = counted.window
        newest = reports.nth_newest_effect(tx, w.scope, w.scope_id, w.kind, w.since, w.inclusive, w.limit)
        free = counted.cap.frees_at(newest, now, counted.zone) if newest else None
        found.append({"account": account["name"], "kind": w.kind, "cap": str(counted.cap), "used": number, "left": w.limit - number, "next_free": free})  # fmt: skip
    return found


def add_to(cli: typer.Typer) -> None:
    """Register these commands."""
    for command in (status, events, stats):
        cli.command()(command)
