"""What `outreach doctor` asks Redis: version, memory and eviction, persistence, connections."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from outreach.cli import connections
from outreach.cli.connections import Need
from outreach.cli.findings import Check, Health
from outreach.settings import Settings

#: Share of the memory that is allowed: what is fuller refuses writes soon, and nothing is sent then.
_FULL = 0.8


def checks_of_redis(settings: Settings, wanted: Sequence[Need]) -> Iterator[Check]:
    """All of them; none but the first where it does not answer."""
    import redis

    from outreach.limits.limiter import accept_self_signed

    assert settings.redis_url is not None
    client = redis.Redis.from_url(
        accept_self_signed(settings.redis_url),
        socket_timeout=3,
        socket_connect_timeout=3,
        decode_responses=True,
    )
    try:
        server: Any = client.info("server")
        yield Check(
            id="O004",
            title="redis",
            health=Health.OK,
            detail=str(server.get("valkey_version") or server.get("redis_version")),
        )
        yield _guarded_check("O005", "redis memory", lambda: _memory(client))
        yield _guarded_check("O013", "redis persistence", lambda: _persistence(client))
        yield _guarded_check("O015", "redis connections", lambda: _budget(client, wanted))
    except redis.RedisError as error:
        yield Check(
            id="O004", title="redis", health=Health.FAIL, detail=f"cannot be reached: {type(error).__name__}",
            mend="check REDIS_URL; without it nothing is sent, for the limiter fails closed",
        )  # fmt: skip
    finally:
        client.close()


def _guarded_check(number: str, title: str, check: Callable[[], Check]) -> Check:
    """Hosted servers often forbid the question."""
    import redis

    try:
        return check()
    except redis.ResponseError:
        return Check(id=number, title=title, health=Health.SKIPPED, detail="this server does not tell")


def _memory(client: Any) -> Check:
    told: Any = client.info("memory")
    policy, most = str(told.get("maxmemory_policy", "unknown")), int(told.get("maxmemory", 0))
    used = int(told.get("used_memory", 0))
    detail = f"maxmemory-policy {policy}, {used / 1024**2:.0f} MB used of {f'{most / 1024**2:.0f} MB' if most else 'no limit'}"
    if policy != "noeviction":
        # Without a limit nothing is evicted today; whoever sets one tomorrow does not think of this.
        health = Health.FAIL if most else Health.WARN
        mend = "maxmemory-policy must be noeviction: an evicted counter is read from the ledger again and a hint waits for the sweep, each time"
    else:
        health = Health.WARN if most and used > _FULL * most else Health.OK
        mend = "a larger plan: when it is full, nothing is sent (the limiter fails closed)"
    return Check(id="O005", title="redis memory", health=health, detail=detail, mend=mend)


def _persistence(client: Any) -> Check:
    """Never a fault: it holds hints and counters, and Postgres has the truth of both."""
    told: Any = client.info("persistence")
    file = "on" if told.get("aof_enabled") else "off"
    try:
        snapshots = str(client.config_get("save").get("save", "")) or "off"
    except Exception as error:
        if not _is_forbidden(error):
            raise
        snapshots = "not told"
    kept = "a restart keeps hints and counters" if told.get("aof_enabled") else (
        "a restart loses hints and counters, which Postgres gives back within about a minute: no lead, no doubled send, no broken cap"
    )  # fmt: skip
    return Check(
        id="O013", title="redis persistence", health=Health.OK, detail=f"append-only file {file}, snapshots {snapshots}; {kept}",
    )  # fmt: skip


def _is_forbidden(error: Exception) -> bool:
    import redis

    return isinstance(error, redis.ResponseError)


def _budget(client: Any, wanted: Sequence[Need]) -> Check:
    told: Any = client.info("clients")
    total, held = connections.redis_total(wanted), int(told.get("connected_clients", 0))
    most = int(told.get("maxclients") or client.config_get("maxclients").get("maxclients", 0))
    fine = not most or total <= most
    return Check(
        id="O015", title="redis connections", health=Health.OK if fine else Health.FAIL,
        detail=f"{total} at most ({connections.spelt(wanted, 'redis')}); it allows {most or 'any number'}, {held} are open now; "
        f"{connections.smallest(connections.REDIS_PLANS, total)}",
        mend="fewer processes, or a larger plan: docs/deploy.md adds it up",
    )  # fmt: skip
