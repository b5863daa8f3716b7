"""perform: render, acquire, claim, call, settle; and on with the lead's next step while it is due now on this channel.

The threads of a process go in step: whoever needs the database takes along all who wait for it at that moment (together.py).
One pass looks at leads, settles what was called, and claims what comes next, table by table; every thread then makes its own
call. docs/decisions/0008 has the reasons and the figures.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from outreach.compliance.verdicts import Verdict, refused
from outreach.engine.kinds import ExecutionState, WaitingOn
from outreach.errors import NeedsNewerWorker
from outreach.failpoints import failpoint
from outreach.limits.scope import Answer, Ask, Effect, Full, Granted, Scope, Unavailable, Unseeded
from outreach.models import claims, executions
from outreach.models.base import Tx
from outreach.providers.base import Outcome
from outreach.runtime.advance import advance_all
from outreach.runtime.call import call
from outreach.runtime.claim import Claimed, NotClaimed, claim_all, defer
from outreach.runtime.context import Context
from outreach.runtime.hints import Hint, Hints, performs_on
from outreach.runtime.moving import LOOK_AGAIN, leave_to_newer
from outreach.runtime.prepare import Nothing, NotRenderable, Prepared, prepare_all
from outreach.runtime.settle import settle_all

#: One message carries a lead at most so many steps, and begins none after so many real seconds.
_MOST_STEPS = 5
_MOST_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Look:
    """A lead to be looked at."""

    lead_id: int


@dataclass(frozen=True, slots=True)
class Begin:
    """A planned execution to be carried out."""

    execution_id: int


@dataclass(frozen=True, slots=True)
class Called:
    """What the provider has said. `onward`: the lead's next step may be begun in the same message."""

    claimed: Claimed
    outcome: Outcome
    onward: bool


@dataclass(frozen=True, slots=True)
class Postponed:
    """Rendered, but the limiter has no room for it."""

    prepared: Prepared
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Unjudged:
    """A newer release wrote something that the gate must judge: nothing is sent, nothing is blocked."""

    prepared: Prepared
    newer: NeedsNewerWorker


#: What a thread does next by itself: call; write down why not; or begin this execution without the others.
Next = Claimed | Postponed | NotRenderable | Unjudged | Begin | None


@dataclass(slots=True)
class Passed:
    """What one pass has brought a thread: what others should look at, and what it does next itself."""

    hints: Hints
    next: Next = None


def perform(ctx: Context, execution_id: int) -> Hints:
    """Carry out a planned execution, and what follows at once on its channel; what else to look at."""
    return _carry(ctx, Begin(execution_id))


def look_and_perform(ctx: Context, lead_id: int) -> Hints:
    """Look at a lead, and carry out what is due now where this process has its channel; what else to look at."""
    return _carry(ctx, Look(lead_id))


def carry_on(ctx: Context, found: Hints) -> Hints:
    """What has been found is due now: where this process has its channel, it is carried out without a trip through the queue."""
    following = _first(found, ctx.carries)
    if following is None:
        return found
    return [*(h for h in found if h is not following), *perform(ctx, following.id)]


def _first(found: Hints, channels: frozenset[str]) -> Hint | None:
    return next((h for h in found if any(performs_on(h, channel) for channel in channels)), None)


def _carry(ctx: Context, item: Look | Begin | Called) -> Hints:
    """One lead as far as one message carries it: passes with the other threads, calls of its own."""
    failpoint("perform.before")
    began, found = time.monotonic(), Hints()
    for step in range(1, _MOST_STEPS + 1):
        passed = ctx.together.do("pass", item, partial(_pass, ctx))
        if isinstance(passed.next, Begin):
            passed = Passed([*passed.hints, *(alone := _pass(ctx, [passed.next])[0]).hints], alone.next)
        found += passed.hints
        if not isinstance(passed.next, Claimed):
            return found + _write_down(ctx, passed.next)
        outcome = call(ctx, passed.next)
        onward = step < _MOST_STEPS and time.monotonic() - began <= _MOST_SECONDS
        item = Called(passed.next, outcome, onward)
    raise AssertionError("unreachable: the last step goes nowhere")


# --- one pass ---------------------------------------------------------------------------------------------


