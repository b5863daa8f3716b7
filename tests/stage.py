"""The whole engine in one process on one thread: real Postgres, the simulator behind httpx, a clock that we move.

Hints are carried out in the order they come, or lost, doubled and reordered where a test says so.
"""

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from outreach.clock import FrozenClock
from outreach.compliance import register
from outreach.compliance.facts import BasisKind
from outreach.engine.kinds import Channel
from outreach.limits.limiter import Limiter, MemoryLimiter
from outreach.models import accounts, instance
from outreach.models.base import Database, Row, Tx, to_json
from outreach.providers.base import AccountRef, Provider
from outreach.providers.registry import build_providers
from outreach.providers.twitter import TwitterWebhooks
from outreach.runtime.accept import accept
from outreach.runtime.advance import advance
from outreach.runtime.alerting import watch
from outreach.runtime.context import Context
from outreach.runtime.credentials import account_place, full_ref, sealed_account, sealed_app
from outreach.runtime.digest import digest
from outreach.runtime.draining import drain_person
from outreach.runtime.enroll import enroll
from outreach.runtime.heartbeat import beat
from outreach.runtime.hints import Hint
from outreach.runtime.joining import join
from outreach.runtime.journaling import take_out
from outreach.runtime.lookup import look_up
from outreach.runtime.notifying import deliver
from outreach.runtime.perform import perform
from outreach.runtime.poll import poll
from outreach.runtime.publish import Published, publish
from outreach.runtime.reconcile import reconcile
from outreach.runtime.recovering import recover
from outreach.runtime.refresh import refresh
from outreach.runtime.resolve import resolve
from outreach.runtime.retaining import retain
from outreach.runtime.seal import seal_due
from outreach.runtime.suspect import try_lead
from outreach.runtime.tick import tick
from outreach.settings import Settings
from outreach.simulator import (
    Acceptance,
    InProcessTransport,
    ScaledClock,
    Simulator,
    Witness,
    WorldSpec,
    id_of_handle,
)
from outreach.simulator.witness import Deed, read_witness
from outreach.vault import Sealed

MONDAY = datetime.fromisoformat("2026-01-05T12:00:00+00:00")
SECRET = "sim-consumer-secret"
HOOK = "http://127.0.0.1:8000/webhooks/twitter/sim"

_ACTORS: Mapping[str, Callable[[Context, int], list[Hint]]] = {
    "advance_lead": advance,
    "try_lead": try_lead,
    "digest_inbound": digest,
    "check_for_reply": poll,
    "look_up_relationships": look_up,
    "resolve_handles": resolve,
    "reconcile_execution": reconcile,
    "drain_person": drain_person,
    "refresh_token": refresh,
    "watch_alerts": lambda ctx, _: watch(ctx),
    "deliver_notices": lambda ctx, _: deliver(ctx),
    "retain_content": lambda ctx, _: retain(ctx),
    "send_heartbeat": lambda ctx, _: beat(ctx),
    "join_by_segment": join,
    "deliver_journal": lambda ctx, _: take_out(ctx),
    "recover_database": lambda ctx, _: recover(ctx),
    "seal_events": lambda ctx, going_on: seal_due(ctx, bool(going_on)),
}
#: What a tick asks for besides leads: a third of a long test's time, if done each minute.
_HOUSEKEEPING = frozenset({"seal_events", "retain_content"})


