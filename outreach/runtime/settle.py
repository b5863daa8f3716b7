"""settle: T2. Writes what the provider said, always; moves the lead only if it is still active."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from outreach.engine.events import EventKind
from outreach.engine.kinds import ExecutionState, WaitingOn
from outreach.engine.timing import MAX_ATTEMPTS, backoff
from outreach.failpoints import failpoint
from outreach.models import accounts, executions, inbound, leads, tasks
from outreach.models.base import Row, Tx
from outreach.models.executions import Execution, LockedSend
from outreach.models.leads import Lead
from outreach.providers.base import (
    Accepted,
    AccountStopped,
    AlreadyDone,
    NotStarted,
    Outcome,
    RateLimited,
    Refused,
    Unknown,
)
from outreach.runtime import hints, stopping
from outreach.runtime.claim import Claimed
from outreach.runtime.context import Context
from outreach.runtime.draining import drain
from outreach.runtime.hints import Hints
from outreach.runtime.moving import before_late, go_on, go_on_all

_ACCOUNT_LOOK = timedelta(hours=1)
_OWN = (ExecutionState.CALLING, ExecutionState.IN_DOUBT, ExecutionState.HELD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What to look at next, and what the ledger now says of this one (for the limiter): its last instant of effect."""

    hints: Hints
    effect_by: datetime | None = None


def settle(ctx: Context, claimed: Claimed, outcome: Outcome) -> Settled:
    """The outcome, its event and the next step in one transaction. See settle_all."""
    return settle_all(ctx, [(claimed, outcome)])[0]


def settle_all(ctx: Context, asked: Sequence[tuple[Claimed, Outcome]]) -> list[Settled]:
    """Outcomes, their events and next steps, in one transaction for all but those that stop an account.

    What the provider said is known here alone: a database that is away for a moment (a failover, a restart) is waited for.
    Written twice it changes nothing, because the fence and the state are read first.
    """
    # What stops an account writes its row or its app's: by itself, under their locks.
    alone = [one for one in asked if isinstance(one[1], AccountStopped)]
    others = [one for one in asked if not isinstance(one[1], AccountStopped)]
    done = _settle_together(ctx, others) if others else []
    done += [settled for one in alone for settled in _settle_together(ctx, [one], scopes=["app"])]
    by_id = {
        claimed.execution_id: settled for (claimed, _), settled in zip(others + alone, done, strict=True)
    }
    return [by_id[claimed.execution_id] for claimed, _ in asked]


def _settle_together(
    ctx: Context, asked: Sequence[tuple[Claimed, Outcome]], scopes: Sequence[str] = ()
) -> list[Settled]:
    def work(tx: Tx) -> list[Settled]:
        ids = [claimed.execution_id for claimed, _ in asked]
        # All but those that stop an account settle beside its next claims.
        locked = (
            executions.lock_for_sends(tx, ids, scopes) if scopes else executions.lock_for_settlements(tx, ids)
        )
        database_now = max(one.database_now for one in locked.values())
        now = max(ctx.clock.at(database_now), *(claimed.started_at for claimed, _ in asked))
        done: list[Row] = []
        written = [
            _settle_one(ctx, tx, locked[c.execution_id], c, outcome, done, now) for c, outcome in asked
        ]
        executions.settle_sent(tx, done)
        keys = {c.execution_id: c.prepared.row["external_id"] for c, _ in asked}
        told = [_told(locked[r["id"]], keys[r["id"]], r) for r in done if "dm_event_id" in r["ids"]]
        inbound.tick_off(tx, told)
        settled = _go_on(ctx, tx, written, now)
        failpoint("settle.in")
        return settled

    # Later than that the read-back has asked the provider already.
    return ctx.db.run_when_back(work, ctx.settings.settle_seconds, shared=len(asked) > 1)


