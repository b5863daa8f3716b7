"""Forward-only migrations: numbered SQL files, one transaction each, under one advisory lock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources

from outreach.errors import ConfigurationError
from outreach.ids import digest
from outreach.models.base import MIGRATE_LOCK, Database, Tx

#: Raised by one with each release that changes what code must understand; a schema states the oldest it serves.
CODE_RELEASE = 1

_HISTORY = """
CREATE TABLE IF NOT EXISTS migration (
    name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL
)"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its name (`0001_initial`), its text, the digest that the history keeps."""

    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return digest(self.sql)


def shipped() -> list[Migration]:
    """The migrations of this release, in order."""
    folder = resources.files("outreach.models.migrations")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [Migration(f.name.removesuffix(".sql"), f.read_text(encoding="utf-8")) for f in files]


def migrate(db: Database, now: datetime) -> Sequence[str]:
    """Bring the schema up to this release; the names applied now, none when it is up to date.

    Safe to run from several places at once. Raises ConfigurationError when a file that was applied has changed since,
    or when the schema no longer serves code as old as this.
    """

    def work(tx: Tx) -> Sequence[str]:
        # The lock is the transaction's: a second migrator waits here and then finds nothing to do.
        tx.execute("SET LOCAL lock_timeout = '30s'; SET LOCAL statement_timeout = '120s'")
        tx.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATE_LOCK,))
        tx.execute("SET LOCAL lock_timeout = '5s'")
        tx.execute(_HISTORY)
        applied = {row["name"]: row["sha256"] for row in tx.rows("SELECT name, sha256 FROM migration")}
        done = [m.name for m in shipped() if _apply(tx, m, applied, now)]
        make_partitions(tx, now)
        return done

    return db.run(work)


def _apply(tx: Tx, migration: Migration, applied: dict[str, str], now: datetime) -> bool:
    known = applied.get(migration.name)
    if known == migration.sha256:
        return False
    if known is not None:
        raise ConfigurationError(
            f"migration {migration.name} was applied with other contents",
            hint="migrations are forward-only: restore the file and write a new one",
        )
    tx.script(migration.sql)
    tx.execute(
        "INSERT INTO migration (name, sha256, applied_at) VALUES (%s, %s, %s)",
        (migration.name, migration.sha256, now),
    )
    return True


def make_partitions(tx: Tx, now: datetime) -> int:
    """The event log's partitions from this month to two months ahead; how many were missing."""
    months = [now, _months_later(now, 1), _months_later(now, 2)]
    return sum(bool(tx.value("SELECT make_event_partition(%s)", (month,))) for month in months)


def _months_later(now: datetime, months: int) -> datetime:
    first = now.replace(day=1)
    year, month = divmod(first.year * 12 + first.month - 1 + months, 12)
    return first.replace(year=year, month=month + 1)


@dataclass(frozen=True, slots=True)
class SchemaState:
    """How the database stands to this release."""

    missing: Sequence[str]
    unknown: Sequence[str]
    oldest_code: int


def schema_state(db: Database) -> SchemaState:
    """What is missing here, and what a newer release has added."""
    exists = db.read("SELECT to_regclass('migration') IS NOT NULL AS there")[0]["there"]
    applied = {row["name"] for row in db.read("SELECT name FROM migration")} if exists else set()
    names = [m.name for m in shipped()]
    oldest = db.read("SELECT oldest_code FROM instance") if "0001_initial" in applied else []
    return SchemaState(
        missing=[n for n in names if n not in applied],
        unknown=sorted(applied - set(names)),
        oldest_code=oldest[0]["oldest_code"] if oldest else 0,
    )


def require_schema(db: Database) -> None:
    """Raises ConfigurationError unless this release can work on this database."""
    state = schema_state(db)
    if state.missing:
        raise ConfigurationError(
            f"the database lacks {len(state.missing)} migration(s)", hint="run: outreach migrate"
        )
    if state.oldest_code > CODE_RELEASE:
        raise ConfigurationError(
            f"the database was made by a newer release and no longer serves this one (release {CODE_RELEASE})",
            hint=f"deploy release {state.oldest_code} or later",
        )
