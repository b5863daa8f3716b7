"""`outreach doctor`: what is wrong with an installation, by numbered checks that say how to mend it."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from outreach.cli.findings import Check, Health
from outreach.cli.output import AsJson, document, note, say
from outreach.cli.session import read_settings, served
from outreach.errors import OutreachError
from outreach.settings import Settings, inherited_environment

if TYPE_CHECKING:
    from outreach.cli.connections import Need

_LEAST_FREE_BYTES = 500 * 1024**2


def doctor(
    ctx: typer.Context,
    formation: Annotated[
        str, typer.Option(help="Processes that run or shall run, as in worker=2,web=1; else one of each.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Check the installation: settings, database, schema, Redis, clocks, connections, ticks, accounts, disk. Exits 1 on a failure."""
    from outreach.cli.connections import needs, parse_formation

    settings = read_settings(ctx)
    wanted = needs(parse_formation(formation), threads=settings.worker_threads, pool_size=settings.pool_size)
    checks = list(_checks(ctx, settings, wanted))
    if as_json:
        document(
            {
                "healthy": _is_healthy(checks),
                "checks": [asdict(c) for c in checks],
                "connections": [asdict(need) for need in wanted],
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

_SECRET_FIELDS = frozenset(
    {"pepper", "keys", "link_secret", "aws_access_key_id", "aws_secret_access_key", "aws_session_token"}
)
_SECRET_PATHS = frozenset({"notify_url", "alert_url", "heartbeat_url", "journal_url"})
_VARIABLES = {
    "database_url": "DATABASE_URL",
    "redis_url": "REDIS_URL",
    "notify_url": "NOTIFY_URL",
    "alert_url": "ALERT_URL",
    "heartbeat_url": "HEARTBEAT_URL",
    "aws_access_key_id": "AWS_ACCESS_KEY_ID",
    "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "aws_session_token": "AWS_SESSION_TOKEN",
    "aws_region": "AWS_REGION",
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


def _checks(ctx: typer.Context, settings: Settings, wanted: "Sequence[Need]") -> Iterator[Check]:
    from outreach.cli.doctor_database import checks_of_database
    from outreach.cli.doctor_letters import checks_of_letters
    from outreach.cli.doctor_redis import checks_of_redis

    yield _secrets(settings)
    yield _disk(settings)
    try:
        with served(ctx, aloud=True) as ready:
            yield from checks_of_database(ready, wanted)
            yield from checks_of_redis(ready, wanted)
            yield from checks_of_letters(ready)
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
        mend="set them before real people are imported and real accounts connected: docs/deploy.md, Secrets, says how",
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


def add_to(cli: typer.Typer) -> None:
    """Register the command."""
    cli.command()(doctor)
