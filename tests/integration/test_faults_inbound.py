"""Reads and pushes that go wrong, through the whole engine: silence stays unproven, replies are found, nothing counts twice."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from outreach.embedded.servers import Servers
from outreach.models.base import Database
from tests.integration.fault_support import (
    DEADLINE,
    THREE,
    account,
    agree,
    inbound,
    on_the_wire,
    struck,
    waits,
)
from tests.integration.law_support import (
    DAY,
    FOLLOW_THEN_UNFOLLOW,
    HOUR,
    MINUTE,
    WRITE_AND_LISTEN,
    acts,
    fault,
    friends,
    id_of_handle,
    mend,
    people,
    roomy_account,
    states,
)
from tests.stage import House, build

pytestmark = pytest.mark.servers
YES = "Yes please, sounds great!"


@pytest.fixture
def house(db: Database, tmp_path: Path, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """Nothing is pushed: only polls and look-ups can know."""
    with on_the_wire(db, tmp_path, servers, monkeypatch, webhooks=False) as found:
        publish(found)
        yield found


@pytest.fixture
def told(db: Database, tmp_path: Path, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """The provider pushes what happens."""
    with on_the_wire(db, tmp_path, servers, monkeypatch) as found:
        publish(found)
        yield found


def publish(house: House) -> None:
    for text in (THREE, WRITE_AND_LISTEN, FOLLOW_THEN_UNFOLLOW):
        house.publish(text)


def deaf(house: House) -> None:
    """The inbox cannot be read: what is pushed is all there is."""
    fault(house, "dm.list", "error", status=503)


def words(house: House, handle: str = "ann") -> list[str]:
    """The first word of each message that this person got."""
    return [
        str(one.body).split()[0]
        for one in house.accepted()
        if one.recipient == id_of_handle(handle) and one.body
    ]


def suppressed(house: House) -> bool:
    return house.db.read("SELECT suppressed_at FROM person")[0]["suppressed_at"] is not None


# --- read-back that lags -------------------------------------------------------------------------------------


def test_a_read_back_that_lags_once_is_asked_again_and_nothing_is_sent_twice(house: House) -> None:
    deaf(house)
    fault(house, "dm.send", "hang", accepted=True, seconds=60, times=1)
    fault(house, "dm.with", "lag", seconds=3600, times=1)
    (lead,) = house.enroll("listen", friends(house, "ann"))
    house.pass_time(2 * MINUTE)
    (row,) = house.executions(lead)
    assert (row["state"], row["read_backs"], waits(house, lead)) == ("in_doubt", 1, ("doubt", "in_doubt"))
    house.pass_time(2 * MINUTE)
    (row,) = house.executions(lead)
    assert (row["state"], row["attempts"], house.lead(lead)["cursor"]) == ("sent", 1, "check")
    assert (acts(house), struck(house)[1:]) == ([("dm", "ann")], [1, 1])
    agree(house)


def test_a_message_that_no_read_shows_is_held_until_the_inbox_shows_it(house: House) -> None:
    fault(house, "dm.send", "hang", accepted=True, seconds=60, times=1)
    fault(house, "dm.*", "lag", seconds=3600)
    (lead,) = house.enroll("listen", friends(house, "ann"))
    house.pass_time(5 * MINUTE)
    assert (states(house, lead), waits(house, lead)) == (["held"], ("doubt", "held"))
    agree(house, held=1)
    house.pass_time(80 * MINUTE, step=5 * MINUTE)
    assert (states(house, lead), house.lead(lead)["cursor"]) == (["sent"], "check")
    assert [row["state"] for row in house.db.read("SELECT state FROM task")] == ["done"]
    assert acts(house) == [("dm", "ann")]
    agree(house)


def test_a_follow_that_a_lagging_read_does_not_show_is_asked_for_again_and_changes_nothing(
    house: House,
) -> None:
    fault(house, "follow", "hang", accepted=True, seconds=60, times=1)
    fault(house, "users.by_ids", "lag", seconds=3600, times=1)
    (lead,) = house.enroll("follow-unfollow", friends(house, "ann"))
    house.pass_time(3 * MINUTE)
    (row,) = house.executions(lead)
    assert (row["state"], row["attempts"], acts(house)) == ("sent", 2, [("follow", "ann")])
    assert [deed.what for deed in house.deeds()] == ["repeated"]
    assert "ActionAbsent" in house.events(lead)
    agree(house)


# --- an inbox that cannot be read ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "failed"),
    [
        ({"do": "error", "status": 503}, "unreachable"),
        ({"do": "reset"}, "unreachable"),
        ({"do": "hang", "seconds": 60}, "unreachable"),
        ({"do": "drip", "seconds": 20 * DEADLINE}, "unreadable"),
        ({"do": "truncate"}, "unreadable"),
        ({"do": "garble"}, "unreadable"),
        ({"do": "rate_limit", "seconds": 1800}, "rate_limited"),
        ({"do": "refuse", "problem": "client_forbidden"}, "forbidden"),
    ],
    ids=lambda value: str(value["do"]) if isinstance(value, dict) else "",
)
def test_an_inbox_that_cannot_be_read_proves_no_silence_and_loses_no_reply(
    house: House, how: dict[str, Any], failed: str
) -> None:
    ann, bob = house.enroll("listen", friends(house, "ann", "bob"))
    fault(house, "dm.list", **how)
    house.pass_time(DAY, step=DAY)
    house.says("ann", YES)
    house.pass_time(3 * DAY, step=DAY)
    assert struck(house)[0] >= 3
    assert [house.lead(lead)["cursor"] for lead in (ann, bob)] == ["check", "check"]
    assert [waits(house, lead) for lead in (ann, bob)] == [("evidence", "NOT_REPLIED")] * 2
    assert (states(house), len(acts(house))) == (["sent", "sent"], 2)
    (mark,) = house.db.read("SELECT failed, read_up_to FROM watermark")
    assert mark["failed"] == failed
    assert (account(house)["state"], inbound(house)) == ("ok", [])
    mend(house)
    house.pass_time(45 * MINUTE, step=5 * MINUTE)
    assert (words(house, "ann"), words(house, "bob")) == (["Hello.", "Thank"], ["Hello.", "One"])
    assert {house.lead(lead)["state"] for lead in (ann, bob)} == {"finished"}
    agree(house)


def test_an_inbox_that_is_refused_with_401_is_read_with_a_fresh_token(house: House) -> None:
    (lead,) = house.enroll("listen", friends(house, "ann"))
    house.says("ann", YES)
    fault(house, "dm.list", "refuse", problem="unauthorized", times=1)
    house.pass_time(20 * MINUTE)
    assert (words(house), house.lead(lead)["state"]) == (["Hello.", "Thank"], "finished")
    assert [deed.what for deed in house.deeds()].count("refreshed") == 1
    agree(house)


@pytest.mark.parametrize("do", ["error", "garble", "truncate", "reset", "rate_limit"])
def test_a_look_up_that_fails_proves_no_missing_follow(house: House, do: str) -> None:
    (lead,) = house.enroll("follow-unfollow", friends(house, "ann"))
    fault(house, "users.by_ids", do)
    house.pass_time(4 * DAY, step=DAY)
    assert struck(house)[0] >= 1
    assert (acts(house), waits(house, lead)) == ([("follow", "ann")], ("evidence", "NOT_FOLLOWED_BACK"))
    mend(house)
    house.pass_time(5 * MINUTE)
    assert (acts(house), house.lead(lead)["state"]) == ([("follow", "ann"), ("unfollow", "ann")], "finished")
    agree(house)


# --- webhooks ------------------------------------------------------------------------------------------------


def test_what_is_told_three_times_happens_once(told: House) -> None:
    deaf(told)
    fault(told, "webhook:*", "duplicate", copies=3, seconds=120)
    (lead,) = told.enroll("listen", friends(told, "ann"))
    told.says("ann", YES)
    told.pass_time(HOUR)
    assert (words(told), told.lead(lead)["state"]) == (["Hello.", "Thank"], "finished")
    assert [deed.what for deed in told.deeds()].count("delivered") == 9
    assert (len(inbound(told)), len(inbound(told, "message_out"))) == (1, 2)
    assert [row["kind"] for row in told.db.read("SELECT kind FROM signal")] == ["REPLIED"]
    assert told.events(lead).count("SignalReceived") == 1
    agree(told)


def test_a_stop_that_overtakes_a_yes_is_a_stop(told: House) -> None:
    deaf(told)
    fault(told, "webhook:dm.received", "postpone", seconds=600, times=1)
    (lead,) = told.enroll("listen", friends(told, "ann"))
    told.says("ann", YES)
    told.pass_time(MINUTE)
    told.says("ann", "STOP")
    told.pass_time(MINUTE)
    assert (suppressed(told), told.lead(lead)["state"], len(inbound(told))) == (True, "exited", 1)
    told.pass_time(5 * DAY, step=DAY / 4)
    assert [row["text"] for row in inbound(told)] == ["STOP", YES]
    assert (words(told), suppressed(told), told.lead(lead)["state"]) == (["Hello."], True, "exited")
    agree(told)


def test_replies_in_any_order_are_each_answered_once(told: House) -> None:
    deaf(told)
    fault(told, "webhook:*", "shuffle", seconds=900)
    leads = told.enroll("listen", friends(told, "ann", "bob", "cid"))
    for handle in ("ann", "bob", "cid"):
        told.says(handle, YES)
    told.pass_time(HOUR)
    said = [deed.person for deed in told.deeds() if deed.what == "said"]
    heard = [row["peer"] for row in inbound(told)]
    assert (sorted(heard), heard != said) == (sorted(said), True)
    assert [words(told, handle) for handle in ("ann", "bob", "cid")] == [["Hello.", "Thank"]] * 3
    assert {told.lead(lead)["state"] for lead in leads} == {"finished"}
    agree(told)


def test_a_reply_that_is_told_days_late_was_read_long_before_and_counts_once(told: House) -> None:
    fault(told, "webhook:dm.received", "postpone", seconds=2 * 86400)
    (lead,) = told.enroll("listen", friends(told, "ann"))
    told.says("ann", YES)
    told.pass_time(20 * MINUTE)
    assert (words(told), told.lead(lead)["state"]) == (["Hello.", "Thank"], "finished")
    told.pass_time(4 * DAY, step=DAY / 4)
    assert [row["via"] for row in inbound(told)] == ["poll"]
    assert "delivered" in [deed.what for deed in told.deeds() if deed.kind == "dm.received"]
    assert words(told) == ["Hello.", "Thank"]
    agree(told)


def test_a_reply_that_comes_after_the_deadline_by_a_late_push_alone_is_no_silence(told: House) -> None:
    deaf(told)
    fault(told, "webhook:dm.received", "postpone", seconds=5 * 86400)
    (lead,) = told.enroll("listen", friends(told, "ann"))
    told.pass_time(DAY, step=DAY / 4)
    told.says("ann", YES)
    told.pass_time(4 * DAY, step=DAY / 4)
    assert (words(told), waits(told, lead)) == (["Hello."], ("evidence", "NOT_REPLIED"))
    told.pass_time(2 * DAY, step=DAY / 4)
    assert (words(told), told.lead(lead)["state"]) == (["Hello.", "Thank"], "finished")
    agree(told)


@pytest.mark.parametrize(("text", "then"), [(YES, ["Hello.", "Thank"]), ("STOP", ["Hello."])])
def test_a_reply_that_is_never_told_is_read(told: House, text: str, then: list[str]) -> None:
    fault(told, "webhook:*", "lose")
    (lead,) = told.enroll("listen", friends(told, "ann"))
    told.says("ann", text)
    told.pass_time(20 * MINUTE)
    assert (words(told), suppressed(told)) == (then, text == "STOP")
    assert [row["via"] for row in inbound(told)] == ["poll"]
    told.pass_time(5 * DAY, step=DAY / 4)
    assert (words(told), told.lead(lead)["state"]) == (then, "exited" if text == "STOP" else "finished")
    agree(told)


@pytest.mark.parametrize("do", ["lose", "missign"])
def test_a_follow_back_that_is_never_rightly_told_is_looked_up_before_anybody_is_unfollowed(
    told: House, do: str
) -> None:
    fault(told, "webhook:follow.follow", do)
    (lead,) = told.enroll("follow-unfollow", friends(told, "ann"))
    told.simulator.acts.follow_back(told.clock.now(), id_of_handle("ann"), id_of_handle("we"))
    told.pass_time(3 * DAY, step=DAY / 4)
    assert (acts(told), told.lead(lead)["state"]) == ([("follow", "ann")], "finished")
    assert [row["kind"] for row in told.db.read("SELECT kind FROM signal")] == ["FOLLOWED_BACK"]
    agree(told)


def test_a_wrongly_signed_push_is_not_believed_and_what_it_said_is_read(told: House) -> None:
    deaf(told)
    fault(told, "webhook:dm.received", "missign")
    (lead,) = told.enroll("listen", friends(told, "ann"))
    told.says("ann", "STOP")
    told.pass_time(20 * MINUTE)
    refused = [deed.status for deed in told.deeds() if deed.what == "undelivered"]
    assert (refused, inbound(told), suppressed(told)) == ([401] * 4, [], False)
    assert (told.lead(lead)["state"], told.lead(lead)["cursor"]) == ("active", "check")
    mend(told)
    told.pass_time(20 * MINUTE)
    assert (suppressed(told), told.lead(lead)["state"], words(told)) == (True, "exited", ["Hello."])
    agree(told)


def test_what_is_signed_rightly_the_second_time_is_believed(told: House) -> None:
    deaf(told)
    fault(told, "webhook:dm.received", "missign", accepted=True, seconds=120)
    (lead,) = told.enroll("listen", friends(told, "ann"))
    told.says("ann", YES)
    told.pass_time(MINUTE)
    assert (inbound(told), words(told)) == ([], ["Hello."])
    told.pass_time(5 * MINUTE)
    assert ([row["via"] for row in inbound(told)], words(told)) == (["webhook"], ["Hello.", "Thank"])
    assert told.lead(lead)["state"] == "finished"
    agree(told)


# --- own echoes before the answer ----------------------------------------------------------------------------


def quick(db: Database, folder: Path, reactions: list[object]) -> House:
    """In process: what a call causes is told, and understood, before its answer arrives."""
    found = build(
        db,
        folder,
        people=[people("ann")[0] | {"persona": {"reactions": reactions, "follow_back_after": None}}],
    )
    roomy_account(found)
    publish(found)
    found.digest_at_once = True
    return found


def test_an_own_echo_that_is_understood_before_the_answer_settles_the_call_once(
    db: Database, tmp_path: Path
) -> None:
    house = quick(db, tmp_path, [])
    fault(house, "follow", "delay", seconds=5)
    fault(house, "dm.send", "delay", seconds=5)
    (lead,) = house.enroll("three", friends(house, "ann"))
    house.pass_time(4 * DAY + HOUR, step=HOUR)
    assert (states(house, lead), acts(house)) == (
        ["sent"] * 3,
        [("follow", "ann"), ("dm", "ann"), ("dm", "ann")],
    )
    how = house.db.read("SELECT payload->>'how' AS how FROM event WHERE kind = 'ActionSent' ORDER BY id")
    # A follow's echo settles its open call; a message's is left to its own T2, which then needs no second word.
    assert [row["how"] for row in how] == ["echo", "accepted", "accepted"]
    message = house.executions(lead)[1]
    assert (message["attempts"], message["provider_ids"]["dm_event_id"]) == (1, house.accepted()[1].id)
    assert "dm_conversation_id" in message["provider_ids"]
    assert house.lead(lead)["state"] == "finished"
    assert {row["state"] for row in inbound(house, "message_out")} == {"digested"}
    agree(house)


def test_a_reply_that_comes_before_the_answer_to_what_it_answers_is_answered(
    db: Database, tmp_path: Path
) -> None:
    house = quick(db, tmp_path, [[{"habit": "positive", "after": 30, "text": YES}]])
    fault(house, "dm.send", "delay", seconds=60, times=1)
    (lead,) = house.enroll("listen", friends(house, "ann"))
    house.pass_time(5 * MINUTE)
    assert (words(house), house.lead(lead)["state"]) == (["Hello.", "Thank"], "finished")
    agree(house)
