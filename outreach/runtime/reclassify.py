"""reclassify: a human has read a reply anew. Leads that may still decide on it do; an opt-out is never taken back by it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from outreach.compliance import register
from outreach.compliance.facts import BasisKind
from outreach.engine.events import EventKind
from outreach.engine.kinds import Channel, ReplyClass, SignalKind
from outreach.errors import ConflictError, NotFound, UsageError
from outreach.models import events, executions, inbound, leads, persons, replies, tasks
from outreach.models.base import Row, Tx
from outreach.models.persons import LockedPerson
from outreach.runtime.context import Context
from outreach.runtime.decided import resume_person
from outreach.runtime.echoes import SKEW_SECONDS
from outreach.runtime.hints import Hints
from outreach.runtime.moving import go_on
from outreach.runtime.optout import suppress
from outreach.runtime.withdraw import note as note_withdrawn

#: What a human may say of a reply. `unclear` is what the engine says when it asks a human.
CLASSES = (
    ReplyClass.POSITIVE, ReplyClass.NEUTRAL, ReplyClass.NEGATIVE, ReplyClass.OUT_OF_OFFICE, ReplyClass.UNKNOWN, ReplyClass.UNSUBSCRIBE,
)  # fmt: skip
_NO_INVITATION = (ReplyClass.OUT_OF_OFFICE, ReplyClass.UNSUBSCRIBE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reclassified:
    """What came of it."""

    inbound_id: int
    before: str | None
    after: str
    #: leads that decided anew
    leads: tuple[int, ...]
    #: leads that had decided on what it was taken for, and stay as they are
    decided: tuple[int, ...]
    #: the person is, or has become, one who must not be contacted
    suppressed: bool
    hints: Hints


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """One reply and what it says now; the person's row is locked."""

    row: Row
    person: LockedPerson
    said: ReplyClass
    by: str
    now: datetime


def reclassify(ctx: Context, inbound_id: int, said: ReplyClass, by: str) -> Reclassified:
    """Correct how a reply was read. Raises NotFound, UsageError for a class that nobody says, ConflictError for one not read yet."""
    if said not in CLASSES:
        raise UsageError(
            f"{said.value} is not for people to say",
            hint=f"one of {', '.join(word.value for word in CLASSES)}",
        )

    def work(tx: Tx) -> Reclassified:
        executions.share_sends(tx)
        care = replies.read(tx, inbound_id)
        if care["state"] != "digested" or care["person_id"] is None:
            raise ConflictError(
                f"reply {inbound_id} is {care['state']}: it belongs to nobody yet",
                hint="a message of somebody whom nobody knows has nothing to decide",
            )
        person = persons.lock_present(tx, care["person_id"])
        row = inbound.read(tx, inbound_id)
        if person is None or row is None:
            raise NotFound(f"no reply {inbound_id}")
        reading = _Reading(row=row, person=person, said=said, by=by, now=ctx.clock.at(person.database_now))
        return _apply(ctx, tx, reading)

    return ctx.db.run(work)


def _apply(ctx: Context, tx: Tx, reading: _Reading) -> Reclassified:
    row, person, said, now = reading.row, reading.person, reading.said, reading.now
    replies.reclass(tx, row["id"], row["class"], said.value, reading.by, now)
    events.append(
        tx,
        [
            events.Event(
                kind=EventKind.REPLY_RECLASSIFIED, at=now, actor=reading.by, person_id=person.id, account_id=row["account_id"],
                payload={"inbound_id": row["id"], "before": row["class"], "after": said.value},
            )
        ],
    )  # fmt: skip
    asked = _close_question(tx, reading)
    decided = tuple(replies.decided_on(tx, row["id"], person.id))
    if said is ReplyClass.UNSUBSCRIBE:
        suppress(
            ctx, tx, person.id, reason="they said stop", source="reply", evidence={"inbound_id": row["id"]}, now=now, actor=reading.by
        )  # fmt: skip
        found: Hints = []
        told: list[int] = []
    else:
        _keep_basis(tx, reading)
        told = _tell_leads(ctx, tx, reading, decided)
        found = _decide_anew(ctx, tx, reading, told, asked)
    return Reclassified(
        inbound_id=row["id"],
        before=row["class"],
        after=said.value,
        leads=tuple(told),
        decided=decided,
        suppressed=person.suppressed or said is ReplyClass.UNSUBSCRIBE,
        hints=found,
    )


def _close_question(tx: Tx, reading: _Reading) -> bool:
    """It was unclear, and a human was asked: this is the answer. True: nobody is asked any more, and nothing keeps the person paused."""
    task_id = tasks.of_reply(tx, reading.row["id"], reading.person.id)
    if task_id is None:
        return False
    tasks.close(tx, task_id, "done", f"read as {reading.said.value}", reading.by, reading.now)
    return not tasks.has_questions(tx, reading.person.id)


def _keep_basis(tx: Tx, reading: _Reading) -> None:
    """Who wrote has invited us to answer; a machine that answered for them has not."""
    row = reading.row
    identity_id = replies.identity_of(tx, row["id"])
    if identity_id is None or row["account_id"] is None:
        return
    channel = Channel(row["channel"])
    if reading.said not in _NO_INVITATION:
        register.record_inbound_basis(
            tx, identity_id=identity_id, channel=channel, account_id=row["account_id"], inbound_id=row["id"], at=row["occurred_at"],
            now=reading.now,
        )  # fmt: skip
    elif replies.proves_invitation(tx, row["id"], identity_id):
        ended = register.withdraw_consent(
            tx, identity_ids=[identity_id], channel=channel, reason="an automatic answer, says a human", now=reading.now, basis=BasisKind.INBOUND,
        )  # fmt: skip
        note_withdrawn(tx, reading.person.id, channel, ended, reading.now, reading.by)


def _tell_leads(ctx: Context, tx: Tx, reading: _Reading, decided: Sequence[int]) -> list[int]:
    """The person's active leads that it concerns, told anew; those that decided on it keep what they decided."""
    row, person, said = reading.row, reading.person, reading.said
    kind = SignalKind.OUT_OF_OFFICE if said is ReplyClass.OUT_OF_OFFICE else SignalKind.REPLIED
    everyone = leads.of_person(tx, person.id)
    in_contact = inbound.leads_in_contact(tx, person.id, row["occurred_at"] + ctx.machine(SKEW_SECONDS))
    replies.resignal(tx, row["id"], person.id, kind.value, said.value)
    # A human answers us, not one of our sequences; a machine answers those that had written.
    concerned = in_contact if kind is SignalKind.OUT_OF_OFFICE else everyone if in_contact else []
    for lead_id in concerned:
        if lead_id not in decided:
            leads.add_signal(
                tx, lead_id, kind, row["content_id"], at=row["occurred_at"], now=reading.now, inbound_id=row["id"], reply_class=said.value
            )  # fmt: skip
    return [lead_id for lead_id in concerned if lead_id not in decided]


def _decide_anew(ctx: Context, tx: Tx, reading: _Reading, told: list[int], answered: bool) -> Hints:
    if answered and reading.person.paused:
        return resume_person(ctx, tx, reading.person.id, reading.now, reading.by)
    found: Hints = []
    for lead_id in told:
        lead = leads.read(tx, lead_id)
        found += go_on(ctx, tx, lead, reading.now)
        lead.write(tx)
    return found
