"""What a scenario may break: the processes, servers, connections, clocks and people of one run, and the dice it throws for it."""

import contextlib
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from outreach.app import App
from outreach.chaos.ground import Disk
from outreach.chaos.proxy import Proxy
from outreach.chaos.switching import Pause, pause, resume
from outreach.embedded.servers import Servers
from outreach.embedded.supervisor import Supervisor
from outreach.errors import NotFound, OutreachError, UsageError
from outreach.ids import bucket
from outreach.models import chaos
from outreach.models.base import UNREACHABLE
from outreach.rehearsal import world
from outreach.rehearsal.stage import Stage, old_worker, worker
from outreach.runtime import hints
from outreach.runtime.merge import merge
from outreach.runtime.optout import opt_out

#: Hints that one storm sends of every lead that is under way.
_COPIES = 20


@dataclass(slots=True, kw_only=True)
class Field:
    """One run's things to break. `done`: how often each was broken."""

    app: App
    stage: Stage
    servers: Servers
    supervisor: Supervisor
    seed: int
    to_postgres: Proxy
    to_redis: Proxy
    to_provider: Proxy
    #: how long the blows last, in real seconds
    seconds: float = 0.0
    #: what Postgres lies on, where that can be filled
    disk: Disk | None = None
    done: Counter[str] = field(default_factory=Counter)
    #: seconds that each opt-out took to be acknowledged where nothing of that person was under way
    acknowledged: list[float] = field(default_factory=list)
    #: every turn of the kill switch
    pauses: list[Pause] = field(default_factory=list)
    _throws: Counter[str] = field(default_factory=Counter)
    _frozen: set[str] = field(default_factory=set)
    #: the point at which the victim that was started last is to die
    _point: str | None = None
    _threads: list[threading.Thread] = field(default_factory=list)
    _at_peace: threading.Event = field(default_factory=threading.Event)

    # --- dice ----------------------------------------------------------------------------------------------------

    def throw(self, what: str) -> float:
        """A number in [0, 1): the next one of this name for this seed."""
        self._throws[what] += 1
        return bucket("chaos", self.seed, what, self._throws[what])

    def between(self, low: float, high: float, what: str = "pause") -> float:
        """A number within these bounds."""
        return low + (high - low) * self.throw(what)

    def one_of(self, things: Sequence[Any], what: str) -> Any:
        """One of them."""
        return things[int(self.throw(what) * len(things))]

    # --- processes -----------------------------------------------------------------------------------------------

    def alive(self, prefix: str = "worker") -> list[str]:
        """The processes of this name that run and are not frozen."""
        return sorted(n for n in self.supervisor.running() if n.startswith(prefix) and n not in self._frozen)

    def kill(self, prefix: str = "worker", *signals: signal.Signals) -> None:
        """One process ends by these signals, one right after the other, and starts again. Without any: kill -9."""
        names = self.alive(prefix)
        if not names:
            return
        with contextlib.suppress(NotFound):  # it has ended by itself between the two looks
            victim = self.one_of(names, "victim")
            self.supervisor.restart(victim, (signals or (signal.SIGKILL,))[0])
            for number in signals[1:]:
                time.sleep(0.1)  # noqa: TID251  as a platform does that signals twice
                self.supervisor.kill(victim, number)
            self.done[f"{prefix} {'killed' if not signals else 'told to end'}"] += 1

    def freeze(self, prefix: str = "worker") -> str | None:
        """One process stands still until it is thawed."""
        names = self.alive(prefix)
        if not names:
            return None
        victim: str = self.one_of(names, "frozen")
        with contextlib.suppress(NotFound):
            self.supervisor.kill(victim, signal.SIGSTOP)
            self._frozen.add(victim)
            self.done[f"{prefix} frozen"] += 1
        return victim

    def thaw(self, name: str | None = None) -> None:
        """It, or everything that is frozen, goes on."""
        for victim in [name] if name else list(self._frozen):
            if victim in self._frozen:
                self._frozen.discard(victim)
                with contextlib.suppress(NotFound):
                    self.supervisor.kill(victim, signal.SIGCONT)

    def start_victim(self, failpoint: str) -> None:
        """One more worker, which dies at the named point; the one before it must be over."""
        if "victim" not in self.supervisor.running():
            with contextlib.suppress(UsageError):  # its end has not been noticed yet
                self.supervisor.start(
                    worker(self.stage, "victim", restart=False, OUTREACH_FAILPOINT=failpoint)
                )
                self._point = failpoint.partition(":")[0]

    def end_victim(self) -> None:
        """What has not met its point by then ends by kill -9, wherever it is. Counted is where it really died."""
        point, self._point = self._point, None
        if "victim" in self.supervisor.running():
            with contextlib.suppress(NotFound):
                self.supervisor.kill("victim", signal.SIGKILL)
            point = "no point" if point else None
        if point:
            self.done[f"killed at {point}"] += 1

    def start_old(self, name: str) -> None:
        """One more worker, of the older release."""
        self.supervisor.start(old_worker(self.stage, name))
        self.done["older workers"] += 1

    def start_skewed(self, name: str, seconds: float) -> None:
        """One more worker, on a machine whose clock is wrong."""
        module = ("outreach.cli.skewed", str(seconds))
        self.supervisor.start(worker(replace(self.stage, worker_module=module), name))
        self.done[f"clocks wrong by {seconds:+g} s"] += 1

    # --- servers -------------------------------------------------------------------------------------------------

    def crash_postgres(self) -> None:
        """As a machine does that loses its power."""
        assert self.servers.crash_postgres is not None
        self.servers.crash_postgres()
        self.done["postgres restarted"] += 1

    def fill_disk(self) -> None:
        """Not a byte more fits on Postgres's disk; every other time a new piece of its log is wanted at once, too, and it panics."""
        assert self.disk is not None
        self.disk.fill()
        self.done["disk filled"] += 1
        db = self.app.context.db
        try:
            db.run(chaos.want_room)
        except UNREACHABLE:
            self.done["writes refused"] += 1
        if self.done["disk filled"] % 2 == 0:
            try:
                db.run(chaos.want_new_log)
            except UNREACHABLE:
                self.done["postgres panicked"] += 1

    def empty_disk(self) -> None:
        """There is room again. What was written meanwhile is checkpointed, or its log alone would fill the disk one day."""
        assert self.disk is not None
        self.disk.empty()
        with contextlib.suppress(*UNREACHABLE):  # it is starting up, which ends with a checkpoint
            self.app.context.db.run(chaos.checkpoint)

    def flush_redis(self) -> None:
        """Every hint and every counter is gone."""
        assert self.servers.flush_valkey is not None
        self.servers.flush_valkey()
        self.done["redis flushed"] += 1

    def kill_redis(self) -> None:
        """kill -9 of the server. It comes back empty."""
        assert self.servers.kill_valkey is not None
        self.servers.kill_valkey()
        self.done["redis killed"] += 1

    def take_redis_away(self) -> None:
        """Nobody gets a connection, and those that there were are reset."""
        self.to_redis.refusing = True
        self.to_redis.cut()
        self.done["redis away"] += 1

    def provider(self, rules: Sequence[Mapping[str, Any]]) -> None:
        """What goes wrong at the provider from now on."""
        url = f"{self.stage.simulator_url}/__sim/faults"
        httpx.post(url, json={"rules": list(rules)}, trust_env=False).raise_for_status()

    # --- people and messages -------------------------------------------------------------------------------------

    def storm_of_hints(self) -> None:
        """Every lead that is under way, many times over."""
        with contextlib.suppress(*UNREACHABLE):
            active = self.app.context.db.run(lambda tx: chaos.active_leads(tx, 60))
            self.app.hint([hints.advance(lead_id) for lead_id in active] * _COPIES)
            self.done["doubled hints"] += len(active) * (_COPIES - 1)

    def opt_somebody_out(self) -> None:
        """One person who has a lead under way, as often as not one to whom a call is under way; and how long it took to say so."""
        person = (self._being_called() if self.throw("whom") < 0.7 else None) or self._somebody()
        if person is None:
            return
        began = time.monotonic()
        at_once = opt_out(
            self.app.context, person, reason="stop", source="chaos", evidence={"said": "chaos"}, actor="chaos"
        )
        self.done["opt-outs"] += 1
        if at_once:
            self.acknowledged.append(time.monotonic() - began)

    def merge_two(self) -> None:
        """Two people turn out to be one."""
        one, other = self._somebody(), self._somebody()
        if one is None or other is None or one == other:
            return
        with contextlib.suppress(OutreachError):  # one of them has just been merged away
            merge(self.app.context, one, other, evidence="chaos", by="chaos")
            self.done["merges"] += 1

    def poison(self) -> None:
        """A lead that no release can read: whoever looks at it fails."""
        lead = self.app.context.db.run(lambda tx: chaos.poison_one(tx, int(self.throw("poison") * 1_000_000)))
        self.done["poisoned"] += lead is not None

    def switch_off(self, scope: str) -> None:
        """A human turns the kill switch: of everything, an account, the sequence, or a person to whom a call is under way."""
        account = self.one_of(sorted(world.ACCOUNTS), "account")
        found = pause(self.app, scope, account, self._being_called() or self._somebody())
        if found is not None:
            self.pauses.append(found)
            self.done[f"{scope} paused"] += 1
            self.done["calls under way at a pause"] += len(found.calls)

    def switch_on(self) -> None:
        """What was turned off last goes on."""
        if self.pauses and self.pauses[-1].until is None:
            resume(self.app, self.pauses[-1])

    def _somebody(self) -> int | None:
        return self.app.context.db.run(lambda tx: chaos.person_under_way(tx, self._lot()))

    def _being_called(self) -> int | None:
        return self.app.context.db.run(lambda tx: chaos.person_being_called(tx, self._lot()))

    def _lot(self) -> int:
        return int(self.throw("person") * 1_000_000)

    # --- beside the plan -----------------------------------------------------------------------------------------

    def beside(self, work: Callable[[], None]) -> None:
        """Do it again and again on a thread of its own, until there is peace."""

        def repeat() -> None:
            while not self._at_peace.wait(0.02):
                # a server is away for a moment, or a row is busy: the next one will do
                with contextlib.suppress(OutreachError, *UNREACHABLE):
                    work()

        thread = threading.Thread(target=repeat, name="chaos", daemon=True)
        thread.start()
        self._threads.append(thread)

    def peace(self) -> None:
        """Everything that was broken works again; what has died has been started again."""
        self._at_peace.set()
        for thread in self._threads:
            thread.join(timeout=10)
        self.thaw()
        self.end_victim()
        self.switch_on()
        if self.disk is not None:
            self.disk.empty()
        for proxy in (self.to_postgres, self.to_redis, self.to_provider):
            proxy.flow()
        self.provider([])
