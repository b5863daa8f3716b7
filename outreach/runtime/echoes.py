"""Echoes of what our accounts do: they settle open executions; what none explains counts as sent by hand, whoever got it."""

from datetime import datetime, timedelta

from outreach.engine.events import EventKind
from outreach.engine.kinds import ActionKind
from outreach.models import accounts, events, executions, inbound, instance, leads, tasks
from outreach.models.base import Row, Tx
from outreach.models.persons import LockedPerson
from outreach.providers.base import InboundKind, fingerprint
from outreach.runtime.context import Context
from outreach.runtime.draining import drain
from outreach.runtime.hints import Hints
from outreach.runtime.lost import Said, settle_followed, settle_said
from outreach.runtime.observing import close_observed
from outreach.runtime.settle import sent

_ACTION = {
    InboundKind.MESSAGE_OUT.value: ActionKind.SEND_TWITTER_DM,
    InboundKind.WE_FOLLOWED.value: ActionKind.FOLLOW_ON_TWITTER,
    InboundKind.WE_UNFOLLOWED.value: ActionKind.UNFOLLOW_ON_TWITTER,
}

_ADOPTION_LOOK = timedelta(hours=1)
#: Real seconds that the provider's clock may be behind ours.
SKEW_SECONDS = 120.0


def match_echo(
    ctx: Context, tx: Tx, row: Row, person: LockedPerson, identity_id: int, now: datetime
) -> Hints:
    """Settle what it belongs to; else wait D + S for its own call to explain it; then count it against the caps."""
    kind = _ACTION[InboundKind(row["kind"]).value]
    candidates = inbound.open_executions(
        tx, account_id=row["account_id"], identity_id=identity_id, kind=kind.value
    )
    known = next(
        (c for c in candidates if _provider_id(row) and _provider_id(row) in c["provider_ids"].values()), None
    )
    mine = known or next((c for c in candidates if _explains(ctx, c, row)), None)
    if mine is not None:
        inbound.digested(tx, row["id"], now=now, person_id=person.id, reply_class=None)
        return _confirm(ctx, tx, row, person, mine["id"], now)
    here = instance.read(tx)
    recovering = here.recovering_since is not None
    if _waits_for_adoption(tx, here, row, now):
        return []
    found = _lost(ctx, tx, row, person.id, identity_id, now) if recovering else None
    if found is not None:
        inbound.digested(tx, row["id"], now=now, person_id=person.id, reply_class=None)
        return found
    if not recovering and _waits(ctx, tx, row, now):
        return []
    inbound.digested(tx, row["id"], now=now, person_id=person.id, reply_class=None)
    _by_hand(tx, row, kind, now, person_id=person.id, identity_id=identity_id)
    return []


def match_stranger_echo(ctx: Context, tx: Tx, row: Row, now: datetime) -> None:
    """The same for somebody whom we do not know, or may not know any more. The caller has taken the row."""
    kind = _ACTION[InboundKind(row["kind"]).value]
    since = row["occurred_at"] - ctx.machine(SKEW_SECONDS)
    # An erased person's echo comes without its peer; the id of a message that we have sent is still ours.
    ours = inbound.is_ours(
        tx, account_id=row["account_id"], kind=kind.value, dm_event_id=_provider_id(row), since=since
    )
    if not ours:
        here = instance.read(tx)
        if _waits_for_adoption(tx, here, row, now) or (
            here.recovering_since is None and _waits(ctx, tx, row, now)
        ):
            return
        _by_hand(tx, row, kind, now)
    inbound.digested(tx, row["id"], now=now, person_id=None, reply_class=None)


def is_echo(row: Row) -> bool:
    """Did the account do this itself?"""
    return row["kind"] in _ACTION


def _lost(ctx: Context, tx: Tx, row: Row, person_id: int, identity_id: int, now: datetime) -> Hints | None:
    """What the backup of an adopted database does not know: the step that this was is settled. None: it was none."""
    if row["kind"] == InboundKind.WE_FOLLOWED.value:
        return settle_followed(
            ctx, tx, account_id=row["account_id"], identity_id=identity_id, inbound_id=row["id"], at=row["occurred_at"], now=now
        )  # fmt: skip
    if row["kind"] != InboundKind.MESSAGE_OUT.value:
        return None
    ids = {"dm_event_id": _provider_id(row)} if _provider_id(row) else {}
    said = Said(
        inbound_id=row["id"], account_id=row["account_id"], identity_id=identity_id, channel=row["channel"], words=row["text"] or "",
        at=row["occurred_at"], ids=ids,
    )  # fmt: skip
    return settle_said(ctx, tx, person_id, said, now)


