"""The three lanes on the screen: per action how many leads are auto, yours or blocked, and what all of it takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outreach.cli import output
from outreach.cli.output import note, say
from outreach.cli.session import opened
from outreach.errors import OutreachError

if TYPE_CHECKING:
    from outreach.engine.graph import Graph
    from outreach.runtime.context import Context
    from outreach.runtime.forecast import Forecast, NodeLanes

Segments = Annotated[
    list[str] | None, typer.Option("--segment", help="Whose lanes to show; give it again for more.")
]
Accounts = Annotated[list[str] | None, typer.Option("--account", help="CHANNEL=NAME or NAME, as for enroll.")]
Pools = Annotated[list[str] | None, typer.Option("--pool", help="A sender pool, as for enroll.")]
#: Reasons that are said per action and lane; --json has them all.
_SAID = 6
#: So many people are judged at publishing without being asked for: a few seconds.
_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Forecasts:
    """Of some files, by name; none where no segment was named."""

    found: "Mapping[str, Forecast]" = field(default_factory=dict)

    def of(self, name: str) -> "Forecast | None":
        return self.found.get(name)

    def as_json(self, name: str) -> dict[str, Any]:
        """`lanes`, where there are any."""
        found = self.of(name)
        return {} if found is None else {"lanes": forecast_to_json(found)}


def forecasts(
    ctx: typer.Context, graphs: "Mapping[str, Graph]", segments: Sequence[str], accounts: Sequence[str], pools: Sequence[str]
) -> Forecasts:  # fmt: skip
    """One forecast per file; without a segment no database is asked for."""
    if not segments or not graphs:
        return Forecasts()
    from outreach.runtime.forecast import forecast

    with opened(ctx) as app:
        return Forecasts(
            {
                name: forecast(app.context, graph, segments, account_names=accounts, pools=pools)
                for name, graph in graphs.items()
            }
        )


def of_published(
    context: "Context", graph: "Graph", segments: Sequence[str], accounts: Sequence[str], pools: Sequence[str]
) -> "Forecast | None":
    """As for check. Where no segment was named: of all that there are, unless that would take long or nobody could speak."""
    from outreach.models import reports
    from outreach.runtime.forecast import forecast

    known = {} if segments else {row["name"]: row["members"] for row in context.db.run(reports.segments)}
    if not segments and not known:
        return None
    if sum(known.values()) > _AT_ONCE:
        note(
            "outreach sequence check FILE --segment NAME shows whom it may contact: there are too many people to ask unasked"
        )
        return None
    try:
        return forecast(context, graph, segments or sorted(known), account_names=accounts, pools=pools)
    except OutreachError as error:
        if segments:
            raise
        note(f"whom it may contact cannot be said yet: {error.message}")
        return None


def forecast_to_json(found: "Forecast") -> dict[str, Any]:
    """Money as text, so that no cent is lost; every rule with its meaning."""
    plain: dict[str, Any] = output.plain(found)
    rules = {rule for node in found.nodes for reasons in node.reasons.values() for rule in reasons}
    return plain | {"meanings": {rule: meaning(rule) for rule in sorted(rules)}}


def meaning(rule: str) -> str:
    """The rule in words."""
    from outreach.compliance.verdicts import RULES
    from outreach.runtime.forecast import MISSING, UNREACHED

    if rule.startswith(MISSING):
        return "The lead lacks what the text needs; it waits until somebody fills it in."
    if rule == UNREACHED:
        return (
            "An earlier action keeps them: it is blocked and no FAILED edge leads on, or it lacks a variable."
        )
    return RULES[rule].meaning


def say_forecast(found: "Forecast | None") -> None:
    """The lanes, their reasons, the days, the minutes and the money."""
    if found is None:
        return
    say(
        f"\n{found.sequence} for {', '.join(found.segments)}: {found.members} people, {found.enrolled} would be enrolled"
    )
    for reason, count in found.left_out.items():
        say(f"  {count} left out: {reason}")
    say()
    output.table(
        [_row(node) for node in found.nodes],
        ("node", "action", "auto", "yours", "blocked", "minutes", "dollars"),
        empty="it contacts nobody",
    )
    for node in found.nodes:
        _say_reasons(node)
    _say_days(found)
    _say_totals(found)


def _row(node: "NodeLanes") -> dict[str, Any]:
    from outreach.compliance.verdicts import Lane

    return {
        "node": node.node,
        "action": node.kind.value,
        **{lane.value: node.lanes[lane] for lane in Lane},
        "minutes": float(node.minutes),
        "dollars": "unknown" if node.dollars is None else f"{node.dollars:.2f}",
    }


def _say_reasons(node: "NodeLanes") -> None:
    from outreach.compliance.verdicts import Lane

    lines = [(lane, rule, n) for lane in Lane for rule, n in node.reasons[lane].most_common()]
    if not lines and not node.answered:
        return
    say(
        f"\n{node.node}"
        + (" (judged as if they had just answered: only an answer leads here)" if node.answered else "")
    )
    for lane, rule, count in lines[:_SAID]:
        word = "auto, but not now" if lane is Lane.AUTO else lane.value
        say(f"  {count} {word}: {rule} - {meaning(rule)}")
    if len(lines) > _SAID:
        say(f"  and {len(lines) - _SAID} more reasons; --json has them")


def _say_days(found: "Forecast") -> None:
    if not found.days:
        return
    say("\ndays at the caps of today, if nothing else wants these accounts")
    rows = [
        {"account": d.account, "action": d.kind.value, "steps": d.steps, "ahead": d.ahead, "days": d.days or "no limit",
         "a_day": d.per_day or None, "bound_by": d.by, "used_now": d.used}
        for d in found.days
    ]  # fmt: skip
    output.table(rows, ("account", "action", "steps", "ahead", "days", "a_day", "bound_by", "used_now"))
    say(
        "  (what the tightest cap leaves today, then its rate over a week: a cap per day or date times the days on which the window"
        " is open; a shorter one times the hours it is open; a longer one as it is. Waits between actions come on top.)"
    )


def _say_totals(found: "Forecast") -> None:
    from outreach.compliance.prices import ACTIONS, ARRIVALS

    review = f", {float(found.review_minutes):g} of them for the first OKs" if found.review_minutes else ""
    say(f"\nyour time     {float(found.minutes):g} minutes{review}")
    looks = f", {found.lookups} handles to look up included" if found.lookups else ""
    say(f"the provider  ${found.dollars:.2f}{looks}")
    if found.unpriced:
        say(f"              and what nobody has a price of: {', '.join(found.unpriced)}")
    priced = [ACTIONS[node.kind] for node in found.nodes if node.kind in ACTIONS]
    if priced:
        say(
            f"              ({priced[0].source}, as of {priced[0].read_on}; each message that comes in is ${ARRIVALS['twitter', 'message_in', 'webhook'].usd} more;"
            " a simulator charges nothing)"
        )
    say("At most, all of it: as if everybody came to every action whom nothing keeps from it.")
