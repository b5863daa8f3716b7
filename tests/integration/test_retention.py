"""Retention: exactly what is due goes, at its instant; nothing that somebody still needs; whatever dies in the middle is gone on with."""

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from outreach.engine.kinds import ActionKind
from outreach.errors import UsageError
from outreach.models import deletions
from outreach.models import retention as rows
from outreach.models.base import Database, Tx
from outreach.providers.base import InboundItem, InboundKind
from outreach.runtime import retaining
from outreach.runtime.accept import accept
from outreach.runtime.digest import digest
from outreach.runtime.oneoff import send_one
from outreach.runtime.retaining import batch, retain, run_now
from outreach.runtime.retention import plan, set_limit
from outreach.runtime.tick import tick
from tests.integration.law_support import WRITE, friends, open_house, roomy_account, sql
from tests.integration.retention_support import bodies, logged, received, words
from tests.stage import House

pytestmark = pytest.mark.servers
SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    found = open_house(db, tmp_path)
    roomy_account(found)
    found.publish(WRITE)
    return found


def sent(house: House, *handles: str) -> list[int]:
    """Messages that were sent just now: executions."""
    house.enroll("write", friends(house, *handles))
    house.pass_time(timedelta(minutes=2))
    return [row["id"] for row in house.executions() if row["state"] == "sent"]


def due(house: House, kind: str) -> tuple[int, int]:
    """How many would go by the plan, and how many are still needed."""
    (one,) = [one for one in plan(house.ctx).kinds if one.kind == kind]
    return one.rows, one.needed


# --- by age --------------------------------------------------------------------------------------------------------------


def test_words_that_came_in_go_after_180_days_to_the_instant_and_the_row_stays(house: House) -> None:
    now = house.clock.now()
    received(house, "dm:1", now)
    received(house, "dm:2", now + SECOND)
    house.clock.advance(180 * DAY - SECOND)
    assert due(house, "messages") == (0, 0)
    assert run_now(house.ctx, by="eva")["counts"] == {}
    house.clock.advance(SECOND)
    assert due(house, "messages") == (1, 0)
    assert run_now(house.ctx, by="eva")["counts"] == {"messages": 1}
    assert words(house) == {"dm:1": None, "dm:2": "words of dm:2"}
    left = house.db.read("SELECT state, class, peer, gone FROM inbound WHERE content_id = 'dm:1'")[0]
    assert (left["state"], left["class"], left["gone"], bool(left["peer"])) == (
        "digested",
        "neutral",
        "age",
        True,
    )
    assert [e["payload"].get("messages") for e in logged(house, "RetentionRan")] == [None, 1]
    assert run_now(house.ctx, by="eva")["counts"] == {}


def test_words_that_were_sent_go_after_365_days_and_the_ledger_keeps_their_digest(house: House) -> None:
    first = sent(house, "ann")
    house.clock.advance(HOUR)
    second = [one for one in sent(house, "bob") if one not in first]
    written = house.db.read("SELECT written_at AS at FROM message_body ORDER BY written_at LIMIT 1")[0]["at"]
    house.clock.instant = written + 365 * DAY - SECOND
    assert (due(house, "bodies"), run_now(house.ctx, by="eva")["counts"].get("bodies")) == ((0, 0), None)
    house.clock.advance(SECOND)
    assert (due(house, "bodies"), run_now(house.ctx, by="eva")["counts"]) == ((1, 0), {"bodies": 1})
    assert bodies(house) == second
    assert all(row["body_hash"] and row["state"] == "sent" for row in house.executions())


def test_the_words_of_an_open_call_and_of_a_task_in_hand_stay(house: House) -> None:
    one, two = sent(house, "ann", "bob")
    sql(house, "UPDATE execution SET state = 'held', reason = 'x', fence = 1, call_deadline = started_at, effect_by = started_at WHERE id = %s", one)  # fmt: skip
    house.clock.advance(400 * DAY)
    assert due(house, "bodies") == (1, 1)
    run_now(house.ctx, by="eva")
    assert bodies(house) == [one]
    sql(house, "UPDATE execution SET state = 'sent' WHERE id = %s", one)
    run_now(house.ctx, by="eva")
    assert (bodies(house), two > one) == ([], True)


