"""The X API as a whole: find the route, know the caller, count the call, let it suffer its fault, answer.

A refused call costs its quota too; a call over the limit costs nothing. Every answer of a counted route carries
the x-rate-limit headers.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil

from outreach.simulator import dice
from outreach.simulator.clock import ScaledClock
from outreach.simulator.faults import FaultPlan, suffer
from outreach.simulator.problems import (
    NEEDS_APP,
    NEEDS_USER,
    NO_SUCH_PAGE,
    TOO_MANY,
    UNAUTHORIZED,
    Dialect,
    Problem,
)
from outreach.simulator.quotas import Quotas, Spent
from outreach.simulator.routes import Auth, Call, Route, Router
from outreach.simulator.tokens import Caller, Tokens
from outreach.simulator.wire import Request, Response


@dataclass(frozen=True, slots=True, kw_only=True)
class XApi:
    """The dispatcher. `schedule(due, deed)` puts something on the agenda; `lock` guards all state."""

    router: Router
    tokens: Tokens
    quotas: Quotas
    faults: FaultPlan
    clock: ScaledClock
    dialect: Dialect
    seed: int
    read_lag: timedelta
    lock: AbstractContextManager[object]
    schedule: Callable[[datetime, Callable[[datetime], object]], None]

    def handle(self, request: Request, now: datetime) -> Response:
        """Answer one request, received at a real instant."""
        found = self.router.find(request.method, request.path)
        if found is None:
            return self._shown(NO_SUCH_PAGE, request)
        route, params = found
        with self.lock:
            caller = Caller(None) if route.auth is Auth.NONE else self.tokens.caller(request, now)
            refusal = _unwelcome(route, caller)
            if refusal is not None or caller is None:
                return self._shown(refusal or UNAUTHORIZED, request)
            headers, full = self._count(route, caller, now)
        if full:
            return self._shown(TOO_MANY, request).with_headers(headers)
        call = Call(
            request=request, params=params, account=caller.account or "", now=now, horizon=now - self.read_lag
        )
        return self._answered(route, call).with_headers(headers)

    def _count(self, route: Route, caller: Caller, now: datetime) -> tuple[Mapping[str, str], bool]:
        """The headers, and whether the window is full."""
        spent = route.bucket and self.quotas.spend(route.bucket, caller.account, self.clock.scaled(now))
        return (self._headers(spent), not spent.allowed) if spent else ({}, False)

    def _headers(self, spent: Spent) -> Mapping[str, str]:
        """The reset is told in real time, in whole seconds, never too early."""
        return {
            "x-rate-limit-limit": str(spent.limit),
            "x-rate-limit-remaining": str(spent.remaining),
            "x-rate-limit-reset": str(ceil(self.clock.real(spent.reset).timestamp())),
        }

    def _answered(self, route: Route, call: Call) -> Response:
        with self.lock:
            # what controls the faults is beyond them
            fault = None if route.name.startswith("sim.") else self.faults.strike(route.name, call.account)
        if fault is None:
            return self._run(route, call)

        def later(delay: timedelta) -> None:
            due = call.now + delay
            with self.lock:
                self.schedule(due, lambda at: self._run(route, replace(call, now=at)))

        return suffer(
            fault,
            now=call.now,
            dialect=self._dialect(call.request),
            run=lambda lag: self._run(route, replace(call, horizon=call.horizon - lag)),
            later=later,
        )

    def _run(self, route: Route, call: Call) -> Response:
        with nullcontext() if route.calls_out else self.lock:
            result = route.handler(call)
        return self._shown(result, call.request) if isinstance(result, Problem) else result

    def _shown(self, problem: Problem, request: Request) -> Response:
        return problem.render(self._dialect(request))

    def _dialect(self, request: Request) -> Dialect:
        if self.dialect is not Dialect.MIXED:
            return self.dialect
        return Dialect.LEGACY if dice.unit(self.seed, request.path) < 0.5 else Dialect.PROBLEM


def _unwelcome(route: Route, caller: Caller | None) -> Problem | None:
    """Why this caller may not use this route."""
    if caller is None:
        return UNAUTHORIZED
    if route.auth is Auth.USER and caller.account is None:
        return NEEDS_USER
    if route.auth is Auth.APP and caller.account is not None:
        return NEEDS_APP
    return None
