"""Hints: which actor should look at which row. They may be lost, late, doubled or forged; nothing depends on them."""

from dataclasses import dataclass

from outreach.engine.kinds import CHANNEL_OF, ActionKind


@dataclass(frozen=True, slots=True)
class Hint:
    """Tell an actor to look at a row. `after` (real seconds, at most one tick) goes by the queue `soon`."""

    actor: str
    id: int
    after: float = 0.0


Hints = list[Hint]


def advance(lead_id: int, after: float = 0.0) -> Hint:
    """Look at a lead."""
    return Hint("advance_lead", lead_id, after)


def try_lead(lead_id: int, after: float = 0.0) -> Hint:
    """Look at a lead that was hinted in vain, with care."""
    return Hint("try_lead", lead_id, after)


def perform(kind: ActionKind | str, execution_id: int, after: float = 0.0) -> Hint:
    """Carry out a planned execution: the actor is named like its kind."""
    return Hint(str(ActionKind(kind).value).lower(), execution_id, after)


def performs_on(hint: Hint, channel: str) -> bool:
    """Is this the next action, due now, on this channel?"""
    kind = hint.actor.upper()
    return hint.after == 0 and kind in ActionKind.__members__ and CHANNEL_OF.get(ActionKind(kind)) == channel


def check_for_reply(account_id: int) -> Hint:
    """Poll an account's inbox."""
    return Hint("check_for_reply", account_id)


def look_up(account_id: int) -> Hint:
    """Look up relationships that leads wait for."""
    return Hint("look_up_relationships", account_id)


def resolve(account_id: int) -> Hint:
    """Turn handles into immutable ids."""
    return Hint("resolve_handles", account_id)


def digest(inbound_id: int) -> Hint:
    """Understand what came in."""
    return Hint("digest_inbound", inbound_id)


def join(entry_id: int) -> Hint:
    """See who has come into a segment that lets people into a sequence."""
    return Hint("join_by_segment", entry_id)


def reconcile(execution_id: int) -> Hint:
    """Ask the provider whether it happened."""
    return Hint("reconcile_execution", execution_id)


def refresh(account_id: int) -> Hint:
    """Fetch fresh tokens."""
    return Hint("refresh_token", account_id)


def drain(person_id: int) -> Hint:
    """See whether an opt-out has become effective."""
    return Hint("drain_person", person_id)


def watch() -> Hint:
    """See whether something needs somebody."""
    return Hint("watch_alerts", 0)


def deliver() -> Hint:
    """Deliver notices that wait."""
    return Hint("deliver_notices", 0)


def take_out() -> Hint:
    """Deliver the lines of the off-box journal that wait."""
    return Hint("deliver_journal", 0)


def recover() -> Hint:
    """Read what an adopted database's backup does not know."""
    return Hint("recover_database", 0)


def retain() -> Hint:
    """See whether something has been kept for long enough, or is to be deleted."""
    return Hint("retain_content", 0)


def beat() -> Hint:
    """Send a sign of life."""
    return Hint("send_heartbeat", 0)


def seal(*, going_on: bool = False) -> Hint:
    """Put what is new in the log under a seal. `going_on`: a batch was full, the next one need not wait for its minute."""
    return Hint("seal_events", int(going_on))
