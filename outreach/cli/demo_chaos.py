"""What `outreach demo --chaos` does to its own run: the plan, made of the seed alone, and the hand that carries it out."""

import signal
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from outreach.embedded.servers import Servers
from outreach.embedded.supervisor import Supervisor
from outreach.errors import NotFound, UsageError
from outreach.ids import bucket

#: Real seconds since people began to be contacted: the first blow.
FIRST = 3.0
#: Real seconds from one killed worker to the next: at least, at most.
_BETWEEN_KILLS = (2.0, 5.0)
#: The others are shares of the run. After the last blow the run goes on in peace for a while.
LAST = 0.7
#: When everything in Redis is lost: once surely, and with even chances a second time.
_FLUSHES = ((0.18, 0.32), (0.46, 0.64))
#: When Postgres loses its memory and every connection.
_RESTART = (0.25, 0.54)
#: The provider's own bad day: many an answer comes late, so that kills meet calls that were accepted and not yet answered;
#: and many an echo of our own messages never comes, so that the provider must be asked about them.
PROVIDER: Sequence[Mapping[str, Any]] = (
    {"match": {"route": "dm.send", "probability": 0.7}, "do": "delay", "seconds": 0.8},
    {"match": {"route": "*follow", "probability": 0.4}, "do": "delay", "seconds": 0.4},
    {"match": {"route": "webhook:dm.sent", "probability": 0.7}, "do": "lose"},
)


class Kind(StrEnum):
    """What is done, by its name in the last line of a run."""

    KILL = "worker_kills"
    FLUSH = "flushalls"
    RESTART = "postgres_restarts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """One thing that is done to the run. `lot` in [0, 1) chooses among the workers that live at that moment."""

    at: float
    kind: Kind
    lot: float = 0.0


def plan(seed: int, longest: float) -> list[Blow]:
    """All blows in their order, for a run of at most so many seconds. Equal seeds plan equally."""

    def between(low: float, high: float, *what: str | int) -> float:
        return low + (high - low) * bucket("chaos", seed, *what)

    blows = [Blow(at=longest * between(*_RESTART, "postgres"), kind=Kind.RESTART)]
    for number, span in enumerate(_FLUSHES):
        if number == 0 or bucket("chaos", seed, "second flush") < 0.5:
            blows.append(Blow(at=longest * between(*span, "flush", number), kind=Kind.FLUSH))
    at, number = FIRST, 0
    while at < longest * LAST:
        blows.append(Blow(at=at, kind=Kind.KILL, lot=bucket("chaos", seed, "victim", number)))
        number += 1
        at += between(*_BETWEEN_KILLS, "kill", number)
    return sorted(blows, key=lambda blow: blow.at)


class Chaos:
    """Carries the plan out on the demo's own processes and servers. `done`: what was really done, by kind."""

    def __init__(
        self, blows: Sequence[Blow], *, servers: Servers, supervisor: Supervisor, say: Callable[[str], None]
    ) -> None:
        """Raises UsageError where the servers belong to another process."""
        if servers.crash_postgres is None or servers.flush_valkey is None:
            raise UsageError(
                "--chaos breaks its own servers only, and these belong to another process",
                hint="end that process, or name another folder with --data-dir",
            )
        self._crash, self._flush = servers.crash_postgres, servers.flush_valkey
        self._supervisor = supervisor
        self._say = say
        self._ahead = list(blows)
        self.done: Counter[Kind] = Counter()

    def at(self, elapsed: float) -> None:
        """Everything that is due after so many seconds."""
        while self._ahead and self._ahead[0].at <= elapsed:
            self._strike(self._ahead.pop(0))

    def figures(self) -> dict[str, int]:
        """How often each was done, for the last line."""
        return {kind.value: self.done[kind] for kind in Kind}

    def _strike(self, blow: Blow) -> None:
        match blow.kind:
            case Kind.KILL:
                said = self._kill(blow.lot)
            case Kind.FLUSH:
                self._flush()
                said = "FLUSHALL: every hint and every counter in Valkey is gone"
            case Kind.RESTART:
                self._crash()
                said = "Postgres restarts, immediately: every connection is cut"
        if said is not None:
            self.done[blow.kind] += 1
            self._say(f"  chaos: {said}")

    def _kill(self, lot: float) -> str | None:
        """One of the workers that live, with all its threads in the middle of whatever they do."""
        alive = sorted(name for name in self._supervisor.running() if name.startswith("worker-"))
        if not alive:
            return None
        victim = alive[int(lot * len(alive))]
        try:
            self._supervisor.restart(victim, signal.SIGKILL)
        except NotFound:
            return None  # it has ended by itself between the two looks
        return f"{victim.replace('-', ' ')} killed (kill -9)"
