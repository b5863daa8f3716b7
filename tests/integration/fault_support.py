"""What the tests of faults share: the whole engine against the simulator on a real socket, with Valkey, and a judge at the end."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from outreach.embedded.servers import Servers
from outreach.limits.limiter import RedisLimiter
from outreach.models.base import Database, Row
from outreach.providers.registry import build_providers
from outreach.rehearsal.judge import judge
from outreach.simulator import server
from outreach.simulator.simulator import Simulator
from tests.integration.law_support import open_house, roomy_account
from tests.stage import House

#: Real seconds: what a call that hangs costs a test. Far above what a call on loopback takes.
DEADLINE = 1.5
#: Three contacts with one person, the second an hour after the first, the third three days after the second.
THREE = """
sequence: three
actions:
  follow: {do: FOLLOW_ON_TWITTER, next: [{after: 1h, to: hello}]}
  hello: {do: SEND_TWITTER_DM, message: "Hello. {{ opt_out }}", next: [{after: 3d, to: bye}]}
  bye: {do: SEND_TWITTER_DM, message: "Goodbye. {{ opt_out }}"}
"""
ALL_THREE = ["follow", "dm", "dm"]


class StillPump:
    """In the pump's place: these tests move the time themselves, so that nothing happens beside them."""

    def __init__(self, simulator: Simulator) -> None: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...


@contextmanager
def on_the_wire(
    db: Database, folder: Path, servers: Servers, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> Iterator[House]:
    """A house whose every call goes through a socket, and whose limiter is Valkey. `DEADLINE` bounds its calls and reads."""
    monkeypatch.setattr(server, "Pump", StillPump)
    limiter = RedisLimiter(servers.redis_url, folder.name)
    world = {"token_lifetime_s": 30 * 86400.0} | options.pop("world", {})
    house = open_house(db, folder, limiter=limiter, call_deadline_seconds=DEADLINE, world=world, **options)
    providers = build_providers(True, read_deadline_seconds=DEADLINE, inbox_lag_seconds=0)
    house.ctx = replace(house.ctx, providers=providers)
    with server.Server(house.simulator).running() as url:
        roomy_account(house, base_url=url)
        yield house
    limiter.close()


def account(house: House, name: str = "we") -> Row:
    return house.db.read("SELECT * FROM account WHERE name = %s", (name,))[0]


def waits(house: House, lead_id: int) -> tuple[str, str | None]:
    """For what the lead waits, and the detail."""
    lead = house.lead(lead_id)
    return lead["waiting_on"], lead["waiting_detail"]


def struck(house: House) -> list[int]:
    """How often each rule of the fault plan has struck."""
    return [rule["struck"] for rule in house.simulator.faults.report()]


def inbound(house: House, kind: str = "message_in") -> list[Row]:
    return house.db.read("SELECT * FROM inbound WHERE kind = %s ORDER BY id", (kind,))


def agree(house: House, *, held: int = 0) -> None:
    """The witness and the ledger tell the same story: nothing doubled, nothing lost, nothing left open or counted twice."""
    verdict = judge(
        house.db,
        house.accepted(),
        house.deeds(),
        caps={},
        now=house.clock.now(),
        machine=timedelta(seconds=1),
    )
    assert (verdict.clean, verdict.findings, verdict.held_for_human) == (True, (), held)
    assert [row["cause"] for row in house.executions() if row["lead_id"] is None] == []
