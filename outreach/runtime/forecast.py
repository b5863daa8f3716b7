"""forecast: every (node, lead) of a segment in its lane, and what that takes: days at the caps, minutes, money. Writes nothing.

The gate judges each on the facts that T1 would read; only the instant is another one. Nobody knows who will answer, so every node
is counted as if all came there whom nothing keeps from it: an upper bound.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any

from outreach.compliance.costs import MINUTES, REVIEW
from outreach.compliance.facts import Facts
from outreach.compliance.lanes import Standing, as_if_answered, standing
from outreach.compliance.prices import ACTIONS, USER_READ
from outreach.compliance.verdicts import Lane
from outreach.content.rendering import Missing, Rendered
from outreach.engine.graph import Graph, Node
from outreach.engine.kinds import ActionKind, Channel, TriggerKind
from outreach.engine.paths import after_a_message, after_an_answer, most_on_one_way, reached
from outreach.models import enrolling, supposed
from outreach.models.base import Row, Tx
from outreach.runtime.capacity import Days, days_at_caps
from outreach.runtime.context import Context
from outreach.runtime.enroll import data_of, require_segments, stands_against
from outreach.runtime.supposing import House, Step, read_house, read_supposed, text_for

#: People whose facts are read in one transaction.
_PAGE = 500
#: Two words of the forecast beside the gate's rules.
MISSING, UNREACHED = "missing_variable", "unreached"
#: Left out because they are, or were, in the sequence: no leads of this enrolment. Everybody else is counted, with the gate's reason.
_LEADS_ALREADY = ("active", "before")


@dataclass(slots=True, kw_only=True)
class NodeLanes:
    """One node: how many leads in each lane, why, and what that takes."""

    node: str
    kind: ActionKind
    lanes: Counter[Lane] = field(default_factory=Counter)
    #: per lane, how many for which rule; of the automatic ones, what each would wait for now
    reasons: dict[Lane, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    #: judged as if they had just answered: no other way leads here
    answered: bool = False
    minutes: Decimal = Decimal(0)
    #: US dollars of calls and look-ups; None: the price is not known
    dollars: Decimal | None = None

    def count(self, standing: "_Place") -> None:
        self.lanes[standing.lane] += 1
        if standing.reason is not None:
            self.reasons[standing.lane][standing.reason] += 1


@dataclass(frozen=True, slots=True)
class _Place:
    """One person at one node."""

    lane: Lane
    reason: str | None
    #: what a missing variable waits for, and what is not reached at all, is final for nobody
    final: bool = False
    waits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The whole segment. `members`: all its people; `leads`: those counted below; `enrolled`: those that enrol would take."""

    sequence: str
    segments: Sequence[str]
    members: int
    leads: int
    enrolled: int
    left_out: Mapping[str, int]
    nodes: Sequence[NodeLanes]
    days: Sequence[Days]
    minutes: Decimal
    #: minutes of these for looking at the first messages (`review_first`)
    review_minutes: Decimal
    #: of the nodes whose price is known, and of look-ups
    dollars: Decimal
    lookups: int
    #: kinds of calls whose price nobody has written down
    unpriced: Sequence[str]
    now: datetime


def forecast(
    ctx: Context, graph: Graph, segments: Sequence[str], *, account_names: Sequence[str] = (), pools: Sequence[str] = ()
) -> Forecast:  # fmt: skip
    """Raises NotFound or UsageError naming what is missing: a segment, an account."""
    house, people, now = ctx.db.run(lambda tx: _who(ctx, tx, graph, segments, account_names, pools))
    count = _Count(ctx, house, now)
    for start in range(0, len(people), _PAGE):
        ctx.db.run(partial(count.take, people=people[start : start + _PAGE]))
    return ctx.db.run(lambda tx: count.total(tx, segments, len(people)))


def _who(
    ctx: Context, tx: Tx, graph: Graph, segments: Sequence[str], account_names: Sequence[str], pools: Sequence[str]
) -> tuple[House, list[Row], datetime]:  # fmt: skip
    supposed.read_only(tx)
    require_segments(tx, segments)
    house = read_house(tx, graph, account_names, pools)
    people = enrolling.candidates(tx, segments, house.sequence_id or 0)
    return house, people, ctx.clock.at(tx.database_now())


