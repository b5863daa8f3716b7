"""undo: stop those of an enrolment to whom nothing has gone out. Idempotent; safe beside workers; page by page."""

from collections.abc import Sequence
from dataclasses import dataclass

from outreach.models import batches, executions, leads
from outreach.models.base import Row, Tx
from outreach.runtime.context import Context
from outreach.runtime.moving import leave

#: Leads per transaction: workers wait for a page at most.
_PAGE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """What became of the batch's leads."""

    batch: str
    sequence: str
    enrolled: int
    #: by this undo
    stopped: int
    #: by an earlier one
    stopped_before: int
    #: of all stopped: a call was made for them, and surely had no effect
    called: int
    #: ended in some other way, and nothing went out
    over: int
    #: something went out, may have, or is going out now; they are left as they are
    touched: int
    #: per contact: lead_id, person_id, state, node, kind, account, execution_state, at
    went_out: Sequence[Row]


def undo(ctx: Context, batch: str, by: str, *, limit: int) -> Undone:
    """Stop the untouched, name the touched (`limit`: at most so many contacts). Raises NotFound.

    Once it returns, nothing is ever sent to those it stopped; somebody being called while it ran is touched.
    """
    found = ctx.db.run(lambda tx: _begin(ctx, tx, batch, by))
    stopped, after = 0, 0
    while True:
        page = ctx.db.run(lambda tx, after=after: batches.active_leads(tx, found, after=after, limit=_PAGE))  # type: ignore[misc]
        if not page:
            break
        stopped += ctx.db.run(lambda tx, page=page: _stop(ctx, tx, page, by))  # type: ignore[misc]
        after = page[-1]
    sums, went_out = ctx.db.run(lambda tx: (batches.sums(tx, found), batches.went_out(tx, found, limit)))
    return Undone(
        batch=batch,
        sequence=found["sequence"],
        enrolled=found["enrolled"],
        stopped=stopped,
        stopped_before=sums["undone"] - stopped,
        called=sums["called"],
        over=sums["over"],
        touched=sums["touched"],
        went_out=went_out,
    )


def _begin(ctx: Context, tx: Tx, batch: str, by: str) -> Row:
    found = batches.find(tx, batch)
    batches.set_undone(tx, batch, by, ctx.clock.at(tx.database_now()))
    return found


def _stop(ctx: Context, tx: Tx, lead_ids: Sequence[int], by: str) -> int:
    """T1 holds person and lead while it opens a call, so what is read under our locks is all there is."""
    locked = executions.lock_leads(tx, lead_ids)
    touched = batches.touched_among(tx, lead_ids)
    untouched = [one for id_, one in locked.items() if id_ not in touched and one.lead.active]
    for one in untouched:
        leave(tx, one.lead, batches.UNDONE, ctx.clock.at(one.database_now), actor=by)
    leads.write_all(tx, [one.lead for one in untouched])
    return len(untouched)
