"""`python -m bench.main_job --json`: the main job through real servers, workers, scheduler, web and an HTTP simulator.

FOLLOW -> wait 0 -> DM -> CHECK_FOR_REPLY -> branch (30 % reply by webhook -> DM; else UNFOLLOW): 4 actions a lead. Caps of
1,000 an hour are enforced, pace is 0, fsync is on, every guarantee is on. CPU is that of workers, scheduler, web, Postgres
and Valkey; the simulator's is not ours. The witness judges the run: a figure of a wrong run is worth nothing.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import redis

from bench import cost, world
from outreach import app as apps
from outreach.cli.running import child_environment
from outreach.embedded.recipe import free_ports
from outreach.embedded.servers import Servers, start_servers
from outreach.embedded.supervisor import Command, Supervisor
from outreach.embedded.waiting import wait_until
from outreach.limits.caps import parse_caps
from outreach.models import instance, judging
from outreach.models.base import Database
from outreach.models.migrate import migrate
from outreach.rehearsal.judge import judge, reply_latencies_ms
from outreach.runtime.enroll import enroll
from outreach.settings import Settings
from outreach.simulator.witness import read_witness

_WORKERS, _THREADS = 2, 12
_LONGEST = 240.0
_CAPS = {name: parse_caps("1000/hour") for name in ("follow", "unfollow", "dm")}


@dataclass(slots=True, kw_only=True)
class Run:
    """One benchmark's collaborators."""

    app: apps.App
    folder: Path
    supervisor: Supervisor
    simulator: str
    web_port: int
    leads: int

    @property
    def witness(self) -> Path:
        return self.folder / "witness.jsonl"

    def cpu_seconds(self) -> dict[str, float]:
        """What we pay for so far, by process: ours but the simulator's, and the servers'."""
        ours = {name: [pid] for name, pid in self.supervisor.running().items() if name != "simulator"}
        return {
            name: cost.cpu_seconds(pids) for name, pids in (ours | {"servers": _servers(self.app)}).items()
        }


def main(words: Sequence[str] | None = None) -> int:
    """Run it; 1 where the witness found anything."""
    parser = argparse.ArgumentParser(prog="python -m bench.main_job", description=__doc__.splitlines()[0])
    parser.add_argument("--leads", type=int, default=2000)
    parser.add_argument("--json", action="store_true", help="only the last line")
    options = parser.parse_args(words)
    say = (lambda _text: None) if options.json else lambda text: sys.stdout.write(f"{text}\n")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="outreach-bench-")))
        servers = stack.enter_context(start_servers(Settings(data_dir=folder)))
        run = _set_up(folder, servers, options.leads, stack)
        say(f"{options.leads} leads over {world.ACCOUNTS} accounts, {_WORKERS} workers of {_THREADS} threads")
        line = _measure(run, say)
        clean = _judged(run, say)
    sys.stdout.write(json.dumps(line) + "\n")
    return 0 if clean else 1


# --- setting up ------------------------------------------------------------------------------------------------


def _set_up(folder: Path, servers: Servers, leads: int, stack: ExitStack) -> Run:
    settings = replace(
        Settings.of_folder(folder),
        database_url=servers.database_url,
        redis_url=servers.redis_url,
        clock_origin=datetime.now(UTC),  # noqa: TID251  real time: the clock runs with factor 1
        tick_seconds=2.0,
        poll_seconds=30.0,
        inbox_lag_seconds=0.0,
        worker_threads=_THREADS,
    )
    db = Database(servers.database_url, pool_size=1)
    migrate(db, settings.clock_origin)
    instance.create(
        db, name="bench", simulated_only=True, origin=settings.clock_origin, factor=1.0, now=settings.clock_origin
    )  # fmt: skip
    db.close()
    app = apps.build(replace(settings, instance="bench"))
    stack.callback(app.close)
    simulator_port, web_port = free_ports(2)
    run = Run(
        app=app,
        folder=folder,
        supervisor=stack.enter_context(Supervisor(say=lambda _line: None)),
        simulator=f"http://127.0.0.1:{simulator_port}",
        web_port=web_port,
        leads=leads,
    )
    world.make(app.context, folder, run.simulator, leads)
    _start(run)
    return run


