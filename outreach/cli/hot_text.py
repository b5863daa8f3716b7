"""publish --hot-text: new words for leads in flight. What changes is shown, for whom it comes in time, and then it is asked."""

import difflib
import sys
from typing import TYPE_CHECKING, Any

import typer

from outreach.cli import output
from outreach.cli.output import note, say
from outreach.cli.session import opened, operator
from outreach.errors import ConfigurationError, InvalidDefinition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from outreach.engine.problems import Problem
    from outreach.runtime.retexting import Retexted, RetextPlan, VersionPlan


def publish_hot(ctx: typer.Context, data: bytes, filename: str, yes: bool, as_json: bool) -> None:
    """Look, show, ask, do. Raises InvalidDefinition where more than words has changed: then nothing is published."""
    from outreach.runtime.retexting import look, retext

    with opened(ctx) as app:
        plan = look(app.context, data, filename)
        if isinstance(plan, list):
            _refuse(plan, filename)
            return
        if not as_json:
            _say_plan(plan)
        if not plan.new and not plan.moving:
            _say_done(plan, None, as_json)
            return
        if not yes and not _agreed(plan):
            note("nothing was changed")
            raise typer.Exit(1)
        answer = retext(app.context, data, filename, plan, by=operator())
        if isinstance(answer, list):
            _refuse(answer, filename)
            return
    _say_done(plan, answer, as_json)


def _refuse(problems: "Sequence[Problem]", filename: str) -> None:
    for problem in problems:
        note(problem.describe(filename))
    raise InvalidDefinition(f"{filename} cannot be published as words alone; nothing was changed")


def _agreed(plan: "RetextPlan") -> bool:
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "nobody is there to agree; nothing was changed", hint="--yes, once you have read it"
        )
    question = f"Give the new words to {plan.moving} lead{'' if plan.moving == 1 else 's'} in flight?"
    return typer.confirm(question if plan.moving else "Publish them?", err=True)


def _say_plan(plan: "RetextPlan") -> None:
    for warning in plan.warnings:
        note(warning.describe(plan.sequence))
    for version in plan.versions:
        say(f"{plan.sequence}, against version {version.version}:")
        _say_changes(version)
        output.table(output.plain(version.nodes), ("node", "would_get", "have_old"), empty="")
        if version.busy:
            say(
                f"{version.busy} with a call under way, or in a human's hands: not now; run this again for them"
            )
    for number, leads in plan.others.items():
        say(f"version {number} differs in more than words: its {leads} leads keep theirs")
    if plan.lacking:
        note(f"{plan.lacking} leads lack {', '.join(plan.needs)}: they will wait for it (missing_variable)")


def _say_changes(version: "VersionPlan") -> None:
    for one in version.changes:
        say(f"  {f'{one.node} ({one.part})' if one.node else one.part}")
        lines = list(difflib.ndiff(one.old.splitlines(), one.new.splitlines()))
        for line in lines:
            if line[:1] in "-+":
                say(f"    {line}")


def _say_done(plan: "RetextPlan", answer: "Retexted | None", as_json: bool) -> None:
    moved, busy = (answer.moved, answer.busy) if answer else (0, plan.busy)
    version = answer.published.version if answer else plan.newest
    values: dict[str, Any] = {
        "sequence": plan.sequence, "version": version, "new": plan.new, "moved": moved, "busy": busy, "plan": plan
    }  # fmt: skip
    if answer is None:
        sentence = f"{plan.sequence} version {version} says the same already, and no lead waits for its words"
    else:
        sentence = f"{plan.sequence} version {version}: {moved} leads get the new words"
    if busy:
        sentence += f"; {busy} were busy and keep the old: run it again for them"
    output.done(values, sentence, as_json)
