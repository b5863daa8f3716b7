"""`outreach demo`: the main job end to end on real servers, in its own database, with a witness who judges it."""

import json
import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from outreach import app as apps
from outreach.cli import demo_world
from outreach.cli.demo_chaos import PROVIDER, Chaos, plan
from outreach.cli.demo_human import Human
from outreach.cli.demo_screen import Screen
from outreach.embedded.recipe import free_ports
from outreach.embedded.servers import Servers, start_servers
from outreach.embedded.supervisor import Command, Supervisor, interrupted_by_signals
from outreach.embedded.waiting import wait_until
from outreach.engine.problems import Problem
from outreach.errors import OutreachError
from outreach.models import admin, instance, judging
from outreach.models.base import UNREACHABLE, Database, Row
from outreach.models.migrate import migrate
from outreach.rehearsal.judge import Verdict, judge, reply_latencies_ms
from outreach.runtime.enroll import enroll
from outreach.runtime.publish import publish
from outreach.settings import Settings, inherited_environment
from outreach.simulator.witness import read_witness

#: One real second is an hour: the demo's three days pass in a minute.
FACTOR = 3600.0
#: Real seconds. The run ends when nothing moves for QUIET, or after so many: with chaos it takes longer.
_QUIET, LONGEST, LONGEST_WITH_CHAOS = 2.0, 46.0, 56.0
#: Real seconds that what is in doubt at the end gets to be settled: D, S, and a second look.
_DOUBTS = 16.0
_WORKERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where everything is."""

    folder: Path
    settings: Settings
    simulator_port: int
    web_port: int

    @property
    def simulator_url(self) -> str:
        return f"http://127.0.0.1:{self.simulator_port}"

    @property
    def witness(self) -> Path:
        return self.folder / "witness.jsonl"


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
        stage = _set_up(folder, servers)
        app = apps.build(stage.settings)
        stack.callback(app.close)
        persons = _people(app, stage, supervisor, leads, seed, screen)
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


# --- setting up -----------------------------------------------------------------------------------------------


def _set_up(folder: Path, servers: Servers) -> Stage:
    """An empty database that is simulated for ever, on a clock that runs an hour a second."""
    admin.empty_database(servers.database_url)
    settings = replace(
        Settings(data_dir=folder),
        database_url=servers.database_url,
        redis_url=servers.redis_url,
        clock_origin=datetime.now(UTC),  # noqa: TID251  where scaled time begins: business and real time are one here
        clock_factor=FACTOR,
        tick_seconds=0.5,
        call_deadline_seconds=2.0,
        guard_seconds=1.0,
        settle_seconds=3.0,
        hint_lease_seconds=3.0,
        evidence_seconds=6.0,
        poll_seconds=5.0,
        inbox_lag_seconds=0.0,
        task_claim_seconds=30.0,
        worker_threads=6,
    )
    db = Database(servers.database_url, pool_size=1)
    migrate(db, settings.clock_origin)
    instance.create(
        db, name="demo", simulated_only=True, origin=settings.clock_origin, factor=FACTOR, now=settings.clock_origin
    )  # fmt: skip
    db.close()
    simulator_port, web_port = free_ports(2)
    stage = Stage(folder=folder, settings=settings, simulator_port=simulator_port, web_port=web_port)
    stage.witness.unlink(missing_ok=True)
    return stage


def _people(
    app: apps.App, stage: Stage, supervisor: Supervisor, leads: int, seed: int, screen: Screen
) -> int:
    """Import, publish, start the world and the processes, enroll."""
    ctx = app.context
    audience = demo_world.make_audience(ctx, leads, seed, ctx.clock.now())
    accounts, secret = demo_world.make_accounts(ctx, stage.simulator_url, ctx.clock.now())
    everyone = demo_world.world(ctx, audience, accounts, secret)
    world = stage.folder / "world.json"
    world.write_text(json.dumps({**everyone, "people": []}), encoding="utf-8")
    published = publish(ctx, demo_world.sequence_text(), "demo.yaml", by="demo")
    if isinstance(published, list):
        raise OutreachError("; ".join(p.describe("demo.yaml") for p in published if isinstance(p, Problem)))
    screen.say(
        f"{audience.persons} people imported and frozen in a segment; sequence {published.sequence} v{published.version} published."
    )
    _start(stage, supervisor, world, seed, secret)
    # People come in when the webhook stands, so that the first words of those who write first reach us by it.
    httpx.post(
        f"{stage.simulator_url}/__sim/world", json={"people": everyone["people"]}, trust_env=False
    ).raise_for_status()
    _wait_for_first_words(app, audience, screen)
    enrolled = enroll(
        ctx, demo_world.SEQUENCE, [demo_world.SEGMENT], account_names=tuple(demo_world.ACCOUNTS), by="demo"
    )  # fmt: skip
    app.hint(enrolled.hints)
    screen.say(
        f"{enrolled.enrolled} leads enrolled over {len(accounts)} accounts; an hour passes in a second."
    )
    return audience.persons


def _start(stage: Stage, supervisor: Supervisor, world: Path, seed: int, secret: str) -> None:
    environ = inherited_environment() | _environment(stage)
    python = _python()

    def child(name: str, *words: str) -> Command:
        return Command(
            name=name,
            words=[*python, *words],
            environ=environ,
            restart=True,
            log=stage.folder / f"{name}.log",
        )

    supervisor.start(
        child(
            "simulator", "outreach.simulator", "--port", str(stage.simulator_port), "--world", str(world), "--witness", str(stage.witness),
            "--origin", stage.settings.clock_origin.isoformat(), "--factor", str(FACTOR), "--seed", str(seed),
        )
    )  # fmt: skip
    supervisor.start(child("web", "outreach", "web"))
    for number in range(1, _WORKERS + 1):
        supervisor.start(
            child(f"worker-{number}", "outreach", "worker", "--queues", "engine,inbound,twitter,soon")
        )
    supervisor.start(child("scheduler", "outreach", "scheduler"))
    _await(f"{stage.simulator_url}/__sim/state", "simulator", stage)
    _await(f"http://127.0.0.1:{stage.web_port}/healthz", "web", stage)
    _subscribe(stage, secret)


def _python() -> list[str]:
    import sys

    return [sys.executable, "-m"]


def _environment(stage: Stage) -> dict[str, str]:
    s = stage.settings
    return {
        "DATABASE_URL": str(s.database_url), "REDIS_URL": str(s.redis_url), "PORT": str(stage.web_port), "OUTREACH_HOST": "127.0.0.1",
        "OUTREACH_CLOCK_ORIGIN": s.clock_origin.isoformat(), "OUTREACH_CLOCK_FACTOR": str(s.clock_factor),
        "OUTREACH_TICK_SECONDS": str(s.tick_seconds), "OUTREACH_CALL_DEADLINE_SECONDS": str(s.call_deadline_seconds),
        "OUTREACH_GUARD_SECONDS": str(s.guard_seconds), "OUTREACH_SETTLE_SECONDS": str(s.settle_seconds),
        "OUTREACH_HINT_LEASE_SECONDS": str(s.hint_lease_seconds), "OUTREACH_EVIDENCE_SECONDS": str(s.evidence_seconds),
        "OUTREACH_POLL_SECONDS": str(s.poll_seconds), "OUTREACH_INBOX_LAG_SECONDS": str(s.inbox_lag_seconds),
        "OUTREACH_TASK_CLAIM_SECONDS": str(s.task_claim_seconds), "OUTREACH_WORKER_THREADS": str(s.worker_threads),
        "OUTREACH_LOG_LEVEL": "WARNING", "OUTREACH_ENV": "demo", "DYNO": "", "KUBERNETES_SERVICE_HOST": "", "OUTREACH_INSTANCE": "demo",
    }  # fmt: skip


def _await(url: str, name: str, stage: Stage) -> None:
    def answers() -> bool:
        try:
            return httpx.get(url, timeout=1.0, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    if not wait_until(answers, timeout=20.0, every=0.1):
        raise OutreachError(
            f"the {name} process did not come up", hint=f"its log: {stage.folder / (name + '.log')}"
        )


def _subscribe(stage: Stage, secret: str) -> None:
    """Register the webhook (the simulator asks our web process for the challenge) and subscribe every account."""
    hook_url = f"http://127.0.0.1:{stage.web_port}/webhooks/twitter/{demo_world.APP}"
    with httpx.Client(
        base_url=stage.simulator_url, headers={"authorization": f"Bearer bearer-{secret}"}, trust_env=False
    ) as client:
        hook = client.post("/2/webhooks", json={"url": hook_url}).raise_for_status().json()["data"]["id"]
        for wish in demo_world.subscriptions(list(demo_world.ACCOUNTS)):
            client.post("/2/activity/subscriptions", json={**wish, "webhook_id": hook}).raise_for_status()


def _wait_for_first_words(app: apps.App, audience: demo_world.Audience, screen: Screen) -> None:
    """Those who write first have written, and it is understood: only then is anybody enrolled."""
    wanted = sum(story == "wrote_first" for story in audience.stories.values())

    def heard() -> bool:
        row = app.context.db.run(judging.pulse)
        return bool(row["replies"] >= wanted * 0.95 and not row["undigested"])

    wait_until(heard, timeout=10.0, every=0.2)
    screen.say(f"{wanted} of them wrote to us first; that is what X asks for before software may answer.")


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
        "match": {"route": "dm.list", "account": demo_world.external_id("orbit")}, "do": "error", "status": 503,
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
        ctx.db, acceptances, deeds, caps=demo_world.witness_caps(), now=ctx.clock.now(), machine=ctx.machine(1.0)
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