def _waits(ctx: Context, tx: Tx, row: Row, now: datetime) -> bool:
    """Its own T2 may still be on the way, or its claim may not have been visible to us. Hints may come early and twice."""
    until = row["received_at"] + ctx.call_deadline + ctx.settle
    if now >= until:
        return False
    inbound.wait(tx, row["id"], until)
    return True


def _waits_for_adoption(tx: Tx, here: instance.Instance, row: Row, now: datetime) -> bool:
    """What a restored database does not know was not made by hand: it is read once the database is adopted, which ends this wait."""
    if here.foreign_since is None:
        return False
    inbound.wait(tx, row["id"], now + _ADOPTION_LOOK)
    return True


def _provider_id(row: Row) -> str:
    """A message's own id at the provider; a follow or an unfollow has none."""
    head, _, rest = str(row["content_id"]).partition(":")
    return rest if head == "dm" else ""


def _explains(ctx: Context, candidate: Row, row: Row) -> bool:
    """Same account, peer and kind already; the same words; not from before the call began. Only messages have words."""
    if row["occurred_at"] < candidate["started_at"] - ctx.machine(SKEW_SECONDS):
        return False
    if candidate["state"] == "sent" and row["kind"] != InboundKind.MESSAGE_OUT.value:
        # A settled follow explains one echo, however late it comes (a protected person lets us in when they like). It has no id
        # of its own to be told by, so a second one is a second follow: somebody has ended the first and followed again.
        # Unfollows are told in the same way, and may be told as late.
        return candidate["inbound_id"] is None
    if candidate["state"] == "sent" and (candidate["provider_ids"] or _after_its_time(ctx, candidate, row)):
        # A settled send with an id of its own is explained by that id only; a yes that could not be read has none.
        return False
    if row["kind"] == InboundKind.MESSAGE_OUT.value and candidate["task_id"] is None:
        return bool(candidate["body_hash"] == fingerprint(row["text"] or ""))
    return True


def _after_its_time(ctx: Context, candidate: Row, row: Row) -> bool:
    """Is it too young to be what that call brought about?"""
    last = candidate["last_effect"] + ctx.settle + ctx.machine(SKEW_SECONDS)
    return bool(row["occurred_at"] > last)


def _confirm(ctx: Context, tx: Tx, row: Row, person: LockedPerson, execution_id: int, now: datetime) -> Hints:
    locked = executions.lock_for_settlement(tx, execution_id)
    assert locked is not None and locked.execution.lead_id is not None
    ids = {"dm_event_id": _provider_id(row)} if _provider_id(row) else {}
    task = tasks.of_execution(tx, execution_id)
    if not locked.execution.open and task is None:
        executions.add_ids(tx, execution_id, ids)
        _keep_echo(tx, row, execution_id)
        return []
    lead = leads.read(tx, locked.execution.lead_id)
    at = min(max(row["occurred_at"], locked.execution.started_at or row["occurred_at"]), now)
    if task is not None:
        close_observed(tx, lead, task, now)
    found = sent(
        ctx, tx, lead, locked.execution, at=at, now=now, ids=ids, how="echo", done_by=task["holder"] if task else None,
        observed=True if task else None,
    )  # fmt: skip
    _keep_echo(tx, row, execution_id)
    if person.suppressed and not person.effective:
        drain(ctx, tx, person.id, now)
    lead.write(tx)
    return found


def _keep_echo(tx: Tx, row: Row, execution_id: int) -> None:
    """A message is told by its id; of a follow or an unfollow we keep which echo was its own."""
    if not _provider_id(row):
        executions.note_echo(tx, execution_id, row["id"])


def _by_hand(
    tx: Tx,
    row: Row,
    kind: ActionKind,
    now: datetime,
    *,
    person_id: int | None = None,
    identity_id: int | None = None,
) -> None:
    """Somebody used the account without us: it counts as a send all the same."""
    execution_id = executions.insert_by_hand(
        tx,
        {
            "kind": kind.value, "channel": row["channel"], "account_id": row["account_id"], "app_id": accounts.get(tx, row["account_id"])["app_id"],
            "identity_id": identity_id, "inbound_id": row["id"], "touch": kind is ActionKind.SEND_TWITTER_DM, "at": row["occurred_at"], "now": now,
            "ids": {"dm_event_id": _provider_id(row)} if _provider_id(row) else {},
        },
    )  # fmt: skip
    events.append(
        tx,
        [
            events.Event(
                kind=EventKind.SENT_BY_HAND,
                at=now,
                person_id=person_id,
                account_id=row["account_id"],
                execution_id=execution_id,
            )
        ],
    )
