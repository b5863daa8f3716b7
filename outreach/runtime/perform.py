"""perform: render, acquire, claim, call, settle; and on with the lead's next step while it is due now on this channel."""

import time
from datetime import datetime

from outreach.compliance.verdicts import Verdict, refused
from outreach.engine.kinds import ExecutionState, WaitingOn
from outreach.errors import NeedsNewerWorker
from outreach.failpoints import failpoint
from outreach.limits.scope import Full, Granted, Scope, Unavailable, Unseeded
from outreach.models import claims, executions
from outreach.models.base import Tx
from outreach.runtime.call import call
from outreach.runtime.claim import NotClaimed, claim, defer
from outreach.runtime.context import Context
from outreach.runtime.hints import Hints, performs_on
from outreach.runtime.moving import LOOK_AGAIN, leave_to_newer
from outreach.runtime.prepare import Nothing, NotRenderable, Prepared, prepare
from outreach.runtime.settle import settle

#: One message carries a lead at most so many steps, and begins none after so many real seconds.
_MOST_STEPS = 5
_MOST_SECONDS = 20.0


def perform(ctx: Context, execution_id: int) -> Hints:
    """Carry out a planned execution, and what follows at once on its channel; what else to look at."""
    failpoint("perform.before")
    began = time.monotonic()
    others: Hints = []
    for _ in range(_MOST_STEPS):
        found, channel = _step(ctx, execution_id)
        following = next((h for h in found if channel is not None and performs_on(h, channel)), None)
        others += [h for h in found if h is not following]
        if following is None:
            return others
        if time.monotonic() - began > _MOST_SECONDS:
            return [*others, following]
        execution_id = following.id
    return [*others, following] if following else others


def carry_on(ctx: Context, found: Hints) -> Hints:
    """What has been found is due now: where this process has its channel, it is carried out without a trip through the queue."""
    following = next((h for h in found if any(performs_on(h, channel) for channel in ctx.carries)), None)
    if following is None:
        return found
    return [*(h for h in found if h is not following), *perform(ctx, following.id)]


def _step(ctx: Context, execution_id: int) -> tuple[Hints, str | None]:
    """One execution; hints, and its channel if it was carried out."""
    prepared = prepare(ctx, execution_id)
    if isinstance(prepared, Nothing):
        return prepared.hints, None
    if isinstance(prepared, NotRenderable):
        return _park(ctx, prepared), None
    # What comes too late costs no room, so it does not wait for any.
    refusal = None if prepared.late else _acquire(ctx, prepared)
    if refusal is not None:
        return _postpone(ctx, prepared, refusal), None
    failpoint("claim.before")
    try:
        claimed = claim(ctx, prepared)
    except NeedsNewerWorker as newer:
        ctx.limiter.forget(prepared.scopes)
        return _leave(ctx, prepared, newer), None
    if isinstance(claimed, NotClaimed):
        if claimed.verdict is not None and not prepared.late:
            # The log holds a grant that came to nothing; there is no refund, so it is read anew from the ledger.
            ctx.limiter.forget(prepared.scopes)
        return claimed.hints, None
    settled = settle(ctx, claimed, call(ctx, claimed))
    failpoint("settle.after")
    if settled.effect_by is not None:
        ctx.limiter.record(execution_id, prepared.scopes, claimed.started_at, settled.effect_by)
    return settled.hints, prepared.row["channel"]


# --- the limiter ------------------------------------------------------------------------------------------


def _acquire(ctx: Context, prepared: Prepared) -> Verdict | None:
    """None: granted. Otherwise why not, and until when. A lost log is seeded from the ledger, once."""
    if not prepared.scopes:
        return None
    now = ctx.clock.now()
    effect_by = now + ctx.call_deadline
    answer = ctx.limiter.acquire(prepared.execution_id, prepared.scopes, now, effect_by)
    if isinstance(answer, Unseeded):
        for scope in answer.scopes:
            seed(ctx, scope, now)
        answer = ctx.limiter.acquire(prepared.execution_id, prepared.scopes, now, effect_by)
    return _refusal(ctx, answer, now)


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
    """Something that the gate must judge was written by a newer release: nothing is sent, nothing is blocked."""

    def work(tx: Tx) -> Hints:
        locked = executions.lock_lead(tx, prepared.lead_id)
        if locked is not None and locked.lead.active:
            leave_to_newer(locked.lead, newer, ctx.clock.at(locked.database_now))
            locked.lead.write(tx)
        return []

    return ctx.db.run(work)


# --- what cannot be said ----------------------------------------------------------------------------------


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
