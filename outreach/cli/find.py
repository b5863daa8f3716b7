"""find: whatever one has of something, what it is, and what to type next."""

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outreach.cli import output
from outreach.cli.leads import with_alias
from outreach.cli.output import AsJson, note
from outreach.cli.session import opened
from outreach.errors import UsageError

if TYPE_CHECKING:
    from outreach.models.base import Tx

_LISTED = 20
#: What to type next of each kind, with its name or its id.
_NEXT = {
    "person": "outreach why {id}",
    "sequence": "outreach stats {name}",
    "account": "outreach account list",
    "app": "outreach account list",
    "segment": "outreach segment show {name}",
    "pool": "outreach account list",
    "lead": "outreach lead show {id}",
    "execution": "outreach ledger show {id}",
    "task": "outreach task list",
    "message": "outreach why {person_id}",
}


def find(
    ctx: typer.Context,
    text: Annotated[str, typer.Argument(help="An id, alias, @handle, email, name, key, or part of a name.")],
    as_json: AsJson = False,
) -> None:
    """Look everywhere: people, leads, sequences, accounts, executions, tasks; and what to type next."""
    words = text.strip()
    if not words:
        raise UsageError("find what?", hint="outreach find @handle, or an id, an email, part of a name")
    with opened(ctx) as app:
        rows = [_shown(row) for row in app.context.db.run(lambda tx: _found(tx, words))]
    output.listing(rows, ("what", "id", "name", "detail", "next"), as_json, empty="nothing of that name")
    if not rows and not as_json:
        note(
            "people are found by number, alias, @handle, URL, email, address or part of their name; all else by its number or name"
        )


def _found(tx: "Tx", text: str) -> list[dict[str, Any]]:
    from outreach.audience.people import find_in
    from outreach.models import finding

    people = [
        {"what": "person", "id": p.person_id, "person_id": p.person_id, "name": p.alias, "detail": _of_person(p.by, p.suppressed)}
        for p in find_in(tx, text)[:_LISTED]
    ]  # fmt: skip
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
    numbered = finding.by_number(tx, number) if number is not None else []
    return [*people, *numbered, *finding.by_key(tx, text), *finding.by_name(tx, text.lstrip("@"), _LISTED)]


def _of_person(by: str, suppressed: bool) -> str:
    return f"by {by}" + (", on the do-not-contact list" if suppressed else "")


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    named = with_alias({"person_id": None, **row})
    words = {key: shlex.quote(str(value)) for key, value in named.items()}
    whose = f" of {named['person']}" if named["person"] and row["what"] != "person" else ""
    known = row["what"] != "message" or row["person_id"] is not None
    return {
        **named,
        "detail": f"{row['detail'] or ''}{whose}".strip() or None,
        "next": _NEXT[row["what"]].format(**words) if known else "outreach replies",
    }


def add_to(cli: typer.Typer) -> None:
    """Register the command."""
    cli.command()(find)
