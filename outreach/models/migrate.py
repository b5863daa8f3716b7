"""Forward-only migrations: numbered SQL files, applied in one transaction, under one advisory lock.

Each file declares in its header the release that ships it and the oldest code that works on its schema, so that a
roll-out can be rolled back: code that a newer schema serves goes on, code that it does not serve refuses to start.

A file whose header says `-- online: yes` builds indexes beside the work (online.py). Code does without them, only slower: nobody
refuses to start for want of them, and the release phase leaves them to `migrate --online`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from importlib.resources.abc import Traversable

from outreach.errors import ConfigurationError
from outreach.ids import digest
from outreach.models import roles
from outreach.models.base import MIGRATE_LOCK, Database, Tx
from outreach.models.online import carry_out, steps_of

_HISTORY = """
CREATE TABLE IF NOT EXISTS migration (
    name text PRIMARY KEY, number integer NOT NULL UNIQUE, sha256 text NOT NULL, release text NOT NULL,
    serves_from integer NOT NULL CHECK (serves_from BETWEEN 1 AND number), applied_at timestamptz NOT NULL
)"""
#: The migration that makes a database one of ours.
FIRST = "0001_initial"
_NAME = re.compile(r"(\d{4})_\w+")
_HEADER = re.compile(r"^-- (release|serves from|online): *(\S+) *$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its name (`0001_initial`), its text, the digest that the history keeps, and what its header declares.

    The number is the schema's once it is applied, and that of the code that ships it as its newest.
    """

    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return digest(self.sql)

    @property
    def number(self) -> int:
        match = _NAME.fullmatch(self.name)
        if match is None:
            raise ConfigurationError(
                f"migration {self.name}.sql has no number", hint="name it like 0002_what_it_does.sql"
            )
        return int(match[1])

    @property
    def release(self) -> str:
        """The release that ships it first."""
        return self._declared("release")

    @property
    def serves_from(self) -> int:
        """The oldest code that still works on this schema: the number of the newest migration which that code ships."""
        number = self._declared("serves from")
        if not number.isdecimal() or not 1 <= int(number) <= self.number:
            raise ConfigurationError(
                f"migration {self.name}.sql declares 'serves from: {number}'",
                hint=f"the number of a migration from 1 to {self.number}: that of the oldest code which works on it",
            )
        return int(number)

    @property
    def online(self) -> bool:
        """Does it build indexes beside the work?"""
        said = dict(_HEADER.findall(self.sql)).get("online", "no")
        if said not in ("yes", "no"):
            raise ConfigurationError(f"migration {self.name}.sql declares 'online: {said}'", hint="yes or no")
        return bool(said == "yes")

    def _declared(self, what: str) -> str:
        found = dict(_HEADER.findall(self.sql)).get(what)
        if found is None:
            raise ConfigurationError(
                f"migration {self.name}.sql does not declare '{what}'", hint=f"begin it with: -- {what}: ..."
            )
        return str(found)


def read_folder(folder: Traversable) -> list[Migration]:
    """The folder's migrations, in order."""
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [Migration(f.name.removesuffix(".sql"), f.read_text(encoding="utf-8")) for f in files]


def shipped() -> list[Migration]:
    """The migrations of this release, in order."""
    return read_folder(resources.files("outreach.models.migrations"))


def migrate(db: Database, now: datetime) -> Sequence[str]:
    """Bring the schema up to this release; the names applied now, none when it is up to date or newer. Never downgrades.

    Safe to run from several places at once. Raises ConfigurationError when a file that was applied has changed since,
    or when the schema is of a newer release that no longer serves this one.
    """

    def work(tx: Tx) -> Sequence[str]:
        # The lock is the transaction's: a second migrator waits here and then finds nothing to do.
        tx.execute("SET LOCAL lock_timeout = '30s'; SET LOCAL statement_timeout = '120s'")
        tx.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATE_LOCK,))
        tx.execute("SET LOCAL lock_timeout = '5s'")
        tx.execute(_HISTORY)
        applied = {row["name"]: row["sha256"] for row in tx.rows("SELECT name, sha256 FROM migration")}
        _require_unchanged(applied)
        problem = _state(tx).refusal
        if problem is not None:
            raise problem
        done = [m for m in shipped() if m.name not in applied and not m.online]
        for migration in done:
            _apply(tx, migration, now)
        make_partitions(tx, now)
        # What is new is nobody's but the owner's until it is granted.
        for role in roles.granted(tx) if done else ():
            roles.grant(tx, role)
        return [m.name for m in done]

    return db.run(work)


