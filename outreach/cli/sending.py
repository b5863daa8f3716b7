"""send: one message or follow to one human, once per key, through the same gate as everything else."""

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outreach.cli import output
from outreach.cli.output import AsJson, say
from outreach.cli.session import opened, operator
from outreach.errors import InDoubt, UsageError

if TYPE_CHECKING:
    from outreach.app import App
    from outreach.models.base import Row
    from outreach.runtime.hints import Hint, Hints
    from outreach.runtime.oneoff import OneOff

#: A one-off takes four steps (advance, resolve, advance, perform); more means that it goes round in circles.
_MOST_STEPS = 12
_DONE, _FAILED, _BY_GATE, _IN_DOUBT = 0, 1, 3, 4
#: Exit code by the execution's state. `planned`: deferred, or handed to a human.
EXIT_CODES = {
    "sent": _DONE, "refused": _FAILED, "absent": _FAILED, "skipped": _FAILED, "cancelled": _FAILED, "blocked": _BY_GATE,
    "planned": _BY_GATE, "calling": _IN_DOUBT, "in_doubt": _IN_DOUBT, "held": _IN_DOUBT,
}  # fmt: skip


def send(
    ctx: typer.Context,
    key: Annotated[str, typer.Option(help="Yours: the same key never sends twice.")],
    to: Annotated[str, typer.Option(help="WHO")],
    kind: Annotated[str, typer.Option(help="SEND_TWITTER_DM, FOLLOW_ON_TWITTER, …")],
    text: Annotated[str, typer.Option(help="What to say; - reads stdin.")] = "",
    subject: Annotated[str, typer.Option(help="SEND_EMAIL only.")] = "",
    account: Annotated[str, typer.Option(help="By which account, where there are several.")] = "",
    enqueue: Annotated[bool, typer.Option("--enqueue", help="Leave it to the workers.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send one, now, and say what became of it. Running it again with its key says what became of it then."""
    from outreach.cli.who import find_person
    from outreach.engine.kinds import CHANNEL_OF, ActionKind
    from outreach.runtime.oneoff import send_one

    output.require_word("kind", kind, [k.value for k in CHANNEL_OF])
    if not key.strip():
        raise UsageError("a one-off needs a key", hint="any word that you use for nothing else")
    body = sys.stdin.read() if text == "-" else text
    with opened(ctx) as app:
        person_id = find_person(app.context.db, to)
        made = send_one(
            app.context, key=key, person_id=person_id, kind=ActionKind(kind), text=body.strip() or None, subject=subject or None,
            account_names=(account,) if account else (), by=operator(),
        )  # fmt: skip
        code = finish_one(app, key, made, enqueue, as_json)
    raise typer.Exit(code)


def finish_one(app: "App", key: str, made: "OneOff", enqueue: bool, as_json: bool) -> int:
    """Carry it out here, or leave it to the workers, and say what has become of it; the exit code."""
    from outreach.runtime import hints

    first = hints.advance(made.lead_id)
    with _in_doubt_without_database():
        if enqueue:
            app.hint([first])
        else:
            carry_out(app, made.lead_id, first)
        row = _outcome(app, key)
    _say_outcome(row, made.new, enqueue, as_json)
    return _DONE if enqueue else exit_code(row)


@contextmanager
def _in_doubt_without_database() -> Iterator[None]:
    """A database that goes away while a contact is under way leaves nobody to say whether it was made."""
    from outreach.models.outage import AWAY

    try:
        yield
    except AWAY as error:
        raise InDoubt(
            "the database went away meanwhile: it may have been sent",
            hint="never with another key; the same key sends nothing twice and says what became of it",
        ) from error


def carry_out(app: "App", lead_id: int, first: "Hint") -> None:
    """Do here what the workers would do for this lead; what concerns others is hinted to them."""
    waiting = deque([first])
    for _ in range(_MOST_STEPS):
        if not waiting:
            return
        mine, others = _sorted_out(app, lead_id, _step(app, waiting.popleft()))
        waiting.extend(mine)
        app.hint(others)
    app.hint(waiting)


def _step(app: "App", hint: "Hint") -> "Hints":
    from outreach.runtime.advance import advance
    from outreach.runtime.perform import perform
    from outreach.runtime.resolve import resolve

    works = {"advance_lead": advance, "resolve_handles": resolve}
    return works.get(hint.actor, perform)(app.context, hint.id)


def _sorted_out(app: "App", lead_id: int, found: "Hints") -> tuple["Hints", "Hints"]:
    """Hints for this lead that are due now, and all others."""
    from outreach.models import reports

    executions = {row["id"] for row in app.context.db.run(lambda tx: reports.executions_of_lead(tx, lead_id))}
    mine: Hints = []
    others: Hints = []
    for hint in found:
        ours = (
            hint.id == lead_id
            if hint.actor == "advance_lead"
            else hint.actor == "resolve_handles" or (hint.actor.upper() in _kinds() and hint.id in executions)
        )
        (mine if ours and hint.after == 0 else others).append(hint)
    return mine, others


def _kinds() -> set[str]:
    from outreach.engine.kinds import CHANNEL_OF

    return {kind.value for kind in CHANNEL_OF}


def _outcome(app: "App", key: str) -> "Row":
    from outreach.models import enrolling

    def work(tx: Any) -> "Row":
        row = enrolling.by_key(tx, key)
        assert row is not None
        return row

    return app.context.db.run(work)


def exit_code(row: "Row") -> int:
    """By what became of the execution; a lead that ended without one has failed, one that waits is deferred."""
    state = row["execution_state"]
    if state is not None:
        return EXIT_CODES[state]
    return _BY_GATE if row["state"] == "active" else _FAILED


def _say_outcome(row: "Row", new: bool, enqueued: bool, as_json: bool) -> None:
    verdict = row["verdict"] or {}
    values = {
        "lead": row["lead_id"], "execution": row["execution_id"], "new": new, "state": row["execution_state"], "reason": row["reason"],
        "verdict": verdict or None, "waiting_on": row["waiting_on"], "due_at": row["due_at"], "exit_reason": row["exit_reason"],
        "enqueued": enqueued,
    }  # fmt: skip
    if as_json:
        output.document(values)
        return
    again = "" if new else " (this key was used before; nothing was added)"
    say(f"{'enqueued' if enqueued else row['execution_state'] or row['state']}: lead {row['lead_id']}{again}")
    for word in dict.fromkeys((row["reason"], row["exit_reason"], _meaning(verdict))):
        if word:
            say(f"  {word}")
    if row["waiting_on"]:
        say(
            f"  waits on {row['waiting_on']} until {output.shown(row['due_at'])}; outreach lead show {row['lead_id']} says why"
        )


def _meaning(verdict: "Row") -> str:
    from outreach.compliance.verdicts import RULES

    rule = RULES.get(str(verdict.get("rule")))
    return f"{rule.name}: {rule.meaning}" if rule else ""


def add_to(cli: typer.Typer) -> None:
    """Register this command."""
    cli.command()(send)
