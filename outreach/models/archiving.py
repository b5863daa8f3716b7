"""Months of the log as partitions: which are old enough to leave, what stands in them, and their end."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime

import psycopg2.errors

from outreach.errors import ConflictError
from outreach.models.base import Row, Tx

_NAME = re.compile(r"event_(\d{4})_(\d{2})")
#: Nobody who writes events waits for us longer than this, and then we give way.
_BRIEFLY = "SET LOCAL lock_timeout = '1s'"


@dataclass(frozen=True, slots=True)
class Month:
    """One month with a partition of its own. begin <= at < end."""

    begin: datetime
    end: datetime

    @property
    def table(self) -> str:
        """Made by make_event_partition."""
        return f"event_{self.begin:%Y_%m}"

    @property
    def name(self) -> str:
        """As in 2026-01."""
        return f"{self.begin:%Y-%m}"

    @property
    def day(self) -> date:
        """How event_export calls it."""
        return self.begin.date()


def months(tx: Tx, before: datetime) -> list[Month]:
    """Those that were over by then, the oldest first."""
    rows = tx.rows(
        "SELECT c.relname FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid WHERE h.inhparent = 'event'::regclass ORDER BY 1"
    )
    found = [
        _month(int(match[1]), int(match[2])) for row in rows if (match := _NAME.fullmatch(row["relname"]))
    ]
    return [month for month in found if month.end <= before]


def _month(year: int, month: int) -> Month:
    following = (year, month + 1) if month < 12 else (year + 1, 1)
    return Month(datetime(year, month, 1, tzinfo=UTC), datetime(*following, 1, tzinfo=UTC))


def stray(tx: Tx, before: datetime) -> Row:
    """Events of months that have no partition of their own, for nobody made them in time: events (at most 1000), oldest."""
    return tx.one(
        "SELECT count(*) AS events, min(at) AS oldest FROM (SELECT at FROM event_default WHERE at < %s LIMIT 1000) d",
        (before,),
    )


def size(tx: Tx, month: Month) -> Row:
    """bytes on disk, and about how many events (as the planner believes)."""
    return tx.one(
        "SELECT pg_total_relation_size(c.oid) AS bytes, greatest(c.reltuples, 0)::bigint AS rows FROM pg_class c WHERE c.oid = %s::regclass",
        (month.table,),
    )


def lines(tx: Tx, month: Month, after: int, limit: int) -> list[Row]:
    """The next events by id: id, and line, a JSON object with every column."""
    return tx.rows(
        f"SELECT e.id, row_to_json(e)::text AS line FROM {month.table} e WHERE e.id > %s ORDER BY e.id LIMIT %s",
        (after, limit),
    )


def hold(tx: Tx, month: Month) -> int:
    """From here on nobody adds to the month; how many events it has. Raises ConflictError where somebody is in the middle of it."""
    _briefly(tx, f"LOCK TABLE {month.table} IN SHARE MODE")
    return int(tx.one(f"SELECT count(*) AS n FROM {month.table}")["n"])


def drop(tx: Tx, month: Month) -> None:
    """The month leaves the log and the database. Whoever writes events waits for an instant. Raises ConflictError as above."""
    _briefly(tx, f"ALTER TABLE event DETACH PARTITION {month.table}; DROP TABLE {month.table}")


def _briefly(tx: Tx, statements: str) -> None:
    try:
        tx.script(f"{_BRIEFLY}; {statements}")
    except psycopg2.errors.LockNotAvailable as error:
        raise ConflictError(
            "somebody is reading or writing the log in a long transaction",
            hint="nothing is lost: run it again",
        ) from error


def archived(tx: Tx) -> Row:
    """How many months have left as files, and the first and last of them."""
    return tx.one("SELECT count(*) AS months, min(month) AS first, max(month) AS last FROM event_export")
