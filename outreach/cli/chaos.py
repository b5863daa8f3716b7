"""`outreach chaos`: the suite of faults, judged by the provider's own log."""

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outreach.cli import output
from outreach.cli.output import AsJson, note, say
from outreach.cli.session import read_settings
from outreach.errors import OutreachError, UsageError

if TYPE_CHECKING:
    from outreach.chaos.running import Failed, Result, Skipped
    from outreach.chaos.scenarios import Scenario
    from outreach.embedded.servers import Servers

#: Where the variants are that break a promise on purpose: with the tests, never in the product.
_BROKEN = "tests.chaos.broken"
#: Where whole histories are played in one process, in any order; and how many of them at intensity 1.
_ANY_ORDER, _HISTORIES = "tests.scenario.any_order", 500
PROTOCOLS = ("ours", "naive", "jobqueue", "no_drain", "no_ledger_caps")
#: Real seconds of blows, and people: at intensity 1, and of the smoke test.
_SECONDS, _LEADS = 50.0, 500
_SMOKE_SECONDS, _SMOKE_LEADS = 12.0, 120
_COLUMNS = (
    "name", "faults", "seed", "attempted", "accepted", "duplicates", "lost", "over_cap", "after_opt_out", "after_pause", "unnoticed", "in_doubt_open", "held_for_human",
)  # fmt: skip
_SUMS = _COLUMNS[3:]


def chaos(
    ctx: typer.Context,
    scenario: Annotated[
        list[str] | None, typer.Option(help="Only this one; may be given several times. --list names them.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides every blow; the same seed plans the same.")] = 1,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Four scenarios, two minutes: what CI runs.")
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Every scenario, as long as --intensity says.")
    ] = False,
    intensity: Annotated[
        float,
        typer.Option(help="Of --full: 1 is 500 people and 50 s of blows for each scenario.", min=0.05, max=4),
    ] = 1.0,
    protocol: Annotated[
        str,
        typer.Option(
            help="ours; or a variant broken on purpose, to see the judge bite: " + ", ".join(PROTOCOLS[1:])
        ),
    ] = "ours",
    old: Annotated[
        Path | None,
        typer.Option(
            help="The folder of an older release (a checkout, say): `releases` runs its workers, too."
        ),
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="Name the scenarios, and run none.")] = False,
    data_dir: Annotated[Path | None, typer.Option(help="Where its servers keep their data.")] = None,
    as_json: AsJson = False,
) -> None:
    """Break everything on purpose, on servers of its own; exits 1 if anything was doubled, lost, over a cap, after an opt-out, or went unnoticed."""
    if list_all:
        _list(as_json)
        return
    chosen = _chosen(scenario or [], smoke=smoke, full=full)
    leads, seconds = (
        (max(60, round(_LEADS * min(intensity, 1))), max(8.0, _SECONDS * intensity))
        if full
        else (_SMOKE_LEADS, _SMOKE_SECONDS)
    )
    folder = (data_dir or read_settings(ctx).data_dir) / "chaos"
    _require_release(old)
    results = _run(chosen, folder, seed=seed, leads=leads, seconds=seconds, protocol=protocol, old=old)
    played = _any_order(intensity) if full and protocol == "ours" else None
    _report(
        results, played, as_json, folder, protocol=protocol, intensity=intensity if full else None, seed=seed
    )
    if any(one.red for one in results) or (played and played["red"]):
        raise typer.Exit(1)


def _list(as_json: bool) -> None:
    from outreach.chaos.scenarios import SCENARIOS

    rows = [
        {"name": s.name, "faults": s.faults, "what is broken": s.says, "smoke": s.smoke} for s in SCENARIOS
    ]
    output.listing(rows, ("name", "faults", "what is broken", "smoke"), as_json)


def _require_release(old: Path | None) -> None:
    if old is not None and not (old / "outreach" / "__init__.py").is_file():
        raise UsageError(
            f"{old} is no folder of ours: there is no outreach/__init__.py in it", hint="name a checkout"
        )


def _chosen(names: Sequence[str], *, smoke: bool, full: bool) -> "list[Scenario]":
    from outreach.chaos.scenarios import SCENARIOS, named

    if sum((bool(names), smoke, full)) != 1:
        raise UsageError(
            "say which: --smoke, --full, or --scenario NAME", hint="outreach chaos --list names them"
        )
    for name in names:
        output.require_word("scenario", name, [one.name for one in SCENARIOS])
    return [named(name) for name in names] or [one for one in SCENARIOS if full or one.smoke]


def _worker(protocol: str) -> tuple[str, ...]:
    """The module that workers run."""
    output.require_word("protocol", protocol, PROTOCOLS)
    if protocol == "ours":
        return ("outreach",)
    if not _is_here(_BROKEN):
        raise UsageError(
            f"--protocol {protocol} is a variant that breaks a promise on purpose, and lives with the tests",
            hint="run it in a checkout of the project: python -m outreach chaos --protocol ...",
        )
    # whoever opts people out beside the workers makes the same mistake
    import_module(_BROKEN).VARIANTS[protocol]()
    return (_BROKEN, protocol)


