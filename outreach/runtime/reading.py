"""T1's facts, from the rows of the one facts query to the gate's values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from outreach.compliance.facts import (
    AccountFacts,
    AppFacts,
    Basis,
    BasisKind,
    CapUse,
    DmMode,
    EvidenceFacts,
    ExecutionFacts,
    Facts,
    Hold,
    IdentityFacts,
    InstanceFacts,
    LeadFacts,
    Performer,
    PersonFacts,
    ReviewFacts,
    SequenceFacts,
    SuppressionHit,
    TouchPolicy,
)
from outreach.engine.graph import Graph
from outreach.engine.kinds import (
    CONTRADICTED_BY,
    MESSAGE_KINDS,
    NEGATIVE_TRIGGERS,
    ActionKind,
    Channel,
    IfLate,
    TriggerKind,
    known,
)
from outreach.limits.scope import Scope
from outreach.models import claims, reviews
from outreach.models.base import Row, Tx
from outreach.runtime.context import Context
from outreach.runtime.scopes import CountedWindow, pace_of, windows_of


def is_loopback(url: str) -> bool:
    """Does the URL point at this machine?"""
    host = urlsplit(url).hostname or ""
    return host == "localhost" or host == "::1" or host.startswith("127.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """May this execution be carried out now? `places`: how many before it in this transaction count against each scope."""

    execution_id: int
    graph: Graph
    #: None: of no version, for it is only supposed
    version_id: int | None
    scopes: Sequence[Scope]
    epoch: int
    #: of the text that would be sent; None: not known here, so no OK for one is
    body_hash: str | None = None
    performer: Performer = Performer.ENGINE
    places: Mapping[str, int] = field(default_factory=dict)


def read_facts(ctx: Context, tx: Tx, question: Question, now: datetime) -> tuple[Facts, Row]:
    """All that is judged, in one statement; the caller holds T1's locks (or, for explain, none and only shows it)."""
    return read_all_facts(ctx, tx, [question], now)[question.execution_id]


def read_all_facts(
    ctx: Context, tx: Tx, questions: Sequence[Question], now: datetime
) -> dict[int, tuple[Facts, Row]]:
    """The same for several at once, by execution."""
    windows = {q.execution_id: windows_of(q.scopes, now, q.places) for q in questions}
    asked = [
        claims.Asked(
            execution_id=q.execution_id,
            windows=[w.window for w in windows[q.execution_id]],
            pace_since=now - pace_of(q.scopes),
        )
        for q in questions
    ]
    rows = claims.facts(tx, asked, now=now, message_kinds=[k.value for k in MESSAGE_KINDS])
    reviews_ = _reviews(tx, questions, rows)
    return {
        q.execution_id: (
            facts_of(
                ctx, rows[q.execution_id], q, windows[q.execution_id], now, reviews_.get(q.execution_id)
            ),
            rows[q.execution_id],
        )
        for q in questions
    }


def _reviews(tx: Tx, questions: Sequence[Question], rows: Mapping[int, Row]) -> dict[int, ReviewFacts]:
    """Of messages of versions that ask for an OK, and have not got all they want: nobody else reads anything."""
    asking = {
        q.execution_id: q
        for q in questions
        if q.graph.review_first and q.graph.node(rows[q.execution_id]["cursor"]).message is not None
    }
    asked = {
        id_: (q.version_id, q.graph.review_first) for id_, q in asking.items() if q.version_id is not None
    }
    found = reviews.pending(tx, asked) if asked else {}
    return {
        id_: ReviewFacts(
            wanted=asking[id_].graph.review_first,
            approved=one.approved,
            this_one=one.body_hash is not None and one.body_hash == asking[id_].body_hash,
        )
        for id_, one in found.items()
    }


def facts_of(
    ctx: Context,
    row: Row,
    question: Question,
    windows: Sequence[CountedWindow],
    now: datetime,
    review: ReviewFacts | None,
) -> Facts:
    """A row of the facts query as the gate's values."""
    last, pace, graph = row["last_started_at"], pace_of(question.scopes), question.graph
    return Facts(
        now=now,
        recheck=ctx.machine(min(5.0, ctx.settings.tick_seconds)),
        performer=question.performer,
        kind=known(ActionKind, row["kind"]),
        channel=known(Channel, row["channel"]),
        instance=_instance(row),
        app=AppFacts(state=row["app_state"], state_reason=row["app_state_reason"]),
        account=_account(row),
        sequence=SequenceFacts(
            state=row["sequence_state"],
            state_reason=row["sequence_state_reason"],
            window=graph.window,
            exclude_already_contacted=graph.exclude_already_contacted,
        ),
        person=_person(row),
        identity=_identity(row),
        lead=_lead(row),
        execution=ExecutionFacts(
            with_human=row["with_human"],
            state=row["state"],
            rendered_epoch=question.epoch,
            cause=row["cause"],
            cause_deadline=row["cause_deadline"],
            first_due_at=row["first_due_at"],
            late_at=row["late_at"],
            if_late=_if_late(row, graph),
        ),
        evidence=EvidenceFacts(
            read_up_to=_evidence(row),
            freshness=ctx.machine(ctx.settings.evidence_seconds),
            contradicted=_contradicted(row),
        ),
        review=review,
        holds=_holds(row),
        pace_until=last + pace if last is not None and last + pace > now else None,
        caps=_cap_uses(row, windows, now),
    )


