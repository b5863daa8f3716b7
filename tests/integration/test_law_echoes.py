"""Own messages and follows seen from the provider's side: they settle their call, or count as made by hand."""

from datetime import timedelta
from pathlib import Path

import pytest

from outreach.models import claims, reports
from outreach.models.base import Database, to_json
from outreach.providers.base import Accepted, Refused
from outreach.rehearsal.judge import judge
from outreach.runtime import hints
from outreach.runtime.claim import Claimed, claim
from outreach.runtime.prepare import Prepared, prepare
from outreach.runtime.settle import settle
from tests.integration.law_support import (
    DAY,
    FOLLOW,
    HOUR,
    MINUTE,
    NO_CAPS,
    WRITE,
    WRITE_AND_LISTEN,
    GrantsEverything,
    acts,
    execution,
    fault,
    friends,
    id_of_handle,
    only_execution,
    open_house,
    plan,
    roomy_account,
    sql,
    states,
)
from tests.stage import House

pytestmark = pytest.mark.servers
HELLO = "Hello. Reply STOP and I will not write again."


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    found = open_house(db, tmp_path)
    roomy_account(found, caps=NO_CAPS | {"SEND_TWITTER_DM": "2/day", "FOLLOW_ON_TWITTER": "2/day"})
    for text in (FOLLOW, WRITE, WRITE_AND_LISTEN):
        found.publish(text)
    return found


def begin(house: House, execution_id: int) -> Claimed:
    prepared = prepare(house.ctx, execution_id)
    assert isinstance(prepared, Prepared)
    claimed = claim(house.ctx, prepared)
    assert isinstance(claimed, Claimed)
    return claimed


def by_hand(house: House, handle: str, text: str) -> None:
    """A human writes in the provider's own app."""
    sent = house.simulator.acts.message(
        id_of_handle("we"), id_of_handle(handle), text, house.clock.now(), by="hand"
    )
    assert not hasattr(sent, "status"), sent
    house.run()
    # While a call to them is under way, its own T2 or the next sweep understands what was pushed.
    house.tick()


def follow_by_hand(house: House, handle: str) -> None:
    house.simulator.acts.follow(id_of_handle("we"), id_of_handle(handle), house.clock.now(), by="hand")
    house.run()


def test_an_echo_that_comes_before_the_answer_settles_the_call_and_the_answer_then_does_nothing(
    house: House,
) -> None:
    claimed = begin(house, plan(house, "listen", friends(house, "ann"))[0])
    by_hand(house, "ann", HELLO)
    row = execution(house, claimed.execution_id)
    assert (row["state"], row["provider_ids"]["dm_event_id"]) == ("sent", house.accepted()[0].id)
    lead = house.lead(row["lead_id"])
    assert lead["cursor"] == "check"
    settle(house.ctx, claimed, Accepted({"dm_conversation_id": "1-2"}))
    assert house.lead(row["lead_id"]) == lead
    assert house.events(row["lead_id"]).count("ActionSent") == 1
    assert execution(house, claimed.execution_id)["provider_ids"]["dm_conversation_id"] == "1-2"


def test_an_answer_that_is_delayed_behind_its_echo_moves_the_lead_once(house: House) -> None:
    fault(house, "dm.send", "delay", seconds=5, times=1)
    (lead,) = house.enroll("listen", friends(house, "ann"))
    house.pass_time(2 * MINUTE)
    assert (house.lead(lead)["cursor"], acts(house)) == ("check", [("dm", "ann")])
    assert len(house.executions()) == 1


def test_the_echo_of_a_settled_send_is_explained_by_its_id(house: House) -> None:
    (lead,) = house.enroll("write", friends(house, "ann"))
    house.pass_time(5 * MINUTE)
    assert [row["state"] for row in house.db.read("SELECT state FROM inbound")] == ["digested"]
    assert states(house) == ["sent"]
    assert only_execution(house, lead)["lead_id"] == lead


def test_an_echo_with_other_words_is_not_the_open_call(house: House) -> None:
    claimed = begin(house, plan(house, "write", friends(house, "ann"))[0])
    by_hand(house, "ann", "Something else entirely")
    assert execution(house, claimed.execution_id)["state"] == "calling"
    assert [row["state"] for row in house.db.read("SELECT state FROM inbound")] == ["waiting"]


