"""Sequences as files: checked, published, listed, shown, drawn, paused."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outreach.cli import output
from outreach.cli.lanes import Accounts, Pools, Segments
from outreach.cli.output import AsJson, Reason, note, say
from outreach.cli.preview import SequenceFile, bytes_of, graph_in, preview, try_out
from outreach.cli.session import opened, operator
from outreach.errors import InvalidDefinition

if TYPE_CHECKING:
    from outreach.engine.compiler import Compiled
    from outreach.engine.problems import Problem

sequence = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Sequences: files, versions, states."
)

_Name = Annotated[str, typer.Argument(help="The sequence's name.")]
_Version = Annotated[int, typer.Option("--version", help="Which version; 0: the newest.")]


@sequence.command()
def check(
    ctx: typer.Context,
    files: Annotated[list[str], typer.Argument(help="YAML files, - for stdin, or https URLs.")],
    segments: Segments = None,
    accounts: Accounts = None,
    pools: Pools = None,
    as_json: AsJson = False,
) -> None:
    """Say everything that is wrong with the files, by line. Needs no database.

    With --segment also: for its people, what would run by itself at each action, what you would do, what is blocked and why;
    how many days the caps make of it, minutes and money.
    """
    from outreach.cli.lanes import forecasts, say_forecast
    from outreach.runtime.publish import check as checked

    found = {name: checked(bytes_of(name), name) for name in files}
    problems = {
        name: answer if isinstance(answer, list) else list(answer.warnings) for name, answer in found.items()
    }
    failed = [name for name, answer in found.items() if isinstance(answer, list)]
    sound = {name: answer.graph for name, answer in found.items() if not isinstance(answer, list)}
    ahead = forecasts(ctx, sound, segments or (), accounts or (), pools or ())
    if as_json:
        output.document(
            [
                {"file": n, "ok": n not in failed, "problems": p, **ahead.as_json(n)}
                for n, p in problems.items()
            ]
        )
    else:
        for name, answer in found.items():
            _say_checked(name, answer, problems[name])
            say_forecast(ahead.of(name))
    if failed:
        raise InvalidDefinition(f"{len(failed)} of {len(files)} file(s) cannot be published")


def _say_checked(name: str, answer: "Compiled | list[Problem]", problems: Sequence["Problem"]) -> None:
    for problem in problems:
        say(problem.describe(name))
    if not isinstance(answer, list):
        doors = ", ".join(entry.label for entry in answer.graph.entries)
        come = f"; people come in by {doors}" if doors else ""
        say(f"{name}: {answer.graph.sequence} is fine, {len(answer.graph.nodes)} actions{come}")


HotText = Annotated[
    bool,
    typer.Option(
        "--hot-text", help="Words alone have changed: leads in flight get them too. Shown first, then asked."
    ),
]


@sequence.command()
def publish(
    ctx: typer.Context,
    file: SequenceFile,
    segments: Segments = None,
    accounts: Accounts = None,
    pools: Pools = None,
    hot_text: HotText = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask (--hot-text).")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a version of the file. The same content again changes nothing; leads in flight stay on theirs.

    And the lanes, as check --segment shows them: of the segments named, else of all.
    """
    if hot_text:
        from outreach.cli.hot_text import publish_hot

        publish_hot(ctx, bytes_of(file), str(file), yes, as_json)
        return
    from outreach.cli.lanes import forecast_to_json, of_published, say_forecast
    from outreach.cli.policy import warn_for_graph
    from outreach.runtime.joining import all_doors
    from outreach.runtime.publish import check as checked
    from outreach.runtime.publish import publish as published

    data = bytes_of(file)
    with opened(ctx) as app:
        # Before anything is written: a segment or an account that is not there publishes nothing.
        sound = checked(data, file)
        ahead = (
            None
            if isinstance(sound, list)
            else of_published(app.context, sound.graph, segments or (), accounts or (), pools or ())
        )
        answer = published(app.context, data, file, by=operator())
        app.hint(all_doors(app.context))
        if not isinstance(sound, list):
            warn_for_graph(sound.graph, app.context.clock.now())
    if isinstance(answer, list):
        for problem in answer:
            note(problem.describe(file))
        raise InvalidDefinition(f"{file} cannot be published")
    for warning in answer.warnings:
        note(warning.describe(file))
    sentence = f"{answer.sequence} version {answer.version}" + (
        "" if answer.new else " says the same already"
    )
    values = {"sequence": answer.sequence, "version": answer.version, "new": answer.new}
    output.done(values | ({} if ahead is None else {"lanes": forecast_to_json(ahead)}), sentence, as_json)
    if not as_json:
        say_forecast(ahead)