@dataclass(kw_only=True)
class House:
    """An engine with people around it."""

    ctx: Context
    clock: FrozenClock
    simulator: Simulator
    witness_path: Path
    hints: deque[Hint] = field(default_factory=deque)
    #: the queue `soon`: hints with the instant at which they are carried out
    soon: list[tuple[datetime, Hint]] = field(default_factory=list)
    #: what is carried out of a hint; a test may drop or double
    deliver: Callable[[Hint], Sequence[Hint]] = lambda hint: [hint]
    #: what is pushed is digested while it is told, as by a worker beside this one: before the answer to our own call
    digest_at_once: bool = False

    @property
    def db(self) -> Database:
        return self.ctx.db

    def sealed(self, token: str, account: str = "we", column: str = "access_token") -> Sealed:
        """A token of that account of ours, as it is stored."""
        return self.ctx.vault.seal(token, account_place("twitter", id_of_handle(account), column))

    def opened(self, account: Row) -> AccountRef:
        """The account with its credentials in plain text. `account`: its row."""
        return full_ref(self.ctx.vault, self.db.run(lambda tx: accounts.get(tx, account["id"])))

    # --- the world ---------------------------------------------------------------------------------------------

    def account(self, name: str = "we", *, follow_permitted: bool = True, **changes: Any) -> int:
        """An account of ours as the simulator knows it, with room to act; webhooks point at this process."""
        values: dict[str, Any] = {
            "name": name, "channel": "twitter", "external_id": id_of_handle(name), "handle": name, "base_url": "http://127.0.0.1:1",
            "access_token": f"token-{name}", "refresh_token": f"refresh-{name}", "zone": "UTC", "caps": {}, "pace": {},
            "follow_permitted": follow_permitted, "dm_mode": "inbound_first", "mode_reason": None, "now": self.clock.now(),
        }  # fmt: skip

        def work(tx: Tx) -> int:
            app: dict[str, Any] = {"name": "sim", "channel": "twitter", "client_id": "sim-client", "client_secret": None, "consumer_secret": SECRET,
                   "caps": {}, "now": self.clock.now()}  # fmt: skip
            app_id = accounts.put_app(tx, sealed_app(self.ctx.vault, app))
            return accounts.insert(
                tx, sealed_account(self.ctx.vault, {**values, "app_id": app_id, **changes})
            )

        return self.db.run(work)

    def person(
        self,
        handle: str,
        *,
        basis: str | None = "legitimate_interest",
        resolved: bool = True,
        zone: str | None = "UTC",
        **attributes: Any,
    ) -> int:
        """Somebody with a Twitter handle, known by id unless told otherwise, who may be contacted unless told otherwise."""
        now = self.clock.now()

        def work(tx: Tx) -> int:
            person = tx.one(
                "INSERT INTO person (name, zone, created_at) VALUES (%s, %s, %s) RETURNING id",
                (handle.title(), zone, now),
            )["id"]
            kind, value = (
                ("twitter_id", id_of_handle(handle)) if resolved else ("twitter_handle", handle.lower())
            )
            identity = self.identity(tx, person, kind, value)
            row = tx.one(
                "INSERT INTO import (source, file_name, file_hash, at) VALUES ('test', 'test', %s, %s) RETURNING id",
                (handle, now),
            )
            tx.execute(
                "INSERT INTO profile (person_id, import_id, source, source_key, attributes, created_at, updated_at)"
                " VALUES (%s, %s, 'test', %s, %s, %s, %s)",
                (person, row["id"], handle, to_json(attributes), now, now),
            )
            if basis:
                self._grant(tx, identity, basis)
            return int(person)

        return self.db.run(work)

    def identity(self, tx: Tx, person_id: int, kind: str, value: str) -> int:
        """One more handle of a person."""
        row = tx.one(
            "INSERT INTO identity (kind, value, shown, hmac, person_id, created_at) VALUES (%s, %s, %s, %s, %s, %s) RETURNING id",
            (kind, value, value, self.ctx.peppers.digest(kind, value), person_id, self.clock.now()),
        )
        return int(row["id"])

    def _grant(self, tx: Tx, identity_id: int, basis: str) -> None:
        register.record_consent(
            tx,
            register.Grant(
                identity_id=identity_id, channel=Channel.TWITTER, basis=BasisKind(basis), source="test", proof="a test",
                obtained_at=self.clock.now() - timedelta(days=1),
            ),
            now=self.clock.now(),
        )  # fmt: skip

    def segment(self, name: str, person_ids: Sequence[int]) -> str:
        """A frozen list of these people."""

        def work(tx: Tx) -> None:
            row = tx.one(
                "INSERT INTO segment (name, definition, built_at) VALUES (%s, '{}', %s) RETURNING id",
                (name, self.clock.now()),
            )
            tx.insert_many(
                "INSERT INTO segment_member (segment_id, person_id) VALUES %s",
                [(row["id"], p) for p in person_ids],
            )

        self.db.run(work)
        return name

    def publish(self, text: str) -> Published:
        """Publish a sequence that must be without problems."""
        published = publish(self.ctx, text.encode(), "test.yaml", by="test")
        assert isinstance(published, Published), published
        return published

    def enroll(self, sequence: str, person_ids: Sequence[int], **options: Any) -> list[int]:
        """Enroll people; their leads by id, advanced as far as they go at once."""
        name = self.segment(f"{sequence}-{self.clock.now().timestamp()}-{min(person_ids)}", person_ids)
        enrolled = enroll(self.ctx, sequence, [name], by="test", **options)
        self.hints.extend(enrolled.hints)
        leads = [h.id for h in enrolled.hints]
        self.run()
        return leads

    def says(self, handle: str, text: str, *, to: str = "we", kind: str = "neutral") -> None:
        """A person writes to an account of ours, now."""
        self.simulator.acts.say(self.clock.now(), id_of_handle(handle), id_of_handle(to), text, kind=kind)

    # --- time --------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Carry out every hint, and what the simulator's people have done by now."""
        while True:
            self.simulator.run_until(self.clock.now())
            self._take_ripe()
            if not self.hints:
                return
            for hint in self.deliver(self.hints.popleft()):
                if hint.after > 0:
                    self.soon.append((self.clock.now() + timedelta(seconds=hint.after), hint))
                else:
                    self.hints.extend(_ACTORS.get(hint.actor, perform)(self.ctx, hint.id))

    def _take_ripe(self) -> None:
        ripe = [one for one in self.soon if one[0] <= self.clock.now()]
        self.soon = [one for one in self.soon if one not in ripe]
        self.hints.extend(replace(hint, after=0.0) for _, hint in sorted(ripe, key=lambda one: one[0]))

    def tick(self, *, housekeeping: bool = True) -> None:
        """One sweep, and everything it hints."""
        self.hints.extend(h for h in tick(self.ctx) if housekeeping or h.actor not in _HOUSEKEEPING)
        self.run()

    def pass_time(self, duration: timedelta, step: timedelta = timedelta(minutes=1)) -> None:
        """Move the clock step by step, with a sweep at each. What looks at no lead is left to the last of them."""
        until = self.clock.now() + duration
        while self.clock.now() < until:
            self.clock.advance(min(step, until - self.clock.now()))
            self.tick(housekeeping=self.clock.now() >= until)

    # --- what one sees -----------------------------------------------------------------------------------------

    def lead(self, lead_id: int) -> Row:
        return self.db.read("SELECT * FROM lead WHERE id = %s", (lead_id,))[0]

    def executions(self, lead_id: int | None = None) -> list[Row]:
        where = "WHERE lead_id = %s" if lead_id is not None else ""
        return self.db.read(
            f"SELECT * FROM execution {where} ORDER BY id", (lead_id,) if lead_id is not None else ()
        )

    def events(self, lead_id: int) -> list[str]:
        return [
            row["kind"]
            for row in self.db.read("SELECT kind FROM event WHERE lead_id = %s ORDER BY lead_seq", (lead_id,))
        ]

    def accepted(self) -> list[Acceptance]:
        """What the provider really took."""
        return read_witness(self.witness_path)[0]

    def deeds(self) -> list[Deed]:
        return read_witness(self.witness_path)[1]


