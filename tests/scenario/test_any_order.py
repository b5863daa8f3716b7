"""The whole engine in one process, in any order that Hypothesis can think of: real Postgres; provider, broker and clock simulated.

Hints are carried out late, twice, or never; workers die at any boundary; providers accept and say nothing; people answer, object, turn out
to be one; the account is paused; Redis forgets. After every step nothing may have been doubled, over a cap, or sent after an effective
opt-out; and once everything works again, nothing may be lost.

A failure prints its steps and how to have them again. OUTREACH_TEST_SEEDS=500 tries more of them.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from outreach import failpoints
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
from tests.integration.law_support import fault, id_of_handle, mend, open_house, roomy_account
from tests.stage import _ACTORS, House

pytestmark = [pytest.mark.servers, pytest.mark.timeout(3600)]
SEEDS = int(os.environ.get("OUTREACH_TEST_SEEDS", "30"))
STEPS = 40
HANDLES = ("ann", "bob", "cid", "dee", "eve", "fay")
CAPS = {"FOLLOW_ON_TWITTER": "3/hour", "SEND_TWITTER_DM": "2/hour", "UNFOLLOW_ON_TWITTER": "3/hour"}
WITNESSED = {"follow": parse_caps("3/hour"), "dm": parse_caps("2/hour"), "unfollow": parse_caps("3/hour")}
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
#: what a provider can do to a call; and to its pushes
FAULTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("dm.send", "hang", {"accepted": True, "seconds": 60}),
    ("dm.send", "reset", {"accepted": True}),
    ("dm.send", "reset", {"accepted": False}),
    ("dm.send", "garble", {}),
    ("dm.send", "late", {"seconds": 20}),
    ("*follow", "error", {"accepted": True}),
    ("*follow", "hang", {"accepted": True, "seconds": 60}),
    ("*follow", "rate_limit", {"seconds": 120}),
    ("dm.list", "error", {"status": 503}),
    ("dm.with", "lag", {"seconds": 90}),
    ("webhook:*", "lose", {}),
    ("webhook:*", "duplicate", {"copies": 3, "seconds": 30}),
    ("webhook:*", "shuffle", {"seconds": 60}),
)
WORDS = (("positive", "Yes, tell me more!"), ("neutral", "Who are you?"), ("stop", "STOP"))
ONE_OF = st.integers(0, 10**6)
#: where it hurts most, as often as all others together
POINTS = [*sorted(failpoints.POINTS), *["call.after", "http.written", "settle.in"] * 5]


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


class Engine(RuleBasedStateMachine):
    """One history."""

    #: makes a house over an empty database; set by the test
    make: Callable[[], tuple[House, Callable[[], None]]]

    def __init__(self) -> None:
        super().__init__()
        self.house, self.close = type(self).make()
        self.people = {handle: self.house.person(handle, basis="opt_in") for handle in HANDLES}
        self.queue: list[Hint] = []
        segment = self.house.segment("everybody", list(self.people.values()))
        self.queue += enroll(self.house.ctx, "mill", [segment], by="test").hints

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

    @rule(handle=st.sampled_from(HANDLES))
    def somebody_objects(self, handle: str) -> None:
        with self._said_no():
            opt_out(
                self.house.ctx,
                self._person(handle),
                reason="asked",
                source="operator",
                evidence={},
                actor="test",
            )

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
        found = self._verdict()
        wrong = found.duplicates, found.over_cap, found.after_opt_out
        assert wrong == (0, 0, 0), found.findings

    def teardown(self) -> None:
        """Everything works again; then nothing is lost, and every doubt is settled or with a human."""
        try:
            mend(self.house)
            with self._said_no():
                set_account(self.house.ctx, "we", None, "test")
            self._take()
            self.house.hints.extend(self.queue)
            self.house.pass_time(timedelta(hours=1), step=timedelta(minutes=4))
            self.house.pass_time(timedelta(hours=4), step=timedelta(minutes=40))
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


def test_whatever_the_order(servers: Any, template: str, tmp_path: Path) -> None:
    from tests.conftest import _database_url, _on_server

    numbers = count(1)

    def make() -> tuple[House, Callable[[], None]]:
        name = f"any_order_{os.getpid()}_{next(numbers)}"
        _on_server(servers.database_url, f"CREATE DATABASE {name} TEMPLATE {template}")
        db = Database(_database_url(servers.database_url, name), pool_size=2)
        folder = tmp_path / name
        folder.mkdir()
        limiter: Any = Forgetful()
        house = open_house(db, folder, HANDLES, limiter=limiter)
        assert isinstance(limiter.inner, MemoryLimiter)
        roomy_account(house, caps=CAPS)
        object.__setattr__(house.ctx, "carries", frozenset(["twitter"]))
        house.publish(MILL)

        def close() -> None:
            db.close()
            _on_server(servers.database_url, f"DROP DATABASE {name} WITH (FORCE)")
            shutil.rmtree(folder)

        return house, close

    machine = type("Any", (Engine,), {"make": staticmethod(make)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=SEEDS,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
            print_blob=True,
        ),
    )