def test_a_one_off_keeps_its_words_nowhere(house: House) -> None:
    """The words stand in its lead, too, even where nothing was ever sent."""
    (ann,) = friends(house, "ann")
    made = send_one(
        house.ctx, key="k", person_id=ann, kind=ActionKind.SEND_TWITTER_DM, text="Only for Ann", by="eva"
    )
    house.hints.extend(made.hints)
    house.pass_time(timedelta(minutes=2))
    assert house.lead(made.lead_id)["data"] == {"text": "Only for Ann"}
    house.clock.advance(365 * DAY)
    run_now(house.ctx, by="eva")
    assert (house.lead(made.lead_id)["data"], bodies(house)) == ({}, [])


def test_what_nobody_has_understood_and_what_a_human_must_read_stays_until_then(house: House) -> None:
    """And goes with the run after, though the walk has long passed it."""
    now = house.clock.now()
    unread = received(house, "dm:1", now, state="stored", **{"class": None})
    (ann,) = friends(house, "ann")
    asked = received(house, "dm:2", now, person=ann)
    received(house, "dm:3", now)
    sql(house, "INSERT INTO task (kind, person_id, inbound_id, state, reason, created_at) VALUES ('decide', %s, %s, 'open', 'x', %s)", ann, asked, now)  # fmt: skip
    house.clock.advance(200 * DAY)
    assert due(house, "messages") == (1, 2)
    run_now(house.ctx, by="eva")
    assert words(house) == {"dm:1": "words of dm:1", "dm:2": "words of dm:2", "dm:3": None}
    digest(house.ctx, unread)
    sql(house, "UPDATE task SET state = 'done', closed_at = created_at")
    received(house, "dm:4", house.clock.now())
    assert due(house, "messages") == (2, 0)
    run_now(house.ctx, by="eva")
    assert words(house) == {"dm:1": None, "dm:2": None, "dm:3": None, "dm:4": "words of dm:4"}
    assert house.db.read("SELECT 1 FROM retention_left") == []


def test_an_old_stranger_who_is_recognised_is_read_as_they_were_read_then(house: House) -> None:
    """Its words are gone; that it said stop is not."""
    now = house.clock.now()
    at = received(house, "dm:1", now, state="unmatched", **{"class": "unsubscribe"})
    house.clock.advance(180 * DAY)
    run_now(house.ctx, by="eva")
    (ann,) = friends(house, "ann")
    sql(house, "UPDATE inbound SET state = 'stored' WHERE id = %s", at)
    digest(house.ctx, at)
    person = house.db.read("SELECT suppressed_at FROM person WHERE id = %s", (ann,))[0]
    assert person["suppressed_at"] is not None


def test_a_replay_after_its_words_have_gone_changes_nothing(house: House) -> None:
    """X signs no time: the same push may come in years, and the id is what it is known by."""
    friends(house, "ann")
    house.says("ann", "a secret")
    house.run()
    row = house.db.read(
        "SELECT content_id, account_key, peer, occurred_at FROM inbound WHERE kind = 'message_in'"
    )[0]
    again = InboundItem(
        kind=InboundKind.MESSAGE_IN, content_id=row["content_id"], account_external_id=row["account_key"], peer=row["peer"],
        occurred_at=row["occurred_at"], text="a secret", raw={"text": "a secret"}, peer_handle="ann",
    )  # fmt: skip
    house.clock.advance(180 * DAY)
    run_now(house.ctx, by="eva")
    before = house.db.read("SELECT * FROM inbound")
    assert accept(house.ctx, "twitter", [again]) == []
    assert house.db.read("SELECT * FROM inbound") == before
    assert "a secret" not in str(before)


def test_notices_go_and_profiles_only_where_somebody_wants_it(house: House) -> None:
    now = house.clock.now()
    ann, bob, cid = friends(house, "ann", "bob", "cid")
    house.enroll("write", [ann])
    house.pass_time(timedelta(minutes=2))
    received(house, "dm:1", now, person=bob)
    for key, settled in (("old", now), ("new", now + DAY)):
        sql(house, "INSERT INTO notice (kind, key, payload, state, created_at, settled_at) VALUES ('alert', %s, '{}', 'delivered', %s, %s)", key, now, settled)  # fmt: skip
    house.clock.instant = now + 400 * DAY
    assert due(house, "profiles") == (0, 0)
    run_now(house.ctx, by="eva")
    assert len(house.db.read("SELECT 1 FROM profile")) == 3
    assert house.db.read("SELECT 1 FROM notice") == []
    set_limit(house.ctx, "profiles", 365, reason="privacy notice of May", by="eva")
    assert due(house, "profiles") == (1, 0)
    assert run_now(house.ctx, by="eva")["counts"] == {"profiles": 1}
    assert {row["person_id"] for row in house.db.read("SELECT person_id FROM profile")} == {ann, bob}
    assert len(house.db.read("SELECT 1 FROM consent")) >= 3 and cid


