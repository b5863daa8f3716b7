"""claim: T1, the only place where a send is allowed. Locks, then one facts query, then the writes."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from outreach.compliance import gate
from outreach.compliance.facts import Facts
from outreach.compliance.verdicts import Decision, Verdict
from outreach.engine.events import EventKind
from outreach.engine.kinds import ExecutionState, WaitingOn
from outreach.failpoints import failpoint
from outreach.limits.fences import Claim
from outreach.models import claims, executions, leads, sequences, tasks
from outreach.models.base import Row, Tx
from outreach.models.executions import LockedSend
from outreach.models.leads import Lead
from outreach.providers.base import Call
from outreach.runtime import guarding, hints
from outreach.runtime.context import Context
from outreach.runtime.credentials import account_ref, lock_out
from outreach.runtime.hints import Hints
from outreach.runtime.late import pass_over
from outreach.runtime.moving import before_late, go_on, task_look, want_again
from outreach.runtime.places import Placed, apart
from outreach.runtime.prepare import Prepared
from outreach.runtime.reading import read_all_facts
from outreach.runtime.reviewing import turn_of
from outreach.runtime.scopes import to_lock
from outreach.vault import CannotOpen

#: Causes that mean: a person said something, and this is what we say or do about it.
_ANSWERS = {"REPLIED", "POSITIVE_REPLY", "NEGATIVE_REPLY", "REPLIED_TO_NOTE"}


#: What a human is asked; else they are to act.
_TASKS = {"late.ask": "decide", "review.first": "review"}
#: How soon (real seconds) to look again at what two clocks see differently.
_SOON_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """The send is ours: one call, under this fence, begun before the guard ends."""

    execution_id: int
    fence: int
    call: Call
    started_at: datetime
    #: monotonic seconds just before T1
    claimed_monotonic: float
    prepared: Prepared


@dataclass(frozen=True, slots=True, kw_only=True)
class NotClaimed:
    """The gate said something else (`verdict`), or somebody else was faster."""

    hints: Hints
    verdict: Verdict | None = None


def claim(ctx: Context, prepared: Prepared) -> Claimed | NotClaimed:
    """planned -> calling, or the reason why not, in one transaction."""
    return claim_all(ctx, [prepared])[0]


def claim_all(ctx: Context, asked: Sequence[Prepared]) -> list[Claimed | NotClaimed]:
    """The same for several: one transaction for all that do not bear on each other, the rest in the next one."""
    found: dict[int, Claimed | NotClaimed] = {}
    rest = list({prepared.execution_id: prepared for prepared in asked}.values())
    while rest:
        together, following = apart(rest)
        try:
            found |= _claim_together(ctx, together, shared=len(asked) > 1)
        except Exception:
            if not found:
                raise
            # What was claimed before must be called, whatever becomes of the others: they start over.
            found |= {prepared.execution_id: NotClaimed(hints=[prepared.again()]) for prepared in rest}
            break
        rest = following
    # Of two hints for one execution one has claimed it, and the other was too late.
    return [found.pop(prepared.execution_id, NotClaimed(hints=[])) for prepared in asked]


def _claim_together(ctx: Context, batch: Sequence[Placed], shared: bool) -> dict[int, Claimed | NotClaimed]:
    before, known = time.monotonic(), ctx.fences.highest.fence

    def work(tx: Tx) -> dict[int, Claimed | NotClaimed]:
        names = {name for placed in batch for name in to_lock(placed.prepared.scopes)}
        locked = executions.lock_for_sends(tx, [p.prepared.execution_id for p in batch], sorted(names))
        guarding.require_above(known, [one.next_fence for one in locked.values()])
        planned = [p for p in batch if _is_planned(locked.get(p.prepared.execution_id))]
        if not planned:
            return {}
        now = ctx.clock.at(max(one.database_now for one in locked.values()))
        facts = read_all_facts(ctx, tx, [p.question for p in planned], now)
        claiming = _Claiming(ctx, tx, before, now)
        found = {
            p.prepared.execution_id: claiming.judge(
                p, locked[p.prepared.execution_id], *facts[p.prepared.execution_id]
            )
            for p in planned
        }
        claiming.write()
        failpoint("claim.in")
        return found

    try:
        found = ctx.db.run(work, shared=shared)
    except guarding.Behind as behind:
        # Rolled back: not one of them has been claimed.
        guarding.mark_foreign(ctx, behind.reason)
        return {p.prepared.execution_id: NotClaimed(hints=[]) for p in batch}
    for one in found.values():
        if isinstance(one, Claimed):
            ctx.fences.note(Claim(one.fence, one.execution_id))
    return found


def _is_planned(locked: LockedSend | None) -> bool:
    return locked is not None and locked.execution.state is ExecutionState.PLANNED


def _caps_changed(prepared: Prepared, row: Row) -> bool:
    """Caps are counted as they were read before the locks; where they were changed meanwhile, start again."""
    return any(
        row[name] != prepared.row[name]
        for name in ("account_caps", "app_caps", "instance_caps", "account_pace")
    )


@dataclass(slots=True)
class _Claiming:
    """One transaction's claims: the locks are held, the facts are read."""

    ctx: Context
    tx: Tx
    #: monotonic seconds just before T1
    before: float
    now: datetime
    _begun: list[tuple[Lead, Prepared, dict[str, Any]]] = field(default_factory=list)

    def judge(self, placed: Placed, locked: LockedSend, facts: Facts, row: Row) -> Claimed | NotClaimed:
        prepared = placed.prepared
        if _caps_changed(prepared, row):
            return NotClaimed(hints=[prepared.again()])
        verdict = gate.decide(facts)
        if verdict.allowed and not prepared.pays:
            # Not paid for at the limiter: the process's clock runs a little ahead of the database's, or the OK has just come.
            return NotClaimed(hints=[hints.perform(prepared.kind, prepared.execution_id, _SOON_SECONDS)])
        if verdict.allowed:
            return self._begin(locked, prepared, facts, verdict, row)
        if verdict.rule.startswith("cap.") and any(placed.places.values()):
            # Those before it took the room, or did not after all: by itself it is told until when.
            return NotClaimed(hints=[prepared.again()], verdict=verdict)
        return _refuse(self.ctx, self.tx, locked.lead, locked, verdict, self.now)

    def _begin(
        self, locked: LockedSend, prepared: Prepared, facts: Facts, verdict: Verdict, row: Row
    ) -> Claimed | NotClaimed:
        lead, execution, fence = locked.lead, locked.execution, locked.next_fence
        assert fence is not None
        try:
            asked = _call(self.ctx, prepared)
        except CannotOpen:
            # The account's row is held: it stops here, and is judged so when we start over, a little later.
            lock_out(self.ctx.vault, self.tx, execution.account_id, self.now)
            return NotClaimed(hints=[hints.perform(prepared.kind, prepared.execution_id, _SOON_SECONDS)])
        # Stamps of an account never run backwards, whatever the machines' clocks do.
        now = max(facts.now, row["last_stamp"] or facts.now)
        deadline = now + self.ctx.call_deadline
        call = {
            "id": execution.id, "fence": fence, "now": now, "deadline": deadline, "epoch": lead.epoch, "body_hash": prepared.body_hash,
            "touch": facts.is_touch, "verdict": gate.verdict_to_json(verdict),
        }  # fmt: skip
        lead.wait(deadline, WaitingOn.CALL)
        lead.log(
            EventKind.ACTION_CLAIMED, now, execution_id=execution.id, account_id=execution.account_id, fence=fence,
            pack=verdict.pack, pack_version=verdict.version,
        )  # fmt: skip
        self._begun.append((lead, prepared, call))
        return Claimed(
            execution_id=execution.id,
            fence=fence,
            call=asked,
            started_at=now,
            claimed_monotonic=self.before,
            prepared=prepared,
        )

    def write(self) -> None:
        """All that was begun, table by table."""
        executions.begin_calls(self.tx, [call for _, _, call in self._begun])
        claims.stamp_accounts(
            self.tx, {prepared.row["account_id"]: call["now"] for _, prepared, call in self._begun}
        )
        bodies = [
            {"execution_id": call["id"], "subject": prepared.subject, "body": prepared.body, "written_at": call["now"]}
            for _, prepared, call in self._begun
            if prepared.body is not None
        ]  # fmt: skip
        executions.write_bodies(self.tx, bodies)
        leads.write_all(self.tx, [lead for lead, _, _ in self._begun])


