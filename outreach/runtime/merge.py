"""merge: two persons turn out to be one human. Locks both by id, then their leads; the stricter suppression holds."""

from dataclasses import dataclass
from datetime import datetime

from outreach.compliance import register
from outreach.engine.events import EventKind
from outreach.errors import NotFound, UsageError
from outreach.models import events, executions, identities, leads, merging, persons
from outreach.models.base import Row, Tx
from outreach.runtime.context import Context
from outreach.runtime.draining import drain
from outreach.runtime.moving import leave
from outreach.runtime.optout import stop_leads


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """The older person is kept. `stopped`: leads of the same sequence, of which only the furthest goes on."""

    kept: int
    gone: int
    stopped: tuple[int, ...]
    suppressed: bool


def merge(ctx: Context, a: int, b: int, *, evidence: str, by: str) -> Merged:
    """Join two persons. Raises UsageError for one and the same, NotFound for nobody."""
    if a == b:
        raise UsageError(f"person {a} is one already")
    kept, gone = sorted((a, b))

    def work(tx: Tx) -> Merged:
        # Our turn among imports first: nobody waits for it while holding `sends`.
        identities.lock_audience(tx)
        executions.share_sends(tx)
        first, second = persons.lock(tx, kept), persons.lock(tx, gone)
        for person, wanted in ((first, kept), (second, gone)):
            if person is None:
                raise NotFound(f"no person {wanted}")
            if person.merged_into is not None:
                raise UsageError(f"person {wanted} has been merged into {person.merged_into}")
        assert second is not None
        now = ctx.clock.at(second.database_now)
        stopped = _stop_doubles(tx, merging.active_leads(tx, (kept, gone)), now)
        merging.relabel(tx, kept=kept, gone=gone)
        merging.activate_links(tx, kept)
        merging.raise_epochs(tx, kept)
        suppressed = register.join(tx, kept_id=kept, gone_id=gone)
        merging.note(tx, kept=kept, gone=gone, actor=by, detail={"evidence": evidence}, now=now)
        events.append(
            tx,
            [
                events.Event(
                    kind=EventKind.PERSONS_MERGED,
                    at=now,
                    actor=by,
                    person_id=kept,
                    payload={"gone": gone, "stopped": stopped},
                )
            ],
        )
        if suppressed:
            stop_leads(tx, kept, "unsubscribed", now)
            drain(ctx, tx, kept, now)
        return Merged(kept=kept, gone=gone, stopped=tuple(stopped), suppressed=suppressed)

    return ctx.db.run(work)


def _stop_doubles(tx: Tx, active: list[Row], now: datetime) -> list[int]:
    """Both in one sequence: the lead that has come further goes on, at a draw the older one."""
    furthest: dict[int, Row] = {}
    for row in (r for r in active if r["key"] is None):
        best = furthest.get(row["sequence_id"])
        if best is None or row["begun"] > best["begun"]:
            furthest[row["sequence_id"]] = row
    stopped = [r["id"] for r in active if r["key"] is None and furthest[r["sequence_id"]]["id"] != r["id"]]
    for lead_id in stopped:
        lead = leads.read(tx, lead_id)
        leave(tx, lead, "merged_duplicate", now)
        lead.write(tx)
    return stopped