def _pass(ctx: Context, items: Sequence[Look | Begin | Called]) -> list[Passed]:
    """Look, settle, then claim. What is settled stays settled, whatever becomes of the rest."""
    passed = {id(item): Passed([]) for item in items}
    _look(ctx, [(one, passed[id(one)]) for one in items if isinstance(one, Look)])
    _settle(ctx, [(one, passed[id(one)]) for one in items if isinstance(one, Called)])
    begun = [(one.execution_id, passed[id(one)]) for one in items if isinstance(one, Begin)]
    begun += [(p.next.execution_id, p) for p in passed.values() if isinstance(p.next, Begin)]
    try:
        _begin(ctx, begun)
    except Exception:
        if len(items) == 1 and isinstance(items[0], Begin):
            raise
        for execution_id, one in begun:
            one.next = Begin(execution_id)
    return [passed[id(item)] for item in items]


def _look(ctx: Context, asked: Sequence[tuple[Look, Passed]]) -> None:
    if not asked:
        return
    found = advance_all(ctx, [one.lead_id for one, _ in asked])
    for (_, passed), hints_ in zip(asked, found, strict=True):
        _take(passed, hints_, ctx.carries)


def _settle(ctx: Context, asked: Sequence[tuple[Called, Passed]]) -> None:
    if not asked:
        return
    settled = settle_all(ctx, [(one.claimed, one.outcome) for one, _ in asked])
    failpoint("settle.after")
    effects = [
        Effect(
            execution_id=called.claimed.execution_id,
            scopes=called.claimed.prepared.scopes,
            started_at=called.claimed.started_at,
            effect_by=done.effect_by,
        )
        for (called, _), done in zip(asked, settled, strict=True)
        if done.effect_by is not None
    ]
    if effects:
        ctx.limiter.record(effects)
    for (called, passed), done in zip(asked, settled, strict=True):
        channel = called.claimed.prepared.row["channel"]
        _take(passed, done.hints, frozenset([channel]) if called.onward else frozenset())


def _take(passed: Passed, found: Hints, channels: frozenset[str]) -> None:
    """The first that is due now on these channels is begun at once; the others are for others."""
    following = _first(found, channels)
    passed.hints += [h for h in found if h is not following]
    passed.next = Begin(following.id) if following else None


def _begin(ctx: Context, begun: Sequence[tuple[int, Passed]]) -> None:
    """Render, pay, claim: what each execution comes to."""
    if not begun:
        return
    payable: list[tuple[Prepared, Passed]] = []
    for (_, passed), prepared in zip(begun, prepare_all(ctx, [id_ for id_, _ in begun]), strict=True):
        passed.next = None
        match prepared:
            case Nothing():
                passed.hints += prepared.hints
            case NotRenderable():
                passed.next = prepared
            case Prepared():
                payable.append((prepared, passed))
    granted = _granted(ctx, payable)
    if not granted:
        return
    failpoint("claim.before")
    try:
        claimed = claim_all(ctx, [prepared for prepared, _ in granted])
    except NeedsNewerWorker as newer:
        if len(granted) > 1:
            raise
        ctx.limiter.forget(granted[0][0].scopes)
        granted[0][1].next = Unjudged(granted[0][0], newer)
        return
    for (prepared, passed), claim in zip(granted, claimed, strict=True):
        _note(ctx, prepared, passed, claim)


def _note(ctx: Context, prepared: Prepared, passed: Passed, claim: Claimed | NotClaimed) -> None:
    if isinstance(claim, Claimed):
        passed.next = claim
        return
    passed.hints += claim.hints
    if claim.verdict is not None and not prepared.late:
        # The log holds a grant that came to nothing; there is no refund, so it is read anew from the ledger.
        ctx.limiter.forget(prepared.scopes)


def _granted(ctx: Context, payable: Sequence[tuple[Prepared, Passed]]) -> list[tuple[Prepared, Passed]]:
    """Those that have paid, and those that come too late: they cost no room, so they do not wait for any."""
    paying = [prepared for prepared, _ in payable if not prepared.late and prepared.scopes]
    refusals = dict(zip([p.execution_id for p in paying], _acquire(ctx, paying), strict=True))
    granted = []
    for prepared, passed in payable:
        refusal = refusals.get(prepared.execution_id)
        if refusal is None:
            granted.append((prepared, passed))
        else:
            passed.next = Postponed(prepared, refusal)
    return granted


# --- the limiter ------------------------------------------------------------------------------------------


