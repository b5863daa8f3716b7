"""`outreach db roles`: a role for the app that may add to the log and never change it."""

from typing import Annotated

import typer

from outreach.cli import output
from outreach.cli.output import AsJson
from outreach.cli.session import at_the_switch


def roles(
    ctx: typer.Context,
    app: Annotated[
        str,
        typer.Option(
            help="An existing role, without rights of its own: it may add to the log and never change it."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Grant a role exactly what the engine needs. Run it as the owner of the tables; processes then connect as that role."""
    from outreach.models import roles as rights

    with at_the_switch(ctx) as desk:
        desk.db.run(lambda tx: rights.grant(tx, app))
    output.done(
        {"role": app},
        f"{app} can run web, worker and scheduler, add to the log, and neither change nor delete what stands there."
        " Give them a DATABASE_URL of this role; migrate, adopt and retention go on as the owner.",
        as_json,
    )


def add_to(db: typer.Typer) -> None:
    """Register the command in its group."""
    db.command()(roles)
