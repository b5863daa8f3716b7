"""Killing real workers: a lane is one database, one simulator process and one queue, on which one worker at a time dies.

A victim is a lead that is hinted to a worker whose failpoint is armed: the worker dies at exactly that point, with
exactly that lead in its hands. Recovery is one worker that is not armed, and ticks.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import httpx
import psycopg2

from outreach import app as apps
from outreach.broker import enqueue_many, message
from outreach.clock import FrozenClock
from outreach.embedded.servers import Servers
from outreach.models import instance
from outreach.models.base import Database, Row
from outreach.rehearsal.judge import Verdict, judge
from outreach.runtime.enroll import enroll
from outreach.settings import Settings
from outreach.simulator import Simulator, id_of_handle
from outreach.simulator.witness import Acceptance, read_witness
from tests.integration.law_support import NO_PACE, people
from tests.stage import House

FACTOR = 60.0
#: Real seconds: D, G, S. Long enough that no busy machine makes a call late that nobody killed.
DEADLINE, GUARD, SETTLE = 6.0, 5.0, 1.0
#: Two sequences, so that each point is met with a state to set and with a message to send.
SEQUENCES = (
    """
sequence: follow-write
actions:
  follow: {do: FOLLOW_ON_TWITTER, next: hello}
  hello: {do: SEND_TWITTER_DM, message: "Hello. {{ opt_out }}"}
