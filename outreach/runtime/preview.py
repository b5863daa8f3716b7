"""preview: what one person would get, action by action: texts, lane, the gate's word, and when at the earliest. Writes nothing."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from typing import Any

from outreach.compliance.facts import Facts
from outreach.compliance.lanes import Standing, as_if_answered, standing
from outreach.compliance.verdicts import Lane, Verdict
from outreach.content.rendering import Missing, Rendered, TooLong
from outreach.engine.graph import Graph, Node
from outreach.engine.kinds import ActionKind, Channel, TriggerKind, WaitingOn
from outreach.engine.paths import after_a_message, after_an_answer
from outreach.engine.variants import choose
from outreach.models import enrolling, supposed
from outreach.models.base import Row, Tx
from outreach.runtime.context import Context
from outreach.runtime.enroll import data_of, require_segments, stands_against
from outreach.runtime.supposing import House, Step, read_house, read_supposed, text_for

#: What passes by the clock alone; of the rest, evidence comes by itself, and a pause or an account waits for somebody.
_BY_THE_CLOCK = (WaitingOn.WINDOW, WaitingOn.CAPACITY)
_BY_SOMEBODY = (WaitingOn.PAUSE, WaitingOn.ACCOUNT)
#: A window, a gap and a cap may each move it on; more often than that nothing new is said.
_ROUNDS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One variant of a message, for this person."""

    variant: str
    #: the one that they would get
    theirs: bool
    subject: str | None = None
    text: str | None = None
    used_fallback: bool = False
    #: does it say the sequence's opt-out line?
    opt_out: bool = False
    #: nothing is sent: the lead would wait for these
    missing: Sequence[str] = ()
    #: nothing is sent: "310 characters of 300"
    too_long: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePreview:
    """One action for one person."""

    node: str
    kind: ActionKind
    account: str | None
    lane: Lane | None
    #: the lines of the gate that stand against it at that instant
    against: Sequence[Verdict]
    #: when it could be done at the earliest; None: not before somebody does something, or never
    earliest: datetime | None
    #: why it would come there
    by: str
    #: judged as if they had just answered: no other way leads here
    answered: bool
    #: what the lead would lack for its text: it waits here until somebody fills it in
    waits_for: Sequence[str]
    texts: Sequence[Text]


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonPreview:
    """One person, every action in the file's order."""

    person_id: int
    #: why enrol would leave them out; None: it would not
    left_out: str | None
    nodes: Sequence[NodePreview]


def preview(
    ctx: Context, graph: Graph, *, person_ids: Sequence[int] = (), segments: Sequence[str] = (), sample: int = 0,
    account_names: Sequence[str] = (), pools: Sequence[str] = (),
) -> list[PersonPreview]:  # fmt: skip
    """Of these people, else of a sample of the segments' (no segment: of everybody). Raises NotFound or UsageError."""

    def work(tx: Tx) -> list[PersonPreview]:
        supposed.read_only(tx)
        require_segments(tx, segments)
        house = read_house(tx, graph, account_names, pools)
        ids = person_ids or enrolling.sample(tx, segments, sample)
        now = ctx.clock.at(tx.database_now())
        rows = enrolling.chosen(tx, ids, house.sequence_id or 0)
        handles = {c: enrolling.handles(tx, ids, c) for c in house.senders.by_channel}
        return [_person(ctx, tx, house, row, handles, now) for row in rows]

    return ctx.db.run(work)


def _person(
    ctx: Context, tx: Tx, house: House, row: Row, handles: Mapping[str, Mapping[int, int]], now: datetime
) -> PersonPreview:
    person = row["person_id"]
    acting = [node for node in house.graph.nodes.values() if node.channel is not None]
    steps = [
        Step(node=n, person_id=person, identity_id=handles[n.channel.value].get(person))
        for n in acting
        if n.channel is not None
    ]
    facts = read_supposed(ctx, tx, house, steps, now, caps=True) if steps else []
    data = data_of(row["name"], row["attributes"] or {})
    texts = {node.key: _texts(house, node, person, data) for node in house.graph.nodes.values()}
    way = _Way(house, {step.node.key: found for step, found in zip(steps, facts, strict=True)}, texts)
    way.walk(now)
    return PersonPreview(
        person_id=person,
        left_out=stands_against(row, handles, house.graph, again=False),
        nodes=[_node(house, node, person, texts[node.key], way) for node in house.graph.nodes.values()],
    )


@dataclass(frozen=True, slots=True)
class _Arrival:
    """How one comes to a node first: when, by which edge, after which touches of this sequence."""

    at: datetime
    by: str
    touches: tuple[datetime, ...] = ()


