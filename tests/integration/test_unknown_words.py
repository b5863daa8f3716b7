"""Words that only a newer release knows, in rows of every kind: this one leaves them as they are, and works on with the rest."""

import threading
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from dramatiq import Worker

from outreach.broker import ENGINE, QUEUES, SOON, enqueue_many, make_broker, message
from outreach.embedded.servers import Servers
from outreach.errors import NeedsNewerWorker
from outreach.models import reports
from outreach.models.base import Database
from outreach.models.health import unexplained
from outreach.runtime import tick as ticking
from outreach.runtime.advance import advance
from outreach.runtime.digest import digest
from outreach.runtime.explain import explain_lead
from outreach.runtime.lookup import look_up
from outreach.runtime.perform import perform
from outreach.runtime.poll import poll
from outreach.runtime.reconcile import reconcile
from outreach.runtime.refresh import refresh
from outreach.runtime.resolve import resolve
from outreach.runtime.tick import tick
from tests.integration.law_support import (
    DAY,
    FOLLOW,
    HOUR,
    MINUTE,
    WRITE,
    WRITE_AND_LISTEN,
    acts,
    execution,
    friends,
    id_of_handle,
    open_house,
    plan,
    roomy_account,
    sql,
    states,
)
from tests.stage import House

pytestmark = pytest.mark.servers


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    found = open_house(db, tmp_path)
    roomy_account(found)
    for text in (FOLLOW, WRITE, WRITE_AND_LISTEN):
        found.publish(text)
    return found


def reason(house: House, lead_id: int) -> tuple[str, str]:
    row = house.lead(lead_id)
    return row["state"], str(row["waiting_detail"])


def drop_check(house: House, table: str, column: str) -> None:
    """As an additive migration of a newer release would widen it."""
    sql(house, f"ALTER TABLE {table} DROP CONSTRAINT {table}_{column}_check")


# --- what a lead rests on --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "reply_class"), [("TELEPATHY", None), ("REPLIED", "sarcastic")])
def test_a_signal_that_nobody_here_understands_leaves_the_lead_where_it_is(
    house: House, kind: str, reply_class: str | None
) -> None:
    one, other = house.enroll("listen", friends(house, "ann", "bob"))
    sql(
        house,
        "INSERT INTO signal (lead_id, kind, content_id, class, at, received_at) VALUES (%s, %s, 'x', %s, %s, %s)",
        one,
        kind,
        reply_class,
        *[house.clock.now()] * 2,
    )
    house.pass_time(4 * DAY, step=HOUR)
    assert reason(house, one)[0] == "active"
    assert reason(house, one)[1].startswith("needs newer worker: ")
    assert (states(house, one), house.lead(other)["state"]) == (["sent"], "finished")
    sql(house, "DELETE FROM signal WHERE lead_id = %s", one)
    house.pass_time(HOUR, step=MINUTE)
    assert (states(house, one), house.lead(one)["state"]) == (["sent", "sent"], "finished")


@pytest.mark.parametrize(
    ("statement", "undo"),
    [
        ("UPDATE consent SET basis = 'blood_oath'", "UPDATE consent SET basis = 'opt_in'"),
        (
            "INSERT INTO suppression (person_id, channel, reason, source, at)"
            " SELECT id, 'pigeon', 'a test', 'operator', created_at FROM person",
            "DELETE FROM suppression",
        ),
    ],
)
def test_a_permission_that_nobody_here_understands_neither_sends_nor_blocks(
    house: House, statement: str, undo: str
) -> None:
    drop_check(house, "consent", "basis")
    ids = plan(house, "write", friends(house, "ann"))
    sql(house, statement)
    perform(house.ctx, ids[0])
    lead = execution(house, ids[0])["lead_id"]
    assert (acts(house), states(house)) == ([], ["planned"])
    assert reason(house, lead)[1].startswith("needs newer worker: ")
    assert explain_lead(house.ctx, lead).verdicts == ()
    sql(house, undo)
    house.pass_time(HOUR, step=MINUTE)
    assert (acts(house), house.lead(lead)["state"]) == ([("dm", "ann")], "finished")


