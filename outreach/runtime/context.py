"""The handful of collaborators that every runtime function gets handed. Built once, by outreach.app."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar, cast

from outreach.clock import Clock
from outreach.ids import keyed_digest
from outreach.limits.fences import Claim, Fences
from outreach.limits.limiter import Limiter
from outreach.limits.scope import Unavailable
from outreach.models.base import UNREACHABLE, Database
from outreach.outbound import Outbound
from outreach.providers.base import AccountRef, Provider
from outreach.settings import Settings
from outreach.together import Together

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

    def identifier_digest(self, kind: str, value: str) -> str:
        """How a suppressed identifier is remembered."""
        return keyed_digest(self.settings.pepper, kind, value)

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


def account_ref(row: Mapping[str, object]) -> AccountRef:
    """What a provider may know of an account. `row` has the account's columns under their own names."""
    return AccountRef(
        id=int(str(row["account_id"] if "account_id" in row else row["id"])),
        external_id=str(row["external_id"]),
        base_url=str(row["base_url"]),
        access_token=str(row["access_token"]),
        refresh_token=_text(row["refresh_token"]),
        client_id=_text(row["client_id"]),
        client_secret=_text(row["client_secret"]),
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)
