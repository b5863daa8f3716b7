"""Tasks in several hands: the next one goes to one of them, a cap says when it frees, what expires fails, what was done counts."""

from datetime import timedelta
from pathlib import Path

import pytest

from outreach.errors import ConflictError, UsageError
from outreach.limits.caps import parse_caps
from outreach.models import accounts
from outreach.models.base import Database, Row
from outreach.runtime.control import pause_all, stop_lead
from outreach.runtime.human import done, never, release, skip, tell_holder
from outreach.runtime.optout import opt_out
from outreach.runtime.taking import NothingToTake, Started, start, take_next
from tests.integration.law_support import (
    DAY,
    HOUR,
    MINUTE,
    NO_CAPS,
    NO_PACE,
    acts,
    fault,
    follows_back,
    friends,
    id_of_handle,
    only_execution,
    open_house,
    race,
    states,
)
from tests.stage import House

pytestmark = pytest.mark.servers
SEVEN = [f"p{n}" for n in range(7)]
LISTEN = """
sequence: listen
actions:
  hello: {do: SEND_TWITTER_DM, message: "Hello. {{ opt_out }}", task: {expires: 2d12h}, next: [{on: NORMAL_EDGE, after: 2d, to: bye}, {on: FAILED, to: follow}]}
  bye: {do: FOLLOW_ON_TWITTER}
  follow: {do: FOLLOW_ON_TWITTER, task: {expires: never}}
"""


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    """Everything falls to humans: nobody has written first, and the account may not follow by itself."""
    found = open_house(db, tmp_path, SEVEN)
    found.account(follow_permitted=False, caps=NO_CAPS, pace=NO_PACE)
    found.publish(LISTEN)
    return found


def enrolled(house: House, count: int = 1) -> list[int]:
    return house.enroll("listen", friends(house, *SEVEN[:count]))


def task_of(house: House, lead: int) -> Row:
    return house.db.read("SELECT * FROM task WHERE lead_id = %s ORDER BY id DESC LIMIT 1", (lead,))[0]


def person_of(house: House, lead: int) -> int:
    return int(house.lead(lead)["person_id"])


def taken(house: House, holder: str) -> Started:
    found = take_next(house.ctx, holder)
    assert isinstance(found, Started), found
    return found


def by_hand(house: House, lead: int, text: str) -> None:
    """The human writes in the provider's own app."""
    (handle,) = house.db.read("SELECT name FROM person WHERE id = %s", (person_of(house, lead),))
    house.simulator.acts.message(
        id_of_handle("we"), id_of_handle(handle["name"].lower()), text, house.clock.now(), by="hand"
    )


# --- the next one --------------------------------------------------------------------------------------------


def test_of_many_hands_that_take_the_next_one_no_two_get_the_same(house: House) -> None:
    enrolled(house, 5)
    found = race(*[lambda n=n: take_next(house.ctx, f"hand {n}") for n in range(7)])
    got = [one.task_id for one in found if isinstance(one, Started)]
    assert len(got) == len(set(got)) == 5
    assert sum(one == NothingToTake() for one in found) == 2


def test_who_has_one_in_hand_gets_it_again_with_the_very_words(house: House) -> None:
    enrolled(house, 2)
    first = taken(house, "eva")
    assert taken(house, "eva") == first == start(house.ctx, first.task_id, "eva")
    assert first.text == "Hello. Reply STOP and I will not write again."
    assert first.opt_out == "Reply STOP and I will not write again."


def test_who_let_a_claim_run_out_is_asked_about_it_before_there_is_another(house: House) -> None:
    enrolled(house, 2)
    first = taken(house, "eva")
    house.clock.advance(20 * MINUTE)
    # Before any sweep has noticed, and after it: nobody else gets it, and she is asked.
    assert taken(house, "eva").state == "asked"
    house.tick()
    assert (taken(house, "eva").task_id, taken(house, "eva").state) == (first.task_id, "asked")
    assert taken(house, "kim").task_id != first.task_id
    assert isinstance(take_next(house.ctx, "lea"), NothingToTake)