def _call(ctx: Context, prepared: Prepared) -> Call:
    return Call(
        kind=prepared.kind.value,
        account=account_ref(ctx.vault, prepared.row),
        recipient=prepared.row["recipient"],
        body=prepared.body,
        subject=prepared.subject,
        key=f"{prepared.row['instance_key']}-{prepared.execution_id}",
        deadline_seconds=ctx.settings.call_deadline_seconds,
    )


# --- everything but yes --------------------------------------------------------------------------------------


def _refuse(
    ctx: Context, tx: Tx, lead: Lead, locked: LockedSend, verdict: Verdict, now: datetime
) -> NotClaimed:
    if verdict.stale:
        return NotClaimed(hints=_stale(verdict, locked), verdict=verdict)
    match verdict.decision:
        case Decision.BLOCK:
            found = block(ctx, tx, lead, locked.execution.id, verdict, now)
        case Decision.SKIP:
            executions.note_verdict(tx, locked.execution.id, gate.verdict_to_json(verdict))
            found = pass_over(ctx, tx, lead, locked.execution.id, now)
        case Decision.HAND_OVER:
            found = _hand_over(ctx, tx, lead, locked, verdict, now)
        case _:
            found = defer(ctx, tx, lead, locked.execution, verdict, now)
            if verdict.rule == "evidence.stale":
                found = want_again(ctx, tx, lead, locked.execution, now)
            elif verdict.rule == "evidence.contradicted":
                # It came during a call, or to a worker that did not know the graph: what was planned is taken back now.
                found = go_on(ctx, tx, lead, now)
    lead.write(tx)
    return NotClaimed(hints=found, verdict=verdict)


