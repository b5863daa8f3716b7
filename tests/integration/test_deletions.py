"""What a platform or an author asks to be deleted: gone at once, before its time whatever happens, and never back."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from outreach.compliance.retention import PRESSING
from outreach.engine.kinds import ActionKind
from outreach.models import deletions
from outreach.models.base import Database
from outreach.providers.base import InboundItem, InboundKind
from outreach.runtime.accept import accept
from outreach.runtime.alarms import alarms
from outreach.runtime.deleting import Deleted, delete_message
from outreach.runtime.digest import digest
from outreach.runtime.disconnect import disconnect, purge
from outreach.runtime.notifying import _reply_text
from outreach.runtime.oneoff import send_one
from outreach.runtime.retaining import retain
from outreach.runtime.standing import standing_now
from outreach.simulator import id_of_handle
from tests.integration.connect_support import connect_as
from tests.integration.law_support import WRITE, friends, open_house, roomy_account, sql
from tests.integration.retention_support import bodies, logged, received, words
from tests.stage import House

pytestmark = pytest.mark.servers
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    found = open_house(db, tmp_path, world={"token_lifetime_s": 90 * 86400.0})
    roomy_account(found)
    found.publish(WRITE)
    return found


def delete(house: House, content_id: str) -> Deleted:
    return delete_message(house.ctx, channel="twitter", content_id=content_id, reason="its author deleted it", by="eva")  # fmt: skip


def pushed(house: House, content_id: str, text: str) -> list[int]:
    """Told to us now, by a push; what is to be digested."""
    item = InboundItem(
        kind=InboundKind.MESSAGE_IN, content_id=content_id, account_external_id=id_of_handle("we"), peer=id_of_handle("ann"),
        occurred_at=house.clock.now(), text=text, raw={"text": text}, peer_handle="ann",
    )  # fmt: skip
    return [hint.id for hint in accept(house.ctx, "twitter", [item])]


def late(house: House) -> list[str]:
    now = house.clock.now()
    return [
        a.subject for a in house.db.run(lambda tx: alarms(house.ctx, tx, now)) if a.alert == "deletion_late"
    ]


# --- one message -----------------------------------------------------------------------------------------------------------


def test_a_message_is_forgotten_at_once_and_the_log_has_ids_only(house: House) -> None:
    at = received(house, "dm:1", house.clock.now())
    received(house, "dm:2", house.clock.now())
    done = delete(house, "dm:1")
    assert (done.outcome, done.erased, words(house)) == ("erased", 1, {"dm:1": None, "dm:2": "words of dm:2"})
    (event,) = logged(house, "ContentDeleted")
    assert event["payload"] == {
        "deletion_id": done.id, "scope": "message", "outcome": "erased", "erased": 1, "inbound_ids": [at],
    }  # fmt: skip
    again = delete(house, "dm:1")
    assert (again.outcome, again.erased) == ("erased", 0)


def test_a_stop_that_is_deleted_before_it_is_read_stops_all_the_same(house: House) -> None:
    (ann,) = friends(house, "ann")
    (at,) = pushed(house, "dm:1", "STOP")
    assert delete(house, "dm:1").outcome == "erased"
    assert words(house) == {"dm:1": None}
    digest(house.ctx, at)
    assert house.db.read("SELECT suppressed_at IS NOT NULL AS yes FROM person WHERE id = %s", (ann,))[0][
        "yes"
    ]


def test_what_is_asked_for_before_it_comes_is_remembered_and_its_words_are_never_stored(house: House) -> None:
    (ann,) = friends(house, "ann")
    assert delete(house, "dm:1").outcome is None  # a push of it may be in the middle of being stored
    house.clock.advance(timedelta(minutes=15))
    house.tick()
    assert [e["payload"]["outcome"] for e in logged(house, "ContentDeleted")] == ["unknown"]
    house.clock.advance(30 * DAY)
    hinted = pushed(house, "dm:1", "please stop")
    assert words(house) == {"dm:1": None}
    for one in hinted:
        digest(house.ctx, one)
    assert house.db.read("SELECT suppressed_at IS NOT NULL AS yes FROM person WHERE id = %s", (ann,))[0][
        "yes"
    ]
    assert "please stop" not in str(house.db.read("SELECT m::text AS m FROM inbound m"))
    assert pushed(house, "dm:2", "another one") and words(house)["dm:2"] == "another one"


def test_a_message_that_was_being_stored_when_somebody_asked_is_found_by_the_sweep(house: House) -> None:
    delete(house, "dm:1")
    received(house, "dm:1", house.clock.now())  # its transaction had begun before
    house.clock.advance(timedelta(minutes=1))
    retain(house.ctx)
    assert words(house) == {"dm:1": None}


def test_our_own_message_waits_until_its_call_is_explained_but_not_for_ever(house: House) -> None:
    house.enroll("write", friends(house, "ann"))
    house.pass_time(timedelta(minutes=2))
    (echo,) = house.db.read("SELECT id, content_id FROM inbound WHERE kind = 'message_out'")
    assert len(bodies(house)) == 1
    sql(house, "UPDATE inbound SET state = 'waiting', digest_after = %s WHERE id = %s", house.clock.now() + 30 * DAY, echo["id"])  # fmt: skip
    done = delete(house, echo["content_id"])
    assert (done.outcome, words(house)[echo["content_id"]] is not None, late(house)) == (None, True, [])
    house.clock.advance(20 * HOUR - timedelta(seconds=1))
    retain(house.ctx)
    assert (words(house)[echo["content_id"]] is not None, late(house)) == (True, [])
    house.clock.advance(timedelta(seconds=1))
    assert late(house) == [str(done.id)]
    retain(house.ctx)
    assert (words(house)[echo["content_id"]], bodies(house), late(house)) == (None, [], [])
    assert house.clock.now() - house.db.read("SELECT asked_at AS at FROM deletion")[0]["at"] < DAY


def test_a_notice_that_waits_tells_nothing_of_what_was_deleted_meanwhile(house: House) -> None:
    ctx = replace(
        house.ctx,
        settings=replace(house.ctx.settings, notify_url="https://notify.example.test/n", notify_body=True),
    )
    friends(house, "ann")
    for content in ("dm:1", "dm:2"):
        (at,) = pushed(house, content, f"secret of {content}")
        digest(ctx, at)
    delete(house, "dm:1")
    rows = house.db.read("SELECT payload FROM notice ORDER BY id")
    first, second = (house.db.run(lambda tx, row=row: _reply_text(ctx, tx, row["payload"])) for row in rows)  # type: ignore[misc]
    assert ("secret" in first, ">" in first, "secret of dm:2" in second) == (False, False, True)


# --- all of an account ------------------------------------------------------------------------------------------------------


def revoke(house: House) -> None:
    """The owner takes our access away at X."""
    account = house.simulator.network.find("we")
    assert account is not None
    house.simulator.tokens.revoke(account.id, house.clock.now())
    item = InboundItem(
        kind=InboundKind.ACCOUNT_REVOKED, content_id="revoke:1", account_external_id=account.id, peer="", occurred_at=house.clock.now(),
    )  # fmt: skip
    for hint in accept(house.ctx, "twitter", [item]):
        digest(house.ctx, hint.id)


def test_access_that_was_revoked_has_its_texts_deleted_within_ten_business_days(house: House) -> None:
    house.enroll("write", friends(house, "ann"))
    house.says("ann", "tell me more")
    house.pass_time(timedelta(minutes=2))
    revoke(house)
    (asked,) = standing_now(house.ctx)["deletions"]
    # A Monday noon and ten business days.
    assert (asked["account"], asked["due_by"] - asked["asked_at"]) == ("we", 14 * DAY)
    house.clock.instant = asked["begin_at"] - timedelta(seconds=1)
    retain(house.ctx)
    assert "tell me more" in words(house).values()
    house.clock.advance(timedelta(seconds=1))
    retain(house.ctx)
    assert (set(words(house).values()), bodies(house)) == ({None}, [])
    assert [e["payload"]["outcome"] for e in logged(house, "ContentDeleted")] == ["erased"]
    assert standing_now(house.ctx)["deletions"] == []
    assert len(house.db.read("SELECT 1 FROM execution WHERE state = 'sent' AND body_hash IS NOT NULL")) == 1


def test_an_account_that_is_connected_again_keeps_its_texts(house: House) -> None:
    received(house, "dm:1", house.clock.now())
    revoke(house)
    house.clock.advance(DAY)
    connect_as(house)
    retain(house.ctx)
    assert house.db.read("SELECT outcome FROM deletion") == [{"outcome": "connected_again"}]
    house.clock.advance(30 * DAY)
    retain(house.ctx)
    assert words(house)["dm:1"] == "words of dm:1"


def test_a_purge_takes_what_came_before_the_account_was_ours_and_the_words_of_one_offs(house: House) -> None:
    (ann,) = friends(house, "ann")
    received(house, "dm:1", house.clock.now(), account=None)
    received(house, "dm:2", house.clock.now(), account_key="77", account=None)
    for key in ("sent", "blocked"):
        made = send_one(house.ctx, key=key, person_id=ann, kind=ActionKind.SEND_TWITTER_DM, text="Only for Ann", by="eva")  # fmt: skip
        house.hints.extend(made.hints)
        house.pass_time(timedelta(minutes=2))
    sql(house, "UPDATE lead SET state = 'exited', exit_reason = 'x', ended_at = enrolled_at, due_at = NULL, waiting_on = NULL,"
        " account_id = NULL, next_kind = NULL WHERE key = 'blocked'")  # fmt: skip
    disconnect(house.ctx, "we", by="eva")
    gone = purge(house.ctx, house.db.read("SELECT id FROM account")[0]["id"], by="eva")
    assert (gone.bodies, gone.bodies_left, gone.messages_left) == (1, 0, 0)
    assert (words(house)["dm:1"], words(house)["dm:2"]) == (None, "words of dm:2")
    assert {str(row["data"]) for row in house.db.read("SELECT data FROM lead")} == {"{}"}
    assert [(e["actor"], e["payload"]["scope"]) for e in logged(house, "ContentDeleted")] == [
        ("eva", "account")
    ]


def test_what_a_purge_had_to_leave_is_taken_by_the_sweep(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = house.clock.now()
    received(house, "dm:1", now, kind="message_out", state="waiting", **{"class": None})
    sql(house, "UPDATE inbound SET digest_after = %s", now + 3 * DAY)
    received(house, "dm:9", now, kind="of_a_newer_release", state="stored", **{"class": None})
    disconnect(house.ctx, "we", by="eva")
    left = purge(house.ctx, house.db.read("SELECT id FROM account")[0]["id"], by="eva")
    assert (left.messages_left, set(words(house).values())) == (2, {"words of dm:1", "words of dm:9"})
    house.clock.advance(DAY - PRESSING)
    retain(house.ctx)
    assert set(words(house).values()) == {None}


def test_words_of_a_call_that_nobody_can_settle_go_when_the_time_presses(house: House) -> None:
    """And so do those in its lead, which waits for somebody to look."""
    (ann,) = friends(house, "ann")
    made = send_one(
        house.ctx, key="k", person_id=ann, kind=ActionKind.SEND_TWITTER_DM, text="Only for Ann", by="eva"
    )
    house.hints.extend(made.hints)
    house.pass_time(timedelta(minutes=2))
    sql(
        house,
        "UPDATE execution SET state = 'held', reason = 'x', effect_by = started_at, call_deadline = started_at, fence = 1",
    )
    sql(
        house,
        "UPDATE lead SET state = 'active', due_at = %s, waiting_on = 'doubt', ended_at = NULL",
        house.clock.now() + 9 * DAY,
    )
    disconnect(house.ctx, "we", by="eva")
    left = purge(house.ctx, house.db.read("SELECT id FROM account")[0]["id"], by="eva")
    assert (left.bodies_left, len(bodies(house)), house.lead(made.lead_id)["data"]) == (
        1,
        1,
        {"text": "Only for Ann"},
    )
    house.clock.advance(DAY - PRESSING)
    retain(house.ctx)
    assert (bodies(house), house.lead(made.lead_id)["data"], house.executions()[0]["state"]) == (
        [],
        {},
        "held",
    )


def test_a_purge_that_dies_in_the_middle_is_gone_on_with_by_the_sweep(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.enroll("write", friends(house, "ann"))
    house.pass_time(timedelta(minutes=2))
    received(house, "dm:1", house.clock.now())
    disconnect(house.ctx, "we", by="eva")
    account = house.db.read("SELECT id FROM account")[0]["id"]

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(deletions, "purge_messages", dies)
        with pytest.raises(KeyboardInterrupt):
            purge(house.ctx, account, by="eva")
    assert (bodies(house), words(house)["dm:1"]) == ([], "words of dm:1")
    retain(house.ctx)
    assert set(words(house).values()) == {None}
    assert len(logged(house, "ContentDeleted")) == 1
