"""Checks the shape of a sequence: where edges lead, what can be reached, what can wait, what can fire."""

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from outreach.engine.definition import Definition
from outreach.engine.kinds import (
    CHANNEL_OF,
    MESSAGE_KINDS,
    NEGATIVE_TRIGGERS,
    ActionKind,
    Channel,
    TriggerKind,
)
from outreach.engine.problems import Report
from outreach.engine.specs import ActionSpec, EdgeSpec
from outreach.engine.suggest import did_you_mean, nearest

_ZERO = timedelta(0)
#: Edges that time alone opens.
_TIMED = frozenset({TriggerKind.NORMAL_EDGE, TriggerKind.TIMEOUT, TriggerKind.END})
#: Edges whose `after` means something: a delay or a deadline.
_WITH_AFTER = NEGATIVE_TRIGGERS | {TriggerKind.NORMAL_EDGE, TriggerKind.TIMEOUT}
_NEEDS_AFTER = NEGATIVE_TRIGGERS | {TriggerKind.TIMEOUT}
#: Actions that send a message; where theirs could not be read, one is meant all the same.
_ALWAYS_SPEAKING = MESSAGE_KINDS - {ActionKind.SEND_CONNECTION_REQUEST} | {None}
#: Edges that are taken when the contact did not come about, so that the next message may be the first one.
_UNREACHED = frozenset({TriggerKind.FAILED, TriggerKind.BOUNCED})


@dataclass(frozen=True, slots=True)
class Way:
    """An edge with its target resolved: a key that exists, or None for END."""

    edge: EdgeSpec
    to: str | None


@dataclass(frozen=True, slots=True)
class Flow:
    """The resolved shape of a definition that has at least one action."""

    start: str
    actions: Mapping[str, ActionSpec]
    ways: Mapping[str, tuple[Way, ...]]

    def targets(self, key: str) -> Iterator[str]:
        return (way.to for way in self.ways[key] if way.to is not None)

    def sources(self) -> dict[str, list[str]]:
        """For each action, those that lead to it."""
        found: dict[str, list[str]] = {key: [] for key in self.actions}
        for key in self.actions:
            for target in self.targets(key):
                found[target].append(key)
        return found

    def reached(self) -> set[str]:
        """Every action that some path from the start leads to."""
        return _closure([self.start], self.targets)

    def first_contacts(self) -> set[str]:
        """The actions whose message may be the first that a person gets from this sequence."""
        return {
            key for key in _closure([self.start], self._next_without_contact) if self.actions[key].message
        }

    def _next_without_contact(self, key: str) -> Iterator[str]:
        if self.actions[key].message is None or self.actions[key].lateness is not None:
            return self.targets(key)  # what comes too late may be passed over
        return (way.to for way in self.ways[key] if way.to is not None and way.edge.kind in _UNREACHED)


def check_flow(definition: Definition, report: Report) -> Flow:
    """The flow of a definition with at least one action; what is wrong with it goes to the report."""
    flow = _resolve(definition, report)
    for spec in definition.actions.values():
        _check_edges(spec, report)
    _check_reached(flow, report)
    _check_ends(flow, report)
    _check_cycles(flow, report)
    _check_firing(flow, report)
    return flow


# --- targets ---------------------------------------------------------------------------------------------------


def _resolve(definition: Definition, report: Report) -> Flow:
    actions = definition.actions
    start = next(iter(actions))
    if definition.start is not None:
        guess = _target(definition.start.value, actions)
        if definition.start.value not in actions:
            message = f"start names {definition.start.value}, which is no action."
            hint = did_you_mean(definition.start.value, tuple(actions))
            report.add("S201", definition.start.mark, "start", message, hint)
        start = guess or start
    ways = {key: tuple(_way(edge, actions, report) for edge in spec.edges) for key, spec in actions.items()}
    return Flow(start, actions, ways)


def _way(edge: EdgeSpec, actions: Mapping[str, ActionSpec], report: Report) -> Way:
    if edge.to is None:
        return Way(edge, None)
    if edge.to.value not in actions:
        hint = did_you_mean(edge.to.value, (*actions, "END"))
        report.add("S201", edge.to.mark, f"{edge.path}.to", f"There is no action {edge.to.value}.", hint)
    return Way(edge, _target(edge.to.value, actions))


def _target(name: str, actions: Collection[str]) -> str | None:
    """The action meant. A misspelt one is taken for its neighbour, lest one slip be reported five times."""
    return name if name in actions else nearest(name, actions)


# --- the edges of one action -----------------------------------------------------------------------------------


