"""Big indexes are built beside the work, are never waited for by a release, and can be broken off at any instant."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import pytest

from outreach.cli import run
from outreach.embedded.servers import Servers
from outreach.errors import ConfigurationError, ConflictError
from outreach.models import migrate as migrating
from outreach.models.base import ONLINE_LOCK, Database
from outreach.models.migrate import Migration, migrate, migrate_online, require_schema, schema_state, shipped
from outreach.models.online import steps_of
from tests.conftest import MONDAY
from tests.integration.cli_support import set_environment

pytestmark = pytest.mark.servers

HEADER = "-- release: 0.2.0\n-- serves from: 1\n-- online: yes\n"
TWO = (
    HEADER
    + "CREATE INDEX CONCURRENTLY person_by_name ON person (name); -- one\nCREATE UNIQUE INDEX CONCURRENTLY lead_once ON lead (person_id);\n"
)


@pytest.fixture(autouse=True)
def ships(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Code that ships one migration more."""
    ours = shipped()

    def ship(sql: str = TWO) -> None:
        monkeypatch.setattr(migrating, "shipped", lambda: [*ours, Migration("0002_indexes", sql)])

    ship()
    return ship


def quiet(_: str) -> None:
    """Nobody listens."""


def valid(db: Database) -> dict[str, bool]:
    rows = db.read(
        "SELECT c.relname, i.indisvalid FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid"
        " WHERE c.relname IN ('person_by_name', 'lead_once')"
    )
    return {row["relname"]: row["indisvalid"] for row in rows}


@contextmanager
def session(db: Database) -> Iterator["psycopg2.extensions.cursor"]:
    connection = psycopg2.connect(db.url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


def leave_unfinished(db: Database) -> None:
    """What a build that was broken off leaves behind: an index that is not valid."""
    with session(db) as cursor:
        cursor.execute("CREATE INDEX person_by_name ON person (name)")
        cursor.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'person_by_name'::regclass")


def test_a_release_leaves_them_and_works_without(db: Database) -> None:
    assert list(migrate(db, MONDAY)) == []
    state = schema_state(db)
    assert (list(state.online), list(state.missing), state.refusal, require_schema(db)) == (
        ["0002_indexes"],
        [],
        None,
        None,
    )
    assert valid(db) == {}


def test_they_are_built_outside_of_any_transaction_and_then_stand_in_the_history(db: Database) -> None:
    said: list[str] = []
    assert migrate_online(db, MONDAY, said.append) == ["0002_indexes"]
    assert valid(db) == {"person_by_name": True, "lead_once": True}
    assert (len(said), schema_state(db).online) == (2, [])
    assert migrate_online(db, MONDAY, said.append) == [] and len(said) == 2


def test_a_row_can_be_written_while_an_index_is_built(db: Database) -> None:
    """The build waits for a transaction that was there before it; whoever comes meanwhile writes all the same."""
    built = threading.Event()
    with session(db) as cursor:
        cursor.execute("BEGIN")
        cursor.execute("INSERT INTO person (name, created_at) VALUES ('early', now())")

        def build() -> None:
            migrate_online(db, MONDAY, quiet)
            built.set()

        builder = threading.Thread(target=build)
        builder.start()
        while not valid(db):
            assert builder.is_alive()
        db.run(
            lambda tx: tx.execute(
                "SET LOCAL lock_timeout = '1s'; INSERT INTO person (name, created_at) VALUES ('late', now())"
            )
        )
        assert not built.is_set()
        cursor.execute("COMMIT")
    builder.join()
    assert built.is_set() and valid(db) == {"person_by_name": True, "lead_once": True}


def test_what_was_left_unfinished_is_dropped_and_built_anew(db: Database) -> None:
    leave_unfinished(db)
    assert valid(db) == {"person_by_name": False}
    said: list[str] = []
    migrate_online(db, MONDAY, said.append)
    assert valid(db) == {"person_by_name": True, "lead_once": True}
    assert said[0] == "person_by_name was left unfinished: dropped, and built anew"


def test_what_cannot_be_built_is_no_migration_done_and_the_next_run_goes_on_there(db: Database) -> None:
    with session(db) as cursor:
        cursor.execute("INSERT INTO person (name, created_at) VALUES ('a', now()), ('a', now())")
    unique = TWO.replace("INDEX CONCURRENTLY person_by_name", "UNIQUE INDEX CONCURRENTLY person_by_name")
    with pytest.MonkeyPatch.context() as patch:
        ours = migrating.shipped()[:-1]
        patch.setattr(migrating, "shipped", lambda: [*ours, Migration("0002_indexes", unique)])
        with pytest.raises(psycopg2.errors.UniqueViolation):
            migrate_online(db, MONDAY, quiet)
        assert (valid(db), list(schema_state(db).online)) == ({"person_by_name": False}, ["0002_indexes"])
        with session(db) as cursor:
            cursor.execute("DELETE FROM person")
        assert migrate_online(db, MONDAY, quiet) == ["0002_indexes"]
    assert valid(db) == {"person_by_name": True, "lead_once": True}


def test_two_runs_do_not_build_the_same(db: Database) -> None:
    with session(db) as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (ONLINE_LOCK,))
        with pytest.raises(ConflictError, match="another run"):
            migrate_online(db, MONDAY, quiet)
    assert valid(db) == {}


@pytest.mark.parametrize(
    "statement",
    ["ALTER TABLE lead ADD COLUMN mood text", "CREATE INDEX person_by_name ON person (name)", "CREATE INDEX CONCURRENTLY ON person (name)",
     "CREATE INDEX CONCURRENTLY IF NOT EXISTS person_by_name ON person (name)"],
)  # fmt: skip
def test_an_online_migration_does_nothing_else(statement: str) -> None:
    with pytest.raises(ConfigurationError, match="0002_indexes"):
        steps_of("0002_indexes", HEADER + statement + ";")


def test_the_command_says_what_is_left_and_a_new_database_has_all_at_once(
    db: Database,
    servers: Servers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_environment(monkeypatch, servers, db.url, tmp_path)
    assert run(["migrate"]) == 0
    assert "left for outreach migrate --online, beside the work: 0002_indexes" in capsys.readouterr().err
    assert run(["migrate", "--online"]) == 0
    assert "applied 0002_indexes" in capsys.readouterr().out
    with session(db) as cursor:
        cursor.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    assert run(["migrate"]) == 0
    told = capsys.readouterr()
    assert "applied 0001_initial, 0002_indexes" in told.out and "left for" not in told.err