""",
    'sequence: write\nactions:\n  hello: {do: SEND_TWITTER_DM, message: "Hello. {{ opt_out }}"}\n',
)
#: our accounts: one that everything works for; one whose provider can be asked nothing; one whose answers are cut off
WE, BLIND, CUT = "we", "blind", "cut"
_WORKER = ["worker", "--queues", "engine,inbound,twitter,soon"]
#: decides what is due and leaves it to others: hints are its only way on
_DECIDER = ["worker", "--queues", "engine,inbound,soon"]
#: Real seconds after which a worker will not die any more.
_NEVER = 40.0
_KIND = {"FOLLOW_ON_TWITTER": "follow", "SEND_TWITTER_DM": "dm"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """A lead and where its worker dies."""

    trial: str
    lead_id: int
    #: FOLLOW_ON_TWITTER or SEND_TWITTER_DM
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """What became of one victim."""

    victim: Victim
    #: state, attempts, events, effects at the provider: of the execution that was killed
    killed: Mapping[str, Any]
    #: the same of what the lead did afterwards
    later: Sequence[Mapping[str, Any]]
    lead_state: str
    #: had the provider accepted it when the worker was dead?
    was_accepted: bool


@dataclass(kw_only=True)
class Lane:
    """One world in which workers are killed."""

    app: apps.App
    house: House
    folder: Path
    environment: dict[str, str]
    simulator_url: str
    nursery: "subprocess.Popen[str]"
    victims: list[Victim] = field(default_factory=list)
    killed_by: Counter[str] = field(default_factory=Counter)

    @property
    def db(self) -> Database:
        return self.app.context.db

    # --- people ------------------------------------------------------------------------------------------------

    def enroll(self, trial: str, account: str, many: int) -> list[Victim]:
        """Leads that nobody looks at yet: every second one begins with a follow, the others with a message."""
        victims: list[Victim] = []
        for sequence, kind, number in (
            ("follow-write", "FOLLOW_ON_TWITTER", (many + 1) // 2),
            ("write", "SEND_TWITTER_DM", many // 2),
        ):
            handles = [f"p{len(self.victims) + len(victims) + n}" for n in range(number)]
            if not handles:
                continue
            self.add_people(people(*handles))
            persons = [self.house.person(h, basis="opt_in") for h in handles]
            segment = self.house.segment(f"{trial}-{sequence}", persons)
            made = enroll(self.app.context, sequence, [segment], account_names=(account,), by="test").hints
            assert len(made) == number
            victims += [Victim(trial=trial, lead_id=h.id, kind=kind) for h in made]
        self.victims += victims
        return victims

    def add_people(self, known: Sequence[Mapping[str, Any]]) -> None:
        """People whom the simulator knows from now on."""
        self._post("/__sim/world", {"people": list(known)})

    def _post(self, path: str, body: Mapping[str, Any]) -> None:
        httpx.post(f"{self.simulator_url}{path}", json=body, trust_env=False).raise_for_status()

    def faults(self, *rules: Mapping[str, Any]) -> None:
        self._post("/__sim/faults", {"rules": list(rules), "add": False})

    # --- workers -----------------------------------------------------------------------------------------------

    def kill(self, victim: Victim, failpoint: str) -> None:
        """Hint the victim to a worker that dies at the point. Raises AssertionError where it does not.

        The first one at a point is started by its command, the others by the nursery.
        """
        self._forget_hints()
        self.hint(message("engine", "advance_lead", victim.lead_id))
        start = self._start if victim.trial not in self.killed_by else self._fork
        end = start(failpoint, _DECIDER if failpoint.startswith("hints.") else _WORKER)
        log = self.folder / "killed.log"
        assert end == str(-signal.SIGKILL), f"at {failpoint}: {end}\n{log.read_text()[-2000:]}"
        self.killed_by[victim.trial] += 1

    def _start(self, failpoint: str, words: Sequence[str]) -> str:
        with self.worker(self.folder / "killed.log", words, OUTREACH_FAILPOINT=failpoint) as process:
            try:
                return str(process.wait(timeout=_NEVER))
            except subprocess.TimeoutExpired:
                return "late"

    def _fork(self, failpoint: str, words: Sequence[str]) -> str:
        order = {
            "words": words, "environment": self.environment | {"OUTREACH_FAILPOINT": failpoint},
            "log": str(self.folder / "killed.log"), "seconds": _NEVER,
        }  # fmt: skip
        assert self.nursery.stdin is not None and self.nursery.stdout is not None
        self.nursery.stdin.write(json.dumps(order) + "\n")
        self.nursery.stdin.flush()
        return self.nursery.stdout.readline().strip()

    @contextmanager
    def worker(
        self, log: Path, words: Sequence[str] = _WORKER, **environment: str
    ) -> "Iterator[subprocess.Popen[bytes]]":
        """A worker by its command, killed on leaving."""
        with log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "outreach", *words],
                env={**self.environment, **environment},
                stdout=out,
                stderr=out,
            )
            try:
                yield process
            finally:
                process.kill()
                process.wait()

    def hint(self, *messages: Any) -> None:
        enqueue_many(self.app.broker, messages)

    def queues_are_empty(self) -> bool:
        """No message waits to be fetched, and none is fetched and not done with."""
        broker = cast(Any, self.app.broker)
        waiting = [
            key
            for key in broker.client.scan_iter(f"{broker.namespace}:*")
            if broker.client.type(key) in (b"list", b"set")
        ]
        return not waiting

    def _forget_hints(self) -> None:
        """As a Redis that lost everything: what dead workers had fetched must not get in the way of the next victim."""
        broker = cast(Any, self.app.broker)
        keys = list(broker.client.scan_iter(f"{broker.namespace}:*"))
        if keys:
            broker.client.delete(*keys)

    # --- doubts that answers left --------------------------------------------------------------------------------

    def bring_into_doubt(self, victims: Sequence[Victim]) -> None:
        """Their calls are accepted and the connection is reset: the worker lives and does not know."""

        def certain() -> list[Row]:
            return self.db.read(
                "SELECT l.id, l.waiting_on, l.waiting_detail, e.state FROM lead l LEFT JOIN execution e ON e.lead_id = l.id"
                " WHERE l.id = ANY(%s) AND e.state IS DISTINCT FROM 'in_doubt'",
                ([v.lead_id for v in victims],),
            )

        def all_in_doubt() -> bool:
            left = certain()
            self.hint(*(message("engine", "advance_lead", row["id"]) for row in left))
            return not left

        with self.worker(self.folder / "doubt.log"):
            wait_for(all_in_doubt, "the calls to be in doubt", certain, every=1.0)
        time.sleep(DEADLINE + SETTLE)

    # --- recovery ----------------------------------------------------------------------------------------------

    def recover(self) -> None:
        """One healthy worker, ticks until nothing moves; half of the leads with every hint twice, half by the sweep alone."""
        self._forget_hints()
        hinted = [v.lead_id for v in self.victims if v.lead_id % 2]
        rows = self.db.read("SELECT id, kind FROM execution WHERE lead_id = ANY(%s)", (hinted,))
        stale = [message("twitter", r["kind"].lower(), r["id"]) for r in rows]
        stale += [message("engine", "advance_lead", lead_id) for lead_id in hinted]
        self.hint(*stale, *stale)
        with self.worker(self.folder / "healthy.log"):
            wait_for(self._settled_after_a_tick, "everything to settle", self._unsettled, every=0.3)

    def _settled_after_a_tick(self) -> bool:
        self.hint(message("engine", "tick", 0).copy(args=()))
        return not self._unsettled()

    def _unsettled(self) -> list[Row]:
        return self.db.read(
            "SELECT id, waiting_on, waiting_detail FROM lead WHERE state = 'active'"
            " AND NOT (waiting_on = 'doubt' AND waiting_detail = 'held')"
        )

    # --- what became of it -------------------------------------------------------------------------------------

    def accepted(self) -> list[Acceptance]:
        return read_witness(self.folder / "witness.jsonl")[0]

    def effects(self) -> Counter[tuple[str, str]]:
        """(recipient, kind) as the provider's own log has them."""
        return Counter((a.recipient, a.kind) for a in self.accepted())

    def ends(self, accepted_when_dead: Counter[tuple[str, str]]) -> list[End]:
        executions = self.db.read(
            "SELECT e.id, e.lead_id, e.kind, e.state, e.attempts, i.value AS recipient FROM execution e"
            " JOIN identity i ON i.id = e.identity_id ORDER BY e.id"
        )
        events: dict[int, list[str]] = {}
        for row in self.db.read(
            "SELECT execution_id AS id, kind, payload ->> 'how' AS how FROM event"
            " WHERE execution_id IS NOT NULL ORDER BY lead_id, lead_seq"
        ):
            events.setdefault(row["id"], []).append(
                f"{row['kind']} {row['how']}" if row["how"] else row["kind"]
            )
        states = {row["id"]: row["state"] for row in self.db.read("SELECT id, state FROM lead")}
        effects = self.effects()
        found = []
        for victim in self.victims:
            mine = [
                {
                    "state": e["state"],
                    "attempts": e["attempts"],
                    "events": events[e["id"]],
                    "effects": effects[e["recipient"], _KIND[e["kind"]]],
                }
                for e in executions
                if e["lead_id"] == victim.lead_id
            ]
            first = next(e for e in executions if e["lead_id"] == victim.lead_id)
            assert first["kind"] == victim.kind
            found.append(
                End(
                    victim=victim,
                    killed=mine[0],
                    later=mine[1:],
                    lead_state=states[victim.lead_id],
                    was_accepted=accepted_when_dead[first["recipient"], _KIND[victim.kind]] > 0,
                )
            )
        return found

    def verdict(self) -> Verdict:
        acceptances, deeds = read_witness(self.folder / "witness.jsonl")
        ctx = self.app.context
        return judge(ctx.db, acceptances, deeds, caps={}, now=ctx.clock.now(), machine=ctx.machine(1.0))