def _start(run: Run) -> None:
    settings = run.app.settings
    environ = dict(child_environment(settings)) | {
        "PORT": str(run.web_port), "OUTREACH_HOST": "127.0.0.1", "OUTREACH_INSTANCE": "bench", "OUTREACH_LOG_LEVEL": "WARNING",
        "OUTREACH_TICK_SECONDS": str(settings.tick_seconds), "OUTREACH_POLL_SECONDS": str(settings.poll_seconds),
        "OUTREACH_INBOX_LAG_SECONDS": "0", "OUTREACH_WORKER_THREADS": str(_THREADS), "DYNO": "", "KUBERNETES_SERVICE_HOST": "",
    }  # fmt: skip

    def child(name: str, *words: str) -> None:
        log = run.folder / f"{name}.log"
        run.supervisor.start(
            Command(name=name, words=[sys.executable, "-m", *words], environ=environ, restart=False, log=log)
        )

    child(
        "simulator", "outreach.simulator", "--port", run.simulator.rpartition(":")[2], "--world", str(world.write_world(run.folder, run.leads)),
        "--witness", str(run.witness), "--origin", settings.clock_origin.isoformat(),
    )  # fmt: skip
    child("web", "outreach", "web")
    for number in range(_WORKERS):
        child(f"worker-{number}", "outreach", "worker")
    child("scheduler", "outreach", "scheduler")
    for url in (f"{run.simulator}/__sim/state", f"http://127.0.0.1:{run.web_port}/healthz"):
        if not wait_until(partial(_answers, url), timeout=30.0, every=0.1):
            raise SystemExit(f"{url} does not answer; logs: {run.folder}")
    _subscribe(run)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1.0, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def _subscribe(run: Run) -> None:
    hook = {"url": f"http://127.0.0.1:{run.web_port}/webhooks/twitter/{world.APP}"}
    headers = {"authorization": f"Bearer {world.bearer()}"}
    with httpx.Client(base_url=run.simulator, headers=headers, trust_env=False) as client:
        hook_id = client.post("/2/webhooks", json=hook).raise_for_status().json()["data"]["id"]
        for number in range(world.ACCOUNTS):
            for event in ("dm.received", "dm.sent"):
                wish = {
                    "event_type": event,
                    "filter": {"user_id": world.account_id(number)},
                    "webhook_id": hook_id,
                }
                client.post("/2/activity/subscriptions", json=wish).raise_for_status()


# --- measuring -------------------------------------------------------------------------------------------------


def _measure(run: Run, say: Any) -> dict[str, Any]:
    ctx = run.app.context
    names = tuple(world.account_name(n) for n in range(world.ACCOUNTS))
    enrolled = enroll(ctx, world.BULK, [world.BULK], account_names=names, by="bench")
    before, commits = run.cpu_seconds(), cost.commits(ctx.db)
    began = time.monotonic()
    run.app.hint(enrolled.hints)
    ended = _until_done(run, began)
    # 4 actions a lead: follow, DM, check, and an answer or an unfollow.
    actions = 4 * run.leads
    spent = {name: seconds - before[name] for name, seconds in run.cpu_seconds().items()}
    cpu, commits = sum(spent.values()), cost.commits(ctx.db) - commits
    say(
        f"{ended - began:.1f} s; CPU ms per action: "
        + ", ".join(f"{n} {s * 1000 / actions:.2f}" for n, s in spent.items())
    )
    rss = max(cost.rss_mb(pid) for name, pid in run.supervisor.running().items() if name.startswith("worker"))
    return {
        "leads": run.leads,
        "actions_per_s": round(actions / (ended - began), 1),
        "cpu_ms_per_action": round(cpu * 1000 / actions, 2),
        "commits_per_action": round(commits / actions, 2),
        "worker_rss_mb": round(rss, 1),
        "reply_to_next_action_ms": _replies_while_idle(run, names),
    }


