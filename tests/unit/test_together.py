"""Threads that go in step: who shares a call with whom, what each of them gets, and what a failure does to the others."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from outreach.together import Together, _Place

#: Only a thread that hangs takes so long (seconds).
HANGS = 20.0


class Ended(BaseException):
    """What ends a thread from outside, as a time limit does: no Exception, so nobody treats it as one."""


class Poisoned(Exception):
    """What one item does to every call that it takes part in."""


class Gone(Exception):
    """What meets all alike: the server is away."""


class Queue(Together[str, str]):
    """Tells when a thread has taken its place behind others, and ends it in its wait where a test says so."""

    def __init__(self) -> None:
        super().__init__(same_for_all=(Gone,))
        self.stands = threading.Semaphore(0)
        #: item -> what its thread waits by
        self.waits: dict[str, threading.Event] = {}

    def _wait(self, place: _Place) -> None:
        place.called = self.waits.get(place.item, place.called)
        self.stands.release()
        super()._wait(place)


class EndedWhenCalled(threading.Event):
    """The thread is ended at the very instant at which its turn has come."""

    def wait(self, timeout: float | None = None) -> bool:
        super().wait(timeout)
        raise Ended


@dataclass
class EndedBefore(threading.Event):
    """The thread is ended while it waits."""

    end: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__()

    def wait(self, timeout: float | None = None) -> bool:
        self.end.wait(timeout)
        raise Ended


@dataclass
class Crowd:
    """Threads with one item each, and the work that they share. The calls of held items wait until they are let go."""

    queue: Queue = field(default_factory=Queue)
    #: who called, with what
    calls: list[tuple[str, list[str]]] = field(default_factory=list)
    answers: dict[str, str | BaseException] = field(default_factory=dict)
    poison: dict[str, BaseException] = field(default_factory=dict)
    _held: dict[str, threading.Event] = field(default_factory=dict)
    _working: dict[str, threading.Event] = field(default_factory=dict)
    _threads: list[threading.Thread] = field(default_factory=list)

    def work(self, items: Sequence[str]) -> list[str]:
        self.calls.append((threading.current_thread().name, list(items)))
        for item in items:
            if item in self._held:
                self._working[item].set()
                assert self._held[item].wait(HANGS)
        for item in items:
            if item in self.poison:
                raise self.poison[item]
        return [item.upper() for item in items]

    def hold(self, *items: str) -> None:
        """Calls with these stand still."""
        for item in items:
            self._held[item], self._working[item] = threading.Event(), threading.Event()

    def at_work(self, item: str) -> None:
        """Wait until its call stands still."""
        assert self._working[item].wait(HANGS)

    def let_go(self, item: str) -> None:
        self._held[item].set()

    def comes(self, *items: str) -> None:
        """A thread for each; for those that find somebody at work: until it stands in the queue, one behind the other."""
        for item in items:
            thread = threading.Thread(target=self._do, args=(item,), name=item, daemon=True)
            self._threads.append(thread)
            thread.start()
            if len(self._threads) > 1:
                assert self.queue.stands.acquire(timeout=HANGS)

    def _do(self, item: str) -> None:
        try:
            self.answers[item] = self.queue.do(item, self.work)
        except BaseException as error:
            self.answers[item] = error

    def all_done(self) -> None:
        for thread in self._threads:
            thread.join(HANGS)
            assert not thread.is_alive(), f"{thread.name} hangs"

    def leaves(self, item: str) -> None:
        """Wait until its thread is gone."""
        (thread,) = (one for one in self._threads if one.name == item)
        thread.join(HANGS)
        assert not thread.is_alive()

    @property
    def shared(self) -> list[list[str]]:
        return [items for _, items in self.calls]


@pytest.fixture
def crowd() -> Crowd:
    """`first` is at work, and everybody else will find it there."""
    found = Crowd()
    found.hold("first")
    found.comes("first")
    found.at_work("first")
    return found


def finish(crowd: Crowd, item: str = "first") -> None:
    crowd.let_go(item)
    crowd.all_done()


# --- who goes with whom --------------------------------------------------------------------------------------


def test_who_is_alone_goes_at_once_on_its_own_thread() -> None:
    queue, calls = Queue(), list[tuple[int, list[str]]]()

    def work(items: Sequence[str]) -> list[str]:
        calls.append((threading.get_ident(), list(items)))
        return [item.upper() for item in items]

    assert [queue.do(item, work) for item in ("a", "b")] == ["A", "B"]
    assert calls == [(threading.get_ident(), ["a"]), (threading.get_ident(), ["b"])]


def test_those_who_wait_share_one_call_and_each_gets_its_own_result(crowd: Crowd) -> None:
    crowd.comes("a", "b", "c")
    finish(crowd)
    assert crowd.calls == [("first", ["first"]), ("a", ["a", "b", "c"])]
    assert crowd.answers == {"first": "FIRST", "a": "A", "b": "B", "c": "C"}


def test_who_comes_while_a_group_is_at_work_is_in_the_next(crowd: Crowd) -> None:
    crowd.hold("a")
    crowd.comes("a", "b")
    crowd.let_go("first")
    crowd.at_work("a")
    crowd.comes("c", "d")
    finish(crowd, "a")
    assert crowd.shared == [["first"], ["a", "b"], ["c", "d"]]


def test_a_group_is_never_larger_than_thirty_two(crowd: Crowd) -> None:
    names = [f"n{number:02}" for number in range(70)]
    crowd.comes(*names)
    finish(crowd)
    assert [len(items) for items in crowd.shared] == [1, 32, 32, 6]
    assert [item for items in crowd.shared[1:] for item in items] == names
    assert all(crowd.answers[name] == name.upper() for name in names)


# --- what fails ----------------------------------------------------------------------------------------------


def test_what_fails_for_several_is_tried_again_by_each_alone_and_only_the_poisoned_one_meets_its_error(
    crowd: Crowd,
) -> None:
    crowd.poison["b"] = Poisoned("b")
    crowd.comes("a", "b", "c")
    finish(crowd)
    assert crowd.calls[1] == ("a", ["a", "b", "c"])
    assert sorted(crowd.calls[2:]) == [("a", ["a"]), ("b", ["b"]), ("c", ["c"])]
    assert (crowd.answers["a"], crowd.answers["c"]) == ("A", "C")
    assert crowd.answers["b"] is crowd.poison["b"]


def test_too_few_results_are_nobodys_results(crowd: Crowd) -> None:
    right = crowd.work

    def forgetful(items: Sequence[str]) -> list[str]:
        return right(items)[-1:]

    crowd.work = forgetful  # type: ignore[method-assign]
    crowd.comes("a", "b")
    finish(crowd)
    assert (crowd.answers["a"], crowd.answers["b"]) == ("A", "B")


def test_what_fails_for_one_alone_is_not_tried_again(crowd: Crowd) -> None:
    crowd.poison["a"] = Poisoned("a")
    crowd.comes("a")
    finish(crowd)
    assert crowd.shared == [["first"], ["a"]]
    assert crowd.answers["a"] is crowd.poison["a"]


def test_what_would_meet_each_alike_reaches_all_at_once(crowd: Crowd) -> None:
    crowd.poison["b"] = Gone("the server")
    crowd.comes("a", "b", "c")
    finish(crowd)
    assert crowd.shared == [["first"], ["a", "b", "c"]]
    assert {id(crowd.answers[name]) for name in "abc"} == {id(crowd.poison["b"])}


def test_after_a_failure_the_next_one_goes_at_once(crowd: Crowd) -> None:
    crowd.poison |= {"first": Poisoned("first"), "b": Poisoned("b")}
    crowd.comes("a", "b")
    finish(crowd)
    assert crowd.queue.do("later", crowd.work) == "LATER"


# --- who is ended --------------------------------------------------------------------------------------------


def test_a_thread_that_is_ended_in_its_wait_is_not_waited_for(crowd: Crowd) -> None:
    crowd.queue.waits["a"] = ended = EndedBefore()
    crowd.comes("a", "b", "c")
    ended.end.set()
    crowd.leaves("a")
    crowd.comes("d")
    finish(crowd)
    assert crowd.shared == [["first"], ["b", "c", "d"]]
    assert isinstance(crowd.answers["a"], Ended)
    assert (crowd.answers["b"], crowd.answers["c"]) == ("B", "C")


def test_the_last_that_waits_may_be_ended_too(crowd: Crowd) -> None:
    crowd.queue.waits["a"] = ended = EndedBefore()
    crowd.comes("a")
    ended.end.set()
    crowd.leaves("a")
    crowd.comes("b")
    finish(crowd)
    assert crowd.shared == [["first"], ["b"]]
    assert crowd.queue.do("later", crowd.work) == "LATER"


@pytest.mark.parametrize("behind", [(), ("b", "c")])
def test_a_thread_that_is_ended_as_its_turn_to_lead_comes_hands_it_on(
    crowd: Crowd, behind: tuple[str, ...]
) -> None:
    crowd.queue.waits["a"] = EndedWhenCalled()
    crowd.comes("a", *behind)
    finish(crowd)
    assert crowd.shared == [["first"], *([list(behind)] if behind else [])]
    assert isinstance(crowd.answers["a"], Ended)
    assert [crowd.answers[name] for name in behind] == [name.upper() for name in behind]
    assert crowd.queue.do("later", crowd.work) == "LATER"


def test_a_thread_that_is_ended_after_it_was_taken_along_takes_nobody_with_it(crowd: Crowd) -> None:
    crowd.queue.waits["b"] = ended = EndedBefore()
    crowd.hold("a")
    crowd.comes("a", "b", "c")
    crowd.let_go("first")
    crowd.at_work("a")
    crowd.comes("d")
    ended.end.set()
    crowd.leaves("b")
    finish(crowd, "a")
    assert crowd.shared == [["first"], ["a", "b", "c"], ["d"]]
    assert [crowd.answers[name] for name in "acd"] == ["A", "C", "D"]


def test_what_ends_the_leader_reaches_those_it_took_along_and_the_queue_goes_on(crowd: Crowd) -> None:
    crowd.poison["a"] = Ended()
    crowd.hold("a")
    crowd.comes("a", "b")
    crowd.let_go("first")
    crowd.at_work("a")
    crowd.comes("c")
    finish(crowd, "a")
    assert crowd.shared == [["first"], ["a", "b"], ["c"]]
    assert (crowd.answers["a"], crowd.answers["b"]) == (crowd.poison["a"], crowd.poison["a"])
    assert crowd.answers["c"] == "C"


def test_what_ends_a_thread_that_is_alone_leaves_the_queue_free() -> None:
    queue: Together[str, str] = Together()

    def ending(_: Sequence[str]) -> list[str]:
        raise Ended

    with pytest.raises(Ended):
        queue.do("a", ending)
    assert queue.do("b", lambda items: [item.upper() for item in items]) == "B"
