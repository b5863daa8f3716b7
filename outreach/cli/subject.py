"""What a human may ask of whoever keeps data on them: all of it as a file, and to be forgotten."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from outreach.cli import files_out, output
from outreach.cli.export import Output, export
from outreach.cli.output import AsJson, note, say
from outreach.cli.session import opened, operator
from outreach.errors import InDoubt, NotFound, UsageError

if TYPE_CHECKING:
    from outreach.app import App

_KEPT = (
    "Kept, without who: the ledger (what was sent when, which caps and audits count), the log's ids, and keyed digests of the identifiers, "
    "so that nobody contacts them again."
)
_ELSEWHERE = (
    "Not here: backups (restore them with the journal: docs/security.md), files that you have exported, and the platform's own copy "
    "of the conversation."
)


def erase(
    ctx: typer.Context,
    who: Annotated[str, typer.Argument(help="WHO, or an identifier that nobody is known by.")],
    confirm: Annotated[bool, typer.Option("--yes", help="There is no way back: do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Forget a person: suppress, wait for calls under way, erase. Whoever imports the same identifiers again imports nothing."""
    from outreach.cli.who import find_person, identifier_of

    with opened(ctx) as app:
        try:
            person_id = find_person(app.context.db, who)
        except NotFound:
            if identifier_of(who) is None:
                raise
            person_id = None
        if not confirm:
            _ask(person_id)
        if person_id is None:
            _erase_stranger(app, who, as_json)
        else:
            _erase_person(app, person_id, as_json)


def _ask(person_id: int | None) -> None:
    from outreach.audience.aliases import alias

    if not sys.stdin.isatty():
        raise UsageError("an erasure cannot be taken back", hint="say so with --yes")
    whom = (
        "this identifier, by which nobody is known"
        if person_id is None
        else f"{alias(person_id)} ({person_id})"
    )
    typer.confirm(f"Forget everything of {whom}?", abort=True, err=True)


def _erase_person(app: "App", person_id: int, as_json: bool) -> None:
    from outreach.audience.aliases import alias
    from outreach.runtime.erase import erase as erased

    if not erased(app.context, person_id, by=operator()):
        raise InDoubt(
            f"{alias(person_id)} is suppressed, and not erased yet: a call to them is still under way",
            hint=f"run `outreach erase {alias(person_id)} --yes` again in a minute or two; if a message is held, look it up first: outreach task list",
        )
    output.done({"person": person_id, "erased": True}, f"{alias(person_id)} is erased", as_json)
    _explain(as_json)


def _erase_stranger(app: "App", who: str, as_json: bool) -> None:
    from outreach.cli.who import identifier_of
    from outreach.runtime.erase import Identifier, erase_stranger

    found = identifier_of(who)
    assert found is not None
    gone = erase_stranger(app.context, Identifier(kind=found.kind.value, value=found.value), by=operator())
    sentence = (
        f"nobody was known by that; its digest is on the do-not-contact list, {gone} message(s) were emptied"
    )
    output.done({"person": None, "erased": True, "messages": gone}, sentence, as_json)
    _explain(as_json)


def _explain(as_json: bool) -> None:
    if not as_json:
        say(_KEPT)
        say(_ELSEWHERE)


@export.command("person")
def export_person(
    ctx: typer.Context,
    who: Annotated[str, typer.Argument(help="WHO")],
    to: Output = None,
) -> None:
    """All that is held on one person, as one JSON document: what they may ask for (GDPR Art. 15)."""
    import json

    from outreach.cli.who import find_person
    from outreach.models import subject

    with opened(ctx) as app:
        person_id = find_person(app.context.db, who)
        held = app.context.db.run(lambda tx: subject.everything_on(tx, person_id))
        with files_out.destination(to) as file:
            json.dump(output.plain(held), file, indent=2, ensure_ascii=False, default=str)
            file.write("\n")
    note(", ".join(f"{len(rows)} {name}" for name, rows in held.items() if rows))


def add_to(cli: typer.Typer) -> None:
    """Register these commands; `audience erase` is another name of `erase`."""
    from outreach.cli.audience import audience

    cli.command()(erase)
    audience.command()(erase)
