"""Breadth first through every order in which things can happen: whether a rule ever breaks, and the shortest way there."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

State = TypeVar("State", bound=Hashable)
Steps = Iterable[tuple[str, State]]


@dataclass(frozen=True, slots=True)
class Searched:
    """All that can be reached: how many states, and for each broken rule the shortest way to the first state that breaks it."""

    states: int
    broken: Mapping[str, tuple[str, ...]]
    #: words for the states in which nothing more can happen
    ends: frozenset[str]


def search(
    start: State,
    steps: Callable[[State], Steps[State]],
    rules: Mapping[str, Callable[[State], bool]],
    word: Callable[[State], str] = str,
) -> Searched:
    """Visit every state that can be reached from `start`. A rule says of a state whether it is kept there."""
    came: dict[State, tuple[str, State] | None] = {start: None}
    todo = deque([start])
    broken: dict[str, tuple[str, ...]] = {}
    ends: set[str] = set()
    while todo:
        state = todo.popleft()
        for name, kept in rules.items():
            if name not in broken and not kept(state):
                broken[name] = tuple(reversed(list(_back(state, came))))
        following = list(steps(state))
        if not following:
            ends.add(word(state))
        for label, after in following:
            if after not in came:
                came[after] = (label, state)
                todo.append(after)
    return Searched(len(came), broken, frozenset(ends))


def _back(state: State, came: Mapping[State, tuple[str, State] | None]) -> Iterator[str]:
    step = came[state]
    while step is not None:
        label, state = step
        yield label
        step = came[state]