class _Count:
    """Counts page by page."""

    def __init__(self, ctx: Context, house: House, now: datetime) -> None:
        graph = house.graph
        self._ctx, self._house, self._now = ctx, house, now
        self._acting = [node for node in graph.nodes.values() if node.channel is not None]
        #: on several channels an answer may have come on another one: nothing is assumed then
        self._answered = after_an_answer(graph) if len(house.senders.by_channel) == 1 else frozenset()
        self._said = {channel: after_a_message(graph, channel) for channel in Channel}
        self._nodes = {
            n.key: NodeLanes(node=n.key, kind=n.kind, answered=n.key in self._answered) for n in self._acting
        }
        self._left_out: Counter[str] = Counter()
        self._leads = self._enrolled = self._lookups = 0
        #: per (account, kind): how many calls and tasks
        self._demand: Counter[tuple[int, ActionKind]] = Counter()
        self._reached: dict[tuple[frozenset[str], frozenset[str]], frozenset[str]] = {}
        self._known: dict[tuple[Facts, bool, bool], Standing] = {}
        self._known_ways: dict[tuple[tuple[Lane, ...], frozenset[str]], _Way] = {}
        self._ways: Counter[_Way] = Counter()

    # --- a page of people ------------------------------------------------------------------------------------

    def take(self, tx: Tx, people: Sequence[Row]) -> None:
        """Read the facts of these people and count them, all or none."""
        supposed.read_only(tx)
        ids = [row["person_id"] for row in people]
        handles = {c: enrolling.handles(tx, ids, c) for c in self._house.senders.by_channel}
        leads = [row for row in people if self._is_lead(row, handles)]
        facts = self._read(tx, leads, handles)
        for row in leads:
            self._count_lead(row, facts)

    def _is_lead(self, row: Row, handles: Mapping[str, Mapping[int, int]]) -> bool:
        reason = stands_against(row, handles, self._house.graph, again=False)
        if reason is None:
            self._enrolled += 1
        else:
            self._left_out[reason] += 1
        return not any(row[name] for name in _LEADS_ALREADY)

    def _read(
        self, tx: Tx, people: Sequence[Row], handles: Mapping[str, Mapping[int, int]]
    ) -> dict[tuple[int, ActionKind], Facts]:
        """By person and kind: nodes of one kind differ in nothing that is read."""
        kinds = {node.kind: node for node in self._acting}
        steps = [
            Step(node=node, person_id=row["person_id"], identity_id=_handle(handles, node, row["person_id"]))
            for node in kinds.values()
            for row in people
        ]
        found = read_supposed(self._ctx, tx, self._house, steps, self._now, caps=False) if steps else []
        return {(step.person_id, step.node.kind): facts for step, facts in zip(steps, found, strict=True)}

    def _count_lead(self, row: Row, facts: Mapping[tuple[int, ActionKind], Facts]) -> None:
        self._leads += 1
        person, data = row["person_id"], data_of(row["name"], row["attributes"] or {})
        handles = [facts[person, kind].identity for kind in {node.kind for node in self._acting}]
        self._lookups += len({h.id for h in handles if h is not None and not h.resolved})
        places = {n.key: self._place(n, row, data, facts[person, n.kind]) for n in self._acting}
        there = self._reach(places)
        for node in self._acting:
            if node.key not in there:
                places[node.key] = _Place(Lane.BLOCKED, UNREACHED)
            self._nodes[node.key].count(places[node.key])
        way = self._way(tuple(place.lane for place in places.values()), there)
        self._ways[way] += 1
        for kind, most in way.steps:
            node = next(n for n in self._acting if n.kind is kind)
            self._demand[self._house.account_of(node, person)["id"], kind] += most

    def _way(self, lanes: tuple[Lane, ...], there: frozenset[str]) -> "_Way":
        """The same for all whose lanes are the same."""
        if (lanes, there) not in self._known_ways:
            self._known_ways[lanes, there] = _way(
                self._house.graph, dict(zip(self._nodes, lanes, strict=True)), there
            )
        return self._known_ways[lanes, there]

    def _place(self, node: Node, row: Row, data: Mapping[str, Any], facts: Facts) -> _Place:
        found = self._standing(node, facts)
        if found.lane is Lane.BLOCKED:
            return _Place(found.lane, found.rule, final=True)
        missing = self._missing(node, row["person_id"], data)
        if missing:
            return _Place(Lane.BLOCKED, f"{MISSING}: {missing}", waits=True)
        waits = found.waits
        return _Place(found.lane, found.rule if found.because else waits.rule if waits else None)

    def _standing(self, node: Node, facts: Facts) -> Standing:
        """The gate's word. People about whom the same is on record are judged once: no verdict goes by who they are."""
        handle = facts.identity and replace(facts.identity, id=0)
        nobody = replace(facts, person=replace(facts.person, id=0), identity=handle)
        answered = node.key in self._answered
        said = node.channel is not None and node.key in self._said[node.channel]
        if (nobody, answered, said) not in self._known:
            asked = replace(nobody, lead=replace(nobody.lead, opens_contact=not said))
            self._known[nobody, answered, said] = standing(as_if_answered(asked) if answered else asked)
        return self._known[nobody, answered, said]

    def _missing(self, node: Node, person_id: int, data: Mapping[str, Any]) -> str | None:
        """What the text would wait for."""
        if node.message is None:
            return None
        text = text_for(self._house, node, person_id, data)
        if isinstance(text, Missing):
            return ", ".join(text.names) or "(empty text)"
        return None if text is None or isinstance(text, Rendered) else "text too long"

    def _reach(self, places: Mapping[str, _Place]) -> frozenset[str]:
        failing = frozenset(key for key, place in places.items() if place.final)
        waiting = frozenset(key for key, place in places.items() if place.waits)
        if (failing, waiting) not in self._reached:
            self._reached[failing, waiting] = reached(self._house.graph, failing, waiting)
        return self._reached[failing, waiting]

    # --- all of them -----------------------------------------------------------------------------------------

    def total(self, tx: Tx, segments: Sequence[str], members: int) -> Forecast:
        """What it takes."""
        supposed.read_only(tx)
        graph = self._house.graph
        for lanes in self._nodes.values():
            costs = {lane: _costs(graph.node(lanes.node), lane) for lane in Lane}
            lanes.minutes = sum((n * costs[lane].minutes for lane, n in lanes.lanes.items()), Decimal(0))
            lanes.dollars = _sum(costs[lane].times(n) for lane, n in lanes.lanes.items() if n)
        review = min(graph.review_first, self._first_messages()) * REVIEW.minutes
        return Forecast(
            sequence=self._house.graph.sequence,
            segments=segments,
            members=members,
            leads=self._leads,
            enrolled=self._enrolled,
            left_out=self._left_out,
            nodes=list(self._nodes.values()),
            days=days_at_caps(tx, self._house, self._demand, self._now),
            minutes=sum((n * way.minutes for way, n in self._ways.items()), review),
            review_minutes=review,
            dollars=sum((n * way.dollars for way, n in self._ways.items()), self._lookups * USER_READ.usd),
            lookups=self._lookups,
            unpriced=sorted({n.kind.value for n in self._nodes.values() if n.dollars is None}),
            now=self._now,
        )

    def _first_messages(self) -> int:
        return sum(
            lanes.lanes[Lane.AUTO]
            for lanes in self._nodes.values()
            if self._house.graph.node(lanes.node).message
        )


