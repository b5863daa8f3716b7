"""A restored or cloned database: it sends nothing until it is adopted, and then nothing twice and nothing to those who said no."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from outreach.errors import ConfigurationError
from outreach.models.base import Database, to_json
from outreach.offbox import Line
from outreach.runtime import adopting
from outreach.runtime.erase import erase
from outreach.runtime.guarding import guard
from outreach.runtime.human import done
from outreach.runtime.journaling import journal_place
from outreach.runtime.optout import opt_out
from outreach.runtime.perform import perform
from outreach.simulator import id_of_handle
from tests.integration.law_support import WRITE, acts, friends, open_house, plan, roomy_account, states
from tests.integration.restore_support import Backups, adopted, backups, deliver, row, with_journal
from tests.stage import House

pytestmark = pytest.mark.servers
MINUTE = timedelta(minutes=1)
TWO = """
sequence: two
actions:
  follow: {do: FOLLOW_ON_TWITTER, next: {to: hello, after: 10m}}
  hello:
    do: SEND_TWITTER_DM
    message:
      variants:
        a: {weight: 50, body: "Hello {{ nick }}. {{ opt_out }}"}
        b: {weight: 50, body: "Good day {{ nick }}. {{ opt_out }}"}
    next: check
  check:
    do: CHECK_FOR_REPLY
    next:
      - {on: POSITIVE_REPLY, to: thanks}
      - {on: NOT_REPLIED, after: 3d, to: again}
  thanks: {do: SEND_TWITTER_DM, message: "Thanks, {{ nick }}."}
  again: {do: SEND_TWITTER_DM, message: "Once more, {{ nick }}. {{ opt_out }}"}
variables: {nick: there}
"""
LATER = """
sequence: later
actions:
  pause: {do: WAIT, for: 5m, next: hello}
  hello: {do: SEND_TWITTER_DM, message: "Hello {{ nick }}. {{ opt_out }}", next: check}
  check:
    do: CHECK_FOR_REPLY
    next: [{on: NOT_REPLIED, after: 1d, to: again}]
  again: {do: SEND_TWITTER_DM, message: "Once more, {{ nick }}. {{ opt_out }}"}
