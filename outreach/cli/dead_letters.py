"""What was set aside because it failed: leads that were parked, and messages that some worker could not take. Ids only, never words."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outreach.cli import output
from outreach.cli.output import AsJson, Limit, Reason, note, say
from outreach.cli.session import opened, operator
from outreach.errors import NotFound, OutreachError, UsageError

if TYPE_CHECKING:
    from outreach.app import App
    from outreach.letters import DeadLetter

letters = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="What was set aside because it failed: leads that were parked, messages that no worker could take.",
)

_Ids = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", help="As the list shows them: lead:7, message:…")
]
_All = Annotated[bool, typer.Option("--all", help="All of them.")]
_LEAD, _MESSAGE = "lead:", "message:"


@letters.command("list")
def list_all(ctx: typer.Context, limit: Limit = 50, as_json: AsJson = False) -> None:
    """The oldest first, with why."""
    with opened(ctx) as app:
        rows = [*_leads(app, limit), *(_row(one) for one in _messages(app))][:limit]
    output.listing(rows, ("id", "since", "what", "reason"), as_json, empty="nothing was set aside")


@letters.command()
def requeue(ctx: typer.Context, ids: _Ids = None, every: _All = False, as_json: AsJson = False) -> None:
    """Try them again: a lead is resumed, a message goes on its queue."""
    from outreach.letters import take_letter
    from outreach.runtime.control import resume_lead

    with opened(ctx) as app:
        leads, messages = _chosen(app, ids or [], every=every)
        for lead_id in leads:
            app.hint(resume_lead(app.context, lead_id, operator()))
        back = [one for one in messages if take_letter(app.broker, one, requeue=True)]
    _done("requeued", leads, back, "goes on", as_json)


@letters.command()
def drop(
    ctx: typer.Context,
    ids: _Ids = None,
    every: _All = False,
    reason: Reason = "dropped",
    as_json: AsJson = False,
) -> None:
    """Give them up: a lead ends with the reason, a message is thrown away (what is due is hinted again anyway)."""
    from outreach.letters import take_letter
    from outreach.runtime.control import stop_lead

    if not reason.strip():
        raise UsageError("a drop needs a reason")
    with opened(ctx) as app:
        leads, messages = _chosen(app, ids or [], every=every)
        for lead_id in leads:
            stop_lead(app.context, lead_id, reason, operator())
        gone = [one for one in messages if take_letter(app.broker, one, requeue=False)]
    _done("dropped", leads, gone, f"has ended: {reason}", as_json)


# --- what there is ---------------------------------------------------------------------------------------------------


def _leads(app: "App", limit: int) -> Iterator[dict[str, Any]]:
    from outreach.models import suspects
    from outreach.runtime.parking import STRIKES

    for row in app.context.db.run(lambda tx: suspects.parked(tx, strikes=STRIKES, limit=limit)):
        what = f"{row['sequence']} at {row['node']}"
        yield {"id": f"{_LEAD}{row['id']}", "since": row["paused_at"], "what": what, "reason": row["pause_reason"]}  # fmt: skip


def _messages(app: "App", *, required: bool = False) -> "list[DeadLetter]":
    """Where Redis is away, what is in Postgres is shown all the same."""
    from outreach.letters import dead_letters

    try:
        return dead_letters(app.broker)
    except OutreachError as error:
        if required:
            raise
        note(f"messages cannot be listed: {error.message}")
        return []


def _row(letter: "DeadLetter") -> dict[str, Any]:
    reads = letter.actor is not None
    return {
        "id": f"{_MESSAGE}{letter.id}",
        "since": letter.died_at,
        "what": f"{letter.actor}({', '.join(map(str, letter.args))}) on {letter.queue}" if reads else f"on {letter.queue}",
        "reason": "a worker that did not know its actor, or gave it up" if reads else "nobody can read it",
    }  # fmt: skip


def _chosen(app: "App", ids: Sequence[str], *, every: bool) -> "tuple[list[int], list[DeadLetter]]":
    """Leads and messages; all that are named must be there, or nothing is done. Raises UsageError, NotFound."""
    if every == bool(ids):
        raise UsageError("say which: ids, or --all", hint="outreach dead-letters list shows them")
    leads = {row["id"]: row for row in _leads(app, output.MOST_ROWS)}
    wants_messages = every or any(not one.startswith(_LEAD) for one in ids)
    messages = (
        {f"{_MESSAGE}{one.id}": one for one in _messages(app, required=wants_messages)}
        if wants_messages
        else {}
    )
    for one in ids:
        if one not in leads and one not in messages:
            raise NotFound(
                f"nothing is set aside under {one!r}", hint="outreach dead-letters list shows the ids"
            )
    named = dict.fromkeys(ids) if ids else {**leads, **messages}
    return [int(one.removeprefix(_LEAD)) for one in named if one in leads], [messages[one] for one in named if one in messages]  # fmt: skip


def _done(
    word: str, leads: Sequence[int], messages: "Sequence[DeadLetter]", then: str, as_json: bool
) -> None:
    if as_json:
        output.document(
            {word: [*(f"{_LEAD}{one}" for one in leads), *(f"{_MESSAGE}{one.id}" for one in messages)]}
        )
        return
    for lead_id in leads:
        say(f"lead {lead_id} {then}")
    for letter in messages:
        say(f"message {letter.id} is {word}")
    if not leads and not messages:
        say("nothing was set aside")


def add_to(cli: typer.Typer) -> None:
    """Register these commands."""
    cli.add_typer(letters, name="dead-letters")
