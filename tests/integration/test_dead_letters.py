"""Messages that cannot be taken: read by nobody, known to nobody, held by the dead. None is lost in silence, none harms its neighbours."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from dramatiq import Worker
from dramatiq.common import current_millis

from outreach.app import build
from outreach.broker import ENGINE, QUEUES, SafeBroker, bury_the_dead, enqueue_many, make_broker, message
from outreach.embedded.servers import Servers
from outreach.letters import dead_letters
from outreach.models.base import Database
from outreach.runtime.control import pause_lead
from outreach.runtime.parking import strike
from outreach.settings import Settings
from tests.integration.cli_support import Terminal, set_environment
from tests.integration.law_support import FOLLOW, open_house, roomy_account
from tests.stage import House

pytestmark = pytest.mark.servers
PATIENCE = 60.0


class Listener:
    """A worker that knows some actors, and what it was given."""

    def __init__(self, servers: Servers, name: str, actors: Sequence[str]) -> None:
        self.broker: SafeBroker = make_broker(servers.redis_url, name)
        self.heard: list[int] = []
        self.called = threading.Event()
        for actor in actors:
            dramatiq.actor(actor_name=actor, queue_name=ENGINE, broker=self.broker)(self._hear)

    def _hear(self, row_id: int) -> None:
        self.heard.append(row_id)
        self.called.set()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        worker = Worker(self.broker, queues=set(QUEUES), worker_timeout=20, worker_threads=1)
        worker.start()
        try:
            yield
        finally:
            worker.stop()

    def close(self) -> None:
        self.broker.close()


def bury_nonsense(broker: SafeBroker, queue: str = ENGINE) -> None:
    """Somebody else's message, where ours are."""
    broker.client.hset(f"{broker.namespace}:{queue}.msgs", "not-ours", "no message at all")
    broker.client.rpush(f"{broker.namespace}:{queue}", "not-ours")


def until(done: Any, what: str) -> None:
    pause = threading.Event()
    for _ in range(int(PATIENCE / 0.02)):
        if done():
            return
        pause.wait(0.02)
    raise AssertionError(f"never happened: {what}")


def test_what_nobody_can_read_is_set_aside_and_its_neighbours_are_carried_out(servers: Servers) -> None:
    one = Listener(servers, "nonsense", ["advance_lead"])
    enqueue_many(one.broker, [message(ENGINE, "advance_lead", 1)])
    bury_nonsense(one.broker)
    enqueue_many(one.broker, [message(ENGINE, "advance_lead", n) for n in (2, 3)])
    with one.at_work():
        until(lambda: one.heard == [1, 2, 3], "the three that can be read are carried out")
    (letter,) = dead_letters(one.broker)
    assert (letter.id, letter.queue, letter.actor) == ("not-ours", ENGINE, None)
    assert one.broker.client.keys(f"{one.broker.namespace}:__acks__*") == [], "nothing is stranded"
    one.close()


