"""Leads: listed, shown, paused, stopped; and why a human's leads are where they are."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outreach.cli import output
from outreach.cli.output import AsJson, Limit, Reason, say
from outreach.cli.session import opened, operator
from outreach.errors import UsageError

if TYPE_CHECKING:
    from outreach.compliance.verdicts import Verdict
    from outreach.models.base import Row, Tx
    from outreach.runtime.explain import LeadWhy, Why

lead = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Leads: a person's passage through a sequence."
)

_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?[+-]\d\d:\d\d")
_Id = Annotated[int, typer.Argument(metavar="ID", help="The lead's number.")]


def with_alias(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its person's alias, under which people are shown on screen."""
    from outreach.audience.aliases import alias

    return {**row, "person": alias(row["person_id"]) if row.get("person_id") is not None else None}


def _check_words(state: str, waiting_on: str) -> None:
    from outreach.engine.kinds import LeadState, WaitingOn

    output.require_word("state", state, [s.value for s in LeadState])
    output.require_word("waiting-on", waiting_on, [w.value for w in WaitingOn])


@lead.command("list")
def list_all(
    ctx: typer.Context,
    sequence: Annotated[str, typer.Option(help="Only of this sequence.")] = "",
    state: Annotated[str, typer.Option(help="active, finished or exited.")] = "",
    waiting_on: Annotated[str, typer.Option(help="time, signal, evidence, capacity, window, task, …")] = "",
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """The newest first."""
    from outreach.models import reports, sequences

    _check_words(state, waiting_on)
    with opened(ctx) as app:
        if sequence:
            app.context.db.run(lambda tx: sequences.find(tx, sequence))
        rows = app.context.db.run(
            lambda tx: reports.leads(tx, sequence=sequence or None, state=state or None, waiting_on=waiting_on or None, limit=limit)
        )  # fmt: skip
    columns = (
        "id",
        "person",
        "sequence",
        "version",
        "state",
        "node",
        "waiting_on",
        "waiting_detail",
        "due_at",
    )
    output.listing([with_alias(row) for row in rows], columns, as_json)


@lead.command()
def show(ctx: typer.Context, lead_id: _Id, as_json: AsJson = False) -> None:
    """Where it is, what it did, what stands against its next step."""
    from outreach.models import reports
    from outreach.runtime.explain import explain_lead

    with opened(ctx) as app:
        found = explain_lead(app.context, lead_id)
        app.context.db.run(note_archived)
        executions = app.context.db.run(lambda tx: reports.executions_of_lead(tx, lead_id))
    if as_json:
        output.document({**_why_json(found), "executions": executions})
        return
    _say_lead(found)
    say()
    output.table(
        executions,
        ("id", "node", "kind", "account", "state", "variant", "sent_at", "reason"),
        empty="nothing done yet",
    )


@lead.command()
def pause(
    ctx: typer.Context,
    lead_id: _Id,
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """It stays where it is; a call under way is left to end."""
    from outreach.runtime.control import pause_lead

    with opened(ctx) as app:
        pause_lead(app.context, lead_id, reason, operator())
    output.done({"lead": lead_id, "paused": reason}, f"lead {lead_id} is paused: {reason}", as_json)


@lead.command()
def resume(ctx: typer.Context, lead_id: _Id, as_json: AsJson = False) -> None:
    """It goes on from where it is."""
    from outreach.runtime.control import resume_lead

    with opened(ctx) as app:
        app.hint(resume_lead(app.context, lead_id, operator()))
    output.done({"lead": lead_id, "resumed": True}, f"lead {lead_id} goes on", as_json)


@lead.command()
def stop(
    ctx: typer.Context, lead_id: _Id, reason: Reason = "stopped", as_json: AsJson = False
) -> None:  # fmt: skip
    """It ends here; what is planned is cancelled."""
    from outreach.runtime.control import stop_lead

    if not reason.strip():
        raise UsageError("a stop needs a reason")
    with opened(ctx) as app:
        stop_lead(app.context, lead_id, reason, operator())
    output.done({"lead": lead_id, "stopped": reason}, f"lead {lead_id} has ended: {reason}", as_json)


# --- why ---------------------------------------------------------------------------------------------------------


def why(ctx: typer.Context, who: Annotated[str, typer.Argument(help="WHO")], as_json: AsJson = False) -> None:
    """Why this human's leads are where they are, what stands against the next step, and when it can happen."""
    from outreach.cli.who import find_person
    from outreach.runtime.explain import explain

    with opened(ctx) as app:
        found = explain(app.context, find_person(app.context.db, who))
        app.context.db.run(note_archived)
    if as_json:
        output.document({**output.plain(found), "leads": [_why_json(one) for one in found.leads]})
    else:
        _say_why(found)


def _why_json(found: "LeadWhy") -> dict[str, Any]:
    verdicts = [{**output.plain(v), "meaning": v.meaning} for v in found.verdicts]
    against = [v.rule for v in found.against]
    return {
        **output.plain(found),
        "verdicts": verdicts,
        "against": against,
        "earliest": output.plain(found.earliest),
    }


def _say_why(found: "Why") -> None:
    from outreach.audience.aliases import alias

    say(f"{alias(found.person_id)} ({found.person_id}) at {output.shown(found.now)}")
    if found.suppressed_at:
        say(f"on the do-not-contact list since {output.shown(found.suppressed_at)}")
    if found.paused_at:
        say(f"paused since {output.shown(found.paused_at)}")
    for event in found.path:
        say(f"  {event_line(event)}")
    if not found.leads:
        say("in no sequence")
    for one in found.leads:
        say()
        _say_lead(one)


def _say_lead(found: "LeadWhy") -> None:
    row = with_alias(found.lead)
    say(f"lead {row['id']} · {row['person']} · {row['sequence']} version {row['version']} · {row['state']}")
    for event in found.path:
        say(f"  {event_line(event)}")
    if row["state"] != "active":
        say(f"  ended {output.shown(row['ended_at'])}: {row['exit_reason'] or 'finished'}")
        return
    detail = f" ({row['waiting_detail']})" if row["waiting_detail"] else ""
    look = "due since" if row["due_at"] <= found.now else "looked at again"
    say(f"  at {row['node']}, waits on {row['waiting_on']}{detail}; {look} {output.shown(row['due_at'])}")
    for verdict in found.verdicts:
        say(f"    {_verdict_line(verdict)}")
    say(f"  {_outlook(found)}")


def _outlook(found: "LeadWhy") -> str:
    """What blocks the next step, and when it can happen."""
    against = ", ".join(v.rule for v in found.against)
    if found.execution_id is None:
        return "next send: none is planned; what comes next is decided when something comes in, or at that instant"
    if found.earliest is None:
        rules = ", ".join(v.rule for v in found.needs_somebody) or "no timetable"
        task = f"; task {found.task_id} waits for somebody (outreach task list)" if found.task_id else ""
        return f"next send: not by itself: {rules}{task}"
    blocked = f", until then blocked by {against}" if against else ""
    if found.earliest <= found.now:
        return "next send: now: nothing stands against it, and the next tick takes it up"
    return f"next send: {output.shown(found.earliest)} at the earliest{blocked}"


def _verdict_line(verdict: "Verdict") -> str:
    """A refusal with its meaning; what lets through with its numbers, which say more than a sentence."""
    until = f", until {output.shown(verdict.until)}" if verdict.until else ""
    said = output.shown(verdict.numbers) if verdict.allowed else f"{verdict.meaning}{until}"
    return f"{verdict.decision.value:<9} {verdict.rule}: {said}"


def note_archived(tx: "Tx") -> None:
    """On stderr: of which months nothing is here any more, for it has left as files."""
    from outreach.models.archiving import archived

    row = archived(tx)
    if row["months"]:
        span = (
            f"{row['first']:%Y-%m}" if row["months"] == 1 else f"{row['first']:%Y-%m} to {row['last']:%Y-%m}"
        )
        output.note(f"events of {span} are archived as files (outreach retention) and not shown here")


def event_line(event: "Row") -> str:
    """One event as a line: when, what, by whom, with its payload's words."""
    by = "" if event["actor"] == "engine" else f" by {event['actor']}"
    said = {key: _instant(value) for key, value in event["payload"].items() if value not in (None, "")}
    payload = output.shown(said) if said else ""
    return f"{output.shown(event['at'])}  {event['kind']}{by}  {payload}".rstrip()


def _instant(value: Any) -> Any:
    """Payloads are JSON: an instant in one is text, and is shown as every other instant."""
    if not isinstance(value, str) or not _ISO.fullmatch(value):
        return value
    return datetime.fromisoformat(value).astimezone(UTC)


def add_to(cli: typer.Typer) -> None:
    """Register these commands."""
    cli.add_typer(lead, name="lead")
    cli.command()(why)
