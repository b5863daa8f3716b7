"""pay: the limiter, before any transaction. Whoever has not paid in every scope is not claimed."""

from collections.abc import Sequence
from datetime import datetime

from outreach.compliance.verdicts import Verdict, refused
from outreach.limits.scope import Answer, Ask, Full, Granted, Scope, Unavailable, Unseeded
from outreach.models import claims
from outreach.models.base import Tx
from outreach.runtime.context import Context
from outreach.runtime.prepare import Prepared


def pay(ctx: Context, prepared: Sequence[Prepared]) -> list[Verdict | None]:
    """For each: None, it has paid; otherwise why not, and until when.

    What comes too late, or must be read first, costs no room, so it does not wait for any.
    """
    paying = [p for p in prepared if p.pays and p.scopes]
    refusals = dict(zip([p.execution_id for p in paying], _acquire(ctx, paying), strict=True))
    return [refusals.get(p.execution_id) for p in prepared]


def _acquire(ctx: Context, paying: Sequence[Prepared]) -> list[Verdict | None]:
    """None: granted. Otherwise why not, and until when. A lost log is seeded from the ledger, once."""
    if not paying:
        return []
    now = ctx.clock.now()
    asks = [
        Ask(execution_id=p.execution_id, scopes=p.scopes, now=now, effect_by=now + ctx.call_deadline)
        for p in paying
    ]
    answers = list(ctx.limiter.acquire_all(asks))
    unseeded = [i for i, answer in enumerate(answers) if isinstance(answer, Unseeded)]
    for scope in {s.name: s for i in unseeded for s in _scopes(answers[i])}.values():
        seed(ctx, scope, now)
    if unseeded:
        for i, answer in zip(unseeded, ctx.limiter.acquire_all([asks[i] for i in unseeded]), strict=True):
            answers[i] = answer
    return [_refusal(ctx, answer, now) for answer in answers]


def _scopes(answer: Answer) -> Sequence[Scope]:
    return answer.scopes if isinstance(answer, Unseeded) else ()


def seed(ctx: Context, scope: Scope, now: datetime) -> None:
    """Hand the limiter the ledger's rows of a scope, read and written under the scope's lock."""

    def work(tx: Tx) -> None:
        entries, last_started_at = claims.ledger_of(
            tx, scope.kind, scope.id, scope.action_kind, scope.seed_from(now)
        )
        ctx.limiter.seed(scope, entries, now, last_started_at)

    ctx.db.run(work)


def _refusal(ctx: Context, answer: Granted | Full | Unseeded | Unavailable, now: datetime) -> Verdict | None:
    match answer:
        case Granted():
            return None
        case Full(scope=scope, reason=reason, until=until):
            rule = "pace.gap" if reason == "pace" else f"cap.{scope.kind}"
            return refused(rule, until=until, cap=reason, scope=scope.name)
        case _:
            # Fail closed: without the limiter nothing is sent; the sweep comes back in a tick.
            return refused("limiter.unavailable", until=now + ctx.machine(ctx.settings.tick_seconds))
