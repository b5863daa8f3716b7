"""`outreach db`: the database itself, and who may do what in it."""

import typer

from outreach.cli import db_roles

db = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="The database itself, and who may do what in it."
)


@db.callback()
def group() -> None:
    """A group of its own, also while it has one command."""


def add_to(cli: typer.Typer) -> None:
    """Register the commands."""
    db_roles.add_to(db)
    cli.add_typer(db, name="db")