def _told(locked: LockedSend, account_key: str, row: Row) -> Row:
    """The provider's own word on this message, which may have been pushed before the answer came."""
    return {
        "channel": locked.execution.channel,
        "account_key": account_key,
        "content_id": f"dm:{row['ids']['dm_event_id']}",
        "person_id": locked.person_id,
        "now": row["now"],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """One outcome in the ledger; its lead has not gone on yet."""

    effect_by: datetime | None
    #: None: it was settled before, and its lead is as it was
    lead: Lead | None = None
    #: None: the outcome has changed what the lead does next
    hints: Hints | None = None


def _settle_one(
    ctx: Context,
    tx: Tx,
    locked: LockedSend,
    claimed: Claimed,
    outcome: Outcome,
    done: list[Row],
    now: datetime,
) -> _Written:
    """What was surely done goes to `done`, to be written at once for all."""
    lead, execution = locked.lead, locked.execution
    if execution.fence != claimed.fence or execution.state not in _OWN:
        return _too_late(tx, execution, outcome)
    if execution.state is ExecutionState.HELD and not isinstance(outcome, Unknown):
        _dismiss_human(tx, lead, execution, now)
    found = _write(ctx, tx, lead, execution, outcome, done, now)
    return _Written(effect_by=_effect_by(execution, outcome, now), lead=lead, hints=found)


def _go_on(ctx: Context, tx: Tx, written: Sequence[_Written], now: datetime) -> list[Settled]:
    """Every lead whose step this was goes on; an opt-out that waited for the call may have become effective."""
    going = [one.lead for one in written if one.lead is not None and one.hints is None]
    found = dict(zip([lead.id for lead in going], go_on_all(ctx, tx, going, now), strict=True))
    ours = [one.lead for one in written if one.lead is not None]
    for lead in ours:
        if lead.draining:
            drain(ctx, tx, lead.person_id, now)
    leads.write_all(tx, ours)
    return [
        Settled(hints=one.hints or (found.get(one.lead.id, []) if one.lead else []), effect_by=one.effect_by)
        for one in written
    ]


def _effect_by(execution: Execution, outcome: Outcome, now: datetime) -> datetime | None:
    """The last instant at which the provider can have accepted it, as the ledger now says; None: surely not at all."""
    match outcome:
        case Accepted() | AlreadyDone():
            return max(now, execution.started_at or now)
        case Unknown():
            return execution.effect_by
        case _:
            return None


def _too_late(tx: Tx, execution: Execution, outcome: Outcome) -> _Written:
    """An echo, a read-back or a human has settled it: the provider's ids are all that is left to learn."""
    if isinstance(outcome, Accepted | AlreadyDone) and execution.state is ExecutionState.SENT:
        executions.add_ids(tx, execution.id, outcome.ids)
    return _Written(effect_by=execution.effect_by)


def _dismiss_human(tx: Tx, lead: Lead, execution: Execution, now: datetime) -> None:
    """The answer has come after all: nobody need look for it any more."""
    task = tasks.of_execution(tx, execution.id)
    if task is not None:
        tasks.close(tx, task["id"], "void", "the provider's answer came late", "engine", now)
        lead.log(EventKind.TASK_CLOSED, now, execution_id=execution.id, task_id=task["id"], state="void")


def _write(
    ctx: Context, tx: Tx, lead: Lead, execution: Execution, outcome: Outcome, done: list[Row], now: datetime
) -> Hints | None:
    """None: settled for good or in doubt, and the lead goes on from there."""
    match outcome:
        case Accepted(ids=ids):
            done.append(_note_sent(lead, execution, at=now, now=now, ids=dict(ids), how="accepted"))
        case AlreadyDone(ids=ids):
            done.append(_note_sent(lead, execution, at=now, now=now, ids=dict(ids), how="already_done"))
        case Refused(code=code, retry=retry):
            return _refused(tx, lead, execution, code, retry, now)
        case NotStarted(detail=detail, guarded=guarded):
            return _again(tx, lead, execution, "guard" if guarded else "unreachable", detail, now)
        case RateLimited() as limited:
            return _rate_limited(ctx, tx, lead, execution, limited, now)
        case AccountStopped() as stopped:
            return _stopped(tx, lead, execution, stopped, now)
        case Unknown(detail=detail):
            return _doubt(tx, lead, execution, detail, now)
    return None


def sent(ctx: Context, tx: Tx, lead: Lead, execution: Execution, *, now: datetime, **how: Any) -> Hints:
    """-> sent, and on; `how` as in _note_sent. Shared by read-back, echoes and tasks."""
    executions.settle_sent(tx, [_note_sent(lead, execution, now=now, **how)])
    return go_on(ctx, tx, lead, now)


def _note_sent(
    lead: Lead, execution: Execution, *, at: datetime, now: datetime, ids: dict[str, str], how: str,
    done_by: str | None = None, observed: bool | None = None, actor: str = "engine",
) -> Row:  # fmt: skip
    """-> sent at the instant `at`; the clocks of later edges start there. The row to write."""
    lead.attempts = 0
    lead.log(
        EventKind.ACTION_SENT, now, actor=actor, execution_id=execution.id, account_id=execution.account_id, action=execution.kind,
        variant=execution.variant, how=how, sent_at=at.isoformat(), done_by=done_by, observed=observed,
    )  # fmt: skip
    return {
        "id": execution.id, "sent_at": at, "now": now, "ids": ids, "done_by": done_by, "observed": observed,
    }  # fmt: skip


def refuse(
    ctx: Context,
    tx: Tx,
    lead: Lead,
    execution: Execution,
    state: ExecutionState,
    reason: str,
    now: datetime,
    *,
    actor: str = "engine",
) -> Hints:
    """-> refused or skipped for good; the lead takes its FAILED edge or exits with the reason."""
    _note_failed(tx, lead, execution, state, reason, now, actor)
    return go_on(ctx, tx, lead, now)


def _note_failed(
    tx: Tx, lead: Lead, execution: Execution, state: ExecutionState, reason: str, now: datetime, actor: str
) -> None:
    executions.settle_not(tx, execution.id, state, reason, now)
    lead.log(
        EventKind.ACTION_FAILED,
        now,
        actor=actor,
        execution_id=execution.id,
        account_id=execution.account_id,
        reason=reason,
        state=state.value,
    )


def absent(
    ctx: Context,
    tx: Tx,
    lead: Lead,
    execution: Execution,
    now: datetime,
    *,
    reason: str,
    actor: str = "engine",
) -> Hints:
    """in_doubt or held -> absent -> planned: it is surely not there; the next attempt passes T1 again."""
    executions.settle_not(tx, execution.id, ExecutionState.ABSENT, reason, now)
    lead.log(EventKind.ACTION_ABSENT, now, actor=actor, execution_id=execution.id, reason=reason)
    executions.back_to_planned(tx, execution.id)
    if not lead.active:
        executions.settle_not(tx, execution.id, ExecutionState.CANCELLED, lead.exit_reason or lead.state, now)
        return []
    lead.wait_for_account(now, WaitingOn.TIME, execution.account_id, execution.kind)
    return go_on(ctx, tx, lead, now)


def _refused(tx: Tx, lead: Lead, execution: Execution, code: str, retry: bool, now: datetime) -> Hints | None:
    if retry and execution.attempts < MAX_ATTEMPTS:
        # Without the provider's prose, which may quote what it was sent: the log forgets nothing.
        return _again(tx, lead, execution, code, "", now)
    reason = f"gave_up: {code}" if retry else code
    _note_failed(tx, lead, execution, ExecutionState.REFUSED, reason, now, "engine")
    return None


def _again(tx: Tx, lead: Lead, execution: Execution, why: str, detail: str, now: datetime) -> Hints:
    """Surely no effect: planned again, due after a back-off. A network that is down for a day costs a day, never a lead."""
    until = now + backoff(execution.id, execution.attempts)
    return _back(tx, lead, execution, until, WaitingOn.TIME, why, now, detail)


def _back(
    tx: Tx,
    lead: Lead,
    execution: Execution,
    until: datetime,
    on: WaitingOn,
    why: str,
    now: datetime,
    detail: str = "",
) -> Hints:
    # Being told to wait is no failed try.
    executions.back_to_planned(tx, execution.id, tried=on is WaitingOn.TIME)
    lead.log(
        EventKind.ACTION_DEFERRED,
        now,
        execution_id=execution.id,
        rule=why,
        until=until.isoformat(),
        detail=detail[:200],
    )
    if lead.active:
        until = before_late(until, execution.late_at, now)
        lead.wait_for_account(until, on, execution.account_id, execution.kind, why)
    else:
        executions.settle_not(tx, execution.id, ExecutionState.CANCELLED, lead.exit_reason or lead.state, now)
    return []


def _rate_limited(
    ctx: Context, tx: Tx, lead: Lead, execution: Execution, limited: RateLimited, now: datetime
) -> Hints:
    """The scope's bucket is empty: nothing of this kind goes out by it before the reset."""
    until = ctx.clock.business(limited.reset_at) if limited.reset_at else now + timedelta(minutes=15)
    until = max(until, now)
    scope_id = execution.app_id if limited.scope == "app" else execution.account_id
    accounts.hold(tx, limited.scope, scope_id, execution.kind, until, "rate limited by the provider")
    return _back(tx, lead, execution, until, WaitingOn.CAPACITY, "hold.provider", now)


def _stopped(tx: Tx, lead: Lead, execution: Execution, stopped: AccountStopped, now: datetime) -> Hints:
    """The account (or its app) is paused with the reason; its leads wait, and nothing is lost."""
    account = accounts.get(tx, execution.account_id)
    on = f"{'app' if stopping.is_of_app(stopped.reason, stopped.scope) else 'account'}.{stopped.reason}"
    begun, renewed = execution.started_at, account["tokens_at"]
    if stopped.reason == "needs_reauth" and begun is not None and renewed is not None and begun < renewed:
        # Refused with tokens that were replaced during the call: it says nothing of those that we have.
        return _back(tx, lead, execution, now, WaitingOn.ACCOUNT, on, now)
    why = f"{stopped.reason}: {stopped.code}" if stopped.code else stopped.reason
    stopping.stop(tx, account, stopped.reason, why, now, scope=stopped.scope)
    found = _back(tx, lead, execution, now + _ACCOUNT_LOOK, WaitingOn.ACCOUNT, on, now)
    return [*found, hints.refresh(execution.account_id)] if stopped.reason == "needs_reauth" else found


def _doubt(tx: Tx, lead: Lead, execution: Execution, detail: str, now: datetime) -> Hints | None:
    """It may have been accepted: never planned again without an answer from the provider."""
    if execution.state is not ExecutionState.CALLING:
        return []
    executions.doubt(tx, execution.id)
    lead.log(EventKind.ACTION_IN_DOUBT, now, execution_id=execution.id, why=detail[:200])
    return None
