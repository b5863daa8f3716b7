"""The command line's root: every command group, and how errors become exit codes. Heavy imports live inside the commands."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from outreach.cli import (
    accounts,
    audience,
    audit,
    chaos,
    consent,
    db,
    dead_letters,
    doctor,
    enrolling,
    export,
    find,
    init,
    keys,
    leads,
    ledger,
    policy,
    replies,
    retention,
    running,
    sending,
    sequences,
    stats,
    status,
    subject,
    suppression,
    switches,
    tasks,
    tell,
    watching,
)
from outreach.cli.ending import end_with
from outreach.cli.session import Options

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Outreach sequences: at most one contact, proven silence, caps proven from the ledger.",
    epilog="Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 refused or deferred by the gate, "
    "4 in doubt: do not run it again. WHO is an id, alias, @handle, URL, email, address or part of a name. "
    "--traceback, anywhere, shows where an unexpected error arose.",
)
for room in (
    init,
    running,
    switches,
    sequences,
    audience,
    consent,
    accounts,
    enrolling,
    leads,
    sending,
    ledger,
    audit,
    db,
    tasks,
    suppression,
    replies,
    status,
    stats,
    policy,
    retention,
    watching,
    find,
    export,
    subject,
    tell,
    doctor,
    keys,
    dead_letters,
    chaos,
):
    room.add_to(cli)


@cli.callback()
def before(
    ctx: typer.Context,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Where servers that run here keep their data; else OUTREACH_DATA_DIR, else .outreach."
        ),
    ] = None,
) -> None:
    """What holds for every command."""
    ctx.obj = Options(data_dir=data_dir)


def run(words: Sequence[str]) -> int:
    """Run one command line; its exit code. An error of ours is a message with what to do, never a traceback."""
    show_where = "--traceback" in words
    try:
        cli(args=[word for word in words if word != "--traceback"], prog_name="outreach")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if show_where:
            raise
        return end_with(error)
    return 0
