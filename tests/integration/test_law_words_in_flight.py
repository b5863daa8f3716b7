"""New words for leads in flight: whom they reach in time gets them, nobody gets both, nobody changes their variant."""

import threading
from pathlib import Path

import pytest

from outreach.engine.problems import Problem
from outreach.errors import ConflictError, NotFound
from outreach.models.base import Database, Row
from outreach.providers.base import Outcome
from outreach.runtime import claim as claiming
from outreach.runtime import perform as performing
from outreach.runtime.call import call
from outreach.runtime.claim import Claimed, NotClaimed, claim
from outreach.runtime.context import Context
from outreach.runtime.human import done
from outreach.runtime.perform import perform
from outreach.runtime.prepare import Prepared, prepare
from outreach.runtime.retexting import Retexted, RetextPlan, look, retext
from outreach.runtime.settle import settle
from outreach.runtime.taking import start
from tests.integration.law_support import DAY, HOUR, friends, open_house, plan, roomy_account, sql
from tests.stage import House

pytestmark = pytest.mark.servers
TEN = [f"p{n}" for n in range(10)]
OLD = """
sequence: words
actions:
  hello:
    do: SEND_TWITTER_DM
    message:
      variants:
        a: {weight: 1, body: "Helo A. {{ opt_out }}"}
        b: {weight: 1, body: "Helo B. {{ opt_out }}"}
    next: [{to: again, after: 2d}]
  again: {do: SEND_TWITTER_DM, message: "Agan. {{ opt_out }}"}
"""
NEW = OLD.replace("Helo", "Hello").replace("Agan", "Again")


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    found = open_house(db, tmp_path, TEN)
    roomy_account(found)
    found.publish(OLD)
    return found


def seen(house: House, text: str) -> RetextPlan:
    found = look(house.ctx, text.encode(), "words.yaml")
    assert isinstance(found, RetextPlan), found
    return found


def reworded(house: House, text: str = NEW) -> Retexted:
    answer = retext(house.ctx, text.encode(), "words.yaml", seen(house, text), by="eva")
    assert isinstance(answer, Retexted)
    return answer


def reach(house: House, text: str = NEW) -> list[tuple[int, str, int, int]]:
    return [
        (version.version, node.node, node.would_get, node.have_old)
        for version in seen(house, text).versions
        for node in version.nodes
    ]


def texts(house: House) -> list[str]:
    """The first words of what the provider took, in its order."""
    return [str(one.body).partition(".")[0] for one in house.accepted()]


def versions(house: House) -> list[int]:
    rows = house.db.read(
        "SELECT v.version FROM lead l JOIN sequence_version v ON v.id = l.version_id ORDER BY l.id"
    )
    return [row["version"] for row in rows]


def prepared(house: House, execution_id: int) -> Prepared:
    found = prepare(house.ctx, execution_id)
    assert isinstance(found, Prepared)
    return found


def test_whom_the_words_can_still_reach_gets_them(house: House) -> None:
    first, *others = plan(house, "words", friends(house, *TEN[:4]))
    perform(house.ctx, first)
    assert reach(house) == [(1, "hello", 3, 1), (1, "again", 4, 0)]
    answer = reworded(house)
    assert (answer.moved, answer.busy, answer.published.version, versions(house)) == (4, 0, 2, [2] * 4)
    for one in others:
        perform(house.ctx, one)
    house.pass_time(2 * DAY + HOUR, step=8 * HOUR)
    assert [text[:4] for text in texts(house)] == ["Helo"] + ["Hell"] * 3 + ["Agai"] * 4


def test_who_has_all_the_old_words_stays_on_the_version_of_them(house: House) -> None:
    leads = house.enroll("words", friends(house, "p0"))
    text = OLD.replace("Helo", "Hello")
    assert reach(house, text) == [(1, "hello", 0, 1)]
    assert (reworded(house, text).moved, versions(house)) == (0, [1])
    assert "LeadReworded" not in house.events(leads[0])


def test_what_was_rendered_of_the_old_words_is_not_sent(house: House) -> None:
    (execution,) = plan(house, "words", friends(house, "p0"))
    old = prepared(house, execution)
    reworded(house)
    answer = claim(house.ctx, old)
    assert isinstance(answer, NotClaimed)
    assert answer.verdict is not None
    assert (answer.verdict.rule, texts(house)) == ("stale.epoch", [])
    house.hints.extend(answer.hints)
    house.run()
    assert texts(house)[0][:5] == "Hello"


def test_nobody_changes_their_variant(house: House) -> None:
    executions = plan(house, "words", friends(house, *TEN))
    planned = {one: variant_of(house, one)["variant"] for one in executions}
    assert set(planned.values()) == {"a", "b"}
    reworded(house)
    for one in executions:
        perform(house.ctx, one)
        row = variant_of(house, one)
        assert (row["variant"], row["body"].partition(".")[0]) == (
            planned[one],
            f"Hello {planned[one].upper()}",
        )


def variant_of(house: House, execution_id: int) -> Row:
    return house.db.read(
        "SELECT e.variant, b.body FROM execution e LEFT JOIN message_body b ON b.execution_id = e.id WHERE e.id = %s",
        (execution_id,),
    )[0]


def test_variants_that_are_chosen_after_the_move_are_those_that_would_have_been(house: House) -> None:
    people = friends(house, *TEN)
    plan(house, "words", people)
    old = {row["lead_id"]: row["variant"] for row in house.executions()}
    sql(house, "DELETE FROM execution")
    reworded(house)
    sql(house, "UPDATE lead SET due_at = %s", house.clock.now())
    house.tick()
    assert {row["lead_id"]: row["variant"] for row in house.executions()} == old


