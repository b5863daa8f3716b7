"""Proven silence: a NOT_* edge fires on evidence alone, and the evidence is fresh when the step is taken."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from outreach.models import leads
from outreach.models.base import Database
from outreach.runtime.control import set_account
from outreach.runtime.hints import advance
from outreach.runtime.poll import poll
from outreach.runtime.tick import tick
from tests.integration.law_support import (
    DAY,
    HOUR,
    MINUTE,
    WRITE_AND_LISTEN,
    acts,
    fault,
    follows_back,
    friends,
    id_of_handle,
    mend,
    open_house,
    roomy_account,
    silent_house,
    sql,
)
from tests.stage import House

pytestmark = pytest.mark.servers


# --- the inbox -----------------------------------------------------------------------------------------------


def test_silence_that_is_read_is_acted_on(db: Database, tmp_path: Path) -> None:
    house = silent_house(db, tmp_path)
    (lead,) = house.enroll("listen", friends(house, "ann"))
    house.pass_time(3 * DAY - HOUR, step=HOUR)
    assert len(acts(house)) == 1
    house.pass_time(2 * HOUR, step=MINUTE * 5)
    assert (len(acts(house)), house.lead(lead)["state"]) == (2, "finished")


def test_an_inbox_that_cannot_be_read_is_not_taken_for_silence(db: Database, tmp_path: Path) -> None:
    house = silent_house(db, tmp_path)
    (lead,) = house.enroll("listen", friends(house, "ann"))
    fault(house, "dm.list", "error", status=503)
    house.pass_time(6 * DAY, step=HOUR)
    waiting = house.lead(lead)
    assert house.simulator.faults.report()[0]["struck"] > 0
    assert (len(acts(house)), waiting["cursor"]) == (1, "check")
    assert (waiting["waiting_on"], waiting["waiting_detail"]) == ("evidence", "NOT_REPLIED")
    (mark,) = house.db.read("SELECT failed FROM watermark")
    assert mark["failed"] == "unreachable"
    mend(house)
    house.pass_time(5 * MINUTE)
    assert len(acts(house)) == 2


def test_a_reply_in_an_inbox_that_was_unreadable_is_found_and_no_silence(
    db: Database, tmp_path: Path
) -> None:
    house = silent_house(db, tmp_path)
    (lead,) = house.enroll("listen", friends(house, "ann"))
    fault(house, "dm.list", "error", status=503)
    house.pass_time(DAY, step=HOUR)
    house.says("ann", "Yes please, sounds great!")
    house.pass_time(4 * DAY, step=HOUR)
    assert len(acts(house)) == 1
    mend(house)
    house.pass_time(5 * MINUTE)
    assert house.accepted()[-1].body is not None
    assert str(house.accepted()[-1].body).startswith("Thank you!")
    assert house.lead(lead)["state"] == "finished"


def test_a_read_that_lags_does_not_prove_what_it_cannot_have_seen(db: Database, tmp_path: Path) -> None:
    """The provider shows messages twenty minutes late, and says so; they write just before the deadline."""
    house = open_house(db, tmp_path, webhooks=False, world={"read_lag_s": 1200.0})
    house.ctx.providers["twitter"].inbox_lag_seconds = 1200.0
    roomy_account(house)
    house.publish(WRITE_AND_LISTEN)
    (lead,) = house.enroll("listen", friends(house, "ann"))
    house.pass_time(3 * DAY - 5 * MINUTE, step=5 * MINUTE)
    house.says("ann", "Yes please, sounds great!")
    house.pass_time(HOUR, step=MINUTE)
    bodies = [str(one.body) for one in house.accepted()]
    assert [body.split()[0] for body in bodies] == ["Hello.", "Thank"]
    assert house.lead(lead)["state"] == "finished"


def test_a_message_that_nobody_has_understood_yet_keeps_the_mark_behind_it(
    db: Database, tmp_path: Path
) -> None:
    house = silent_house(db, tmp_path, webhooks=True)
    house.enroll("listen", friends(house, "ann"))
    house.pass_time(DAY, step=HOUR)
    house.clock.advance(MINUTE)
    house.deliver = lambda hint: [] if hint.actor == "digest_inbound" else [hint]
    house.says("ann", "Maybe")
    house.run()
    written = house.clock.now()
    house.pass_time(3 * DAY, step=HOUR)
    (mark,) = house.db.read("SELECT read_up_to FROM watermark")
    assert mark["read_up_to"] < written
    assert len(acts(house)) == 1


def two_inboxes(db: Database, tmp_path: Path) -> tuple[House, int]:
    """A lead to whom two accounts of ours have written."""
    house = open_house(db, tmp_path, webhooks=False, our_accounts=("we", "us"))
    ours = [roomy_account(house, name) for name in ("we", "us")]
    house.publish(WRITE_AND_LISTEN)
    (lead,) = house.enroll("listen", friends(house, "ann"), account_names=["we"])
    sql(
        house,
        "INSERT INTO execution (lead_id, action_id, visit, sequence_id, kind, channel, account_id, app_id, identity_id, state, cause,"
        " started_at, effect_by, sent_at, created_at)"
        " SELECT lead_id, action_id, 9, sequence_id, kind, channel, %s, app_id, identity_id, state, cause, started_at, effect_by,"
        " sent_at, created_at FROM execution WHERE lead_id = %s",
        ours[1],
        lead,
    )
    return house, lead


def shut_one(house: House) -> None:
    fault(house, "dm.list", "error", status=503, account=id_of_handle("us"))


@pytest.mark.parametrize("read_before", [False, True], ids=["never read", "read until yesterday"])
def test_evidence_covers_every_account_that_has_written(
    db: Database, tmp_path: Path, read_before: bool
) -> None:
    house, lead = two_inboxes(db, tmp_path)
    if read_before:
        house.pass_time(2 * DAY, step=HOUR)
    shut_one(house)
    house.pass_time(4 * DAY, step=HOUR)
    waiting = house.lead(lead)
    assert (len(acts(house)), waiting["cursor"], waiting["waiting_on"]) == (1, "check", "evidence")
    mend(house)
    house.pass_time(5 * MINUTE)
    assert len(acts(house)) == 2


def test_t1_too_asks_for_fresh_evidence_of_every_account(db: Database, tmp_path: Path) -> None:
    house, lead = two_inboxes(db, tmp_path)
    sql(house, """UPDATE account SET pace = '{"SEND_TWITTER_DM": 600000}'""")
    house.pass_time(3 * DAY + 10 * MINUTE, step=5 * MINUTE)
    assert (house.lead(lead)["cursor"], len(acts(house))) == ("again", 1)
    shut_one(house)
    sql(house, """UPDATE account SET pace = '{"SEND_TWITTER_DM": 0}'""")
    house.pass_time(10 * DAY, step=HOUR)
    assert (len(acts(house)), house.lead(lead)["waiting_on"]) == (1, "evidence")
    mend(house)
    house.pass_time(10 * MINUTE)
    assert len(acts(house)) == 2


def test_a_lead_that_was_never_contacted_is_looked_for_in_the_inboxes_it_is_bound_to(
    db: Database, tmp_path: Path
) -> None:
    house = silent_house(db, tmp_path)
    house.publish(
        """
