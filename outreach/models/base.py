"""The connection pool and the transaction: `db.run(work)` is the only way to a statement."""

import contextlib
import json
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import peewee
import psycopg2
import psycopg2.errors
from playhouse.pool import PooledPostgresqlDatabase
from psycopg2.extras import Json

from outreach.errors import ConflictError
from outreach.ids import digest

T = TypeVar("T")
Row = dict[str, Any]

#: Rows that were locked too long, or locked in a circle: somebody else goes first, we try again.
_TRY_AGAIN = (
    psycopg2.errors.SerializationFailure,
    psycopg2.errors.DeadlockDetected,
    psycopg2.errors.LockNotAvailable,
)
_TRIES = 3
#: Seconds between two knocks at a server that is away.
_KNOCK = 0.25
_BEGIN, _COMMIT, _ROLLBACK, _TOGETHER = b"BEGIN", b"COMMIT", b"ROLLBACK", b";"
#: What a server that is away, or goes away, raises: on connecting, and on a connection.
UNREACHABLE = (
    psycopg2.OperationalError,
    psycopg2.InterfaceError,
    peewee.OperationalError,
    peewee.InterfaceError,
)
#: Milliseconds. A statement that waits longer than this for a lock gives up; the sweep comes back to its row.
#: Every statement of the engine has its index, but plans are made once, often while the tables are still empty and unknown
#: to the planner: scanning them looks cheap then, and the plan stays. Where there is no index it scans all the same. (Hash joins
#: and bitmaps are left on: imports and reports need them. Hot statements are fenced with OFFSET 0 where they would do harm.)
_PLANS = "-c enable_seqscan=off -c jit=off -c plan_cache_mode=force_generic_plan"
#: How our connections are told from others' in pg_stat_activity.
APPLICATION_NAME = "outreach"
_SESSION = f"{_PLANS} -c application_name={APPLICATION_NAME} -c timezone=UTC -c lock_timeout=5000 -c statement_timeout=15000 -c idle_in_transaction_session_timeout=30000"

#: Milliseconds, as above, where many threads' work would wait together.
_BRIEFLY = "SET LOCAL lock_timeout = 250"
#: Seconds after which an idle connection is asked whether it is still there.
_IDLE = 30.0
#: Advisory lock keys. `sends` is held shared by every T1, and exclusively, for an instant, to drain them.
SENDS_LOCK = 1000
MIGRATE_LOCK = 1001
#: Held by the session that builds indexes online.
ONLINE_LOCK = 1002


def to_json(value: Mapping[str, Any] | Sequence[Any]) -> Json:
    """A jsonb parameter."""
    return Json(value)


class Hot(str):
    """SQL text that runs for every send: each connection has it parsed and planned once (PREPARE), then executes it.

    Planning T1's facts query costs ten times its execution. Parameters are typed by where they stand, so a bare one in a
    select list needs a cast.
    """

    __slots__ = ()


_NAMED = re.compile(r"%\((\w+)\)s|%s|%%")


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A hot statement as Postgres wants it: its own name, $n in place of parameters, and their order."""

    name: str
    prepare: str
    execute: str
    names: tuple[str, ...] | None

    @classmethod
    def of(cls, sql: str) -> "_Prepared":
        names: list[str] = []

        def number(match: re.Match[str]) -> str:
            if match[0] == "%%":
                return "%"
            if match[1] is None or match[1] not in names:
                names.append(match[1] or "")
            return f"${len(names) if match[1] is None else names.index(match[1]) + 1}"

        numbered = _NAMED.sub(number, sql)
        name = f"hot_{digest(sql)[:16]}"
        places = ", ".join(["%s"] * len(names))
        return cls(
            name=name,
            prepare=f"PREPARE {name} AS {numbered}",
            execute=f"EXECUTE {name} ({places})" if names else f"EXECUTE {name}",
            names=tuple(names) if any(names) else None,
        )

    def order(self, params: Sequence[Any] | Mapping[str, Any]) -> Sequence[Any]:
        if isinstance(params, Mapping):
            return [params[name] for name in self.names or ()]
        return params


_hot: dict[str, _Prepared] = {}
#: connection -> names of the statements it knows; gone with the connection
_known: "weakref.WeakKeyDictionary[Any, set[str]]" = weakref.WeakKeyDictionary()


def fields_of(composite: str, prefix: str, columns: str) -> str:
    """Select-list items for the fields of a composite column, each under its own name with the prefix."""
    return ", ".join(f"({composite}).{name} AS {prefix}{name}" for name in columns.replace(",", " ").split())


def part_of(row: Row, prefix: str) -> Row:
    """The columns that carry the prefix, without it."""
    return {name[len(prefix) :]: value for name, value in row.items() if name.startswith(prefix)}


def table_of(types: Mapping[str, str]) -> str:
    """A table `q` of rows that travel as one array per column: many rows in one statement. Its parameters are `columns_of`."""
    # An array of jsonb cannot be written down in EXECUTE; one of text can.
    arrays = ", ".join(f"%({name})s::{'text' if t == 'jsonb' else t}[]" for name, t in types.items())
    names = ", ".join(f"{name}::jsonb" if t == "jsonb" else name for name, t in types.items())
    return f"(SELECT {names} FROM unnest({arrays}) u ({', '.join(types)})) q"


def columns_of(types: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The rows, column by column."""
    return {
        name: [json.dumps(row[name]) if t == "jsonb" and row[name] is not None else row[name] for row in rows]
        for name, t in types.items()
    }