# --- limits -----------------------------------------------------------------------------------------------------------------


def test_a_limit_has_bounds_and_a_reason_and_what_it_was_is_in_the_log(house: House) -> None:
    for kind, amount in (("messages", 6), ("messages", 3651), ("bodies", 29), ("events", 1)):
        with pytest.raises(UsageError, match=f"{kind} are kept for"):
            set_limit(house.ctx, kind, amount, reason="x", by="eva")
    assert set_limit(house.ctx, "messages", 30, reason="our notice says so", by="eva")["was"] == "180 days"
    assert logged(house, "RetentionSet") == [
        {"actor": "eva", "payload": {"kind": "messages", "was": "180 days", "now": "30 days", "reason": "our notice says so"}}
    ]  # fmt: skip
    received(house, "dm:1", house.clock.now())
    house.clock.advance(30 * DAY)
    assert run_now(house.ctx, by="eva")["counts"] == {"messages": 1}
    # The rest of the policy, which T1 reads, is as it was.
    assert house.db.read("SELECT policy -> 'touch' AS t FROM instance")[0]["t"]["gap_hours"] == 48


def test_a_limit_that_is_raised_holds_for_a_run_that_has_begun(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retaining, "BATCH", 1)
    for n in range(4):
        received(house, f"dm:{n}", house.clock.now())
    house.clock.advance(200 * DAY)
    house.db.run(lambda tx: retaining._begin(tx, "eva", house.clock.now()))
    batch(house.ctx)
    batch(house.ctx)
    set_limit(house.ctx, "messages", 400, reason="x", by="eva")
    run_now(house.ctx, by="eva")
    assert list(words(house).values()).count(None) == 1


# --- in the middle of a run ----------------------------------------------------------------------------------------------------


def test_a_run_that_dies_in_the_middle_is_gone_on_with_and_told_of_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retaining, "BATCH", 2)
    now = house.clock.now()
    for n in range(7):
        received(house, f"dm:{n}", now)
    sent(house, "ann", "bob", "cid")
    house.clock.advance(400 * DAY)
    real, calls = rows.note, 0

    def dies(tx: Tx, *args: Any, **values: Any) -> None:
        nonlocal calls
        calls += 1
        real(tx, *args, **values)
        if calls in (2, 4, 6):
            raise KeyboardInterrupt

    monkeypatch.setattr(rows, "note", dies)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            run_now(house.ctx, by="eva")
    assert logged(house, "RetentionRan") == []
    done = run_now(house.ctx, by="bob")
    assert done["counts"] == {"messages": 10, "bodies": 3}  # three are echoes of ours
    assert [(e["actor"], e["payload"]["messages"], e["payload"]["bodies"]) for e in logged(house, "RetentionRan")] == [("eva", 10, 3)]  # fmt: skip
    assert (set(words(house).values()), bodies(house)) == ({None}, [])


