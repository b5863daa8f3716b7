"""Lanes of a segment: the gate's word on supposed steps is T1's word on real ones, and nothing is written."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import psycopg2
import pytest

from outreach.compliance.lanes import standing
from outreach.compliance.verdicts import Lane
from outreach.engine.graph import Graph
from outreach.engine.kinds import ActionKind
from outreach.errors import NotFound, UsageError
from outreach.models import enrolling, supposed
from outreach.models.base import Database, Tx
from outreach.runtime.explain import explain_lead
from outreach.runtime.forecast import Forecast, NodeLanes, forecast
from outreach.runtime.publish import check
from outreach.runtime.supposing import Step, read_house, read_supposed
from tests.integration.law_support import friends, open_house, plan, roomy_account, sql
from tests.stage import House

pytestmark = pytest.mark.servers
BRANCHED = """
sequence: branched
exclude_already_contacted: true
window: {days: mon-fri, from: "09:00", until: "17:00", zone: account}
requires: [company]
actions:
  hello: {do: SEND_TWITTER_DM, message: "Hi {{ company }}. {{ opt_out }}", next: check}
  check:
    do: CHECK_FOR_REPLY
    next:
      - {on: POSITIVE_REPLY, to: thanks}
      - {on: NOT_REPLIED, after: 2d, to: unfollow}
  thanks: {do: SEND_TWITTER_DM, message: "Thanks. {{ opt_out }}"}
  unfollow: {do: UNFOLLOW_ON_TWITTER}
