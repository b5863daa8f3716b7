"""Whose caps are asked for, and what a limiter may answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from outreach.limits.caps import Cap

#: A log reaches this much further back, and lives this much longer, than its caps need: clocks of workers differ.
SLACK = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Whose caps: one log per (kind, id, action kind). The amounts are no part of its name, so a changed cap keeps its usage."""

    kind: Literal["instance", "app", "account", "sequence"]
    id: int
    action_kind: str
    caps: tuple[Cap, ...] = ()
    #: least time between two starts, in business seconds; accounts only
    pace_seconds: float = 0
    #: IANA name; what a local date is
    zone: str = "UTC"

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.id}:{self.action_kind}"

    @property
    def pace(self) -> timedelta:
        return timedelta(milliseconds=round(self.pace_seconds * 1000))

    @property
    def limits(self) -> bool:
        """Is there anything to keep a log for?"""
        return bool(self.caps or self.pace_seconds)

    def since(self, now: datetime) -> datetime:
        """How far back its caps look."""
        return min((cap.since(now, self.zone) for cap in self.caps), default=now)

    def seed_from(self, now: datetime) -> datetime:
        """A seed read at `now` needs every ledger row with effect_by after this."""
        return self.since(now) - SLACK


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One call that starts now and can be accepted until `effect_by`, to be paid for in all scopes or in none."""

    execution_id: int
    scopes: Sequence[Scope]
    now: datetime
    effect_by: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """The ledger's word on one row: it started then and counts until `effect_by`."""

    execution_id: int
    scopes: Sequence[Scope]
    started_at: datetime
    effect_by: datetime


@dataclass(frozen=True, slots=True)
class Granted:
    """Paid in every scope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Full:
    """Nothing was written. Of all caps and paces that refuse, the one that lasts longest; `until` is exact to the ms."""

    scope: Scope
    #: the cap's text, or "pace"
    reason: str
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Unseeded:
    """The log of these scopes is lost, or does not reach back far enough: seed them from the ledger, then ask again."""

    scopes: tuple[Scope, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unavailable:
    """The store did not answer: send nothing."""

    detail: str


Answer = Granted | Full | Unseeded | Unavailable