def _if_late(row: Row, graph: Graph) -> IfLate:
    lateness = graph.node(row["cursor"]).lateness
    return lateness.then if lateness else IfLate.SKIP


def _cap_uses(row: Row, windows: Sequence[CountedWindow], now: datetime) -> tuple[CapUse, ...]:
    return tuple(window.use(nth, now) for window, nth in zip(windows, row["nth_newest"] or (), strict=True))


def _instance(row: Row) -> InstanceFacts:
    touch: dict[str, Any] = row["policy"]["touch"]
    return InstanceFacts(
        live=row["live"],
        simulated_only=row["simulated_only"],
        paused_at=row["instance_paused_at"],
        pause_reason=row["instance_pause_reason"],
        foreign_since=row["foreign_since"],
        foreign_reason=row["foreign_reason"],
        recovering_since=row["recovering_since"],
        touch_policy=TouchPolicy(
            gap=timedelta(hours=touch["gap_hours"]), limit=touch["limit"], days=timedelta(days=touch["days"])
        ),
    )


def _account(row: Row) -> AccountFacts:
    return AccountFacts(
        id=row["account_id"],
        state=row["account_state"],
        state_reason=row["account_state_reason"],
        zone=row["account_zone"],
        follow_permitted=row["follow_permitted"],
        dm_mode=known(DmMode, row["dm_mode"]),
        loopback=is_loopback(row["base_url"]),
    )


def _person(row: Row) -> PersonFacts:
    return PersonFacts(
        id=row["person_id"],
        suppressed_at=row["suppressed_at"],
        suppression_reason=row["suppression_reason"],
        suppressions=_hits(row),
        paused_at=row["person_paused_at"],
        pause_reason=row["person_pause_reason"],
        zone=row["person_zone"],
        last_inbound_at=row["last_inbound_at"],
        undigested_inbound=row["undigested"],
        is_test=row["is_test"],
        touches=tuple(row["touches"] or ()),
    )


def _hits(row: Row) -> tuple[SuppressionHit, ...]:
    columns = zip(
        row["hit_scopes"] or (),
        row["hit_ats"] or (),
        row["hit_reasons"] or (),
        row["hit_channels"] or (),
        strict=True,
    )
    return tuple(
        SuppressionHit(
            scope=scope, at=at, reason=reason, channel=known(Channel, channel) if channel else None
        )
        for scope, at, reason, channel in columns
    )


def _identity(row: Row) -> IdentityFacts | None:
    if row["identity_id"] is None:
        return None  # only where a step is supposed: what is planned is bound to a handle
    columns = zip(
        row["bases"] or (),
        row["obtained"] or (),
        row["expires"] or (),
        row["basis_accounts"] or (),
        strict=True,
    )
    bases = tuple(
        Basis(basis=known(BasisKind, basis), obtained_at=obtained, expires_at=expires, account_id=account)
        for basis, obtained, expires, account in columns
    )
    return IdentityFacts(
        id=row["identity_id"],
        status=row["identity_status"],
        resolved=row["identity_kind"] != "twitter_handle",
        bases=bases,
    )


def _lead(row: Row) -> LeadFacts:
    return LeadFacts(
        active=row["lead_state"] == "active",
        paused_at=row["lead_paused_at"],
        pause_reason=row["lead_pause_reason"],
        epoch=row["epoch"],
        due_at=row["due_at"],
        already_contacted=row["contacted_before"],
        opens_contact=not row["contacted_by_lead"],
    )


def _evidence(row: Row) -> datetime | None:
    """What the edge that led here rests on: the inbox, or the look-up of this very person."""
    about_replies = row["cause"] == TriggerKind.NOT_REPLIED.value
    negative = row["cause"] in {kind.value for kind in NEGATIVE_TRIGGERS}
    found: datetime | None = row["looked_up_at"] if negative and not about_replies else row["read_up_to"]
    return found


def _contradicted(row: Row) -> bool:
    """Does a signal deny the silence that this step rests on? The same signals as decide() sees: T1 never argues with it."""
    denying = CONTRADICTED_BY.get(row["cause"], frozenset())
    return any(kind in denying for kind in row["unused_signals"] or ())


def _holds(row: Row) -> tuple[Hold, ...]:
    columns = zip(row["hold_scopes"] or (), row["hold_untils"] or (), row["hold_reasons"] or (), strict=True)
    return tuple(Hold(scope=scope, until=until, reason=reason) for scope, until, reason in columns)
