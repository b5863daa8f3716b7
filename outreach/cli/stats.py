"""Funnels per sequence, and how well it goes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outreach.cli import output
from outreach.cli.leads import with_alias
from outreach.cli.output import AsJson, say
from outreach.cli.session import opened
from outreach.errors import UsageError

if TYPE_CHECKING:
    from outreach.app import App
    from outreach.models.base import Row
    from outreach.runtime.performance import Performance

_FUNNEL = (
    "node", "variant", "planned", "sent", "failed", "passed_over", "blocked", "cancelled", "waiting", "in_doubt", "replies",
    "positive_replies", "reads",
)  # fmt: skip


def stats(
    ctx: typer.Context,
    sequence: Annotated[
        str, typer.Argument(help="The sequence's name; with --health it may be left out.")
    ] = "",
    health: Annotated[
        bool, typer.Option("--health", help="Lateness, providers' answers, stuck leads, times to reply.")
    ] = False,
    days: Annotated[int, typer.Option(help="How far --health looks back.", min=1, max=366)] = 7,
    tests: Annotated[
        bool, typer.Option("--tests", help="Of the test persons, who else are left out.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """The funnel per node and variant: what was planned, sent, answered. Reads where the channel tells."""
    if not sequence and not health:
        raise UsageError(
            "stats of what?", hint="name a sequence (outreach sequence list), or --health for all of them"
        )
    with opened(ctx) as app:
        if health:
            _show_health(app, sequence, days, as_json)
        else:
            _show_funnel(app, sequence, tests, as_json)


def _show_funnel(app: "App", sequence: str, tests: bool, as_json: bool) -> None:
    from outreach.models import reports, sequences

    def work(tx: Any) -> tuple[list["Row"], list["Row"]]:
        found = sequences.find(tx, sequence)
        return (
            reports.funnel(tx, found["id"], tests=tests),
            reports.lead_states(tx, found["id"], tests=tests),
        )

    funnel, states = app.context.db.run(work)
    rows = [{**row, "reads": reads(row)} for row in funnel]
    if as_json:
        output.document({"sequence": sequence, "leads": states, "funnel": rows})
        return
    output.table(states, ("state", "exit_reason", "leads"), empty="no leads yet")
    say()
    output.table(rows, _FUNNEL, empty="nothing planned yet")


def reads(row: Mapping[str, Any]) -> int | str:
    """No channel of this release tells who has read a message; where none did, zero would be a claim."""
    return row["reads"] or "not offered"


def _show_health(app: "App", sequence: str, days: int, as_json: bool) -> None:
    from outreach.broker import queue_lengths
    from outreach.runtime.performance import performance_since

    found = performance_since(app.context, sequence or None, days)
    queues = queue_lengths(app.broker)
    providers = [
        {**output.plain(one), "success": _share(one.success), "limited": _share(one.limited)}
        for one in found.providers
    ]
    if as_json:
        output.document({**output.plain(found), "providers": providers, "queues": queues})
        return
    _draw(found, providers, queues)


def _draw(found: "Performance", providers: list[dict[str, Any]], queues: Mapping[str, int] | None) -> None:
    late, replies = found.lateness, found.replies
    output.facts(
        {
            "since": found.since,
            "due now": f"{found.due}, the oldest since {output.shown(found.oldest_due_at)}"
            if found.due
            else 0,
            "hints waiting": "Redis does not answer" if queues is None else queues or "none",
            "due to begun": f"median {_span(late['median'])}, slowest twentieth {_span(late['slowest_twentieth'])}, of {late['claimed']}",
            "they answer after": f"{_span(replies['theirs'])} (median of {replies['replies']})",
            "we answer after": f"{_span(replies['ours'])} (median of {replies['answered']})",
        }
    )
    say("\nproviders")
    columns = (
        "channel",
        "calls",
        "sent",
        "success",
        "rate_limited",
        "limited",
        "refused",
        "not_begun",
        "put_off",
        "in_doubt",
    )
    output.table(providers, columns, empty="no calls")
    say("\nleads that have stood still for three days")
    rows = [with_alias(row) for row in found.stuck]
    output.table(rows, ("lead", "person", "sequence", "node", "waiting_on", "reason", "since"), empty="none")


def _share(part: float | None) -> str | None:
    return None if part is None else f"{100 * part:.1f} %"


def _span(seconds: float | None) -> str:
    """A duration as one says it."""
    if seconds is None:
        return "-"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def add_to(cli: typer.Typer) -> None:
    """Register the command."""
    cli.command()(stats)
