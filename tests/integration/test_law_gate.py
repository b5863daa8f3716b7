"""The gate in the whole engine: window, touches, earlier contacts, words that are missing, messages that are unread, basis."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from outreach.models.base import Database, to_json
from outreach.providers.base import InboundItem, InboundKind
from outreach.runtime.accept import accept
from outreach.runtime.perform import perform
from tests.integration.law_support import (
    DAY,
    FOLLOW,
    HOUR,
    MINUTE,
    NO_CAPS,
    WRITE,
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
HANDLES = tuple(f"p{n}" for n in range(8))


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    found = open_house(db, tmp_path, HANDLES)
    roomy_account(found)
    for text in (FOLLOW, WRITE):
        found.publish(text)
    return found


def waits(house: House, lead: int) -> tuple[str, str]:
    row = house.lead(lead)
    return row["waiting_on"], row["waiting_detail"]


# --- the window ----------------------------------------------------------------------------------------------

OFFICE_HOURS = """
sequence: office
window: {days: mon-fri, from: "09:00", until: "18:00", zone: lead}
actions:
  follow: {do: FOLLOW_ON_TWITTER}
"""


@pytest.mark.parametrize(
    ("zone", "opens"),
    [
        ("UTC", None),
        ("Asia/Tokyo", datetime(2026, 1, 6, 0, 0, tzinfo=UTC)),
        ("America/Los_Angeles", datetime(2026, 1, 5, 17, 0, tzinfo=UTC)),
        ("Pacific/Auckland", datetime(2026, 1, 5, 20, 0, tzinfo=UTC)),
    ],
)
def test_the_window_is_the_persons_own_day(house: House, zone: str, opens: datetime | None) -> None:
    house.publish(OFFICE_HOURS)
    (lead,) = house.enroll("office", friends(house, "p0", zone=zone))
    if opens is None:
        assert len(acts(house)) == 1
        return
    assert (waits(house, lead), house.lead(lead)["due_at"]) == (("window", "window.closed"), opens)
    house.pass_time(opens - house.clock.now() - MINUTE, step=10 * MINUTE)
    assert acts(house) == []
    house.pass_time(MINUTE)
    assert len(acts(house)) == 1


def test_where_nobody_knows_their_zone_the_accounts_day_counts(house: House) -> None:
    house.publish(OFFICE_HOURS)
    sql(house, "UPDATE account SET zone = 'Asia/Tokyo'")
    lead, misspelt = house.enroll(
        "office", [*friends(house, "p0", zone=None), *friends(house, "p1", zone="Moon/Crater")]
    )
    assert waits(house, lead) == waits(house, misspelt) == ("window", "window.closed")
    assert house.lead(lead)["due_at"] == datetime(2026, 1, 6, 0, 0, tzinfo=UTC)


def test_where_nobodys_zone_is_known_nothing_is_sent(house: House) -> None:
    house.publish(OFFICE_HOURS)
    sql(house, "UPDATE account SET zone = 'Moon/Crater', caps = %s", to_json(NO_CAPS))
    (lead,) = house.enroll("office", friends(house, "p0", zone=None))
    assert waits(house, lead) == ("window", "window.zone_unknown")


# --- touches -------------------------------------------------------------------------------------------------


def written(house: House, name: str) -> str:
    house.publish(WRITE.replace("sequence: write", f"sequence: {name}"))
    return name


def test_a_human_is_left_alone_for_two_days_whichever_sequence_writes(house: House) -> None:
    (ann,) = friends(house, "p0")
    house.enroll("write", [ann])
    (lead,) = house.enroll(written(house, "second"), [ann])
    assert waits(house, lead) == ("capacity", "touch.gap")
    house.pass_time(2 * DAY - MINUTE, step=HOUR)
    assert len(acts(house)) == 1
    house.pass_time(2 * MINUTE)
    assert len(acts(house)) == 2


def test_four_touches_in_thirty_days_are_enough(house: House) -> None:
    (ann,) = friends(house, "p0")
    for name in ("write", *[written(house, f"more{n}") for n in range(3)]):
        house.enroll(name, [ann])
        house.pass_time(2 * DAY, step=DAY / 2)
    assert len(acts(house)) == 4
    (lead,) = house.enroll(written(house, "fifth"), [ann])
    assert waits(house, lead) == ("capacity", "touch.budget")
    assert house.lead(lead)["due_at"] == house.accepted()[0].t_scaled + 30 * DAY


def test_a_touch_policy_may_look_back_further_than_the_usual_month(house: House) -> None:
    sql(house, """UPDATE instance SET policy = '{"touch": {"gap_hours": 0, "limit": 1, "days": 60}}'""")
    (ann,) = friends(house, "p0")
    house.enroll("write", [ann])
    house.pass_time(45 * DAY, step=5 * DAY)
    (lead,) = house.enroll(written(house, "second"), [ann])
    assert waits(house, lead) == ("capacity", "touch.budget")


def test_follows_and_answers_are_no_touches(house: House) -> None:
    (ann,) = friends(house, "p0")
    house.enroll("write", [ann])
    house.enroll("follow", [ann])
    assert len(acts(house)) == 2
    house.says("p0", "What is it about?")
    house.run()
    house.enroll(written(house, "second"), [ann])
    assert len(acts(house)) == 3
    assert [row["touch"] for row in house.executions()] == [True, False, False]


# --- permission ----------------------------------------------------------------------------------------------


def test_an_automatic_reply_opens_nothing(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path, HANDLES)
    house.account(caps=NO_CAPS)
    house.publish(WRITE)
    house.enroll("write", friends(house, "p0", "p1"))
    assert acts(house) == []
    house.says("p0", "Automatic reply: I am out of the office until Monday.")
    house.says("p1", "Do tell me more")
    house.run()
    rows = house.db.read("SELECT identity_id FROM consent WHERE basis = 'inbound'")
    assert len(rows) == 1
    (ann,) = house.db.read("SELECT id FROM person ORDER BY id LIMIT 1")
    house.enroll(written(house, "second"), [ann["id"]])
    assert acts(house) == []


def test_a_stop_that_is_lifted_leaves_no_invitation_behind(house: House) -> None:
    friends(house, "p0", basis=None)
    house.says("p0", "STOP")
    house.run()
    assert house.db.read("SELECT id FROM consent") == []


def test_without_a_basis_nothing_is_said_and_the_lead_knows_why(house: House) -> None:
    (ann,) = friends(house, "p0", basis=None)
    sql(
        house,
        "INSERT INTO inbound (channel, account_key, content_id, kind, raw, via, occurred_at, received_at, state)"
        " VALUES ('twitter', 'x', 'y', 'message_in', '{}', 'poll', %s, %s, 'digested')",
        *[house.clock.now()] * 2,
    )
    (lead,) = house.enroll("write", [ann])
    assert (acts(house), house.lead(lead)["state"]) == ([], "active")
    assert only_execution(house, lead)["verdict"]["rule"] == "x.dm.inbound_first"


# --- contacts before -----------------------------------------------------------------------------------------


def test_who_was_contacted_by_any_account_of_ours_is_not_opened_again(db: Database, tmp_path: Path) -> None:
    house = open_house(db, tmp_path, HANDLES, our_accounts=("we", "us"))
    for name in ("we", "us"):
        roomy_account(house, name)
    house.publish(WRITE)
    house.publish(WRITE.replace("sequence: write", "sequence: fresh\nexclude_already_contacted: true"))
    ann, bob = friends(house, "p0", "p1")
    house.enroll("write", [ann], account_names=["we"])
    house.pass_time(40 * DAY, step=10 * DAY)
    one, two = house.enroll("fresh", [ann, bob], account_names=["us"])
    assert (house.lead(one)["exit_reason"], house.lead(two)["state"]) == (
        "exclude.already_contacted",
        "finished",
    )


# --- words that are missing ----------------------------------------------------------------------------------


def test_a_text_that_lacks_a_word_waits_and_names_it(house: House) -> None:
    house.publish(
        'sequence: words\nrequires: [project]\nactions:\n  hello: {do: SEND_TWITTER_DM, message: "About {{ project }}. {{ opt_out }}"}\n'
    )
    complete, lacking = house.enroll(
        "words", [*friends(house, "p0", project="audits"), *friends(house, "p1")]
    )
    assert acts(house) == [("dm", "p0")]
    assert waits(house, lacking) == ("missing_variable", "project")
    house.pass_time(2 * DAY, step=HOUR)
    assert (len(acts(house)), waits(house, lacking)[0]) == (1, "missing_variable")
    assert house.lead(complete)["state"] == "finished"


# --- messages that are unread --------------------------------------------------------------------------------


def test_something_of_theirs_that_nobody_has_read_holds_the_next_send(house: House) -> None:
    (ann,) = friends(house, "p0")
    (execution_id,) = plan(house, "write", [ann])
    sql(
        house,
        "INSERT INTO inbound (channel, account_key, content_id, kind, peer_kind, peer, account_id, text, raw, via, occurred_at, received_at)"
        " SELECT 'twitter', external_id, 'dm:1', 'message_in', 'twitter_id', %s, id, 'STOP', '{}', 'webhook', %s, %s FROM account",
        id_of_handle("p0"),
        *[house.clock.now()] * 2,
    )
    perform(house.ctx, execution_id)
    row = execution(house, execution_id)
    assert (acts(house), row["verdict"]["rule"]) == ([], "inbound.undigested")
    assert house.lead(row["lead_id"])["due_at"] == house.clock.now() + timedelta(seconds=5)
    house.pass_time(2 * MINUTE)
    assert (acts(house), states(house)) == ([], ["cancelled"])


LETTER = 'sequence: letter\nactions:\n  hello: {do: SEND_EMAIL, message: {subject: Hello, body: "Hello. {{ opt_out }}"}}\n'


def unread(house: House, handle: str, kind: InboundKind = InboundKind.MESSAGE_IN) -> None:
    """Stored as it was pushed; the hint to read it is lost."""
    accept(
        house.ctx,
        "twitter",
        [
            InboundItem(
                kind=kind, content_id=f"dm:{handle}", account_external_id=id_of_handle("we"), peer=id_of_handle(handle),
                occurred_at=house.clock.now(), text="STOP", peer_handle=handle,
            )
        ],
    )  # fmt: skip


def known_by_handle_too(house: House, handle: str) -> tuple[int, int]:
    """Somebody with a mailbox and a handle that has no id yet; the execution that is about to write to the mailbox."""
    house.publish(LETTER)
    roomy_account(house, "post", channel="email")
    person = house.person(handle, resolved=False)
    house.db.run(lambda tx: house.identity(tx, person, "email", f"{handle}@example.org"))
    (execution_id,) = plan(house, "letter", [person])
    return person, execution_id


@pytest.mark.parametrize("written", ["p1", "P1"])
def test_something_unread_from_a_handle_without_an_id_holds_every_channel(house: House, written: str) -> None:
    _, execution_id = known_by_handle_too(house, "p1")
    unread(house, written)
    perform(house.ctx, execution_id)
    row = execution(house, execution_id)
    assert (row["channel"], row["verdict"]["rule"]) == ("email", "inbound.undigested")
    assert house.lead(row["lead_id"])["due_at"] == house.clock.now() + timedelta(seconds=5)
    house.pass_time(2 * MINUTE)
    assert (states(house), house.lead(row["lead_id"])["exit_reason"]) == (["cancelled"], "unsubscribed")


@pytest.mark.parametrize(
    ("handle", "kind"),
    [
        ("p2", InboundKind.MESSAGE_IN),
        ("p1", InboundKind.MESSAGE_OUT),
        ("p1", InboundKind.WE_FOLLOWED),
        ("p1", InboundKind.WE_UNFOLLOWED),
    ],
    ids=["another", "our message", "our follow", "our unfollow"],
)
def test_what_others_wrote_or_we_did_holds_nothing(house: House, handle: str, kind: InboundKind) -> None:
    _, execution_id = known_by_handle_too(house, "p1")
    unread(house, handle, kind)
    perform(house.ctx, execution_id)
    assert (execution(house, execution_id)["verdict"] or {}).get("rule") != "inbound.undigested"


def test_what_we_said_ourselves_and_nobody_has_read_holds_nothing(house: House) -> None:
    (ann,) = friends(house, "p0")
    (execution_id,) = plan(house, "write", [ann])
    sql(
        house,
        "INSERT INTO inbound (channel, account_key, content_id, kind, peer_kind, peer, account_id, text, raw, via, occurred_at, received_at)"
        " SELECT 'twitter', external_id, 'dm:1', 'message_out', 'twitter_id', %s, id, 'Hi', '{}', 'webhook', %s, %s FROM account",
        id_of_handle("p0"),
        *[house.clock.now()] * 2,
    )
    perform(house.ctx, execution_id)
    assert acts(house) == [("dm", "p0")]


# --- failures ------------------------------------------------------------------------------------------------


def test_what_the_provider_refuses_takes_the_failed_edge(house: House) -> None:
    house.publish(
        """
