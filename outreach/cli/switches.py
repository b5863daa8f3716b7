"""Switches: live, pause, resume."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outreach.cli.output import AsJson, document, done, note, require_word, say, table
from outreach.cli.session import at_the_switch, opened, operator
from outreach.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from outreach.app import App
    from outreach.models.base import Database, Row
    from outreach.runtime.stale import Answer, Scope, StaleNode

live = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Whether real providers may be called.")

#: So many calls are named; more than that are only counted on to end.
_MOST_CALLS = 100
_OWN = "own"
_MEANINGS = {
    _OWN: "each as its sequence says",
    "skip": "passed over; what follows is counted from now",
    "ask": "each becomes a task: send it all the same, or pass it over",
    "send": "sent all the same, as if they were due now; caps and pace hold",
}

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
    from outreach.models import pausing
    from outreach.runtime import control

    what = _one_of(everything, account, sequence, person)
    if not reason.strip():
        raise UsageError("a pause needs a reason", hint="--reason 'why'")
    with at_the_switch(ctx) as desk:
        named, by = _ids(desk.db, account, sequence, person), operator()
        begun = time.monotonic()
        if everything:
            control.pause_all(desk, reason, by)
        elif account:
            control.set_account(desk, account, reason, by)
        elif sequence:
            control.set_sequence(desk, sequence, "paused", reason, by)
        else:
            control.pause_person(desk, named["person"], reason, by)
        seconds = time.monotonic() - begun
        calls = desk.db.run(lambda tx: pausing.calls_under_way(tx, **named, limit=_MOST_CALLS))
    if as_json:
        document({"paused": what, "reason": reason, "seconds": round(seconds, 3), "calls_under_way": calls})
    else:
        _say_paused(what, reason, seconds, calls)


def _say_paused(what: str, reason: str, seconds: float, calls: "Sequence[Row]") -> None:
    from outreach.cli.leads import with_alias

    say(f"paused {what}: {reason} (binding after {seconds:.2f} s)")
    if not calls:
        say("no call was under way")
        return
    say(f"{len(calls)} call{'s' if len(calls) > 1 else ''} had begun before, and will end by itself:")
    columns = ("execution_id", "lead_id", "person", "sequence", "kind", "account", "started_at")
    table([with_alias(call) for call in calls], columns)
    if len(calls) == _MOST_CALLS:
        say(f"  (the first {_MOST_CALLS})")


def _ids(db: "Database", account: str, sequence: str, person: str) -> dict[str, int]:
    """What is named, by id. Raises NotFound naming the nearest."""
    if account:
        from outreach.models import accounts

        return {"account": int(db.run(lambda tx: accounts.find(tx, account))["id"])}
    if sequence:
        from outreach.models import sequences

        return {"sequence": int(db.run(lambda tx: sequences.find(tx, sequence))["id"])}
    if person:
        from outreach.cli.who import find_person

        return {"person": find_person(db, person)}
    return {}


_Stale = Annotated[
    str,
    typer.Option(
        "--stale",
        help="What becomes of steps that have come too late meanwhile: skip, ask or send. Without it you are asked; "
        "where nobody is, or for 'own', each goes as its sequence says.",
    ),
]


def resume(
    ctx: typer.Context, everything: _All = False, account: _Account = "", sequence: _Sequence = "", person: _Person = "", stale: _Stale = "",
    plan: Annotated[bool, typer.Option("--plan", help="Only show what has become too late.")] = False, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Go on: caps and pace keep what has piled up from bursting out, and you are asked about steps that have become too late."""
    from outreach.runtime.stale import Answer, Scope, stale_nodes

    what = _one_of(everything, account, sequence, person)
    require_word("stale", stale, [_OWN, *(word.value for word in Answer)])
    with opened(ctx) as app:
        scope = Scope(**_ids(app.context.db, account, sequence, person))
        found = stale_nodes(app.context, scope)
        if not as_json:
            _say_stale(found)
        answer = stale or (_OWN if plan or as_json else _asked(found))
        values: dict[str, Any] = {"stale": found, "answer": answer}
        if plan:
            done(values, f"{what} was not resumed (--plan)", as_json)
            return
        chosen = None if answer == _OWN else Answer(answer)
        _resume(app, scope, account, sequence, chosen)
    leads = sum(node.leads for node in found)
    suffix = f"; {leads} late steps: {_MEANINGS[answer]}" if leads else ""
    done({"resumed": what, **values}, f"resumed {what}{suffix}", as_json)


def _say_stale(found: "Sequence[StaleNode]") -> None:
    from outreach.cli.output import plain

    if found:
        say("these next steps have come later than their sequence allows:")
        rows = [{**plain(node), "by_itself": node.then.value} for node in found]
        table(rows, ("sequence", "node", "action", "leads", "by_itself"))


def _asked(found: "Sequence[StaleNode]") -> str:
    """The answer of whoever sits there; each sequence's own, said aloud, where nobody does."""
    if not found:
        return _OWN
    if not sys.stdin.isatty():
        note(
            "nobody is there to ask: each goes by itself, as its sequence says (--stale skip|ask|send says otherwise)"
        )
        return _OWN
    for word, meaning in _MEANINGS.items():
        note(f"  {word:<4}  {meaning}")
    return str(typer.prompt("What becomes of them?", default=_OWN, value_proc=_word, err=True))


def _word(typed: str) -> str:
    """One of the answers; whoever types another is asked again."""
    if typed not in _MEANINGS:
        raise typer.BadParameter(f"say one of {', '.join(_MEANINGS)}")
    return typed


def _resume(app: "App", scope: "Scope", account: str, sequence: str, answer: "Answer | None") -> None:
    from outreach.runtime import control
    from outreach.runtime.stale import answer_stale

    context, by = app.context, operator()
    if scope.person is not None:
        app.hint(control.unpause_person(context, scope.person, by, answer))
        return
    if answer is not None:
        # While it still stands still: nobody judges them in between.
        answer_stale(context, scope, answer, by)
    if account:
        control.set_account(context, account, None, by)
    elif sequence:
        control.set_sequence(context, sequence, "active", None, by)
    else:
        control.resume_all(context, by)


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
