"""try_lead: look at a lead that kills whoever looks at it, perhaps. Counted before, alone if need be, parked after five tries.

A lead that our own code fails on is counted after the fact (parking.py). One that takes its process along cannot be: nobody is left to
count. What tells of it is that the sweep hints it again and again and nothing moves. But so it is when a queue is full,
a worker away or Redis lost, and that is not the lead's doing. So a suspect is not blamed: whoever takes it up writes that down
first, and takes it back when the look has come to an end, whatever it found. Only who dies leaves the count standing.
The first look is taken in the midst of everything else, at the price of one statement; if that ended nowhere, the next ones are
taken in a process of its own, whose end blames nobody else.
"""

import logging
from datetime import timedelta

from outreach.engine.kinds import CHANNEL_OF, ActionKind
from outreach.errors import OutreachError
from outreach.models import suspects
from outreach.models.base import UNREACHABLE, Row, Tx
from outreach.runtime.context import Context
from outreach.runtime.hints import Hints
from outreach.runtime.moving import LOOK_AGAIN
from outreach.runtime.parking import STRIKES, strike
from outreach.runtime.perform import look_and_perform

log = logging.getLogger("outreach")

#: More hints of the sweep than this in a row that moved nothing, and the lead is looked at with care.
IN_VAIN = 2
#: A process that does not come to an end within so many real seconds is killed, and counts as dead.
APART_SECONDS = 100.0


def try_lead(ctx: Context, lead_id: int) -> Hints:
    """Look at it, and perform what is due; what else to look at. Nothing where it has moved meanwhile."""
    seen = ctx.db.run(lambda tx: suspects.read(tx, lead_id))
    if seen is None or seen["hints"] <= IN_VAIN:
        return []
    if seen["paused"]:
        # Set aside for what it does to whoever looks: nobody does, until somebody resumes it.
        ctx.db.run(lambda tx: suspects.put_off(tx, lead_id, ctx.clock.at(tx.database_now()) + LOOK_AGAIN))
        return []
    if seen["open"]:
        # A call, or a doubt: it is settled as any other is, and is never parked.
        return look_and_perform(ctx, lead_id)
    if seen["attempts"] >= STRIKES:
        strike(ctx, lead_id, "every process that looks at it dies", counted=True, suspicion=IN_VAIN + 1)
        return []
    if ctx.apart is not None and (seen["attempts"] or not _is_carried(ctx, seen)):
        return _in_a_process_of_its_own(ctx, lead_id, seen)
    return _among_others(ctx, lead_id, seen)


def _is_carried(ctx: Context, seen: Row) -> bool:
    """Would this process perform the next step itself? What is left to another one's queue says nothing of how it ends there."""
    kind = seen["next_kind"]
    return kind not in ActionKind.__members__ or CHANNEL_OF.get(ActionKind(kind)) in {None, *ctx.carries}


def _note(ctx: Context, lead_id: int, seen: Row, lasting: timedelta) -> bool:
    def work(tx: Tx) -> bool:
        until = ctx.clock.at(tx.database_now()) + lasting
        return suspects.note(tx, lead_id, attempts=seen["attempts"], until=until)

    return ctx.db.run(work)


def _let_off(ctx: Context, lead_id: int, seen: Row, to: int) -> None:
    ctx.db.run(lambda tx: suspects.let_off(tx, lead_id, noted=seen["attempts"] + 1, to=to))


def _among_others(ctx: Context, lead_id: int, seen: Row) -> Hints:
    if not _note(ctx, lead_id, seen, ctx.hint_lease):
        return []
    try:
        found = look_and_perform(ctx, lead_id, counted=True)
    except (OutreachError, *UNREACHABLE):
        _let_off(ctx, lead_id, seen, seen["attempts"])
        raise
    _let_off(ctx, lead_id, seen, seen["attempts"])
    return found


def _in_a_process_of_its_own(ctx: Context, lead_id: int, seen: Row) -> Hints:
    """One at a time in each worker: the others of its threads go on with the rest. Its hints it sends itself."""
    assert ctx.apart is not None
    if not ctx.alone.acquire(blocking=False):
        return []  # the sweep comes again
    try:
        if _note(ctx, lead_id, seen, ctx.machine(APART_SECONDS)):
            _judge(ctx, lead_id, seen, ctx.apart(lead_id))
    finally:
        ctx.alone.release()
    return []


def _judge(ctx: Context, lead_id: int, seen: Row, died: str | None) -> None:
    if died is None:
        _let_off(ctx, lead_id, seen, 0)
        return
    # Whoever looks next must not do it unprepared.
    parked = strike(ctx, lead_id, f"its process died: {died}", counted=True, suspicion=IN_VAIN + 1)
    log.error(
        "a lead kills the process that looks at it",
        extra={"action": "process_died", "lead": lead_id, "how": died, "parked": parked},
    )
