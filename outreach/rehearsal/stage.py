"""A world of its own for a run: an empty database on a fast clock, the simulator, our processes, and people enrolled."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import httpx

from outreach import app as apps
from outreach.embedded.recipe import free_ports
from outreach.embedded.servers import Servers
from outreach.embedded.supervisor import Command, Supervisor
from outreach.embedded.waiting import wait_until
from outreach.engine.problems import Problem
from outreach.errors import OutreachError
from outreach.models import admin, instance, judging
from outreach.models.base import Database
from outreach.models.migrate import migrate
from outreach.rehearsal import world
from outreach.runtime.enroll import enroll
from outreach.runtime.publish import publish
from outreach.settings import Settings, inherited_environment

#: One real second is an hour: three days pass in a minute.
FACTOR = 3600.0
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where everything is."""

    folder: Path
    settings: Settings
    simulator_port: int
    web_port: int
    witness: Path
    #: where the accounts find their provider, where something stands between them and the simulator
    provider_url: str | None = None
    #: what workers are told instead of what the settings say
    for_workers: Mapping[str, str] = field(default_factory=dict)
    #: the module that workers run, with its first words
    worker_module: Sequence[str] = ("outreach",)
    #: of every account
    caps: Mapping[str, str] = field(default_factory=lambda: world.CAPS)
    workers: int = 2
    schedulers: int = 1
    #: a folder to run Python from, with an older release of ours in it
    old: Path | None = None

    @property
    def simulator_url(self) -> str:
        return f"http://127.0.0.1:{self.simulator_port}"


def empty_stage(folder: Path, servers: Servers, *, witness: str = "witness.jsonl") -> Stage:
    """An empty database that is simulated for ever, on a clock that runs an hour a second."""
    admin.empty_database(servers.database_url)
    settings = replace(
        Settings.of_folder(folder),
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
    stage = Stage(
        folder=folder,
        settings=settings,
        simulator_port=simulator_port,
        web_port=web_port,
        witness=folder / witness,
    )
    stage.witness.unlink(missing_ok=True)
    return stage


def open_stage(
    app: apps.App, stage: Stage, supervisor: Supervisor, *, leads: int, seed: int, say: Say
) -> int:
    """Import, publish, start the world and the processes, enroll. How many people there are."""
    ctx = app.context
    audience = world.make_audience(ctx, leads, seed, ctx.clock.now())
    accounts, secret = world.make_accounts(
        ctx, stage.provider_url or stage.simulator_url, ctx.clock.now(), stage.caps
    )
    everyone = world.world(ctx, audience, accounts, secret)
    file = stage.folder / "world.json"
    file.write_text(json.dumps({**everyone, "people": []}), encoding="utf-8")
    published = publish(ctx, world.sequence_text(), "demo.yaml", by="demo")
    if isinstance(published, list):
        raise OutreachError("; ".join(p.describe("demo.yaml") for p in published if isinstance(p, Problem)))
    say(
        f"{audience.persons} people imported and frozen in a segment; sequence {published.sequence} v{published.version} published."
    )
    _start(stage, supervisor, file, seed, secret)
    # People come in when the webhook stands, so that the first words of those who write first reach us by it.
    httpx.post(
        f"{stage.simulator_url}/__sim/world", json={"people": everyone["people"]}, trust_env=False
    ).raise_for_status()
    _wait_for_first_words(app, audience, say)
    enrolled = enroll(
        ctx, world.SEQUENCE, [world.SEGMENT], account_names=tuple(world.ACCOUNTS), by="demo"
    )  # fmt: skip
    app.hint(enrolled.hints)
    say(f"{enrolled.enrolled} leads enrolled over {len(accounts)} accounts; an hour passes in a second.")
    return audience.persons


def worker(stage: Stage, name: str, *, restart: bool = True, **environ: str) -> Command:
    """One worker process of this stage, ready to be started. `environ`: what it is told besides."""
    words = [*stage.worker_module, "worker"]
    return _child(stage, name, *words, restart=restart, **stage.for_workers, **environ)


def old_worker(stage: Stage, name: str) -> Command:
    """One worker process of the older release."""
    assert stage.old is not None
    here = _child(
        stage, name, "outreach", "worker", restart=True, PYTHONPATH=str(stage.old), **stage.for_workers
    )
    return replace(here, cwd=stage.old)


def _start(stage: Stage, supervisor: Supervisor, file: Path, seed: int, secret: str) -> None:
    supervisor.start(
        _child(
            stage, "simulator", "outreach.simulator", "--port", str(stage.simulator_port), "--world", str(file), "--witness", str(stage.witness),
            "--origin", stage.settings.clock_origin.isoformat(), "--factor", str(FACTOR), "--seed", str(seed),
        )
    )  # fmt: skip
    start_processes(stage, supervisor)
    _await(f"{stage.simulator_url}/__sim/state", "simulator", stage)
    _await(f"http://127.0.0.1:{stage.web_port}/healthz", "web", stage)
    web_url = f"http://127.0.0.1:{stage.web_port}"
    world.subscribe(stage.simulator_url, web_url, world.APP, list(world.ACCOUNTS), f"bearer-{secret}")


def start_processes(stage: Stage, supervisor: Supervisor) -> None:
    """Everything of ours: web, workers, schedulers."""
    supervisor.start(_child(stage, "web", "outreach", "web"))
    for number in range(1, stage.workers + 1):
        supervisor.start(worker(stage, f"worker-{number}"))
    for number in range(1, stage.schedulers + 1):
        name = "scheduler" if number == 1 else f"scheduler-{number}"
        supervisor.start(_child(stage, name, "outreach", "scheduler"))


def _child(stage: Stage, name: str, *words: str, restart: bool = True, **environ: str) -> Command:
    return Command(
        name=name,
        words=[sys.executable, "-m", *words],
        environ=inherited_environment() | _environment(stage) | environ,
        restart=restart,
        log=stage.folder / f"{name}.log",
    )


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


def _wait_for_first_words(app: apps.App, audience: world.Audience, say: Say) -> None:
    """Those who write first have written, and it is understood: only then is anybody enrolled."""
    wanted = sum(story == "wrote_first" for story in audience.stories.values())

    def heard() -> bool:
        row = app.context.db.run(judging.pulse)
        return bool(row["replies"] >= wanted * 0.95 and not row["undigested"])

    wait_until(heard, timeout=10.0, every=0.2)
    say(f"{wanted} of them wrote to us first; that is what X asks for before software may answer.")
