"""T1 under races: one claim per send, caps and pace from the ledger whatever the limiter says, one open execution per lead."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import psycopg2.errors
import pytest

from outreach.engine.kinds import ActionKind
from outreach.errors import ConflictError
from outreach.limits.limiter import MemoryLimiter
from outreach.models import claims, enrolling
from outreach.models.base import Database
from outreach.runtime.hints import Hint
from outreach.runtime.oneoff import send_one
from outreach.runtime.perform import perform
from tests.integration.law_support import (
    FOLLOW,
    HOUR,
    MINUTE,
    NO_CAPS,
    WRITE,
    GrantsEverything,
    acts,
    execution,
    friends,
    linger,
    open_house,
    performing,
    plan,
    race,
    rolling_most,
    roomy_account,
    sql,
    states,
)
from tests.stage import House

pytestmark = pytest.mark.servers
MANY = tuple(f"p{n}" for n in range(20))


def test_of_eight_racing_threads_one_claims_the_send(db: Database, tmp_path: Path, slow_claims: None) -> None:
    house = open_house(db, tmp_path)
    roomy_account(house)
    house.publish(FOLLOW)
    for execution_id in plan(house, "follow", friends(house, "ann", "bob", "cid")):
        race(*[performing(house, execution_id)] * 8)
    assert acts(house) == [("follow", "ann"), ("follow", "bob"), ("follow", "cid")]
    assert {row["attempts"] for row in house.executions()} == {1}


def test_a_send_is_made_once_however_often_and_late_it_is_hinted(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path)
    roomy_account(house)
    house.publish(WRITE)
    (execution_id,) = plan(house, "write", friends(house, "ann"))
    for _ in range(3):
        perform(house.ctx, execution_id)
    perform(house.ctx, 987_654)
    assert acts(house) == [("dm", "ann")]


@pytest.fixture
def slow_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    """T1 rests between what it has read and what it writes."""
    linger(monkeypatch, claims, "facts")


# --- caps ----------------------------------------------------------------------------------------------------


def crowd(db: Database, folder: Path, accounts: Sequence[str] = ("we",)) -> House:
    return open_house(db, folder, MANY, limiter=GrantsEverything(), our_accounts=accounts)


def test_an_account_cap_holds_in_the_ledger_alone(db: Database, tmp_path: Path, slow_claims: None) -> None:
    house = crowd(db, tmp_path)
    roomy_account(house, caps=NO_CAPS | {"FOLLOW_ON_TWITTER": "7/hour"})
    house.publish(FOLLOW)
    race(*[performing(house, i) for i in plan(house, "follow", friends(house, *MANY))])
    assert len(acts(house)) == 7


def test_an_app_cap_holds_over_all_its_accounts(db: Database, tmp_path: Path, slow_claims: None) -> None:
    ours = ("we", "us", "our", "ourselves")
    house = crowd(db, tmp_path, ours)
    for name in ours:
        roomy_account(house, name)
    sql(house, """UPDATE app SET caps = '{"SEND_TWITTER_DM": "7/hour"}'""")
    house.publish(WRITE)
    planned = spread(house, ours)
    race(*[performing(house, i) for i in planned])
    assert len(acts(house)) == 7


def test_the_app_cap_that_nobody_wrote_down_holds_too(
    db: Database, tmp_path: Path, slow_claims: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from outreach.limits import caps as module

    lowered = {"SEND_TWITTER_DM": module.Default(caps=module.parse_caps("7/hour"), source="a test")}
    monkeypatch.setattr("outreach.runtime.scopes.DEFAULT_APP_CAPS", lowered)
    ours = ("we", "us", "our", "ourselves")
    house = crowd(db, tmp_path, ours)
    for name in ours:
        roomy_account(house, name)
    house.publish(WRITE)
    race(*[performing(house, i) for i in spread(house, ours)])
    assert len(acts(house)) == 7


def test_a_sequence_cap_holds_over_all_accounts(db: Database, tmp_path: Path, slow_claims: None) -> None:
    ours = ("we", "us", "our", "ourselves")
    house = crowd(db, tmp_path, ours)
    for name in ours:
        roomy_account(house, name)
    house.publish(FOLLOW.replace("actions:", 'caps: {FOLLOW_ON_TWITTER: "7/hour"}\nactions:'))
    race(*[performing(house, i) for i in spread(house, ours, "follow")])
    assert len(acts(house)) == 7


def test_an_instance_cap_holds_over_everything(db: Database, tmp_path: Path, slow_claims: None) -> None:
    ours = ("we", "us", "our", "ourselves")
    house = crowd(db, tmp_path, ours)
    for name in ours:
        roomy_account(house, name)
    sql(house, """UPDATE instance SET caps = '{"FOLLOW_ON_TWITTER": "7/hour"}'""")
    house.publish(FOLLOW)
    race(*[performing(house, i) for i in spread(house, ours, "follow")])
    assert len(acts(house)) == 7


def spread(house: House, accounts: Sequence[str], sequence: str = "write") -> list[int]:
    """Planned sends of everybody, a share by each account."""
    persons = friends(house, *MANY)
    size = len(persons) // len(accounts)
    groups = [(name, persons[n * size : (n + 1) * size]) for n, name in enumerate(accounts)]
    return [i for name, group in groups for i in plan(house, sequence, group, account_names=[name])]


def test_a_limiter_that_loses_its_memory_in_the_middle_never_passes_a_cap(
    db: Database, tmp_path: Path
) -> None:
    house = open_house(db, tmp_path, MANY)
    roomy_account(house, caps=NO_CAPS | {"FOLLOW_ON_TWITTER": "5/hour"})
    house.publish(FOLLOW)
    house.enroll("follow", friends(house, *MANY))
    assert len(acts(house)) == 5
    limiter = house.ctx.limiter
    assert isinstance(limiter, MemoryLimiter)
    for _ in range(16):
        limiter.__init__()  # type: ignore[misc]
        house.pass_time(10 * MINUTE, step=5 * MINUTE)
        # Even a lead that is looked at long before its time meets the ledger.
        sql(house, "UPDATE lead SET due_at = %s WHERE state = 'active'", house.clock.now())
        for row in house.executions():
            perform(house.ctx, row["id"])
    assert rolling_most([one.t_scaled for one in house.accepted()], HOUR) == 5
    assert len(acts(house)) >= 10


def test_a_lead_that_meets_a_full_cap_comes_back_when_it_frees(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path)
    roomy_account(house, caps=NO_CAPS | {"FOLLOW_ON_TWITTER": "1/hour"})
    house.publish(FOLLOW)
    _, second = house.enroll("follow", friends(house, "ann", "bob"))
    waiting = house.lead(second)
    assert (waiting["waiting_on"], waiting["due_at"]) == ("capacity", house.clock.now() + HOUR)
    house.pass_time(59 * MINUTE)
    assert len(acts(house)) == 1
    house.pass_time(MINUTE)
    assert len(acts(house)) == 2


def test_a_call_in_doubt_counts_as_used(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path, limiter=GrantsEverything())
    roomy_account(house, caps=NO_CAPS | {"FOLLOW_ON_TWITTER": "1/hour"})
    house.publish(FOLLOW)
    first, second = plan(house, "follow", friends(house, "ann", "bob"))
    sql(
        house,
        "UPDATE execution SET state = 'in_doubt', fence = 1, started_at = %s, call_deadline = %s, effect_by = %s WHERE id = %s",
        *[house.clock.now()] * 3,
        first,
    )
    perform(house.ctx, second)
    assert execution(house, second)["verdict"]["rule"] == "cap.account"
    assert acts(house) == []


# --- pace ----------------------------------------------------------------------------------------------------


def test_starts_of_one_account_keep_their_distance_in_the_ledger_alone(db: Database, tmp_path: Path) -> None:
    house = crowd(db, tmp_path)
    roomy_account(house, pace={"FOLLOW_ON_TWITTER": 60})
    house.publish(FOLLOW)
    planned = plan(house, "follow", friends(house, *MANY))
    race(*[performing(house, i) for i in planned])
    assert len(acts(house)) == 1
    house.pass_time(30 * MINUTE)
    stamps = [one.t_scaled for one in house.accepted()]
    assert len(stamps) == 20
    assert all(later - earlier >= MINUTE for earlier, later in itertools.pairwise(stamps))


def test_two_accounts_do_not_wait_for_each_other(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path, our_accounts=("we", "us"))
    for name in ("we", "us"):
        roomy_account(house, name, pace={"FOLLOW_ON_TWITTER": 60})
    house.publish(FOLLOW)
    ann, bob = friends(house, "ann", "bob")
    house.enroll("follow", [ann], account_names=["we"])
    house.enroll("follow", [bob], account_names=["us"])
    assert len(acts(house)) == 2


# --- order per lead ------------------------------------------------------------------------------------------


def test_a_lead_has_at_most_one_open_execution(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path)
    roomy_account(house)
    house.publish(FOLLOW + "    # two\n".replace("# two", ""))
    (execution_id,) = plan(house, "follow", friends(house, "ann"))
    row = execution(house, execution_id)
    opened = "UPDATE execution SET state = 'calling', fence = 1, started_at = %s, call_deadline = %s, effect_by = %s WHERE id = %s"
    sql(house, opened, *[house.clock.now()] * 3, execution_id)
    twin = (
        "INSERT INTO execution (lead_id, action_id, visit, sequence_id, kind, channel, account_id, app_id, identity_id, state, cause,"
        " fence, started_at, call_deadline, effect_by, created_at)"
        " SELECT lead_id, action_id, 2, sequence_id, kind, channel, account_id, app_id, identity_id, 'in_doubt', cause, 2, started_at,"
        " call_deadline, effect_by, created_at FROM execution WHERE id = %s"
    )
    with pytest.raises(Exception, match="execution_one_open") as caught:
        sql(house, twin, row["id"])
    assert isinstance(caught.value, psycopg2.errors.UniqueViolation)


def test_a_reply_that_comes_during_the_call_does_not_begin_another_one(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path)
    roomy_account(house)
    house.publish(
        """