class StartAgain(Exception):
    """What was locked is no longer what was asked for: the transaction is begun again, up to three times."""


@dataclass(slots=True)
class Tx:
    """An open transaction. Statements are SQL text with %s or %(name)s parameters.

    Nothing travels alone that nobody waits for: BEGIN and every `write` go with the next statement, or with COMMIT. Their
    order is always kept, so what is read later has seen them.
    """

    _connection: Any
    #: what never changes in this database (graphs, action ids), kept per process
    kept: dict[tuple[str, int], Any]
    #: statements under way to the server with the next one that is waited for
    _pending: list[bytes] = field(default_factory=lambda: [_BEGIN])

    def rows(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
        """All rows, as dicts by column name."""
        cursor = self._run(self._text(sql, params))
        if cursor.description is None:
            return []
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]

    def row(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> Row | None:
        """The first row, or None."""
        found = self.rows(sql, params)
        return found[0] if found else None

    def one(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> Row:
        """The row that must be there. Raises LookupError with the statement when it is not."""
        found = self.row(sql, params)
        if found is None:
            raise LookupError(f"no row for: {' '.join(sql.split())[:200]}")
        return found

    def value(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> Any:
        """The first column of the first row, or None."""
        found = self.row(sql, params)
        return next(iter(found.values())) if found else None

    def execute(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> int:
        """How many rows were written. Where nobody asks for the number, `write` costs no round trip."""
        return int(self._run(self._text(sql, params)).rowcount)

    def write(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> None:
        """A write whose result nobody needs. What is wrong with it is raised by the statement that it travels with."""
        text = self._text(sql, params)  # may send what is pending: before anything is added to it
        self._pending.append(text)

    def _text(self, sql: str, params: Sequence[Any] | Mapping[str, Any]) -> bytes:
        """The statement with its parameters, as the server gets it."""
        if isinstance(sql, Hot):
            statement = _hot.get(sql) or _hot.setdefault(sql, _Prepared.of(sql))
            known = _known.setdefault(self._connection, set())
            if statement.name not in known:
                self.script(statement.prepare)
                known.add(statement.name)
            sql, params = statement.execute, statement.order(params)
        text: bytes = self._connection.cursor().mogrify(sql, params)
        return text

    def _run(self, text: bytes) -> Any:
        cursor = self._connection.cursor()
        pending, self._pending = self._pending, []
        cursor.execute(_TOGETHER.join([*pending, text]))
        return cursor

    def database_now(self) -> datetime:
        """The database's time at this statement: ask it after the last lock, then map it by the Clock."""
        now: datetime = self.one("SELECT clock_timestamp() AS now")["now"]
        return now

    def script(self, sql: str) -> None:
        """Several statements without parameters; a literal % stands for itself."""
        self._run(sql.encode())

    def insert_many(
        self, sql: str, rows: Sequence[Sequence[Any]], *, returning: bool = False, page: int = 1000
    ) -> list[Row]:
        """`INSERT ... VALUES %s ...` with the rows in pages."""
        if not rows:
            return []
        from psycopg2.extras import execute_values

        self._flush()
        cursor = self._connection.cursor()
        found = execute_values(cursor, sql, rows, page_size=page, fetch=returning)
        if not returning:
            return []
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, values, strict=True)) for values in found]

    def copy_in(self, sql: str, lines: Any) -> None:
        """`COPY ... FROM STDIN` out of a file-like object."""
        self._flush()
        self._connection.cursor().copy_expert(sql, lines)

    def _flush(self) -> None:
        if self._pending:
            last = self._pending.pop()
            self._run(last)

    def commit(self) -> None:
        """End it, with the writes that still wait. Of the house: `Database.transaction` calls it."""
        if self._pending == [_BEGIN]:
            return
        ended = self._run(_COMMIT).statusmessage
        if ended != "COMMIT":
            raise psycopg2.errors.InFailedSqlTransaction(f"the transaction had failed before: {ended}")

    def roll_back(self) -> None:
        """Undo it. A connection that cannot even do that is closed, which does the same."""
        begun, self._pending = self._pending[:1] != [_BEGIN], []
        if not begun or self._connection.closed:
            return
        try:
            self._run(_ROLLBACK)
        except (psycopg2.OperationalError, psycopg2.InterfaceError):
            self._connection.close()


class _Pool(PooledPostgresqlDatabase):
    """peewee's pool, which asks each connection whether it is alive before each transaction: twice as many, then.

    Here it is asked only when it has long been idle, or when another one has died since it was last used. The one that was made
    first is taken first, so that few connections do most of the work, and have their statements planned.
    """

    #: how many have died so far
    deaths = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        #: connection -> when it was last given out (monotonic seconds), and how many had died by then
        self._given: weakref.WeakKeyDictionary[Any, tuple[float, int]] = weakref.WeakKeyDictionary()

    def _is_closed(self, conn: Any) -> bool:
        now, (used_at, deaths) = time.monotonic(), self._given.get(conn, (0.0, -1))
        self._given[conn] = (now, self.deaths)
        if conn.closed:
            return True
        doubtful = deaths != self.deaths or now - used_at > _IDLE
        return doubtful and bool(super()._is_closed(conn))  # type: ignore[no-untyped-call]


class Database:
    """A pool of connections to one Postgres. Threads share it; a transaction belongs to one thread."""

    def __init__(self, url: str, *, pool_size: int = 8) -> None:
        self.url = url
        self._pool: Any = _Pool(
            _dsn(url),
            max_connections=pool_size,
            stale_timeout=3600,
            timeout=10,
            options=_SESSION,
            connect_timeout=5,
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
        )
        self._local = threading.local()
        self._kept: dict[tuple[str, int], Any] = {}

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Tx]:
        """One transaction on one connection: committed at the end, rolled back by an exception. Never nested."""
        if getattr(self._local, "open", False):
            raise RuntimeError(
                "a transaction is open in this thread already: one transaction per runtime function"
            )
        self._local.open = True
        try:
            with self._connection() as connection:
                tx = Tx(connection, self._kept)
                try:
                    yield tx
                    tx.commit()
                except BaseException:
                    tx.roll_back()
                    raise
        finally:
            self._local.open = False

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Any]:
        with self._pool.connection_context():
            try:
                yield self._pool.connection()
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                # A failover, a restart: the others may be broken, too.
                self._pool.deaths += 1
                raise

    def run(self, work: Callable[[Tx], T], *, shared: bool = False) -> T:
        """`work(tx)` in a transaction of its own; a lock or serialisation error is retried up to three times.

        `shared`: many threads' work, which waits for nobody's rows for long and is tried once: they try again, each alone.
        """
        tries = 1 if shared else _TRIES
        for attempt in range(1, tries + 1):
            try:
                with self.transaction() as tx:
                    if shared:
                        tx.write(_BRIEFLY)
                    return work(tx)
            except StartAgain as moved:
                if attempt == tries:
                    raise ConflictError(str(moved) or None) from moved
            except _TRY_AGAIN as locked:
                if shared:
                    # By its class it would pass for a server that is away, which is waited for and reaches all of them.
                    raise ConflictError(str(locked)) from locked
                if attempt == tries:
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    def run_when_back(self, work: Callable[[Tx], T], seconds: float, *, shared: bool = False) -> T:
        """As `run`, but a server that is away is waited for, so many real seconds.

        A commit whose answer was lost may have happened: only for work that finds out by itself that it is done.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self.run(work, shared=shared)
            except UNREACHABLE:
                if time.monotonic() >= deadline:
                    raise
            threading.Event().wait(_KNOCK)

    def read(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
        """The rows of one read-only statement in a transaction of its own."""
        return self.run(lambda tx: tx.rows(sql, params))

    def close(self) -> None:
        """Close every pooled connection."""
        self._pool.close_all()


def _dsn(url: str) -> str:
    """libpq's spelling of the URL: `postgres://` becomes `postgresql://`, our own parameters are kept."""
    parts = urlsplit(url)
    query = urlencode(parse_qsl(parts.query))
    return urlunsplit(("postgresql", parts.netloc, parts.path, query, ""))
