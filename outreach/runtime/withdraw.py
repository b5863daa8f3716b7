"""withdraw: a permission is taken back. Binding at commit for every new send; nothing else of the person changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from outreach.compliance import register
from outreach.compliance.facts import BasisKind
from outreach.engine.events import EventKind
from outreach.engine.kinds import Channel
from outreach.errors import NotFound
from outreach.models import events, identities, persons
from outreach.models.base import Tx
from outreach.runtime.context import Context


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """What does not permit anything any more."""

    person_id: int
    ended: Sequence[register.Ended]


def withdraw(
    ctx: Context, person_id: int, channel: Channel, *, reason: str, by: str, basis: BasisKind | None = None
) -> Withdrawn:
    """End what permits contacting this person on the channel. Raises NotFound where nothing does."""

    def work(tx: Tx) -> Withdrawn:
        person = persons.lock_present(tx, person_id)
        if person is None:
            raise NotFound(f"no person {person_id}")
        now = ctx.clock.at(person.database_now)
        own = [row["id"] for row in identities.identities_of(tx, [person.id])]
        ended = register.withdraw_consent(
            tx, identity_ids=own, channel=channel, reason=reason, now=now, basis=basis
        )
        if not ended:
            raise NotFound(
                f"nothing on record permits contacting them on {channel.value}",
                hint="outreach consent show WHO",
            )
        note(tx, person.id, channel, ended, now, by)
        return Withdrawn(person.id, ended)

    return ctx.db.run(work)


def note(
    tx: Tx, person_id: int, channel: Channel, ended: Sequence[register.Ended], now: datetime, by: str
) -> None:
    """Say in the log which permissions have ended."""
    events.append(
        tx,
        [
            events.Event(
                kind=EventKind.CONSENT_WITHDRAWN, at=now, actor=by, person_id=person_id,
                payload={"consent_id": one.consent_id, "channel": channel.value, "basis": one.basis.value},
            )
            for one in ended
        ],
    )  # fmt: skip
