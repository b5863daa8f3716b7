"""stale: which steps have come too late while something was paused, and what an operator says becomes of them.

They are looked for with decide() itself: while everything is paused nothing is planned, so the ledger does not know them all.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from outreach.compliance.gate import verdict_to_json
from outreach.compliance.verdicts import iso, refused
from outreach.engine.decide import contradicted, decide
from outreach.engine.decisions import Perform
from outreach.engine.events import EventKind
from outreach.engine.graph import Graph, Node
from outreach.engine.kinds import IfLate, WaitingOn
from outreach.errors import NeedsNewerWorker
from outreach.models import executions, leads, pausing, sequences, tasks
from outreach.models.base import Row, Tx
from outreach.models.leads import LATE, Lead
from outreach.runtime.context import Context
from outreach.runtime.late import pass_over
from outreach.runtime.moving import TASK_LOOK, go_on_all

#: Leads per transaction: workers wait for a page at most.
_PAGE = 200


class Answer(StrEnum):
    """What becomes of stale steps."""

    SKIP = "skip"
    ASK = "ask"
    #: as if they were due first now
    SEND = "send"


@dataclass(frozen=True, slots=True)
class Scope:
    """What is resumed: one account, sequence or person by id; nothing named: everything."""

    account: int | None = None
    sequence: int | None = None
    person: int | None = None

    @property
    def values(self) -> dict[str, Any]:
        """As the statements want it."""
        named = {"account": self.account, "sequence": self.sequence, "person": self.person}
        return {**named, "everything": all(one is None for one in named.values())}


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleNode:
    """How many leads' next step is stale at a node, and what its sequence itself says becomes of it."""

    sequence: str
    node: str
    action: str
    leads: int
    then: IfLate


@dataclass(frozen=True, slots=True)
class _Stale:
    """One lead whose next step has come too late."""

    lead: Lead
    graph: Graph
    node: Node


def stale_nodes(ctx: Context, scope: Scope) -> list[StaleNode]:
    """What would be judged too late if the scope went on now, by sequence and node. Writes nothing."""
    counts: Counter[tuple[str, str, str, IfLate]] = Counter()
    for page in _pages(ctx, scope):
        for one in ctx.db.run(lambda tx, page=page: _seen(ctx, tx, scope, page)):  # type: ignore[misc]
            assert one.node.lateness is not None
            counts[one.graph.sequence, one.node.key, one.node.kind.value, one.node.lateness.then] += 1
    return [
        StaleNode(sequence=sequence, node=node, action=action, leads=count, then=then)
        for (sequence, node, action, then), count in sorted(counts.items())
    ]


def answer_stale(ctx: Context, scope: Scope, answer: Answer, by: str) -> int:
    """Do it to every stale step of the scope, while it still stands still; how many there were."""
    done = 0
    for page in _pages(ctx, scope):
        done += ctx.db.run(lambda tx, page=page: _answer_page(ctx, tx, scope, page, answer, by))  # type: ignore[misc]
    return done


def _pages(ctx: Context, scope: Scope) -> Iterator[list[int]]:
    ids = ctx.db.run(lambda tx: _ripe(ctx, tx, scope))
    yield from (ids[start : start + _PAGE] for start in range(0, len(ids), _PAGE))


def _ripe(ctx: Context, tx: Tx, scope: Scope) -> list[int]:
    versions = _versions(tx)
    return pausing.ripe_leads(tx, scope.values, versions, ctx.clock.at(tx.database_now())) if versions else []


def _versions(tx: Tx) -> list[int]:
    """Those whose steps can be late at all."""
    return [id_ for id_ in pausing.versions_with_leads(tx) if _has_limits(_graph(tx, id_))]


def _graph(tx: Tx, version_id: int) -> Graph | None:
    try:
        return sequences.graph_of(tx, version_id)
    except NeedsNewerWorker:
        return None


def _has_limits(graph: Graph | None) -> bool:
    return graph is not None and any(node.lateness for node in graph.nodes.values())


# --- looking ---------------------------------------------------------------------------------------------------


def _seen(ctx: Context, tx: Tx, scope: Scope, lead_ids: Sequence[int]) -> list[_Stale]:
    return _found(tx, scope, leads.read_all(tx, lead_ids), ctx.clock.at(tx.database_now()))


def _found(tx: Tx, scope: Scope, standing: Sequence[Lead], now: datetime) -> list[_Stale]:
    """The stale ones among them. With a call under way decide() waits for it."""
    graphs = [(lead, _graph(tx, lead.version_id)) for lead in standing if lead.active]
    asked = [(lead, graph) for lead, graph in graphs if graph is not None]
    if not asked:
        return []
    rows = leads.views(tx, asked)
    known = pausing.steps(
        tx, [row["execution_id"] for row in rows.values() if row["execution_id"] is not None]
    )
    free = {id_ for id_, ok in pausing.account_states(tx).items() if ok or id_ == scope.account}
    found = [
        (lead, graph, _late_node(lead, graph, rows[lead.id], known, free, scope, now))
        for lead, graph in asked
    ]
    return [_Stale(lead, graph, node) for lead, graph, node in found if node is not None]