def migrate_online(db: Database, now: datetime, say: Callable[[str], None]) -> Sequence[str]:
    """Build what the online migrations of this release still lack; the names that are applied now.

    Takes as long as it takes. May be broken off, and run again: it goes on where it was. Raises ConflictError while another run
    builds, ConfigurationError where `migrate` has to go first.
    """
    require_schema(db)
    done = []
    for name in schema_state(db).online:
        migration = next(m for m in shipped() if m.name == name)
        carry_out(db.url, steps_of(migration.name, migration.sql), say)
        db.run(lambda tx, migration=migration: _note_applied(tx, migration, now))  # type: ignore[misc]  # bound at once
        done.append(name)
    return done


def _note_applied(tx: Tx, migration: Migration, now: datetime) -> None:
    tx.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATE_LOCK,))
    if not tx.value("SELECT EXISTS (SELECT 1 FROM migration WHERE name = %s)", (migration.name,)):
        _record(tx, migration, now)


def _require_unchanged(applied: Mapping[str, str]) -> None:
    for migration in shipped():
        if applied.get(migration.name, migration.sha256) != migration.sha256:
            raise ConfigurationError(
                f"migration {migration.name} was applied with other contents",
                hint="migrations are forward-only: restore the file and write a new one",
            )


def _apply(tx: Tx, migration: Migration, now: datetime) -> None:
    tx.script(migration.sql)
    _record(tx, migration, now)


def _record(tx: Tx, migration: Migration, now: datetime) -> None:
    tx.execute(
        "INSERT INTO migration (name, number, sha256, release, serves_from, applied_at) VALUES (%s, %s, %s, %s, %s, %s)",
        (migration.name, migration.number, migration.sha256, migration.release, migration.serves_from, now),
    )


def make_partitions(tx: Tx, now: datetime) -> int:
    """The event log's partitions from this month to two months ahead; how many were missing."""
    months = [now, _months_later(now, 1), _months_later(now, 2)]
    return sum(bool(tx.value("SELECT make_event_partition(%s)", (month,))) for month in months)


def _months_later(now: datetime, months: int) -> datetime:
    first = now.replace(day=1)
    year, month = divmod(first.year * 12 + first.month - 1 + months, 12)
    return first.replace(year=year, month=month + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaState:
    """How the database stands to this code."""

    #: the number that this code was written for
    code: int
    #: shipped here, and not applied
    missing: Sequence[str]
    #: shipped here, not applied, and not needed to work: indexes for `migrate --online`
    online: Sequence[str] = ()
    #: applied, and not known here: a newer release has added them
    newer: Sequence[str] = ()
    #: the release of the newest migration that is applied
    release: str = ""
    #: the oldest code that the schema serves, and the release that came with it
    serves_from: int = 1
    serves_release: str = ""

    @property
    def refusal(self) -> ConfigurationError | None:
        """Why this code must not touch a schema that other code has made; None: it may."""
        there = f"the database was migrated by release {self.release} ({', '.join(self.newer)})"
        if self.serves_from > self.code:
            return ConfigurationError(
                f"{there}, which serves release {self.serves_release} and later; this code is older (schema {self.code:04})",
                hint=f"deploy release {self.serves_release} or later",
            )
        if self.newer and self.missing:
            return ConfigurationError(
                f"{there}, and lacks {', '.join(self.missing)}, which this code ships",
                hint=f"deploy release {self.release}, or one that ships all of these migrations",
            )
        return None

    @property
    def note(self) -> str | None:
        """What an operator should know of a newer schema that serves this code."""
        if not self.newer or self.refusal:
            return None
        return f"the database is of a newer release ({self.release}: {', '.join(self.newer)}), which still serves this one"


def schema_state(db: Database) -> SchemaState:
    """What is missing here, and what a newer release has added."""
    return db.run(_state)


def _state(tx: Tx) -> SchemaState:
    ours = shipped()
    code, names = max(m.number for m in ours), [m.name for m in ours]
    online = [m.name for m in ours if m.online]
    nothing = SchemaState(code=code, missing=[n for n in names if n not in online], online=online)
    if not tx.value("SELECT to_regclass('migration') IS NOT NULL"):
        return nothing
    rows = tx.rows("SELECT name, number, release, serves_from FROM migration ORDER BY number")
    if not rows:
        return nothing
    serves_from = max(row["serves_from"] for row in rows)
    applied = {row["name"] for row in rows}
    return SchemaState(
        code=code,
        missing=[n for n in names if n not in applied and n not in online],
        online=[n for n in online if n not in applied],
        newer=[row["name"] for row in rows if row["name"] not in names],
        release=rows[-1]["release"],
        serves_from=serves_from,
        serves_release=next(row["release"] for row in rows if row["number"] >= serves_from),
    )


def require_schema(db: Database) -> str | None:
    """None, or what there is to say of a newer schema that serves this code. Raises ConfigurationError for any other."""
    state = schema_state(db)
    if state.refusal is not None:
        raise state.refusal
    if state.missing:
        raise ConfigurationError(
            f"the database lacks {', '.join(state.missing)}", hint="run: outreach migrate"
        )
    return state.note
