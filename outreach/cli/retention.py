"""Retention: how long what is kept, what would go now, and letting it go. And what somebody asked us to delete."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outreach.cli import output
from outreach.cli.output import AsJson, AskedReason, Reason, note, say
from outreach.cli.session import opened, operator
from outreach.errors import UsageError

if TYPE_CHECKING:
    from outreach.models.base import Row
    from outreach.runtime.archive import Leaving
    from outreach.runtime.context import Context
    from outreach.runtime.retention import Plan, Planned

retention = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="How long what is kept; letting go what was kept for long enough."
)  # fmt: skip
inbound = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What came in, and its deletion where somebody asks for it.")  # fmt: skip

_By = Annotated[str, typer.Option(help="Who; else the user of this machine.")]


@retention.command("plan")
def show_plan(ctx: typer.Context, as_json: AsJson = False) -> None:
    """What would go now, per kind, and what stays all the same. Writes nothing."""
    with opened(ctx) as app:
        _plan(app.context, as_json)


@retention.command()
def run(
    ctx: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
    archive: Annotated[Path | None, typer.Option("--archive", metavar="DIR", help="Old months of the log leave, too: as files in this directory.")] = None,
    by: _By = "",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Let go what was kept for long enough, batch by batch. May be broken off and run again; but for the log the sweep does it every night."""
    from outreach.runtime.archive import archive as archived
    from outreach.runtime.archive import require_place
    from outreach.runtime.retaining import run_now

    with opened(ctx) as app:
        if dry_run:
            _plan(app.context, as_json)
            return
        if archive:
            require_place(app.context, archive)
        done = run_now(app.context, by=by or operator())
        months = list(archived(app.context, archive, by=by or operator())) if archive else []
    counts = {kind: n for kind, n in done["counts"].items() if n}
    if as_json:
        output.document({"counts": counts, "began_at": done["began_at"], "by": done["by"], "months": months})
        return
    said = ", ".join(f"{n} {kind}" for kind, n in counts.items())
    say(f"gone: {said}" if said else "nothing was old enough")
    for month in months:
        where = f"{month.events} events in {month.path}" if month.path else "it had no events"
        say(f"{month.month}: " + (f"stays: {month.why_not}" if month.why_not else f"has left: {where}"))
    if any(month.why_not for month in months):
        note("what stays leaves by another run: outreach audit seal puts the log under a seal")


@retention.command("set")
def set_limit(
    ctx: typer.Context,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="messages, bodies, notices, profiles or events.")],
    amount: Annotated[str, typer.Argument(metavar="DAYS", help="Days; events: months; off: for ever.")],
    reason: Reason,
    by: _By = "",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """How long it is kept from now on. What has gone already does not come back."""
    from outreach.compliance.retention import KINDS, OFF
    from outreach.engine.suggest import did_you_mean
    from outreach.runtime.retention import set_limit as changed

    if kind not in KINDS:
        raise UsageError(f"nothing that is kept is called {kind!r}", hint=did_you_mean(kind, list(KINDS)))
    if amount != OFF and not (amount.isascii() and amount.isdigit() and len(amount) < 6):
        raise UsageError(f"{amount!r} is no number of {KINDS[kind].unit}", hint=f"a whole number, or {OFF}")
    with opened(ctx) as app:
        said = changed(app.context, kind, None if amount == OFF else int(amount), reason=reason, by=by or operator())  # fmt: skip
    output.done(said, f"{kind} are kept {said['now']} (was {said['was']})", as_json)


# --- the plan ------------------------------------------------------------------------------------------------------------


def _plan(context: "Context", as_json: bool) -> None:
    from outreach.runtime.archive import leaving
    from outreach.runtime.retention import plan

    found, log = plan(context), leaving(context)
    if as_json:
        output.document({**output.plain(found), "log": log})
        return
    rows = [_line(one) for one in found.kinds]
    output.table(rows, ("kind", "kept", "would_go", "oldest", "size", "still_needed"))
    say()
    for one in found.kinds:
        say(f"{one.kind}: {one.what}. Stays: {one.stays}.")
    say("Never touched: the ledger, permissions and objections with their proofs, ids by which a replay is known.")  # fmt: skip
    _say_log(log)
    say("\nasked for by somebody")
    output.table([asked_line(row) for row in found.asked], ASKED, empty="nothing")
    _say_runs(found)


