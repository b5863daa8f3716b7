"""Marks of every kind of secret and of everything personal, through the whole engine and all that can go wrong; then a search.

Real workers and a real web process, one that says everything as JSON, one in words, against a provider that quotes in its refusals
whatever it was sent. No mark may be in what any process has said, in Redis, in metrics, in the log of events, or in what people were told.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
import psycopg2.errors
import pytest
import redis

from outreach import app as apps
from outreach.broker import enqueue_many, message
from outreach.clock import FrozenClock, LiveClock
from outreach.embedded.servers import Servers
from outreach.models import accounts, instance
from outreach.models.base import Database
from outreach.runtime.control import pause_lead
from outreach.runtime.credentials import sealed_app
from outreach.runtime.doors import form_secret
from outreach.runtime.enroll import enroll
from outreach.runtime.forms import sign
from outreach.settings import Settings
from outreach.simulator import Simulator
from tests.integration.canary_support import MARKS, OUTSIDE, SEQUENCE, Quoter, push, quoting, signed
from tests.integration.law_support import NO_CAPS, NO_PACE
from tests.stage import House
from tests.traces import everything_in, in_tables, tables

pytestmark = pytest.mark.servers
ACCOUNTS = {"one": ("42", "access token"), "two": ("43", "access token of the second"), "three": ("44", "access token of the third")}  # fmt: skip
#: Tables in which there are ids and the engine's own words, and nothing else.
QUOTES_NOTHING = ("event_", "alert", "notice", "watermark", "hold", "refused_push", "task")


@dataclass
class Stand:
    """A house whose workers and web process are processes, and everything that they say."""

    app: apps.App
    house: House
    quoter: Quoter
    environment: dict[str, str]
    folder: Path
    servers: Path
    web: str = ""

    def said(self) -> dict[str, str]:
        """By our processes, and by the servers that we start ourselves."""
        files = [*self.folder.glob("*.log"), *self.servers.glob("*.log")]
        return {file.name: file.read_text("utf-8", "replace") for file in sorted(files)}


@contextmanager
def process(stand: Stand, log: str, *words: str, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
    with (stand.folder / f"{log}.log").open("ab") as out:
        command = [sys.executable, "-m", "outreach", *words]
        started = subprocess.Popen(command, env={**stand.environment, **environment}, stdout=out, stderr=out)
        try:
            yield started
        finally:
            started.terminate()
            started.wait(timeout=40)


def wait_for(done: Callable[[], bool], what: str, stand: Stand, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, f"waited for {what}: {stand.said()}"
        time.sleep(0.05)


@pytest.fixture
def stand(
    db: Database,
    database_url: str,
    servers: Servers,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stand]:
    now = LiveClock(Settings().clock_origin).now()
    instance.create(
        db, name="canary", simulated_only=True, origin=Settings().clock_origin, factor=1.0, now=now
    )
    with quoting({MARKS[mark]: external for external, mark in ACCOUNTS.values()}) as quoter:
        environment = {
            **os.environ,
            "DATABASE_URL": database_url, "REDIS_URL": servers.redis_url, "OUTREACH_ENV": "test", "OUTREACH_SETTLE_SECONDS": "1",
            "OUTREACH_CALL_DEADLINE_SECONDS": "3", "OUTREACH_POLL_SECONDS": "1", "OUTREACH_TICK_SECONDS": "0.5", "OUTREACH_HINT_LEASE_SECONDS": "1",
            "OUTREACH_KEYS": MARKS["encryption key"], "OUTREACH_PEPPER": MARKS["pepper"], "OUTREACH_LINK_SECRET": MARKS["link secret"], "OUTREACH_OUTBOUND_HOSTS": "",
            "NOTIFY_URL": f"{quoter.url}/hooks/{MARKS['notify url']}", "ALERT_URL": f"{quoter.url}/hooks/{MARKS['alert url']}",
            "HEARTBEAT_URL": f"{quoter.url}/hooks/{MARKS['heartbeat url']}",
        }  # fmt: skip
        app = apps.build(Settings.from_environment(environment))
        house = House(ctx=app.context, clock=FrozenClock(now), simulator=cast(Simulator, None), witness_path=tmp_path / "none")  # fmt: skip
        yield Stand(app=app, house=house, quoter=quoter, environment=environment, folder=tmp_path, servers=next(tmp_path_factory.getbasetemp().glob("servers*")))  # fmt: skip
        app.close()


def furnish(stand: Stand) -> dict[str, int]:
    """Accounts with their secrets, people with everything that is known of them, and their leads, one for each account."""
    house = stand.house
    for name, (external, mark) in ACCOUNTS.items():
        house.account(
            name, external_id=external, base_url=stand.quoter.url, access_token=MARKS[mark], refresh_token=MARKS["refresh token"], caps=NO_CAPS,
            pace=NO_PACE, dm_mode="opt_in", mode_reason="a test",
        )  # fmt: skip
    app = {
        "name": "sim", "channel": "twitter", "client_id": "sim-client", "client_secret": MARKS["client secret"],
        "consumer_secret": MARKS["consumer secret"], "caps": {}, "now": house.clock.now(),
    }  # fmt: skip
    house.db.run(lambda tx: accounts.put_app(tx, sealed_app(house.ctx.vault, app)))
    house.publish(SEQUENCE)
    people = {name: house.person(f"{name}{number}", basis="opt_in", first_name=MARKS["name"], secret=MARKS["template variable"])
              for number, name in enumerate(("one", "two", "three", "poison", "doubt"))}  # fmt: skip

    def name_them(tx: Any) -> None:
        tx.execute("UPDATE person SET name = %s", (MARKS["name"],))
        tx.execute("UPDATE identity SET value = %s, shown = %s WHERE person_id = %s", (MARKS["numeric id"], MARKS["numeric id"], people["one"]))  # fmt: skip
        for kind, what in (("twitter_handle", "handle"), ("email", "email"), ("evm_address", "wallet")):
            house.identity(tx, people["one"], kind, MARKS[what])

    house.db.run(name_them)
    leads = {}
    for name, person in people.items():
        account = name if name in ACCOUNTS else "one"
        segment = house.segment(f"only-{name}", [person])
        leads[name] = enroll(house.ctx, "hello", [segment], account_names=(account,), by="test").hints[0].id
    house.db.run(lambda tx: tx.execute("UPDATE lead SET cursor = %s WHERE id = %s", (MARKS["poisoned cursor"], leads["poison"])))  # fmt: skip
    return leads


def knock(stand: Stand) -> None:
    """Everything that comes in by the web: pushes and forms, well signed and not, understood and not, and addresses with secrets in them."""
    good, bad = MARKS["consumer secret"], "somebody-else"
    hook = f"{stand.web}/webhooks/twitter/sim"
    reads = push("42", MARKS["pushed message"], sender=MARKS["numeric id"])
    strange = push("42", MARKS["pushed message"], sender=MARKS["stranger's id"], stamp="1767614400001")
    unreadable = [
        push("42", "x", sender=MARKS["numeric id"], kind=MARKS["pushed and not understood"]),
        push("42", "x", sender=MARKS["numeric id"], stamp=MARKS["pushed and not understood"]),
        MARKS["pushed and not understood"].encode() + b" \xff no json",
        json.dumps({"data": {MARKS["pushed and not understood"]: 1}}).encode(),
    ]
    with httpx.Client(trust_env=False, timeout=20) as client:
        for body in (reads, strange, *unreadable):
            assert client.post(hook, content=body, headers=signed(body, good)).status_code == 200
            assert client.post(hook, content=body, headers=signed(body, bad)).status_code == 401
        fields = json.dumps({"name": MARKS["name"], "first_name": MARKS["form field"], "secret": MARKS["form field"], "email": "form." + MARKS["email"]}).encode()  # fmt: skip
        secret = form_secret(stand.house.ctx, "hello", "website", rotate=False).secret
        stamp = str(int(stand.house.ctx.clock.now().timestamp()))
        for key, status in ((secret, 200), (bad, 401)):
            headers = {
                "outreach-signature": f"t={stamp},v1={sign(key, stamp, fields)}",
                "content-type": "application/json",
            }
            answer = client.post(f"{stand.web}/forms/hello/website", content=fields, headers=headers)
            assert answer.status_code == status, answer.text
        asked = f"/oauth/twitter/callback?state={MARKS['oauth state']}&code={MARKS['oauth code']}"
        for path in (asked, f"/opt-out/{MARKS['link secret']}", f"/{MARKS['link secret']}"):
            assert client.get(f"{stand.web}{path}").status_code in (400, 404, 409)


def wrong_servers(stand: Stand, servers: Servers) -> Iterator[Any]:
    """Processes that cannot start: the message says why, and not with which password."""
    database, cache = stand.environment["DATABASE_URL"], servers.redis_url
    host, port = database.rsplit("@", 1)[1], cache.rsplit("@", 1)[1]
    password, other = MARKS["database password"], MARKS["redis password"]
    yield process(stand, "no-database", "worker", DATABASE_URL=f"postgresql://outreach:{password}@{host}")
    yield process(stand, "bad-database", "worker", DATABASE_URL=f"postgresql://outreach:{password}%ZZ@{host}")
    yield process(stand, "no-redis", "worker", REDIS_URL=f"redis://:{other}@{port}")
    yield process(stand, "bad-redis", "scheduler", REDIS_URL=f"redis://:{other}@[::1/{other}")


def test_no_secret_handle_or_body_is_said_kept_in_redis_measured_or_told(
    stand: Stand, servers: Servers
) -> None:
    leads = furnish(stand)
    pause_lead(stand.house.ctx, leads["doubt"], MARKS["human reason"], by="test")
    with ExitStack() as stack:
        cannot = [stack.enter_context(one) for one in wrong_servers(stand, servers)]
        web_port = free_port()
        stand.web = f"http://127.0.0.1:{web_port}"
        stack.enter_context(process(stand, "web", "web", "--port", str(web_port), OUTREACH_LOG_LEVEL="DEBUG", OUTREACH_JSON_LOGS="1"))  # fmt: skip
        stack.enter_context(process(stand, "worker-json", "worker", OUTREACH_LOG_LEVEL="DEBUG", OUTREACH_JSON_LOGS="1"))  # fmt: skip
        stack.enter_context(process(stand, "worker-words", "worker", OUTREACH_LOG_LEVEL="INFO", OUTREACH_JSON_LOGS="0"))  # fmt: skip
        wait_for(lambda: answers(stand.web), "the web process", stand)
        knock(stand)
        run_everything(stand, leads)
        for one in cannot:
            assert one.wait(timeout=60) in (1, 2)
        measured = {path: httpx.get(f"{stand.web}{path}", trust_env=False).text for path in ("/metrics", "/healthz", "/readyz")}  # fmt: skip
        kept = in_redis_of(servers)
    with pytest.raises(psycopg2.errors.UniqueViolation):
        # What Postgres says of it by itself: the whole statement, and the row.
        stand.house.db.run(lambda tx: stand.house.identity(tx, 1, "email", MARKS["email"]))
    assert_nothing_is_found(stand, measured, kept)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def run_everything(stand: Stand, leads: Mapping[str, int]) -> None:
    """Ticks, until each of the failures has happened."""
    db, broker = stand.house.db, stand.app.broker

    def seen() -> dict[str, bool]:
        enqueue_many(broker, [message("inbound", "tick", 0).copy(args=())])
        states = {row["name"]: row["state"] for row in db.read("SELECT name, state FROM account")}
        executions = {
            row["lead_id"]: row["state"]
            for row in db.read("SELECT lead_id, state FROM execution WHERE lead_id IS NOT NULL")
        }
        said = "".join(stand.said().values())
        return {
            "sent": executions.get(leads["one"]) == "sent",
            "refused for the second": states["two"] == "restricted",
            "refused for the third": states["three"] == "needs_reauth",
            "reply read": bool(
                db.read("SELECT 1 AS one FROM inbound WHERE text LIKE %s", (f"%{MARKS['reply received']}%",))
            ),
            "push understood": bool(
                db.read("SELECT 1 AS one FROM inbound WHERE class IS NOT NULL AND via = 'webhook'")
            ),
            "poisoned": "KeyError" in said,
            "told of a reply": any("wrote:" in text for text in stand.quoter.told),
            "told of an alert": any("ALERT" in text for text in stand.quoter.told),
            "unreadable inbox": bool(
                db.read("SELECT 1 AS one FROM watermark WHERE failed LIKE 'unreadable%%'")
            ),
        }

    def all_seen() -> bool:
        time.sleep(0.3)
        return all(seen().values())

    try:
        wait_for(all_seen, "everything", stand, 90)
    except AssertionError as error:
        raise AssertionError([what for what, yes in seen().items() if not yes]) from error


def in_redis_of(servers: Servers) -> list[tuple[str, str]]:
    client = redis.Redis.from_url(servers.redis_url)
    try:
        return list(everything_in(client))
    finally:
        client.close()


def assert_nothing_is_found(
    stand: Stand, measured: Mapping[str, str], kept: Sequence[tuple[str, str]]
) -> None:
    dump = tables(stand.house.db)
    found = {what for what, _ in in_tables(dump, MARKS)}
    assert found == MARKS.keys() - OUTSIDE, (
        "what is searched for is where it belongs; else nothing would be proven"
    )
    heard = "".join(stand.quoter.heard)
    sealed = (
        "access token",
        "access token of the second",
        "access token of the third",
        "refresh token",
        "basic credentials",
        "alert url",
    )
    assert [what for what in sealed if MARKS[what] not in heard] == [], "they were in use"
    said = {f"said by {name}": text for name, text in stand.said().items()}
    assert all(
        word in "".join(said.values())
        for word in ("swept", "KeyError", "hint", '"level"', "info ", "ERROR:  duplicate")
    )
    everywhere = {
        **said,
        **{f"told {number}": text for number, text in enumerate(stand.quoter.told)},
        **{
            f"{table} {i}": row
            for table in dump
            if table.startswith(QUOTES_NOTHING)
            for i, row in enumerate(dump[table])
        },
        **{f"redis {i}": f"{key} {value}" for i, (key, value) in enumerate(kept)},
        **{f"measured {path}": text for path, text in measured.items()},
    }
    hits = [
        f"{what} in {where}: …{text[max(0, at - 150) : at + 60]}…"
        for where, text in everywhere.items()
        for what, mark in MARKS.items()
        if (at := text.lower().find(mark.lower())) >= 0
        # A notice of a reply has a link to the conversation, which is called by both sides' ids: the one place where that is said.
        and not (what == "numeric id" and where.startswith("told") and f"/messages/42-{mark}" in text)
    ]
    assert hits == []
