"""Pause, resume, stop, archive, live: what an operator says, binding for every claim that begins after it returns.

A pause wants the database and nothing else, and wants it at once: what moves leads is loaded by those functions that move them.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from outreach.engine.events import EventKind
from outreach.engine.kinds import WaitingOn
from outreach.errors import ConfigurationError, NotFound, UsageError
from outreach.models import accounts, events, executions, instance, leads, persons, sequences
from outreach.models.base import SENDS_LOCK, Tx
from outreach.models.instance import drain_claims
from outreach.runtime import stopping

if TYPE_CHECKING:
    from outreach.clock import Clock
    from outreach.models.base import Database
    from outreach.runtime.context import Context
    from outreach.runtime.hints import Hints
    from outreach.runtime.stale import Answer


class Desk(Protocol):
    """The part of a Context that a switch needs."""

    @property
    def db(self) -> "Database": ...

    @property
    def clock(self) -> "Clock": ...


def pause_all(ctx: Desk, reason: str, by: str) -> None:
    """Nothing is claimed any more when this returns; calls under way end by themselves."""

    def work(tx: Tx) -> None:
        now = ctx.clock.at(tx.database_now())
        instance.set_paused(tx, reason, now)
        events.append(
            tx, [events.Event(kind=EventKind.INSTANCE_PAUSED, at=now, actor=by, payload={"reason": reason})]
        )

    ctx.db.run(work)
    drain_claims(ctx.db, SENDS_LOCK)


def resume_all(ctx: Desk, by: str) -> None:
    """Caps and pace keep what has piled up from bursting out."""

    def work(tx: Tx) -> None:
        now = ctx.clock.at(tx.database_now())
        instance.set_paused(tx, None, now)
        accounts.release_leads(tx, now=now, reasons=("pause",))
        events.append(tx, [events.Event(kind=EventKind.INSTANCE_RESUMED, at=now, actor=by)])

    ctx.db.run(work)


_SEQUENCE_EVENTS = {
    "paused": EventKind.SEQUENCE_PAUSED,
    "active": EventKind.SEQUENCE_RESUMED,
    "archived": EventKind.SEQUENCE_ARCHIVED,
}


def set_sequence(ctx: Desk, name: str, state: str, reason: str | None, by: str) -> None:
    """active, paused or archived. Leads of a paused or archived sequence stay where they are."""

    def work(tx: Tx) -> None:
        now = ctx.clock.at(tx.database_now())
        sequence = sequences.find(tx, name)
        sequences.set_state(tx, sequence["id"], state, reason)
        if state == "active":
            accounts.release_leads(tx, now=now, sequence_id=sequence["id"], reasons=("pause",))
        payload = {"reason": reason} if reason else {}
        events.append(
            tx,
            [
                events.Event(
                    kind=_SEQUENCE_EVENTS[state],
                    at=now,
                    actor=by,
                    sequence_id=sequence["id"],
                    payload=payload,
                )
            ],
        )

    ctx.db.run(work)
    if state != "active":
        drain_claims(ctx.db, SENDS_LOCK)


def set_account(ctx: Desk, name: str, reason: str | None, by: str) -> None:
    """Pause an account for a reason, or (None) let it send again, whatever stopped it or its app."""

    def work(tx: Tx) -> None:
        account_id = accounts.find(tx, name)["id"]
        now = ctx.clock.at(accounts.lock_with_app(tx, account_id))
        account = accounts.get(tx, account_id)
        if account["state"] == "disconnected":
            raise UsageError(
                f"account {name!r} is disconnected",
                hint=f"outreach account connect {account['channel']} {name}",
            )
        if reason is None:
            stopping.resume(tx, account, now, actor=by, app=True)
        else:
            stopping.stop(tx, account, "paused", reason, now, actor=by)

    ctx.db.run(work)


# --- one lead, one person --------------------------------------------------------------------------------------


def pause_lead(ctx: "Context", lead_id: int, reason: str, by: str) -> None:
    """The lead stays where it is; a call under way is left to end."""
    from outreach.runtime.moving import LOOK_AGAIN

    def work(tx: Tx) -> None:
        now, lead = _locked_active(ctx, tx, lead_id)
        lead.paused_at, lead.pause_reason = now, reason
        lead.epoch += 1
        # Why is a human's word: it stands in the row, which can forget it, and not in the log, which cannot.
        lead.log(EventKind.LEAD_PAUSED, now, actor=by)
        if lead.waiting_on not in (WaitingOn.CALL.value, WaitingOn.DOUBT.value):
            lead.wait(now + LOOK_AGAIN, WaitingOn.PAUSE, reason)
        lead.write(tx)

    ctx.db.run(work)


def resume_lead(ctx: "Context", lead_id: int, by: str) -> "Hints":
    """The lead goes on from where it is."""
    from outreach.runtime.moving import go_on

    def work(tx: Tx) -> "Hints":
        now, lead = _locked_active(ctx, tx, lead_id)
        if lead.paused_at is None:
            raise UsageError(f"lead {lead_id} is not paused")
        lead.paused_at = lead.pause_reason = None
        lead.attempts = 0
        lead.log(EventKind.LEAD_RESUMED, now, actor=by)
        if lead.waiting_on == WaitingOn.PAUSE.value:
            lead.wait(now, WaitingOn.TIME)
        found = go_on(ctx, tx, lead, now)
        lead.write(tx)
        return found

    return ctx.db.run(work)


def stop_lead(ctx: "Context", lead_id: int, reason: str, by: str) -> None:
    """The lead exits; what is planned is cancelled, an open call is left to T2."""
    from outreach.runtime.moving import leave

    def work(tx: Tx) -> None:
        now, lead = _locked_active(ctx, tx, lead_id)
        leave(tx, lead, reason, now, actor=by, told="by_hand")
        lead.write(tx)

    ctx.db.run(work)


def _locked_active(ctx: "Context", tx: Tx, lead_id: int) -> tuple[datetime, leads.Lead]:
    locked = executions.lock_lead(tx, lead_id)
    if locked is None:
        raise NotFound(f"no lead {lead_id}", hint="outreach lead list shows them")
    lead = locked.lead
    if not lead.active:
        raise UsageError(
            f"lead {lead_id} has {lead.state}" + (f": {lead.exit_reason}" if lead.exit_reason else "")
        )
    return ctx.clock.at(locked.database_now), lead


def pause_person(ctx: Desk, person_id: int, reason: str, by: str) -> None:
    """Nothing is sent to this human by any sequence."""

    def work(tx: Tx) -> None:
        person = persons.lock_present(tx, person_id)
        if person is None:
            raise NotFound(f"no person {person_id}")
        now = ctx.clock.at(person.database_now)
        persons.set_paused(tx, person.id, reason, now)
        events.append(
            tx,
            [
                events.Event(
                    kind=EventKind.PERSON_PAUSED,
                    at=now,
                    actor=by,
                    person_id=person.id,
                )
            ],
        )
        for lead_id in leads.of_person(tx, person.id):
            lead = leads.read(tx, lead_id)
            lead.epoch += 1
            lead.write(tx)

    ctx.db.run(work)


def unpause_person(ctx: "Context", person_id: int, by: str, stale: "Answer | None" = None) -> "Hints":
    """The human's leads go on. `stale`: what becomes of steps that have come too late; None: as their sequences say."""
    from outreach.runtime.decided import resume_person
    from outreach.runtime.stale import answer_person

    def work(tx: Tx) -> "Hints":
        person = persons.lock_present(tx, person_id)
        if person is None:
            raise NotFound(f"no person {person_id}")
        if stale is not None:
            # Under the person's lock nobody judges them in between.
            persons.set_paused(tx, person.id, None, ctx.clock.at(person.database_now))
            answer_person(ctx, tx, person.id, stale, by)
        return resume_person(ctx, tx, person.id, ctx.clock.at(person.database_now), by)

    return ctx.db.run(work)


