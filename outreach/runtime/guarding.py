"""guard: is this the database that sends, or a restored or cloned one? Found out by signs that do not depend on each other.

- *where it is*: its cluster's number and its own, kept in the instance row, are other ones elsewhere;
- *its fences*: Redis and every process know the highest claim; a database that draws a lower fence, or has no word of that
  claim, stands before it;
- *the journal*: the off-box journal holds lines that this database never wrote (runtime/journaling.py).

What is found is written into the instance row, which every T1 reads. docs/decisions/0017-restore.md.
"""

from collections.abc import Sequence

from outreach.engine.events import EventKind
from outreach.limits.fences import Claim
from outreach.models import adoptions, events, instance
from outreach.models.base import SENDS_LOCK, Tx
from outreach.models.instance import drain_claims
from outreach.runtime.context import Context


class Behind(Exception):
    """T1 has drawn a fence that is not above all that were known before it began."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def require_above(known: int, drawn: Sequence[int | None]) -> None:
    """Raises Behind. `known` was read before the transaction began."""
    lowest = min((fence for fence in drawn if fence is not None), default=None)
    if lowest is not None and lowest <= known:
        raise Behind(f"its next fence is {lowest}, and {known} was claimed before")


def guard(ctx: Context) -> str | None:
    """Look for a sign, and mark the database if there is one: why it is foreign, or None."""
    claim = ctx.highest_claim()
    found = ctx.db.run(lambda tx: _look(tx, claim))
    if found is not None:
        mark_foreign(ctx, found)
    return found


def _look(tx: Tx, claim: Claim) -> str | None:
    here = instance.read(tx)
    if here.foreign_reason is not None:
        return here.foreign_reason
    cluster = instance.cluster_here(tx)
    if here.cluster is None:
        # It could not be read where the row was made.
        instance.set_cluster(tx, cluster)
    elif cluster is not None and cluster != here.cluster:
        return f"it was made in cluster/database {here.cluster}, and this is {cluster}"
    if claim.fence and not adoptions.remembers(tx, claim.fence, claim.execution_id):
        return (
            f"execution {claim.execution_id} was claimed with fence {claim.fence}, of which it knows nothing"
        )
    return None


def mark_foreign(ctx: Context, reason: str) -> None:
    """Nothing is claimed any more when this returns."""

    def work(tx: Tx) -> None:
        now = ctx.clock.at(tx.database_now())
        if instance.set_foreign(tx, reason, now):
            events.append(
                tx, [events.Event(kind=EventKind.INSTANCE_FOREIGN, at=now, payload={"reason": reason})]
            )

    ctx.db.run(work)
    drain_claims(ctx.db, SENDS_LOCK)
