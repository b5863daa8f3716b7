"""Postgres or Redis gone in the middle of a process's life: it says so, goes on when they are back, and has lost nothing."""

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from starlette.testclient import TestClient

from outreach.app import App, build
from outreach.broker import enqueue_many, message
from outreach.embedded.servers import Servers
from outreach.models import instance
from outreach.models.base import Database
from outreach.runtime.perform import look_and_perform
from outreach.runtime.tick import tick as sweep
from outreach.settings import Settings
from outreach.web.optout import make_token
from outreach.web.server import create_app
from tests.integration.cli_support import Terminal, set_environment
from tests.integration.law_support import FOLLOW, friends, open_house, roomy_account, sql
from tests.integration.line import Line
from tests.integration.test_web import HOOK, signed
from tests.integration.test_web import message as push
from tests.stage import MONDAY, House

pytestmark = pytest.mark.servers
#: Real seconds within which what must happen has happened; far above what it takes.
PATIENCE = 60.0


@pytest.fixture
def postgres(database_url: str) -> Iterator[Line]:
    line = Line(database_url)
    yield line
    line.cut()


@pytest.fixture
def valkey(servers: Servers) -> Iterator[Line]:
    line = Line(servers.redis_url)
    yield line
    line.cut()


class Process:
    """One process of ours behind the two lines, and what it says."""

    def __init__(self, *words: str, postgres: Line, valkey: Line, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "outreach", *words],
            env={**os.environ, "DATABASE_URL": postgres.url, "REDIS_URL": valkey.url, **environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        self._lines: queue.Queue[str] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                self._lines.put(line)

    def hear(self, word: str) -> str:
        """The next line that holds the word."""
        while True:
            self.said.append(self._lines.get(timeout=PATIENCE))
            if word in self.said[-1]:
                return self.said[-1]

    @property
    def lives(self) -> bool:
        return self._process.poll() is None

    def end(self) -> tuple[int, str]:
        """Told to stop: its exit code, and all that it has said."""
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(timeout=PATIENCE)
        self._listener.join()
        while not self._lines.empty():
            self.said.append(self._lines.get())
        return code, "".join(self.said)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._listener.join()


def until(happened: Callable[[], Any], what: str) -> None:
    for _ in range(int(PATIENCE / 0.05)):
        if happened():
            return
        time.sleep(0.05)
    raise AssertionError(f"never happened: {what}")


# --- the worker ------------------------------------------------------------------------------------------------------


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    """Somebody to follow, and nothing done yet."""
    found = open_house(db, tmp_path)
    roomy_account(found)
    found.publish(FOLLOW)
    return found


@pytest.fixture
def direct(house: House, database_url: str, servers: Servers) -> Iterator[App]:
    """The app without the lines between."""
    app = build(
        Settings(
            database_url=database_url,
            redis_url=servers.redis_url,
            clock_origin=MONDAY,
            hint_lease_seconds=0.5,
        )
    )
    yield app
    app.close()


@pytest.fixture
def worker(house: House, postgres: Line, valkey: Line) -> Iterator[Process]:
    words = ("worker", "--threads", "2", "--queues", "engine,soon")
    process = Process(*words, postgres=postgres, valkey=valkey, OUTREACH_HINT_LEASE_SECONDS="0.5")
    process.hear("worker_started")
    yield process
    process.kill()


def tick(app: App) -> None:
    enqueue_many(app.broker, [message("engine", "tick", 0).copy(args=())])


def planned(house: House) -> int:
    return int(house.db.read("SELECT count(*) AS n FROM execution")[0]["n"])


def swept(app: App, house: House) -> int:
    """What is planned a little after one more tick."""
    tick(app)
    time.sleep(0.3)
    return planned(house)


def enrolled(house: House, direct: App) -> None:
    from outreach.runtime.enroll import enroll

    name = house.segment(f"s{planned(house)}", friends(house, f"p{planned(house)}"))
    direct.hint(enroll(direct.context, "follow", [name], by="test").hints)


def test_a_worker_outlives_its_database_and_its_redis_and_no_lead_is_lost(
    worker: Process, house: House, direct: App, postgres: Line, valkey: Line
) -> None:
    postgres.cut()
    enrolled(house, direct)
    assert "the rows wait" in worker.hear("database_away")
    assert (worker.lives, planned(house)) == (True, 0)
    postgres.mend()
    until(lambda: swept(direct, house) == 1, "the hint was lost, the sweep hints again")
    valkey.cut()
    worker.hear("redis_away")
    enrolled(house, direct)
    assert worker.lives
    valkey.mend()
    until(lambda: planned(house) == 2, "the message that waited in Redis is worked on")
    code, said = worker.end()
    assert code == 0, said
    assert "Traceback" not in said
    assert said.count("redis_away") <= 2, "one line for all queues, not one for each"


def test_a_worker_is_told_to_stop_while_both_are_away(worker: Process, postgres: Line, valkey: Line) -> None:
    postgres.cut()
    valkey.cut()
    worker.hear("redis_away")
    code, said = worker.end()
    assert code == 0, said
    assert "Traceback" not in said


# --- the scheduler ---------------------------------------------------------------------------------------------------


def test_a_scheduler_outlives_its_redis_and_needs_no_database(
    house: House, direct: App, postgres: Line, valkey: Line
) -> None:
    client: redis.Redis = direct.broker.client  # type: ignore[attr-defined]  # the Redis broker of `build`
    key = f"{direct.broker.namespace}:inbound"  # type: ignore[attr-defined]  # the same
    process = Process("scheduler", postgres=postgres, valkey=valkey, OUTREACH_TICK_SECONDS="0.2")
    try:
        process.hear("scheduler_started")
        postgres.cut()
        until(lambda: client.llen(key), "ticks are sent without a database")
        valkey.cut()
        process.hear("tick_lost")
        sent = client.llen(key)
        valkey.mend()
        until(lambda: client.llen(key) > sent, "ticks are sent again")
        code, said = process.end()
        assert code == 0, said
        assert "Traceback" not in said
    finally:
        process.kill()


# --- the web ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def web(house: House, postgres: Line, valkey: Line) -> Iterator[TestClient]:
    """The web process's application behind the lines. An exception that it lets through is raised here."""
    settings = Settings(
        database_url=postgres.url, redis_url=valkey.url, clock_origin=MONDAY, link_secret="links"
    )
    app = build(settings)
    with TestClient(create_app(app)) as client:
        yield client
    app.close()


def stored(house: House) -> int:
    return int(house.db.read("SELECT count(*) AS n FROM inbound")[0]["n"])


def test_the_web_says_503_in_plain_words_while_the_database_is_away_and_goes_on_after(
    web: TestClient, house: House, postgres: Line
) -> None:
    ann = house.person("ann")
    page = f"/opt-out/{make_token('links', ann)}"
    body = push()
    assert web.get(page).status_code == 200
    assert web.get("/metrics").status_code == 200
    postgres.cut()
    answers = [
        web.post(HOOK, content=body, headers=signed(body)),
        web.get(HOOK, params={"crc_token": "abc"}),
        web.post(page),
        web.get("/metrics"),
    ]
    for answer in answers:
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")
        assert "Traceback" not in answer.text
    assert "send it again" in answers[0].text
    assert "was not saved" in answers[2].text
    assert "text/html" in answers[2].headers["content-type"]
    assert web.get("/readyz").json() == {"ready": False, "why": "the database does not answer"}
    assert web.get("/healthz").status_code == 200, "a restart would not help"
    assert stored(house) == 0
    postgres.mend()
    until(lambda: web.post(HOOK, content=body, headers=signed(body)).status_code == 200, "the push is taken")
    assert web.post(page).status_code == 200
    assert stored(house) == 1
    assert house.db.read("SELECT suppressed_at IS NOT NULL AS yes FROM person") == [{"yes": True}]


def test_a_push_needs_no_redis(web: TestClient, house: House, valkey: Line) -> None:
    valkey.cut()
    body = push()
    assert web.post(HOOK, content=body, headers=signed(body)).status_code == 200
    assert stored(house) == 1


def test_the_web_starts_without_redis(db: Database, database_url: str) -> None:
    instance.create(db, name="w", simulated_only=True, origin=MONDAY, factor=1.0, now=MONDAY)
    settings = Settings(database_url=database_url, redis_url="redis://127.0.0.1:1/0", clock_origin=MONDAY)
    app = build(settings)
    with TestClient(create_app(app)) as client:
        assert client.get("/healthz").text == "ok"
    app.close()


# --- what one sees of it ---------------------------------------------------------------------------------------------


def test_a_redis_that_is_away_is_seen_everywhere_and_the_first_sweep_after_it_moves_everything(
    house: House, direct: App, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    servers: Servers,
) -> None:  # fmt: skip
    terminal = Terminal(capsys)
    set_environment(monkeypatch, servers, database_url, tmp_path)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    sql(house, "UPDATE instance SET last_tick_at = %s, created_at = %s", MONDAY, MONDAY)
    enrolled(house, direct)
    assert "tick_late" in [one["alert"] for one in terminal.json("status")["alerts"]]
    checks = {one["id"]: one for one in terminal.json("doctor", code=1)["checks"]}
    assert (checks["O004"]["health"], checks["O033"]["health"]) == ("fail", "ok")
    assert "messages unknown" in checks["O033"]["detail"]
    assert terminal.json("dead-letters", "list") == []
    settings = Settings(database_url=database_url, redis_url="redis://127.0.0.1:1/0", clock_origin=MONDAY)
    with TestClient(create_app(app := build(settings))) as client:
        (age,) = re.findall(
            r"^outreach_last_tick_age_seconds (\S+)$", client.get("/metrics").text, re.MULTILINE
        )
        assert float(age) > 180
    app.close()
    (lead,) = house.db.read("SELECT id, hints, attempts, paused_at FROM lead")
    assert (lead["attempts"], lead["paused_at"]) == (0, None)
    ctx = replace(house.ctx, clock=direct.context.clock)
    # however fast all of this was: the lease of the hint that was lost is over
    sql(house, "UPDATE lead SET hinted_until = %s", MONDAY)
    for hint in sweep(ctx):
        if hint.id == lead["id"]:
            look_and_perform(ctx, hint.id)
    assert planned(house) == 1
