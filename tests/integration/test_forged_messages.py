"""Whoever can write to Redis can put any message there. It does nothing that the gate would not have let through, and nobody dies of it."""

import json
import logging
import pickle
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from dramatiq import Worker
from dramatiq.common import dq_name

from outreach.app import App, override
from outreach.broker import INBOUND, QUEUES, SOON, SafeBroker, enqueue_many, make_broker, message
from outreach.embedded.servers import Servers
from outreach.forged import wrong_with
from outreach.ids import new_key
from outreach.models import instance
from outreach.models.base import Database
from outreach.runtime.control import pause_lead, stop_lead
from outreach.runtime.optout import opt_out
from tests.integration.law_support import DAY, FOLLOW, HOUR, acts, open_house, roomy_account, sql
from tests.stage import House

pytestmark = pytest.mark.servers
#: Actors that carry out an execution: what is forged for them is any row of the ledger.
SENDS = (
    "follow_on_twitter", "unfollow_on_twitter", "send_twitter_dm", "send_linkedin_dm", "send_connection_request", "send_xmtp_dm", "send_email",
)  # fmt: skip
WRITE = """
sequence: write
actions:
  hello: {do: SEND_TWITTER_DM, message: "Hello. {{ opt_out }}", next: [{after: 3d, to: again}]}
  again: {do: SEND_TWITTER_DM, message: "Again. {{ opt_out }}"}
"""
MARK = "forged-words-9c1f"


@dataclass
class Bench:
    """The engine of a house behind a real broker, with one worker of two threads."""

    house: House
    broker: SafeBroker
    caplog: pytest.LogCaptureFixture

    def put(self, queue: str, body: bytes, redis_id: str | None = None) -> None:
        """Any bytes at all, as whoever has the password would put them there."""
        redis_id = redis_id or new_key()
        self.broker.client.hset(f"{self.broker.namespace}:{queue}.msgs", redis_id, body)
        self.broker.client.rpush(f"{self.broker.namespace}:{queue}", redis_id)

    def forge(self, queue: str, actor: str, *args: Any, **fields: Any) -> None:
        redis_id = new_key()
        body = {
            "queue_name": queue, "actor_name": actor, "args": list(args), "kwargs": {}, "options": {"redis_message_id": redis_id},
            "message_id": new_key(), "message_timestamp": 0,
        } | fields  # fmt: skip
        self.put(queue, json.dumps(body).encode(), redis_id)

    def work(self) -> list[logging.LogRecord]:
        """Carry out everything that is there; all that was said, at any level of ours and at warnings of others."""
        self.caplog.clear()
        worker = Worker(self.broker, queues=set(QUEUES), worker_timeout=50, worker_threads=2)
        worker.start()
        try:
            for queue in QUEUES:
                self.broker.join(queue, timeout=30_000, interval=20)
            assert self.left() == [], "nothing is left to be fetched again"
            assert all(thread.is_alive() for thread in (*worker.consumers.values(), *worker.workers))
        finally:
            worker.stop()
        return list(self.caplog.records)

    def left(self) -> list[bytes]:
        """What is still in Redis after a while, dead letters left aside."""
        for _ in range(200):
            keys: Any = self.broker.client.keys(f"{self.broker.namespace}:*")
            found: list[bytes] = [key for key in keys if b"heartbeats" not in key and b".XQ" not in key]
            if not found:
                break
            threading.Event().wait(0.02)
        return found

    def dead(self) -> list[bytes]:
        client: Any = self.broker.client
        found: list[bytes] = [
            body for key in client.keys(f"{self.broker.namespace}:*.XQ.msgs") for body in client.hvals(key)
        ]
        return found


