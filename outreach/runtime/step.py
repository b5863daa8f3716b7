"""step: one pass for all threads that wait. It looks at leads, settles what was called, and claims what comes next.

docs/decisions/0008 says why, and what holds for each of a group.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from outreach.compliance.verdicts import Verdict
from outreach.errors import NeedsNewerWorker
from outreach.failpoints import failpoint, in_hand
from outreach.limits.scope import Effect
from outreach.providers.base import Outcome
from outreach.runtime.advance import advance_all
from outreach.runtime.claim import Claimed, NotClaimed, claim_all
from outreach.runtime.context import Context
from outreach.runtime.hints import Hint, Hints, performs_on
from outreach.runtime.paying import pay
from outreach.runtime.prepare import Nothing, NotRenderable, Prepared, prepare_all
from outreach.runtime.settle import settle_all


@dataclass(frozen=True, slots=True)
class Look:
    """A lead to be looked at."""

    lead_id: int


@dataclass(frozen=True, slots=True)
class Begin:
    """A planned execution to be carried out."""

    execution_id: int


@dataclass(frozen=True, slots=True)
class Called:
    """What the provider has said. `onward`: the lead's next step may be begun in the same message."""

    claimed: Claimed
    outcome: Outcome
    onward: bool


@dataclass(frozen=True, slots=True)
class Postponed:
    """Rendered, but the limiter has no room for it."""

    prepared: Prepared
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Unjudged:
    """A newer release wrote something that the gate must judge: nothing is sent, nothing is blocked."""

    prepared: Prepared
    newer: NeedsNewerWorker


#: What a thread does next by itself: call; write down why not; or begin this execution without the others.
Next = Claimed | Postponed | NotRenderable | Unjudged | Begin | None


@dataclass(slots=True)
class Passed:
    """What one pass has brought a thread: what others should look at, and what it does next itself."""

    hints: Hints
    next: Next = None


def step(ctx: Context, items: Sequence[Look | Begin | Called]) -> list[Passed]:
    """Look, settle, then claim. What is settled stays settled, whatever becomes of the rest."""
    passed = {id(item): Passed([]) for item in items}
    _look(ctx, [(one, passed[id(one)]) for one in items if isinstance(one, Look)])
    _settle(ctx, [(one, passed[id(one)]) for one in items if isinstance(one, Called)])
    begun = [(one.execution_id, passed[id(one)]) for one in items if isinstance(one, Begin)]
    begun += [(p.next.execution_id, p) for p in passed.values() if isinstance(p.next, Begin)]
    try:
        _begin(ctx, begun)
    except Exception:
        if len(items) == 1 and isinstance(items[0], Begin):
            raise
        for execution_id, one in begun:
            one.next = Begin(execution_id)
    return [passed[id(item)] for item in items]


def _look(ctx: Context, asked: Sequence[tuple[Look, Passed]]) -> None:
    if not asked:
        return
    found = advance_all(ctx, [one.lead_id for one, _ in asked])
    for (_, passed), hints_ in zip(asked, found, strict=True):
        _take(passed, hints_, ctx.carries)


def _settle(ctx: Context, asked: Sequence[tuple[Called, Passed]]) -> None:
    if not asked:
        return
    settled = settle_all(ctx, [(one.claimed, one.outcome) for one, _ in asked])
    failpoint("settle.after")
    effects = [
        Effect(
            execution_id=called.claimed.execution_id,
            scopes=called.claimed.prepared.scopes,
            started_at=called.claimed.started_at,
            effect_by=done.effect_by,
        )
        for (called, _), done in zip(asked, settled, strict=True)
        if done.effect_by is not None
    ]
    if effects:
        ctx.limiter.record(effects)
    for (called, passed), done in zip(asked, settled, strict=True):
        channel = called.claimed.prepared.row["channel"]
        _take(passed, done.hints, frozenset([channel]) if called.onward else frozenset())


def _take(passed: Passed, found: Hints, channels: frozenset[str]) -> None:
    """The first that is due now on these channels is begun at once; the others are for others."""
    following = first_due(found, channels)
    passed.hints += [h for h in found if h is not following]
    passed.next = Begin(following.id) if following else None


def _begin(ctx: Context, begun: Sequence[tuple[int, Passed]]) -> None:
    """Render, pay, claim: what each execution comes to."""
    if not begun:
        return
    payable: list[tuple[Prepared, Passed]] = []
    for (_, passed), prepared in zip(begun, prepare_all(ctx, [id_ for id_, _ in begun]), strict=True):
        passed.next = None
        match prepared:
            case Nothing():
                passed.hints += prepared.hints
            case NotRenderable():
                passed.next = prepared
            case Prepared():
                payable.append((prepared, passed))
    granted = _paid(ctx, payable)
    if not granted:
        return
    failpoint("claim.before")
    in_hand("claim.before", *(prepared.lead_id for prepared, _ in granted))
    try:
        claimed = claim_all(ctx, [prepared for prepared, _ in granted])
    except NeedsNewerWorker as newer:
        if len(granted) > 1:
            raise
        ctx.limiter.forget(granted[0][0].scopes)
        granted[0][1].next = Unjudged(granted[0][0], newer)
        return
    for (prepared, passed), claim in zip(granted, claimed, strict=True):
        _note(ctx, prepared, passed, claim)


def _note(ctx: Context, prepared: Prepared, passed: Passed, claim: Claimed | NotClaimed) -> None:
    if isinstance(claim, Claimed):
        passed.next = claim
        return
    passed.hints += claim.hints
    if claim.verdict is not None and prepared.pays:
        # The log holds a grant that came to nothing; there is no refund, so it is read anew from the ledger.
        ctx.limiter.forget(prepared.scopes)


def _paid(ctx: Context, payable: Sequence[tuple[Prepared, Passed]]) -> list[tuple[Prepared, Passed]]:
    """Those that may be claimed; the others wait for room."""
    refusals = pay(ctx, [prepared for prepared, _ in payable])
    for (prepared, passed), refusal in zip(payable, refusals, strict=True):
        if refusal is not None:
            passed.next = Postponed(prepared, refusal)
    return [one for one, refusal in zip(payable, refusals, strict=True) if refusal is None]


def first_due(found: Hints, channels: frozenset[str]) -> Hint | None:
    """The first action among them that is due now on one of these channels."""
    return next((h for h in found if any(performs_on(h, channel) for channel in channels)), None)
