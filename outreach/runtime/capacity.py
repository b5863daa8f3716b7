"""How many days the caps make of so many steps. Reads the ledger's use of each cap; not an entry point."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from outreach.engine.graph import Window
from outreach.engine.kinds import ActionKind
from outreach.limits.scope import Scope
from outreach.models import supposed
from outreach.models.base import Tx
from outreach.runtime.scopes import windows_of
from outreach.runtime.supposing import House

_WEEK = timedelta(days=7).total_seconds()
_DAY = timedelta(days=1).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """One account and kind: how much there is to do, and how long the tightest cap makes of it."""

    account: str
    kind: ActionKind
    steps: int
    #: leads in flight that wait for the same account and kind: they go first
    ahead: int
    #: what binds: "40/day of the account", "a pace of 60 s"
    by: str
    #: what the tightest cap counts now
    used: int
    #: on average, over the days of a week on which the window is open
    per_day: float
    #: calendar days from now until the last one, if nothing else wants the account; None: nothing limits it
    days: int | None


def days_at_caps(
    tx: Tx, house: House, demand: Mapping[tuple[int, ActionKind], int], now: datetime
) -> list[Days]:
    """For every account and kind that has something to do."""
    nodes = {node.kind: node for node in house.graph.nodes.values()}
    ahead = supposed.queued(tx, [account for account, _ in demand])
    wanted = {key: n + ahead.get((key[0], key[1].value), 0) for key, n in demand.items() if n}
    scopes = {key: house.scopes(nodes[key[1]], house.accounts[key[0]]) for key in wanted}
    #: what all accounts want together of a cap that they share
    shared: Counter[str] = Counter()
    for key, n in wanted.items():
        for scope in scopes[key]:
            shared[scope.name] += n
    uses = _uses(tx, [scope for found in scopes.values() for scope in found], now)
    open_ = _Open.of(house.graph.window)
    return [
        _tightest(house, key, demand[key], wanted[key] - demand[key], scopes[key], shared, uses, open_)
        for key in sorted(wanted)
    ]


@dataclass(frozen=True, slots=True)
class _Open:
    """How long a window is open: days of the week, and seconds of such a day."""

    days: int
    seconds: float

    @classmethod
    def of(cls, window: Window | None) -> "_Open":
        if window is None:
            return cls(7, _DAY)
        start, end = (t.hour * 3600 + t.minute * 60 for t in (window.start, window.end))
        return cls(len(set(window.days)), (end - start) % _DAY or _DAY)

    def per_week(self, limit: int, seconds: float | None) -> float:
        """The most that a cap lets through in a week. Longer windows than a day do not care when in it."""
        if seconds is None or seconds == _DAY:
            return limit * self.days
        if seconds > _DAY:
            return limit * _WEEK / seconds
        return limit * self.days * max(1.0, self.seconds / seconds)


def _uses(tx: Tx, scopes: Sequence[Scope], now: datetime) -> dict[tuple[str, str], int]:
    """By scope and cap: how many rows of the ledger count now."""
    distinct = list({scope.name: scope for scope in scopes}.values())
    counted = [(scope.name, w) for scope in distinct for w in windows_of([scope], now)]
    found = supposed.used(tx, [w.window for _, w in counted]) if counted else []
    return {(name, str(w.cap)): n for (name, w), n in zip(counted, found, strict=True)}


def _tightest(
    house: House, key: tuple[int, ActionKind], steps: int, ahead: int, scopes: Sequence[Scope], shared: Mapping[str, int],
    uses: Mapping[tuple[str, str], int], open_: _Open,
) -> Days:  # fmt: skip
    found: list[tuple[float, str, int, float]] = []
    for scope in scopes:
        for cap in scope.caps:
            used = uses[scope.name, str(cap)]
            rate = open_.per_week(cap.limit, cap.seconds)
            days = _days(shared[scope.name], max(0, cap.limit - used), rate)
            found.append((days, f"{cap} of the {scope.kind}", used, rate))
        if scope.pace_seconds:
            rate = open_.days * open_.seconds / scope.pace_seconds
            found.append((_days(shared[scope.name], 1, rate), f"a pace of {scope.pace_seconds:g} s", 0, rate))
    days, by, used, rate = max(found, key=lambda one: (one[0], -one[3]), default=(0.0, "no cap", 0, 0.0))
    return Days(
        account=house.accounts[key[0]]["name"],
        kind=key[1],
        steps=steps,
        ahead=ahead,
        by=by,
        used=used,
        per_day=round(rate / 7, 1),
        days=max(1, math.ceil(days)) if found else None,
    )


def _days(steps: int, room: int, per_week: float) -> float:
    """Today there is `room`; from then on the week's rate holds."""
    return 1.0 if steps <= room else 1 + (steps - room) / per_week * 7