def test_somebody_elses_task_names_its_holder(house: House) -> None:
    (lead,) = enrolled(house)
    task_id = taken(house, "eva").task_id
    with pytest.raises(ConflictError, match="claimed by eva until 12:15 UTC"):
        start(house.ctx, task_id, "kim")
    for answer in (done, skip, release):
        with pytest.raises(ConflictError, match="in the hands of eva"):
            answer(house.ctx, task_id, "kim")
    house.pass_time(20 * MINUTE, step=5 * MINUTE)
    done(house.ctx, task_id, "kim")  # asked: whoever has looked may answer
    assert only_execution(house, lead)["done_by"] == "kim"


def test_what_stands_against_all_is_asked_once_and_said_with_its_rule(house: House) -> None:
    enrolled(house, 3)
    pause_all(house.ctx, "holidays", "test")
    found = take_next(house.ctx, "eva")
    assert isinstance(found, NothingToTake)
    assert [verdict.rule for _, verdict in found.refused] == ["pause.instance"]


# --- caps of their own ---------------------------------------------------------------------------------------


def hands_cap(house: House, text: str) -> None:
    (account,) = house.db.read("SELECT id FROM account")
    house.db.run(lambda tx: accounts.set_task_caps(tx, account["id"], {"SEND_TWITTER_DM": text}))


def test_humans_have_caps_of_their_own_and_the_full_one_says_when_it_frees(house: House) -> None:
    enrolled(house, 4)
    hands_cap(house, "2/day")
    done(house.ctx, taken(house, "eva").task_id, "eva")
    house.clock.advance(HOUR)
    taken(house, "kim")  # only claimed: it counts all the same
    found = take_next(house.ctx, "lea")
    assert isinstance(found, NothingToTake)
    ((_, verdict),) = found.refused
    assert (verdict.rule, verdict.until) == ("cap.task", house.clock.now() - HOUR + DAY)
    house.clock.advance(DAY - HOUR)
    taken(house, "lea")


def test_two_humans_cannot_pass_their_cap_together(house: House) -> None:
    enrolled(house, 6)
    hands_cap(house, "2/day")
    found = race(*[lambda n=n: take_next(house.ctx, f"hand {n}") for n in range(6)])
    assert sum(isinstance(one, Started) for one in found) == 2


def test_what_the_engine_sends_leaves_the_humans_their_caps(house: House) -> None:
    enrolled(house, 2)
    hands_cap(house, "1/day")
    house.db.run(
        lambda tx: tx.execute("UPDATE account SET dm_mode = 'opt_in', mode_reason = 'x', pace = '{\"SEND_TWITTER_DM\": 0}'")
    )  # fmt: skip
    house.enroll("listen", friends(house, "p5"))
    assert acts(house) == [("dm", "p5")]
    taken(house, "eva")
    assert isinstance(take_next(house.ctx, "kim"), NothingToTake)


def test_a_cap_for_hands_is_written_like_any_other() -> None:
    from outreach.limits.caps import DEFAULT_CAPS, DEFAULT_TASK_CAPS

    assert DEFAULT_TASK_CAPS.keys() == DEFAULT_CAPS.keys()
    assert all(parse_caps("; ".join(map(str, one.caps))) == one.caps for one in DEFAULT_TASK_CAPS.values())


# --- expiry --------------------------------------------------------------------------------------------------


def test_a_task_that_nobody_begins_expires_and_the_lead_takes_its_failed_edge(house: House) -> None:
    (lead,) = enrolled(house)
    house.pass_time(2.5 * DAY - MINUTE, step=DAY / 2)
    assert task_of(house, lead)["state"] == "open"
    house.pass_time(2 * MINUTE)
    rows = house.executions(lead)
    assert [(r["state"], r["reason"]) for r in rows] == [("skipped", "task_expired"), ("planned", None)]
    assert (house.lead(lead)["cursor"], house.lead(lead)["state"]) == ("follow", "active")
    # `expires: never`: this one waits for ever.
    house.pass_time(60 * DAY, step=5 * DAY)
    assert (task_of(house, lead)["state"], task_of(house, lead)["expires_at"]) == ("open", None)


