"""Enrolments: a segment's people into a sequence, batch by batch; a batch can be undone."""

from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from outreach.cli import output
from outreach.cli.output import MOST_ROWS, AsJson, Limit, say
from outreach.cli.session import opened, operator

if TYPE_CHECKING:
    from outreach.runtime.undo import Undone


class _EnrollGroup(TyperGroup):
    """`enroll SEQUENCE …` is `enroll people SEQUENCE …`; only `list` and `undo` stand for themselves."""

    default_command = "people"

    def parse_args(self, ctx: "typer.Context", args: list[str]) -> list[str]:  # type: ignore[override]
        named = bool(args) and (args[0] in self.commands or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if named or not args else [self.default_command, *args])


enroll = typer.Typer(
    cls=_EnrollGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Enroll people: outreach enroll SEQUENCE --segment S. And undo it, by its batch.",
    subcommand_metavar="SEQUENCE --segment S … | COMMAND [ARGS]...",
)


@enroll.command()
def people(
    ctx: typer.Context,
    sequence: Annotated[str, typer.Argument(help="The sequence's name.")],
    segments: Annotated[list[str], typer.Option("--segment", help="Whose members; give it again for more.")],
    accounts: Annotated[list[str] | None, typer.Option("--account", help="CHANNEL=NAME or NAME.")] = None,
    pools: Annotated[list[str] | None, typer.Option("--pool", help="A sender pool.")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also those who have been through it before.")
    ] = False,
    limit: Annotated[int, typer.Option(help="At most so many; 0: all.", min=0, max=MOST_ROWS)] = 0,
    as_json: AsJson = False,
) -> None:
    """Enroll the segments' people in a sequence. Doing it again adds only those who are new."""
    from outreach.runtime.enroll import enroll as enrolled

    with opened(ctx) as app:
        answer = enrolled(
            app.context, sequence, segments, account_names=accounts or (), pools=pools or (), again=again, limit=limit or None, by=operator()
        )  # fmt: skip
        app.hint(answer.hints)
    values = output.plain(answer)
    values.pop("hints")
    if as_json:
        output.document(values | ({} if answer.enrolled else {"batch": None}))
        return
    batch = f" (batch {answer.batch})" if answer.enrolled else ""
    say(
        f"{answer.enrolled} of {answer.members} enrolled in {answer.sequence} version {answer.version}{batch}"
    )
    for reason, count in answer.left_out.items():
        say(f"  {count} left out: {reason}")
    if answer.enrolled:
        output.note(f"a mistake? outreach enroll undo {answer.batch}")


@enroll.command("list")
def list_all(ctx: typer.Context, limit: Limit = 20, as_json: AsJson = False) -> None:
    """The newest batches, with how many of their leads are active."""
    from outreach.models import batches

    with opened(ctx) as app:
        rows = app.context.db.run(lambda tx: batches.listed(tx, limit))
    columns = ("id", "sequence", "version", "segments", "enrolled", "active", "at", "by", "undone_at")
    output.listing(rows, columns, as_json, empty="nobody has been enrolled yet")


@enroll.command()
def undo(
    ctx: typer.Context,
    batch: Annotated[str, typer.Argument(metavar="BATCH", help="As enroll printed it.")],
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """Stop those of a batch to whom nothing has gone out; list what went out to the others, who are left as they are."""
    from outreach.runtime.undo import undo as undone

    with opened(ctx) as app:
        found = undone(app.context, batch, operator(), limit=limit)
    if as_json:
        output.document(found)
    else:
        _say_undone(found, limit)


def _say_undone(found: "Undone", limit: int) -> None:
    from outreach.cli.leads import with_alias

    before = f" ({found.stopped_before} were before)" if found.stopped_before else ""
    say(f"batch {found.batch} of {found.sequence}: {found.stopped} of {found.enrolled} stopped{before}")
    if found.called:
        say(f"  {found.called} of all stopped had a call that surely came to nothing")
    if found.over:
        say(f"  {found.over} had ended by themselves, and nothing went out to them")
    if not found.touched:
        say("  nothing went out to anybody")
        return
    say(f"  {found.touched} are touched, and left as they are; outreach lead stop ID stops one")
    say()
    rows = [with_alias(row) for row in found.went_out]
    output.table(
        rows,
        ("lead_id", "person", "state", "node", "kind", "account", "execution_id", "execution_state", "at"),
    )
    if len(rows) == limit:
        say(f"  (the first {limit}; --limit shows more)")


def add_to(cli: typer.Typer) -> None:
    """Register these commands."""
    cli.add_typer(enroll, name="enroll")
