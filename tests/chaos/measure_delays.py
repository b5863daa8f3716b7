"""What each loss of a hint costs in time, on real processes with every duration at its default: `python -m tests.chaos.measure_delays`.

Minutes long, so no part of the suite; docs/guarantees.md has the figures. Delays are real seconds from when a lead could have moved
to when its first call began, as the database's clock stamped both.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from outreach import app as apps
from outreach.broker import message
from outreach.chaos.proxy import Proxy
from outreach.embedded.servers import Servers, start_servers
from outreach.embedded.supervisor import Command, Supervisor
from outreach.models.base import Database
from outreach.models.migrate import migrate
from outreach.settings import Settings
from tests.conftest import _database_url, _on_server
from tests.integration import kill_support
from tests.integration.kill_support import WE, Lane, open_lane

_DEFAULTS = dict.fromkeys(("OUTREACH_TICK_SECONDS", "OUTREACH_HINT_LEASE_SECONDS", "OUTREACH_CALL_DEADLINE_SECONDS", "OUTREACH_GUARD_SECONDS", "OUTREACH_SETTLE_SECONDS", "OUTREACH_CHANNEL_WORKERS"), "")  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Field:
    """A lane on defaults, its processes, and the proxy between them and Redis."""

    lane: Lane
    supervisor: Supervisor
    to_redis: Proxy
    number: int = 0

    def enroll(self) -> int:
        """A lead whose hint is lost, as nobody sends it."""
        self.number += 1
        return self.lane.enroll(f"t{self.number}", WE, 1)[0].lead_id

    def began(self, leads: Sequence[int]) -> dict[int, datetime]:
        rows = self.lane.db.read(
            "SELECT lead_id, min(started_at) AS at FROM execution WHERE lead_id = ANY(%s) AND started_at IS NOT NULL GROUP BY 1",
            (list(leads),),
        )
        return {row["lead_id"]: row["at"] for row in rows}

    def delays(self, since: dict[int, datetime]) -> list[float]:
        """Waits until all have begun."""
        until = time.monotonic() + 300
        while len(found := self.began(list(since))) < len(since):
            assert time.monotonic() < until, f"never began: {set(since) - set(found)}"
            time.sleep(0.5)
        return sorted(round((found[lead] - at).total_seconds(), 1) for lead, at in since.items())

    def now(self) -> datetime:
        return self.lane.app.context.clock.now()


def lost_hints(field: Field) -> dict[str, Any]:
    """Hints that never arrive, at every time of the minute."""
    since = {}
    for _ in range(20):
        at = field.now()
        since[field.enroll()] = at
        time.sleep(6.1)
    return {"delays": field.delays(since)}


def outage(field: Field, seconds: float) -> dict[str, Any]:
    """Redis away; leads become due all the while."""
    field.to_redis.refusing = True
    field.to_redis.cut()
    leads, ends = [], time.monotonic() + seconds
    while time.monotonic() < ends:
        leads.append(field.enroll())
        time.sleep(min(20.0, max(0.0, ends - time.monotonic())))
    during = len(field.began(leads))
    field.to_redis.flow()
    back = field.now()
    return {
        "seconds": seconds, "leads": len(leads), "moved_meanwhile": during, "delays": field.delays(dict.fromkeys(leads, back)),
        "parked": len(field.lane.db.read("SELECT id FROM lead WHERE paused_at IS NOT NULL")),
    }  # fmt: skip


def worker_killed(field: Field) -> dict[str, Any]:
    """kill -9 of the only worker, which has just fetched the hints."""
    since = {}
    for _ in range(3):
        at = field.now()
        lead = field.enroll()
        since[lead] = at
        field.lane.hint(message("engine", "advance_lead", lead))
        field.supervisor.kill("worker", signal.SIGKILL)
        time.sleep(25)
    return {"delays": field.delays(since)}


def unknown_actor(field: Field) -> dict[str, Any]:
    """Hints that a worker does not know are lost: their leads wait for the sweep."""
    since = {}
    for _ in range(5):
        at = field.now()
        lead = field.enroll()
        since[lead] = at
        field.lane.hint(message("engine", "advance_lead_by_pigeon", lead))
        time.sleep(13)
    return {"delays": field.delays(since)}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--outage", type=float, default=600.0)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    kill_support.FACTOR = 1.0
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        servers = stack.enter_context(start_servers(Settings(data_dir=Path(folder)), scratch=True))
        field = _field(stack, servers, Path(folder))
        trials: dict[str, Callable[[], dict[str, Any]]] = {
            "unknown actor": lambda: unknown_actor(field),
            "worker killed": lambda: worker_killed(field),
            "lost hints": lambda: lost_hints(field),
            "redis outage": lambda: outage(field, options.outage),
        }
        for name, trial in trials.items():
            if options.only in name:
                found = trial()
                print(json.dumps({"trial": name, "longest": max(found["delays"]), **found}), flush=True)
    return 0


def _field(stack: ExitStack, servers: Servers, folder: Path) -> Field:
    _on_server(servers.database_url, "CREATE DATABASE template")
    db = Database(_database_url(servers.database_url, "template"), pool_size=1)
    migrate(db, datetime.now(UTC) - timedelta(days=1))
    db.close()
    os.environ.update(_DEFAULTS)
    lane = stack.enter_context(open_lane(servers, "template", "delays", folder))
    parts = urlsplit(servers.redis_url)
    assert parts.hostname and parts.port
    proxy = stack.enter_context(Proxy(parts.hostname, parts.port))
    login = parts.netloc.rpartition("@")[0]
    through = parts._replace(netloc=f"{login}@127.0.0.1:{proxy.port}").geturl()
    lane.environment |= _DEFAULTS | {"REDIS_URL": through, "OUTREACH_LOG_LEVEL": "INFO"}
    lane.app.close()
    lane.app = apps.build(Settings.from_environment({**lane.environment, "REDIS_URL": servers.redis_url}))
    lane.house.ctx = lane.app.context
    supervisor = stack.enter_context(Supervisor(say=lambda _line: None))
    for name in ("worker", "scheduler"):
        supervisor.start(
            Command(
                name=name, words=[sys.executable, "-m", "outreach", name], environ=lane.environment, restart=True, log=folder / f"{name}.log"
            )
        )  # fmt: skip
    stack.callback(lambda: sys.stderr.write((folder / "worker.log").read_text()[-4000:]))
    time.sleep(5)
    return Field(lane=lane, supervisor=supervisor, to_redis=proxy)


if __name__ == "__main__":
    sys.exit(main())