sequence: failing
actions:
  hello: {do: SEND_TWITTER_DM, message: "Hi. {{ opt_out }}", next: [{on: FAILED, to: follow}, {on: NORMAL_EDGE, to: END}]}
  follow: {do: FOLLOW_ON_TWITTER}
"""
    )
    fault(house, "dm.send", "refuse", problem="cannot_dm", times=1)
    refused, through = house.enroll("failing", friends(house, "p0", "p1"))
    assert acts(house) == [("dm", "p1"), ("follow", "p0")] or acts(house) == [("follow", "p0"), ("dm", "p1")]
    assert [states(house, lead) for lead in (refused, through)] == [["refused", "sent"], ["sent"]]
    first = house.executions(refused)[0]
    assert (first["reason"], first["effect_by"]) == ("cannot_message", None)


def test_what_the_gate_blocks_takes_the_failed_edge_too(house: House) -> None:
    house.publish(
        """
sequence: failing
actions:
  hello: {do: SEND_TWITTER_DM, message: "Hi. {{ opt_out }}", next: [{on: FAILED, to: later}, {on: NORMAL_EDGE, to: END}]}
  later: {do: WAIT, for: 9d}
exclude_already_contacted: true
"""
    )
    (ann,) = friends(house, "p0")
    house.enroll("write", [ann])
    house.pass_time(3 * DAY, step=DAY)
    (lead,) = house.enroll("failing", [ann])
    assert (states(house, lead), house.lead(lead)["cursor"]) == (["blocked"], "later")


def test_a_handle_that_the_provider_does_not_know_ends_its_lead_before_anything_is_tried(
    house: House,
) -> None:
    ghost = house.person("nobody_here", basis="opt_in", resolved=False)
    real = house.person("p0", basis="opt_in", resolved=False)
    lost, found = house.enroll("follow", [ghost, real])
    house.pass_time(2 * MINUTE)
    assert (house.lead(lost)["exit_reason"], acts(house)) == ("no_identity", [("follow", "p0")])
    assert house.lead(found)["state"] == "finished"


def test_a_graph_of_a_newer_release_is_left_alone(house: House) -> None:
    (lead,) = plan(house, "follow", friends(house, "p0"))
    sql(house, "ALTER TABLE sequence_version DISABLE TRIGGER USER")
    sql(house, "UPDATE sequence_version SET graph = jsonb_set(graph, '{format}', '99'), graph_format = 99")
    fresh = open_again(house)
    fresh.pass_time(DAY, step=HOUR)
    row = fresh.lead(execution(fresh, lead)["lead_id"])
    assert (acts(fresh), row["state"], row["waiting_on"]) == ([], "active", "pause")
    assert row["waiting_detail"].startswith("needs newer worker")
    perform(fresh.ctx, lead)
    assert states(fresh) == ["planned"]


def open_again(house: House) -> House:
    """The same house seen by a process that has kept nothing yet."""
    from dataclasses import replace

    ctx = replace(house.ctx, db=Database(house.db.url, pool_size=2))
    return replace(house, ctx=ctx)


# --- the local date ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("evening", "midnight", "next_midnight"),
    [
        ("2026-03-28T20:00Z", "2026-03-28T23:00Z", "2026-03-29T22:00Z"),
        ("2026-10-24T19:00Z", "2026-10-24T22:00Z", "2026-10-25T23:00Z"),
    ],
    ids=["a day of 23 hours", "a day of 25 hours"],
)
def test_a_cap_per_date_follows_the_accounts_midnight_even_when_the_clocks_change(
    db: Database, tmp_path: Path, evening: str, midnight: str, next_midnight: str
) -> None:
    """Berlin: two on the eve, two on the day that is shorter or longer, two on the next."""
    house = open_house(db, tmp_path, HANDLES)
    roomy_account(house, caps=NO_CAPS | {"FOLLOW_ON_TWITTER": "2/date"}, zone="Europe/Berlin")
    house.publish(FOLLOW)
    house.clock.instant = datetime.fromisoformat(evening)
    leads = house.enroll("follow", friends(house, *HANDLES[:6]))
    first, second = datetime.fromisoformat(midnight), datetime.fromisoformat(next_midnight)
    assert (len(acts(house)), house.lead(leads[5])["due_at"]) == (2, first)
    for frees, before, after in ((first, 2, 4), (second, 4, 6)):
        perform(house.ctx, only_execution(house, leads[5])["id"])
        assert house.lead(leads[5])["due_at"] == frees
        house.pass_time(frees - house.clock.now() - MINUTE, step=20 * MINUTE)
        assert len(acts(house)) == before
        house.pass_time(2 * MINUTE)
        assert len(acts(house)) == after
