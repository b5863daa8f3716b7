"""Threads that are surely in one pass: they gather behind a leader that stands still, and then go in step."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from outreach.runtime import perform
from outreach.runtime.call import call
from outreach.runtime.claim import Claimed, claim
from outreach.runtime.hints import Hints
from outreach.runtime.prepare import Prepared, prepare
from outreach.runtime.step import Called, Passed, step
from outreach.together import Together
from tests.stage import House

#: Only a thread that hangs takes so long (seconds).
HANGS = 20.0
Work = Callable[[], Hints]


@contextmanager
def going_in_step(house: House, works: Sequence[Work]) -> Iterator[list[Future[Hints]]]:
    """Each on a thread of its own, in this order, and all are in one pass. It has begun; at the end all have ended."""
    stands, go, waits = threading.Event(), threading.Event(), threading.Semaphore(0)
    wait = Together._wait

    def counted(together: Together[Any, Any], place: Any) -> None:
        waits.release()
        wait(together, place)

    def stand_still(items: Sequence[Any]) -> list[Passed]:
        stands.set()
        assert go.wait(HANGS)
        return [Passed([]) for _ in items]

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(len(works) + 1) as pool:
        patch.setattr(Together, "_wait", counted)
        pool.submit(house.ctx.together.do, "step", None, stand_still)
        assert stands.wait(HANGS)
        futures = []
        for work in works:
            futures.append(pool.submit(work))
            assert waits.acquire(timeout=HANGS)
        go.set()
        yield futures


def in_one_pass(house: House, *works: Work) -> list[BaseException | None]:
    """All of them, to their ends; what went wrong with each. What they hint at is carried out afterwards."""
    with going_in_step(house, works) as futures:
        pass
    errors = [future.exception() for future in futures]
    for future, error in zip(futures, errors, strict=True):
        house.hints.extend(future.result() if error is None else [])
    return errors


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[list[object]]:
    """What every pass was for."""
    found: list[list[object]] = []

    def noted(ctx: Any, items: Sequence[Any]) -> list[Passed]:
        found.append(list(items))
        return step(ctx, items)

    monkeypatch.setattr(perform, "step", noted)
    return found


def begin(house: House, execution_id: int) -> Claimed:
    """T1, by itself."""
    prepared = prepare(house.ctx, execution_id)
    assert isinstance(prepared, Prepared)
    claimed = claim(house.ctx, prepared)
    assert isinstance(claimed, Claimed)
    return claimed


def answered(house: House, claimed: Claimed) -> Work:
    """The call is made; what is left is its outcome, and the lead's next step."""
    outcome = call(house.ctx, claimed)
    return lambda: perform._in_step(house.ctx, Called(claimed, outcome, onward=True))
