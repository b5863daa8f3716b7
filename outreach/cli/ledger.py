"""The ledger: every contact there was or may have been; and the human's word on the doubtful ones."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from outreach.cli import output
from outreach.cli.leads import with_alias
from outreach.cli.output import AsJson, Limit
from outreach.cli.session import opened, operator
from outreach.errors import UsageError

ledger = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="The ledger: every contact, or what may be one."
)

_Id = Annotated[int, typer.Argument(metavar="ID", help="The execution's number.")]


@ledger.command("list")
def list_all(
    ctx: typer.Context,
    state: Annotated[str, typer.Option(help="planned, sent, refused, in_doubt, held, …")] = "",
    account: Annotated[str, typer.Option(help="Only by this account.")] = "",
    since: Annotated[
        str, typer.Option(help="ISO 8601, as in 2026-01-05T12:00; UTC where no zone is given.")
    ] = "",
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """The newest first."""
    from outreach.engine.kinds import ExecutionState
    from outreach.models import accounts, reports

    output.require_word("state", state, [s.value for s in ExecutionState])
    moment = instant(since) if since else None
    with opened(ctx) as app:
        if account:
            app.context.db.run(lambda tx: accounts.find(tx, account))
        rows = app.context.db.run(
            lambda tx: reports.ledger(
                tx, state=state or None, account=account or None, since=moment, limit=limit
            )
        )
    columns = ("id", "lead_id", "person", "kind", "account", "state", "cause", "variant", "sent_at", "reason")
    output.listing([with_alias(row) for row in rows], columns, as_json)


def instant(text: str, option: str = "--since") -> datetime:
    """An instant as it was typed. Raises UsageError."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text!r} is no ISO 8601 instant", hint="as in 2026-01-05T12:00") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@ledger.command()
def show(ctx: typer.Context, execution_id: _Id, as_json: AsJson = False) -> None:
    """One contact: its state, its verdict with every number, its instants."""
    from outreach.models import reports

    with opened(ctx) as app:
        row = with_alias(app.context.db.run(lambda tx: reports.execution(tx, execution_id)))
    if as_json:
        output.document(row)
    else:
        output.facts(row)


@ledger.command()
def resolve(
    ctx: typer.Context,
    execution_id: _Id,
    happened: Annotated[bool, typer.Option("--happened/--not-happened", help="Is it there at the provider?")],
    again: Annotated[
        bool, typer.Option("--again", help="Not there: plan it again; every check is passed anew.")
    ] = False,
    by: Annotated[str, typer.Option(help="Who looked.")] = "",
    as_json: AsJson = False,
) -> None:
    """Say of a held contact whether it happened. It counts as used until you do."""
    from outreach.models import reports
    from outreach.runtime import human

    if happened and again:
        raise UsageError("--again is for what is not there", hint="--not-happened --again")
    with opened(ctx) as app:
        row = app.context.db.run(lambda tx: reports.execution(tx, execution_id))
        if row["state"] != "held" or row["task_id"] is None:
            raise UsageError(
                f"execution {execution_id} is {row['state']}", hint="only held ones wait for a human: outreach ledger list --state held"
            )  # fmt: skip
        close = human.again if again else human.done if happened else human.skip
        app.hint(close(app.context, row["task_id"], by or operator()))
        state = app.context.db.run(lambda tx: reports.execution(tx, execution_id))["state"]
    output.done({"execution": execution_id, "state": state}, f"execution {execution_id} is {state}", as_json)


def add_to(cli: typer.Typer) -> None:
    """Register these commands."""
    cli.add_typer(ledger, name="ledger")