# --- the live switch -------------------------------------------------------------------------------------------


def go_live(ctx: "Context", typed: str, by: str) -> None:
    """Real providers may be called from now on. `typed` must be the instance's name. Raises ConfigurationError."""

    def work(tx: Tx) -> None:
        current = instance.read(tx)
        if current.simulated_only:
            raise ConfigurationError(
                f"{current.name!r} is simulated for ever: it was made by a demo",
                hint="make a database of its own for real people",
            )
        if typed != current.name:
            raise ConfigurationError(
                f"that is not this instance's name ({current.name!r})", hint="nothing was changed"
            )
        now = ctx.clock.at(tx.database_now())
        instance.set_live(tx, by, now)
        accounts.release_leads(tx, now=now, reasons=("account",))
        events.append(
            tx, [events.Event(kind=EventKind.LIVE_SWITCHED, at=now, actor=by, payload={"live": True})]
        )

    ctx.db.run(work)


def go_simulated(ctx: "Context", by: str) -> None:
    """No provider beyond this machine is called any more when this returns."""

    def work(tx: Tx) -> None:
        now = ctx.clock.at(tx.database_now())
        instance.set_live(tx, None, now)
        events.append(
            tx, [events.Event(kind=EventKind.LIVE_SWITCHED, at=now, actor=by, payload={"live": False})]
        )

    ctx.db.run(work)
    drain_claims(ctx.db, SENDS_LOCK)