sequence: after-failure
actions:
  follow: {do: FOLLOW_ON_TWITTER, next: [{on: FAILED, to: check}, {on: NORMAL_EDGE, to: check}]}
  check: {do: CHECK_FOR_REPLY, next: [{on: NOT_REPLIED, after: 1d, to: hello}]}
  hello: {do: SEND_TWITTER_DM, message: "Hello. {{ opt_out }}"}
"""
    )
    fault(house, "follow", "refuse", problem="blocked", times=1)
    (lead,) = house.enroll("after-failure", friends(house, "ann"))
    assert (house.lead(lead)["cursor"], acts(house)) == ("check", [])
    house.pass_time(DAY + HOUR, step=5 * MINUTE)
    assert acts(house) == [("dm", "ann")]


# --- freshness -----------------------------------------------------------------------------------------------


def test_evidence_that_has_grown_old_is_read_again_before_the_step(db: Database, tmp_path: Path) -> None:
    house = silent_house(db, tmp_path)
    (lead,) = house.enroll("listen", friends(house, "ann"))
    sql(house, """UPDATE account SET pace = '{"SEND_TWITTER_DM": 600000}'""")
    house.pass_time(3 * DAY + 10 * MINUTE, step=5 * MINUTE)
    assert (house.lead(lead)["cursor"], len(acts(house))) == ("again", 1)
    house.says("ann", "Who is this?")
    fault(house, "dm.list", "error", status=503)
    house.pass_time(DAY, step=HOUR)
    sql(house, """UPDATE account SET pace = '{"SEND_TWITTER_DM": 0}'""")
    house.pass_time(10 * DAY, step=6 * HOUR)
    assert (len(acts(house)), house.lead(lead)["waiting_on"]) == (1, "evidence")
    mend(house)
    house.pass_time(10 * MINUTE)
    assert (len(acts(house)), house.lead(lead)["exit_reason"]) == (1, "replied")


def test_an_old_look_up_is_made_again_before_the_step(db: Database, tmp_path: Path) -> None:
    house = silent_house(db, tmp_path)
    (lead,) = house.enroll("follow-unfollow", friends(house, "ann"))
    house.pass_time(2 * DAY - HOUR, step=HOUR)
    set_account(house.ctx, "we", "a pause", "test")
    house.pass_time(2 * HOUR, step=5 * MINUTE)
    assert house.lead(lead)["cursor"] == "unfollow"
    house.pass_time(6 * HOUR, step=HOUR)
    set_account(house.ctx, "we", None, "test")
    looks = looked_up(house)
    house.pass_time(10 * MINUTE)
    assert (acts(house), looked_up(house) > looks) == ([("follow", "ann"), ("unfollow", "ann")], True)


def looked_up(house: House) -> datetime:
    at: datetime = house.db.read("SELECT max(checked_at) AS at FROM relationship")[0]["at"]
    return at


# --- relationships -------------------------------------------------------------------------------------------


def test_nobody_is_unfollowed_before_a_look_up_after_the_deadline(db: Database, tmp_path: Path) -> None:
    house = silent_house(db, tmp_path)
    (lead,) = house.enroll("follow-unfollow", friends(house, "ann"))
    fault(house, "users*", "error", status=503)
    house.pass_time(4 * DAY, step=HOUR)
    assert (acts(house), house.lead(lead)["waiting_on"]) == ([("follow", "ann")], "evidence")
    mend(house)
    deadline = house.executions(lead)[0]["sent_at"] + 2 * DAY
    house.pass_time(5 * MINUTE)
    assert acts(house)[-1] == ("unfollow", "ann")
    assert house.executions(lead)[1]["cause_deadline"] == deadline


def test_a_follow_that_only_the_look_up_saw_is_a_follow(db: Database, tmp_path: Path) -> None:
    house = silent_house(db, tmp_path)
    (lead,) = house.enroll("follow-unfollow", friends(house, "ann"))
    house.pass_time(DAY, step=HOUR)
    follows_back(house, "ann")
    house.pass_time(2 * DAY, step=HOUR)
    assert (acts(house), house.lead(lead)["state"]) == ([("follow", "ann")], "finished")
    assert [row["kind"] for row in house.db.read("SELECT kind FROM signal")] == ["FOLLOWED_BACK"]


def test_a_look_up_that_dies_before_it_is_all_written_proves_no_silence(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = silent_house(db, tmp_path)
    (lead,) = house.enroll("follow-unfollow", friends(house, "ann"))
    house.pass_time(DAY, step=HOUR)
    follows_back(house, "ann")
    house.pass_time(DAY - HOUR, step=HOUR)
    add_signal = leads.add_signal
    deaths: list[object] = []

    def dies(*args: Any, **options: Any) -> bool:
        if not deaths:
            deaths.append(args)
            raise KeyboardInterrupt
        return add_signal(*args, **options)

    monkeypatch.setattr(leads, "add_signal", dies)
    with pytest.raises(KeyboardInterrupt):
        house.pass_time(2 * HOUR, step=5 * MINUTE)
    house.hints.clear()
    house.pass_time(2 * HOUR, step=5 * MINUTE)
    assert (acts(house), house.lead(lead)["state"]) == ([("follow", "ann")], "finished")


def test_a_look_up_denies_silence_to_whoever_asked_though_we_never_followed(
    db: Database, tmp_path: Path
) -> None:
    """They have followed us for long; our own follow was refused. The evidence is the lead's, and so is what it says."""
    house = silent_house(db, tmp_path)
    house.publish(
        """
sequence: refused
actions:
  follow: {do: FOLLOW_ON_TWITTER, next: [{on: FAILED, to: later}]}
  later: {do: WAIT, for: 1h, next: [{on: FOLLOWED_BACK, to: END}, {on: NOT_FOLLOWED_BACK, after: 1d, to: hello}]}
  hello: {do: SEND_TWITTER_DM, message: "Hello. {{ opt_out }}"}
"""
    )
    follows_back(house, "ann")
    fault(house, "follow", "refuse", problem="blocked", times=1)
    (lead,) = house.enroll("refused", friends(house, "ann"))
    house.pass_time(DAY + 2 * HOUR, step=5 * MINUTE)
    assert (acts(house), house.lead(lead)["state"]) == ([], "finished")


