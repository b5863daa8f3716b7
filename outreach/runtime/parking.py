"""parking: a lead on which our own code fails is tried again, later each time, and set aside after five tries; the rest goes on."""

import traceback
from pathlib import PurePath

from outreach.engine.events import EventKind
from outreach.engine.kinds import WaitingOn
from outreach.models import executions, suspects
from outreach.models.base import Tx
from outreach.runtime.context import Context
from outreach.runtime.moving import LOOK_AGAIN

#: So many failures without a step in between, and a human must look.
STRIKES = 5


def strike(ctx: Context, lead_id: int, why: str, *, counted: bool = False, suspicion: int = 0) -> bool:
    """Note that a look at this lead, or its next step, failed. True: it is parked now; `outreach lead resume` tries it again.

    `counted`: this attempt was counted before it began; `suspicion`: so often it counts as hinted in vain (suspect.py).

    What is open, a call or a doubt, is left alone: it is settled as any other is.
    """

    def work(tx: Tx) -> bool:
        locked = executions.lock_lead(tx, lead_id)
        if locked is None or not locked.lead.active or locked.lead.paused_at is not None:
            return False
        if locked.open is not None:
            return False
        lead, now = locked.lead, ctx.clock.at(locked.database_now)
        lead.attempts += not counted
        parked = lead.attempts >= STRIKES
        if parked:
            reason = f"failed {lead.attempts} times: {why}"
            lead.paused_at, lead.pause_reason = now, reason
            lead.wait(now + LOOK_AGAIN, WaitingOn.PAUSE, reason)
            lead.log(EventKind.LEAD_PARKED, now, reason=reason)
        else:
            lead.wait(
                now + ctx.machine(ctx.settings.tick_seconds * 2**lead.attempts),
                WaitingOn.TIME,
                f"failed: {why}",
            )
        lead.write(tx)
        if suspicion:
            suspects.suspect(tx, lead_id, suspicion)
        return parked

    return ctx.db.run(work)


def describe(error: Exception) -> str:
    """What failed, and where: never what the data said."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"