def _say_log(log: "Leaving") -> None:
    """The log: months that may leave it, which only happens where somebody names a directory."""
    if log.before is None:
        say("\nevents: kept for ever (outreach retention set events MONTHS)")
        return
    say(
        f"\nevents: months before {log.before:%Y-%m} may leave as files: outreach retention run --archive DIR"
    )
    rows = [
        {"month": month, "size": f"{size / 1024**2:.1f} MB", "stays": f"{unsealed} events are not sealed" if unsealed else None}
        for month, size, unsealed in log.months
    ]  # fmt: skip
    output.table(rows, ("month", "size", "stays"), empty="none is old enough")
    if log.stray:
        say(
            f"{log.stray if log.stray < _STRAY else f'{_STRAY} or more'} older events stay: their months have no partition of their own"
        )


#: As far as events without a month of their own are counted.
_STRAY = 1000


def _say_runs(found: "Plan") -> None:
    if found.last:
        counts = ", ".join(f"{n} {kind}" for kind, n in found.last["counts"].items()) or "nothing"
        say(f"\nlast run {output.shown(found.last['began_at'])} by {found.last['by']}: {counts}")
    else:
        say("\nno run yet: the sweep makes one every night")
    if found.running:
        note("a run is under way: what it has not reached yet is counted above")


def _line(one: "Planned") -> dict[str, Any]:
    if one.until is None:
        return {
            "kind": one.kind,
            "kept": "for ever",
            "would_go": f"off (outreach retention set {one.kind} DAYS)",
        }
    return {
        "kind": one.kind, "kept": one.kept, "would_go": f"{one.rows}{' or more' if one.more else ''}", "oldest": one.oldest,
        "size": f"{one.bytes / 1024:.0f} kB" if one.bytes else None, "still_needed": one.needed,
    }  # fmt: skip


ASKED = ("id", "what", "reason", "asked_at", "due_by", "erased")


def asked_line(row: Mapping[str, Any]) -> dict[str, Any]:
    """A deletion that is not done yet, for people."""
    what = (
        f"message {row['content_id']}"
        if row["scope"] == "message"
        else f"all of account {row['account'] or 'unknown'}, from {output.shown(row['begin_at'])}"
    )
    return {**row, "what": what}


# --- asked for by somebody -------------------------------------------------------------------------------------------------


@inbound.command()
def delete(
    ctx: typer.Context,
    content_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of messages at the provider, as in dm:1870001; a bare number is a direct message.")],
    reason: AskedReason,
    channel: Annotated[str, typer.Option(help="twitter, linkedin, xmtp or email.")] = "twitter",
    account: Annotated[str, typer.Option(help="Only as this account of ours received it.")] = "",
    by: _By = "",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Its author, or the platform, wants it gone: its words go now, and do not come back, not even if it is told to us only later."""
    from outreach.models import accounts
    from outreach.runtime.deleting import delete_message
    from outreach.settings import CHANNELS

    output.require_word("channel", channel, list(CHANNELS))
    wanted = [_content_id(channel, one) for one in content_ids]
    with opened(ctx) as app:
        key = app.context.db.run(lambda tx: accounts.find(tx, account))["external_id"] if account else ""
        done = [
            delete_message(
                app.context,
                channel=channel,
                content_id=one,
                account_key=key,
                reason=reason,
                by=by or operator(),
            )
            for one in wanted
        ]
    if as_json:
        output.document([output.plain(one) | {"content_id": name} for name, one in zip(wanted, done, strict=True)])  # fmt: skip
        return
    for name, one in zip(wanted, done, strict=True):
        say(f"{name}: {_told(one.outcome, one.erased, output.shown(one.due_by))}")


def _content_id(channel: str, text: str) -> str:
    if channel == "twitter" and text.isascii() and text.isdigit():
        return f"dm:{text}"
    head, colon, rest = text.partition(":")
    if not (head and colon and rest):
        raise UsageError(f"{text!r} is no id of a message", hint="as in dm:1870001, the provider's own id")
    return text


def _told(outcome: str | None, erased: int, due_by: str) -> str:
    if outcome == "erased":
        return f"its words are gone ({erased} texts)" if erased else "its words were gone already"
    if outcome == "unknown":
        return "not known here; should it come later, its words are not stored"
    return f"not here, or still needed by a call in flight: remembered, looked at again, and done by {due_by} at the latest"


@inbound.command()
def deletions(ctx: typer.Context, as_json: AsJson = False) -> None:
    """What is still to be deleted because somebody asked for it, and by when."""
    from outreach.models import deletions as asked

    with opened(ctx) as app:
        rows: Sequence[Row] = app.context.db.run(lambda tx: asked.open_ones(tx, output.MOST_ROWS))
    output.listing([asked_line(row) for row in rows], ASKED, as_json, empty="nothing is to be deleted")


def add_to(cli: typer.Typer) -> None:
    """Register these commands."""
    cli.add_typer(retention, name="retention")
    cli.add_typer(inbound, name="inbound")