def test_a_task_past_its_expiry_is_not_offered_even_before_a_sweep_says_so(house: House) -> None:
    (lead,) = enrolled(house)
    house.clock.advance(3 * DAY)
    assert take_next(house.ctx, "eva") == NothingToTake()
    with pytest.raises(ConflictError, match="expired on 2026-01-08 00:00 UTC"):
        start(house.ctx, task_of(house, lead)["id"], "eva")


def test_what_somebody_has_begun_never_expires(house: House) -> None:
    (lead,) = enrolled(house)
    taken(house, "eva")
    house.pass_time(5 * DAY, step=DAY / 2)
    assert (task_of(house, lead)["state"], states(house, lead)) == ("asked", ["planned"])


def test_while_everything_is_paused_nothing_expires(house: House) -> None:
    (lead,) = enrolled(house)
    pause_all(house.ctx, "holidays", "test")
    house.pass_time(5 * DAY, step=DAY)
    assert task_of(house, lead)["state"] == "open"


# --- answers -------------------------------------------------------------------------------------------------


def test_later_edges_count_from_the_instant_at_which_it_was_done(house: House) -> None:
    (lead,) = enrolled(house)
    house.pass_time(2 * DAY, step=DAY)
    task_id = taken(house, "eva").task_id
    house.pass_time(10 * MINUTE)
    done(house.ctx, task_id, "eva", at=house.clock.now() - 5 * MINUTE)
    assert house.lead(lead)["due_at"] == house.clock.now() - 5 * MINUTE + 2 * DAY


def test_words_of_their_own_are_what_was_said(house: House) -> None:
    (lead,) = enrolled(house)
    task_id = taken(house, "eva").task_id
    fault(house, "webhook:dm.sent", "postpone", seconds=600)
    by_hand(house, lead, "Hi, it is me.")
    done(house.ctx, task_id, "eva", text=" Hi, it is me.\n")
    (body,) = house.db.read("SELECT body FROM message_body")
    assert (body["body"], task_of(house, lead)["outcome"]) == ("Hi, it is me.", "said, edited")
    row = only_execution(house, lead)
    assert (row["state"], row["done_by"], row["observed"]) == ("sent", "eva", False)
    # The provider tells of it later: it is the same message, and now it was seen, too.
    house.pass_time(HOUR, step=10 * MINUTE)
    row = only_execution(house, lead)
    assert (row["done_by"], row["observed"], len(house.executions())) == ("eva", True, 1)
    assert row["provider_ids"]["dm_event_id"]


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_text_was_not_sent(house: House, text: str) -> None:
    enrolled(house)
    task_id = taken(house, "eva").task_id
    with pytest.raises(UsageError, match="is empty"):
        done(house.ctx, task_id, "eva", text=text)


def test_what_was_not_done_is_given_back_and_counts_for_nothing(house: House) -> None:
    (lead,) = enrolled(house)
    hands_cap(house, "1/day")
    task_id = taken(house, "eva").task_id
    house.pass_time(20 * MINUTE, step=5 * MINUTE)
    release(house.ctx, task_id, "eva")
    row, task = only_execution(house, lead), task_of(house, lead)
    assert (row["effect_by"], row["started_at"], row["touch"]) == (None, None, False)
    assert (task["state"], task["holder"], house.lead(lead)["waiting_on"]) == ("open", None, "task")
    assert (taken(house, "kim").task_id, house.events(lead)[-2:]) == (
        task_id,
        ["TaskReleased", "TaskClaimed"],
    )
    with pytest.raises(UsageError, match="nobody has"):
        release(house.ctx, _untouched(house), "eva")


def _untouched(house: House) -> int:
    (lead,) = house.enroll("listen", friends(house, "p6"))
    return int(task_of(house, lead)["id"])


def test_never_suppresses_the_person_on_every_channel_and_ends_the_lead(house: House) -> None:
    (lead,) = enrolled(house)
    task_id = taken(house, "eva").task_id
    assert never(house.ctx, task_id, "eva")
    (person,) = house.db.read("SELECT suppressed_at, suppression_reason FROM person")
    assert (person["suppressed_at"], person["suppression_reason"]) == (
        house.clock.now(),
        "a human said never",
    )
    assert (task_of(house, lead)["outcome"], states(house, lead)) == ("never", ["cancelled"])
    assert house.lead(lead)["exit_reason"] == "unsubscribed"
    assert tell_holder(house.ctx, "eva") == []


