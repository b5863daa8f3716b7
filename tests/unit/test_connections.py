"""The connection budget: what it adds up to, that pools hold to it, and what doctor says of Redis."""

from typing import Any

import pytest
import redis

from outreach.broker import CONNECTIONS, make_broker
from outreach.cli import connections
from outreach.cli.connections import needs, parse_formation, postgres_total, redis_total, smallest, spelt
from outreach.cli.doctor_redis import checks_of_redis
from outreach.cli.findings import Check, Health
from outreach.errors import UsageError
from outreach.limits.limiter import CONNECTIONS as LIMITER
from outreach.limits.limiter import RedisLimiter
from outreach.settings import Settings

USUAL = needs(parse_formation(""), threads=Settings().worker_threads, pool_size=Settings().pool_size)


def test_the_usual_formation_fits_the_smallest_plans_with_room_for_another_release() -> None:
    assert postgres_total(USUAL) <= connections.POSTGRES_PLANS[0].connections
    assert redis_total(USUAL) <= connections.REDIS_PLANS[0].connections
    assert smallest(connections.POSTGRES_PLANS, postgres_total(USUAL)).startswith(
        "heroku-postgresql:essential-0"
    )


def test_a_sum_is_spelt_so_that_anybody_can_add_it_up() -> None:
    wanted = needs(parse_formation("worker=3,web=2"), threads=10, pool_size=5)
    assert spelt(wanted, "postgres") == "2 web x 5 + 3 worker x 12 + 1 scheduler x 1 + 1 terminal x 1"
    assert postgres_total(wanted) == 2 * 5 + 3 * 12 + 1 + 1


def test_plans_are_told_apart_by_a_single_connection() -> None:
    assert "essential-0 (20)" in smallest(connections.POSTGRES_PLANS, 20)
    assert "essential-2 (40)" in smallest(connections.POSTGRES_PLANS, 21)
    assert "no Heroku plan holds 501" in smallest(connections.POSTGRES_PLANS, 501)


@pytest.mark.parametrize("text", ["wrker=2", "worker=two", "worker=-1", "worker", "worker=1001"])
def test_a_formation_that_is_none_is_usage(text: str) -> None:
    with pytest.raises(UsageError):
        parse_formation(text)


def test_no_process_can_open_more_to_redis_than_the_budget_says() -> None:
    pool = make_broker("redis://127.0.0.1:1/0", "x").client.connection_pool
    assert isinstance(pool, redis.BlockingConnectionPool) and pool.max_connections == CONNECTIONS
    limiter: Any = RedisLimiter("redis://127.0.0.1:1/0", "x")
    assert (
        isinstance(limiter._pool, redis.BlockingConnectionPool) and limiter._pool.max_connections == LIMITER
    )


class Server:
    """A Redis as doctor asks it: INFO by section, CONFIG GET unless it is forbidden."""

    def __init__(self, config: dict[str, str] | None = None, **sections: dict[str, Any]) -> None:
        self.config, self.sections = config, sections

    def info(self, section: str) -> dict[str, Any]:
        return self.sections.get(section, {})

    def config_get(self, name: str) -> dict[str, str]:
        if self.config is None:
            raise redis.ResponseError("unknown command 'CONFIG'")
        return {name: self.config[name]} if name in self.config else {}

    def close(self) -> None:
        """Nothing is held."""


def checked(monkeypatch: pytest.MonkeyPatch, server: Server) -> dict[str, Check]:
    monkeypatch.setattr("redis.Redis.from_url", lambda *_, **__: server)
    return {check.id: check for check in checks_of_redis(Settings(redis_url="redis://127.0.0.1:1/0"), USUAL)}


@pytest.mark.parametrize(
    ("memory", "health"),
    [
        ({"maxmemory_policy": "noeviction", "maxmemory": 0}, Health.OK),
        ({"maxmemory_policy": "noeviction", "maxmemory": 100, "used_memory": 79}, Health.OK),
        ({"maxmemory_policy": "noeviction", "maxmemory": 100, "used_memory": 81}, Health.WARN),
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": 0}, Health.WARN),
        ({"maxmemory_policy": "volatile-lru", "maxmemory": 100}, Health.FAIL),
    ],
)
def test_a_redis_that_evicts_is_a_fault(
    memory: dict[str, Any], health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checked(monkeypatch, Server(memory=memory, config={}))["O005"].health is health


def test_a_redis_that_keeps_nothing_is_none_and_what_it_costs_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = checked(monkeypatch, Server(persistence={"aof_enabled": 0}))["O013"]
    assert found.health is Health.OK and "within about a minute" in found.detail
    assert "append-only file off, snapshots not told" in found.detail


@pytest.mark.parametrize(
    ("most", "health"), [(redis_total(USUAL), Health.OK), (redis_total(USUAL) - 1, Health.FAIL)]
)
def test_connections_are_held_against_what_redis_allows(
    most: int, health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = checked(monkeypatch, Server(clients={"maxclients": most, "connected_clients": 3}))["O015"]
    assert told.health is health and "3 are open now" in told.detail
    asked = checked(monkeypatch, Server(clients={}, config={"maxclients": str(most)}))["O015"]
    assert asked.health is health


def test_a_redis_that_does_not_tell_its_limit_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checked(monkeypatch, Server(clients={}))["O015"].health is Health.SKIPPED
