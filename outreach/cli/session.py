"""How a command gets its app: from the URLs of the environment, else on servers of this data directory."""

import getpass
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from outreach.errors import ConfigurationError
from outreach.settings import Settings, inherited_environment

if TYPE_CHECKING:
    import typer

    from outreach.app import App
    from outreach.clock import Clock
    from outreach.models.base import Database
    from outreach.models.instance import Instance

#: The name of an instance that nobody named.
DEFAULT_INSTANCE = "local"
_CLOCK = ("OUTREACH_CLOCK_ORIGIN", "OUTREACH_CLOCK_FACTOR")


@dataclass(frozen=True, slots=True)
class Options:
    """What stands before the command's name."""

    data_dir: Path | None = None


def read_settings(ctx: "typer.Context") -> Settings:
    """The environment's settings, with the data directory of `--data-dir`. Raises ConfigurationError."""
    settings = Settings.from_environment()
    options = ctx.find_object(Options) or Options()
    return replace(settings, data_dir=options.data_dir) if options.data_dir else settings


def operator() -> str:
    """Who types this, for the log."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container's user need not have a name.
        return "operator"


@contextmanager
def served(ctx: "typer.Context", *, aloud: bool = False) -> Iterator[Settings]:
    """Settings with both URLs: servers that nobody named run meanwhile (`aloud`: and it is said), their database ready."""
    from outreach.cli.output import note
    from outreach.embedded.servers import start_servers

    settings = read_settings(ctx)
    with start_servers(settings) as servers:
        for line in servers.notes if aloud else ():
            note(line)
        ready = replace(settings, database_url=servers.database_url, redis_url=servers.redis_url)
        if settings.database_url is None:
            prepare(ready)
        yield on_its_clock(ready)


@dataclass(frozen=True, slots=True)
class Prepared:
    """The migrations applied now, and what there is to say of a schema of a newer release."""

    applied: list[str]
    note: str | None
    #: indexes that `migrate --online` has still to build
    online: list[str]


def prepare(settings: Settings, say: Callable[[str], None] | None = None) -> Prepared:
    """Migrate and make the instance row. With `say`, or where the database is new, indexes are built online too, a word about each."""
    from outreach.clock import LiveClock
    from outreach.models import instance, migrate

    now = LiveClock(origin=settings.clock_origin, factor=settings.clock_factor).now()
    with connected(settings) as db:
        applied = list(migrate.migrate(db, now))
        instance.create(
            db, name=settings.instance or DEFAULT_INSTANCE, simulated_only=False, origin=settings.clock_origin,
            factor=settings.clock_factor, now=now,
        )  # fmt: skip
        note = migrate.require_schema(db)
        if say or migrate.FIRST in applied:
            applied += migrate.migrate_online(db, now, say or _silently)
        return Prepared(applied, note, list(migrate.schema_state(db).online))


def _silently(_: str) -> None:
    """Empty tables have their indexes at once: nothing to say."""


def on_its_clock(settings: Settings) -> Settings:
    """The settings on the database's own clock, where the environment names none: a demo's, for example."""
    from outreach.models import instance, migrate

    with connected(settings) as db:
        migrate.require_schema(db)
        try:
            row = db.run(instance.read)
        except LookupError:
            raise ConfigurationError(
                "the database has no instance yet", hint="run: outreach migrate"
            ) from None
    if any(inherited_environment().get(name) for name in _CLOCK):
        return settings
    return replace(settings, clock_origin=row.clock_origin, clock_factor=row.clock_factor)


@contextmanager
def connected(settings: Settings) -> Iterator["Database"]:
    """One connection that answers. Raises OutreachError, saying why it does not."""
    from outreach.models.base import Database
    from outreach.models.outage import explain_outage

    assert settings.database_url is not None
    db = Database(settings.database_url, pool_size=1)
    try:
        db.read("SELECT 1 AS one")
        yield db
    except Exception as error:
        raise (explain_outage(error) or error) from error
    finally:
        db.close()


@contextmanager
def opened(ctx: "typer.Context", *, of_any_name: bool = False) -> Iterator["App"]:
    """The command's app. Its mode is shown, on stderr. `of_any_name`: the database may carry another name than the environment says."""
    from outreach import app as apps
    from outreach.cli.output import note

    with served(ctx) as settings:
        app = apps.build(settings, of_any_name=of_any_name)
        apps.override(app)
        try:
            note(f"{app.instance.mode} · {app.instance.name}{_pause(app.instance)}")
            yield app
        finally:
            apps.override(None)
            app.close()


@dataclass(frozen=True, slots=True)
class Desk:
    """What a switch needs of an app: it works at once, and while Redis is away."""

    db: "Database"
    clock: "Clock"


@contextmanager
def at_the_switch(ctx: "typer.Context") -> Iterator[Desk]:
    """The database and its clock, and nothing else. The mode is shown, on stderr."""
    from outreach.cli.output import note
    from outreach.clock import LiveClock
    from outreach.models import instance

    with _with_database(ctx) as settings, connected(settings) as db:
        row = db.run(instance.read)
        instance.require_same_clock(
            row, name=settings.instance, origin=settings.clock_origin, factor=settings.clock_factor
        )
        note(f"{row.mode} · {row.name}{_pause(row)}")
        yield Desk(db, LiveClock(origin=settings.clock_origin, factor=settings.clock_factor))


@contextmanager
def _with_database(ctx: "typer.Context") -> Iterator[Settings]:
    """Settings of a database that runs: only where no URL names one are servers of this machine asked for it."""
    settings = read_settings(ctx)
    if settings.database_url is not None:
        yield on_its_clock(settings)
        return
    with served(ctx) as ready:
        yield ready


def _pause(row: "Instance") -> str:
    """What keeps everything from being sent, and how that is mended."""
    if row.foreign_reason:
        return f" · RESTORED OR CLONED, SENDS NOTHING: {row.foreign_reason} (outreach db status)"
    if row.recovering_since:
        return " · RECOVERING, SENDS NOTHING YET (outreach db status)"
    return f" · PAUSED: {row.pause_reason}" if row.pause_reason else ""