def _is_here(module: str) -> bool:
    """Is this a checkout, with the tests beside the product?"""
    return find_spec(module.partition(".")[0]) is not None and find_spec(module) is not None


def _any_order(intensity: float) -> dict[str, Any] | None:
    """The engine in one process, a history for each seed: what it says of itself. None: it lives with the tests, which are not here."""
    count = max(30, round(_HISTORIES * min(intensity, 1)))
    again = f"python -m {_ANY_ORDER} --seeds {count}"
    if not _is_here(_ANY_ORDER):
        note(f"histories in any order were not played: they live with the tests. In a checkout: {again}")
        return None
    note(f"{count} histories in any order, in one process: {again}")
    words = [sys.executable, "-m", _ANY_ORDER, "--seeds", str(count)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603  our own words, no shell
    lines = done.stdout.splitlines()
    if not lines:
        raise OutreachError(f"the histories could not be played: it ended with {done.returncode}", hint=again)
    found: dict[str, Any] = json.loads(lines[-1])
    note(f"  {found['seeds']} histories, {len(found['red'])} red, {found['seconds']:g} s")
    return found


def _run(
    chosen: "Sequence[Scenario]",
    folder: Path,
    *,
    seed: int,
    leads: int,
    seconds: float,
    protocol: str,
    old: Path | None,
) -> "list[Result | Skipped | Failed]":
    from outreach.chaos.ground import NotHere
    from outreach.chaos.running import Failed, Skipped, run_scenario, start_own
    from outreach.embedded.supervisor import interrupted_by_signals

    worker = _worker(protocol)
    folder.mkdir(parents=True, exist_ok=True)
    results: list[Result | Skipped | Failed] = []
    with interrupted_by_signals(), ExitStack() as stack:
        servers: Servers | None = start_own(stack, folder)
        for one in chosen:
            note(f"{one.name} ({one.faults}): {one.says}")
            try:
                servers = servers or start_own(stack, folder)
                result = run_scenario(
                    one,
                    servers,
                    folder,
                    seed=seed,
                    leads=leads,
                    seconds=seconds,
                    say=lambda _line: None,
                    worker_module=worker,
                    old=old.absolute() if old else None,
                )
            except NotHere as skipped:
                note(f"  skipped: {skipped}")
                results.append(Skipped(scenario=one.name, seed=seed, why=str(skipped)))
            except Exception as error:
                # The others' results are not lost with it. Whatever it has done to the servers, they are others afterwards.
                results.append(Failed(scenario=one.name, seed=seed, error=f"{type(error).__name__}: {error}"))
                note(f"  the suite failed: {results[-1].line()['error']}")
                servers = None
                with suppress(Exception):
                    stack.close()
            else:
                _note(result)
                results.append(result)
    return results


def _note(result: "Result") -> None:
    for finding in (*result.verdict.findings, *result.unnoticed):
        note(f"  {finding}")
    note(f"  {_in_words(result)}")


def _in_words(result: "Result") -> str:
    broken = ", ".join(f"{n} x {what}" for what, n in result.broken.items()) or "nothing but the provider"
    return f"{result.elapsed_s:g} s; broken: {broken}; in doubt on the way: {result.doubted}"


def _report(
    results: "Sequence[Result | Skipped | Failed]", played: dict[str, Any] | None, as_json: bool, folder: Path, *, protocol: str, intensity: float | None,
    seed: int,
) -> None:  # fmt: skip
    from outreach.chaos.scenarios import named

    lines = [one.line() for one in results]
    total = {name: sum(line.get(name, 0) for line in lines) for name in _SUMS}
    if as_json:
        say(
            json.dumps(
                {
                    "protocol": protocol,
                    "intensity": intensity,
                    "any_order": played,
                    "scenarios": lines,
                    "total": total,
                },
                ensure_ascii=False,
            )
        )
        return
    rows = [{**line, "faults": named(line["name"]).faults} for line in lines]
    output.table([*rows, {"name": "total", **total}], _COLUMNS)
    for line in lines:
        if "skipped" in line:
            say(f"{line['name']} was skipped: {line['skipped']}")
        if "error" in line:
            say(f"{line['name']} is not judged, the suite itself failed: {line['error']}")
    red = [one.scenario for one in results if one.red]
    if red:
        again = " ".join(f"--scenario {name}" for name in red)
        note(
            f"red. To plan the same blows again: outreach chaos {again} --seed {seed}; witness files: {folder}"
        )


def add_to(cli: typer.Typer) -> None:
    """Register this command."""
    cli.command()(chaos)