def _check_edges(spec: ActionSpec, report: Report) -> None:
    for edge in spec.edges:
        _check_delay(edge, report)
        if edge.kind is TriggerKind.END and edge.to is not None:
            hint = "To go on after the action, write on: NORMAL_EDGE, or leave `on` out."
            message = f"END leads to no action, and here to {edge.to.value}."
            report.add("S210", edge.mark, edge.path, message, hint)
    _check_rivals(spec, report)
    _check_outrun(spec, report)
    _check_patience(spec, report)


def _check_delay(edge: EdgeSpec, report: Report) -> None:
    if edge.kind is None:
        return
    if edge.kind in _NEEDS_AFTER and not edge.after:
        hint = "Say after how long nothing has happened, as in after: 3d."
        report.add("S205", edge.mark, edge.path, f"{edge.kind} needs a deadline.", hint)
    if edge.kind not in _WITH_AFTER and edge.after is not None:
        hint = "It is taken the moment it happens. To wait after it, lead to a WAIT action."
        report.add("S206", edge.mark, f"{edge.path}.after", f"{edge.kind} takes no `after`.", hint)


def _check_rivals(spec: ActionSpec, report: Report) -> None:
    """One edge per kind."""
    seen: dict[TriggerKind | None, EdgeSpec] = {}
    for edge in spec.edges:
        if edge.kind is None:
            continue
        first = seen.setdefault(_moment(edge), edge)
        if first is not edge:
            message = f"{edge.kind} stands against {first.kind} on line {first.mark.line}: one of them only."
            report.add("S207", edge.mark, edge.path, message)


def _moment(edge: EdgeSpec) -> TriggerKind | None:
    """What an edge waits for. END is a NORMAL_EDGE to nowhere, so the two exclude each other."""
    return TriggerKind.NORMAL_EDGE if edge.kind is TriggerKind.END else edge.kind


def _check_outrun(spec: ActionSpec, report: Report) -> None:
    """Of the edges that time alone opens only the first is ever taken, and no later negative edge either."""
    timed = [edge for edge in spec.edges if edge.kind in _TIMED]
    if not timed:
        return
    fastest = min(timed, key=_after)
    # Where nothing is sent, signals that are known already are looked at first; after a send there is no time for any.
    leaves_at_once = _channel(spec) is not None and not _after(fastest)
    for edge in spec.edges:
        if edge.kind in (None, TriggerKind.FAILED) or _moment(edge) is _moment(fastest):
            continue
        if _is_later(edge, fastest, spec.edges) if edge.kind in _WITH_AFTER else leaves_at_once:
            message = f"{edge.kind} is never taken: {fastest.kind} on line {fastest.mark.line} comes first."
            hint = "Give that one a later `after`, or take one of the two out."
            report.add("S211", edge.mark, edge.path, message, hint)


def _is_later(edge: EdgeSpec, other: EdgeSpec, order: tuple[EdgeSpec, ...]) -> bool:
    """Does the other edge win? The sooner one does; of two at the same time, the one that stands first."""
    return (_after(edge), order.index(edge)) > (_after(other), order.index(other))


def _check_patience(spec: ActionSpec, report: Report) -> None:
    kinds = {edge.kind for edge in spec.edges}
    if None in kinds or not kinds - {TriggerKind.FAILED} or kinds & (_TIMED | NEGATIVE_TRIGGERS):
        return
    message = f"When none of its edges fires, a lead waits at {spec.key} for ever."
    hint = "Add a NOT_… edge, or {on: TIMEOUT, after: 14d, to: END}."
    report.add("S209", spec.mark, spec.path, message, hint)


def _after(edge: EdgeSpec) -> timedelta:
    return edge.after or _ZERO


# --- the whole -------------------------------------------------------------------------------------------------


def _check_reached(flow: Flow, report: Report) -> None:
    reached = flow.reached()
    for key, spec in flow.actions.items():
        if key not in reached:
            message = f"No path from {flow.start} leads to {key}."
            report.add("S202", spec.mark, spec.path, message, "Lead an edge to it, or take it out.")


def _check_ends(flow: Flow, report: Report) -> None:
    """Reported once, at the first action from which nobody ever finishes."""
    sources = flow.sources()
    ending = _closure([key for key in flow.actions if _ends(flow.ways[key])], lambda key: iter(sources[key]))
    reached = flow.reached()
    endless = [key for key in flow.actions if key in reached and key not in ending]
    if endless:
        spec = flow.actions[endless[0]]
        message = f"From {endless[0]} no path leads to an end."
        report.add("S204", spec.mark, spec.path, message, "Lead some edge to END.")


def _ends(ways: tuple[Way, ...]) -> bool:
    """A lead finishes here by an edge to END, or because nothing leads on once the action is done."""
    return any(way.to is None for way in ways) or all(way.edge.kind is TriggerKind.FAILED for way in ways)


