"""Silence that is broken between planning and the call: the step is taken back, and what they did decides."""

from pathlib import Path

import pytest

from outreach.engine.events import EventKind
from outreach.engine.kinds import SignalKind
from outreach.errors import RefusedByGate
from outreach.models import leads
from outreach.models.base import Database
from outreach.providers.base import Accepted, RateLimited
from outreach.runtime import lookup
from outreach.runtime.claim import Claimed, claim
from outreach.runtime.control import set_account
from outreach.runtime.human import done
from outreach.runtime.perform import perform
from outreach.runtime.prepare import Prepared, prepare
from outreach.runtime.settle import settle
from outreach.runtime.taking import start
from tests.integration.law_support import (
    DAY,
    HOUR,
    MINUTE,
    acts,
    follows_back,
    friends,
    silent_house,
    sql,
    states,
)
from tests.stage import House

pytestmark = pytest.mark.servers

FOLLOWED_OR_NOT = """
sequence: followed-or-not
actions:
  follow:
    do: FOLLOW_ON_TWITTER
    next:
      - {on: FOLLOWED_BACK, to: hello}
      - {on: NOT_FOLLOWED_BACK, after: 2d, to: unfollow}
  hello: {do: SEND_TWITTER_DM, message: "Hello. {{ opt_out }}", next: [{after: 1d, to: unfollow}]}
  unfollow: {do: UNFOLLOW_ON_TWITTER}
"""


def about_to_unfollow(house: House) -> int:
    """A lead whose unfollow is planned on proven silence, and not begun: its account is paused."""
    house.publish(FOLLOWED_OR_NOT)
    (lead,) = house.enroll("followed-or-not", friends(house, "ann"))
    house.pass_time(2 * DAY - HOUR, step=HOUR)
    set_account(house.ctx, "we", "a pause", "test")
    house.pass_time(2 * HOUR, step=5 * MINUTE)
    assert (house.lead(lead)["cursor"], states(house, lead)) == ("unfollow", ["sent", "planned"])
    return lead


def about_to_write_again(house: House) -> int:
    """A lead whose second message is planned on proven silence, and not begun: its account is paused."""
    (lead,) = house.enroll("listen", friends(house, "ann"))
    house.pass_time(3 * DAY - HOUR, step=HOUR)
    set_account(house.ctx, "we", "a pause", "test")
    house.pass_time(2 * HOUR, step=5 * MINUTE)
    assert (house.lead(lead)["cursor"], states(house, lead)) == ("again", ["sent", "planned"])
    return lead


def go_on_sending(house: House) -> None:
    set_account(house.ctx, "we", None, "test")
    house.pass_time(10 * MINUTE)


@pytest.mark.parametrize("webhooks", [True, False], ids=["a webhook", "a fresh look-up"])
def test_a_follow_back_takes_back_an_unfollow_that_is_only_planned(
    db: Database, tmp_path: Path, webhooks: bool
) -> None:
    house = silent_house(db, tmp_path, webhooks=webhooks)
    lead = about_to_unfollow(house)
    (follow, unfollow) = house.executions(lead)
    # The look-up that T1 asks for is fresh only if what is known has grown old.
    house.pass_time(HOUR, step=5 * MINUTE)
    follows_back(house, "ann")
    go_on_sending(house)
    assert acts(house) == [("follow", "ann"), ("dm", "ann")]
    assert (house.lead(lead)["cursor"], states(house, lead)) == ("hello", ["sent", "cancelled", "sent"])
    (row,) = house.db.read("SELECT * FROM execution WHERE id = %s", (unfollow["id"],))
    assert (row["reason"], row["effect_by"]) == ("no longer NOT_FOLLOWED_BACK", None)
    cancelled = house.db.read("SELECT execution_id FROM event WHERE kind = 'ActionCancelled'")
    assert [one["execution_id"] for one in cancelled] == [unfollow["id"]]
    assert house.executions(lead)[-1]["cause"] == "FOLLOWED_BACK"
    # The ledger's key holds: the node that was left is entered again as a visit of its own, and the follow is not done again.
    house.pass_time(2 * DAY, step=HOUR)
    assert acts(house) == [("follow", "ann"), ("dm", "ann"), ("unfollow", "ann")]
    assert [(r["action_id"], r["visit"]) for r in house.executions(lead)] == [
        (follow["action_id"], 1), (unfollow["action_id"], 1), (row["action_id"] - 1, 1), (unfollow["action_id"], 2)
    ]  # fmt: skip