variables: {nick: there}
"""
PEOPLE = ("ann", "ben", "cy", "dee", "eve")


@pytest.fixture
def copies() -> Iterator[Backups]:
    yield from backups()


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    found = open_house(db, tmp_path, PEOPLE)
    roomy_account(found)
    found.publish(TWO)
    found.publish(LATER)
    found.publish(WRITE)
    with_journal(found, f"file://{tmp_path}/journal.jsonl")
    return found


def test_a_copy_in_another_place_is_known_by_its_place(house: House, copies: Backups) -> None:
    (ann,) = friends(house, "ann")
    copy = copies.take(house)
    (planned,) = plan(house, "two", [ann])
    copies.restore(house, copy, redis_lost=True)
    assert "cluster/database" in (guard(house.ctx) or "")
    (planned,) = plan(house, "two", [ann])
    perform(house.ctx, planned)
    assert acts(house) == []
    assert house.executions()[0]["verdict"]["rule"] == "instance.foreign"


def test_a_database_that_stands_before_known_claims_is_known_by_its_fences(
    house: House, copies: Backups
) -> None:
    """Restored in its own place, without a tick in between: T1 draws a fence that was drawn before, and rolls back."""
    planned = plan(house, "write", friends(house, "ann", "ben"))
    copy = copies.take(house)
    for execution_id in planned:
        perform(house.ctx, execution_id)
    assert len(acts(house)) == 2
    copies.restore(house, copy, moved=False)
    perform(house.ctx, planned[0])
    assert len(acts(house)) == 2
    assert "its next fence is" in row(house)["foreign_reason"]
    assert states(house) == ["planned", "planned"]


def test_a_loss_of_one_claim_is_found_by_the_next_sweep(house: House, copies: Backups) -> None:
    """Fences may be ahead after a crash (Postgres logs them in advance): what was claimed last is asked for by its row."""
    ann, ben = plan(house, "write", friends(house, "ann", "ben"))
    perform(house.ctx, ann)
    copy = copies.take(house)
    perform(house.ctx, ben)
    copies.restore(house, copy, moved=False)
    house.db.run(lambda tx: tx.execute("SELECT setval('fence', 1000)"))
    house.tick()
    assert "of which it knows nothing" in row(house)["foreign_reason"]
    assert len(acts(house)) == 2


def test_a_database_that_has_lost_nothing_goes_on(house: House, copies: Backups) -> None:
    (ann, ben) = plan(house, "two", friends(house, "ann", "ben"))
    perform(house.ctx, ann)
    copy = copies.take(house)
    copies.restore(house, copy, moved=False)
    house.tick()
    perform(house.ctx, ben)
    assert row(house)["foreign_since"] is None
    assert len(acts(house)) == 2


def test_the_outside_knows_lines_that_a_restored_database_never_wrote(house: House, copies: Backups) -> None:
    ann, ben = friends(house, "ann", "ben")
    out(house, ann)
    deliver(house)
    copy = copies.take(house)
    out(house, ben)
    deliver(house)
    copies.restore(house, copy, moved=False, redis_lost=True)
    deliver(house)
    assert row(house)["foreign_reason"] == "the off-box journal ends with line 2, of which it knows nothing"


def test_restored_it_repeats_nothing_forgets_no_stop_and_runs_to_its_end(
    house: House, copies: Backups
) -> None:
    ann, ben, cy, dee, eve = friends(house, *PEOPLE, nick="you")
    house.enroll("two", [ann, ben, cy, dee, eve])
    copy = copies.take(house)
    house.pass_time(12 * MINUTE)
    house.says("ann", "Yes, gladly!", kind="positive")
    house.pass_time(2 * MINUTE)
    out(house, ben)
    assert erase(house.ctx, cy, by="test")
    deliver(house)
    before = acts(house)
    assert before.count(("dm", "ann")) == 2
    assert {name for kind, name in before if kind == "dm"} == set(PEOPLE)

    copies.restore(house, copy)
    house.pass_time(5 * MINUTE)
    assert acts(house) == before
    done = adopted(house)
    # heads of the sealed log may stand between them, and are nothing to apply
    assert {kind: n for kind, n in done.replayed.items() if kind != "seal"} == {"suppressed": 2, "erased": 1}
    assert row(house)["recovering_since"] is not None
    house.pass_time(3 * MINUTE)
    assert row(house)["recovering_since"] is None
    assert acts(house) == before
    assert house.db.read("SELECT id FROM person WHERE erased_at IS NOT NULL") == [{"id": cy}]
    nodes = {r["person_id"]: (r["state"], r["cursor"]) for r in house.db.read("SELECT * FROM lead")}
    assert nodes[ann] == ("finished", "thanks")
    assert nodes[dee] == nodes[eve] == ("active", "check")
    house.pass_time(timedelta(days=4), step=timedelta(hours=1))
    assert sorted(set(acts(house)[len(before) :])) == [("dm", "dee"), ("dm", "eve")]
    assert len(acts(house)) == len(before) + 2


def test_adopted_it_sends_nothing_before_all_is_read(house: House, copies: Backups) -> None:
    """T1 itself refuses, whoever asks it."""
    (planned,) = plan(house, "write", friends(house, "ann"))
    copy = copies.take(house)
    copies.restore(house, copy)
    guard(house.ctx)
    adopted(house)
    perform(house.ctx, planned)
    assert acts(house) == []
    assert verdicts(house)[0]["rule"] == "instance.recovering"
    house.pass_time(10 * MINUTE)
    assert acts(house) == [("dm", "ann")]


def test_an_answer_that_was_read_before_our_own_message_is_an_answer(house: House, copies: Backups) -> None:
    """A push tells of it while nobody has adopted the database yet; only the poll afterwards tells what it answers."""
    ann, ben = friends(house, "ann", "ben", nick="you")
    leads = house.enroll("later", [ann, ben])
    copy = copies.take(house)
    house.pass_time(12 * MINUTE)
    assert acts(house) == [("dm", "ann"), ("dm", "ben")]
    copies.restore(house, copy)
    guard(house.ctx)
    house.says("ann", "No, thank you", kind="negative")
    house.pass_time(2 * MINUTE)
    assert house.db.read("SELECT count(*) AS n FROM signal")[0]["n"] == 0
    adopted(house)
    house.pass_time(timedelta(days=3), step=timedelta(hours=6))
    assert acts(house)[2:] == [("dm", "ben")]
    assert house.lead(leads[0])["exit_reason"] == "replied"


def test_own_words_that_no_step_explains_are_put_before_a_human(house: House, copies: Backups) -> None:
    (ann,) = friends(house, "ann", nick="you")
    (lead,) = house.enroll("two", [ann])
    copy = copies.take(house)
    house.simulator.acts.message(
        id_of_handle("we"), id_of_handle("ann"), "Lunch on Friday?", house.clock.now(), by="hand"
    )
    copies.restore(house, copy)
    guard(house.ctx)
    adopted(house)
    house.pass_time(30 * MINUTE)
    assert row(house)["recovering_since"] is None
    (task,) = house.db.read("SELECT * FROM task WHERE state = 'open'")
    assert (task["kind"], task["reason"], task["person_id"]) == ("decide", "restore.unexplained", ann)
    assert [kind for kind, _ in acts(house) if kind == "dm"] == ["dm"], "their own, by hand"
    done(house.ctx, task["id"], "eve")
    house.pass_time(15 * MINUTE)
    assert house.lead(lead)["cursor"] in ("hello", "check")


def test_a_push_of_our_own_message_waits_until_the_database_is_adopted(house: House, copies: Backups) -> None:
    """Taken for made by hand it would explain nothing any more, and the step would be sent a second time."""
    (ann,) = friends(house, "ann", nick="you")
    (lead,) = house.enroll("two", [ann])
    copy = copies.take(house)
    pushed: list[object] = []
    house.deliver = lambda hint: pushed.append(hint) or [hint]  # type: ignore[func-returns-value]
    house.pass_time(12 * MINUTE)
    push = house.db.read("SELECT * FROM inbound WHERE kind = 'message_out'")[0]
    copies.restore(house, copy)
    guard(house.ctx)
    names = [n for n in push if n not in ("id", "state", "digested_at", "digest_after", "person_id", "class")]
    marks = ", ".join(["%s"] * len(names))
    values = [to_json(push[n]) if n == "raw" else push[n] for n in names]
    house.db.run(lambda tx: tx.execute(f"INSERT INTO inbound ({', '.join(names)}) VALUES ({marks})", values))
    house.pass_time(10 * MINUTE)
    assert [
        one["state"] for one in house.db.read("SELECT state FROM inbound WHERE kind = 'message_out'")
    ] == ["waiting"]
    adopted(house)
    house.pass_time(10 * MINUTE)
    assert [(e["kind"], e["state"]) for e in house.executions(lead)] == [
        ("FOLLOW_ON_TWITTER", "sent"),
        ("SEND_TWITTER_DM", "sent"),
    ]
    assert len(acts(house)) == 2


def test_whoever_was_enrolled_after_the_backup_is_not_written_to_again_at_once(
    house: House, copies: Backups
) -> None:
    """They are not in the backup: imported and enrolled once more, what was said to them before is a touch."""
    copy = copies.take(house)
    house.enroll("later", friends(house, "dee", nick="you"))
    house.pass_time(12 * MINUTE)
    assert acts(house) == [("dm", "dee")]
    copies.restore(house, copy)
    guard(house.ctx)
    adopted(house)
    house.pass_time(10 * MINUTE)
    assert row(house)["recovering_since"] is None
    house.enroll("later", friends(house, "dee", nick="you", resolved=False))
    house.pass_time(timedelta(hours=45), step=timedelta(hours=3))
    assert acts(house) == [("dm", "dee")]
    assert {one["rule"] for one in verdicts(house)} == {"touch.gap"}


def test_a_clone_gets_a_name_of_its_own_and_can_never_send(house: House, copies: Backups) -> None:
    (ann,) = friends(house, "ann")
    copy = copies.take(house)
    copies.restore(house, copy)
    done_ = adopted(house, new_name="staging")
    assert (done_.name, done_.tokens_forgotten) == ("staging", 1)
    here = row(house)
    assert (here["name"], here["simulated_only"], here["live_confirmed_at"]) == ("staging", True, None)
    house.enroll("two", [ann])
    house.pass_time(10 * MINUTE)
    assert acts(house) == []
    assert house.db.read("SELECT state, access_token FROM account") == [
        {"state": "disconnected", "access_token": ""}
    ]


def test_the_journal_of_another_database_and_one_with_a_gap_change_nothing(
    house: House, copies: Backups
) -> None:
    for person in friends(house, "ann", "ben", "cy"):
        out(house, person)
    copy = copies.take(house)
    deliver(house)
    place = journal_place(house.ctx.settings, house.ctx)
    assert place is not None
    lines = list(place.read())
    copies.restore(house, copy)
    guard(house.ctx)
    for wrong in (
        [lines[0], lines[2]],
        [Line(1, lines[0].text.replace('"instance":"test"', '"instance":"other"'))],
    ):
        with pytest.raises(ConfigurationError, match="nothing was changed"):
            adopted(house, lines=wrong)
        assert row(house)["foreign_since"] is not None
        assert house.db.read("SELECT * FROM adoption") == []


def test_an_adoption_that_was_cut_short_is_gone_on_with(
    house: House, copies: Backups, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = friends(house, "ann", "ben", "cy")
    copy = copies.take(house)
    for person in people:
        out(house, person)
    deliver(house)
    copies.restore(house, copy)
    applied: list[int] = []

    def dies(ctx: Any, line: Line, *rest: Any) -> list[int]:
        if len(applied) == 2:
            raise RuntimeError("the machine is gone")
        applied.append(line.number)
        return apply(ctx, line, *rest)

    apply = adopting._apply
    monkeypatch.setattr(adopting, "_apply", dies)
    with pytest.raises(RuntimeError):
        adopted(house)
    house.pass_time(10 * MINUTE)
    assert row(house)["recovering_since"] is not None
    monkeypatch.setattr(adopting, "_apply", apply)
    assert adopted(house).replayed == {"suppressed": 1}
    house.pass_time(10 * MINUTE)
    assert row(house)["recovering_since"] is None
    assert house.db.read("SELECT count(*) AS n FROM person WHERE suppressed_at IS NOT NULL")[0]["n"] == 3


def out(house: House, person_id: int) -> None:
    opt_out(house.ctx, person_id, reason="a test", source="operator", evidence={}, actor="test")


def verdicts(house: House) -> list[dict[str, object]]:
    return [one["verdict"] for one in house.executions() if one["verdict"]]
