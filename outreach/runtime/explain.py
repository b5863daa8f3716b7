"""explain: why a human's leads are where they are, what stands against the next step, and when it can happen. Writes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from outreach.compliance import gate
from outreach.compliance.verdicts import Decision, Verdict
from outreach.engine.kinds import WaitingOn
from outreach.errors import NeedsNewerWorker
from outreach.models import claims, events, identities, reports, sequences, tasks
from outreach.models.base import Row, Tx
from outreach.runtime.context import Context
from outreach.runtime.prepare import body_hash_of
from outreach.runtime.reading import Question, read_facts
from outreach.runtime.scopes import scopes_of

#: More than anybody reads at once; `outreach events` shows the rest.
_PATH = 60
#: The lead's own timetable: it shows as due_at already, and says nothing about permission.
_NOT_DUE = "stale.not_due"
_BY_HAND = (WaitingOn.ACCOUNT, WaitingOn.PAUSE)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadWhy:
    """One lead: where it is, how it came there, and every line of the gate on its next step."""

    #: models.reports' row of the lead
    lead: Row
    #: its events, oldest first
    path: Sequence[Row]
    #: None: nothing is planned, so there is nothing to judge
    execution_id: int | None
    verdicts: Sequence[Verdict]
    #: the open task that the next step waits for, if it waits for one
    task_id: int | None
    now: datetime

    @property
    def against(self) -> Sequence[Verdict]:
        """What stands against the next step now."""
        return [v for v in self.verdicts if not v.allowed and v.rule != _NOT_DUE]

    @property
    def needs_somebody(self) -> Sequence[Verdict]:
        """Of these, what does not pass by itself: it is final, or a human must act, or lift a pause, or mend an account."""
        final = (Decision.BLOCK, Decision.SKIP, Decision.HAND_OVER)
        return [v for v in self.against if v.decision in final or v.waiting_on in _BY_HAND]

    @property
    def earliest(self) -> datetime | None:
        """When the next step can happen at the earliest, which is never before now; None: not by itself."""
        if self.needs_somebody:
            return None
        untils = [v.until for v in self.against if v.until is not None]
        due: datetime | None = self.lead["due_at"]
        return max([self.now, due, *untils]) if due is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """A human: what holds for all their leads, and each lead."""

    person_id: int
    suppressed_at: datetime | None
    paused_at: datetime | None
    #: events that belong to no lead: opt-outs, pauses, merges
    path: Sequence[Row]
    leads: Sequence[LeadWhy]
    now: datetime


def explain(ctx: Context, person_id: int) -> Why:
    """One read-only transaction, without a lock: what it says may be over when it is read."""

    def work(tx: Tx) -> Why:
        person = identities.person_by_id(tx, person_id)
        if person is None:
            raise LookupError(f"no person {person_id}")
        now = ctx.clock.at(tx.database_now())
        path = events.latest(tx, limit=_PATH, person_id=person["id"])
        return Why(
            person_id=person["id"],
            suppressed_at=person["suppressed_at"],
            paused_at=person["paused_at"],
            path=[event for event in path if event["lead_id"] is None],
            leads=[_lead(ctx, tx, row, now) for row in reports.leads_of_person(tx, person["id"])],
            now=now,
        )

    return ctx.db.run(work)


def explain_lead(ctx: Context, lead_id: int) -> LeadWhy:
    """The same for one lead. Raises NotFound."""
    return ctx.db.run(lambda tx: _lead(ctx, tx, reports.lead(tx, lead_id), ctx.clock.at(tx.database_now())))


def _lead(ctx: Context, tx: Tx, row: Row, now: datetime) -> LeadWhy:
    planned = reports.planned_of_lead(tx, row["id"]) if row["state"] == "active" else None
    task = tasks.of_execution(tx, planned) if planned is not None else None
    return LeadWhy(
        lead=row,
        path=events.latest(tx, limit=_PATH, lead_id=row["id"]),
        execution_id=planned,
        verdicts=_judge(ctx, tx, planned, now) if planned is not None else (),
        task_id=task["id"] if task is not None else None,
        now=now,
    )


def _judge(ctx: Context, tx: Tx, execution_id: int, now: datetime) -> Sequence[Verdict]:
    """Every line, as T1 would read it now. What a newer release wrote is not judged: the lead says so itself."""
    row = claims.prepare(tx, execution_id)
    if row is None:
        return ()
    try:
        graph = sequences.graph_of(tx, row["version_id"])
        question = Question(
            execution_id=execution_id, graph=graph, version_id=row["version_id"], scopes=scopes_of(row, graph), epoch=row["epoch"],
            body_hash=body_hash_of(row, graph),
        )  # fmt: skip
        facts, _ = read_facts(ctx, tx, question, now)
    except NeedsNewerWorker:
        return ()
    return gate.explain(facts)
