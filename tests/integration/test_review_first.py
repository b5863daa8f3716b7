"""`review_first`: until so many messages of a version are approved, only approved ones go out."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from outreach.errors import ConflictError, UsageError
from outreach.models import reviews, tasks
from outreach.models.base import Database, Row
from outreach.runtime.context import Shared
from outreach.runtime.human import done, skip
from outreach.runtime.perform import perform
from outreach.runtime.reviewing import show
from tests.integration.law_support import (
    HOUR,
    MINUTE,
    GrantsEverything,
    acts,
    friends,
    linger,
    open_house,
    plan,
    race,
    roomy_account,
    sql,
    states,
)
from tests.stage import House

pytestmark = pytest.mark.servers
NAMES = ("ann", "bob", "cid", "dan", "eve", "fay")
REVIEWED = """
sequence: read-first
review_first: 2
actions:
  hello: {do: SEND_TWITTER_DM, message: "Hello {{ first_name }}. {{ opt_out }}", next: {to: again, after: 1h}}
  again: {do: SEND_TWITTER_DM, message: "Once more, {{ first_name }}. {{ opt_out }}"}
variables: {first_name: there}
"""


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    house = open_house(db, tmp_path, NAMES, limiter=GrantsEverything(), our_accounts=("we", "us", "they"))
    roomy_account(house)
    sql(house, """UPDATE instance SET policy = '{"touch": {"gap_hours": 0, "limit": 99, "days": 30}}'""")
    house.publish(REVIEWED)
    return house


def open_reviews(house: House) -> list[Row]:
    rows = house.db.run(lambda tx: tasks.listed(tx, states=("open",), limit=50))
    assert {row["kind"] for row in rows} <= {"review"}
    return rows


def approve(house: House, task_id: int) -> None:
    assert show(house.ctx, task_id, "reader") is not None
    house.hints.extend(done(house.ctx, task_id, "reader"))
    house.run()


def told(house: House) -> list[str]:
    return [who for _, who in acts(house)]


def test_the_first_wait_for_an_ok_and_then_it_runs_by_itself(house: House) -> None:
    house.enroll("read-first", friends(house, *NAMES))
    first, second = open_reviews(house)
    assert told(house) == []
    shown = show(house.ctx, first["id"], "reader")
    assert (
        shown is not None and shown.text.startswith("Hello Ann.") and (shown.approved, shown.wanted) == (0, 2)
    )
    approve(house, first["id"])
    assert told(house) == ["ann"], "the one that was approved, and no other"
    assert [row["id"] for row in open_reviews(house)] == [second["id"]], (
        "no more are shown than OKs are missing"
    )
    approve(house, second["id"])
    house.tick()
    assert sorted(told(house)) == sorted(NAMES)
    house.pass_time(2 * HOUR, step=30 * MINUTE)
    assert len(told(house)) == 2 * len(NAMES) and open_reviews(house) == []


def test_one_that_is_not_to_be_sent_makes_room_for_another(house: House) -> None:
    house.enroll("read-first", friends(house, *NAMES))
    first, second = open_reviews(house)
    house.hints.extend(skip(house.ctx, first["id"], "reader"))
    house.tick()
    assert open_reviews(house)[0]["id"] == second["id"] and len(open_reviews(house)) == 2
    assert house.lead(first["lead_id"])["exit_reason"] == "not to be sent, says reader"
    assert states(house, first["lead_id"]) == ["skipped"] and told(house) == []


def test_an_ok_is_for_the_text_that_was_shown(house: House) -> None:
    house.enroll("read-first", friends(house, "ann"))
    (task,) = open_reviews(house)
    with pytest.raises(UsageError, match="nobody has looked"):
        done(house.ctx, task["id"], "reader")
    show(house.ctx, task["id"], "reader")
    sql(house, 'UPDATE lead SET data = \'{"first_name": "Zoe"}\'')
    with pytest.raises(ConflictError, match="changed"):
        done(house.ctx, task["id"], "reader")
    show(house.ctx, task["id"], "reader")
    sql(house, "UPDATE instance SET paused_at = now(), pause_reason = 'a test'")
    house.hints.extend(done(house.ctx, task["id"], "reader"))
    house.run()
    sql(house, 'UPDATE lead SET data = \'{"first_name": "Ann"}\'')
    sql(house, "UPDATE instance SET paused_at = NULL, pause_reason = NULL")
    house.pass_time(2 * HOUR, step=30 * MINUTE)
    assert told(house) == [], "approved was another text"
    assert len(open_reviews(house)) == 1


def test_what_is_over_closes_the_review(house: House) -> None:
    (lead,) = house.enroll("read-first", friends(house, "ann"))
    (task,) = open_reviews(house)
    house.says("ann", "STOP", kind="unsubscribe")
    house.run()
    assert house.lead(lead)["state"] == "exited" and open_reviews(house) == []
    with pytest.raises(ConflictError):
        done(house.ctx, task["id"], "reader")
    with pytest.raises(ConflictError):
        show(house.ctx, task["id"], "reader")


def test_racing_workers_send_nothing_that_was_not_approved(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By accounts of an app without a cap: others go one after the other anyhow."""
    linger(monkeypatch, reviews, "in_hand")
    others = [roomy_account(house, name) for name in ("us", "they")]
    sql(house, """UPDATE app SET caps = '{"SEND_TWITTER_DM": "none"}'""")
    planned = plan(house, "read-first", friends(house, *NAMES), account_names=["we"])
    for table, column in (("execution", "id"), ("lead_binding", "lead_id")):
        for i, other in enumerate(others):
            sql(house, f"UPDATE {table} SET account_id = %s WHERE {column} %% 3 = %s", other, i)
    at_once = [partial(perform, replace(house.ctx, together=Shared()), one) for one in planned]
    race(*at_once)
    assert told(house) == []
    assert 1 <= len(open_reviews(house)) <= 2, "no more than OKs are missing"
    house.pass_time(2 * MINUTE)
    first, second = open_reviews(house)
    approve(house, first["id"])
    sql(house, "UPDATE lead SET due_at = %s, waiting_on = 'time'", house.clock.now())
    race(*at_once)
    assert told(house) == [_who(house, first)]
    show(house.ctx, second["id"], "reader")
    race(lambda: done(house.ctx, second["id"], "reader"), *at_once)
    house.pass_time(2 * MINUTE)
    assert sorted(told(house)) == sorted(NAMES)


