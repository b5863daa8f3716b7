"""The schema is the sum of its migrations, and refuses the states that must not be."""

from datetime import UTC, datetime
from importlib import resources

import psycopg2
import pytest

from outreach.models.base import Database
from outreach.models.describe import describe
from outreach.models.migrate import migrate, schema_state

pytestmark = pytest.mark.servers
NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


def test_the_committed_description_is_what_the_migrations_build(db: Database) -> None:
    """After a new migration: write describe()'s text to outreach/models/schema.txt and read the difference."""
    committed = (resources.files("outreach.models") / "schema.txt").read_text(encoding="utf-8")
    assert db.run(describe) == committed


def test_migrating_again_changes_nothing(db: Database) -> None:
    before = db.run(describe)
    assert migrate(db, NOW) == []
    assert db.run(describe) == before
    assert schema_state(db).missing == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET actor = 'x'",
        "DELETE FROM event",
        "TRUNCATE event",
        "TRUNCATE event_2026_01",
        "UPDATE event_default SET actor = 'x'",
    ],
)
def test_the_log_is_append_only(db: Database, statement: str) -> None:
    insert = "INSERT INTO event (at, kind, actor) VALUES (%s, 'LeadMoved', 'test')"
    db.run(lambda tx: (tx.execute(insert, (NOW,)), tx.execute(insert, (datetime(2031, 1, 1, tzinfo=UTC),))))
    with pytest.raises(psycopg2.DatabaseError, match="append-only"):
        db.run(lambda tx: tx.execute(statement))


def test_partitions_stand_two_months_ahead_and_the_default_one_catches_the_rest(db: Database) -> None:
    names = {
        r["relname"] for r in db.read("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'")
    }
    assert {"event_2026_01", "event_2026_02", "event_2026_03", "event_default"} <= names
    late = datetime(2031, 7, 1, tzinfo=UTC)
    db.run(
        lambda tx: tx.execute("INSERT INTO event (at, kind, actor) VALUES (%s, 'LeadMoved', 'test')", (late,))
    )
    assert db.read("SELECT tableoid::regclass::text AS t FROM event") == [{"t": "event_default"}]


BAD = {
    "an active lead without a due date": "INSERT INTO lead (person_id, sequence_id, version_id, cursor, entered_at, enrolled_at, waiting_on)"
    " VALUES (1, 1, 1, 'a', now(), now(), 'time')",
    "a due date without a reason": "INSERT INTO lead (person_id, sequence_id, version_id, cursor, entered_at, enrolled_at, due_at)"
    " VALUES (1, 1, 1, 'a', now(), now(), now())",
    "an exit without a reason": "INSERT INTO lead (person_id, sequence_id, version_id, cursor, entered_at, enrolled_at, state, ended_at)"
    " VALUES (1, 1, 1, 'a', now(), now(), 'exited', now())",
    "a call without a fence": "INSERT INTO execution (lead_id, action_id, kind, channel, account_id, app_id, identity_id, state, cause, created_at)"
    " VALUES (1, 1, 'SEND_TWITTER_DM', 'twitter', 1, 1, 1, 'calling', 'start', now())",
    "a send that has no instant": "INSERT INTO execution (lead_id, action_id, kind, channel, account_id, app_id, identity_id, state, cause,"
    " created_at) VALUES (1, 1, 'SEND_TWITTER_DM', 'twitter', 1, 1, 1, 'sent', 'start', now())",
    "a refusal without a reason": "INSERT INTO execution (lead_id, action_id, kind, channel, account_id, app_id, identity_id, state, cause,"
    " created_at) VALUES (1, 1, 'SEND_TWITTER_DM', 'twitter', 1, 1, 1, 'refused', 'start', now())",
    "a send of ours to nobody": "INSERT INTO execution (lead_id, action_id, kind, channel, account_id, app_id, state, cause, created_at)"
    " VALUES (1, 1, 'SEND_TWITTER_DM', 'twitter', 1, 1, 'planned', 'start', now())",
    "a send by hand to nobody that no echo told of": "INSERT INTO execution (kind, channel, account_id, app_id, state, cause, started_at,"
    " effect_by, sent_at, created_at) VALUES ('SEND_TWITTER_DM', 'twitter', 1, 1, 'sent', 'by_hand', now(), now(), now(), now())",
    "a send of ours that is called an echo": "INSERT INTO execution (lead_id, action_id, kind, channel, account_id, app_id, identity_id,"
    " inbound_id, state, cause, created_at) VALUES (1, 1, 'SEND_TWITTER_DM', 'twitter', 1, 1, 1, 1, 'planned', 'start', now())",
    "an effective opt-out that nobody asked for": "INSERT INTO person (suppression_effective_at, created_at) VALUES (now(), now())",
    "a stopped account without a reason": "INSERT INTO account (app_id, name, channel, external_id, base_url, access_token, state, created_at)"
    " VALUES (1, 'a', 'twitter', '1', 'http://127.0.0.1', 'v1:x:t', 'paused', now())",
    "a token in plain text": "INSERT INTO account (app_id, name, channel, external_id, base_url, access_token, created_at)"
    " VALUES (1, 'a', 'twitter', '1', 'http://127.0.0.1', 'a-token', now())",
    "a form's secret in plain text": "INSERT INTO sequence_entry (sequence_id, version_id, position, kind, name, since, secret)"
    " VALUES (1, 1, 0, 'form', 'a', now(), 'a-secret')",
    "a secret in plain text": "INSERT INTO app (name, channel, client_secret, created_at) VALUES ('a', 'twitter', 'a-secret', now())",
    "a live demo": "INSERT INTO instance (name, key, simulated_only, live_confirmed_at, clock_origin, clock_factor, created_at)"
    " VALUES ('a', 'k', true, now(), now(), 1, now())",
}


@pytest.mark.parametrize("statement", BAD.values(), ids=BAD.keys())
def test_a_state_that_must_not_be_is_refused(db: Database, statement: str) -> None:
    with pytest.raises(psycopg2.IntegrityError, match="check constraint"):
        db.run(lambda tx: tx.execute(statement))
