"""erase: forget a person. Suppress, drain, then erase; what they asked for outlives what we know of them."""

from outreach.compliance import register
from outreach.engine.events import EventKind
from outreach.errors import NotFound
from outreach.models import erasing, events, persons
from outreach.models.base import Tx
from outreach.runtime.context import Context
from outreach.runtime.draining import drain
from outreach.runtime.optout import suppress


def erase(ctx: Context, person_id: int, *, by: str, replayed: bool = False) -> bool:
    """True: erased. False: suppressed, but a call of theirs is still under way; ask again once it has drained.

    `replayed`: the off-box journal says that it was done before the backup was restored.
    """

    def work(tx: Tx) -> bool:
        person = persons.lock_present(tx, person_id)
        if person is None:
            raise NotFound(f"no person {person_id}")
        now = ctx.clock.at(person.database_now)
        suppress(
            ctx,
            tx,
            person.id,
            reason="they asked to be erased",
            source=register.FROM_JOURNAL if replayed else "erasure",
            evidence={},
            now=now,
            actor=by,
        )
        if not (person.effective or drain(ctx, tx, person.id, now)):
            return False
        if not replayed:
            register.note_erased(tx, person.id, now=now)
        erasing.forget(tx, person.id, now)
        events.append(tx, [events.Event(kind=EventKind.PERSON_ERASED, at=now, actor=by, person_id=person.id)])
        return True

    return ctx.db.run(work)