def test_the_same_words_said_by_hand_long_before_the_call_do_not_settle_it(house: House) -> None:
    fault(house, "webhook:dm.sent", "postpone", seconds=3600, times=1)
    (ann,) = friends(house, "ann")
    by_hand(house, "ann", HELLO)
    house.clock.advance(HOUR - MINUTE)
    sql(house, """UPDATE instance SET policy = '{"touch": {"gap_hours": 0, "limit": 9, "days": 30}}'""")
    claimed = begin(house, plan(house, "write", [ann])[0])
    house.clock.advance(MINUTE)
    house.run()
    assert len(house.db.read("SELECT id FROM inbound")) == 1
    assert execution(house, claimed.execution_id)["state"] == "calling"
    settle(house.ctx, claimed, Refused("cannot_message"))
    assert execution(house, claimed.execution_id)["state"] == "refused"


def test_what_nobody_explains_counts_as_sent_by_hand_after_a_while(house: House) -> None:
    friends(house, "ann")
    by_hand(house, "ann", "By hand")
    wait = house.ctx.call_deadline + house.ctx.settle
    house.pass_time(wait - timedelta(seconds=1), step=timedelta(seconds=10))
    assert states(house) == []
    house.pass_time(MINUTE)
    (row,) = house.executions()
    assert (row["state"], row["cause"], row["done_by"]) == ("sent", "by_hand", "by hand")
    assert row["effect_by"] == house.accepted()[0].t_scaled.replace(microsecond=row["effect_by"].microsecond)


def test_sends_by_hand_count_against_the_caps_and_the_touches(house: House) -> None:
    ann, bob, cid = friends(house, "ann", "bob", "cid")
    by_hand(house, "ann", "By hand")
    by_hand(house, "bob", "By hand too")
    house.pass_time(5 * MINUTE)
    (lead,) = house.enroll("write", [cid])
    assert house.lead(lead)["waiting_detail"] == "cap.account"
    sql(house, """UPDATE account SET caps = '{"SEND_TWITTER_DM": "none"}'""")
    (again,) = house.enroll("listen", [ann])
    assert house.lead(again)["waiting_detail"] == "touch.gap"
    assert bob


def test_follows_by_hand_count_too(house: House) -> None:
    persons = friends(house, "ann", "bob", "cid")
    follow_by_hand(house, "ann")
    follow_by_hand(house, "bob")
    house.pass_time(5 * MINUTE)
    (lead,) = house.enroll("follow", persons[2:])
    assert house.lead(lead)["waiting_detail"] == "cap.account"


@pytest.mark.parametrize("copies", [2, 3])
def test_an_echo_that_is_told_several_times_counts_once(house: House, copies: int) -> None:
    fault(house, "webhook:dm.sent", "duplicate", copies=copies, seconds=1)
    friends(house, "ann")
    by_hand(house, "ann", "By hand")
    house.pass_time(HOUR, step=5 * MINUTE)
    assert states(house) == ["sent"]


def test_an_echo_settles_a_call_that_is_in_doubt(house: House) -> None:
    fault(house, "dm.send", "hang", accepted=True, times=1)
    fault(house, "webhook:dm.sent", "postpone", seconds=20, times=1)
    (lead,) = house.enroll("listen", friends(house, "ann"))
    assert states(house, lead) == ["in_doubt"]
    house.clock.advance(timedelta(seconds=20))
    house.run()
    assert (states(house, lead), house.lead(lead)["cursor"]) == (["sent"], "check")


def test_the_echo_of_a_follow_settles_it_whenever_it_comes(house: House) -> None:
    fault(house, "follow", "reset", accepted=True, times=1)
    (lead,) = house.enroll("follow", friends(house, "ann"))
    house.run()
    assert (states(house, lead), house.lead(lead)["state"]) == (["sent"], "finished")
    house.pass_time(DAY, step=DAY / 4)
    assert (len(house.executions()), acts(house)) == (1, [("follow", "ann")])


def test_who_is_followed_by_hand_twice_counts_twice(house: House) -> None:
    persons = friends(house, "ann", "bob", "cid")
    for _ in range(2):
        follow_by_hand(house, "ann")
        house.simulator.acts.unfollow(id_of_handle("we"), id_of_handle("ann"), house.clock.now(), by="hand")
        house.pass_time(5 * MINUTE)
    assert causes(house) == ["by_hand", "by_hand"]
    (lead,) = house.enroll("follow", persons[2:])
    assert house.lead(lead)["waiting_detail"] == "cap.account"


def unfollow_by_hand(house: House, handle: str) -> None:
    house.simulator.acts.unfollow(id_of_handle("we"), id_of_handle(handle), house.clock.now(), by="hand")
    house.run()


def causes(house: House, kind: str = "FOLLOW_ON_TWITTER") -> list[str]:
    return [row["cause"] for row in house.executions() if row["kind"] == kind]


def refollow_by_hand(house: House, handle: str) -> None:
    unfollow_by_hand(house, handle)
    house.clock.advance(MINUTE)
    follow_by_hand(house, handle)


