"""The pool, which asks a connection whether it lives only when that is in doubt; and transactions that many threads share."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg2
import pytest

from outreach.errors import ConflictError
from outreach.models import instance
from outreach.models.base import UNREACHABLE, Database, StartAgain, Tx, _Pool

#: A Monday noon.
MONDAY = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
pytestmark = pytest.mark.servers


class Asked:
    """peewee's adapter, counting how often it asks a connection for a sign of life."""

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter
        self.times = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)

    def is_connection_closed(self, connection: Any) -> bool:
        self.times += 1
        return bool(self._adapter.is_connection_closed(connection))


@pytest.fixture
def asked(db: Database, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """`db` has a connection that was used twice."""
    found = Asked(db._pool._adapter)
    monkeypatch.setattr(db._pool, "_adapter", found)
    backend(db), backend(db)
    found.times = 0
    return found


def backend(db: Database) -> int:
    """The server's process behind the connection that is given out now."""
    return int(db.read("SELECT pg_backend_pid() AS pid")[0]["pid"])


@contextmanager
def beside(db: Database) -> Iterator[Tx]:
    """A transaction of another thread, which lies open."""
    transaction = db.transaction()
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(transaction.__enter__).result()
        thread.submit(transaction.__exit__, None, None, None).result()


def several(db: Database, number: int) -> list[int]:
    """So many connections are in use at once; who stands behind them, those made first before the others."""
    with ExitStack() as stack:
        found = [stack.enter_context(beside(db)) for _ in range(number)]
        return [int(tx.value("SELECT pg_backend_pid()")) for tx in found]


def kill(url: str, *pids: int) -> None:
    """A failover takes these connections; nobody tells the client. Returns when the server's processes are gone."""
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for pid in pids:
                cursor.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))
                assert cursor.fetchone() == (True,)
    finally:
        connection.close()


# --- signs of life -------------------------------------------------------------------------------------------


def test_a_connection_in_use_is_not_asked_before_each_transaction(db: Database, asked: Asked) -> None:
    assert len({backend(db) for _ in range(10)}) == 1
    assert asked.times == 0


def test_a_connection_that_was_idle_for_long_is_asked_once(
    db: Database, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, now = backend(db), time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + 29)
    assert (backend(db), asked.times) == (before, 0)
    monkeypatch.setattr(time, "monotonic", lambda: now() + 29 + 31)
    assert [backend(db), backend(db)] == [before, before]
    assert asked.times == 1


def test_a_connection_that_died_while_it_was_idle_is_replaced_unnoticed(
    db: Database, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, now = backend(db), time.monotonic
    kill(db.url, dead)
    monkeypatch.setattr(time, "monotonic", lambda: now() + 31)
    assert backend(db) != dead
    assert asked.times == 1


def test_when_one_has_died_the_others_are_asked_once_and_the_dead_ones_go(db: Database, asked: Asked) -> None:
    pids = several(db, 4)
    assert len(set(several(db, 4))) == 4
    asked.times = 0
    kill(db.url, pids[0], pids[2])
    with pytest.raises(UNREACHABLE):
        backend(db)
    assert asked.times == 0
    found = several(db, 4)
    assert (len(set(found)), set(found) & set(pids)) == (4, {pids[1], pids[3]})
    # The first one's client side was closed by its error: it is not even asked.
    assert asked.times == 3
    # The two new ones are asked when they come back for the first time.
    several(db, 4)
    asked.times = 0
    assert set(several(db, 4)) == set(found)
    assert asked.times == 0


def test_a_statement_that_is_wrong_throws_no_doubt_on_any_connection(db: Database, asked: Asked) -> None:
    before = backend(db)
    with pytest.raises(psycopg2.ProgrammingError):
        db.read("SELECT nonsense")
    assert (backend(db), asked.times) == (before, 0)


def test_few_connections_do_most_of_the_work(db: Database, asked: Asked) -> None:
    first = several(db, 4)[0]
    assert {backend(db) for _ in range(5)} == {first}
    assert isinstance(db._pool, _Pool)


# --- many threads' transactions ------------------------------------------------------------------------------


def test_a_shared_transaction_waits_briefly_for_locks_and_only_it(db: Database) -> None:
    def patience(tx: Tx) -> object:
        return tx.value("SHOW lock_timeout")

    found = [db.run(patience, shared=shared) for shared in (False, True, False)]
    assert found == ["5s", "250ms", "5s"]


def held(tries: list[int]) -> Any:
    def work(tx: Tx) -> None:
        tries.append(1)
        tx.execute("SELECT 1 FROM instance FOR UPDATE NOWAIT")

    return work


@pytest.fixture
def locked(db: Database) -> Iterator[Database]:
    """Somebody else holds the only row of `instance`; a door of our own to the same database."""
    other = Database(db.url, pool_size=1)
    instance.create(other, name="test", simulated_only=False, origin=MONDAY, factor=1.0, now=MONDAY)
    with other.transaction() as tx:
        tx.execute("SELECT 1 FROM instance FOR UPDATE")
        yield db
    other.close()


def test_what_several_share_is_tried_once_where_somebody_holds_a_row(locked: Database) -> None:
    tries: list[int] = []
    with pytest.raises(ConflictError):
        locked.run(held(tries), shared=True)
    assert len(tries) == 1


def test_what_one_does_alone_is_tried_three_times(locked: Database) -> None:
    tries: list[int] = []
    with pytest.raises(psycopg2.errors.LockNotAvailable):
        locked.run(held(tries))
    assert len(tries) == 3


def test_a_row_that_somebody_holds_is_no_server_that_is_away(locked: Database) -> None:
    """Several threads' outcomes would knock at it for a minute, together."""
    tries: list[int] = []
    with pytest.raises(ConflictError) as caught:
        locked.run_when_back(held(tries), 60.0, shared=True)
    assert (len(tries), isinstance(caught.value, UNREACHABLE)) == (1, False)


def test_what_has_moved_is_tried_once_by_several_too(db: Database) -> None:
    tries: list[int] = []

    def moved(_: Tx) -> None:
        tries.append(1)
        raise StartAgain("the lead changed its person")

    with pytest.raises(ConflictError, match="changed its person"):
        db.run(moved, shared=True)
    assert len(tries) == 1