def test_a_reply_takes_back_a_message_that_rests_on_silence_and_its_own_edge_is_taken(
    db: Database, tmp_path: Path
) -> None:
    house = silent_house(db, tmp_path, webhooks=True)
    lead = about_to_write_again(house)
    house.says("ann", "Yes please, sounds great!", kind="positive")
    go_on_sending(house)
    assert [str(one.body).split()[0] for one in house.accepted()] == ["Hello.", "Thank"]
    assert (states(house, lead), house.lead(lead)["state"]) == (["sent", "cancelled", "sent"], "finished")


def test_a_reply_that_no_edge_asks_for_takes_the_message_back_all_the_same(
    db: Database, tmp_path: Path
) -> None:
    """The planned node asks for replies itself: that is no leave to go on as though none had come."""
    house = silent_house(db, tmp_path, webhooks=True)
    house.publish(
        """
sequence: two-words
on_reply: continue
actions:
  hello: {do: SEND_TWITTER_DM, message: "Hello. {{ opt_out }}", next: [{on: NOT_REPLIED, after: 3d, to: again}, {on: TIMEOUT, after: 9d, to: bye}]}
  again: {do: SEND_TWITTER_DM, message: "Again. {{ opt_out }}", next: [{on: REPLIED, to: END}]}
  bye: {do: FOLLOW_ON_TWITTER}
"""
    )
    (lead,) = house.enroll("two-words", friends(house, "ann"))
    house.pass_time(3 * DAY - HOUR, step=HOUR)
    set_account(house.ctx, "we", "a pause", "test")
    house.pass_time(2 * HOUR, step=5 * MINUTE)
    assert states(house, lead) == ["sent", "planned"]
    house.says("ann", "Who is this?")
    go_on_sending(house)
    waiting, hello = house.lead(lead), house.executions(lead)[0]
    assert (states(house, lead), waiting["cursor"]) == (["sent", "cancelled"], "hello")
    assert (waiting["due_at"], waiting["entered_at"]) == (hello["sent_at"] + 9 * DAY, hello["sent_at"])
    house.pass_time(7 * DAY, step=6 * HOUR)
    assert acts(house) == [("dm", "ann"), ("follow", "ann")]


@pytest.mark.parametrize("node", ["{do: CHECK_FOR_REPLY,", "{do: WAIT, for: 1d,"], ids=["a check", "a wait"])
def test_the_clock_of_the_node_that_is_stood_at_again_is_the_old_one(
    db: Database, tmp_path: Path, node: str
) -> None:
    house = silent_house(db, tmp_path, webhooks=True)
    house.publish(
        f"""
sequence: old-clock
on_reply: continue
actions:
  hello: {{do: SEND_TWITTER_DM, message: "Hello. {{{{ opt_out }}}}", next: listen}}
  listen: {node} next: [{{on: NOT_REPLIED, after: 2d, to: again}}, {{on: TIMEOUT, after: 9d, to: END}}]}}
  again: {{do: SEND_TWITTER_DM, message: "Again. {{{{ opt_out }}}}"}}
"""
    )
    (lead,) = house.enroll("old-clock", friends(house, "ann"))
    entered = house.lead(lead)["entered_at"]
    assert house.lead(lead)["cursor"] == "listen"
    set_account(house.ctx, "we", "a pause", "test")
    house.pass_time(3 * DAY + HOUR, step=HOUR)
    assert (house.lead(lead)["cursor"], states(house, lead)) == ("again", ["sent", "planned"])
    house.says("ann", "Who is this?")
    house.run()
    back = house.lead(lead)
    assert (back["cursor"], back["entered_at"], states(house, lead)) == ("listen", entered, ["sent", "cancelled"])  # fmt: skip


def test_a_signal_that_came_during_a_call_is_seen_by_the_next_claim(db: Database, tmp_path: Path) -> None:
    """The provider said: not now. What was in the air is planned again, and T1 finds that the silence is over."""
    house = silent_house(db, tmp_path, webhooks=True)
    lead = about_to_unfollow(house)
    set_account(house.ctx, "we", None, "test")
    (_, unfollow) = house.executions(lead)
    claimed = claimed_now(house, unfollow["id"])
    follows_back(house, "ann")
    house.run()
    assert states(house, lead) == ["sent", "calling"]
    settle(house.ctx, claimed, RateLimited(reset_at=house.clock.now() + 5 * MINUTE))
    assert states(house, lead) == ["sent", "planned"]
    sql(house, "DELETE FROM hold")
    sql(house, "UPDATE lead SET due_at = %s WHERE id = %s", house.clock.now(), lead)
    perform(house.ctx, unfollow["id"])
    assert (states(house, lead)[:2], house.lead(lead)["cursor"]) == (["sent", "cancelled"], "hello")
    house.pass_time(5 * MINUTE)
    assert acts(house) == [("follow", "ann"), ("dm", "ann")]