def test_who_was_followed_by_the_engine_and_again_by_hand_counts_twice(house: House) -> None:
    persons = friends(house, "ann", "bob")
    house.enroll("follow", persons[:1])
    house.pass_time(HOUR, step=5 * MINUTE)
    assert causes(house) == ["start"]
    refollow_by_hand(house, "ann")
    house.pass_time(5 * MINUTE)
    assert causes(house) == ["start", "by_hand"]
    (lead,) = house.enroll("follow", persons[1:])
    assert house.lead(lead)["waiting_detail"] == "cap.account"


@pytest.mark.parametrize("how", ["duplicate", "shuffle", "postpone"])
def test_however_follows_are_told_each_is_counted_once(house: House, how: str) -> None:
    friends(house, "bob")
    fault(house, "webhook:follow.follow", how, seconds=600, **({"copies": 3} if how == "duplicate" else {}))
    house.enroll("follow", friends(house, "ann"))
    house.pass_time(MINUTE)
    refollow_by_hand(house, "ann")
    refollow_by_hand(house, "ann")
    house.pass_time(HOUR, step=MINUTE)
    assert causes(house) == ["start", "by_hand", "by_hand"]
    assert len([kind for kind, _ in acts(house) if kind == "follow"]) == 3


def test_the_echo_that_settles_a_follow_is_its_only_one(house: House) -> None:
    fault(house, "follow", "reset", accepted=True, times=1)
    (lead,) = house.enroll("follow", friends(house, "ann"))
    assert states(house, lead) == ["sent"]
    refollow_by_hand(house, "ann")
    house.pass_time(5 * MINUTE)
    assert causes(house) == ["start", "by_hand"]


def test_who_lets_us_in_days_later_is_not_followed_by_hand(house: House) -> None:
    house.simulator.network.users[id_of_handle("ann")].protected = True
    house.enroll("follow", friends(house, "ann"))
    house.pass_time(3 * DAY, step=6 * HOUR)
    house.simulator.acts.approve(house.clock.now(), id_of_handle("ann"), id_of_handle("we"))
    house.pass_time(HOUR, step=5 * MINUTE)
    assert (causes(house), len(house.db.read("SELECT id FROM inbound"))) == (["start"], 1)


def test_a_hint_that_comes_twice_does_not_shorten_the_wait_of_an_echo(house: House) -> None:
    house.deliver = lambda hint: [hint, hint, hint]
    friends(house, "ann")
    by_hand(house, "ann", "By hand to somebody known")
    by_hand(house, "bob", "By hand to a stranger")
    assert states(house) == []
    house.pass_time(5 * MINUTE)
    assert states(house) == ["sent", "sent"]


# --- by hand, to people whom we do not know ------------------------------------------------------------------

STRANGERS = ("ann", "bob")


def known_people(house: House) -> list[int]:
    return [row["id"] for row in house.db.read("SELECT person_id AS id FROM identity")]


def test_a_stranger_is_counted_after_the_same_wait_and_stays_a_stranger(house: House) -> None:
    by_hand(house, "ann", "By hand")
    wait = house.ctx.call_deadline + house.ctx.settle
    house.pass_time(wait - timedelta(seconds=1), step=timedelta(seconds=10))
    assert states(house) == []
    house.pass_time(MINUTE)
    (row,) = house.executions()
    assert (row["state"], row["cause"], row["lead_id"], row["identity_id"]) == ("sent", "by_hand", None, None)
    assert row["effect_by"] == house.accepted()[0].t_scaled.replace(microsecond=row["effect_by"].microsecond)
    assert [house.db.read(f"SELECT id FROM {t}") for t in ("person", "identity", "lead")] == [[], [], []]
    (event,) = house.db.read("SELECT person_id, execution_id, payload FROM event WHERE kind = 'SentByHand'")
    assert event == {"person_id": None, "execution_id": row["id"], "payload": {}}
    (shown,) = house.db.run(lambda tx: reports.ledger(tx, state=None, account=None, since=None, limit=9))
    assert (shown["id"], shown["person_id"]) == (row["id"], None)