def test_a_lead_with_a_call_under_way_keeps_the_old_words_until_the_next_time(house: House) -> None:
    (execution,) = plan(house, "words", friends(house, "p0"))
    claimed = claim(house.ctx, prepared(house, execution))
    assert isinstance(claimed, Claimed)
    assert (seen(house, NEW).moving, seen(house, NEW).busy) == (0, 1)
    answer = reworded(house)
    assert (answer.moved, answer.busy, versions(house)) == (0, 1, [1])
    settle(house.ctx, claimed, call(house.ctx, claimed))
    again = reworded(house)
    assert (again.published.new, again.moved, again.busy, versions(house)) == (False, 1, 0, [2])
    house.pass_time(2 * DAY + HOUR, step=8 * HOUR)
    assert [text[:4] for text in texts(house)] == ["Helo", "Agai"]


def test_what_a_human_has_in_hand_keeps_the_old_words(house: House) -> None:
    sql(house, "UPDATE account SET dm_mode = 'inbound_first'")
    first, second = house.enroll("words", friends(house, "p0", "p1"))
    one, two = house.db.read("SELECT id FROM task ORDER BY lead_id")
    assert start(house.ctx, one["id"], "otto").text.startswith("Helo")  # type: ignore[union-attr]
    answer = reworded(house)
    assert (answer.moved, answer.busy, versions(house)) == (1, 1, [1, 2])
    assert start(house.ctx, two["id"], "otto").text.startswith("Hello")  # type: ignore[union-attr]
    done(house.ctx, one["id"], "otto")
    assert (reworded(house).moved, versions(house), first < second) == (1, [2, 2], True)


def test_a_claim_that_is_under_way_is_waited_for(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The words come while T1 has written everything and not committed it: the call is made with the old ones, and once."""
    (execution,) = plan(house, "words", friends(house, "p0"))
    shown, answers = seen(house, NEW), list[object]()
    thread = threading.Thread(
        target=lambda: answers.append(retext(house.ctx, NEW.encode(), "words.yaml", shown, by="eva"))
    )
    looker = Database(house.db.url, pool_size=1)

    def at(point: str) -> None:
        if point == "claim.in":
            thread.start()
            while not looker.read("SELECT 1 FROM pg_locks WHERE NOT granted"):
                assert thread.is_alive(), "it has not waited for T1"
                thread.join(0.01)

    def under_way(ctx: Context, claimed: Claimed) -> Outcome:
        # the call lasts until the words have been given, or not
        thread.join()
        return call(ctx, claimed)

    monkeypatch.setattr(claiming, "failpoint", at)
    monkeypatch.setattr(performing, "call", under_way)
    try:
        perform(house.ctx, execution)
    finally:
        thread.join()
        looker.close()
    (answer,) = answers
    assert isinstance(answer, Retexted)
    assert (answer.busy, versions(house), [text[:4] for text in texts(house)]) == (1, [1], ["Helo"])


def test_more_than_words_is_refused_and_nothing_is_written(house: House) -> None:
    found = look(house.ctx, NEW.replace("after: 2d", "after: 3d").encode(), "words.yaml")
    assert isinstance(found, list)
    assert isinstance(found[0], Problem)
    assert (found[0].code, found[0].path, found[0].line) == ("S501", "actions.hello", 4)
    assert house.db.read("SELECT count(*) AS n FROM sequence_version")[0]["n"] == 1


def test_leads_of_a_version_with_another_graph_stay(house: House) -> None:
    house.enroll("words", friends(house, "p0"))
    second = OLD.replace("after: 2d", "after: 3d")
    house.publish(second)
    house.enroll("words", friends(house, "p1"))
    shown = seen(house, second.replace("Agan", "Again"))
    assert (shown.moving, dict(shown.others)) == (1, {1: 1})
    reworded(house, second.replace("Agan", "Again"))
    assert versions(house) == [1, 3]


def test_leads_of_all_versions_that_differ_in_words_alone_move(house: House) -> None:
    house.enroll("words", friends(house, "p0"))
    house.publish(OLD.replace("Agan", "Agin"))
    house.enroll("words", friends(house, "p1"))
    assert reach(house) == [(2, "hello", 0, 1), (2, "again", 1, 0), (1, "hello", 0, 1), (1, "again", 1, 0)]
    assert (reworded(house).moved, versions(house)) == (2, [3, 3])


def test_what_was_shown_is_what_is_done(house: House) -> None:
    shown = seen(house, NEW)
    house.publish(OLD.replace("Agan", "Agin"))
    with pytest.raises(ConflictError, match="another version of words"):
        retext(house.ctx, NEW.encode(), "words.yaml", shown, by="eva")


def test_words_that_need_what_a_lead_has_not_are_announced(house: House) -> None:
    house.enroll("words", friends(house, "p0"))
    text = OLD.replace("Agan.", "Again, {{ city }}.").replace("actions:", "requires: [city]\nactions:", 1)
    shown = seen(house, text)
    assert (list(shown.needs), shown.lacking) == (["city"], 1)


def test_who_waited_for_a_word_that_is_no_longer_said_goes_on_at_once(house: House) -> None:
    text = OLD.replace("Helo", "Hello {{ city }}").replace("actions:", "requires: [city]\nactions:", 1)
    house.publish(text)
    (lead,) = house.enroll("words", friends(house, "p0"))
    assert house.lead(lead)["waiting_on"] == "missing_variable"
    assert reworded(house).moved == 1
    house.tick()
    assert texts(house)[0][:5] == "Hello"


def test_a_sequence_that_nobody_published_has_no_words_to_mend(house: House) -> None:
    with pytest.raises(NotFound, match="no sequence 'other'"):
        look(house.ctx, OLD.replace("sequence: words", "sequence: other").encode(), "other.yaml")