@pytest.fixture
def bench(
    db: Database, tmp_path: Path, servers: Servers, caplog: pytest.LogCaptureFixture
) -> Iterator[Bench]:
    house = open_house(db, tmp_path, ("ann", "bob", "cid", "dan", "eve", "fay", "gil", "hal"))
    roomy_account(house)
    for text in (FOLLOW, WRITE):
        house.publish(text)
    broker = make_broker(servers.redis_url, f"forged-{tmp_path.name}")
    app = App(
        settings=house.ctx.settings,
        context=house.ctx,
        broker=broker,
        instance=house.db.run(instance.read),
    )
    override(app)
    dramatiq.set_broker(broker)
    import outreach.actors
    from outreach.actors import cron, email, inbound, leads, linkedin, ops, twitter, xmtp

    assert outreach.actors
    for room in (cron, email, inbound, leads, linkedin, ops, twitter, xmtp):
        for one in vars(room).values():
            if isinstance(one, dramatiq.Actor):
                one.broker = broker
                broker.declare_actor(one)
    caplog.set_level(logging.WARNING, "dramatiq")
    caplog.set_level(logging.INFO, "outreach")
    yield Bench(house, broker, caplog)
    override(None)
    for key in broker.client.keys(f"{broker.namespace}*"):
        broker.client.delete(key)
    broker.close()


def in_every_state(house: House) -> None:
    """Leads that are ended, paused, opted out, blocked, in doubt, held, refused; and one that has sent and waits."""
    people = {h: house.person(h, basis="opt_in") for h in ("ann", "bob", "cid", "dan", "eve", "fay", "gil")}
    people["hal"] = house.person("hal", basis=None)
    leads = dict(zip(people, house.enroll("write", list(people.values())), strict=True))
    house.pass_time(timedelta(minutes=2))
    stop_lead(house.ctx, leads["bob"], "test", by="test")
    pause_lead(house.ctx, leads["cid"], "test", by="test")
    opt_out(house.ctx, people["dan"], reason="test", source="operator", evidence={}, actor="test")
    for handle, state in (("eve", "in_doubt"), ("fay", "held"), ("gil", "calling")):
        extra = ", reason = 'test'" if state == "held" else ""
        sql(
            house,
            f"UPDATE execution SET state = '{state}', effect_by = call_deadline, sent_at = NULL, settled_at = NULL{extra} WHERE lead_id = %s AND state = 'sent'",
            leads[handle],
        )


def test_no_forged_message_makes_a_send_that_the_gate_would_not_let_through(bench: Bench) -> None:
    house = bench.house
    in_every_state(house)
    before, rows = house.accepted(), house.executions()
    assert {row["state"] for row in rows} >= {"sent", "planned", "in_doubt", "held", "calling"}, rows
    ids = sorted(
        {row["id"] for row in rows}
        | {row["id"] for row in house.db.read("SELECT id FROM lead UNION SELECT id FROM person")}
    )
    actors = sorted(bench.broker.actors)
    assert set(SENDS) < set(actors) and len(actors) >= 18
    for actor in actors:
        for row_id in [*ids, 0, 10**6, 2**63 - 1] if actor != "tick" else []:
            bench.forge(INBOUND, actor, row_id)
    said = bench.work()
    assert house.accepted() == before, "nothing was due, so nothing may go out"
    assert [r.getMessage() for r in said if r.levelno >= logging.ERROR] == []
    assert bench.dead() == []
    # None of it was lost on the way either: what is due in three days is done then, once, and for nobody else.
    house.pass_time(4 * DAY, step=6 * HOUR)
    assert sorted(acts(house)[len(before) :]) == [("dm", "ann"), ("dm", "eve"), ("dm", "gil")]


def test_the_same_message_fifty_times_at_once_is_one_send(bench: Bench) -> None:
    house = bench.house
    deliver, house.deliver = house.deliver, lambda _hint: []
    (lead,) = house.enroll("follow", [house.person("ann")])
    house.deliver = deliver
    for _ in range(50):
        bench.forge(INBOUND, "advance_lead", lead)
    bench.work()
    (row,) = house.executions(lead)
    for actor in SENDS:
        for _ in range(50):
            bench.forge(INBOUND, actor, row["id"])
    bench.work()
    assert [a.kind for a in house.accepted()] == ["follow"]


