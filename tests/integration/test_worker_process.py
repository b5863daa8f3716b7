"""The worker as a process: it stops cleanly when it is told to, twice, as hosting platforms do; and it works on hints."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from outreach.app import build
from outreach.broker import enqueue_many, message
from outreach.embedded.servers import Servers
from outreach.models import instance
from outreach.models.base import Database
from outreach.settings import Settings

pytestmark = pytest.mark.servers
NOW = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture
def environment(db: Database, database_url: str, servers: Servers) -> dict[str, str]:
    instance.create(db, name="worker-test", simulated_only=True, origin=NOW, factor=1.0, now=NOW)
    return {
        **os.environ,
        "DATABASE_URL": database_url,
        "REDIS_URL": servers.redis_url,
        "OUTREACH_LOG_LEVEL": "INFO",
    }


@pytest.fixture
def worker(environment: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    words = [sys.executable, "-m", "outreach", "worker", "--threads", "2", "--queues", "engine,soon"]
    process = subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "worker_started" in line:
            break
    yield process
    process.kill()
    process.wait()
    process.stderr.close()


def wait_for_a_tick(db: Database) -> None:
    for _ in range(600):
        if db.read("SELECT last_tick_at FROM instance")[0]["last_tick_at"] is not None:
            return
        time.sleep(0.05)
    raise AssertionError("the worker did not carry out the tick")


def test_it_works_and_stops_cleanly_under_two_terms(
    worker: "subprocess.Popen[str]", environment: dict[str, str], db: Database
) -> None:
    app = build(Settings.from_environment(environment))
    enqueue_many(app.broker, [message("engine", "tick", 0).copy(args=())])
    wait_for_a_tick(db)
    began = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=25) == 0
    assert time.monotonic() - began < 25
    broker: Any = app.broker
    # of this instance: other tests leave the letters of their dead in the same Redis
    left = broker.client.keys(f"{broker.namespace}:__acks__*")
    assert left == [], "whatever was fetched is done or given back"
    app.close()


@pytest.mark.parametrize("log", ["2>/dev/full", ">&- 2>&-"])
def test_a_log_that_cannot_be_written_stops_no_worker(
    environment: dict[str, str], db: Database, log: str
) -> None:
    """Its disk is full, or nobody gave it one: the work is in the database, and goes on."""
    words = [sys.executable, "-m", "outreach", "worker", "--threads", "2", "--queues", "engine,soon"]
    process = subprocess.Popen(["/bin/sh", "-c", f'exec "$0" "$@" {log}', *words], env=environment)
    try:
        app = build(Settings.from_environment(environment))
        enqueue_many(app.broker, [message("engine", "tick", 0).copy(args=())])
        wait_for_a_tick(db)
        app.close()
        numbers = sorted(int(entry.name) for entry in Path(f"/proc/{process.pid}/fd").iterdir())
        assert numbers[:3] == [0, 1, 2]
        kinds = [str(Path(f"/proc/{process.pid}/fd/{number}").readlink()) for number in (1, 2)]
        assert not any(kind.startswith("socket") for kind in kinds), (
            "no connection has the number of a standard stream"
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=25) == 0
    finally:
        process.kill()
        process.wait()
