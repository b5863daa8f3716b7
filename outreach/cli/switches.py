"""Switches: live, pause, resume."""

import sys
from typing import Annotated

import typer

from outreach.cli.output import AsJson, done
from outreach.cli.session import opened, operator
from outreach.errors import ConfigurationError, UsageError

live = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Whether real providers may be called.")

_Reason = Annotated[str, typer.Option("--reason", help="Why; it is shown wherever the pause is.")]
_All = Annotated[bool, typer.Option("--all", help="Everything.")]
_Account = Annotated[str, typer.Option("--account", help="One account.")]
_Sequence = Annotated[str, typer.Option("--sequence", help="One sequence.")]
_Person = Annotated[str, typer.Option("--person", help="One human: WHO.")]


@live.command("on")
def live_on(
    ctx: typer.Context,
    confirm: Annotated[
        str, typer.Option(help="The instance's name, instead of typing it at the prompt.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Let real providers be called, from now on. You confirm by typing the instance's name."""
    from outreach.runtime.control import go_live

    with opened(ctx) as app:
        go_live(app.context, confirm or _typed(), operator())
        done({"mode": "LIVE"}, "LIVE: real providers are called from now on", as_json)


def _typed() -> str:
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "nobody is there to confirm", hint="--confirm NAME, with the instance's name"
        )
    return str(typer.prompt("Real people will be contacted. Type the instance's name", err=True))


@live.command("off")
def live_off(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Call nothing beyond this machine any more."""
    from outreach.runtime.control import go_simulated

    with opened(ctx) as app:
        go_simulated(app.context, operator())
        done({"mode": "SIMULATED"}, "SIMULATED: nothing beyond this machine is called", as_json)


@live.command("status")
def live_status(ctx: typer.Context, as_json: AsJson = False) -> None:
    """The mode."""
    with opened(ctx) as app:
        done({"mode": app.instance.mode, "instance": app.instance.name}, app.instance.mode, as_json)


def pause(
    ctx: typer.Context, reason: _Reason, everything: _All = False, account: _Account = "", sequence: _Sequence = "", person: _Person = "",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Stop sending: everything, one account, one sequence or one human. Binding when it returns."""
    from outreach.cli.who import find_person
    from outreach.runtime import control

    what = _one_of(everything, account, sequence, person)
    if not reason.strip():
        raise UsageError("a pause needs a reason", hint="--reason 'why'")
    with opened(ctx) as app:
        context, by = app.context, operator()
        if everything:
            control.pause_all(context, reason, by)
        elif account:
            control.set_account(context, account, reason, by)
        elif sequence:
            control.set_sequence(context, sequence, "paused", reason, by)
        else:
            control.pause_person(context, find_person(context.db, person), reason, by)
        done({"paused": what, "reason": reason}, f"paused {what}: {reason}", as_json)


def resume(
    ctx: typer.Context, everything: _All = False, account: _Account = "", sequence: _Sequence = "", person: _Person = "",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Go on: caps and pace keep what has piled up from bursting out."""
    from outreach.cli.who import find_person
    from outreach.runtime import control

    what = _one_of(everything, account, sequence, person)
    with opened(ctx) as app:
        context, by = app.context, operator()
        if everything:
            control.resume_all(context, by)
        elif account:
            control.set_account(context, account, None, by)
        elif sequence:
            control.set_sequence(context, sequence, "active", None, by)
        else:
            app.hint(control.unpause_person(context, find_person(context.db, person), by))
        done({"resumed": what}, f"resumed {what}", as_json)


def _one_of(everything: bool, account: str, sequence: str, person: str) -> str:
    named = [
        words
        for given, words in (
            (everything, "everything"), (account, f"account {account}"), (sequence, f"sequence {sequence}"), (person, "one person"),
        )
        if given
    ]  # fmt: skip
    if len(named) != 1:
        raise UsageError("say what: one of --all, --account, --sequence, --person")
    return named[0]


def add_to(cli: typer.Typer) -> None:
    """Register these commands."""
    cli.add_typer(live, name="live")
    cli.command()(pause)
    cli.command()(resume)
