"""The handful of collaborators that every runtime function gets handed. Built once, by outreach.app."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar, cast

from outreach.clock import Clock
from outreach.limits.fences import Claim, Fences
from outreach.limits.limiter import Limiter
from outreach.limits.scope import Unavailable
from outreach.models.base import UNREACHABLE, Database
from outreach.outbound import Outbound
from outreach.peppers import Peppers
from outreach.providers.base import Provider
from outreach.settings import Settings
from outreach.together import Together
from outreach.vault import Vault

Item = TypeVar("Item")
Result = TypeVar("Result")


class Shared:
    """The transactions of this process that its threads share, by kind."""

    def __init__(self) -> None:
        self._kinds: dict[str, Together[Any, Any]] = {}

    def do(self, kind: str, item: Item, work: Callable[[Sequence[Item]], Sequence[Result]]) -> Result:
        """This item's result of `work(items)`, together with whoever else wants the same now."""
        together = self._kinds.setdefault(kind, Together(same_for_all=UNREACHABLE))
        return cast(Result, together.do(item, work))


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Database, clock, limiter, providers and settings of one process."""

    settings: Settings
    clock: Clock
    db: Database
    limiter: Limiter
    providers: Mapping[str, Provider]
    #: where an operator wants to be told
    outbound: Outbound = field(default_factory=lambda: Outbound(simulated=lambda: True))
    #: the highest claims that this process knows of: T1 in a restored database draws a lower fence
    fences: Fences = field(default_factory=Fences)
    #: the highest claim that stands outside the database
    told_claim: Callable[[], Claim | Unavailable] = Claim
    together: Shared = field(default_factory=Shared)
    #: channels whose actions this process carries out in the message that has led to them
    carries: frozenset[str] = frozenset()
    #: opens and seals stored credentials
    vault: Vault = field(init=False)
    #: how identifiers are remembered
    peppers: Peppers = field(init=False)
    #: is this process to end? Then nothing further is begun
    ending: Callable[[], bool] = lambda: False
    #: looks at a lead in a process of its own; how that died, or None. None: this process starts no other
    apart: Callable[[int], str | None] | None = None
    #: whoever does that holds it
    alone: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        object.__setattr__(self, "vault", Vault.of(self.settings.keys))
        object.__setattr__(self, "peppers", Peppers.of(self.settings.pepper))

    def highest_claim(self) -> Claim:
        """The highest that this process knows of or that is known outside; a store that does not answer adds nothing."""
        told = self.told_claim()
        return self.fences.highest if isinstance(told, Unavailable) else max(told, self.fences.highest)

    def machine(self, seconds: float) -> timedelta:
        """Real seconds as a business duration."""
        return self.clock.machine(seconds)

    @property
    def call_deadline(self) -> timedelta:
        """D, as a business duration."""
        return self.clock.machine(self.settings.call_deadline_seconds)

    @property
    def hint_lease(self) -> timedelta:
        """How long a hint is trusted to arrive: nobody hints its lead again before."""
        return self.clock.machine(self.settings.hint_lease_seconds)

    @property
    def settle(self) -> timedelta:
        """S: how long after its deadline a call may still surface at the provider."""
        return self.clock.machine(self.settings.settle_seconds)
