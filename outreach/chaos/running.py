"""One scenario from an empty database to the judge's verdict."""

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from outreach import app as apps
from outreach.chaos.drill import run_drill
from outreach.chaos.field import Field
from outreach.chaos.ground import NotHere
from outreach.chaos.proxy import Proxy
from outreach.chaos.scenarios import Scenario
from outreach.chaos.switching import sent_despite, slowest
from outreach.embedded.servers import Servers, start_servers
from outreach.embedded.supervisor import Supervisor
from outreach.embedded.waiting import wait_until
from outreach.errors import UsageError
from outreach.models import chaos, judging
from outreach.models.base import UNREACHABLE, Row
from outreach.rehearsal import world
from outreach.rehearsal.human import Human
from outreach.rehearsal.judge import Verdict, judge
from outreach.rehearsal.stage import Say, Stage, empty_stage, open_stage
from outreach.runtime.control import pause_all
from outreach.settings import Settings
from outreach.simulator.witness import read_witness

#: Real seconds between two looks, and after the last blow until everything must be settled: D, S, a second look, and the backlog.
_EVERY, _SETTLING = 0.02, 45.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a scenario came to."""

    scenario: str
    seed: int
    verdict: Verdict
    attempted: int
    #: what was broken, how often
    broken: Mapping[str, int]
    #: how many calls were in doubt on the way, and how many leads were set aside
    doubted: int
    parked: int
    elapsed_s: float
    witness: Path
    #: accepted later than a call deadline after the kill switch had returned; or in a pause, and by no call that it had named
    after_pause: int
    #: of opt-outs with nothing under way; None: there were none
    acknowledged_p99_ms: float | None = None
    #: what was tried with the log and went unnoticed
    unnoticed: Sequence[str] = ()
    #: real seconds until the slowest pause of each scope was binding
    pauses_s: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def red(self) -> bool:
        """Was anything doubled, lost, over a cap, or sent after an opt-out or a pause?"""
        v = self.verdict
        return bool(
            v.duplicates or v.lost or v.over_cap or v.after_opt_out or self.after_pause or self.unnoticed
        )

    def line(self) -> dict[str, Any]:
        """As the last line of a run shows it."""
        return {
            "name": self.scenario, "seed": self.seed, "attempted": self.attempted, **self.verdict.figures(), "after_pause": self.after_pause, "unnoticed": len(self.unnoticed), "doubted": self.doubted,
            "parked": self.parked, "broken": dict(self.broken), "opt_out_ack_p99_ms": self.acknowledged_p99_ms, "pauses_s": dict(self.pauses_s),
            "elapsed_s": self.elapsed_s, "witness": str(self.witness),
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A scenario that this machine cannot play, and why."""

    scenario: str
    seed: int
    why: str
    red: ClassVar[bool] = False

    def line(self) -> dict[str, Any]:
        """As the last line of a run shows it."""
        return {"name": self.scenario, "seed": self.seed, "skipped": self.why}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A scenario in which the suite itself failed: it says nothing of the engine, so it is no good news either."""

    scenario: str
    seed: int
    error: str
    red: ClassVar[bool] = True

    def line(self) -> dict[str, Any]:
        """As the last line of a run shows it."""
        return {"name": self.scenario, "seed": self.seed, "error": self.error}


def start_own(stack: ExitStack, folder: Path) -> Servers:
    """Servers to break, until the stack is left. Raises UsageError where those of this folder belong to another process."""
    servers = stack.enter_context(start_servers(Settings(data_dir=folder)))
    if servers.crash_postgres is None or servers.flush_valkey is None:
        raise UsageError(
            "chaos breaks its own servers only, and these belong to another process",
            hint="end that process, or name another folder with --data-dir",
        )
    return servers


def run_scenario(
    scenario: Scenario, servers: Servers, folder: Path, *, seed: int, leads: int, seconds: float, say: Say, worker_module: tuple[str, ...] = ("outreach",),
    old: Path | None = None,
) -> Result:  # fmt: skip
    """Run it for so many real seconds of blows, then let everything settle, then judge."""
    assert servers.flush_valkey is not None, "these servers are our own"
    if scenario.needs_old and old is None:
        raise NotHere("it wants an older release beside this one: --old PATH, the folder of another checkout")
    began = time.monotonic()
    if scenario.drill:
        return _drilled(
            scenario, servers, folder, seed=seed, leads=leads, say=say, worker_module=worker_module
        )
    servers.flush_valkey()
    with ExitStack() as stack:
        ground = stack.enter_context(scenario.ground(servers))
        servers = ground.servers
        supervisor = stack.enter_context(Supervisor(say=lambda _line: None))
        stage = empty_stage(folder, servers, witness=f"{scenario.name}-{seed}.witness.jsonl")
        proxies = [
            stack.enter_context(_proxy(url))
            for url in (servers.database_url, servers.redis_url, stage.simulator_url)
        ]
        stage = _with_proxies(scenario.stage(replace(stage, worker_module=worker_module, old=old)), *proxies)
        app = apps.build(stage.settings)
        stack.callback(app.close)
        to_postgres, to_redis, to_provider = proxies
        field = Field(
            app=app, stage=stage, servers=servers, supervisor=supervisor, seed=seed, to_postgres=to_postgres, to_redis=to_redis, to_provider=to_provider, disk=ground.disk, seconds=seconds,
        )  # fmt: skip
        open_stage(app, stage, supervisor, leads=leads, seed=seed, say=say)
        with Human(app.context, stage.simulator_url):
            field.provider(scenario.provider)
            _play(scenario.plan(field), seconds)
            field.peace()
            paused_at = _switch_off(app)
            wait_until(lambda: _is_settled(app), timeout=_SETTLING, every=0.25)
        supervisor.stop()
        unnoticed = scenario.trial(field)
        elapsed = round(time.monotonic() - began, 1)
        return replace(_judged(app, stage, scenario, field, paused_at, elapsed), unnoticed=unnoticed)


def _drilled(
    scenario: Scenario, servers: Servers, folder: Path, *, seed: int, leads: int, say: Say, worker_module: tuple[str, ...]
) -> Result:  # fmt: skip
    began = time.monotonic()
    done = run_drill(servers, folder, seed=seed, leads=leads, say=say, worker_module=worker_module)
    verdict = done.verdict
    if done.erased_and_back:
        # Forgotten once and known again: as bad as a message to somebody who had said no.
        verdict = replace(verdict, after_opt_out=verdict.after_opt_out + done.erased_and_back)
    return Result(
        scenario=scenario.name, seed=seed, verdict=verdict, attempted=done.sent_afterwards + done.recovered, doubted=0, parked=done.asked,
        broken={"databases lost": 1, "sends lost with it": done.lost["sends"], "opt-outs": done.lost["opted_out"]}, witness=done.witness,
        elapsed_s=round(time.monotonic() - began, 1), after_pause=0,
    )  # fmt: skip


def _proxy(url: str) -> Proxy:
    parts = urlsplit(url)
    assert parts.hostname and parts.port, "embedded servers listen on a port"
    return Proxy(parts.hostname, parts.port)


def _with_proxies(stage: Stage, to_postgres: Proxy, to_redis: Proxy, to_provider: Proxy) -> Stage:
    settings = stage.settings
    return replace(
        stage,
        provider_url=f"http://127.0.0.1:{to_provider.port}",
        for_workers={
            **stage.for_workers,
            "DATABASE_URL": _through(str(settings.database_url), to_postgres),
            "REDIS_URL": _through(str(settings.redis_url), to_redis),
        },
    )


def _through(url: str, proxy: Proxy) -> str:
    parts = urlsplit(url)
    login, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{login}{at}127.0.0.1:{proxy.port}").geturl()


def _play(plan: Iterator[float], seconds: float) -> None:
    began = time.monotonic()
    due = 0.0
    while (elapsed := time.monotonic() - began) < seconds:
        if elapsed >= due:
            due = elapsed + next(plan)
        time.sleep(_EVERY)  # noqa: TID251  a real pause between two blows


def _switch_off(app: apps.App) -> datetime:
    """The kill switch: nothing is claimed once this has returned. When that was. A server that starts up is waited for."""
    wait_until(lambda: _pulse(app) is not None, timeout=_SETTLING, every=0.1)
    pause_all(app.context, "the scenario is over", "chaos")
    return app.context.clock.now()


def _is_settled(app: apps.App) -> bool:
    """Nothing is open, undigested or draining any more. Leads may still have steps before them: they are judged as they stand."""
    pulse = _pulse(app)
    return pulse is not None and not (pulse["open"] or pulse["undigested"] or pulse["draining"])


def _pulse(app: apps.App) -> Row | None:
    try:
        return app.context.db.run(judging.pulse)
    except UNREACHABLE:
        return None


def _judged(
    app: apps.App, stage: Stage, scenario: Scenario, field: Field, paused_at: datetime, elapsed: float
) -> Result:
    acceptances, deeds = read_witness(stage.witness)
    ctx = app.context
    verdict = judge(
        ctx.db,
        acceptances,
        deeds,
        caps=world.witness_caps(stage.caps),
        now=ctx.clock.now(),
        machine=ctx.machine(1.0),
    )
    tally = ctx.db.run(chaos.tally)
    return Result(
        scenario=scenario.name,
        seed=field.seed,
        verdict=verdict,
        attempted=tally["attempted"],
        broken=dict(sorted(field.done.items())),
        doubted=tally["doubted"],
        parked=tally["parked"],
        elapsed_s=elapsed,
        witness=stage.witness,
        acknowledged_p99_ms=_p99_ms(field.acknowledged),
        # a call that was under way may still be accepted until its deadline
        after_pause=sum(a.by == "api" and a.t_scaled > paused_at + ctx.call_deadline for a in acceptances)
        + sent_despite(app, field.pauses, acceptances),
        pauses_s=slowest(field.pauses),
    )


def _p99_ms(seconds: list[float]) -> float | None:
    if not seconds:
        return None
    ordered = sorted(seconds)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000, 1)