def _late_node(
    lead: Lead, graph: Graph, row: Row, known: dict[int, Row], free: set[int], scope: Scope, now: datetime
) -> Node | None:
    """The node at which the lead's next step has come too late by now; None: no step, or one in time."""
    try:
        seen = leads.seen(lead, row)
        if contradicted(seen.view):
            return None  # it is taken back, and what they did decides
        decision = decide(graph, seen.view, now)
    except NeedsNewerWorker:
        return None
    node = graph.node(decision.cursor)
    if not isinstance(decision.then, Perform) or node.lateness is None or node.channel is None:
        return None
    account = seen.bindings[node.channel].account_id
    if account not in free or (scope.account is not None and account != scope.account):
        return None
    step = known.get(seen.execution_id) if seen.execution_id is not None and not decision.moves else None
    first_due = decision.moves[-1].due if decision.moves else lead.entered_at
    late_at = step["late_at"] if step else first_due + node.lateness.after
    with_human = step is not None and step["human"]
    return node if late_at is not None and late_at <= now and not with_human else None


# --- answering -------------------------------------------------------------------------------------------------


def answer_person(ctx: Context, tx: Tx, person_id: int, answer: Answer, by: str) -> int:
    """The same for one human, whose row the caller holds and whose pause has just ended."""
    scope = Scope(person=person_id)
    return _answer_page(ctx, tx, scope, _ripe(ctx, tx, scope), answer, by)


def _answer_page(ctx: Context, tx: Tx, scope: Scope, lead_ids: Sequence[int], answer: Answer, by: str) -> int:
    """Plan what is stale among these leads, and do to it what was said. Hints are left to the sweep: nothing bursts out."""
    locked = executions.lock_leads(tx, lead_ids)
    now = ctx.clock.at(tx.database_now())
    found = {one.lead.id: one for one in _found(tx, scope, [one.lead for one in locked.values()], now)}
    stale_leads = [one.lead for one in found.values()]
    go_on_all(ctx, tx, stale_leads, now)
    planned = _planned(tx, list(found.values()), now)
    for one, step in planned:
        match answer:
            case Answer.SKIP:
                pass_over(ctx, tx, one.lead, step["id"], now, actor=by)
            case Answer.SEND:
                _allow(tx, one, step, now, by)
            case Answer.ASK:
                _ask(tx, one.lead, step, now, by)
    leads.write_all(tx, stale_leads)
    return len(planned)


def _planned(tx: Tx, found: Sequence[_Stale], now: datetime) -> list[tuple[_Stale, Row]]:
    """With its planned step, where that is too late and no human has it."""
    rows = leads.views(tx, [(one.lead, one.graph) for one in found if one.lead.active]) if found else {}
    known = pausing.steps(tx, [row["execution_id"] for row in rows.values() if row["execution_id"]])
    pairs = [(one, known.get(rows[one.lead.id]["execution_id"])) for one in found if one.lead.id in rows]
    return [
        (one, step)
        for one, step in pairs
        if step is not None and not step["human"] and step["late_at"] is not None and step["late_at"] <= now
    ]


def _allow(tx: Tx, one: _Stale, step: Row, now: datetime, by: str) -> None:
    """It has its time again."""
    assert one.node.lateness is not None
    until: timedelta = one.node.lateness.after
    executions.allow_until(tx, step["id"], now + until)
    one.lead.log(
        EventKind.LATE_ALLOWED, now, actor=by, execution_id=step["id"], until=(now + until).isoformat()
    )


def _ask(tx: Tx, lead: Lead, step: Row, now: datetime, by: str) -> None:
    """A human is asked, as `if_late: ask` would; a task that nobody has begun makes room for the question."""
    if step["task_id"] is not None:
        tasks.close(tx, step["task_id"], "void", LATE, by, now)
    verdict = refused("late.ask", first_due=iso(step["first_due_at"]), late_at=iso(step["late_at"]))
    detail = dict(verdict_to_json(verdict))
    executions.note_verdict(tx, step["id"], detail)
    task_id = tasks.open_one(
        tx, kind="decide", lead_id=lead.id, execution_id=step["id"], person_id=lead.person_id, reason=verdict.rule, now=now, detail=detail
    )  # fmt: skip
    lead.wait(now + TASK_LOOK, WaitingOn.TASK, verdict.rule)
    lead.log(
        EventKind.TASK_OPENED, now, actor=by, execution_id=step["id"], task_id=task_id, rule=verdict.rule
    )
