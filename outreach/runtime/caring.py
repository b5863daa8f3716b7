"""assign, finish: who sees to a reply, and that nothing more is to be done about it. Neither sends or stops anything."""

from outreach.engine.events import EventKind
from outreach.models import events, replies
from outreach.models.base import Row, Tx
from outreach.runtime.context import Context


def assign(ctx: Context, inbound_id: int, to: str, by: str) -> None:
    """It is theirs from now on. Raises NotFound."""

    def work(tx: Tx) -> None:
        row = replies.read(tx, inbound_id)
        now = ctx.clock.at(tx.database_now())
        replies.assign(tx, inbound_id, to, now)
        _note(ctx, tx, row, EventKind.REPLY_ASSIGNED, by, to=to)

    ctx.db.run(work)


def finish(ctx: Context, inbound_id: int, by: str) -> bool:
    """Nothing more is to be done about it. False: somebody has said so before. Raises NotFound."""

    def work(tx: Tx) -> bool:
        row = replies.read(tx, inbound_id)
        first = replies.finish(tx, inbound_id, by, ctx.clock.at(tx.database_now()))
        if first:
            _note(ctx, tx, row, EventKind.REPLY_DONE, by)
        return first

    return ctx.db.run(work)


def _note(ctx: Context, tx: Tx, row: Row, kind: EventKind, by: str, **payload: str) -> None:
    event = events.Event(
        kind=kind, at=ctx.clock.at(tx.database_now()), actor=by, person_id=row["person_id"], payload={"inbound_id": row["id"], **payload}
    )  # fmt: skip
    events.append(tx, [event])
