"""`outreach demo`: the main job end to end on real servers, in its own database, with a witness who judges it."""

import json
import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from outreach import app as apps
from outreach.cli.demo_chaos import PROVIDER, Chaos, plan
from outreach.cli.demo_screen import Screen
from outreach.embedded.servers import start_servers
from outreach.embedded.supervisor import Supervisor, interrupted_by_signals
from outreach.embedded.waiting import wait_until
from outreach.models import judging
from outreach.models.base import UNREACHABLE, Row
from outreach.rehearsal import world
from outreach.rehearsal.human import Human
from outreach.rehearsal.judge import Verdict, judge, reply_latencies_ms
from outreach.rehearsal.stage import Stage, empty_stage, open_stage
from outreach.settings import Settings
from outreach.simulator.witness import read_witness

#: Real seconds. The run ends when nothing moves for QUIET, or after so many: with chaos it takes longer.
_QUIET, LONGEST, LONGEST_WITH_CHAOS = 2.0, 46.0, 56.0
#: Real seconds that what is in doubt at the end gets to be settled: D, S, and a second look.
_DOUBTS = 16.0


def run_demo(
    *, seed: int, leads: int, as_json: bool, data_dir: Path, seconds: float = 0, chaos: bool = False, keep: bool = False
) -> int:  # fmt: skip
    """Run it; the exit code: 1 when the witness found anything.

    `seconds`: how long it may take at most, without setting up and judging; 0: as long as the story needs.
    `keep`: its servers stay up until Ctrl-C.
    """
    longest = seconds or (LONGEST_WITH_CHAOS if chaos else LONGEST)
    began = time.monotonic()
    folder = data_dir / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    screen = Screen(quiet=as_json)
    with interrupted_by_signals(), ExitStack() as stack:
        screen.say(
            "Starting Postgres and Valkey of its own; nothing is installed and nothing leaves this machine."
        )
        servers = stack.enter_context(start_servers(Settings(data_dir=folder)))
        for note in servers.notes:
            screen.say(f"  {note}")
        supervisor = stack.enter_context(Supervisor(say=screen.child_says))
        blows = plan(seed, longest) if chaos else []
        harm = Chaos(blows, servers=servers, supervisor=supervisor, say=screen.say) if chaos else None
        stage = empty_stage(folder, servers)
        app = apps.build(stage.settings)
        stack.callback(app.close)
        persons = open_stage(app, stage, supervisor, leads=leads, seed=seed, say=screen.say)
        _play(app, stage, supervisor, screen, longest, harm)
        supervisor.stop()
        figures = _judge(app, stage, persons, time.monotonic() - began)
        if harm is not None:
            figures["line"]["chaos"] = harm.figures()
        screen.verdict(figures["verdict"], figures["line"], folder)
        print(json.dumps(figures["line"]), flush=True)
        if keep:
            _keep(screen)
    return 0 if figures["verdict"].clean and figures["verdict"].accepted else 1


def _keep(screen: Screen) -> None:
    """Until Ctrl-C, for commands of another terminal: they share these servers, and need not start any."""
    screen.say(
        "\nPostgres and Valkey stay up for these commands, typed in another terminal. Ctrl-C stops them."
    )
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        screen.say("stopping; the data stays, and the same commands start the servers anew")


# --- playing --------------------------------------------------------------------------------------------------


def _play(
    app: apps.App, stage: Stage, supervisor: Supervisor, screen: Screen, longest: float, chaos: Chaos | None
) -> None:
    """Watch until nothing moves any more; a simulated human taps follow tasks meanwhile."""
    human = Human(app.context, stage.simulator_url)
    began = quiet_since = time.monotonic()
    provider = _Provider(stage, PROVIDER if chaos else ())
    with screen.live(), human:
        while (elapsed := time.monotonic() - began) < longest:
            time.sleep(0.25)  # noqa: TID251  a real pause between two looks
            provider.at(elapsed)
            if chaos is not None:
                chaos.at(elapsed)
            pulse = _look(app, screen, supervisor, human, provider.is_unread)
            if pulse is None or _moves(pulse, human):
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since >= _QUIET:
                break
        wait_until(lambda: not app.context.db.run(judging.pulse)["in_doubt"], timeout=_DOUBTS, every=0.25)


def _look(app: apps.App, screen: Screen, supervisor: Supervisor, human: Human, is_unread: bool) -> Row | None:
    """One look, shown; None: the database is away for a moment, and the next look will tell."""
    try:
        pulse = app.context.db.run(judging.pulse)
        screen.show(app.context, pulse, supervisor.running(), human.taps, is_unread)
    except UNREACHABLE:
        return None
    return pulse


class _Provider:
    """What goes wrong at the simulated provider: what always does, and for some seconds an inbox that cannot be read.

    No negative edge may leave that account's leads meanwhile.
    """

    _from, _until = 9.0, 14.0
    _unread: Mapping[str, Any] = {
        "match": {"route": "dm.list", "account": world.external_id("orbit")}, "do": "error", "status": 503,
    }  # fmt: skip

    def __init__(self, stage: Stage, always: Sequence[Mapping[str, Any]]) -> None:
        self._url = f"{stage.simulator_url}/__sim/faults"
        self._always = always
        self.is_unread = False
        if always:
            self._plan()

    def at(self, elapsed: float) -> None:
        wanted = self._from <= elapsed < self._until
        if wanted != self.is_unread:
            self.is_unread = wanted
            self._plan()

    def _plan(self) -> None:
        rules = [*self._always, self._unread] if self.is_unread else [*self._always]
        httpx.post(self._url, json={"rules": rules}, trust_env=False).raise_for_status()


def _moves(pulse: Mapping[str, Any], human: Human) -> bool:
    return bool(
        pulse["active"] > pulse["on_task"] + pulse["paused"] + pulse["on_held"]
        or pulse["open"]
        or pulse["undigested"]
        or pulse["draining"]
        or human.busy
    )


# --- judging --------------------------------------------------------------------------------------------------


def _judge(app: apps.App, stage: Stage, persons: int, elapsed: float) -> dict[str, Any]:
    acceptances, deeds = read_witness(stage.witness)
    ctx = app.context
    verdict: Verdict = judge(
        ctx.db, acceptances, deeds, caps=world.witness_caps(), now=ctx.clock.now(), machine=ctx.machine(1.0)
    )  # fmt: skip
    pulse = ctx.db.run(judging.pulse)
    line = {
        "persons": persons,
        "actions_sent": pulse["sent"],
        "tasks": pulse["tasks"],
        "replies": pulse["replies"],
        "witness": verdict.figures(),
        "reply_to_next_action_ms": _percentiles(reply_latencies_ms(ctx.db, acceptances, deeds)),
        "elapsed_s": round(elapsed, 1),
    }
    return {"verdict": verdict, "line": line}


def _percentiles(values: list[float]) -> dict[str, float | None]:
    if not values:
        return {"p50": None, "p99": None}
    return {
        "p50": round(statistics.median(values), 1),
        "p99": round(values[min(len(values) - 1, int(len(values) * 0.99))], 1),
    }