def build(
    db: Database,
    folder: Path,
    *,
    people: Sequence[Mapping[str, Any]] = (),
    our_accounts: Sequence[str] = ("we",),
    rules: tuple[Any, ...] = (),
    limiter: Limiter | None = None,
    webhooks: bool = True,
    world: Mapping[str, Any] | None = None,
    **settings: Any,
) -> House:
    """A house over an empty database. `people`: the simulator's PersonSpec fields."""
    clock = FrozenClock(MONDAY)
    instance.create(db, name="test", simulated_only=False, origin=MONDAY, factor=1.0, now=MONDAY)
    spec = WorldSpec.read(
        {
            "accounts": [
                {
                    "handle": a,
                    "access_token": f"token-{a}",
                    "refresh_token": f"refresh-{a}",
                    "follow_permitted": True,
                }
                for a in our_accounts
            ],
            "people": list(people),
            **(world or {}),
        }
    )
    sim_clock = ScaledClock(origin=MONDAY, factor=1.0, now=clock.now)
    path = folder / "witness.jsonl"
    houses: list[House] = []

    def post(method: str, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        if method == "GET":
            return 200, json.dumps(TwitterWebhooks().challenge(httpx.URL(url).params, SECRET)).encode()
        return _receive(houses[0], headers, body)

    simulator = Simulator(
        spec,
        witness=Witness(sim_clock, path, keep_bodies=True),
        post=post,
        clock=sim_clock,
        seed=1,
        rules=rules,
    )
    providers: Mapping[str, Provider] = build_providers(
        True, InProcessTransport(simulator), inbox_lag_seconds=0
    )
    context = Context(
        settings=Settings(**({"poll_seconds": 900.0} | settings)),
        clock=clock,
        db=db,
        limiter=limiter or MemoryLimiter(),
        providers=providers,
    )
    house = House(ctx=context, clock=clock, simulator=simulator, witness_path=path)
    houses.append(house)
    if webhooks:
        _subscribe(simulator, our_accounts)
    return house


def _receive(house: House, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
    """What the web process does with a push."""
    hooks = TwitterWebhooks()
    if not hooks.verify(headers, body, SECRET):
        return 401, b""
    for hint in accept(house.ctx, "twitter", hooks.parse(body)):
        house.hints.extend(digest(house.ctx, hint.id) if house.digest_at_once else [hint])
    return 200, b""


def _subscribe(simulator: Simulator, our_accounts: Sequence[str]) -> None:
    """Register the webhook and subscribe every account to everything that X tells."""
    client = httpx.Client(
        transport=InProcessTransport(simulator),
        base_url="http://127.0.0.1:1",
        headers={"authorization": "Bearer sim-app-bearer"},
    )
    hook = client.post("/2/webhooks", json={"url": HOOK}).json()["data"]["id"]
    for name in our_accounts:
        for kind in (
            "dm.received",
            "dm.sent",
            "follow.follow",
            "follow.unfollow",
            "block.block",
            "oauth.revoke",
        ):
            answer = client.post(
                "/2/activity/subscriptions",
                json={"event_type": kind, "filter": {"user_id": id_of_handle(name)}, "webhook_id": hook},
            )
            assert answer.status_code in (200, 201), answer.text