@pytest.mark.parametrize("scope", ["account", "app", "instance"])
@pytest.mark.parametrize("kind", ["SEND_TWITTER_DM", "FOLLOW_ON_TWITTER"])
@pytest.mark.parametrize("limiter", ["seeded", "blind"])
def test_what_is_done_by_hand_to_strangers_counts_against_every_cap(
    db: Database, tmp_path: Path, scope: str, kind: str, limiter: str
) -> None:
    house = open_house(db, tmp_path, limiter=GrantsEverything() if limiter == "blind" else None)
    roomy_account(house)
    sql(house, f"UPDATE {scope} SET caps = caps || %s", to_json({kind: "2/day"}))
    for text in (FOLLOW, WRITE):
        house.publish(text)
    for handle in STRANGERS:
        follow_by_hand(house, handle) if kind == "FOLLOW_ON_TWITTER" else by_hand(house, handle, "By hand")
    house.pass_time(5 * MINUTE)
    (lead,) = house.enroll("write" if kind == "SEND_TWITTER_DM" else "follow", friends(house, "cid"))
    assert house.lead(lead)["waiting_detail"] == f"cap.{scope}"
    house.pass_time(DAY - 6 * MINUTE, step=HOUR / 2)
    assert len(house.accepted()) == 2
    house.pass_time(HOUR)
    assert len(house.accepted()) == 3


def test_a_limiter_that_lost_its_log_is_told_of_strangers_too(house: House) -> None:
    (account,) = house.db.read("SELECT id FROM account")
    for handle in STRANGERS:
        by_hand(house, handle, "By hand")
    house.pass_time(5 * MINUTE)
    entries, newest = house.db.run(
        lambda tx: claims.ledger_of(tx, "account", account["id"], "SEND_TWITTER_DM", house.clock.now() - DAY)
    )
    rows = house.executions()
    assert entries == [(row["id"], row["effect_by"]) for row in rows]
    assert (newest, len(rows)) == (rows[-1]["started_at"], 2)


def test_a_message_by_hand_to_a_stranger_sets_the_pace(house: House) -> None:
    sql(house, "UPDATE account SET pace = %s", to_json({"SEND_TWITTER_DM": 3600}))
    by_hand(house, "ann", "By hand")
    house.pass_time(5 * MINUTE)
    (lead,) = house.enroll("write", friends(house, "cid"))
    assert house.lead(lead)["waiting_detail"] == "pace.gap"


@pytest.mark.parametrize("copies", [2, 3])
def test_an_echo_of_a_stranger_counts_once_by_whichever_ways_it_comes(house: House, copies: int) -> None:
    fault(house, "webhook:dm.sent", "duplicate", copies=copies, seconds=200)
    by_hand(house, "ann", "By hand")
    house.hints.append(hints.check_for_reply(house.db.read("SELECT id FROM account")[0]["id"]))
    house.pass_time(2 * HOUR, step=MINUTE)
    assert states(house) == ["sent"]
    assert known_people(house) == []


def test_who_is_imported_while_their_echo_waits_is_no_stranger(house: House) -> None:
    by_hand(house, "ann", "By hand")
    (ann,) = friends(house, "ann")
    house.pass_time(5 * MINUTE)
    (lead,) = house.enroll("write", [ann])
    assert house.lead(lead)["waiting_detail"] == "touch.gap"


def test_a_run_with_sends_by_hand_is_judged_clean(house: House) -> None:
    friends(house, "bob")
    for handle in ("ann", "bob"):
        by_hand(house, handle, f"By hand to {handle}")
    follow_by_hand(house, "ann")
    house.pass_time(5 * MINUTE)
    verdict = judge(
        house.db,
        house.accepted(),
        house.deeds(),
        caps={},
        now=house.clock.now(),
        machine=timedelta(seconds=1),
    )
    assert (verdict.clean, verdict.accepted, verdict.findings) == (True, 3, ())


def test_a_second_follow_by_hand_is_counted_and_does_not_stick(house: House) -> None:
    friends(house, "ann")
    follow_by_hand(house, "ann")
    house.pass_time(5 * MINUTE)
    house.simulator.acts.unfollow(id_of_handle("we"), id_of_handle("ann"), house.clock.now(), by="hand")
    house.pass_time(HOUR, step=10 * MINUTE)
    follow_by_hand(house, "ann")
    house.pass_time(5 * MINUTE)
    assert causes(house) == ["by_hand", "by_hand"]
    assert {row["state"] for row in house.db.read("SELECT state FROM inbound")} == {"digested"}


def test_the_same_words_by_hand_long_after_a_yes_without_an_id_are_one_more_send(house: House) -> None:
    fault(house, "dm.send", "garble", times=1)
    fault(house, "webhook:dm.sent", "lose", times=1)
    fault(house, "dm.list", "error", status=503)
    house.enroll("write", friends(house, "ann"))
    house.pass_time(HOUR, step=10 * MINUTE)
    by_hand(house, "ann", HELLO)
    house.pass_time(5 * MINUTE)
    assert [row["cause"] for row in house.executions()] == ["start", "by_hand"]
    assert len(acts(house)) == 2