class Bomb:
    """What a pickled message would do."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("import threading; threading.main_thread().name = 'pickled'",)


NONSENSE: list[tuple[str, bytes]] = [
    ("pickle", pickle.dumps(Bomb())),
    ("bytes", b"\xff\xfe\x00" + MARK.encode()),
    ("empty", b""),
    ("text", MARK.encode()),
    ("deep", b"[" * 100_000),
    ("list", b"[1, 2]"),
    ("nothing", b"null"),
    ("half", b'{"queue_name": "inbound", "actor_name": "tick"'),
    ("fields", json.dumps({"actor_name": "advance_lead", "words": MARK}).encode()),
]
GOOD = json.loads(message(INBOUND, "advance_lead", 7).copy(options={"redis_message_id": "a"}).encode())
#: (what is forged, why it is dropped)
SHAPES: list[tuple[dict[str, Any], str]] = [
    ({"actor_name": MARK}, "called like that"),
    ({"actor_name": "send_" + "x" * 90}, "called like that"),
    ({"actor_name": ["advance_lead"]}, "kind"),
    ({"args": []}, "no id"),
    ({"args": [MARK]}, "no id"),
    ({"args": [[1]]}, "no id"),
    ({"args": [{"id": 1}]}, "no id"),
    ({"args": [1, 2]}, "no id"),
    ({"args": [-1]}, "no id"),
    ({"args": [2**63]}, "no id"),
    ({"args": [10**400]}, "no id"),
    ({"args": [1.5]}, "no id"),
    ({"args": [True]}, "no id"),
    ({"args": [None]}, "no id"),
    ({"args": MARK}, "kind"),
    ({"kwargs": {"execution_id": 1}}, "no id"),
    ({"message_id": {"a": 1}}, "kind"),
    ({"queue_name": "engine"}, "another queue"),
    ({"options": []}, "kind"),
    ({"options": {}}, "options"),
    ({"options": {"redis_message_id": 7}}, "options"),
    ({"options": {"redis_message_id": "a", "time_limit": 1}}, "options"),
    ({"options": {"redis_message_id": "a", "eta": MARK}}, "options"),
    ({"options": {"redis_message_id": "a", "eta": 10**15}}, "options"),
    ({"options": {"redis_message_id": "a", "pipe_target": {"actor_name": "tick"}}}, "options"),
    ({"options": {"redis_message_id": "a", "on_failure": "tick"}}, "options"),
    ({"options": {"redis_message_id": "a", "scheduled_at": MARK}}, "options"),
    ({"options": {"redis_message_id": "a", "scheduled_at": 7}}, "options"),
]


def test_what_is_no_hint_is_set_aside_with_a_line_each_and_the_next_one_is_carried_out(bench: Bench) -> None:
    house = bench.house
    deliver, house.deliver = house.deliver, lambda _hint: []
    (lead,) = house.enroll("follow", [house.person("ann")])
    house.deliver = deliver
    for _, body in NONSENSE:
        bench.put(INBOUND, body)
    for fields, _ in SHAPES:
        bench.put(INBOUND, json.dumps(GOOD | fields).encode())
    bench.broker.client.rpush(f"{bench.broker.namespace}:{INBOUND}", "a name without a body")
    bench.put(dq_name(SOON), MARK.encode())
    enqueue_many(bench.broker, [message(INBOUND, "advance_lead", lead)])
    said = bench.work()
    dropped = [vars(r) for r in said if vars(r).get("action") == "dead_letter"]
    assert len(dropped) == len(NONSENSE) + len(SHAPES) + 2
    assert len([r for r in said if r.levelno > logging.WARNING]) == len(dropped), "no thread stumbled"
    assert len(bench.dead()) == len(dropped) - 1, "all but the name without a body can be looked at"
    lines = "\n".join(str(line) for line in dropped)
    assert MARK not in lines and "x" * 41 not in lines
    assert threading.main_thread().name != "pickled"
    assert len(house.accepted()) == 1, "the true hint behind them was carried out"


@pytest.mark.parametrize(("fields", "why"), SHAPES)
def test_each_shape_is_refused_for_its_own_reason(fields: dict[str, Any], why: str) -> None:
    actors = {"advance_lead": 1, "tick": 0}
    assert wrong_with(json.dumps(GOOD).encode(), INBOUND, actors) is None
    found = wrong_with(json.dumps(GOOD | fields).encode(), INBOUND, actors)
    assert found is not None
    assert why in found
    assert MARK not in found


def test_messages_are_json(bench: Bench) -> None:
    assert type(dramatiq.get_encoder()) is dramatiq.JSONEncoder