def claimed_now(house: House, execution_id: int) -> Claimed:
    """T1's yes; a look-up that has grown old is made again first."""
    for _ in range(3):
        sql(house, "UPDATE lead SET due_at = %s", house.clock.now())
        prepared = prepare(house.ctx, execution_id)
        assert isinstance(prepared, Prepared)
        claimed = claim(house.ctx, prepared)
        if isinstance(claimed, Claimed):
            return claimed
        lookup.look_up(house.ctx, house.executions()[0]["account_id"])
    raise AssertionError("never claimed")


def test_a_call_under_way_is_left_alone_and_counts_when_it_was_accepted(db: Database, tmp_path: Path) -> None:
    house = silent_house(db, tmp_path, webhooks=True)
    lead = about_to_unfollow(house)
    set_account(house.ctx, "we", None, "test")
    claimed = claimed_now(house, house.executions(lead)[1]["id"])
    follows_back(house, "ann")
    house.run()
    settle(house.ctx, claimed, Accepted({}))
    assert (states(house, lead), house.lead(lead)["state"]) == (["sent", "sent"], "finished")


# --- and by a human's hands ------------------------------------------------------------------------------------


def handed_over(house: House) -> tuple[int, int]:
    """A lead whose unfollow waits for a human, and the task."""
    house.publish(FOLLOWED_OR_NOT)
    (lead,) = house.enroll("followed-or-not", friends(house, "ann"))
    sql(house, "UPDATE account SET follow_permitted = false")
    house.pass_time(2 * DAY + HOUR, step=HOUR)
    house.pass_time(10 * MINUTE)
    (task,) = house.db.read("SELECT id FROM task WHERE state = 'open'")
    return lead, task["id"]


def test_a_task_that_rests_on_silence_is_void_when_they_are_not_silent(db: Database, tmp_path: Path) -> None:
    house = silent_house(db, tmp_path, webhooks=True)
    lead, task = handed_over(house)
    follows_back(house, "ann")
    house.run()
    (row,) = house.db.read("SELECT state, outcome FROM task WHERE id = %s", (task,))
    assert (row["state"], row["outcome"]) == ("void", "no longer NOT_FOLLOWED_BACK")
    assert states(house, lead) == ["sent", "cancelled", "sent"]
    closed = house.db.read("SELECT payload FROM event WHERE kind = %s", (EventKind.TASK_CLOSED.value,))
    assert [one["payload"]["task_id"] for one in closed] == [task]


def test_a_task_that_somebody_has_begun_is_left_to_them(db: Database, tmp_path: Path) -> None:
    house = silent_house(db, tmp_path, webhooks=True)
    lead, task = handed_over(house)
    lookup_is_fresh(house)
    start(house.ctx, task, "eva")
    follows_back(house, "ann")
    house.run()
    assert states(house, lead) == ["sent", "planned"]
    done(house.ctx, task, "eva")
    assert states(house, lead) == ["sent", "sent"]


def test_nobody_may_begin_a_task_whose_silence_is_over(db: Database, tmp_path: Path) -> None:
    """A signal that nothing was made of yet: a worker that did not know the graph stored it."""
    house = silent_house(db, tmp_path)
    lead, task = handed_over(house)
    lookup_is_fresh(house)
    at = house.clock.now()
    house.db.run(
        lambda tx: leads.add_signal(tx, lead, SignalKind.FOLLOWED_BACK, "x", at=at, now=at, inbound_id=None)
    )
    with pytest.raises(RefusedByGate, match=r"evidence\.contradicted"):
        start(house.ctx, task, "eva")
    assert (states(house, lead)[:2], house.lead(lead)["cursor"]) == (["sent", "cancelled"], "hello")


def lookup_is_fresh(house: House) -> None:
    sql(house, "UPDATE relationship SET checked_at = %s", house.clock.now())