def test_two_runs_at_once_are_one(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retaining, "BATCH", 3)
    for n in range(20):
        received(house, f"dm:{n}", house.clock.now())
    house.clock.advance(200 * DAY)
    threads = [threading.Thread(target=lambda: run_now(house.ctx, by="eva")) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(words(house).values()) == {None}
    assert sum(e["payload"].get("messages", 0) for e in logged(house, "RetentionRan")) == 20


def test_a_run_beside_a_worker_that_is_reading_takes_nothing_unread(house: House) -> None:
    """The worker holds the row and has not committed; the run waits, looks again, and leaves it or takes it as it then is."""
    now = house.clock.now()
    unread = received(house, "dm:1", now, state="unmatched")
    house.clock.advance(200 * DAY)
    claimed, go = threading.Event(), threading.Event()

    def worker() -> None:
        def work(tx: Tx) -> None:
            tx.execute("UPDATE inbound SET state = 'stored' WHERE id = %s", (unread,))
            claimed.set()
            assert go.wait(10)

        house.db.run(work)

    claiming = threading.Thread(target=worker)
    claiming.start()
    assert claimed.wait(10)
    running = threading.Thread(target=lambda: run_now(house.ctx, by="eva"))
    running.start()
    while not house.db.read(
        "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    ):
        pass
    go.set()
    claiming.join()
    running.join()
    assert words(house) == {"dm:1": "words of dm:1"}
    assert house.db.read("SELECT inbound_id FROM retention_left") == [{"inbound_id": unread}]


# --- by itself -----------------------------------------------------------------------------------------------------------------


def test_the_sweep_runs_it_once_a_night_and_catches_up_where_nights_were_missed(house: House) -> None:
    received(house, "dm:1", house.clock.now())
    house.clock.advance(180 * DAY - 10 * HOUR)  # two in the morning, ten hours too early for the words
    for _ in range(4):
        house.tick()
    assert len(logged(house, "RetentionRan")) == 1
    house.clock.advance(10 * HOUR)
    house.tick()
    assert words(house) == {"dm:1": "words of dm:1"}  # by day nothing begins
    house.clock.advance(14 * HOUR)
    house.tick()
    assert words(house) == {"dm:1": None}
    assert [e["actor"] for e in logged(house, "RetentionRan")] == ["engine"] * 2


def test_the_tick_looks_every_quarter_of_an_hour_and_no_oftener(house: House) -> None:
    def hinted() -> bool:
        return any(hint.actor == "retain_content" for hint in tick(house.ctx))

    assert hinted() and hinted()  # lost, and given again
    retain(house.ctx)
    assert not hinted()
    house.clock.advance(timedelta(minutes=15))
    assert hinted()


def test_a_long_run_is_done_in_parts(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker is held for long: the rest is another message."""
    monkeypatch.setattr(retaining, "BATCH", 1)
    monkeypatch.setattr(retaining, "_PASS", -1.0)
    for n in range(3):
        received(house, f"dm:{n}", house.clock.now())
    house.clock.advance(200 * DAY)
    passes = 1
    while any(hint.actor == "retain_content" for hint in retain(house.ctx)):
        passes += 1
    assert (passes > 3, set(words(house).values())) == (True, {None})


# --- plans -----------------------------------------------------------------------------------------------------------------------


def test_no_statement_reads_a_table_from_end_to_end(house: House) -> None:
    """Many old rows that are gone already, and many young ones: what is read is what is due, or one window."""
    now = house.clock.now()
    sql(house, "INSERT INTO inbound (channel, account_key, content_id, kind, raw, via, occurred_at, received_at, state)"
        " SELECT 'twitter', 'x', 'dm:' || n, 'message_in', '{\"a\": 1}', 'poll', %s, %s::timestamptz + n * interval '1 minute', 'digested'"
        " FROM generate_series(1, 20000) n", now, now)  # fmt: skip
    friends(house, "ann")
    sql(house, "INSERT INTO profile (person_id, import_id, source, source_key, created_at, updated_at)"
        " SELECT p.id, i.id, 'x', 's' || n, %s, %s FROM generate_series(1, 12000) n, (SELECT min(id) AS id FROM person) p,"
        " (SELECT max(id) AS id FROM import) i", now, now)  # fmt: skip
    house.clock.advance(180 * DAY + timedelta(minutes=5))
    for table in ("inbound", "profile"):
        sql(house, f"ANALYZE {table}")
    cutoff = house.clock.now() - 180 * DAY
    looked = {
        rows._WALK: ({"cutoff": cutoff, "limit": 1000}, 1000),
        rows._LEFT: ({"cutoff": cutoff, "after": 0, "limit": 1000}, 1000),
        rows._PROFILES: ({"cutoff": cutoff, "after": 0}, 5000),
        rows._BODIES: ({"cutoff": cutoff, "since": cutoff, "after": 0, "limit": 1000}, 1000),
        deletions._MESSAGES: ({"channel": "twitter", "key": "x", "after": 0, "until": now}, 5000),
        deletions._BODIES: ({"account": 1, "after": 0, "until": now, "all": False}, 5000),
    }
    for statement, (values, most) in looked.items():
        (row,) = house.db.read(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", values)
        assert max(_actual_rows(row["QUERY PLAN"][0]["Plan"])) <= most, statement
    assert len(house.db.read("SELECT 1 FROM inbound WHERE gone = 'age'")) == 5


def _actual_rows(node: dict[str, Any]) -> list[int]:
    return [int(node["Actual Rows"]), *(n for inner in node.get("Plans", []) for n in _actual_rows(inner))]
