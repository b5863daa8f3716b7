"""A real worker is killed at every boundary of claim, call and settle, 20 times at each; nothing is sent twice, nothing is lost.

Each kill is `kill -9` at an exact instant with one lead in the worker's hands. Afterwards the ledger is held against the
provider's own log. `OUTREACH_TEST_KILLS` says how many kills a point gets; `-s` prints the table of docs/guarantees.md.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from outreach.embedded.servers import Servers
from outreach.failpoints import POINTS
from outreach.rehearsal.judge import Verdict
from outreach.simulator import id_of_handle
from tests.integration.kill_support import BLIND, CUT, WE, End, Lane, Victim, open_lane

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]

KILLS = int(os.environ.get("OUTREACH_TEST_KILLS", "20"))
_LANES = 2
_FOLLOW = "FOLLOW_ON_TWITTER"

# --- the end states that the protocol names ------------------------------------------------------------------------

_PLANNED, _CLAIMED, _DOUBT = "ActionScheduled", "ActionClaimed", "ActionInDoubt"
_SENT, _READ_BACK = "ActionSent accepted", "ActionSent read_back"
_ABSENT, _HELD = "ActionAbsent", "ActionHeld"


def state(state: str, attempts: int, effects: int, *events: str) -> dict[str, Any]:
    return {"state": state, "attempts": attempts, "effects": effects, "events": [_PLANNED, *events]}


ONCE = state("sent", 1, 1, _CLAIMED, _SENT)
FOUND = state("sent", 1, 1, _CLAIMED, _DOUBT, _READ_BACK)
#: a state that does not stand is set again; a message that is not seen is never sent again
ABSENT = state("sent", 2, 1, _CLAIMED, _DOUBT, _ABSENT, _CLAIMED, _SENT)
HELD_UNSENT = state("held", 1, 0, _CLAIMED, _DOUBT, _HELD)
HELD_SENT = state("held", 1, 1, _CLAIMED, _DOUBT, _HELD)


def sent_once(end: End) -> dict[str, Any]:
    """The kill left no trace but time: no doubt, one claim, one contact."""
    return ONCE


def not_begun(end: End) -> dict[str, Any]:
    """In doubt, read back, not there: planned again where asking twice changes nothing, else held, never sent again."""
    return ABSENT if end.victim.kind == _FOLLOW else HELD_UNSENT


def found(end: End) -> dict[str, Any]:
    """In doubt, read back, there: sent, by one contact."""
    return FOUND


def held(end: End) -> dict[str, Any]:
    """In doubt, and the provider can be asked nothing: held for a human, never sent again."""
    return HELD_SENT


def as_the_provider_had_it(end: End) -> dict[str, Any]:
    """Written, and nobody here can know: it is what the provider's log says it was when the worker was dead."""
    return found(end) if end.was_accepted else not_begun(end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One way to die."""

    failpoint: str
    expected: Callable[[End], dict[str, Any]]
    account: str = WE
    #: must every one, or none, have been accepted when the worker was dead? None: either
    accepted: bool | None

    @property
    def name(self) -> str:
        return self.failpoint if self.account != BLIND else f"{self.failpoint}, unreadable"


TRIALS = (
    Trial(failpoint="hints.before", expected=sent_once, accepted=False),
    Trial(failpoint="hints.after", expected=sent_once, accepted=False),
    Trial(failpoint="perform.before", expected=sent_once, accepted=False),
    Trial(failpoint="claim.before", expected=sent_once, accepted=False),
    Trial(failpoint="claim.in", expected=sent_once, accepted=False),
    Trial(failpoint="call.before", expected=not_begun, accepted=False),
    Trial(failpoint="call.before_first_byte", expected=not_begun, accepted=False),
    Trial(failpoint="http.half_written", expected=not_begun, accepted=False),
    Trial(failpoint="http.written", expected=as_the_provider_had_it, accepted=None),
    Trial(failpoint="call.after", expected=found, accepted=True),
    Trial(failpoint="call.after", expected=held, account=BLIND, accepted=True),
    Trial(failpoint="settle.in", expected=found, accepted=True),
    Trial(failpoint="settle.after", expected=sent_once, accepted=True),
    Trial(failpoint="message.acked", expected=sent_once, accepted=True),
    Trial(failpoint="readback.after", expected=found, account=CUT, accepted=True),
    Trial(failpoint="readback.in", expected=found, account=CUT, accepted=True),
)

_BLIND_RULES = [
    {"match": {"route": route, "account": id_of_handle(BLIND)}, "do": "error", "status": 503}
    for route in ("dm.with", "users.by_ids")
]
#: Nobody can list an inbox here, so that no echo settles what a read-back is to settle.
_QUIET_RULES = [{"match": {"route": "dm.list"}, "do": "error", "status": 503}]
_CUT_RULES = [
    {"match": {"route": route, "account": id_of_handle(CUT)}, "do": "reset", "accepted": True}
    for route in ("dm.send", "follow")
]


# --- the run -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What all lanes saw."""

    ends: Mapping[str, Sequence[End]]
    kills: Mapping[str, int]
    verdicts: Sequence[Verdict]


@pytest.fixture(scope="module")
def run(servers: Servers, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """All kills, side by side in lanes; then each lane recovers."""

    def work(number: int) -> tuple[list[End], Counter[str], Verdict]:
        folder = tmp_path_factory.mktemp(f"lane{number}")
        with open_lane(servers, template, f"kills_{number}", folder) as lane:
            dead = _kill_all(lane, TRIALS[number::_LANES])
            lane.recover()
            return lane.ends(dead), lane.killed_by, lane.verdict()

    with ThreadPoolExecutor(_LANES) as threads:
        answers = list(threads.map(work, range(_LANES)))
    ends: dict[str, list[End]] = {}
    kills: Counter[str] = Counter()
    for some, killed_by, _ in answers:
        kills += killed_by
        for end in some:
            ends.setdefault(end.victim.trial, []).append(end)
    run = Run(ends=ends, kills=kills, verdicts=[verdict for *_, verdict in answers])
    _print_table(run)
    yield run


def _kill_all(lane: Lane, trials: Sequence[Trial]) -> Counter[tuple[str, str]]:
    """Kill every victim of the trials; what the provider had accepted when the last one was dead."""
    victims = {trial.name: lane.enroll(trial.name, trial.account, KILLS) for trial in trials}
    cut: list[Victim] = [v for trial in trials if trial.account == CUT for v in victims[trial.name]]
    lane.faults(*_BLIND_RULES, *_QUIET_RULES, *_CUT_RULES)
    if cut:
        lane.bring_into_doubt(cut)
    lane.faults(*_BLIND_RULES, *_QUIET_RULES)
    for trial in trials:
        for victim in victims[trial.name]:
            lane.kill(victim, trial.failpoint)
    return lane.effects()


def _print_table(run: Run) -> None:
    print("\n| point | kills | duplicates | lost | sent | of these by read-back | held |")
    print("|---|---|---|---|---|---|---|")
    for trial in TRIALS:
        ends = run.ends[trial.name]
        killed = [end.killed for end in ends]
        duplicates = sum(max(0, k["effects"] - 1) for end in ends for k in (end.killed, *end.later))
        lost = sum(k["state"] not in ("sent", "held") for k in killed)
        states = Counter(k["state"] for k in killed)
        by_read_back = sum(_READ_BACK in k["events"] for k in killed)
        print(f"| {trial.name} | {run.kills[trial.name]} | {duplicates} | {lost} | {states['sent']} | {by_read_back} | {states['held']} |")  # fmt: skip


# --- what must be true -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.name)
def test_a_kill_ends_as_the_protocol_says(run: Run, trial: Trial) -> None:
    ends = run.ends[trial.name]
    assert (run.kills[trial.name], len(ends)) == (KILLS, KILLS)
    for end in ends:
        if trial.accepted is not None:
            assert end.was_accepted is trial.accepted
        assert end.killed == trial.expected(end), end.victim


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.name)
def test_a_lead_goes_on_after_a_kill_unless_a_human_must_look(run: Run, trial: Trial) -> None:
    for end in run.ends[trial.name]:
        goes_on = end.killed["state"] == "sent"
        follows = end.victim.kind == _FOLLOW
        assert list(end.later) == ([ONCE] if goes_on and follows else []), end.victim
        assert end.lead_state == ("finished" if goes_on else "active")


def test_the_witness_finds_nothing_twice_and_nothing_lost(run: Run) -> None:
    for verdict in run.verdicts:
        assert verdict.clean, verdict.findings
    held = sum(end.killed["state"] == "held" for ends in run.ends.values() for end in ends)
    assert sum(v.held_for_human for v in run.verdicts) == held > 0


def test_every_point_is_died_at() -> None:
    assert {trial.failpoint.partition(":")[0] for trial in TRIALS} == set(POINTS)