def test_an_execution_in_a_state_of_a_newer_release_leaves_its_lead_alone(house: House) -> None:
    drop_check(house, "execution", "state")
    ids = plan(house, "follow", friends(house, "ann"))
    lead = execution(house, ids[0])["lead_id"]
    sql(house, "UPDATE execution SET state = 'rehearsed'")
    perform(house.ctx, ids[0])
    with pytest.raises(NeedsNewerWorker):
        reconcile(house.ctx, ids[0])
    house.pass_time(HOUR)
    assert (acts(house), states(house)) == ([], ["rehearsed"])
    assert reason(house, lead) == (
        "active",
        "needs newer worker: ExecutionState 'rehearsed' is not known here",
    )


def test_a_doubtful_call_of_a_newer_release_is_not_asked_about(house: House) -> None:
    (execution_id,) = plan(house, "follow", friends(house, "ann"))
    long_ago = house.clock.now() - DAY
    sql(
        house,
        "UPDATE execution SET kind = 'SEND_BY_PIGEON', state = 'in_doubt', fence = 1, started_at = %s, call_deadline = %s, effect_by = %s",
        *[long_ago] * 3,
    )
    before = execution(house, execution_id)
    assert reconcile(house.ctx, execution_id) == []
    assert execution(house, execution_id) == before


def test_a_binding_to_a_channel_of_a_newer_release_changes_nothing(house: House) -> None:
    (execution_id,) = plan(house, "follow", friends(house, "ann"))
    lead = execution(house, execution_id)["lead_id"]
    sql(
        house,
        "INSERT INTO lead_binding (lead_id, channel, account_id, identity_id)"
        " SELECT lead_id, 'telepathy', account_id, identity_id FROM lead_binding",
    )
    house.pass_time(2 * MINUTE)
    assert (acts(house), house.lead(lead)["state"]) == ([("follow", "ann")], "finished")


def test_a_lead_in_a_state_of_a_newer_release_is_neither_swept_nor_written(house: House) -> None:
    sql(
        house,
        "ALTER TABLE lead DROP CONSTRAINT lead_state_check, DROP CONSTRAINT lead_check, DROP CONSTRAINT lead_check1, DROP CONSTRAINT lead_check2",
    )
    ids = plan(house, "follow", friends(house, "ann", "bob"))
    leads = [execution(house, i)["lead_id"] for i in ids]
    sql(house, "UPDATE lead SET state = 'parked' WHERE id = %s", leads[0])
    sql(
        house, "UPDATE lead SET state = 'parked', account_id = NULL, next_kind = NULL WHERE id = %s", leads[1]
    )
    before = [house.lead(i) for i in leads]
    assert [h for h in tick(house.ctx) if h.actor == "advance_lead"] == []
    for lead, execution_id in zip(leads, ids, strict=True):
        advance(house.ctx, lead)
        perform(house.ctx, execution_id)
    assert ([house.lead(i) for i in leads], states(house)) == (before, ["planned", "planned"])


# --- sweeps ----------------------------------------------------------------------------------------------------------


def test_leads_that_nobody_here_can_read_keep_no_place_from_the_others(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticking, "_MOST_OTHERS", 1)
    leads = house.enroll("listen", friends(house, "ann", "bob", "cid"))
    now = house.clock.now()
    sql(
        house,
        "UPDATE lead SET account_id = NULL, next_kind = NULL, waiting_on = 'pause', waiting_detail = 'needs newer worker: x',"
        " due_at = %s WHERE id <> %s",
        now - DAY,
        leads[2],
    )
    sql(
        house,
        "UPDATE lead SET account_id = NULL, next_kind = NULL, due_at = %s WHERE id = %s",
        now,
        leads[2],
    )
    assert house.db.run(lambda tx: unexplained(tx, now, HOUR)) == []
    assert house.db.run(reports.left_to_newer) == 2
    assert sorted(h.id for h in tick(house.ctx) if h.actor == "advance_lead") == leads


