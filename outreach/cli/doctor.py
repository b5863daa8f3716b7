"""`outreach doctor`: what is wrong with an installation, by numbered checks that say how to mend it."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import typer

from outreach.cli.output import AsJson, document, note, say
from outreach.cli.session import connected, read_settings, served
from outreach.errors import OutreachError
from outreach.settings import Settings, inherited_environment

if TYPE_CHECKING:
    from outreach.models.base import Database, Row
    from outreach.models.instance import Instance

#: Real seconds. A clock that differs by more breaks signatures; a sweep that is older has been missed twice.
_MOST_SKEW, _MOST_TICK_AGE = 2.0, 120.0
_LEAST_FREE_BYTES = 500 * 1024**2
#: What a web process, a scheduler and an operator at a terminal hold beside a worker's threads.
_OTHER_CONNECTIONS = 8 + 8 + 2


class Health(StrEnum):
    """How a check came out. Only `fail` makes the exit code 1."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    #: it could not be made, because an earlier one failed
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One finding. `mend` says what to do about it."""

    id: str
    title: str
    health: Health
    detail: str
    mend: str | None = None


def doctor(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Check the installation: settings, database, schema, Redis, clocks, connections, ticks, accounts, disk. Exits 1 on a failure."""
    settings = read_settings(ctx)
    checks = list(_checks(ctx, settings))
    if as_json:
        document(
            {
                "healthy": _is_healthy(checks),
                "checks": [asdict(c) for c in checks],
                "settings": settings_with_origin(settings),
            }
        )
    else:
        _print(checks, settings)
    if not _is_healthy(checks):
        raise typer.Exit(OutreachError.exit_code)


def _is_healthy(checks: list[Check]) -> bool:
    return all(check.health is not Health.FAIL for check in checks)


def _print(checks: list[Check], settings: Settings) -> None:
    for setting in settings_with_origin(settings):
        say(f"        {setting['name']} = {setting['value']}  ({setting['origin']})")
    for check in checks:
        say(f"{check.health.value:<7} {check.id} {check.title}: {check.detail}")
        if check.mend and check.health in (Health.WARN, Health.FAIL):
            say(f"        -> {check.mend}")
    if not _is_healthy(checks):
        note("something fails; each line above says how to mend it")


# --- settings --------------------------------------------------------------------------------------------------------

_SECRET_FIELDS = frozenset({"pepper", "link_secret"})
_SECRET_PATHS = frozenset({"notify_url", "alert_url", "heartbeat_url"})
_VARIABLES = {
    "database_url": "DATABASE_URL",
    "redis_url": "REDIS_URL",
    "notify_url": "NOTIFY_URL",
    "alert_url": "ALERT_URL",
    "heartbeat_url": "HEARTBEAT_URL",
    "port": "PORT",
    "production": "OUTREACH_ENV",
}


def settings_with_origin(settings: Settings) -> list[dict[str, str]]:
    """Every setting: its variable, its value with secrets masked, and whether the environment or the default says so."""
    environ = inherited_environment()
    rows = []
    for name, value in asdict(settings).items():
        variable = _VARIABLES.get(name, f"OUTREACH_{name.upper()}")
        origin = "environment" if environ.get(variable) or environ.get(f"{variable}_FILE") else "default"
        rows.append({"name": variable, "value": _masked(name, value), "origin": origin})
    return rows


def _masked(name: str, value: object) -> str:
    if value is None:
        return "not set"
    if name in _SECRET_FIELDS:
        return "•••"
    if name in _SECRET_PATHS:
        return _host_alone(str(value))
    return _without_password(str(value)) if name.endswith("_url") else str(value)