def test_a_hint_of_a_newer_release_is_handed_on_until_a_worker_takes_it_that_knows_it(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outreach.broker._HAND_ON_AFTER", 50)
    old, new = (
        Listener(servers, "roll-out", actors) for actors in (["advance_lead"], ["advance_lead", "try_lead"])
    )
    handed_on: list[int] = []
    with old.at_work():
        enqueue_many(old.broker, [message(ENGINE, "try_lead", 7), message(ENGINE, "advance_lead", 8)])
        until(lambda: old.heard == [8], "what it knows it carries out")
        until(lambda: old.broker.client.llen(f"{old.broker.namespace}:{ENGINE}") == 0, "it has taken both")
        with new.at_work():
            until(lambda: new.heard == [7], "the newer worker has got it")
            handed_on += [len(dead_letters(new.broker))]
    assert (handed_on, old.heard) == ([0], [8])
    for one in (old, new):
        one.close()


def test_what_the_dead_had_fetched_is_forgotten_and_what_the_living_have_is_left_alone(
    servers: Servers,
) -> None:
    dead, alive = (Listener(servers, "graves", ["advance_lead"]) for _ in range(2))
    space, client = alive.broker.namespace, alive.broker.client
    enqueue_many(alive.broker, [message(ENGINE, "advance_lead", n) for n in range(4)])
    dead.broker.do_fetch(ENGINE, 2)
    alive.broker.do_fetch(ENGINE, 1)
    client.zadd(f"{space}:__heartbeats__", {dead.broker.broker_id: current_millis() - 31_000})
    bury_the_dead(alive.broker)
    assert client.smembers(f"{space}:__acks__.{dead.broker.broker_id}.{ENGINE}") == set()
    assert client.scard(f"{space}:__acks__.{alive.broker.broker_id}.{ENGINE}") == 1
    assert (client.llen(f"{space}:{ENGINE}"), client.hlen(f"{space}:{ENGINE}.msgs")) == (1, 2)
    assert client.zrange(f"{space}:__heartbeats__", 0, -1) == [alive.broker.broker_id.encode()]
    for one in (dead, alive):
        one.close()


# --- the commands -----------------------------------------------------------------------------------------------------


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    house = open_house(db, tmp_path, ("ann", "bob", "cid", "dee"))
    roomy_account(house)
    house.publish(FOLLOW)
    return house


@pytest.fixture
def terminal(
    house: House, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, servers: Servers, database_url: str, tmp_path: Path
) -> Terminal:  # fmt: skip
    del house
    set_environment(monkeypatch, servers, database_url, tmp_path)
    return Terminal(capsys)


def waiting(house: House, handle: str) -> list[int]:
    deliver, house.deliver = house.deliver, lambda _hint: []
    leads = house.enroll("follow", [house.person(handle)])
    house.deliver = deliver
    return leads


def parked(house: House, *handles: str) -> list[int]:
    leads = [lead_id for handle in handles for lead_id in waiting(house, handle)]
    for lead_id in leads:
        for _ in range(5):
            strike(house.ctx, lead_id, "KeyError in moving.py:97")
    return leads


def test_leads_and_messages_are_listed_requeued_and_dropped(
    house: House, terminal: Terminal, servers: Servers, database_url: str
) -> None:
    first, second, third = parked(house, "ann", "bob", "cid")
    (on_holiday,) = waiting(house, "dee")
    pause_lead(house.ctx, on_holiday, "a holiday", "test")
    app = build(
        Settings(database_url=database_url, redis_url=servers.redis_url, clock_origin=house.clock.now())
    )
    broker: Any = app.broker
    bury_nonsense(broker)
    broker.do_fetch(ENGINE, 1)
    broker.do_nack(ENGINE, "not-ours")

    rows = terminal.json("dead-letters", "list")
    assert {row["id"] for row in rows} == {
        f"lead:{first}",
        f"lead:{second}",
        f"lead:{third}",
        "message:not-ours",
    }
    assert {row["reason"] for row in rows} == {
        "failed 5 times: KeyError in moving.py:97",
        "nobody can read it",
    }
    assert "ann" not in terminal.out.lower(), "ids only"
    assert "3 leads parked because our own code failed on them, 1 messages" in terminal("doctor")

    terminal("dead-letters", "requeue", f"lead:{first}", "lead:4711", code=2)
    assert house.lead(first)["paused_at"] is not None, "all that are named, or none"
    terminal("dead-letters", "requeue", f"lead:{first}")
    assert (house.lead(first)["paused_at"], house.lead(first)["attempts"]) == (None, 0)
    terminal("dead-letters", "drop", f"lead:{second}", "--reason", "cannot be mended")
    assert (house.lead(second)["state"], house.lead(second)["exit_reason"]) == ("exited", "cannot be mended")
    terminal("dead-letters", "requeue", "message:not-ours")
    assert broker.client.lrange(f"{broker.namespace}:{ENGINE}", -1, -1) == [b"not-ours"]
    assert dead_letters(broker) == []
    terminal("dead-letters", "drop", "--all")
    assert house.lead(third)["state"] == "exited"
    assert terminal.json("dead-letters", "list") == []
    terminal("dead-letters", "drop", code=2)
    app.close()
