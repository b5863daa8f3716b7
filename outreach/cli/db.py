"""`outreach db`: a restored or cloned database, who adopts it, and what is still to be read before it sends."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outreach.cli import db_roles, output
from outreach.cli.output import AsJson, done, note, say
from outreach.cli.session import opened, operator, read_settings
from outreach.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from outreach.app import App
    from outreach.offbox import Line
    from outreach.runtime.adopting import Adopted

db = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="The database itself: restored, cloned, adopted."
)

_Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@db.command()
def status(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Is this the database that sends? Else why not, and what it waits for. Also how far the off-box journal is."""
    from outreach.runtime.recovering import database_standing

    with opened(ctx, of_any_name=True) as app:
        found = database_standing(app.context)
    if as_json:
        output.document(found)
        return
    output.facts(
        {
            name: found[name]
            for name in ("sends", "instance", "home", "here", "foreign", "journal")
            if found[name] is not None
        }
    )
    adoption = found["adoption"]
    if adoption is not None:
        say("\nadopted")
        output.facts(adoption)
    if found["waits_for"]:
        say("\nwaits for")
        output.table(found["waits_for"], ("what", "of", "why"))


@db.command()
def adopt(
    ctx: typer.Context,
    reason: Annotated[str, typer.Option("--reason", help="What was restored, from when, and why.")],
    journal: Annotated[
        list[str] | None,
        typer.Option(
            help="Where the off-box journal is: a file or a URL; several times if it was moved. Else OUTREACH_JOURNAL_URL."
        ),
    ] = None,
    no_journal: Annotated[
        bool, typer.Option("--no-journal", help="There is none: who opted out after the backup is forgotten.")
    ] = False,
    new_name: Annotated[
        str,
        typer.Option(
            "--as", help="A clone: it gets this name, is simulated for ever, and its tokens are forgotten."
        ),
    ] = "",
    yes: _Yes = False,
    as_json: AsJson = False,
) -> None:
    """Make a restored or cloned database the one that sends: replay the journal, then read what the backup does not know. Sends follow by themselves."""
    from outreach.runtime.adopting import Order, adopt

    with opened(ctx, of_any_name=True) as app:
        lines = [] if no_journal else _lines(app, journal or [])
        _require_name(app, new_name)
        if not yes:
            _ask(app, new_name, len(lines))
        adopted = adopt(
            app.context, Order(reason=reason, by=operator(), lines=lines, new_name=new_name or None)
        )
        values = _values(adopted)
        done(values, _sentence(adopted, cloned=bool(new_name)), as_json)
        note(
            "end all processes of this instance and start them again; outreach db status shows what it waits for"
        )


def _lines(app: "App", named: Sequence[str]) -> "list[Line]":
    from outreach.runtime.journaling import journal_place

    where: list[str | None] = [_as_url(one) for one in named] or [None]
    places = [journal_place(app.settings, app.context, url) for url in where]
    if places == [None]:
        raise ConfigurationError(
            "no off-box journal is named",
            hint="--journal FILE or URL, or OUTREACH_JOURNAL_URL; --no-journal if there is none, and opt-outs since the backup are lost",
        )
    return [line for place in places if place is not None for line in place.read()]


def _as_url(named: str) -> str:
    return named if "://" in named else Path(named).absolute().as_uri()


def _require_name(app: "App", new_name: str) -> None:
    mine = app.settings.instance
    wanted = new_name or app.instance.name
    if mine is not None and mine != wanted:
        raise ConfigurationError(
            f"OUTREACH_INSTANCE is {mine!r}, and the database would be {wanted!r}",
            hint=f"--as {mine} makes a clone of that name; else set OUTREACH_INSTANCE={app.instance.name}",
        )
    if new_name and new_name == app.instance.name:
        raise UsageError(f"{new_name!r} is the name of the original", hint="a clone needs a name of its own")


def _ask(app: "App", new_name: str, lines: int) -> None:
    here = app.instance
    sign = here.foreign_reason or "no sign says that it is a restored one"
    what = (
        f"becomes {new_name!r}, simulated for ever, without tokens"
        if new_name
        else "becomes the database that sends"
    )
    question = f"{here.name}: {sign}.\n{lines} journal lines are there. It {what}. The original must have been ended. Adopt it?"
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to confirm", hint=f"{question}\n  --yes says so")
    typer.confirm(question, abort=True, err=True)


def _values(adopted: "Adopted") -> dict[str, Any]:
    return {
        "instance": adopted.name, "found": adopted.found, "backup_at": adopted.backup_at, "fence": adopted.fence,
        "replayed": dict(adopted.replayed), "to_erase": len(adopted.to_erase), "tokens_forgotten": adopted.tokens_forgotten,
    }  # fmt: skip


def _sentence(adopted: "Adopted", *, cloned: bool) -> str:
    replayed = (
        ", ".join(f"{count} {kind}" for kind, count in adopted.replayed.items()) or "nothing that it lacked"
    )
    what = (
        "a clone, simulated for ever"
        if cloned
        else "recovering: sends go on once everything since the backup has been read"
    )
    return f"{adopted.name} is adopted ({what}); from the journal: {replayed}; the backup ends at {output.shown(adopted.backup_at)}"


@db.command()
def release(
    ctx: typer.Context,
    reason: Annotated[
        str, typer.Option("--reason", help="Why sends may go on although not all could be read.")
    ],
    yes: _Yes = False,
    as_json: AsJson = False,
) -> None:
    """Let an adopted database send although something could not be read. What was sent after the backup may then be sent again."""
    from outreach.runtime.recovering import release

    with opened(ctx, of_any_name=True) as app:
        if app.instance.recovering_since is None:
            raise UsageError("this database is not recovering", hint="outreach db status")
        if not yes:
            if not sys.stdin.isatty():
                raise UsageError("nobody is there to confirm", hint="--yes says so")
            typer.confirm(
                "What was sent after the backup and could not be read may be sent again. Go on?",
                abort=True,
                err=True,
            )
        release(app.context, reason, operator())
    done({"released": True}, "released: sends go on", as_json)


@db.command()
def drill(
    ctx: typer.Context,
    seed: Annotated[int, typer.Option(help="Decides who does what.")] = 1,
    leads: Annotated[int, typer.Option(help="People.", min=20, max=5000)] = 150,
    data_dir: Annotated[Path | None, typer.Option(help="Where its servers keep their data.")] = None,
    as_json: AsJson = False,
) -> None:
    """Rehearse a restore on servers of its own: backup, more sends and opt-outs, loss, restore, adopt. Exits 1 if anything was sent twice, or to somebody who had said no."""
    from outreach.chaos.drill import run_drill
    from outreach.embedded.servers import start_servers
    from outreach.embedded.supervisor import interrupted_by_signals
    from outreach.settings import Settings

    folder = (data_dir or read_settings(ctx).data_dir) / "drill"
    folder.mkdir(parents=True, exist_ok=True)
    with interrupted_by_signals(), start_servers(Settings(data_dir=folder), "drill") as servers:
        result = run_drill(servers, folder, seed=seed, leads=leads, say=note)
    if as_json:
        output.document(result.figures())
    else:
        _show(result.figures(), result.verdict.findings)
    if not result.clean:
        raise typer.Exit(1)


def _show(figures: Mapping[str, Any], findings: Sequence[str]) -> None:
    output.facts(figures)
    for line in findings:
        say(f"finding: {line}")


def add_to(cli: typer.Typer) -> None:
    """Register the commands."""
    db_roles.add_to(db)
    cli.add_typer(db, name="db")
