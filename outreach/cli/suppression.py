"""The do-not-contact list: whoever is on it hears from no account of ours, on any channel."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from outreach.cli import output
from outreach.cli.leads import with_alias
from outreach.cli.output import AsJson, AskedReason, Limit
from outreach.cli.session import opened, operator
from outreach.errors import NotFound, RefusedByGate

if TYPE_CHECKING:
    from outreach.app import App
    from outreach.audience.identifiers import Identifier

suppression = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="The do-not-contact list (also: dnd)."
)

_Who = Annotated[str, typer.Argument(help="WHO, or an identifier that nobody is known by yet.")]
_SOURCE = "operator"


def _person_or_identifier(app: "App", who: str) -> "tuple[int | None, Identifier | None]":
    """The person meant; else the identifier spelt. Raises NotFound where it spells none."""
    from outreach.cli.who import find_person, identifier_of

    try:
        return find_person(app.context.db, who), None
    except NotFound:
        found = identifier_of(who)
        if found is None:
            raise
        return None, found


def _digest(app: "App", tx: Any, identifier: "Identifier | None") -> str | None:
    from outreach.audience.remembering import digest_of

    if identifier is None:
        return None
    return digest_of(tx, app.context.peppers, identifier.kind.value, identifier.value)


@suppression.command()
def add(
    ctx: typer.Context, who: _Who, reason: AskedReason, as_json: AsJson = False
) -> None:  # fmt: skip
    """Never contact them again: binding for every new send when it returns; their leads end."""
    from outreach.audience.aliases import alias
    from outreach.peppers import ID_CHARACTERS
    from outreach.runtime.optout import opt_out, opt_out_spelt

    with opened(ctx) as app:
        person_id, identifier = _person_or_identifier(app, who)
        if person_id is not None:
            effective = opt_out(
                app.context, person_id, reason=reason, source=_SOURCE, evidence={}, actor=operator()
            )
            values = {"person_id": person_id, "person": alias(person_id), "effective": effective}
        else:
            assert identifier is not None
            kind, value = identifier.kind.value, identifier.value
            opt_out_spelt(
                app.context, kind, value, reason=reason, source=_SOURCE, evidence={}, actor=operator()
            )
            digest = str(app.context.db.run(lambda tx: _digest(app, tx, identifier)))
            values = {"person_id": None, "digest": digest[ID_CHARACTERS:][:12], "effective": True}
    sentence = (
        f"{values.get('person') or 'an identifier nobody is known by yet'} is on the do-not-contact list"
    )
    output.done(values, sentence, as_json)


@suppression.command()
def check(ctx: typer.Context, who: _Who, as_json: AsJson = False) -> None:
    """Are they on the list? Exits 3 if so, 0 if not. The gate has more to say: outreach why WHO."""
    from outreach.compliance import register

    with opened(ctx) as app:
        person_id, identifier = _person_or_identifier(app, who)
        rows = app.context.db.run(
            lambda tx: register.suppression_of(tx, person_id=person_id, hmac=_digest(app, tx, identifier))
        )
    entries = [
        {"id": r.id, "channel": r.channel, "reason": r.reason, "source": r.source, "at": r.at} for r in rows
    ]
    if as_json:
        output.document({"person_id": person_id, "suppressed": bool(rows), "entries": entries})
    else:
        output.table(entries, ("id", "channel", "reason", "source", "at"), empty="not on the list")
    if rows:
        raise typer.Exit(RefusedByGate.exit_code)


@suppression.command("list")
def list_all(ctx: typer.Context, limit: Limit = 50, as_json: AsJson = False) -> None:
    """The newest first; people by alias, identifiers by digest."""
    from outreach.models import reports

    with opened(ctx) as app:
        rows = app.context.db.run(lambda tx: reports.suppressions(tx, limit))
    columns = ("id", "person", "digest", "channel", "reason", "source", "at", "effective_at")
    output.listing([with_alias(row) for row in rows], columns, as_json)


@suppression.command()
def lift(
    ctx: typer.Context, who: _Who, reason: AskedReason, as_json: AsJson = False
) -> None:  # fmt: skip
    """Take them off the list, because they asked for it. Nothing that ended begins again by itself."""
    with opened(ctx) as app:
        person_id, identifier = _person_or_identifier(app, who)
        lifted = app.context.db.run(
            lambda tx: _lift(app, tx, person_id, _digest(app, tx, identifier), reason)
        )
    output.done({"person_id": person_id, "lifted": lifted}, f"{lifted} entries lifted", as_json)


def _require_some(lifted: int) -> int:
    """Whoever lifts nothing has probably named somebody else: said, and nothing is written."""
    if not lifted:
        raise NotFound("they are not on the do-not-contact list", hint="outreach dnd list shows who is")
    return lifted


def _lift(app: "App", tx: Any, person_id: int | None, digest: str | None, reason: str) -> int:
    from outreach.compliance import register
    from outreach.models import identities, persons

    if person_id is None:
        assert digest is not None
        found = register.lift_identifier(
            tx, digest, reason=reason, now=app.context.clock.at(tx.database_now())
        )
        return _require_some(found)
    person = persons.lock_present(tx, person_id)
    assert person is not None
    now = app.context.clock.at(person.database_now)
    lifted = _require_some(register.lift(tx, person.id, reason=reason, now=now))
    note = (person.id, "suppression_lifted", None, {"reason": reason, "entries": lifted})
    identities.insert_person_events(tx, [note], operator(), now)
    return lifted


def add_to(cli: typer.Typer) -> None:
    """Register these commands, under both names."""
    cli.add_typer(suppression, name="suppression")
    cli.add_typer(suppression, name="dnd")
