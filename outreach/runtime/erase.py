"""erase: forget a person. Suppress, drain, then erase; what they asked for outlives what we know of them."""

from dataclasses import dataclass

from outreach.audience.remembering import digest_of
from outreach.compliance import register
from outreach.engine.events import EventKind
from outreach.errors import NotFound
from outreach.models import erasing, events, persons
from outreach.models.base import SENDS_LOCK, Tx
from outreach.models.instance import drain_claims
from outreach.runtime.context import Context
from outreach.runtime.draining import drain
from outreach.runtime.optout import suppress

_REASON, _SOURCE = "they asked to be erased", "erasure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identifier:
    """What somebody is known by, normalised."""

    kind: str
    value: str


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
            reason=_REASON,
            source=register.FROM_JOURNAL if replayed else _SOURCE,
            evidence={},
            now=now,
            actor=by,
        )
        if not (person.effective or drain(ctx, tx, person.id, now)):
            return False
        if not replayed:
            register.note_erased(tx, person.id, now=now)
        erasing.forget(tx, person.id, now, _REASON)
        events.append(tx, [events.Event(kind=EventKind.PERSON_ERASED, at=now, actor=by, person_id=person.id)])
        return True

    return ctx.db.run(work)


def erase_stranger(ctx: Context, who: Identifier, *, by: str) -> int:
    """Of an identifier that nobody here is known by: what it wrote is forgotten, and it is kept out by its digest. How many messages.

    Commit, then wait for the claims that did not see it yet, as for every opt-out without a person.
    """

    def work(tx: Tx) -> int:
        now = ctx.clock.at(tx.database_now())
        digest = digest_of(tx, ctx.peppers, who.kind, who.value)
        register.suppress_identifier(tx, digest, reason=_REASON, source=_SOURCE, evidence={}, now=now)
        register.mark_erasure(tx, digest, reason=_REASON, source=_SOURCE)
        gone = erasing.forget_stranger(tx, who.kind, who.value)
        events.append(
            tx, [events.Event(kind=EventKind.PERSON_ERASED, at=now, actor=by, payload={"messages": gone})]
        )
        return gone

    gone = ctx.db.run(work)
    drain_claims(ctx.db, SENDS_LOCK)
    return gone
