"""Group commit: threads that want the same kind of transaction at the same time share one.

Nobody waits for company. Whoever comes while nothing is under way goes at once, alone; who comes meanwhile waits, and the
first of them then takes all that wait along. One commit and one round trip per statement serve them all, and the busier a
process is, the less each one costs.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

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
    #: what was tried for several failed: this one is tried by itself
    alone: bool = False
    result: Any = None
    error: BaseException | None = None


class Together(Generic[Item, Result]):
    """A queue of the threads that want one kind of thing."""

    def __init__(self, *, same_for_all: tuple[type[Exception], ...] = ()) -> None:
        """`same_for_all`: errors that would meet each of them alone, too."""
        self._same_for_all = same_for_all
        self._lock = threading.Lock()
        self._waiting: deque[_Place] = deque()
        self._busy = False

    def do(self, item: Item, work: Callable[[Sequence[Item]], Sequence[Result]]) -> Result:
        """This item's result of `work(items)`. What fails for several is tried again by each thread alone: each meets its own.

        So work must be safe to do again. Its errors reach every thread that `same_for_all` names them for.
        """
        place = _Place(item)
        with self._lock:
            self._waiting.append(place)
            place.leads, self._busy = not self._busy, True
        if not place.leads:
            self._wait(place)
        if place.leads:
            self._lead(work)
        if place.alone:
            return work([item])[0]
        if place.error is not None:
            raise place.error
        return cast(Result, place.result)

    def _wait(self, place: _Place) -> None:
        try:
            place.called.wait()
        except BaseException:
            # The thread is being ended: whoever stands behind it must not wait for it for ever.
            with self._lock:
                if place in self._waiting:
                    self._waiting.remove(place)
                if place.leads:
                    self._hand_on()
            raise

    def _lead(self, work: Callable[[Sequence[Item]], Sequence[Result]]) -> None:
        """The leader's own place is the first in the queue: it is among those it takes along."""
        with self._lock:
            taken = [self._waiting.popleft() for _ in range(min(_MOST, len(self._waiting)))]
        try:
            self._fill(taken, work)
        except BaseException as error:
            for place in taken:
                place.error = error
            raise
        finally:
            with self._lock:
                self._hand_on()
            for place in taken[1:]:
                place.called.set()

    def _hand_on(self) -> None:
        """The first that waits leads next. The caller holds the lock."""
        following = self._waiting[0] if self._waiting else None
        self._busy = following is not None
        if following is not None:
            following.leads = True
            following.called.set()

    def _fill(self, places: Sequence[_Place], work: Callable[[Sequence[Item]], Sequence[Result]]) -> None:
        try:
            results = work([place.item for place in places])
            for place, result in zip(places, results, strict=True):
                place.result = result
        except Exception as error:
            shared = len(places) == 1 or isinstance(error, self._same_for_all)
            for place in places:
                place.alone, place.error = not shared, error if shared else None
