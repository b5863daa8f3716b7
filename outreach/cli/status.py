"""How things stand, on one screen; drawn again every few seconds where somebody watches."""

import json
import sys
import threading
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from outreach.cli import output
from outreach.cli.output import AsJson, say
from outreach.cli.session import opened

#: A terminal's way to clear the screen and begin at its top.
_CLEAR = "\x1b[H\x1b[2J"


def status(
    ctx: typer.Context,
    watch: Annotated[
        bool, typer.Option("--watch", help="Draw it again every few seconds, until Ctrl-C.")
    ] = False,
    every: Annotated[
        float, typer.Option(help="Seconds between two looks of --watch.", min=0.5, max=3600)
    ] = 3.0,
    as_json: AsJson = False,
) -> None:
    """How things stand: mode, what needs somebody, due work, what blocks what, caps, replies, cost, inboxes."""
    from outreach.runtime.standing import standing_now

    with opened(ctx) as app:
        while True:
            found = {**standing_now(app.context), "schema": app.schema_note or "up to date"}
            _show(found, as_json, watch)
            if not watch:
                return
            sys.stdout.flush()
            pause(every)


def pause(seconds: float) -> None:
    """Wait; Ctrl-C ends it."""
    threading.Event().wait(seconds)


def _show(found: Mapping[str, Any], as_json: bool, watch: bool) -> None:
    if as_json and watch:
        say(json.dumps(output.plain(found), ensure_ascii=False))
    elif as_json:
        output.document(found)
    else:
        if watch and sys.stdout.isatty():
            sys.stdout.write(_CLEAR)
        _draw(found)


_SECTIONS = (
    ("alerts", "needs somebody", ("alert", "since", "detail"), "nothing"),
    ("accounts_in_trouble", "accounts in trouble", ("name", "state", "reason", "since"), "none"),
    ("blocked", "blocked, and by what", ("waiting_on", "reason", "leads", "earliest"), "nothing"),
    ("refused_today", "refused for good in the last 24 hours", ("rule", "times", "last"), "nothing"),
    ("waiting", "waiting", ("waiting_on", "leads", "earliest"), "nobody"),
    ("inboxes", "inboxes", ("account", "stream", "read_up_to", "polled_at", "failed"), "none"),
)


def _draw(found: Mapping[str, Any]) -> None:
    from outreach.cli.retention import ASKED, asked_line

    output.facts(_head(found))
    if found["deletions"]:
        say("\nto be deleted, because somebody asked for it")
        output.table([asked_line(row) for row in found["deletions"]], ASKED)
    for name, title, columns, empty in _SECTIONS:
        if found[name] or name in ("alerts", "waiting"):
            say(f"\n{title}")
            output.table(found[name], columns, empty=empty)
    say("\ncaps in use")
    used = [output.plain(cap) | {"next_free": cap.next_free} for cap in found["caps"] if cap.used]
    output.table(
        used, ("account", "kind", "cap", "used", "left", "next_free"), empty="no cap has been touched"
    )
    if found["notices"]:
        say("\nnotices that were not taken")
        output.table(found["notices"], ("kind", "waiting", "oldest", "given_up", "reason"))


def _head(found: Mapping[str, Any]) -> dict[str, Any]:
    """What one reads first; numbers that are fine are left out."""
    due = f"{found['due']}, the oldest since {output.shown(found['oldest_due_at'])}" if found["due"] else 0
    head: dict[str, Any] = {
        "mode": f"{found['mode']} · {found['instance']}",
        "now": found["now"],
        "paused": found["paused"] or "no",
        **_database(found),
        "last_tick": found["last_tick_at"] or "never: is a scheduler running, and a worker?",
        "leads": f"{found['active']} active; due: {due}",
        "next_send": _next(found),
        "tasks": _counted(found["tasks"], "open", found["oldest_task_at"], "outreach task list"),
        "replies": _counted(
            found["unanswered"], "unanswered", found["oldest_unanswered_at"], "outreach replies"
        ),
        "cost_today": _cost(found["cost_today"]),
    }
    for name in ("calling", "in_doubt", "held", "undigested", "draining", "needs_newer_worker"):
        if found[name]:
            head[name] = found[name]
    if found["schema"] != "up to date":
        head["schema"] = found["schema"]
    return head


def _database(found: Mapping[str, Any]) -> dict[str, str]:
    """Only where it is not simply the one that sends."""
    if found["foreign"]:
        return {"database": f"restored or cloned, sends nothing: {found['foreign']} (outreach db adopt)"}
    return (
        {"database": f"adopted, recovering since {output.shown(found['recovering'])} (outreach db status)"}
        if found["recovering"]
        else {}
    )


def _next(found: Mapping[str, Any]) -> str:
    if found["paused"]:
        return "none: everything is paused"
    if found["foreign"] or found["recovering"]:
        return "none: outreach db status"
    at = found["next_send_at"]
    if at is None:
        return "none is planned"
    return "now" if at <= found["now"] else f"{output.shown(at)} at the earliest"


def _counted(count: int, word: str, oldest: Any, command: str) -> str:
    return f"{count} {word}, the oldest since {output.shown(oldest)} ({command})" if count else f"0 {word}"


def _cost(cost: Mapping[str, Any]) -> str:
    would = ", had it been real" if cost["simulated"] else ""
    unknown = ", ".join(f"{count} {kind}" for kind, count in cost["without_price"].items())
    return f"about ${cost['usd']:.2f}{would}" + (f"; without a known price: {unknown}" if unknown else "")


def add_to(cli: typer.Typer) -> None:
    """Register the command."""
    cli.command()(status)