class _Way:
    """The quickest way through the graph, were everything to happen at once that others must do."""

    def __init__(self, house: House, facts: Mapping[str, Facts], texts: Mapping[str, Sequence[Text]]) -> None:
        graph = house.graph
        self._graph, self._facts = graph, facts
        self.waits_for = {
            key: [n for t in found if t.theirs for n in t.missing] for key, found in texts.items()
        }
        self.answered = after_an_answer(graph) if len(house.senders.by_channel) == 1 else frozenset()
        self._said = {channel: after_a_message(graph, channel) for channel in Channel}
        self.arrivals: dict[str, _Arrival] = {}
        self.standings: dict[str, Standing] = {}
        #: None: not by itself
        self.done_at: dict[str, datetime | None] = {}

    def walk(self, now: datetime) -> None:
        """Nodes in the order in which one could come to them."""
        ahead = [(now, 0, self._graph.start, _Arrival(now, "start"))]
        pushed = count(1)  # of two at one instant the one that was found first
        while ahead:
            _, _, key, arrival = heapq.heappop(ahead)
            if key in self.arrivals:
                continue
            self.arrivals[key] = arrival
            for to, found in self._onward(self._graph.node(key), arrival):
                heapq.heappush(ahead, (found.at, next(pushed), to, found))

    def _onward(self, node: Node, arrival: _Arrival) -> list[tuple[str, _Arrival]]:
        done, failed, touches = self._carry_out(node, arrival)
        if self.waits_for[node.key] and not failed:
            self.done_at[node.key] = None
            return []
        return [
            (edge.to, _Arrival(done + edge.after, edge.kind.value, touches))
            for edge in node.edges
            if edge.to is not None and (edge.kind is TriggerKind.FAILED) == failed
        ]

    def _carry_out(self, node: Node, arrival: _Arrival) -> tuple[datetime, bool, tuple[datetime, ...]]:
        """When it is over, whether it fails, and the touches by then."""
        if node.key not in self._facts:
            return arrival.at + node.wait, False, arrival.touches
        facts = self._at(node, arrival, arrival.at)
        found, at = standing(facts), arrival.at
        for _ in range(_ROUNDS):
            later = [
                v.until for v in found.against if v.until and v.waiting_on in _BY_THE_CLOCK and v.until > at
            ]
            if found.lane is Lane.BLOCKED or not later:
                break
            at = max(later)
            facts = self._at(node, arrival, at)
            found = standing(facts)
        self.standings[node.key] = found
        waits = any(v.waiting_on in _BY_SOMEBODY for v in found.against)
        self.done_at[node.key] = None if waits or found.lane is Lane.BLOCKED else at
        touches = (
            (*arrival.touches, at) if facts.is_touch and found.lane is not Lane.BLOCKED else arrival.touches
        )
        return at, found.lane is Lane.BLOCKED, touches

    def _at(self, node: Node, arrival: _Arrival, at: datetime) -> Facts:
        """What would be known then, if nothing else happened meanwhile."""
        facts = self._facts[node.key]
        said = node.channel is not None and node.key in self._said[node.channel]
        then = replace(
            facts,
            now=at,
            lead=replace(facts.lead, due_at=at, opens_contact=not said),
            person=replace(facts.person, touches=(*facts.person.touches, *arrival.touches)),
            caps=tuple(c for c in facts.caps if not c.full or c.full_until is None or c.full_until > at),
        )
        return as_if_answered(then) if node.key in self.answered else then


def _node(house: House, node: Node, person: int, texts: Sequence[Text], way: _Way) -> NodePreview:
    found, arrival = way.standings.get(node.key), way.arrivals.get(node.key)
    return NodePreview(
        node=node.key,
        kind=node.kind,
        account=house.account_of(node, person)["name"] if node.channel else None,
        lane=found.lane if found else None,
        against=found.against if found else (),
        earliest=way.done_at.get(node.key, arrival.at if arrival and node.channel is None else None),
        by=arrival.by if arrival else "",
        answered=node.key in way.answered,
        waits_for=way.waits_for[node.key],
        texts=texts,
    )


def _texts(house: House, node: Node, person: int, data: Mapping[str, Any]) -> list[Text]:
    if node.message is None:
        return []
    theirs = choose(node.message, person_id=person, node_key=node.key).key
    return [
        _text(house.graph, v.key, v.key == theirs, text_for(house, node, person, data, v.key))
        for v in node.message.variants
    ]


def _text(graph: Graph, variant: str, theirs: bool, found: Rendered | Missing | TooLong | None) -> Text:
    match found:
        case Rendered():
            return Text(
                variant=variant, theirs=theirs, subject=found.subject, text=found.text, used_fallback=found.used_fallback,
                opt_out=graph.opt_out_line in found.text,
            )  # fmt: skip
        case Missing(names=names):
            return Text(variant=variant, theirs=theirs, missing=names or ("(empty text)",))
        case TooLong(length=length, limit=limit):
            return Text(variant=variant, theirs=theirs, too_long=f"{length} characters of {limit}")
        case None:
            return Text(variant=variant, theirs=theirs)
