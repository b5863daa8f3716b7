"""The whole engine in one process, in any order that Hypothesis can think of: real Postgres; provider, broker and clock simulated.

Hints are carried out late, twice, or never; workers die at any boundary; providers accept and say nothing; people answer, object, turn out
to be one; the account is paused; Redis forgets; and any of it happens in the middle of a call. After every step nothing may have been doubled,
over a cap, or sent after an effective opt-out; and once everything works again, nothing may be lost.

One seed is one history, the same one each time. `python -m tests.scenario.any_order --seeds 500` plays so many of them;
`--seed 17` plays that one again, and looks for the shortest history that fails in the same way.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, assume, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from outreach import failpoints
from outreach.embedded.servers import start_servers
from outreach.errors import OutreachError
from outreach.limits.caps import parse_caps
from outreach.limits.limiter import MemoryLimiter
from outreach.models.base import Database
from outreach.rehearsal.judge import Verdict, judge
from outreach.runtime import hints
from outreach.runtime.control import set_account
from outreach.runtime.enroll import enroll
from outreach.runtime.hints import Hint
from outreach.runtime.merge import merge
from outreach.runtime.optout import opt_out
from outreach.runtime.perform import look_and_perform, perform
from outreach.runtime.tick import tick
from outreach.settings import Settings
from tests.chaos.broken import VARIANTS
from tests.conftest import _database_url, _on_server, make_template
from tests.integration.law_support import fault, id_of_handle, mend, open_house, roomy_account
from tests.stage import _ACTORS, House

STEPS = 30
#: some are followed first, the others are written to at once
MILLED, WRITTEN = ("ann", "bob", "cid"), ("dee", "eve", "fay")
HANDLES = MILLED + WRITTEN
LATER = tuple(f"later_{number}" for number in range(10))
CAPS = {"FOLLOW_ON_TWITTER": "2/hour", "SEND_TWITTER_DM": "3/hour", "UNFOLLOW_ON_TWITTER": "2/hour"}
WITNESSED = {"follow": parse_caps("2/hour"), "dm": parse_caps("3/hour"), "unfollow": parse_caps("2/hour")}
MILL = """
sequence: mill
actions:
  follow: {do: FOLLOW_ON_TWITTER, next: hello}
  hello: {do: SEND_TWITTER_DM, message: "Hello. {{ opt_out }}", next: check}
  check:
    do: CHECK_FOR_REPLY
    next:
      - {on: POSITIVE_REPLY, to: thanks}
      - {on: REPLIED, to: END}
      - {on: NOT_REPLIED, after: 2h, to: unfollow}
  thanks: {do: SEND_TWITTER_DM, message: "Thank you! {{ opt_out }}"}
  unfollow: {do: UNFOLLOW_ON_TWITTER}
"""
LETTER = """
sequence: letter
actions:
  hello: {do: SEND_TWITTER_DM, message: "A word. {{ opt_out }}", next: check}
  check:
    do: CHECK_FOR_REPLY
    next:
      - {on: REPLIED, to: END}
      - {on: NOT_REPLIED, after: 2h, to: again}
  again: {do: SEND_TWITTER_DM, message: "Another word. {{ opt_out }}"}
