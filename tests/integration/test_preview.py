"""See first: texts, lane and hour of every action for one person; and a sequence on oneself."""

from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from outreach.compliance.verdicts import Lane
from outreach.engine.graph import Graph
from outreach.errors import UsageError
from outreach.models import reports
from outreach.models.base import Database, Tx
from outreach.runtime.preview import NodePreview, PersonPreview, preview
from outreach.runtime.trying import Tried, mark_test, try_out
from tests.integration.law_support import HOUR, acts, friends, open_house, roomy_account, sql, states
from tests.integration.test_lanes import graph_of
from tests.stage import MONDAY, House

pytestmark = pytest.mark.servers
LETTERS = """
sequence: letters
exclude_already_contacted: true
window: {days: mon-fri, from: "13:00", until: "17:00", zone: account}
variables: {first_name: there}
requires: [company]
actions:
  hello:
    do: SEND_TWITTER_DM
    message:
      variants:
        a: "Hi {{ first_name }} of {{ company }}. {{ opt_out }}"
        b: "Good day. {{ opt_out }}"
    next: check
  check:
    do: CHECK_FOR_REPLY
    next:
      - {on: POSITIVE_REPLY, to: thanks}
      - {on: NOT_REPLIED, after: 1d, to: again}
  thanks: {do: SEND_TWITTER_DM, message: "Thanks, {{ first_name }}."}
  again: {do: SEND_TWITTER_DM, message: "Once more to {{ company }}. {{ opt_out }}"}
"""
GRAPH = graph_of(LETTERS)


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    house = open_house(db, tmp_path)
    roomy_account(house)
    return house