sequence: two
actions:
  hello:
    do: SEND_TWITTER_DM
    message: "Hello. {{ opt_out }}"
    next: check
  check:
    do: CHECK_FOR_REPLY
    next:
      - {on: REPLIED, to: thanks}
      - {on: TIMEOUT, after: 9d, to: END}
  thanks: {do: SEND_TWITTER_DM, message: "Thank you. {{ opt_out }}"}
"""
    )
    (lead,) = house.enroll("two", friends(house, "ann"))
    opened = "UPDATE execution SET state = 'calling', sent_at = NULL, call_deadline = %s, effect_by = %s WHERE lead_id = %s"
    later = house.clock.now() + MINUTE
    sql(house, opened, later, later, lead)
    sql(
        house, "UPDATE lead SET cursor = 'hello', due_at = %s, waiting_on = 'call' WHERE id = %s", later, lead
    )
    house.says("ann", "Tell me more")
    house.run()
    assert states(house, lead) == ["calling"]


# --- one-off sends -------------------------------------------------------------------------------------------


def one_off(house: House, key: str, person_id: int) -> list[Hint]:
    return send_one(
        house.ctx, key=key, person_id=person_id, kind=ActionKind.SEND_TWITTER_DM, text="Just this", by="test"
    ).hints


def test_the_same_key_sends_once_even_when_it_is_raced(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linger(monkeypatch, enrolling, "by_key")
    house = open_house(db, tmp_path)
    roomy_account(house)
    ann, bob = friends(house, "ann", "bob")
    answers = race(*[lambda who=who: one_off(house, "invoice-1", who) for who in (ann, ann, bob, ann) * 2])
    assert sum(len(hints) for hints in answers) == 1
    for hints in answers:
        house.hints.extend(hints)
    house.run()
    house.hints.extend(one_off(house, "invoice-1", ann))
    house.run()
    assert len(acts(house)) == 1


def test_another_key_is_another_message(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path)
    roomy_account(house)
    sql(house, """UPDATE instance SET policy = '{"touch": {"gap_hours": 0, "limit": 9, "days": 30}}'""")
    (ann,) = friends(house, "ann")
    for key in ("a", "b"):
        house.hints.extend(one_off(house, key, ann))
        house.run()
    assert acts(house) == [("dm", "ann"), ("dm", "ann")]


def test_a_lock_that_is_not_given_in_time_is_tried_again_and_then_said(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path)
    tries: list[int] = []

    def moved(tx: object) -> None:
        from outreach.models.base import StartAgain

        tries.append(1)
        raise StartAgain("the lead changed its person")

    with pytest.raises(ConflictError, match="changed its person"):
        house.db.run(moved)
    assert len(tries) == 3


# --- how far one message goes --------------------------------------------------------------------------------

CHAIN = """
sequence: chain
actions:
  a: {do: FOLLOW_ON_TWITTER, next: b}
  b: {do: SEND_TWITTER_DM, message: "One. {{ opt_out }}", next: c}
  c: {do: UNFOLLOW_ON_TWITTER, next: d}
  d: {do: FOLLOW_ON_TWITTER, next: e}
  e: {do: UNFOLLOW_ON_TWITTER, next: f}
  f: {do: FOLLOW_ON_TWITTER, next: g}
  g: {do: UNFOLLOW_ON_TWITTER}
"""


def test_one_message_carries_a_lead_five_steps_and_settles_each(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path, webhooks=False)
    roomy_account(house)
    house.publish(CHAIN)
    (first,) = plan(house, "chain", friends(house, "ann"))
    found = perform(house.ctx, first)
    assert states(house) == ["sent"] * 5 + ["planned"]
    assert [(hint.actor, hint.id) for hint in found] == [("follow_on_twitter", house.executions()[5]["id"])]
    house.hints.extend(found)
    house.run()
    assert states(house) == ["sent"] * 7
