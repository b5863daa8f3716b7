"""The app's own role: the engine runs as it, and the log cannot be changed by it, whatever it tries."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2.errors
import pytest

from outreach.embedded.servers import Servers
from outreach.errors import ConfigurationError, NotFound, UsageError
from outreach.models import migrate, roles
from outreach.models.base import Database
from outreach.runtime.verify import verify
from tests.integration.cli_support import Terminal, set_environment
from tests.integration.law_support import id_of_handle, open_house, roomy_account
from tests.integration.test_follow_dm_branch import SEQUENCE
from tests.stage import MONDAY

pytestmark = pytest.mark.servers


@pytest.fixture
def app_db(db: Database, database_url: str) -> Iterator[Database]:
    """The same database, as a role of the app. Roles belong to the server: one for each database."""
    parts = urlsplit(database_url)
    role = f"app_{parts.path[1:]}"
    db.run(lambda tx: tx.script(f"CREATE ROLE {role} LOGIN PASSWORD 'weak'"))
    db.run(lambda tx: roles.grant(tx, role))
    url = parts._replace(netloc=f"{role}:weak@{parts.netloc.rpartition('@')[2]}").geturl()
    weak = Database(url, pool_size=4)
    yield weak
    weak.close()
    db.run(lambda tx: tx.script(f"DROP OWNED BY {role}; DROP ROLE {role}"))


ATTEMPTS = [
    "UPDATE event SET actor = 'x'",
    "DELETE FROM event",
    "TRUNCATE event",
    "UPDATE event_2026_01 SET actor = 'x'",
    "DELETE FROM event_2026_01",
    "TRUNCATE event_2026_01",
    "INSERT INTO event_2026_01 (id, at, kind, actor) VALUES (1, '2026-01-05', 'LeadMoved', 'x')",
    "INSERT INTO event (id, at, kind, actor) VALUES (1, '2026-01-05', 'LeadMoved', 'x')",
    "INSERT INTO event (at, kind, actor, tx) VALUES ('2026-01-05', 'LeadMoved', 'x', '3')",
    "ALTER TABLE event DISABLE TRIGGER ALL",
    "ALTER TABLE event_2026_01 DISABLE TRIGGER event_append_only",
    "DROP TRIGGER event_append_only ON event",
    "ALTER TABLE event DETACH PARTITION event_2026_01",
    "DROP TABLE event_2026_01",
    "SET session_replication_role = replica",
    "CREATE TRIGGER mine BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION refuse_change()",
    "UPDATE person_event SET actor = 'x'",
    "DELETE FROM person_event",
    "TRUNCATE person_event",
    "UPDATE seal SET at = at",
    "DELETE FROM seal",
    "TRUNCATE seal",
    "INSERT INTO event_export (month, events, sha256, at) VALUES ('2026-01-01', 1, repeat('0', 64), '2026-01-05')",
    "INSERT INTO event_generation (id, first_event_id, horizon, at) VALUES (2, 1, '0', '2026-01-05')",
    "SELECT setval('event_id', 1)",
    "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
]


def test_the_engine_runs_as_it_and_it_cannot_change_the_log(
    db: Database, app_db: Database, tmp_path: Path
) -> None:
    house = open_house(app_db, tmp_path, ("ann",))
    roomy_account(house)
    house.publish(SEQUENCE)
    ann = house.person("ann", basis="opt_in")
    (lead,) = house.enroll("story", [ann])
    house.pass_time(timedelta(minutes=2))
    house.simulator.acts.follow_back(house.clock.now(), id_of_handle("ann"), id_of_handle("we"))
    house.pass_time(timedelta(minutes=3))
    house.says("ann", "Yes please, sounds great!")
    house.pass_time(timedelta(minutes=3))
    assert [a.kind for a in house.accepted()] == ["follow", "dm", "dm"]
    assert house.lead(lead)["state"] == "finished"
    # Another quarter: its tick makes the months, as the log's owner.
    house.clock.advance(timedelta(days=100))
    house.tick()
    assert db.read("SELECT to_regclass('event_2026_06') IS NOT NULL AS there") == [{"there": True}]
    seen = verify(app_db)
    assert (seen.findings, seen.seals > 0, seen.events > 10) == ([], True, True)

    refused = {}
    for attempt in [*ATTEMPTS, "DELETE FROM event_2026_06"]:
        try:
            app_db.run(lambda tx, attempt=attempt: tx.script(attempt))  # type: ignore[misc]  # bound at once
        except psycopg2.errors.InsufficientPrivilege:
            continue
        except psycopg2.Error as error:
            refused[attempt] = f"by {type(error).__name__}"
        else:
            refused[attempt] = "not at all"
    assert refused == {}


def test_what_doctor_can_say_of_a_role(db: Database, app_db: Database) -> None:
    strong, weak = db.run(roles.standing), app_db.run(roles.standing)
    assert (strong.owns, strong.superuser, strong.may_change) == (True, True, True)
    assert (weak.owns, weak.superuser, weak.may_change) == (False, False, False)
    assert db.run(roles.granted) == [weak.role]


def test_what_a_migration_adds_is_granted_with_it(
    db: Database, app_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = "-- release: 9.9\n-- serves from: 1\n"
    later = migrate.Migration(
        "0099_more", f"{header}CREATE TABLE more (id bigint GENERATED ALWAYS AS IDENTITY)"
    )
    shipped = migrate.shipped()
    monkeypatch.setattr(migrate, "shipped", lambda: [*shipped, later])
    assert list(migrate.migrate(db, MONDAY)) == ["0099_more"]
    app_db.run(
        lambda tx: tx.script(
            "INSERT INTO more DEFAULT VALUES; UPDATE more SET id = DEFAULT; DELETE FROM more"
        )
    )
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        app_db.run(lambda tx: tx.script("TRUNCATE more"))


def test_whom_it_does_not_grant(db: Database, app_db: Database) -> None:
    me, weak = db.run(roles.standing).role, app_db.run(roles.standing).role
    with pytest.raises(NotFound, match="no role 'nobody_here'"):
        db.run(lambda tx: roles.grant(tx, "nobody_here"))
    with pytest.raises(UsageError, match="no grant can hold it"):
        db.run(lambda tx: roles.grant(tx, me))
    with pytest.raises(ConfigurationError, match="only the owner"):
        app_db.run(lambda tx: roles.grant(tx, weak))


def test_the_commands_say_it(
    app_db: Database,
    servers: Servers,
    database_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal(capsys)
    set_environment(monkeypatch, servers, database_url, tmp_path)
    terminal("migrate")
    weak = app_db.run(roles.standing).role
    assert "neither change nor delete" in terminal("db", "roles", "--app", weak)
    terminal("db", "roles", "--app", "nobody_here", code=2)
    assert "CREATE ROLE" in terminal.err
    checks = {c["id"]: c for c in terminal.json("doctor", code=0)["checks"]}
    assert "superuser" in checks["O042"]["detail"]
    monkeypatch.setenv("DATABASE_URL", app_db.url)
    checks = {c["id"]: c for c in terminal.json("doctor", code=0)["checks"]}
    assert (checks["O042"]["health"], "by privilege" in checks["O042"]["detail"]) == ("ok", True)