def test_what_is_over_makes_room_and_what_waits_to_be_read_costs_none(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody_pays(*_: Any) -> Any:
        raise AssertionError("room was taken for what nobody has read")

    monkeypatch.setattr(GrantsEverything, "acquire_all", nobody_pays)
    house.enroll("read-first", friends(house, *NAMES))
    before = open_reviews(house)
    house.says("ann", "STOP", kind="unsubscribe")
    house.run()
    house.tick()
    after = open_reviews(house)
    assert len(before) == len(after) == 2 and before[0]["id"] not in [row["id"] for row in after]


def _who(house: House, task: Row) -> str:
    return str(
        house.db.read("SELECT lower(name) AS n FROM person WHERE id = %s", (task["person_id"],))[0]["n"]
    )


def test_a_new_version_is_read_anew_and_another_sequence_is_not_read_at_all(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = friends(house, "ann", "bob", "cid")
    house.enroll("read-first", people[:2])
    for task in open_reviews(house):
        approve(house, task["id"])
    assert told(house) == ["ann", "bob"]
    house.publish(REVIEWED.replace("Hello", "Good day"))
    house.enroll("read-first", people[2:])
    assert len(open_reviews(house)) == 1 and told(house) == ["ann", "bob"]

    def nobody_reads(*_: Any) -> Any:
        raise AssertionError("a version that asks for no OK was read for one")

    house.publish(REVIEWED.replace("read-first", "plain").replace("review_first: 2\n", ""))
    monkeypatch.setattr(reviews, "pending", nobody_reads)
    house.enroll("plain", people[:1])
    assert told(house) == ["ann", "bob", "ann"]
