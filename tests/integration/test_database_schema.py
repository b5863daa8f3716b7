"""The schema row by row: migrations all or nothing, every CHECK by name, append-only, partitions. The whole is test_schema_sum's."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
import pytest

from outreach.errors import ConfigurationError
from outreach.models import migrate as migrating
from outreach.models.base import Database, Tx
from outreach.models.describe import describe
from outreach.models.migrate import Migration, make_partitions, migrate, schema_state, shipped
from outreach.runtime.tick import tick
from tests.integration.law_support import FOLLOW, friends, open_house, race, roomy_account
from tests.stage import MONDAY, House

pytestmark = pytest.mark.servers


# --- the sum of the migrations -------------------------------------------------------------------------------


def test_the_description_sees_every_change(db: Database) -> None:
    before = db.run(describe)
    for change in (
        "ALTER TABLE person ADD COLUMN shoe_size integer",
        "ALTER TABLE lead ALTER COLUMN cursor DROP NOT NULL",
        "CREATE INDEX one_more ON person (zone)",
        "ALTER TABLE task DROP CONSTRAINT task_kind_check",
        "DROP TRIGGER event_append_only ON event",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    ):

        def changed(tx: Tx, change: str = change) -> str:
            tx.script(change)
            after = describe(tx)
            tx.script("ROLLBACK; BEGIN")
            return after

        assert db.run(changed) != before, change


def test_several_migrators_at_once_apply_each_file_once(db: Database) -> None:
    db.run(lambda tx: tx.script("DROP SCHEMA public CASCADE; CREATE SCHEMA public"))
    names = [m.name for m in shipped()]
    applied = race(*[lambda: list(migrate(db, MONDAY))] * 4)
    assert sorted(applied) == sorted([names, [], [], []])


def test_a_file_that_changed_after_it_was_applied_is_refused(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = [Migration(m.name, m.sql + "\n-- changed") for m in shipped()]
    monkeypatch.setattr(migrating, "shipped", lambda: changed)
    with pytest.raises(ConfigurationError, match="applied with other contents"):
        migrate(db, MONDAY)


def test_a_migration_that_fails_leaves_nothing_behind(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [
        *shipped(),
        Migration("9999_broken", "-- release: 9\n-- serves from: 1\nCREATE TABLE half (id int); SELECT 1/0"),
    ]
    monkeypatch.setattr(migrating, "shipped", lambda: broken)
    with pytest.raises(psycopg2.errors.DivisionByZero):
        migrate(db, MONDAY)
    assert db.read("SELECT to_regclass('half') AS half")[0]["half"] is None
    assert schema_state(db).missing == ["9999_broken"]


# --- bad states ----------------------------------------------------------------------------------------------


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    """One person in one sequence, one follow sent."""
    found = open_house(db, tmp_path)
    roomy_account(found)
    found.publish(FOLLOW)
    found.enroll("follow", friends(found, "ann"))
    return found


NOW = "'2026-01-05T12:00Z'"
BAD = [
    # table, change, what refuses it
    ("instance", "id = 2", "instance_id_check"),
    ("instance", f"simulated_only = true, live_confirmed_at = {NOW}", "instance_check"),
    ("instance", f"paused_at = {NOW}", "instance_check"),
    ("instance", "clock_factor = 0", "instance_clock_factor_check"),
    ("app", "state = 'asleep'", "app_state_check"),
    ("account", "state = 'asleep', state_reason = 'x'", "account_state_check"),
    ("account", "state = 'paused', state_reason = NULL", "account_check"),
    ("account", "refresh_fence = 1", "account_check"),
    ("account", "dm_mode = 'opt_in', mode_reason = NULL", "account_check"),
    ("account", "dm_mode = 'anything'", "account_dm_mode_check"),
    ("person", f"suppressed_at = {NOW}", "person_check"),
    ("person", f"suppression_effective_at = {NOW}", "person_check"),
    ("person", f"paused_at = {NOW}", "person_check"),
    ("person", "entity_type = 'robot'", "person_entity_type_check"),
    ("identity", "kind = 'telephone'", "identity_kind_check"),
    ("identity", "status = 'lost'", "identity_status_check"),
    ("consent", "basis = 'none'", "consent_basis_check"),
    ("sequence", "state = 'asleep'", "sequence_state_check"),
    ("lead", "state = 'active'", "lead_check"),
    ("lead", f"due_at = {NOW}", "lead_check"),
    ("lead", "waiting_on = 'time'", "lead_check"),
    ("lead", "state = 'exited'", "lead_check"),
    ("lead", "exit_reason = 'x'", "lead_check"),
    ("lead", "ended_at = NULL", "lead_check"),
    ("lead", "account_id = 1", "lead_check"),
    ("lead", f"paused_at = {NOW}", "lead_check"),
    ("lead", "state = 'lost'", "lead_state_check"),
    (
        "lead",
        f"state = 'active', ended_at = NULL, due_at = {NOW}, waiting_on = 'luck'",
        "lead_waiting_on_check",
    ),
    ("execution", "state = 'done'", "execution_state_check"),
    ("execution", "state = 'calling', fence = NULL", "execution_check"),
    ("execution", "state = 'in_doubt', call_deadline = NULL", "execution_check"),
    ("execution", "state = 'held'", "execution_check"),
    ("execution", "sent_at = NULL", "execution_check"),
    ("execution", "effect_by = NULL", "execution_check"),
    ("execution", "state = 'refused', reason = 'x'", "execution_check"),
    ("execution", "state = 'blocked', effect_by = NULL", "execution_check"),
    ("execution", "state = 'absent'", "execution_check"),
    ("execution", "effect_by = started_at - interval '1 s'", "execution_check"),
    ("execution", "lead_id = NULL", "execution_check"),
    ("execution", f"cause_deadline = {NOW}", "execution_check"),
    ("execution", "cause = 'by_hand'", "execution_check"),
]


@pytest.mark.parametrize(("table", "change", "refused_by"), BAD)
def test_a_state_that_cannot_be_cannot_be_written(
    house: House, table: str, change: str, refused_by: str
) -> None:
    with pytest.raises(psycopg2.IntegrityError, match=refused_by):
        house.db.run(lambda tx: tx.execute(f"UPDATE {table} SET {change}"))


ROWS = [
    ("INSERT INTO suppression (reason, source, at) VALUES ('x', 'x', %(now)s)", "suppression_check"),
    (
        "INSERT INTO suppression (hmac, reason, source, at, lifted_at) VALUES ('x', 'x', 'x', %(now)s, %(now)s)",
        "suppression_check",
    ),
    ("INSERT INTO import (source, file_name, file_hash, basis, at) VALUES ('x', 'x', 'x', 'consent', %(now)s)", "import_check"),
    (
        "INSERT INTO identity_link (a, b, source, created_at) SELECT id, id, 'x', %(now)s FROM identity",
        "identity_link_check",
    ),
    ("INSERT INTO task (kind, person_id, reason, created_at) SELECT 'act', id, 'x', %(now)s FROM person", "task_check"),
    (
        "INSERT INTO task (kind, person_id, reason, created_at, state) SELECT 'decide', id, 'x', %(now)s, 'claimed' FROM person",
        "task_check",
    ),
    (
        "INSERT INTO task (kind, person_id, reason, created_at, state) SELECT 'decide', id, 'x', %(now)s, 'done' FROM person",
        "task_check",
    ),
    ("INSERT INTO hold (scope, scope_id, kind, until, reason) VALUES ('galaxy', 1, 'x', %(now)s, 'x')", "hold_scope_check"),
    (
        "INSERT INTO inbound (channel, account_key, content_id, kind, raw, via, occurred_at, received_at)"
        " VALUES ('twitter', 'x', 'x', 'x', '{}', 'dream', %(now)s, %(now)s)",
        "inbound_via_check",
    ),
    (
        "INSERT INTO lead (person_id, sequence_id, version_id, cursor, entered_at, due_at, waiting_on, enrolled_at)"
        " SELECT person_id, sequence_id, version_id, cursor, %(now)s, %(now)s, 'time', %(now)s FROM lead, generate_series(1, 2)",
        "lead_one_active",
    ),
    (
        "INSERT INTO execution (lead_id, action_id, visit, kind, channel, account_id, app_id, identity_id, state, cause, created_at)"
        " SELECT lead_id, action_id, visit, kind, channel, account_id, app_id, identity_id, 'planned', cause, %(now)s FROM execution",
        "execution_lead_id_action_id_visit_key",
    ),
    (
        "INSERT INTO signal (lead_id, kind, content_id, at, received_at) SELECT id, 'REPLIED', 'dm:1', %(now)s, %(now)s"
        " FROM lead, generate_series(1, 2)",
        "signal_lead_id_kind_content_id_key",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "refused_by"), ROWS)
def test_a_row_that_cannot_be_cannot_be_inserted(house: House, statement: str, refused_by: str) -> None:
    with pytest.raises(psycopg2.IntegrityError, match=refused_by):
        house.db.run(lambda tx: tx.execute(statement, {"now": MONDAY}))


# --- append only ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE event SET actor = 'somebody else'",
        "DELETE FROM event",
        "TRUNCATE event",
        "TRUNCATE event_2026_01",
        "DELETE FROM event_2026_01",
        "UPDATE event_2026_01 SET at = at",
        "TRUNCATE event_default",
        "UPDATE sequence_version SET graph = '{}'",
        "DELETE FROM sequence_trigger",
        "DELETE FROM message_template",
    ],
)
def test_what_is_written_for_ever_can_neither_be_changed_nor_taken_away(house: House, change: str) -> None:
    house.publish(
        'sequence: more\nactions:\n  hello: {do: SEND_TWITTER_DM, message: "Hi. {{ opt_out }}", next: END}\n'
    )
    with pytest.raises(psycopg2.DatabaseError, match="append-only"):
        house.db.run(lambda tx: tx.execute(change))


def test_events_of_a_lead_are_numbered_without_gaps(house: House) -> None:
    numbers = [
        r["lead_seq"]
        for r in house.db.read("SELECT lead_seq FROM event WHERE lead_id IS NOT NULL ORDER BY id")
    ]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 5


# --- partitions ----------------------------------------------------------------------------------------------


def partitions(db: Database) -> list[str]:
    rows = db.read(
        "SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'event'::regclass"
    )
    return sorted(row["name"] for row in rows)


def test_the_sweep_stays_two_months_ahead_over_the_turn_of_the_year(house: House) -> None:
    house.clock.instant = datetime(2026, 11, 30, 23, 59, tzinfo=UTC)
    tick(house.ctx)
    tick(house.ctx)
    assert partitions(house.db)[-4:] == ["event_2026_11", "event_2026_12", "event_2027_01", "event_default"]


@pytest.mark.parametrize(
    ("at", "where"),
    [
        ("2026-02-01T00:00Z", "event_2026_02"),
        ("2026-01-31T23:59:59.999999Z", "event_2026_01"),
        ("2031-05-05T00:00Z", "event_default"),
    ],
)
def test_an_event_lies_in_its_months_partition_or_is_caught(db: Database, at: str, where: str) -> None:
    def insert(tx: Tx) -> Any:
        return tx.value(
            "INSERT INTO event (at, kind, actor) VALUES (%s, 'LeadMoved', 'test') RETURNING tableoid::regclass::text",
            (at,),
        )

    assert db.run(insert) == where


def test_a_month_whose_events_were_caught_stays_there(db: Database) -> None:
    db.run(
        lambda tx: tx.execute("INSERT INTO event (at, kind, actor) VALUES ('2026-06-15Z', 'LeadMoved', 'x')")
    )
    june = datetime(2026, 6, 20, tzinfo=UTC)
    assert db.run(lambda tx: make_partitions(tx, june)) == 2
    assert partitions(db)[3:] == ["event_2026_07", "event_2026_08", "event_default"]