# --- taken out of somebody's hands ---------------------------------------------------------------------------


def opted_out(house: House, lead: int) -> None:
    opt_out(house.ctx, person_of(house, lead), reason="x", source="test", evidence={}, actor="test")


def test_whoever_holds_what_becomes_void_is_told_once_and_the_log_says_so(house: House) -> None:
    lead, other = enrolled(house, 2)
    taken(house, "eva")
    opted_out(house, lead)
    stop_lead(house.ctx, other, "became a customer", "test")
    (told,) = tell_holder(house.ctx, "eva")
    assert (told["lead_id"], told["why"]) == (lead, "they asked not to be contacted")
    assert tell_holder(house.ctx, "eva") == tell_holder(house.ctx, "kim") == []
    events = house.db.read("SELECT actor, payload FROM event WHERE kind = 'HolderTold'")
    assert [(e["actor"], e["payload"]["why"]) for e in events] == [("eva", "unsubscribed")]
    with pytest.raises(ConflictError, match="they asked not to be contacted"):
        done(house.ctx, told["id"], "eva")


def test_what_was_done_before_the_opt_out_counts_although_the_task_is_void(house: House) -> None:
    (lead,) = enrolled(house)
    task_id = taken(house, "eva").task_id
    house.clock.advance(5 * MINUTE)
    opted_out(house, lead)
    house.clock.advance(5 * MINUTE)
    with pytest.raises(UsageError, match="hands of kim"):
        done(house.ctx, task_id, "kim", before=True)
    done(house.ctx, task_id, "eva", before=True)
    row = only_execution(house, lead)
    assert (row["state"], row["done_by"], row["sent_at"]) == ("sent", "eva", house.clock.now() - 5 * MINUTE)
    assert (task_of(house, lead)["state"], house.lead(lead)["state"]) == ("void", "exited")


def test_what_was_done_before_and_seen_already_is_not_counted_twice(house: House) -> None:
    (lead,) = enrolled(house)
    task_id = taken(house, "eva").task_id
    by_hand(house, lead, "Hello. Reply STOP and I will not write again.")
    opted_out(house, lead)
    house.pass_time(HOUR, step=10 * MINUTE)
    assert [r["cause"] for r in house.executions() if r["state"] == "sent"] == ["by_hand"]
    done(house.ctx, task_id, "eva", before=True)
    assert [r["state"] for r in house.executions()].count("sent") == 1


# --- the provider shows it -----------------------------------------------------------------------------------


def test_a_follow_whose_claim_ran_out_is_looked_up_and_settled_as_seen(house: House) -> None:
    (lead,) = enrolled(house)
    skip(house.ctx, taken(house, "eva").task_id, "eva")
    house.tick()
    task_id = taken(house, "eva").task_id
    fault(house, "webhook:follow.follow", "lose")
    (name,) = house.db.read("SELECT name FROM person")
    house.simulator.acts.follow(
        id_of_handle("we"), id_of_handle(name["name"].lower()), house.clock.now(), by="hand"
    )
    house.pass_time(20 * MINUTE, step=5 * MINUTE)
    row = house.executions(lead)[-1]
    assert (row["kind"], row["state"], row["done_by"], row["observed"]) == (
        "FOLLOW_ON_TWITTER",
        "sent",
        "eva",
        True,
    )
    assert (task_of(house, lead)["id"], task_of(house, lead)["outcome"]) == (
        task_id,
        "observed at the provider",
    )


def test_a_follow_that_the_look_up_does_not_show_stays_asked(house: House) -> None:
    (lead,) = enrolled(house)
    skip(house.ctx, taken(house, "eva").task_id, "eva")
    house.tick()
    taken(house, "eva")
    house.pass_time(timedelta(hours=2), step=10 * MINUTE)
    assert (task_of(house, lead)["state"], house.executions(lead)[-1]["state"]) == ("asked", "planned")
    follows_back(house, "p0")
    house.pass_time(HOUR, step=10 * MINUTE)
    assert task_of(house, lead)["state"] == "asked"