def _stale(verdict: Verdict, locked: LockedSend) -> Hints:
    # Rendered under an old epoch: once more, with what is true now.
    return (
        [hints.perform(locked.execution.kind, locked.execution.id)] if verdict.rule == "stale.epoch" else []
    )


def block(ctx: Context, tx: Tx, lead: Lead, execution_id: int, verdict: Verdict, now: datetime) -> Hints:
    """planned -> blocked for good; the lead takes its FAILED edge or exits with the reason."""
    stored = gate.verdict_to_json(verdict)
    executions.note_verdict(tx, execution_id, stored)
    executions.settle_not(tx, execution_id, ExecutionState.BLOCKED, verdict.rule, now)
    lead.log(EventKind.COMPLIANCE_BLOCKED, now, execution_id=execution_id, verdict=stored)
    return go_on(ctx, tx, lead, now)


def _hand_over(
    ctx: Context, tx: Tx, lead: Lead, locked: LockedSend, verdict: Verdict, now: datetime
) -> Hints:
    """A human must act, or say whether to: the execution stays planned and the lead waits on the task."""
    stored = gate.verdict_to_json(verdict)
    executions.note_verdict(tx, locked.execution.id, stored)
    again = turn_of(ctx, tx, lead, now) if verdict.rule == "review.first" else None
    if again is not None:
        lead.wait(before_late(again, locked.execution.late_at, now), WaitingOn.TASK, verdict.rule)
        return []
    kind = _TASKS.get(verdict.rule, "act")
    # What is only to be said yes or no to waits for that; what is to be done has its time.
    expires = (
        sequences.graph_of(tx, lead.version_id).node(lead.cursor).task_expires if kind == "act" else None
    )
    expires_at = now + expires if expires else None
    task_id = tasks.open_one(
        tx, kind=kind, lead_id=lead.id, execution_id=locked.execution.id, person_id=lead.person_id, reason=verdict.rule, now=now,
        detail=dict(stored), expires_at=expires_at,
    )  # fmt: skip
    task = {"state": "open", "late_at": locked.execution.late_at, "expires_at": expires_at}
    lead.wait(task_look(task, now), WaitingOn.TASK, verdict.rule)
    if task_id is not None:
        lead.log(
            EventKind.TASK_OPENED, now, execution_id=locked.execution.id, task_id=task_id, rule=verdict.rule
        )
    return []


def defer(
    ctx: Context, tx: Tx, lead: Lead, execution: executions.Execution, verdict: Verdict, now: datetime
) -> Hints:
    """Not now: the lead is due again when the rule says; the log hears of it when the rule changes, not each time."""
    assert verdict.until is not None and verdict.waiting_on is not None
    stored = gate.verdict_to_json(verdict)
    before: dict[str, Any] = execution.verdict or {}
    executions.note_verdict(tx, execution.id, stored)
    until = before_late(max(verdict.until, now), execution.late_at, now)
    lead.wait_for_account(until, verdict.waiting_on, execution.account_id, execution.kind, verdict.rule)
    if before.get("rule") != verdict.rule:
        lead.log(
            EventKind.ACTION_DEFERRED,
            now,
            execution_id=execution.id,
            rule=verdict.rule,
            until=verdict.until.isoformat(),
        )
    wait = ctx.clock.real_seconds(verdict.until - now)
    if execution.cause in _ANSWERS and 0 < wait <= ctx.settings.tick_seconds:
        # Somebody waits for this answer: it is tried again at that very instant, not at the next tick.
        return [hints.perform(execution.kind, execution.id, wait)]
    return []