@sequence.command("list")
def list_all(ctx: typer.Context, as_json: AsJson = False) -> None:
    """All sequences with their newest version and their leads."""
    from outreach.models import sequences

    with opened(ctx) as app:
        rows = app.context.db.run(sequences.listed)
    output.listing(
        rows, ("name", "state", "version", "active", "finished", "exited", "published_at"), as_json
    )


@sequence.command()
def show(ctx: typer.Context, name: _Name, version: _Version = 0, as_json: AsJson = False) -> None:
    """Its versions, its leads, and the author's file of one version."""
    from outreach.models import reports, sequences

    with opened(ctx) as app:

        def work(tx: Any) -> dict[str, Any]:
            found = sequences.find(tx, name)
            source = reports.version_source(tx, found["id"], version or None)
            return {**found, "versions": reports.versions(tx, found["id"]), "leads": reports.lead_states(tx, found["id"]),
                    "shown_version": source["version"], "source": source["source"]}  # fmt: skip

        row = app.context.db.run(work)
    if as_json:
        output.document(row)
        return
    output.facts({k: row[k] for k in ("name", "title", "state", "state_reason")})
    say()
    output.table(row["versions"], ("version", "active", "leads", "published_at", "published_by"))
    say()
    output.table(row["leads"], ("state", "exit_reason", "leads"), empty="no leads yet")
    say(f"\n# version {row['shown_version']}\n{row['source'].rstrip()}")


@sequence.command()
def graph(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="A published sequence's name, or a file.")],
    version: _Version = 0,
    as_json: AsJson = False,
) -> None:
    """The graph as a Mermaid flowchart; of a published one with its leads at each node."""
    from outreach.engine.mermaid import graph_to_mermaid

    compiled, counts = (
        (graph_in(name), None) if _is_path(name) else _graph_of_name(ctx, name, version or None)
    )
    text = graph_to_mermaid(compiled, counts)
    if as_json:
        output.document({"mermaid": text, "leads": counts})
    else:
        say(text.rstrip())


def _is_path(name: str) -> bool:
    """No sequence's name has a dot or a slash in it: with one, a file is meant, whether it is there or not."""
    return Path(name).is_file() or "." in name or "/" in name


def _graph_of_name(ctx: typer.Context, name: str, number: int | None) -> tuple[Any, dict[str, int]]:
    from outreach.models import reports, sequences

    with opened(ctx) as app:

        def work(tx: Any) -> tuple[Any, dict[str, int]]:
            version = reports.version_source(tx, sequences.find(tx, name)["id"], number)
            return sequences.graph_of(tx, version["id"]), reports.leads_at(tx, version["id"])

        return app.context.db.run(work)


@sequence.command()
def schema() -> None:
    """The JSON Schema of sequence files, for editors."""
    from outreach.engine.schema import definition_schema

    output.document(definition_schema())


@sequence.command("form-secret")
def form_secret(
    ctx: typer.Context,
    name: _Name,
    form: Annotated[str, typer.Argument(help="The form's name; may be left out where there is one.")] = "",
    rotate: Annotated[
        bool, typer.Option("--rotate", help="A new one; what is signed with the old one is refused at once.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Where a form of the sequence posts to, and the secret that it signs with. Keep it on your server, out of any page."""
    from outreach.runtime.doors import form_secret as secret_of

    with opened(ctx) as app:
        found = secret_of(app.context, name, form or None, rotate=rotate)
        url = app.settings.public_url.rstrip("/") + found.path
    values = {"url": url, "header": "Outreach-Signature: t=SECONDS,v1=HEX", "secret": found.secret}
    if as_json:
        output.document(values)
    else:
        output.facts(values)


def _set_state(ctx: typer.Context, name: str, state: str, reason: str | None, as_json: bool) -> None:
    from outreach.runtime.control import set_sequence

    with opened(ctx) as app:
        set_sequence(app.context, name, state, reason, operator())
    output.done({"sequence": name, "state": state, "reason": reason}, f"{name} is {state}", as_json)


@sequence.command()
def pause(
    ctx: typer.Context,
    name: _Name,
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Its leads stay where they are until it is resumed."""
    _set_state(ctx, name, "paused", reason, as_json)


@sequence.command()
def resume(ctx: typer.Context, name: _Name, as_json: AsJson = False) -> None:
    """Its leads go on."""
    _set_state(ctx, name, "active", None, as_json)


@sequence.command()
def archive(
    ctx: typer.Context, name: _Name, reason: Reason = "archived", as_json: AsJson = False
) -> None:  # fmt: skip
    """Nobody is enrolled any more; its leads stay where they are."""
    _set_state(ctx, name, "archived", reason, as_json)


def add_to(cli: typer.Typer) -> None:
    """Register these commands."""
    sequence.command()(preview)
    sequence.command("try")(try_out)
    cli.add_typer(sequence, name="sequence")
