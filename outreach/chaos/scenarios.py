"""The scenarios: what each breaks, and how often. A plan is a generator: it breaks something, and yields the seconds until the next blow.

The numbers F1 to F20 are those of the list of faults in docs/guarantees.md.
"""

import contextlib
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any

from outreach.chaos.field import Field
from outreach.chaos.ground import Ground, as_they_are, on_a_small_disk
from outreach.chaos.proxy import Act
from outreach.chaos.switching import SCOPES
from outreach.chaos.tampering import try_to_tamper
from outreach.embedded.servers import Servers
from outreach.failpoints import POINTS
from outreach.models.base import UNREACHABLE
from outreach.rehearsal.stage import Stage
from outreach.runtime.seal import seal_next

Plan = Callable[[Field], Iterator[float]]
#: Slow enough that every blow meets calls that are under way; and many an echo of our own messages never comes, so that the
#: provider must be asked.
_SLOW: Sequence[Mapping[str, Any]] = (
    {"match": {"route": "dm.send", "probability": 0.8}, "do": "delay", "seconds": 0.7},
    {"match": {"route": "*follow", "probability": 0.8}, "do": "delay", "seconds": 0.5},
    {"match": {"route": "webhook:dm.sent", "probability": 0.6}, "do": "lose"},
)
#: Points at which no worker passes that carries its channel in the same message.
_NOT_PASSED = frozenset({"hints.before", "hints.after"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One way to break things. `provider`: its fault plan for the whole run."""

    name: str
    faults: str
    says: str
    plan: Plan
    provider: Sequence[Mapping[str, Any]] = _SLOW
    smoke: bool = False
    stage: Callable[[Stage], Stage] = lambda stage: stage
    #: the database itself is lost and restored: drill.py plays it, and nothing else is broken meanwhile
    drill: bool = False
    #: what is tried when everything has ended; what went unnoticed, a line each
    trial: Callable[[Field], Sequence[str]] = lambda _field: ()
    ground: Callable[[Servers], AbstractContextManager[Ground]] = as_they_are
    #: an older release runs beside this one
    needs_old: bool = False


# --- processes ----------------------------------------------------------------------------------------------------


def _kills(field: Field) -> Iterator[float]:
    while True:
        yield field.between(0.5, 1.6)
        field.kill()


def _points(field: Field) -> Iterator[float]:
    points = [name for name in POINTS if name not in _NOT_PASSED]
    for point in cycle(sorted(points, key=lambda name: field.throw(f"order of {name}"))):
        field.start_victim(f"{point}:{1 + int(field.throw('passage') * 6)}")
        yield 2.6
        field.end_victim()
        yield 0.4


def _freezes(field: Field) -> Iterator[float]:
    while True:
        yield field.between(0.3, 1.0)
        victim = field.freeze()
        # below S: the promise assumes that no worker stands still for longer between its guard and its first byte
        yield field.between(0.3, field.stage.settings.settle_seconds * 0.9, "nap")
        field.thaw(victim)


def _terms(field: Field) -> Iterator[float]:
    while True:
        yield field.between(0.8, 2.0)
        field.kill("worker", signal.SIGTERM, signal.SIGTERM)


def _no_scheduler(field: Field) -> Iterator[float]:
    yield 2.0
    while True:
        victim = field.freeze("scheduler")
        yield field.between(5.0, 8.0, "absence")
        field.thaw(victim)
        yield 2.0


# --- servers ------------------------------------------------------------------------------------------------------


def _postgres(field: Field) -> Iterator[float]:
    while True:
        yield field.between(2.5, 5.5)
        field.crash_postgres()


def _commits(field: Field) -> Iterator[float]:
    def tamper(chunk: bytes) -> Act:
        if b"COMMIT" not in chunk or field.throw("commit") > 0.04:
            return Act.WHOLE
        field.done["commits unanswered"] += 1
        return Act.AFTER

    field.to_postgres.tamper = tamper
    while True:
        yield 1.0


def _flushes(field: Field) -> Iterator[float]:
    while True:
        yield field.between(1.2, 2.4)
        field.flush_redis()
        if field.throw("cut") < 0.3:
            field.to_redis.cut()
            field.done["redis connections cut"] += 1


#: Of the time of the blows, that is how long Redis is away in one go. At intensity 1: 36 s, which is 36 leases of a hint here, 72 ticks, and
#: longer than every back-off there is; ten minutes are 24 leases and 10 ticks as they are by default.
_AWAY = 0.4


def _redis_outage(field: Field) -> Iterator[float]:
    long = max(3.0, field.seconds * _AWAY)
    while True:
        yield field.between(1.5, 3.0)
        field.take_redis_away()
        yield long
        long = field.between(3.0, 6.0, "outage")
        field.to_redis.flow()
        yield field.between(1.5, 3.0)
        field.to_redis.stall()
        field.done["redis stalled"] += 1
        yield field.between(2.0, 4.0, "stall")
        field.to_redis.flow()


def _disk_full(field: Field) -> Iterator[float]:
    while True:
        yield field.between(1.5, 3.0)
        field.fill_disk()
        yield field.between(2.0, 6.0, "full")
        field.empty_disk()


def _redis_killed(field: Field) -> Iterator[float]:
    while True:
        yield field.between(1.5, 3.5)
        field.kill_redis()


# --- the provider and its messages ------------------------------------------------------------------------------------


def _network(field: Field) -> Iterator[float]:
    def tamper(chunk: bytes) -> Act:
        if not chunk.startswith((b"POST", b"DELETE", b"GET")) or field.throw("network") > 0.25:
            return Act.WHOLE
        act: Act = field.one_of([Act.BEFORE, Act.HALF, Act.AFTER], "cut")
        field.done[f"requests {act}"] += 1
        return act

    field.to_provider.tamper = tamper
    while True:
        yield 1.0


_SILENT: Sequence[Mapping[str, Any]] = (
    {"match": {"route": "dm.send", "probability": 0.1}, "do": "hang", "accepted": True, "seconds": 4},
    {"match": {"route": "dm.send", "probability": 0.1}, "do": "reset", "accepted": True},
    {"match": {"route": "*follow", "probability": 0.15}, "do": "error", "accepted": True},
    {"match": {"route": "*follow", "probability": 0.1}, "do": "hang", "accepted": True, "seconds": 4},
    {"match": {"route": "dm.send", "probability": 0.08}, "do": "late", "seconds": 1.5},
    {"match": {"route": "dm.with", "probability": 0.4}, "do": "lag", "seconds": 6},
    {"match": {"route": "webhook:dm.sent", "probability": 0.6}, "do": "lose"},
)
_WEBHOOKS: Sequence[Mapping[str, Any]] = (
    {"match": {"route": "webhook:*", "probability": 0.4}, "do": "duplicate", "copies": 5, "seconds": 3},
    {"match": {"route": "webhook:*", "probability": 0.4}, "do": "shuffle", "seconds": 4},
    {"match": {"route": "webhook:*", "probability": 0.1}, "do": "missign", "accepted": True},
    {"match": {"route": "webhook:*", "probability": 0.1}, "do": "lose"},
    {"match": {"route": "webhook:*", "probability": 0.2}, "do": "postpone", "seconds": 5},
)


#: Many a call takes effect when its caller has long given up, or is about to.
_LATE: Sequence[Mapping[str, Any]] = (
    {"match": {"route": "dm.send", "probability": 0.5}, "do": "late", "seconds": 1.2},
    {"match": {"route": "*follow", "probability": 0.5}, "do": "late", "seconds": 1.2},
)


def _wait(_field: Field) -> Iterator[float]:
    while True:
        yield 1.0


def _hints(field: Field) -> Iterator[float]:
    while True:
        yield 0.7
        field.storm_of_hints()


# --- clocks, rows, people --------------------------------------------------------------------------------------------


def _clocks(field: Field) -> Iterator[float]:
    yield 0.5
    skews = [-40, 25, 5, -10, 60]
    for number in range(len(skews)):
        field.start_skewed(f"worker-skewed-{number}", skews[number])
        yield 3.0
    while True:
        yield 1.0


#: The lead that kills every process which has it in its hands. They are numbered from 1 on in an empty database.
_DEADLY = 7


def _with_a_deadly_lead(stage: Stage) -> Stage:
    return replace(stage, for_workers={"OUTREACH_FAILPOINT": f"perform.before@{_DEADLY}"})


def _with_short_leases(stage: Stage) -> Stage:
    return replace(stage, settings=replace(stage.settings, hint_lease_seconds=1.0))


def _poison(field: Field) -> Iterator[float]:
    field.done["leads that kill their process"] = 1
    for _ in range(8):
        yield 0.8
        field.poison()
    while True:
        yield 1.0


def _opt_outs(field: Field) -> Iterator[float]:
    while True:
        yield field.between(0.02, 0.2)
        field.opt_somebody_out()


def _merges(field: Field) -> Iterator[float]:
    field.beside(field.merge_two)
    while True:
        yield 0.6
        field.opt_somebody_out()


def _releases(field: Field) -> Iterator[float]:
    """A roll-out that is never over: two workers of each release, and one after the other is replaced."""
    for number in (1, 2):
        field.start_old(f"worker-old-{number}")
    while True:
        yield field.between(0.8, 2.0)
        field.kill("worker", signal.SIGTERM, signal.SIGTERM)


def _switches(field: Field) -> Iterator[float]:
    for scope in cycle(SCOPES):
        yield field.between(0.5, 1.5)
        field.switch_off(scope)
        # longer than a call may take: whatever was under way has ended, and nothing else may have begun
        yield field.stage.settings.call_deadline_seconds + 0.3
        field.switch_on()


# --- the log ---------------------------------------------------------------------------------------------------------

_TAMPERINGS = 100


def _seals(field: Field) -> Iterator[float]:
    """The engine seals, and so do we, while whoever seals is killed: no event may be missed or sealed twice."""
    while True:
        yield field.between(0.4, 1.4)
        field.kill()
        with contextlib.suppress(*UNREACHABLE):
            field.done["seals"] += seal_next(field.app.context) is not None


def _tamper(field: Field) -> Sequence[str]:
    """A hundred tamperings with the log of this run, each looked for and taken back."""
    while seal_next(field.app.context) is not None:
        field.done["seals"] += 1
    trial = try_to_tamper(field.app.context.db, field.throw, _TAMPERINGS)
    field.done["tamperings"] += sum(trial.tried.values())
    alarms = (
        [f"audit verify finds {trial.false_alarms} things in a log that nobody has touched"]
        if trial.false_alarms
        else []
    )
    return [*alarms, *(f"audit verify has not seen: {done}" for done in trial.unseen)]


SCENARIOS: Sequence[Scenario] = (
    Scenario(name="kills", faults="F1", says="workers killed (kill -9), one every second", plan=_kills, smoke=True),
    Scenario(name="points", faults="F1", says="workers killed at each named point of claim, call and settle", plan=_points),
    Scenario(name="freezes", faults="F2", says="workers stopped and continued (SIGSTOP, SIGCONT)", plan=_freezes),
    Scenario(name="postgres", faults="F3", says="Postgres restarted without a checkpoint, every connection cut", plan=_postgres),
    Scenario(name="commits", faults="F4", says="commits whose acknowledgement never arrives", plan=_commits, smoke=True),
    Scenario(name="flushes", faults="F5, F20", says="everything in Redis lost, again and again, while every cap is tight; its connections cut", plan=_flushes,
             provider=(), smoke=True, stage=lambda stage: replace(stage, caps=dict.fromkeys(stage.caps, "3/hour; 40/day"))),
    Scenario(name="redis-killed", faults="F5", says="Redis killed (kill -9) again and again, empty when it comes back", plan=_redis_killed),
    Scenario(name="redis-outage", faults="F6", says="Redis away for longer than any lease or back-off, then stalled without a word", plan=_redis_outage,
             stage=_with_short_leases),
    Scenario(name="network", faults="F7", says="a quarter of all calls cut before, in, or after the request", plan=_network),
    Scenario(name="silent", faults="F8", says="a provider that accepts and says nothing, and shows it late", plan=_wait, provider=_SILENT),
    Scenario(name="webhooks", faults="F9", says="webhooks doubled five times, out of order, late, lost, wrongly signed", plan=_wait, provider=_WEBHOOKS),
    Scenario(name="clocks", faults="F10", says="workers whose clocks are wrong by business days", plan=_clocks),
    Scenario(name="hints", faults="F11", says="five schedulers, and every hint twenty times over", plan=_hints,
             stage=lambda stage: replace(stage, schedulers=5)),
    Scenario(name="terms", faults="F12", says="workers told to end twice (SIGTERM, SIGTERM), every second", plan=_terms),
    Scenario(name="releases", faults="F13", says="workers of an older release (--old PATH) beside ours, all replaced again and again", plan=_releases, needs_old=True),
    Scenario(name="poison", faults="F14", says="leads that nobody can read, and one that kills every process which looks at it", plan=_poison,
             stage=_with_a_deadly_lead),
    Scenario(name="disk-full", faults="F15", says="Postgres's disk filled to the last byte, and emptied again", plan=_disk_full, ground=on_a_small_disk),
    Scenario(name="opt-outs", faults="F16", says="a storm of opt-outs that race the sends", plan=_opt_outs, provider=_LATE, smoke=True),
    Scenario(name="switches", faults="pauses", says="everything, an account, the sequence, a human paused in the middle of calls", plan=_switches, provider=_LATE),
    Scenario(name="merges", faults="F17", says="people who turn out to be one in the middle of a send, or of an opt-out", plan=_merges, provider=_LATE),
    Scenario(name="restored", faults="F19", says="the database lost, and a backup restored from before sends, opt-outs and erasures", plan=_wait, provider=(),
             drill=True),
    Scenario(name="tampering", faults="F18", says="the sealed log edited, cut, reordered by a superuser, after workers were killed while it was sealed",
             plan=_seals, trial=_tamper),
    Scenario(name="no-scheduler", faults="F20", says="nobody ticks for most of the time", plan=_no_scheduler),
)  # fmt: skip


def named(name: str) -> Scenario:
    """The scenario of that name. Raises KeyError."""
    return next(one for one in SCENARIOS if one.name == name)