def _check_cycles(flow: Flow, report: Report) -> None:
    """Every cycle must take time, else two machines that answer each other would never rest."""
    at_once = {
        key: [w.to for w in flow.ways[key] if w.to and _at_once(flow.actions[key], w)] for key in flow.actions
    }
    while cycle := _find_cycle(at_once):
        spec = flow.actions[cycle[0]]
        message = f"The cycle {_as_path(cycle)} takes no time."
        report.add("S203", spec.mark, spec.path, message, "Put a WAIT into it, or an `after` on its edges.")
        for key in cycle:
            del at_once[key]


def _as_path(cycle: list[str]) -> str:
    shown = cycle if len(cycle) <= 8 else [*cycle[:4], "…", *cycle[-2:]]
    return " → ".join((*shown, cycle[0]))


def _at_once(spec: ActionSpec, way: Way) -> bool:
    return not spec.wait and not way.edge.after


def _find_cycle(graph: Mapping[str, list[str]]) -> list[str]:
    """One cycle of the graph, beginning with its first key in the graph's order; empty when there is none."""
    left = {key: [to for to in targets if to in graph] for key, targets in graph.items()}
    while dead := [key for key, targets in left.items() if not targets]:
        for key in dead:
            del left[key]
        left = {key: [to for to in targets if to in left] for key, targets in left.items()}
    if not left:
        return []
    walk = [next(iter(left))]
    while (following := left[walk[-1]][0]) not in walk:
        walk.append(following)
    cycle = walk[walk.index(following) :]
    order = list(graph)
    first = cycle.index(min(cycle, key=order.index))
    return cycle[first:] + cycle[:first]


# --- what can fire ---------------------------------------------------------------------------------------------

#: What must stand at or before an action for an edge to fire there: a test of the actions passed, and its words.
_PRECONDITIONS: dict[TriggerKind, tuple[Callable[[ActionSpec], bool], str]] = {
    TriggerKind.FOLLOWED_BACK: (lambda a: _channel(a) is Channel.TWITTER, "nothing on Twitter"),
    TriggerKind.NOT_FOLLOWED_BACK: (lambda a: _channel(a) is Channel.TWITTER, "nothing on Twitter"),
    TriggerKind.CONNECTION_ACCEPTED: (lambda a: _is_request(a), "no SEND_CONNECTION_REQUEST"),
    TriggerKind.CONNECTION_NOT_ACCEPTED: (lambda a: _is_request(a), "no SEND_CONNECTION_REQUEST"),
    TriggerKind.REPLIED_TO_NOTE: (
        lambda a: _is_request(a) and a.message is not None,
        "no connection request with a note",
    ),
    TriggerKind.BOUNCED: (lambda a: a.kind is ActionKind.SEND_EMAIL, "no SEND_EMAIL"),
}


def _check_firing(flow: Flow, report: Report) -> None:
    passed = _passed(flow)
    for key, spec in flow.actions.items():
        before = [flow.actions[k] for k in passed[key]]
        if any(action.kind is None for action in before):
            continue  # what could not be read may be what is wanted
        for edge in spec.edges:
            why = _why_never(edge.kind, spec, before)
            if why:
                report.add("S208", edge.mark, edge.path, f"{edge.kind} cannot fire at {key}: {why}.")


def _why_never(kind: TriggerKind | None, spec: ActionSpec, before: list[ActionSpec]) -> str | None:
    if kind is TriggerKind.FAILED:
        return None if _channel(spec) else f"{spec.kind} sends nothing that could fail"
    if kind not in _PRECONDITIONS:
        return None
    holds, lacking = _PRECONDITIONS[kind]
    return None if any(holds(action) for action in before) else f"there is {lacking} at it or before it"


def _passed(flow: Flow) -> dict[str, set[str]]:
    """For each action: itself and all that a lead may have passed on some path to it."""
    sources = flow.sources()
    return {key: _closure([key], lambda k: iter(sources[k])) for key in flow.actions}


def _channel(spec: ActionSpec) -> Channel | None:
    return CHANNEL_OF.get(spec.kind) if spec.kind else None


def _is_request(spec: ActionSpec) -> bool:
    return spec.kind is ActionKind.SEND_CONNECTION_REQUEST


def _closure(seeds: Collection[str], follow: Callable[[str], Iterator[str]]) -> set[str]:
    """The seeds and all that following leads to."""
    found, queue = set(seeds), deque(seeds)
    while queue:
        for key in follow(queue.popleft()):
            if key not in found:
                found.add(key)
                queue.append(key)
    return found