def _arrives(house: House, content: str, **changes: Any) -> int:
    values = {"channel": "twitter", "kind": "message_in"} | changes
    row = house.db.run(
        lambda tx: tx.one(
            "INSERT INTO inbound (channel, account_key, content_id, kind, peer_kind, peer, account_id, text, raw, via, occurred_at, received_at)"
            " SELECT %s, external_id, %s, %s, 'twitter_id', %s, id, 'hello', '{}', 'webhook', %s, %s FROM account RETURNING id",
            (values["channel"], content, values["kind"], id_of_handle("ann"), *[house.clock.now()] * 2),
        )
    )
    return int(row["id"])


def test_what_came_in_for_a_newer_release_waits_for_it_and_holds_nothing_up(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticking, "_MOST_INBOUND", 1)
    friends(house, "ann")
    strange = [_arrives(house, "1", kind="voice_note"), _arrives(house, "2", channel="telepathy")]
    plain = _arrives(house, "3")
    for inbound_id in strange:
        assert digest(house.ctx, inbound_id) == []
    house.tick()
    found = {row["id"]: row["state"] for row in house.db.read("SELECT id, state FROM inbound")}
    assert found == {strange[0]: "stored", strange[1]: "stored", plain: "digested"}


def test_accounts_of_a_channel_of_a_newer_release_are_left_alone(house: House) -> None:
    other = roomy_account(house, "them", channel="telepathy")
    sql(house, "UPDATE account SET state = 'needs_reauth', state_reason = 'a token' WHERE id = %s", other)
    before = house.db.read("SELECT * FROM account WHERE id = %s", (other,))
    for work in (poll, look_up, resolve, refresh):
        assert work(house.ctx, other) == []
    house.tick()
    assert house.db.read("SELECT * FROM account WHERE id = %s", (other,)) == before
    assert house.db.read("SELECT * FROM watermark WHERE account_id = %s", (other,)) == []


# --- messages --------------------------------------------------------------------------------------------------------


def test_a_hint_for_an_actor_of_a_newer_release_is_dropped_and_the_others_are_carried_out(
    servers: Servers, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outreach.broker._MOST_HANDED_ON", 0)
    broker = make_broker(servers.redis_url, "unknown-actor")
    seen, done = [], threading.Event()

    @dramatiq.actor(actor_name="advance_lead", queue_name=ENGINE, broker=broker)
    def look(row_id: int) -> None:
        seen.append(row_id)
        if len(seen) == 2:
            done.set()

    names = [
        ("send_by_pigeon", 1, 0.0),
        ("advance_lead", 2, 0.0),
        ("send_by_pigeon", 3, 0.05),
        ("advance_lead", 4, 0.05),
    ]
    caplog.set_level("INFO", "outreach")
    worker = Worker(broker, queues=set(QUEUES), worker_timeout=100, worker_threads=1)
    worker.start()
    try:
        enqueue_many(broker, [message(ENGINE, name, row_id, after) for name, row_id, after in names])
        assert done.wait(60)
        broker.join(ENGINE, timeout=60_000)
        broker.join(SOON, timeout=60_000)
    finally:
        worker.stop()
    dropped = [r for r in caplog.records if getattr(r, "action", "") == "hint_dropped"]
    assert (seen, [vars(r)["actor"] for r in dropped]) == ([2, 4], ["send_by_pigeon"] * 2)
    assert [key for key in broker.client.keys("outreach:unknown-actor:*") if b".XQ" in key] == []
    assert [r.message for r in caplog.records if r.levelname == "ERROR"] == []
    broker.close()
