"""An opt-out becomes effective when nothing of the person's can surface at a provider any more."""

from datetime import datetime

from outreach.compliance import register
from outreach.engine.events import EventKind
from outreach.models import events, persons
from outreach.models.base import Tx
from outreach.runtime.context import Context
from outreach.runtime.hints import Hints


def drain(ctx: Context, tx: Tx, person_id: int, now: datetime) -> bool:
    """Write `effective` and its event if that has become true; the caller holds the person's row and knows it is draining."""
    effective = register.effective_now(tx, person_id, now=now, settle=ctx.settle)
    if effective:
        events.append(tx, [events.Event(kind=EventKind.SUPPRESSION_EFFECTIVE, at=now, person_id=person_id)])
    return effective


def drain_person(ctx: Context, person_id: int) -> Hints:
    """The sweep's own try, for a person whose last call never came back."""

    def work(tx: Tx) -> Hints:
        person = persons.lock(tx, person_id)
        if person is not None and person.suppressed and not person.effective:
            drain(ctx, tx, person_id, ctx.clock.at(person.database_now))
        return []

    return ctx.db.run(work)