"""
#: what a provider can do to a call; and to its pushes
FAULTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("dm.send", "hang", {"accepted": True, "seconds": 60}),
    ("dm.send", "reset", {"accepted": True}),
    ("dm.send", "reset", {"accepted": False}),
    ("dm.send", "garble", {}),
    ("dm.send", "late", {"seconds": 20}),
    ("*follow", "error", {"accepted": True}),
    ("*follow", "late", {"seconds": 20}),
    ("*follow", "rate_limit", {"seconds": 120}),
    ("dm.list", "error", {"status": 503}),
    ("dm.with", "lag", {"seconds": 90}),
    ("webhook:*", "lose", {}),
    ("webhook:*", "duplicate", {"copies": 3, "seconds": 30}),
    ("webhook:*", "shuffle", {"seconds": 60}),
)
WORDS = (("positive", "Yes, tell me more!"), ("neutral", "Who are you?"), ("stop", "STOP"))
ONE_OF = st.integers(0, 10**6)
WHO = st.sampled_from(HANDLES)
#: where it hurts most, as often as all others together
POINTS = [*sorted(failpoints.POINTS), *["call.after", "http.written", "settle.in"] * 5]
#: within a call, no lock is held and no pass is under way: anything may happen there
MIDDLE = ("call.before", "call.before_first_byte", "http.written", "call.after")


class Killed(BaseException):
    """kill -9: nothing after it runs."""


class Forgetful:
    """A limiter that can lose everything."""

    def __init__(self) -> None:
        self.inner = MemoryLimiter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@contextmanager
def dying_at(point: str, passage: int) -> Iterator[None]:
    passages = count(1)

    def die(at: str) -> None:
        if at == point and next(passages) == passage:
            raise Killed(point)

    failpoints._armed = die
    try:
        yield
    finally:
        failpoints._armed = None


@contextmanager
def between(point: str, work: Callable[[], None]) -> Iterator[None]:
    """The first passage of that point is the instant at which this happens."""

    def happen(at: str) -> None:
        if at == point:
            failpoints._armed = None
            work()

    failpoints._armed = happen
    try:
        yield
    finally:
        failpoints._armed = None


class Engine(RuleBasedStateMachine):
    """One history."""

    #: makes a house over an empty database; set by whoever plays
    make: Callable[[], tuple[House, Callable[[], None]]]

    def __init__(self) -> None:
        super().__init__()
        self.queue: list[Hint] = []
        self.people: dict[str, int] = {}

    @initialize(world=st.integers(0, 10**9))
    def a_world(self, world: int) -> None:
        """Hypothesis tries the simplest history of every seed first. It would cost a database, and never change: it is turned down."""
        assume(world > 0)
        self.house, self.close = type(self).make()
        for sequence, handles in (("mill", MILLED), ("letter", WRITTEN)):
            self._enroll(sequence, handles)

    # --- what a worker does ------------------------------------------------------------------------------------

    @rule(lots=st.lists(st.tuples(ONE_OF, st.booleans()), min_size=1, max_size=4))
    def carry_out_hints(self, lots: list[tuple[int, bool]]) -> None:
        """Any of them, not the oldest; and perhaps it comes again."""
        for lot, keep in lots:
            self._take()
            if self.queue:
                place = lot % len(self.queue)
                self._carry(self.queue[place] if keep else self.queue.pop(place))

    @rule(lot=ONE_OF, point=st.sampled_from(POINTS), passage=st.integers(1, 2))
    def die_with_a_hint(self, lot: int, point: str, passage: int) -> None:
        """The worker dies at that point, if it comes there; its hint is gone."""
        self._take()
        if self.queue:
            hint = self.queue.pop(lot % len(self.queue))
            try:
                with dying_at(point, passage):
                    self._carry(hint)
            except Killed:
                return

    @rule(
        lot=ONE_OF,
        point=st.sampled_from(["http.written", "call.after"]),
        echo=st.booleans(),
        minutes=st.sampled_from([1, 3, 20]),
    )
    def die_over_a_message(self, lot: int, point: str, echo: bool, minutes: float) -> None:
        """The provider has it, its echo is perhaps lost, too, and the deadline passes: what the reaper is for."""
        due = self._due(("hello", "thanks", "again"))
        if due:
            if not echo:
                fault(self.house, "webhook:dm.sent", "lose", times=1)
            try:
                with dying_at(point, 1):
                    self.queue += look_and_perform(self.house.ctx, due[lot % len(due)])
            except Killed:
                self.time_passes(minutes)
                self.sweep()

    @rule(
        lot=ONE_OF,
        point=st.sampled_from(MIDDLE),
        what=st.sampled_from(["objects", "merges", "paused", "time", "hints"]),
        who=WHO,
        late=st.booleans(),
    )
    def something_happens_in_the_middle(self, lot: int, point: str, what: str, who: str, late: bool) -> None:
        """Of a call that has begun; which takes effect late, as often as not."""
        due = self._due()
        if not due:
            return
        if late:
            for route in ("dm.send", "*follow"):
                fault(self.house, route, "late", times=1, seconds=20)
        with between(point, lambda: self._meanwhile(what, who)):
            self.queue += look_and_perform(self.house.ctx, due[lot % len(due)])

    def _meanwhile(self, what: str, who: str) -> None:
        called = self._called() or self._person(who)
        with self._said_no():
            match what:
                case "objects":
                    self._object(called)
                case "merges":
                    merge(self.house.ctx, called, self._person(who), evidence="test", by="test")
                case "paused":
                    set_account(self.house.ctx, "we", "a test", "test")
                case "time":
                    self.time_passes(1)
                    self.sweep()
                case _:
                    self.sweep()
                    for hint in self.queue[-3:]:
                        self._carry(hint)

    @rule()
    def sweep(self) -> None:
        self.queue += tick(self.house.ctx)

    @rule(minutes=st.sampled_from([0.1, 1, 3, 20, 61, 130]))
    def time_passes(self, minutes: float) -> None:
        self.house.clock.advance(timedelta(minutes=minutes))
        self.house.simulator.run_until(self.house.clock.now())

    @rule()
    def redis_forgets(self) -> None:
        """Every hint and every counter."""
        self._take()
        self.queue.clear()
        self.house.soon.clear()
        limiter: Any = self.house.ctx.limiter
        limiter.inner = MemoryLimiter()

    # --- what others do ----------------------------------------------------------------------------------------

    @rule(which=st.sampled_from(FAULTS))
    def something_goes_wrong_once(self, which: tuple[str, str, dict[str, Any]]) -> None:
        route, do, how = which
        fault(self.house, route, do, times=1, **how)

    @rule(handle=st.sampled_from(HANDLES), words=st.sampled_from(WORDS))
    def somebody_writes(self, handle: str, words: tuple[str, str]) -> None:
        kind, text = words
        self.house.says(handle, text, kind=kind)

    @rule(sequence=st.sampled_from(["mill", "letter"]))
    def two_more_come(self, sequence: str) -> None:
        new = [handle for handle in LATER if handle not in self.people][:2]
        if new:
            self._enroll(sequence, new)

    @rule(handle=st.sampled_from(HANDLES))
    def somebody_objects(self, handle: str) -> None:
        with self._said_no():
            self._object(self._person(handle))

    @rule(one=st.sampled_from(HANDLES), other=st.sampled_from(HANDLES))
    def two_turn_out_to_be_one(self, one: str, other: str) -> None:
        with self._said_no():
            merge(self.house.ctx, self._person(one), self._person(other), evidence="test", by="test")

    @rule(paused=st.booleans())
    def the_account_is_paused_or_not(self, paused: bool) -> None:
        with self._said_no():
            set_account(self.house.ctx, "we", "a test" if paused else None, "test")

    @rule(handle=st.sampled_from(HANDLES))
    def a_hint_from_nowhere(self, handle: str) -> None:
        """Forged, or very late: any lead, whatever it waits for."""
        for row in self.house.db.read("SELECT id FROM lead WHERE person_id = %s", (self.people[handle],)):
            self.queue.append(hints.advance(row["id"]))

    # --- what must be true -------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_doubled_over_a_cap_or_after_an_opt_out(self) -> None:
        if not self.people:
            return
        found = self._verdict()
        wrong = found.duplicates, found.over_cap, found.after_opt_out
        assert wrong == (0, 0, 0), found.findings

    def teardown(self) -> None:
        """Everything works again; then nothing is lost, and every doubt is settled or with a human."""
        if not self.people:
            return
        try:
            mend(self.house)
            with self._said_no():
                set_account(self.house.ctx, "we", None, "test")
            self._take()
            self.house.hints.extend(self.queue)
            self.house.pass_time(timedelta(hours=1), step=timedelta(minutes=4))
            self.house.pass_time(timedelta(hours=3), step=timedelta(minutes=45))
            # A sweep looks at as many leads of an account as its caps have room for: the last of a queue has its turn, too.
            self.house.pass_time(timedelta(minutes=15))
            found = self._verdict()
            assert found.clean, found.findings
        finally:
            self.close()

    # --- how ---------------------------------------------------------------------------------------------------

    def _take(self) -> None:
        """What was pushed, and what `soon` has ripened."""
        self.house._take_ripe()
        self.queue.extend(self.house.hints)
        self.house.hints.clear()

    def _carry(self, hint: Hint) -> None:
        actor = look_and_perform if hint.actor == "advance_lead" else _ACTORS.get(hint.actor, perform)
        self.queue += [replace(found, after=0.0) for found in actor(self.house.ctx, hint.id)]

    def _person(self, handle: str) -> int:
        row = self.house.db.read("SELECT person_id FROM identity WHERE value = %s", (id_of_handle(handle),))[
            0
        ]
        return int(row["person_id"])

    def _enroll(self, sequence: str, handles: Sequence[str]) -> None:
        new = {handle: self.house.person(handle, basis="opt_in") for handle in handles}
        self.people |= new
        segment = self.house.segment(f"{sequence}-{handles[0]}", list(new.values()))
        self.queue += enroll(self.house.ctx, sequence, [segment], by="test").hints

    def _due(self, cursors: Sequence[str] = ("follow", "hello", "thanks", "again", "unfollow")) -> list[int]:
        """Leads at these nodes that a worker may carry on now."""
        rows = self.house.db.read(
            "SELECT id FROM lead WHERE state = 'active' AND due_at <= %s AND waiting_on NOT IN ('call', 'doubt')"
            " AND cursor = ANY(%s) ORDER BY id",
            (self.house.clock.now(), list(cursors)),
        )
        return [row["id"] for row in rows]

    def _called(self) -> int | None:
        """Whom the call that is under way is about."""
        rows = self.house.db.read(
            "SELECT l.person_id FROM execution e JOIN lead l ON l.id = e.lead_id WHERE e.state = 'calling' ORDER BY e.started_at DESC, e.id DESC LIMIT 1"
        )
        return rows[0]["person_id"] if rows else None

    def _object(self, person_id: int) -> None:
        opt_out(self.house.ctx, person_id, reason="asked", source="operator", evidence={}, actor="test")

    @contextmanager
    def _said_no(self) -> Iterator[None]:
        """A command that does not fit is refused, and changes nothing."""
        try:
            yield
        except OutreachError:
            return

    def _verdict(self) -> Verdict:
        house = self.house
        return judge(
            house.db, house.accepted(), house.deeds(), caps=WITNESSED, now=house.clock.now(), machine=timedelta(seconds=1)
        )  # fmt: skip


# --- playing ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Theatre:
    """Where histories are played: a server, the name of a migrated database to copy, and a folder for witnesses."""

    url: str
    template: str
    folder: Path

    def play(self, number: int, *, shorten: bool = False) -> str | None:
        """The history of this seed; how it failed, or None."""
        machine = type("Any", (Engine,), {"make": staticmethod(self._make)})
        phases = [Phase.generate, Phase.shrink] if shorten else [Phase.generate]
        chosen = settings(
            max_examples=1,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=phases,
            report_multiple_bugs=False,
        )
        try:
            run_state_machine_as_test(seeded(number)(machine), settings=chosen)
        except AssertionError as error:
            return "".join(traceback.format_exception_only(error))
        return None

    def _make(self) -> tuple[House, Callable[[], None]]:
        name = f"any_order_{os.getpid()}_{next(_numbers)}"
        _on_server(self.url, f"CREATE DATABASE {name} TEMPLATE {self.template}")
        db = Database(_database_url(self.url, name), pool_size=2)
        folder = self.folder / name
        folder.mkdir()
        limiter: Any = Forgetful()
        house = open_house(db, folder, HANDLES + LATER, limiter=limiter)
        assert isinstance(limiter.inner, MemoryLimiter)
        roomy_account(house, caps=CAPS)
        object.__setattr__(house.ctx, "carries", frozenset(["twitter"]))
        house.publish(MILL)
        house.publish(LETTER)

        def close() -> None:
            db.close()
            _on_server(self.url, f"DROP DATABASE {name} WITH (FORCE)")
            shutil.rmtree(folder)

        return house, close


_numbers = count(1)


def main(words: Sequence[str] | None = None) -> int:
    """Play them; 1 where one failed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.scenario.any_order", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--seeds", type=int, default=30, help="so many histories")
    parser.add_argument("--first", type=int, default=1, help="the first one's seed")
    parser.add_argument("--seed", type=int, help="this history alone, made as short as it can be")
    parser.add_argument(
        "--protocol",
        choices=sorted(VARIANTS),
        help="a variant that is broken on purpose; ends with the first seed that finds it",
    )
    options = parser.parse_args(words)
    if options.protocol:
        VARIANTS[options.protocol]()
    chosen = (
        [options.seed] if options.seed is not None else range(options.first, options.first + options.seeds)
    )
    again = "python -m tests.scenario.any_order" + (
        f" --protocol {options.protocol}" if options.protocol else ""
    )
    began, played, red = time.monotonic(), 0, dict[int, str]()
    with (
        tempfile.TemporaryDirectory(prefix="outreach-order-") as name,
        start_servers(Settings(data_dir=Path(name)), scratch=True) as servers,
    ):
        theatre = Theatre(
            url=servers.database_url, template=make_template(servers.database_url), folder=Path(name)
        )
        for number in chosen:
            wrong = theatre.play(number, shorten=options.seed is not None)
            played += 1
            if wrong is not None:
                red[number] = wrong
                sys.stderr.write(f"seed {number}: {wrong}\nagain: {again} --seed {number}\n")
                if options.protocol:
                    break
    line = {
        "protocol": options.protocol or "ours",
        "seeds": played,
        "red": sorted(red),
        "seconds": round(time.monotonic() - began, 1),
    }
    sys.stdout.write(json.dumps(line) + "\n")
    return 1 if red else 0


if __name__ == "__main__":
    sys.exit(main())