def test_a_follow_that_an_edge_was_taken_on_denies_no_less_the_next_time(
    db: Database, tmp_path: Path
) -> None:
    house = silent_house(db, tmp_path)
    house.publish(
        """
sequence: twice
actions:
  follow: {do: FOLLOW_ON_TWITTER, next: [{on: NOT_FOLLOWED_BACK, after: 1d, to: END}, {on: FOLLOWED_BACK, to: still}]}
  still: {do: WAIT, for: 1h, next: [{on: NOT_FOLLOWED_BACK, after: 1d, to: unfollow}, {on: FOLLOWED_BACK, to: hello}]}
  unfollow: {do: UNFOLLOW_ON_TWITTER}
  hello: {do: SEND_TWITTER_DM, message: "Hello. {{ opt_out }}"}
"""
    )
    house.enroll("twice", friends(house, "ann"))
    follows_back(house, "ann")
    house.pass_time(DAY + HOUR, step=5 * MINUTE)
    assert house.db.read("SELECT count(*) AS n FROM signal WHERE used_at IS NOT NULL")[0]["n"] == 1
    house.pass_time(DAY + 2 * HOUR, step=5 * MINUTE)
    assert acts(house) == [("follow", "ann"), ("dm", "ann")]


def test_who_no_longer_exists_does_not_follow_us(db: Database, tmp_path: Path) -> None:
    house = silent_house(db, tmp_path)
    (lead,) = house.enroll("follow-unfollow", friends(house, "ann"))
    house.simulator.network.users.pop(id_of_handle("ann"))
    house.pass_time(3 * DAY, step=HOUR)
    assert house.lead(lead)["cursor"] == "unfollow"