def wait_for(
    done: Callable[[], bool], what: str, left: Callable[[], object], *, every: float, seconds: float = 120.0
) -> None:
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, f"waited {seconds:g} s for {what}: {left()}"
        time.sleep(every)


# --- a lane's set-up ---------------------------------------------------------------------------------------------


@contextmanager
def open_lane(servers: Servers, template: str, name: str, folder: Path) -> Iterator[Lane]:
    """A database of its own out of the template, a simulator process, an app; all gone afterwards."""
    with ExitStack() as stack:
        url = stack.enter_context(_database(servers.database_url, template, name))
        origin = datetime.now(UTC)
        simulator = stack.enter_context(_simulator(folder, origin))
        db = Database(url, pool_size=1)
        instance.create(db, name=name, simulated_only=True, origin=origin, factor=FACTOR, now=origin)
        db.close()
        environment = {
            **os.environ,
            "DATABASE_URL": url, "REDIS_URL": servers.redis_url, "OUTREACH_CLOCK_ORIGIN": origin.isoformat(),
            "OUTREACH_CLOCK_FACTOR": str(FACTOR), "OUTREACH_TICK_SECONDS": "0.3", "OUTREACH_HINT_LEASE_SECONDS": "1",
            "OUTREACH_CALL_DEADLINE_SECONDS": str(DEADLINE), "OUTREACH_GUARD_SECONDS": str(GUARD),
            "OUTREACH_SETTLE_SECONDS": str(SETTLE), "OUTREACH_LOG_LEVEL": "WARNING", "OUTREACH_ENV": "test", "OUTREACH_CHANNEL_WORKERS": "twitter",
        }  # fmt: skip
        app = apps.build(Settings.from_environment(environment))
        stack.callback(app.close)
        house = House(
            ctx=app.context,
            clock=FrozenClock(origin),
            simulator=cast(Simulator, None),  # it is a process here
            witness_path=folder / "witness.jsonl",
        )
        lane = Lane(
            app=app,
            house=house,
            folder=folder,
            environment=environment,
            simulator_url=simulator,
            nursery=stack.enter_context(_nursery(environment)),
        )
        for account in (WE, BLIND, CUT):
            caps = dict.fromkeys(_KIND, "5000/day")
            house.account(account, base_url=simulator, dm_mode="opt_in", mode_reason="a test", caps=caps, pace=NO_PACE)  # fmt: skip
        for text in SEQUENCES:
            house.publish(text)
        yield lane


@contextmanager
def _database(server_url: str, template: str, name: str) -> Iterator[str]:
    def execute(statement: str) -> None:
        connection = psycopg2.connect(server_url)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()

    head, _, query = server_url.partition("?")
    execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield f"{head.rsplit('/', 1)[0]}/{name}" + (f"?{query}" if query else "")
    finally:
        execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def _simulator(folder: Path, origin: datetime) -> Iterator[str]:
    world = {
        "accounts": [
            {"handle": a, "id": id_of_handle(a), "access_token": f"token-{a}", "follow_permitted": True}
            for a in (WE, BLIND, CUT)
        ]
    }
    (folder / "world.json").write_text(json.dumps(world), encoding="utf-8")
    words = [
        sys.executable, "-m", "outreach.simulator", "--world", str(folder / "world.json"), "--witness", str(folder / "witness.jsonl"),
        "--origin", origin.isoformat(), "--factor", str(FACTOR), "--seed", "1",
    ]  # fmt: skip
    with (folder / "simulator.log").open("ab") as log:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    try:
        ready = process.stdout.readline().split()
        assert ready and ready[0] == "ready", (folder / "simulator.log").read_text()
        yield ready[1]
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


@contextmanager
def _nursery(environment: Mapping[str, str]) -> "Iterator[subprocess.Popen[str]]":
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.nursery"],
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