def _host_alone(url: str) -> str:
    """Whoever knows the rest of such a URL may write there."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}/•••"


def _without_password(url: str) -> str:
    from urllib.parse import urlsplit

    password = urlsplit(url).password
    return url.replace(f":{password}@", ":•••@", 1) if password else url


# --- the checks --------------------------------------------------------------------------------------------------------


def _checks(ctx: typer.Context, settings: Settings) -> Iterator[Check]:
    yield _secrets(settings)
    yield _disk(settings)
    try:
        with served(ctx, aloud=True) as ready:
            yield from _of_database(ready)
            yield from _of_redis(ready)
    except OutreachError as error:
        yield Check(
            id="O002",
            title="servers",
            health=Health.FAIL,
            detail=error.message,
            mend=error.hint or "check DATABASE_URL and REDIS_URL",
        )


def _secrets(settings: Settings) -> Check:
    defaults = Settings()
    default = [n for n in sorted(_SECRET_FIELDS) if getattr(settings, n) == getattr(defaults, n)]
    if not default:
        return Check(id="O001", title="secrets", health=Health.OK, detail="set")
    names = ", ".join(f"OUTREACH_{n.upper()}" for n in default)
    return Check(
        id="O001", title="secrets", health=Health.WARN, detail=f"{names} at the default, which everybody knows",
        mend="set them to long random texts before real people are imported; a pepper that changes forgets who opted out",
    )  # fmt: skip


def _disk(settings: Settings) -> Check:
    place = next(
        (p for p in (settings.data_dir, *settings.data_dir.absolute().parents) if p.exists()),
        settings.data_dir,
    )
    free = shutil.disk_usage(place).free
    fine = free >= _LEAST_FREE_BYTES
    return Check(
        id="O011", title="disk", health=Health.OK if fine else Health.FAIL, detail=f"{free / 1024**3:.1f} GB free for {settings.data_dir}",
        mend="make room: Postgres stops at a full disk",
    )  # fmt: skip


def _of_database(settings: Settings) -> Iterator[Check]:
    from outreach.models import instance, reports

    with connected(settings) as db:
        before = time.monotonic()
        server = db.run(reports.server)
        took = time.monotonic() - before
        yield Check(
            id="O002",
            title="database",
            health=Health.OK,
            detail=f"Postgres {server['version']}, {server['bytes'] / 1024**2:.0f} MB",
        )
        yield _schema(db)
        yield _skew(server, took)
        yield _budget(server, settings)
        yield _writable(server)
        yield _partitions(db.run(reports.has_stray_events))
        here = db.run(instance.read)
        yield from _of_instance(settings, db, here)


def _schema(db: "Database") -> Check:
    from outreach.models.migrate import schema_state

    state = schema_state(db)
    if state.refusal is not None:
        health, detail, mend = Health.FAIL, state.refusal.message, state.refusal.hint or ""
    elif state.missing:
        health, detail, mend = Health.FAIL, f"lacks {', '.join(state.missing)}", "outreach migrate"
    elif state.note:
        health, detail, mend = (
            Health.WARN,
            state.note,
            "finish the deployment, or leave it so after a roll-back",
        )
    else:
        health, detail, mend = Health.OK, f"up to date ({state.release})", ""
    return Check(id="O003", title="schema", health=health, detail=detail, mend=mend or None)


def _skew(server: "Row", took: float) -> Check:
    here = datetime.now(UTC)  # noqa: TID251  this check compares this machine's own clock with the database's
    skew = abs((here - server["now"]).total_seconds())
    fine = skew <= _MOST_SKEW + took
    return Check(
        id="O006", title="clocks", health=Health.OK if fine else Health.WARN, detail=f"this machine and the database differ by {skew:.2f} s",
        mend="let a time service set this machine's clock: webhook signatures and call deadlines depend on it",
    )  # fmt: skip


def _budget(server: "Row", settings: Settings) -> Check:
    wanted = settings.worker_threads + 2 + _OTHER_CONNECTIONS
    most = server["max_connections"]
    fine = wanted <= most
    return Check(
        id="O007", title="connections", health=Health.OK if fine else Health.WARN,
        detail=f"{server['connections']} of {most} in use; one worker, web, scheduler and a terminal want up to {wanted}",
        mend="fewer OUTREACH_WORKER_THREADS, a smaller OUTREACH_POOL_SIZE, or a larger database plan",
    )  # fmt: skip


def _writable(server: "Row") -> Check:
    fine = not server["read_only"]
    return Check(
        id="O012", title="writing", health=Health.OK if fine else Health.FAIL,
        detail="this is a primary" if fine else "this database is a read-only replica",
        mend="point DATABASE_URL at the primary",
    )  # fmt: skip


def _partitions(stray: bool) -> Check:
    return Check(
        id="O014", title="event partitions", health=Health.WARN if stray else Health.OK,
        detail="some events lie outside every month" if stray else "made ahead",
        mend="is a scheduler running? its tick makes them two months ahead; outreach migrate does too",
    )  # fmt: skip


def _of_instance(settings: Settings, db: "Database", here: "Instance") -> Iterator[Check]:
    from outreach.clock import LiveClock
    from outreach.models import reports

    clock = LiveClock(origin=settings.clock_origin, factor=settings.clock_factor)
    yield _tick(here, clock.now(), clock)
    accounts = db.run(reports.accounts)
    trouble = reports.stopped(accounts)
    listed = ", ".join(f"{row['name']} {row['state']}" for row in trouble)
    yield Check(
        id="O009", title="accounts", health=Health.WARN if trouble else Health.OK, detail=listed or "none is stopped",
        mend="outreach account list shows the reasons; outreach account resume NAME lets one send again",
    )  # fmt: skip
    yield _addresses(here, accounts)


def _tick(here: "Instance", now: datetime, clock: Any) -> Check:
    age = None if here.last_tick_at is None else clock.real_seconds(now - here.last_tick_at)
    fine = age is not None and age <= _MOST_TICK_AGE
    detail = "there was none yet" if age is None else f"the last was {age:.0f} s ago"
    return Check(
        id="O008", title="ticks", health=Health.OK if fine else Health.WARN, detail=detail,
        mend="is a scheduler running, and a worker that serves the queue inbound? outreach up runs all",
    )  # fmt: skip


def _addresses(here: "Instance", accounts: "list[Row]") -> Check:
    from outreach.runtime.reading import is_loopback

    beyond = sorted(row["name"] for row in accounts if not is_loopback(row["base_url"]))
    if here.live or not beyond:
        return Check(id="O010", title="mode", health=Health.OK, detail=here.mode)
    what = "are refused for ever" if here.simulated_only else "send nothing until: outreach live on"
    return Check(
        id="O010", title="mode", health=Health.WARN, detail=f"{here.mode}; accounts with a real provider {what}: {', '.join(beyond)}",
        mend="outreach live on, once everything else here is right; or point them at a simulator",
    )  # fmt: skip


# --- Redis ---------------------------------------------------------------------------------------------------------


def _of_redis(settings: Settings) -> Iterator[Check]:
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
    policy = str(client.info("memory").get("maxmemory_policy", "unknown"))
    fine = policy == "noeviction"
    return Check(
        id="O005", title="redis memory", health=Health.OK if fine else Health.WARN, detail=f"maxmemory-policy {policy}",
        mend="set it to noeviction: an evicted cap log is read from the ledger again, an evicted hint waits for the sweep",
    )  # fmt: skip


def _persistence(client: Any) -> Check:
    kept = bool(client.info("persistence").get("aof_enabled"))
    return Check(
        id="O013", title="redis persistence", health=Health.OK if kept else Health.WARN,
        detail="append-only file on" if kept else "append-only file off",
        mend="harmless: what Redis loses is read from Postgres again, at the cost of about a minute",
    )  # fmt: skip


def add_to(cli: typer.Typer) -> None:
    """Register the command."""
    cli.command()(doctor)
