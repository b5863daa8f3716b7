"""recover: an adopted database reads what its backup does not know; once nothing is left to read, sends go on."""

from outreach.engine.events import EventKind
from outreach.models import accounts, adoptions, events, instance
from outreach.models.base import Row, Tx
from outreach.runtime import hints
from outreach.runtime.context import Context
from outreach.runtime.erase import erase
from outreach.runtime.hints import Hints

#: Persons erased again in one pass.
_MOST_ERASED = 500


def recover(ctx: Context) -> Hints:
    """One pass: erase again whom the journal names, ask for what is unread, or let sends go on."""
    adoption = ctx.db.run(_adoption)
    if adoption is None:
        return []
    for person_id in adoption["to_erase"][:_MOST_ERASED]:
        if erase(ctx, person_id, by="journal", replayed=True):
            ctx.db.run(lambda tx, who=person_id: adoptions.note_erased(tx, adoption["id"], who))  # type: ignore[misc]
    return ctx.db.run(lambda tx: _go_on(ctx, tx))


def _adoption(tx: Tx) -> Row | None:
    return adoptions.newest(tx) if instance.read(tx).recovering_since is not None else None


def _go_on(ctx: Context, tx: Tx) -> Hints:
    now = ctx.clock.at(tx.database_now())
    adoption = _adoption(tx)
    if adoption is None:
        return []
    adoptions.want_follows(tx, adoption["at"], now)
    waits = adoptions.waits_for(tx, adoption["id"], channels=list(ctx.providers))
    found = [hints.check_for_reply(row["id"]) for row in waits["unread"]]
    found += [hints.look_up(row["id"]) for row in waits["unlooked"]]
    if nothing_left(waits):
        _release(tx, adoption["id"], "engine", ctx)
    return found


def nothing_left(waits: Row) -> bool:
    """Is everything read, settled, replayed and erased?"""
    return bool(
        waits["replayed"]
        and not any(waits[name] for name in ("unread", "unlooked", "open_calls", "to_erase"))
    )


def release(ctx: Context, reason: str, by: str) -> None:
    """Somebody lets sends go on although not everything could be read; they say why."""

    def work(tx: Tx) -> None:
        adoption = _adoption(tx)
        if adoption is not None:
            _release(tx, adoption["id"], by, ctx, reason=reason)

    ctx.db.run(work)


def _release(tx: Tx, adoption_id: int, by: str, ctx: Context, reason: str | None = None) -> None:
    now = ctx.clock.at(tx.database_now())
    adoptions.release(tx, adoption_id, by, now)
    accounts.release_leads(tx, now=now, reasons=("pause",))
    payload = {"adoption": adoption_id} | ({"reason": reason} if reason else {})
    events.append(tx, [events.Event(kind=EventKind.INSTANCE_RELEASED, at=now, actor=by, payload=payload)])
