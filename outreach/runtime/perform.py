"""perform: carry a lead on: render, pay, claim, call, settle; and on with its next step while it is due now on this channel.

The threads of a process go in step (step.py): one pass serves all that wait, then each makes its own call.
"""

import logging
import time
from functools import partial
from itertools import count

from outreach.compliance.verdicts import Verdict
from outreach.engine.kinds import ExecutionState, WaitingOn
from outreach.errors import NeedsNewerWorker, OutreachError
from outreach.failpoints import failpoint, in_hand
from outreach.models import executions
from outreach.models.base import UNREACHABLE, Tx
from outreach.runtime.call import call
from outreach.runtime.claim import Claimed, defer
from outreach.runtime.context import Context
from outreach.runtime.hints import Hints
from outreach.runtime.moving import LOOK_AGAIN, leave_to_newer
from outreach.runtime.parking import describe, strike
from outreach.runtime.prepare import NotRenderable, Prepared
from outreach.runtime.step import Begin, Called, Look, Next, Passed, Postponed, Unjudged, first_due, step

log = logging.getLogger("outreach")

#: One message carries a lead at most so many steps, and begins none after so many real seconds.
_MOST_STEPS = 5
_MOST_SECONDS = 20.0


def perform(ctx: Context, execution_id: int) -> Hints:
    """Carry out a planned execution, and what follows at once on its channel; what else to look at."""
    return _carry(ctx, Begin(execution_id))


def look_and_perform(ctx: Context, lead_id: int, *, counted: bool = False) -> Hints:
    """Look at a lead, and carry out what is due now where this process has its channel; what else to look at.

    `counted`: this attempt stands in the lead's row already (suspect.py).
    """
    return _carry(ctx, Look(lead_id), counted=counted)


def carry_on(ctx: Context, found: Hints) -> Hints:
    """What has been found is due now: where this process has its channel, it is carried out without a trip through the queue."""
    following = first_due(found, ctx.carries)
    if following is None:
        return found
    return [*(h for h in found if h is not following), *perform(ctx, following.id)]


def _carry(ctx: Context, item: Look | Begin, *, counted: bool = False) -> Hints:
    """One lead as far as one message carries it. Where our own code fails on it, that is counted, and said."""
    failpoint("perform.before")
    in_hand("perform.before", item.lead_id if isinstance(item, Look) else None)
    try:
        return _in_step(ctx, item)
    except (OutreachError, *UNREACHABLE):
        raise  # a row that is busy, a server that is away: not this lead's doing
    except Exception as error:
        lead_id = item.lead_id if isinstance(item, Look) else _lead_of(ctx, item.execution_id)
        if lead_id is not None:
            strike(ctx, lead_id, describe(error), counted=counted)
        raise


def _lead_of(ctx: Context, execution_id: int) -> int | None:
    execution = ctx.db.run(lambda tx: executions.read(tx, execution_id))
    return execution.lead_id if execution else None


def _in_step(ctx: Context, item: Look | Begin | Called) -> Hints:
    """Passes with the other threads, calls of its own."""
    began, found = time.monotonic(), Hints()
    for number in count(1):
        passed = ctx.together.do("step", item, partial(step, ctx))
        if isinstance(passed.next, Begin):
            passed = Passed([*passed.hints, *(alone := step(ctx, [passed.next])[0]).hints], alone.next)
        found += passed.hints
        if not isinstance(passed.next, Claimed):
            return found + _write_down(ctx, passed.next)
        outcome = call(ctx, passed.next)
        _say(passed.next, type(outcome).__name__)
        onward = number < _MOST_STEPS and time.monotonic() - began <= _MOST_SECONDS and not ctx.ending()
        item = Called(passed.next, outcome, onward)
    raise AssertionError(
        "unreachable: what is called is settled, and the last of it leads to no further call"
    )


def _say(one: Claimed | Prepared | NotRenderable, came_to: str) -> None:
    """A line for each execution, at DEBUG only: the ledger and the event log say all of it, for ever."""
    if log.isEnabledFor(logging.DEBUG):
        lead_id = one.prepared.lead_id if isinstance(one, Claimed) else one.lead_id
        fields = {"action": "executed", "lead": lead_id, "execution": one.execution_id}
        log.debug(came_to, extra=fields)


# --- what is not called -----------------------------------------------------------------------------------


def _write_down(ctx: Context, found: Next) -> Hints:
    """What a pass leaves to the thread: not now, not without a word that is missing, or nothing."""
    if isinstance(found, Postponed | NotRenderable | Unjudged):
        _say(found.prepared if not isinstance(found, NotRenderable) else found, type(found).__name__)
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
