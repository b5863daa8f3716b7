"""PURE: union-find over numbered nodes, each set carrying what the guards ask about it."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Group:
    """Nodes that are one person. `size` counts identities, also those of a known person that no node stands for."""

    size: int
    #: the existing person; None: a new one
    person_id: int | None = None
    suppressed: bool = False
    #: kind -> value, of the kinds that one human has once
    unique: dict[str, str] = field(default_factory=dict)
    members: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Partition:
    """Nodes 0, 1, 2 … in the order they were added; each belongs to one Group."""

    _parents: list[int] = field(default_factory=list)
    _groups: dict[int, Group] = field(default_factory=dict)

    def add(self, group: Group) -> int:
        """A new node, the first of its group."""
        node = len(self._parents)
        self._parents.append(node)
        self._groups[node] = group
        group.members.append(node)
        return node

    def add_beside(self, node: int) -> int:
        """A new node of a known person, whose group (and its size) is there already."""
        new = len(self._parents)
        self._parents.append(self._root(node))
        self.group_of(node).members.append(new)
        return new

    def group_of(self, node: int) -> Group:
        """The node's group; the same object for every node of it."""
        return self._groups[self._root(node)]

    def groups(self) -> Iterable[Group]:
        """Every group, by its oldest node."""
        return [self._groups[root] for root in sorted(self._groups)]

    def join(self, a: int, b: int) -> None:
        """Make one group of two; the smaller one's members move."""
        keep, lose = self._root(a), self._root(b)
        if keep == lose:
            return
        if len(self._groups[keep].members) < len(self._groups[lose].members):
            keep, lose = lose, keep
        group, other = self._groups[keep], self._groups.pop(lose)
        self._parents[lose] = keep
        group.size += other.size
        group.unique |= other.unique
        group.members += other.members
        group.suppressed |= other.suppressed
        if group.person_id is None:
            group.person_id = other.person_id

    def _root(self, node: int) -> int:
        while self._parents[node] != node:
            self._parents[node] = self._parents[self._parents[node]]
            node = self._parents[node]
        return node