def test_an_edge_about_follows_may_lead_to_another_channel(db: Database, tmp_path: Path) -> None:
    house = silent_house(db, tmp_path)
    sql(
        house,
        "INSERT INTO account (app_id, name, channel, external_id, base_url, access_token, created_at)"
        " SELECT app_id, 'post', 'email', 'post@example.test', base_url, 'v1:x:x', created_at FROM account LIMIT 1",
    )
    house.publish(
        """
sequence: over-to-email
actions:
  follow: {do: FOLLOW_ON_TWITTER, next: [{on: FOLLOWED_BACK, to: END}, {on: NOT_FOLLOWED_BACK, after: 1d, to: mail}]}
  mail: {do: SEND_EMAIL, message: {subject: "Hello", body: "Hello. {{ opt_out }}"}}
"""
    )
    (ann,) = friends(house, "ann")
    house.db.run(lambda tx: house.identity(tx, ann, "email", "ann@example.test"))
    (lead,) = house.enroll("over-to-email", [ann])
    house.pass_time(DAY + HOUR, step=5 * MINUTE)
    rows = house.executions(lead)
    assert [row["kind"] for row in rows] == ["FOLLOW_ON_TWITTER", "SEND_EMAIL"]
    # No basis is on record for the address: the gate came past the evidence to that.
    assert rows[1]["reason"] == "basis.none"