def _acquire(ctx: Context, paying: Sequence[Prepared]) -> list[Verdict | None]:
    """None: granted. Otherwise why not, and until when. A lost log is seeded from the ledger, once."""
    if not paying:
        return []
    now = ctx.clock.now()
    asks = [
        Ask(execution_id=p.execution_id, scopes=p.scopes, now=now, effect_by=now + ctx.call_deadline)
        for p in paying
    ]
    answers = list(ctx.limiter.acquire_all(asks))
    unseeded = [i for i, answer in enumerate(answers) if isinstance(answer, Unseeded)]
    for scope in {s.name: s for i in unseeded for s in _scopes(answers[i])}.values():
        seed(ctx, scope, now)
    if unseeded:
        for i, answer in zip(unseeded, ctx.limiter.acquire_all([asks[i] for i in unseeded]), strict=True):
            answers[i] = answer
    return [_refusal(ctx, answer, now) for answer in answers]


def _scopes(answer: Answer) -> Sequence[Scope]:
    return answer.scopes if isinstance(answer, Unseeded) else ()


def seed(ctx: Context, scope: Scope, now: datetime) -> None:
    """Hand the limiter the ledger's rows of a scope, read and written under the scope's lock."""

    def work(tx: Tx) -> None:
        entries, last_started_at = claims.ledger_of(
            tx, scope.kind, scope.id, scope.action_kind, scope.seed_from(now)
        )
        ctx.limiter.seed(scope, entries, now, last_started_at)

    ctx.db.run(work)


def _refusal(ctx: Context, answer: Granted | Full | Unseeded | Unavailable, now: datetime) -> Verdict | None:
    match answer:
        case Granted():
            return None
        case Full(scope=scope, reason=reason, until=until):
            rule = "pace.gap" if reason == "pace" else f"cap.{scope.kind}"
            return refused(rule, until=until, cap=reason, scope=scope.name)
        case _:
            # Fail closed: without the limiter nothing is sent; the sweep comes back in a tick.
            return refused("limiter.unavailable", until=now + ctx.machine(ctx.settings.tick_seconds))


# --- what is not called -----------------------------------------------------------------------------------


def _write_down(ctx: Context, found: Next) -> Hints:
    """What a pass leaves to the thread: not now, not without a word that is missing, or nothing."""
    match found:
        case Postponed(prepared=prepared, verdict=verdict):
            return _postpone(ctx, prepared, verdict)
        case NotRenderable():
            return _park(ctx, found)
        case Unjudged(prepared=prepared, newer=newer):
            return _leave(ctx, prepared, newer)
        case _:
            return []


def _postpone(ctx: Context, prepared: Prepared, verdict: Verdict) -> Hints:
    """Neither error nor retry: the lead is due when capacity frees."""

    def work(tx: Tx) -> Hints:
        locked = executions.lock_lead(tx, prepared.lead_id)
        execution = executions.read(tx, prepared.execution_id)
        if (
            locked is None
            or execution is None
            or execution.state is not ExecutionState.PLANNED
            or not locked.lead.active
        ):
            return []
        found = defer(ctx, tx, locked.lead, execution, verdict, ctx.clock.at(locked.database_now))
        locked.lead.write(tx)
        return found

    return ctx.db.run(work)


def _leave(ctx: Context, prepared: Prepared, newer: NeedsNewerWorker) -> Hints:
    """The lead stays where it is, and says why; whoever knows more goes on with it."""

    def work(tx: Tx) -> Hints:
        locked = executions.lock_lead(tx, prepared.lead_id)
        if locked is not None and locked.lead.active:
            leave_to_newer(locked.lead, newer, ctx.clock.at(locked.database_now))
            locked.lead.write(tx)
        return []

    return ctx.db.run(work)


def _park(ctx: Context, prepared: NotRenderable) -> Hints:
    """Never an empty tag: the lead waits until somebody supplies what is missing (or shortens the text)."""
    detail = prepared.too_long or ", ".join(prepared.missing)

    def work(tx: Tx) -> Hints:
        locked = executions.lock_lead(tx, prepared.lead_id)
        if locked is None or not locked.lead.active:
            return []
        locked.lead.wait(ctx.clock.at(locked.database_now) + LOOK_AGAIN, WaitingOn.MISSING_VARIABLE, detail)
        locked.lead.write(tx)
        return []

    return ctx.db.run(work)
