"""Group commit: threads that want the same kind of transaction at the same time share one.

Nobody waits for company. Whoever comes while nothing is under way goes at once, alone; who comes meanwhile waits, and the
first of them then takes all that wait along. One commit and one round trip per statement serve them all, and the busier a
process is, the less each one costs.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from outreach.models.base import UNREACHABLE

Item = TypeVar("Item")
Result = TypeVar("Result")

#: So many share one transaction at most: it holds all their locks.
_MOST = 32


@dataclass(slots=True, eq=False)
class _Place:
    """One thread's place in the queue."""

    item: Any
    #: set: look at `leads`, and then at `result` or `error`
    called: threading.Event = field(default_factory=threading.Event)
    leads: bool = False
    result: Any = None
    error: BaseException | None = None


@dataclass(slots=True)
class _Queue:
    lock: threading.Lock = field(default_factory=threading.Lock)
    waiting: deque[_Place] = field(default_factory=deque)
    busy: bool = False


class Together:
    """A queue for each kind of transaction of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[str, _Queue] = {}

    def do(self, kind: str, item: Item, work: Callable[[Sequence[Item]], Sequence[Result]]) -> Result:
        """This item's result of `work(items)`. What it raises for several is tried again one by one: each meets its own."""
        queue = self._queue(kind)
        place = _Place(item)
        with queue.lock:
            queue.waiting.append(place)
            place.leads, queue.busy = not queue.busy, True
        if not place.leads:
            self._wait(queue, place)
        if place.leads:
            self._lead(queue, work)
        if place.error is not None:
            raise place.error
        return cast(Result, place.result)

    def _queue(self, kind: str) -> _Queue:
        with self._lock:
            return self._queues.setdefault(kind, _Queue())

    def _wait(self, queue: _Queue, place: _Place) -> None:
        try:
            place.called.wait()
        except BaseException:
            # The thread is being ended: whoever stands behind it must not wait for it for ever.
            with queue.lock:
                if place in queue.waiting:
                    queue.waiting.remove(place)
                if place.leads:
                    _hand_on(queue)
            raise

    def _lead(self, queue: _Queue, work: Callable[[Sequence[Any]], Sequence[Any]]) -> None:
        """The leader's own place is the first in the queue: it is among those it takes along."""
        with queue.lock:
            taken = [queue.waiting.popleft() for _ in range(min(_MOST, len(queue.waiting)))]
        try:
            _fill(taken, work)
        except BaseException as error:
            for place in taken:
                place.error = error
            raise
        finally:
            with queue.lock:
                _hand_on(queue)
            for place in taken[1:]:
                place.called.set()


def _hand_on(queue: _Queue) -> None:
    """The first that waits leads next. The caller holds the queue's lock."""
    following = queue.waiting[0] if queue.waiting else None
    queue.busy = following is not None
    if following is not None:
        following.leads = True
        following.called.set()


def _fill(places: Sequence[_Place], work: Callable[[Sequence[Any]], Sequence[Any]]) -> None:
    try:
        results = work([place.item for place in places])
        for place, result in zip(places, results, strict=True):
            place.result = result
    except Exception as error:
        if len(places) > 1 and not isinstance(error, UNREACHABLE):
            for place in places:
                _fill([place], work)
            return
        # Alone, or the same trouble for everybody.
        for place in places:
            place.error = error
