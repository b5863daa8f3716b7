"""`outreach keys`: the secrets under which credentials and opt-outs are stored: which there are, which are needed, and new ones."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outreach.cli import output
from outreach.cli.output import AsJson
from outreach.cli.session import at_the_switch, read_settings
from outreach.errors import OutreachError, UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from outreach.models.base import Database
    from outreach.peppers import Peppers
    from outreach.runtime.keyring import Ring
    from outreach.vault import Vault

keys = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="The keys of credentials, and the peppers of opt-outs."
)


@dataclass(frozen=True, slots=True)
class _Bunch:
    """The rings of this terminal, and the database that they are held against."""

    db: "Database"
    vault: "Vault"
    peppers: "Peppers"
    now: "datetime"


@contextmanager
def _bunch(ctx: typer.Context) -> Iterator[_Bunch]:
    """Without an app: these commands are for the hour in which none starts."""
    from outreach.peppers import Peppers
    from outreach.vault import Vault

    settings = read_settings(ctx)
    vault, peppers = Vault.of(settings.keys), Peppers.of(settings.pepper)
    with at_the_switch(ctx) as desk:
        yield _Bunch(desk.db, vault, peppers, desk.clock.now())


@keys.command()
def new(as_json: AsJson = False) -> None:
    """Print a fresh key: 32 random bytes. Needs no database. A pepper may be made the same way."""
    from outreach.vault import new_key

    key = new_key()
    if as_json:
        output.document({"key": key})
    else:
        output.say(key)


@keys.command()
def check(ctx: typer.Context, as_json: AsJson = False) -> None:
    """What is in the rings, what the database needs, what is stored under each. Exits 1 where a process could not start."""
    from outreach.models import keys as stored
    from outreach.runtime.keyring import rings

    with _bunch(ctx) as bunch:
        found = bunch.db.run(lambda tx: rings(tx, bunch.vault, bunch.peppers))
        digests = {row["pepper"]: row for row in bunch.db.run(stored.digests_by_pepper)}
    rows = [row for ring in found for row in _rows(ring, digests)]
    faults = [fault for ring in found if (fault := ring.fault()) is not None]
    if as_json:
        output.document({"ok": not faults, "faults": [fault.message for fault in faults], "secrets": rows})
    else:
        output.table(rows, ("kind", "id", "ring", "known_since", "stored"))
        for fault in faults:
            output.note(str(fault))
    if faults:
        raise typer.Exit(OutreachError.exit_code)


def _rows(ring: "Ring", digests: dict[str, Any]) -> list[dict[str, Any]]:
    """In the ring's order; then what is missing, then what is only remembered."""
    ids = dict.fromkeys((*ring.ids, *ring.missing, *ring.used, *ring.met))
    return [
        {
            "kind": ring.kind,
            "id": id_,
            "ring": _role(ring, id_),
            "known_since": ring.met[id_]["known_since"] if id_ in ring.met else None,
            "stored": _stored(ring, id_, digests),
        }
        for id_ in ids
    ]


def _role(ring: "Ring", id_: str) -> str:
    if id_ in ring.ids:
        return "current" if id_ == ring.ids[0] else "older"
    if id_ in ring.missing:
        return "MISSING"
    return "given up" if ring.given_up(id_) else "dropped"


def _stored(ring: "Ring", id_: str, digests: dict[str, Any]) -> str:
    if id_ in digests:
        row = digests[id_]
        return f"identifiers: {row['identities']}, of erased people: {row['erased']}; opt-outs of unknown ones: {row['unknown']}"
    return ring.used.get(id_, "nothing")


@keys.command()
def rotate(
    ctx: typer.Context,
    stopped: Annotated[
        bool,
        typer.Option("--stopped", help="Nothing else runs: secrets that no process has met may be used."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put everything under the first key and pepper of the rings, beside running workers. It may be broken off and run again."""
    from outreach.runtime.rotate import rotate as put_under_first

    with _bunch(ctx) as bunch:
        done = put_under_first(bunch.db, bunch.vault, bunch.peppers, now=bunch.now, stopped=stopped)
    if as_json:
        output.document(
            {
                "credentials": done.credentials, "broken": list(done.broken), "identities": done.identities, "bound": list(done.bound),
                "may_be_dropped": {ring.kind: ring.droppable for ring in done.rings},
            }
        )  # fmt: skip
    else:
        output.say(f"credentials sealed anew under key {bunch.vault.current}: {done.credentials}")
        output.say(f"identifiers remembered anew under pepper {bunch.peppers.current}: {done.identities}")
        for line in [*_droppable(done.rings), *_bound(done.rings, done.bound)]:
            output.say(line)
        for why in done.broken:
            output.note(f"left as it is: {why}")
    if done.broken:
        raise typer.Exit(OutreachError.exit_code)


def _droppable(rings: "Sequence[Ring]") -> list[str]:
    from outreach.runtime.keyring import VARIABLES

    return [f"may be dropped from {VARIABLES[ring.kind]}: {id_}" for ring in rings for id_ in ring.droppable]


def _bound(rings: "Sequence[Ring]", rows: Sequence[dict[str, Any]]) -> list[str]:
    """Only digests of them are kept: nobody can put them under another pepper."""
    pepper = rings[0]
    return [
        f"{'given up' if pepper.given_up(row['pepper']) else 'must stay in OUTREACH_PEPPER'}: {row['pepper']}; of these only digests are kept: "
        f"identifiers of erased people: {row['erased']}, opt-outs of unknown ones: {row['unknown']}"
        for row in rows
    ]


@keys.command("give-up")
def give_up(
    ctx: typer.Context,
    id_: Annotated[str, typer.Argument(metavar="ID", help="Of a key or pepper that keys check calls MISSING.")],
    yes: Annotated[bool, typer.Option("--yes", help="It is lost for ever.")] = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """It is lost for ever: go on without it, and without what was stored under it. Look for it first."""
    from outreach.runtime.give_up import give_up as go_on_without

    if not yes:
        raise UsageError(
            f"what is stored under {id_} is lost for ever by this",
            hint="docs/runbook.md, A key is lost, says what that is; --yes if so",
        )
    with _bunch(ctx) as bunch:
        done = go_on_without(bunch.db, bunch.vault, bunch.peppers, id_, now=bunch.now)
    sentence = f"{done.kind} {id_} is given up"
    if done.stopped:
        sentence += f"; to be connected again: {', '.join(done.stopped)}"
    output.done({"kind": done.kind, "id": done.id, "stopped": done.stopped}, sentence, as_json)


def add_to(cli: typer.Typer) -> None:
    """Register these commands."""
    cli.add_typer(keys, name="keys")
