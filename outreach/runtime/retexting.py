"""retext: a version that differs in words alone, also for the leads in flight whom its words can still reach.

The decision "words in flight" says why leads move to a new version, and what keeps an old text from going out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from outreach.content.templates import check_template
from outreach.engine.compiler import Compiled
from outreach.engine.definition import BUILTIN_VARIABLES
from outreach.engine.events import EventKind
from outreach.engine.graph import Graph
from outreach.engine.kinds import ExecutionState, WaitingOn
from outreach.engine.problems import Problem
from outreach.engine.rewording import Rewording, more_than_words, reworded_nodes, rewordings, still_ahead
from outreach.errors import NeedsNewerWorker, UsageError
from outreach.models import executions, leads, retexting, sequences
from outreach.models.base import Row, Tx
from outreach.models.executions import LockedLead
from outreach.runtime.context import Context
from outreach.runtime.publish import Published, check, publish

#: Leads per transaction: workers wait for a page at most.
_PAGE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReach:
    """For how many of a version's leads a reworded node comes in time, and how many have its old words."""

    node: str
    would_get: int
    have_old: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionPlan:
    """A version whose leads may get the new words."""

    version: int
    version_id: int
    changes: Sequence[Rewording]
    nodes: Sequence[NodeReach]
    #: leads that move now
    moving: int
    #: leads with a call under way, or whose text a human has in hand: not this time
    busy: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RetextPlan:
    """What a `--hot-text` would do. `new`: the file says something that no version says yet."""

    sequence: str
    newest: int
    newest_id: int
    new: bool
    versions: Sequence[VersionPlan]
    #: version -> active leads, of versions that differ in more than words
    others: Mapping[int, int]
    #: variables that the new words need and the old ones did not, and how many leads lack one
    needs: Sequence[str]
    lacking: int
    warnings: Sequence[Problem]

    @property
    def moving(self) -> int:
        return sum(one.moving for one in self.versions)

    @property
    def busy(self) -> int:
        return sum(one.busy for one in self.versions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retexted:
    """What was done. `busy`: leads that could not be moved, because a call is under way or a human has the text."""

    published: Published
    moved: int
    busy: int


# --- first it is shown -------------------------------------------------------------------------------------------


def look(ctx: Context, data: bytes, filename: str) -> RetextPlan | list[Problem]:
    """What would happen; or everything that stands against it, by line. Writes nothing. Raises NotFound."""
    compiled = check(data, filename)
    if not isinstance(compiled, Compiled):
        return compiled
    return ctx.db.run(lambda tx: _look(tx, compiled))


def _look(tx: Tx, compiled: Compiled) -> RetextPlan | list[Problem]:
    name = compiled.graph.sequence
    sequence_id = sequences.find(tx, name)["id"]
    newest = sequences.latest_version(tx, sequence_id)
    if newest is None:
        raise UsageError(f"sequence {name!r} has no version yet", hint="publish it without --hot-text")
    problems = more_than_words(sequences.graph_of(tx, newest.id), compiled)
    if problems:
        return problems
    standing, said = retexting.standing(tx, sequence_id), retexting.said_already(tx, sequence_id)
    same = _same_but_for_words(tx, standing, compiled)
    plans = [_plan(tx, version_id, compiled.graph, standing, said) for version_id in same]
    versions = [plan for plan in plans if plan.changes]
    if newest.content_hash != compiled.content_hash and newest.id not in same:
        versions.insert(0, _plan(tx, newest.id, compiled.graph, standing, said, newest.version))
    needs = _needs(tx, versions, compiled.graph)
    others: dict[int, int] = {}
    for row in standing:
        if row["version_id"] not in same:
            others[row["version"]] = others.get(row["version"], 0) + row["leads"]
    ids = [plan.version_id for plan in versions]
    return RetextPlan(
        sequence=name,
        newest=newest.version,
        newest_id=newest.id,
        new=newest.content_hash != compiled.content_hash,
        versions=versions,
        others=others,
        needs=needs,
        lacking=retexting.leads_lacking(tx, sequence_id, ids, needs) if needs else 0,
        warnings=compiled.warnings,
    )


def _same_but_for_words(tx: Tx, standing: Sequence[Row], compiled: Compiled) -> list[int]:
    """Versions with active leads whose graph is the new one, words aside; the newest first."""
    ids = dict.fromkeys(row["version_id"] for row in standing)
    return [
        id_ for id_ in ids if (graph := _graph(tx, id_)) is not None and not more_than_words(graph, compiled)
    ]


def _graph(tx: Tx, version_id: int) -> Graph | None:
    try:
        return sequences.graph_of(tx, version_id)
    except NeedsNewerWorker:
        return None


def _plan(
    tx: Tx, version_id: int, new: Graph, standing: Sequence[Row], said: Sequence[Row], number: int = 0
) -> VersionPlan:
    changes = rewordings(sequences.graph_of(tx, version_id), new)
    nodes = reworded_nodes(changes, new)
    mine = [row for row in standing if row["version_id"] == version_id]
    ahead = [
        (row, nodes & still_ahead(new, row["cursor"], begun=row["begun"] or row["busy"])) for row in mine
    ]
    have = {row["key"]: row["leads"] for row in said if row["version_id"] == version_id}
    return VersionPlan(
        version=mine[0]["version"] if mine else number,
        version_id=version_id,
        changes=changes,
        nodes=[
            NodeReach(
                node=key,
                would_get=sum(row["leads"] for row, coming in ahead if key in coming and not row["busy"]),
                have_old=have.get(key, 0),
            )
            for key in new.nodes
            if key in nodes
        ],
        moving=sum(row["leads"] for row, coming in ahead if coming and not row["busy"]),
        busy=sum(row["leads"] for row, coming in ahead if coming and row["busy"]),
    )


def _needs(tx: Tx, versions: Sequence[VersionPlan], new: Graph) -> list[str]:
    """Variables without which a new text cannot be rendered, where the old one could."""
    found: set[str] = set()
    for plan in versions:
        old = sequences.graph_of(tx, plan.version_id)
        for reach in plan.nodes:
            found |= _required(new, reach.node) - _required(old, reach.node)
    return sorted(found - new.defaults.keys() - BUILTIN_VARIABLES)


def _required(graph: Graph, node: str) -> frozenset[str]:
    message = graph.node(node).message
    if message is None or message.fallback is not None:
        return frozenset()
    texts = [text for v in message.variants for text in (v.body, v.subject) if text is not None]
    return frozenset().union(*(check_template(text).required for text in texts))


# --- then it is done ---------------------------------------------------------------------------------------------


def retext(
    ctx: Context, data: bytes, filename: str, plan: RetextPlan, *, by: str
) -> Retexted | list[Problem]:
    """Publish the words and give them to leads in flight, page by page. Run again it moves those that were busy.

    Raises ConflictError where somebody published in between: what was shown is no longer what would happen.
    """
    published = publish(ctx, data, filename, by=by, follows=plan.newest_id)
    if not isinstance(published, Published):
        return published
    moved = busy = 0
    for version in plan.versions:
        ids = ctx.db.run(lambda tx, version=version: _on(tx, version.version_id))  # type: ignore[misc]
        for start in range(0, len(ids), _PAGE):
            page = ids[start : start + _PAGE]
            done = ctx.db.run(
                lambda tx, page=page, version=version: _move(ctx, tx, page, version, published, by)  # type: ignore[misc]
            )
            moved, busy = moved + done[0], busy + done[1]
    return Retexted(published=published, moved=moved, busy=busy)


def _on(tx: Tx, version_id: int) -> list[int]:
    return retexting.leads_on(tx, sequences.sequence_of(tx, version_id), [version_id])


def _move(
    ctx: Context, tx: Tx, lead_ids: Sequence[int], old: VersionPlan, to: Published, by: str
) -> tuple[int, int]:
    """(moved, busy). T1 holds a lead's row while it opens a call, so under our locks nothing begins."""
    locked = executions.lock_leads(tx, lead_ids)
    mine = [one for one in locked.values() if one.lead.active and one.lead.version_id == old.version_id]
    if not mine:
        return 0, 0
    graph, nodes = sequences.graph_of(tx, to.version_id), {reach.node for reach in old.nodes}
    views = leads.views(tx, [(one.lead, graph) for one in mine])
    held = retexting.in_hand(tx, [one.lead.id for one in mine])
    moving, busy = list[LockedLead](), 0
    for one in mine:
        occupied = one.open is not None or one.lead.id in held
        state = views[one.lead.id]["state"]
        begun = occupied or (state is not None and state != ExecutionState.PLANNED.value)
        if not nodes & still_ahead(graph, one.lead.cursor, begun=begun):
            continue
        if occupied:
            busy += 1
        else:
            moving.append(one)
    _reword(ctx, tx, moving, old, to, by)
    return len(moving), busy


def _reword(
    ctx: Context, tx: Tx, moving: Sequence[LockedLead], old: VersionPlan, to: Published, by: str
) -> None:
    for one in moving:
        lead, now = one.lead, ctx.clock.at(one.database_now)
        # What was rendered of the old words is void: T1 refuses it, and it is rendered anew.
        lead.epoch += 1
        if lead.waiting_on == WaitingOn.MISSING_VARIABLE.value:
            lead.wait(now, WaitingOn.TIME)
        lead.log(EventKind.LEAD_REWORDED, now, actor=by, from_version=old.version, to_version=to.version)
    leads.write_all(tx, [one.lead for one in moving])
    retexting.pin(tx, [one.lead.id for one in moving], to.version_id)