def _handle(handles: Mapping[str, Mapping[int, int]], node: Node, person_id: int) -> int | None:
    assert node.channel is not None
    return handles[node.channel.value].get(person_id)


@dataclass(frozen=True, slots=True)
class _Costs:
    """Of one step in its lane. Dollars None: nobody has written the price down."""

    minutes: Decimal
    dollars: Decimal | None

    def times(self, n: int) -> Decimal | None:
        """Dollars of so many."""
        return None if self.dollars is None else n * self.dollars


def _costs(node: Node, lane: Lane) -> _Costs:
    """Calls by the engine, and the look-ups that the node's edges need. What a human does costs nothing at the provider."""
    if lane is Lane.BLOCKED:
        return _Costs(Decimal(0), Decimal(0))
    looks = any(edge.kind is TriggerKind.NOT_FOLLOWED_BACK for edge in node.edges)
    look = USER_READ.usd if looks else Decimal(0)
    if lane is Lane.YOURS:
        return _Costs(MINUTES[node.kind].minutes, look)
    price = ACTIONS.get(node.kind)
    return _Costs(Decimal(0), None if price is None else price.usd + look)


@dataclass(frozen=True, slots=True)
class _Way:
    """The most that one lead can come to, on whichever way through the graph: steps by kind, minutes, dollars that are known."""

    steps: tuple[tuple[ActionKind, int], ...]
    minutes: Decimal
    dollars: Decimal


def _way(graph: Graph, lanes: Mapping[str, Lane], there: frozenset[str]) -> _Way:
    costs = {key: _costs(graph.node(key), lane) for key, lane in lanes.items()}
    done = {key: lane is not Lane.BLOCKED for key, lane in lanes.items()}
    kinds = sorted({graph.node(key).kind for key, it_is in done.items() if it_is})
    steps = {
        kind: most_on_one_way(graph, there, {k: int(done[k] and graph.node(k).kind is kind) for k in lanes})
        for kind in kinds
    }
    return _Way(
        steps=tuple(steps.items()),
        minutes=most_on_one_way(graph, there, {k: c.minutes for k, c in costs.items()} or _NOTHING),
        dollars=most_on_one_way(
            graph, there, {k: c.dollars or Decimal(0) for k, c in costs.items()} or _NOTHING
        ),
    )


_NOTHING = {"": Decimal(0)}


def _sum(amounts: Iterable[Decimal | None]) -> Decimal | None:
    """None where one of them is not known."""
    found = list(amounts)
    known = [a for a in found if a is not None]
    return sum(known, Decimal(0)) if len(known) == len(found) else None