def _until_done(run: Run, began: float) -> float:
    """Until every lead has finished; the monotonic instant at which that was seen."""
    while time.monotonic() - began < _LONGEST:
        time.sleep(0.1)  # noqa: TID251  a real pause between two looks
        if not run.app.context.db.read("SELECT 1 FROM lead WHERE due_at IS NOT NULL LIMIT 1"):
            return time.monotonic()
    raise SystemExit(f"not done after {_LONGEST:g} s: {run.app.context.db.run(judging.pulse)}")


def _replies_while_idle(run: Run, names: tuple[str, ...]) -> dict[str, float]:
    """Nothing else to do; somebody answers, and the next message goes out: one at a time."""
    ctx = run.app.context
    enrolled = enroll(ctx, world.IDLE, [world.IDLE], account_names=names, by="bench")
    run.app.hint(enrolled.hints)
    rows = _idlers(run)
    with httpx.Client(base_url=run.simulator, trust_env=False) as client:
        for row in rows:
            said = {
                "from": row["recipient"],
                "to": row["account"],
                "text": "Yes, tell me more!",
                "kind": "positive",
            }
            client.post("/__sim/say", json=said).raise_for_status()
            if not wait_until(partial(_ended, run, row["lead_id"]), timeout=10.0, every=0.05):
                raise SystemExit("an answer was not followed by the next message within 10 s")
    acceptances, deeds = read_witness(run.witness)
    theirs = {row["recipient"] for row in rows}
    values = reply_latencies_ms(ctx.db, [a for a in acceptances if a.recipient in theirs], deeds)
    return {"p50": round(statistics.median(values), 1), "p99": round(values[int(len(values) * 0.99)], 1)}


def _idlers(run: Run) -> list[dict[str, Any]]:
    """The idle leads, once all of them wait for an answer."""
    sql = """SELECT l.id AS lead_id, a.external_id AS account, i.value AS recipient
               FROM lead l JOIN execution e ON e.lead_id = l.id AND e.state = 'sent' JOIN account a ON a.id = e.account_id
               JOIN identity i ON i.id = e.identity_id WHERE l.state = 'active' AND l.cursor = 'check' ORDER BY l.id"""
    db = run.app.context.db
    if not wait_until(lambda: len(db.read(sql)) == world.IDLERS, timeout=60.0, every=0.2):
        raise SystemExit("the idle leads were not all written to")
    time.sleep(3.0)  # noqa: TID251  let echoes and polls pass: idle means idle
    return db.read(sql)


def _ended(run: Run, lead_id: int) -> bool:
    state = run.app.context.db.read("SELECT state FROM lead WHERE id = %s", (lead_id,))[0]["state"]
    return bool(state == "finished")


def _servers(app: apps.App) -> list[int]:
    """The servers' own processes: the parent of our Postgres backend, and Valkey."""
    backend = app.context.db.read("SELECT pg_backend_pid() AS pid")[0]["pid"]
    valkey = redis.Redis.from_url(str(app.settings.redis_url)).info("server")["process_id"]
    return [cost.parent(backend), int(valkey)]


def _judged(run: Run, say: Any) -> bool:
    ctx = run.app.context
    acceptances, deeds = read_witness(run.witness)
    verdict = judge(ctx.db, acceptances, deeds, caps=_CAPS, now=ctx.clock.now(), machine=ctx.machine(1.0))
    say(f"witness: {verdict.figures()}")
    if not verdict.clean:
        sys.stderr.write("\n".join(["the run was wrong, its figures are void:", *verdict.findings]) + "\n")
    return bool(verdict.clean)


if __name__ == "__main__":
    sys.exit(main())
