"""What is still to come, in the order in which it is due. Two kinds share it: deeds of people and webhook attempts."""

import heapq
from collections.abc import Callable
from datetime import datetime
from typing import Generic, TypeVar

T = TypeVar("T")


class Agenda(Generic[T]):
    """Items by due instant (real time), first in first out among equals. `on_push` is told of each new one."""

    def __init__(self, on_push: Callable[[], None] = lambda: None) -> None:
        self._heap: list[tuple[datetime, int, T]] = []
        self._count = 0
        self._on_push = on_push

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, due: datetime, item: T) -> None:
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, item))
        self._on_push()

    def next_due(self) -> datetime | None:
        """When the first item is due; None when there is none."""
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: datetime) -> tuple[datetime, T] | None:
        """The first item if it is due, with the instant it was due at."""
        if not self._heap or self._heap[0][0] > now:
            return None
        due, _, item = heapq.heappop(self._heap)
        return due, item
