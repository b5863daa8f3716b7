"""Indexes that are built beside the work: migrations marked `-- online: yes`, outside of any transaction, resumable.

CREATE INDEX CONCURRENTLY lets everybody write while it reads the whole table, twice, and may take hours. Where it breaks off it
leaves an index that is invalid: maintained, and used by nobody. That one is dropped and built anew by the next run.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg2

from outreach.errors import ConfigurationError, ConflictError
from outreach.models.base import ONLINE_LOCK

_COMMENT = re.compile(r"--[^\n]*")
_BUILD = re.compile(
    r"CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+([a-z_][a-z0-9_]*)\s+ON\s.+", re.IGNORECASE | re.DOTALL
)
_DROP = re.compile(r"DROP\s+INDEX\s+CONCURRENTLY\s+IF\s+EXISTS\s+([a-z_][a-z0-9_]*)", re.IGNORECASE)
#: Whoever waits for old transactions to end must not give up on a lock, nor on the clock.
_SESSION = "-c lock_timeout=0 -c statement_timeout=0 -c application_name=outreach"
_VALID = "SELECT i.indisvalid FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid WHERE c.oid = to_regclass(%s)"


@dataclass(frozen=True, slots=True)
class Step:
    """One statement, and the index that it builds or drops."""

    index: str
    statement: str
    builds: bool


def steps_of(name: str, sql: str) -> list[Step]:
    """The statements of an online migration. Raises ConfigurationError for one that does something else than build or drop an index."""
    steps = []
    for statement in filter(None, (text.strip() for text in _COMMENT.sub("", sql).split(";"))):
        build, drop = _BUILD.fullmatch(statement), _DROP.fullmatch(statement)
        match = build or drop
        if match is None:
            raise ConfigurationError(
                f"migration {name}.sql is online and does something else: {' '.join(statement.split())[:80]}",
                hint="CREATE INDEX CONCURRENTLY name ON ..., or DROP INDEX CONCURRENTLY IF EXISTS name; all else belongs into a migration"
                " of its own",
            )
        steps.append(Step(match[1].lower(), statement, builds=build is not None))
    return steps


def carry_out(url: str, steps: Sequence[Step], say: Callable[[str], None]) -> None:
    """Each step that is not done yet, one after the other, each on its own. Raises ConflictError while somebody else is at it."""
    connection = psycopg2.connect(url, options=_SESSION, connect_timeout=5)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            # Never waited for: whoever waits for it in a transaction would be waited for by the build.
            cursor.execute("SELECT pg_try_advisory_lock(%s)", (ONLINE_LOCK,))
            if not _first(cursor):
                raise ConflictError(
                    "indexes are being built by another run",
                    hint="let it end, then run this again: it goes on where that one stopped",
                )
            for step in steps:
                _carry_out(cursor, step, say)
    finally:
        # Its lock ends with it.
        connection.close()


def _carry_out(cursor: "psycopg2.extensions.cursor", step: Step, say: Callable[[str], None]) -> None:
    if not step.builds:
        cursor.execute(step.statement)
        return
    valid = _is_valid(cursor, step.index)
    if valid:
        say(f"{step.index} stands already")
        return
    if valid is False:
        say(f"{step.index} was left unfinished: dropped, and built anew")
        cursor.execute(f"DROP INDEX CONCURRENTLY {step.index}")
    say(f"{step.index} is being built; everything else goes on meanwhile")
    cursor.execute(step.statement)


def _is_valid(cursor: "psycopg2.extensions.cursor", index: str) -> bool | None:
    """None: there is no such index."""
    cursor.execute(_VALID, (index,))
    return _first(cursor)


def _first(cursor: "psycopg2.extensions.cursor") -> bool | None:
    row = cursor.fetchone()
    return None if row is None else bool(row[0])