def rows_of_all_tables(tx: Tx) -> dict[str, int]:
    names = tx.rows(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    return {row["relname"]: tx.value(f"SELECT count(*) FROM {row['relname']}") for row in names}


def of(house: House, person: int, graph: Graph = GRAPH) -> dict[str, NodePreview]:
    """Looked at, and nothing was written."""
    before = house.db.run(rows_of_all_tables)
    (found,) = preview(house.ctx, graph, person_ids=[person])
    assert house.db.run(rows_of_all_tables) == before
    return {node.node: node for node in found.nodes}


def test_every_text_and_when_and_by_which_rule(house: House) -> None:
    (ann,) = friends(house, "ann", company="Acme", first_name="Ann")
    found = of(house, ann)
    hello, again, thanks = found["hello"], found["again"], found["thanks"]
    assert {t.variant: t.text for t in hello.texts} == {
        "a": "Hi Ann of Acme. Reply STOP and I will not write again.",
        "b": "Good day. Reply STOP and I will not write again.",
    }
    assert sum(t.theirs for t in hello.texts) == 1 and all(t.opt_out for t in hello.texts)
    assert not thanks.texts[0].opt_out
    one = MONDAY.replace(hour=13)
    assert (hello.lane, hello.earliest) == (Lane.AUTO, one)
    assert (thanks.by, thanks.answered, thanks.earliest) == ("POSITIVE_REPLY", True, one), (
        "an answer is no touch"
    )
    # A day later the gap of 48 hours since the first touch still stands; it ends on Wednesday at one.
    assert (again.by, again.earliest) == ("NOT_REPLIED", one + timedelta(days=2))
    assert again.earliest is not None and found["check"].lane is None


def test_what_the_preview_says_is_what_happens(house: House) -> None:
    (ann,) = friends(house, "ann", company="Acme", first_name="Ann")
    found = of(house, ann)
    house.publish(LETTERS)
    house.enroll("letters", [ann])
    house.pass_time(timedelta(days=3), step=HOUR)
    sent = [row["sent_at"] for row in house.executions()]
    assert sent == [found["hello"].earliest, found["again"].earliest]
    bodies = [r["body"] for r in house.db.read("SELECT body FROM message_body ORDER BY execution_id")]
    assert bodies == [next(t.text for t in found[n].texts if t.theirs) for n in ("hello", "again")]


def test_what_is_missing_yours_or_blocked_is_said(house: House) -> None:
    nameless = of(house, friends(house, "ann")[0])
    assert nameless["again"].texts[0].missing == ("company",) and nameless["again"].texts[0].text is None
    hello = nameless["hello"]
    theirs = next(t for t in hello.texts if t.theirs)
    assert (hello.earliest is None) == bool(theirs.missing) == (nameless["again"].by == "")
    bob = of(house, house.person("bob", basis="legitimate_interest", company="Acme"))
    assert (bob["hello"].lane, bob["hello"].against[0].rule) == (Lane.YOURS, "x.dm.inbound_first")
    cid = of(house, house.person("cid", basis=None, company="Acme"))
    assert (cid["hello"].lane, cid["hello"].earliest) == (Lane.BLOCKED, None)
    assert "basis.none" in [v.rule for v in cid["hello"].against] and cid["again"].by == ""
    sql(house, "UPDATE instance SET paused_at = now(), pause_reason = 'a test'")
    assert of(house, 1)["hello"].earliest is None, "somebody must lift the pause"


def test_a_sample_is_the_same_every_time(house: House) -> None:
    people = friends(house, *(f"p{i}" for i in range(9)), company="Acme")
    house.segment("some", people[:4])
    found: list[list[PersonPreview]] = [
        preview(house.ctx, GRAPH, segments=["some"], sample=3) for _ in range(2)
    ]
    first, second = ([one.person_id for one in sampled] for sampled in found)
    assert first == second and len(first) == 3 and set(first) < set(people[:4])


# --- on oneself ------------------------------------------------------------------------------------------------


def trying(house: House, person: int, *, any_hour: bool = True) -> Tried:
    answer = try_out(
        house.ctx,
        LETTERS.encode(),
        "letters.yaml",
        person,
        wait=timedelta(seconds=5),
        any_hour=any_hour,
        by="me",
    )
    assert isinstance(answer, Tried), answer
    house.hints.extend(answer.hints)
    house.run()
    return answer


def test_one_tries_the_real_path_with_short_waits(house: House) -> None:
    (ann,) = friends(house, "ann", company="Acme")
    with pytest.raises(UsageError, match="no test person"):
        trying(house, ann)
    assert mark_test(house.ctx, ann, True, "me") and not mark_test(house.ctx, ann, True, "me")
    first = trying(house, ann)
    assert first.sequence == "try:letters" and acts(house) == [("dm", "ann")]
    house.clock.advance(timedelta(seconds=10))
    house.tick()
    house.pass_time(timedelta(minutes=20), step=timedelta(minutes=5))
    assert states(house, first.lead_id) == ["sent", "sent"], (
        "a day is five seconds, 48 hours between touches are none"
    )
    assert house.lead(first.lead_id)["state"] == "finished"
    second = trying(house, ann)
    assert second.version == first.version and second.stopped == ()
    third = trying(house, ann)
    assert third.stopped == (second.lead_id,) and len(acts(house)) == 4
    assert {row["touch"] for row in house.executions()} == {False}


def test_caps_count_and_the_gate_is_not_bypassed(house: House) -> None:
    ann, bob = friends(house, "ann", "bob", company="Acme")
    cid = house.person("cid", basis="legitimate_interest", company="Acme")
    for person in (ann, bob, cid):
        mark_test(house.ctx, person, True, "me")
    sql(house, """UPDATE account SET caps = '{"SEND_TWITTER_DM": "1/day"}'""")
    by_hand = trying(house, cid)
    assert house.lead(by_hand.lead_id)["waiting_detail"] == "x.dm.inbound_first"
    trying(house, ann)
    late = trying(house, bob)
    assert acts(house) == [("dm", "ann")]
    assert house.lead(late.lead_id)["waiting_detail"] == "cap.account"
    house.says("bob", "STOP", kind="unsubscribe")
    house.run()
    house.pass_time(timedelta(days=2), step=HOUR)
    assert [who for _, who in acts(house)].count("bob") == 0
    closed = trying(house, ann, any_hour=False)
    assert house.lead(closed.lead_id)["waiting_on"] == "window"


def test_test_persons_are_out_of_the_statistics_and_touch_nobody(house: House) -> None:
    ann, bob = friends(house, "ann", "bob", company="Acme")
    house.publish(LETTERS)
    mark_test(house.ctx, ann, True, "me")
    house.clock.advance(2 * HOUR)
    house.enroll("letters", [ann, bob])
    assert len(acts(house)) == 2
    sequence = house.db.read("SELECT id FROM sequence WHERE name = 'letters'")[0]["id"]
    for tests in (False, True):
        funnel = house.db.run(partial(reports.funnel, sequence_id=sequence, tests=tests))
        states_ = house.db.run(partial(reports.lead_states, sequence_id=sequence, tests=tests))
        assert sum(row["sent"] for row in funnel) == 1 and sum(row["leads"] for row in states_) == 1
    touches = {row["identity_id"]: row["touch"] for row in house.executions()}
    assert sorted(touches.values()) == [False, True]