"""
#: What is done to a planned lead's person, and what the gate says of it first.
WORLDS: Mapping[str, tuple[str, str]] = {
    "fine": ("SELECT %s", ""),
    "stopped": ("UPDATE person SET suppressed_at = now(), suppression_reason = 'stop' WHERE id = %s", "suppression.person"),
    "listed": (
        "INSERT INTO suppression (hmac, reason, source, at) SELECT hmac, 'list', 'test', now() FROM identity WHERE person_id = %s",
        "suppression.identifier",
    ),
    "paused": ("UPDATE person SET paused_at = now(), pause_reason = 'unclear' WHERE id = %s", "pause.person"),
    "blocked": ("UPDATE identity SET status = 'blocked' WHERE person_id = %s", "identity.blocked"),
    "closed": ("UPDATE identity SET status = 'closed' WHERE person_id = %s", "identity.closed"),
    "unread": (
        "INSERT INTO inbound (channel, account_key, content_id, kind, peer_kind, peer, raw, via, occurred_at, received_at)"
        " SELECT 'twitter', 'k', 'c', 'message_in', kind, value, '{}', 'poll', now(), now() FROM identity WHERE person_id = %s",
        "inbound.undigested",
    ),
    "stranger": ("DELETE FROM consent WHERE identity_id IN (SELECT id FROM identity WHERE person_id = %s)", "x.dm.inbound_first"),
    "expired": (
        "UPDATE consent SET expires_at = obtained_at + interval '1 second' WHERE identity_id IN (SELECT id FROM identity WHERE person_id = %s)",
        "x.dm.inbound_first",
    ),
    "known": (
        "INSERT INTO execution (kind, channel, account_id, app_id, identity_id, inbound_id, state, cause, touch, started_at, effect_by, sent_at,"
        " created_at) SELECT 'SEND_TWITTER_DM', 'twitter', a.id, a.app_id, i.id, 1, 'sent', 'by_hand', true, '2026-01-05 11:00Z',"
        " '2026-01-05 11:00Z', '2026-01-05 11:00Z', now() FROM account a, identity i WHERE i.person_id = %s",
        "exclude.already_contacted",
    ),
}  # fmt: skip


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    house = open_house(db, tmp_path, tuple(WORLDS))
    roomy_account(house)
    return house


def graph_of(text: str) -> Graph:
    answer = check(text.encode(), "test.yaml")
    assert not isinstance(answer, list), answer
    return answer.graph


def test_what_is_supposed_is_what_t1_would_read(house: House) -> None:
    house.publish(BRANCHED)
    people = dict(zip(WORLDS, friends(house, *WORLDS, company="Acme"), strict=True))
    planned = {name: plan(house, "branched", [person])[0] for name, person in people.items()}
    for name, (statement, _) in WORLDS.items():
        sql(house, statement, people[name])
    graph = graph_of(BRANCHED)

    def suppose(tx: Tx) -> dict[str, list[str]]:
        world = read_house(tx, graph, (), ())
        handles = enrolling.handles(tx, list(people.values()), "twitter")
        every = tx.rows("SELECT person_id, id FROM identity")
        steps = [
            Step(
                node=graph.node("hello"),
                person_id=p,
                identity_id=handles.get(p) or next(r["id"] for r in every if r["person_id"] == p),
            )
            for p in people.values()
        ]
        facts = read_supposed(house.ctx, tx, world, steps, house.clock.now(), caps=True)
        return {name: [v.rule for v in standing(f).against] for name, f in zip(people, facts, strict=True)}

    found = house.db.run(suppose)
    for name, (_, rule) in WORLDS.items():
        lead = house.db.read("SELECT lead_id FROM execution WHERE id = %s", (planned[name],))[0]["lead_id"]
        t1 = [v.rule for v in explain_lead(house.ctx, lead).verdicts if not v.allowed]
        assert t1[:1] == ([rule] if rule else []), name
        assert found[name] == t1, name


def lanes(found: Forecast, node: str) -> NodeLanes:
    return next(one for one in found.nodes if one.node == node)


def test_every_lead_of_every_node_has_a_lane_with_its_reason(house: House) -> None:
    people = dict(zip(WORLDS, friends(house, *WORLDS, company="Acme"), strict=True))
    for name, (statement, _) in WORLDS.items():
        sql(house, statement, people[name])
    people["nameless"] = friends(house, "nameless")[0]
    people["interested"] = house.person("interested", basis="legitimate_interest", company="Acme")
    house.segment("all", list(people.values()))
    found = forecast(house.ctx, graph_of(BRANCHED), ["all"])
    hello, thanks, unfollow = lanes(found, "hello"), lanes(found, "thanks"), lanes(found, "unfollow")
    assert (found.members, found.leads) == (12, 12)
    for node in found.nodes:
        assert sum(node.lanes.values()) == found.leads, "every lead is in one lane"
    assert dict(hello.lanes) == {Lane.AUTO: 3, Lane.YOURS: 1, Lane.BLOCKED: 8}
    assert hello.reasons[Lane.YOURS] == {"x.dm.inbound_first": 1}
    assert hello.reasons[Lane.AUTO] == {"pause.person": 1, "inbound.undigested": 1}
    assert hello.reasons[Lane.BLOCKED] == {
        "suppression.person": 1, "suppression.identifier": 1, "identity.missing": 2, "basis.none": 1, "basis.expired": 1,
        "exclude.already_contacted": 1, "missing_variable: company": 1,
    }  # fmt: skip
    assert thanks.answered and thanks.lanes[Lane.AUTO] == 4, "an answer is a permission to answer"
    assert thanks.reasons[Lane.BLOCKED] == {"unreached": 8}, "who is blocked before never comes here"
    assert unfollow.lanes[Lane.AUTO] == 4
    assert (hello.minutes, hello.dollars) == (Decimal(1), Decimal("0.045"))
    # One way: hello and thanks, or hello and unfollow. Three write by themselves at first, one is written to by hand.
    assert found.dollars == 3 * Decimal("0.030") + Decimal("0.015") and found.minutes == 1
    assert found.left_out["on the do-not-contact list"] == 1


def test_days_are_what_the_tightest_cap_makes_of_it(house: House) -> None:
    house.publish(BRANCHED)
    sql(
        house,
        """UPDATE account SET caps = '{"SEND_TWITTER_DM": "2/date; 40/week", "UNFOLLOW_ON_TWITTER": "1/hour"}', pace = '{}'""",
    )
    sql(house, "UPDATE account SET follow_permitted = false")
    people = friends(house, "fine", *(f"p{i}" for i in range(10)), company="Acme")
    house.enroll("branched", people[:1])
    assert len(house.accepted()) == 1
    house.segment("rest", people[1:])
    days = {d.kind: d for d in forecast(house.ctx, graph_of(BRANCHED), ["rest"]).days}
    messages, unfollows = days[ActionKind.SEND_TWITTER_DM], days[ActionKind.UNFOLLOW_ON_TWITTER]
    # 10 leads, hello and thanks each: one today, then 19 at two a date on five days of seven.
    assert (messages.steps, messages.by, messages.used) == (20, "2/date of the account", 1)
    assert messages.days == 1 + -(-19 * 7 // 10)
    # What a human does counts against caps too: one today, then eight an hour's cap on five days of seven.
    assert (unfollows.steps, unfollows.by, unfollows.days) == (
        10,
        "1/hour of the account",
        1 + -(-9 * 7 // 40),
    )


def test_nothing_is_written_and_nothing_could_be(house: House) -> None:
    people = friends(house, "ann", "bob", company="Acme")
    house.segment("all", people)

    def counts(tx: Tx) -> dict[str, int]:
        names = [
            r["relname"]
            for r in tx.rows(
                "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
            )
        ]
        return {name: tx.value(f"SELECT count(*) FROM {name}") for name in names}

    before = house.db.run(counts)
    forecast(house.ctx, graph_of(BRANCHED), ["all"])
    assert house.db.run(counts) == before and before["person"] == 2

    def writes(tx: Tx) -> None:
        supposed.read_only(tx)
        tx.execute("UPDATE person SET name = 'x'")

    with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
        house.db.run(writes)


def test_what_is_missing_is_named(house: House) -> None:
    with pytest.raises(NotFound, match="no segment"):
        forecast(house.ctx, graph_of(BRANCHED), ["nobody"])
    house.segment("all", friends(house, "ann"))
    letter = BRANCHED.replace('SEND_TWITTER_DM, message: "Thanks', 'SEND_LINKEDIN_DM, message: "Thanks')
    with pytest.raises(UsageError, match="no account for linkedin"):
        forecast(house.ctx, graph_of(letter), ["all"])


def test_the_day_of_a_pause_moves_nobody_out_of_their_lane(house: House) -> None:
    house.segment("all", friends(house, "ann", "bob", company="Acme"))
    sql(house, "UPDATE instance SET paused_at = now(), pause_reason = 'lunch'")
    house.clock.advance(timedelta(hours=12))
    hello = lanes(forecast(house.ctx, graph_of(BRANCHED), ["all"]), "hello")
    assert dict(hello.lanes) == {Lane.AUTO: 2}
    assert hello.reasons[Lane.AUTO] == {"pause.instance": 2}