def test_a_handle_that_is_resolved_late_still_needs_the_evidence_of_its_edge(
    db: Database, tmp_path: Path
) -> None:
    house = silent_house(db, tmp_path)
    house.publish(
        """
sequence: bare
actions:
  check: {do: CHECK_FOR_REPLY, next: [{on: NOT_REPLIED, after: 1d, to: hello}]}
  hello: {do: SEND_TWITTER_DM, message: "Hello. {{ opt_out }}"}
"""
    )
    (lead,) = house.enroll("bare", [house.person("ann", basis="opt_in", resolved=False)])
    house.pass_time(DAY + HOUR, step=5 * MINUTE)
    (row,) = house.executions(lead)
    assert (row["state"], row["cause"]) == ("sent", "NOT_REPLIED")
    assert row["cause_deadline"] is not None
    assert acts(house) == [("dm", "ann")]


#: What every tick may ask for that looks at no lead.
HOUSEKEEPING = {"seal_events", "retain_content"}


def first_looks(house: House) -> set[str]:
    return {hint.actor for hint in tick(house.ctx)} - HOUSEKEEPING


def test_the_read_at_the_deadline_wakes_exactly_those_whose_silence_it_can_prove(
    db: Database, tmp_path: Path
) -> None:
    """A hundred leads that wait for silence cost one poll, and each of them one look."""
    house = silent_house(db, tmp_path)
    early = house.enroll("listen", friends(house, "ann"))
    house.run()
    house.pass_time(DAY, step=HOUR)
    late = house.enroll("listen", friends(house, "bob"))
    house.run()
    deadline = house.lead(early[0])["due_at"]
    house.clock.advance(deadline - house.clock.now())
    # The account is what is looked at, not the lead: the read decides who goes on.
    assert first_looks(house) == {"check_for_reply"}
    woken = poll(house.ctx, house.lead(early[0])["account_id"])
    assert woken == [advance(early[0])]
    assert late[0] not in {hint.id for hint in woken}
    # The hint that was given is trusted for a while: the sweep does not look beside it.
    assert "advance_lead" not in first_looks(house)


def test_a_lead_whose_read_never_came_looks_for_itself(db: Database, tmp_path: Path) -> None:
    house = silent_house(db, tmp_path)
    (lead_id,) = house.enroll("listen", friends(house, "ann"))
    house.run()
    house.clock.advance(house.lead(lead_id)["due_at"] - house.clock.now())
    assert first_looks(house) == {"check_for_reply"}
    house.clock.advance(house.ctx.hint_lease + MINUTE)
    assert first_looks(house) == {"check_for_reply", "advance_lead"}


def test_a_deadline_asks_for_a_read_however_young_the_last_one_is_but_once_a_tick(
    db: Database, tmp_path: Path
) -> None:
    house = silent_house(db, tmp_path)
    (lead_id,) = house.enroll("listen", friends(house, "ann"))
    house.run()
    account = house.lead(lead_id)["account_id"]
    assert account is not None

    def polled() -> datetime:
        found: datetime = house.db.read("SELECT polled_at FROM watermark WHERE account_id = %s", (account,))[
            0
        ]["polled_at"]
        return found

    house.clock.advance(house.lead(lead_id)["due_at"] - house.clock.now() - MINUTE)
    poll(house.ctx, account)
    house.clock.advance(MINUTE / 2)
    before = polled()
    poll(house.ctx, account)
    assert polled() == before, "nobody waits yet, and the last read is young"
    house.clock.advance(MINUTE)
    poll(house.ctx, account)
    after = polled()
    assert after > before, "the deadline has passed"
    house.clock.advance(MINUTE / 4)
    poll(house.ctx, account)
    assert polled() == after, "a second read within the same tick"
