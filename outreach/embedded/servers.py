"""Postgres and Valkey by one `with`: those that the settings name, else our own."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from outreach.embedded.binaries import find_postgres, find_valkey
from outreach.embedded.postgres import Postgres
from outreach.embedded.sharing import serve
from outreach.embedded.valkey import Valkey
from outreach.errors import ConfigurationError, UsageError
from outreach.settings import Settings

_EXAMPLES = {
    "DATABASE_URL": "postgres://USER:PASSWORD@HOST/NAME",
    "REDIS_URL": "redis://:PASSWORD@HOST:6379/0",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Where the servers are, and what to tell the user of how they came about, a line each."""

    database_url: str
    redis_url: str
    notes: tuple[str, ...] = ()
    #: what a machine that loses power does to Postgres, and an operator's slip to Valkey; None: not ours to break
    crash_postgres: Callable[[], None] | None = None
    flush_valkey: Callable[[], None] | None = None
    #: kill -9 of Valkey, which comes back at the same address and has forgotten everything
    kill_valkey: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Served:
    """One of the two."""

    url: str
    notes: tuple[str, ...] = ()
    breaking: Callable[[], None] | None = None
    killing: Callable[[], None] | None = None


@contextmanager
def start_servers(
    settings: Settings, database_name: str = "outreach", *, scratch: bool = False
) -> Iterator[Servers]:
    """Start whichever server has no URL in the settings; stop on leaving what this process started.

    A second process of the same data directory shares the servers of the first. A server that crashes
    meanwhile is started again at the same address. Every `database_name` (lower-case SQL identifier) has a
    database of its own in both; a URL of the settings is taken as it is. `scratch` is for tests: no fsync, and the
    data is removed on leaving. Raises ConfigurationError where nothing may be started, or nothing is there to start.
    """
    _refuse_in_production(settings)
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", database_name):
        raise UsageError(f"{database_name!r} cannot name a database: lower-case letters, digits and _ only")
    with ExitStack() as stack:
        postgres, valkey = _named(settings.database_url), _named(settings.redis_url)
        if postgres is None:
            postgres = stack.enter_context(_postgres(_ready(settings.data_dir), database_name, scratch))
        if valkey is None:
            valkey = stack.enter_context(_valkey(_ready(settings.data_dir), database_name, scratch))
        yield Servers(
            database_url=postgres.url,
            redis_url=valkey.url,
            notes=(*postgres.notes, *valkey.notes),
            crash_postgres=postgres.breaking,
            flush_valkey=valkey.breaking,
            kill_valkey=valkey.killing,
        )


def _named(url: str | None) -> _Served | None:
    return None if url is None else _Served(url=url)


def _refuse_in_production(settings: Settings) -> None:
    urls = {"DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url}
    missing = [name for name, url in urls.items() if url is None]
    if settings.production and missing:
        raise ConfigurationError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set, and in production no server is started",
            hint="set " + " and ".join(f"{name}={_EXAMPLES[name]}" for name in missing),
        )


def _ready(data_dir: Path) -> Path:
    """The data directory, made if need be, as an absolute path: the process may change its working directory."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"{data_dir} cannot hold the data of the embedded servers: {error.strerror}",
            hint="set OUTREACH_DATA_DIR to a folder that can, or set DATABASE_URL and REDIS_URL",
        ) from error
    return data_dir.absolute()


@contextmanager
def _postgres(data_dir: Path, database_name: str, scratch: bool) -> Iterator[_Served]:
    recipe = Postgres(programs=find_postgres(), data_dir=data_dir, scratch=scratch)
    with serve(recipe, data_dir, scratch=scratch) as running:
        recipe.ensure_database(running.address, database_name)
        restart = running.restart
        yield _Served(
            url=recipe.url(running.address, database_name),
            notes=running.notes,
            breaking=partial(restart, recipe.immediately) if restart else None,
        )


@contextmanager
def _valkey(data_dir: Path, database_name: str, scratch: bool) -> Iterator[_Served]:
    recipe = Valkey(program=find_valkey(), data_dir=data_dir, scratch=scratch)
    with serve(recipe, data_dir, scratch=scratch) as running:
        yield _Served(
            url=recipe.url(running.address, database_name),
            notes=running.notes,
            breaking=partial(recipe.flush, running.address) if running.restart else None,
            killing=partial(recipe.kill, running.address, running.restart) if running.restart else None,
        )
