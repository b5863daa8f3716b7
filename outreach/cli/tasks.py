"""Tasks: what a human must do or decide. Here, and only here, the operator sees whom to write to."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from outreach.cli import output
from outreach.cli.leads import with_alias
from outreach.cli.output import AsJson, Limit, say
from outreach.cli.session import opened, operator

if TYPE_CHECKING:
    from outreach.runtime.context import Context
    from outreach.runtime.hints import Hints

task = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Tasks: what a human must do or decide.")

_Id = Annotated[int, typer.Argument(metavar="ID", help="The task's number.")]
_By = Annotated[str, typer.Option(help="Who; else the user of this machine.")]
_OPEN = ("open", "claimed", "asked")


@task.command("list")
def list_all(
    ctx: typer.Context,
    closed: Annotated[bool, typer.Option("--closed", help="Those that are over, instead.")] = False,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """The oldest first."""
    from outreach.models import tasks

    states = ("done", "skipped", "void") if closed else _OPEN
    with opened(ctx) as app:
        rows = app.context.db.run(lambda tx: tasks.listed(tx, states=states, limit=limit))
    columns = ("id", "kind", "person", "action_kind", "account", "state", "reason", "holder", "deadline")
    output.listing([with_alias(row) for row in rows], columns, as_json, empty="nothing to do")


@task.command()
def start(ctx: typer.Context, task_id: _Id, by: _By = "", as_json: AsJson = False) -> None:
    """Claim it: the gate judges first, then you see whom, by which account, and the text to paste."""
    from outreach.models import reports
    from outreach.runtime.taking import start as started

    with opened(ctx) as app:
        found = started(app.context, task_id, by or operator())
        spelt = app.context.db.run(lambda tx: reports.handles_of(tx, found.person_id, found.recipient_kind))
    if as_json:
        output.document({**output.plain(found), "handles": spelt})
        return
    output.facts({
        "task": found.task_id, "do": found.action, "as": found.account, "to": spelt or found.recipient,
        "because": found.reason, "until": found.deadline,
    })  # fmt: skip
    if found.text is not None:
        say(f"\n{found.text}\n")
    say(f"then: outreach task done {task_id} (or skip {task_id})")


def _close(
    ctx: typer.Context, task_id: int, by: str, as_json: bool, how: "Callable[[Context, int, str], Hints]"
) -> None:
    from outreach.models import tasks

    with opened(ctx) as app:
        app.hint(how(app.context, task_id, by or operator()))
        row = app.context.db.run(lambda tx: tasks.read(tx, task_id))
    values = {"task": task_id, "state": row["state"], "outcome": row["outcome"]}
    output.done(values, f"task {task_id} is {row['state']}: {row['outcome']}", as_json)


@task.command()
def done(ctx: typer.Context, task_id: _Id, by: _By = "", as_json: AsJson = False) -> None:
    """You did it (of a held one: it is there; of an unclear reply: it is no opt-out, go on; of a late step: send it)."""
    from outreach.runtime.human import done as happened

    _close(ctx, task_id, by, as_json, happened)


@task.command()
def skip(ctx: typer.Context, task_id: _Id, by: _By = "", as_json: AsJson = False) -> None:
    """You did not and will not (of a held one: it is not there; of an unclear reply: they stay paused; of a late step: pass it over)."""
    from outreach.runtime.human import skip as skipped

    _close(ctx, task_id, by, as_json, skipped)


def add_to(cli: typer.Typer) -> None:
    """Register these commands."""
    cli.add_typer(task, name="task")
