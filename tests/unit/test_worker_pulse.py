"""Who shows no sign of life is found; and a worker in production waits for its Redis where one on a laptop says what is wrong."""

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from outreach.broker import Heartbeat, make_broker, message
from outreach.cli import processes
from outreach.cli.worker import CONSUMER_SILENT, MESSAGE_STUCK, is_whole
from outreach.errors import ConfigurationError, OutreachError
from outreach.settings import Settings


class Thread:
    def __init__(self, name: str, *, alive: bool = True) -> None:
        self.name = name
        self._alive = alive

    def is_alive(self) -> bool:
        return self._alive


def a_worker(*, consumer_alive: bool = True, thread_alive: bool = True) -> Any:
    broker = make_broker("redis://127.0.0.1:1/0", "unit")
    consumers = {"soon.DQ": Thread("consumer", alive=consumer_alive)}
    return SimpleNamespace(broker=broker, consumers=consumers, workers=[Thread("one", alive=thread_alive)])


def test_a_worker_whose_threads_live_and_ask_is_whole() -> None:
    worker = a_worker()
    worker.broker.pulse.asked["soon.DQ"] = time.monotonic() - CONSUMER_SILENT / 2
    worker.broker.pulse.in_hand["one"] = ("advance_lead", time.monotonic() - MESSAGE_STUCK / 2)
    assert is_whole(worker)


@pytest.mark.parametrize("dead", [{"consumer_alive": False}, {"thread_alive": False}])
def test_a_thread_that_has_died_is_found(dead: dict[str, bool]) -> None:
    assert not is_whole(a_worker(**dead))


def test_a_consumer_that_has_not_asked_for_long_is_found(caplog: pytest.LogCaptureFixture) -> None:
    worker = a_worker()
    worker.broker.pulse.asked["soon.DQ"] = time.monotonic() - CONSUMER_SILENT - 1
    assert not is_whole(worker)
    assert caplog.records[-1].__dict__["threads"] == "consumer of soon.DQ"


def test_a_message_that_no_time_limit_could_end_is_found(caplog: pytest.LogCaptureFixture) -> None:
    worker = a_worker()
    worker.broker.pulse.in_hand["one"] = ("advance_lead", time.monotonic() - MESSAGE_STUCK - 1)
    assert not is_whole(worker)
    assert caplog.records[-1].__dict__["threads"] == "one with advance_lead"


def test_a_message_is_in_hand_from_its_beginning_to_its_end_whatever_came_of_it() -> None:
    broker, beats = make_broker("redis://127.0.0.1:1/0", "unit"), Heartbeat()
    one: Any = message("engine", "advance_lead", 1)
    ends: list[Callable[[], None]] = [
        lambda: beats.after_process_message(broker, one, exception=ValueError()),
        lambda: beats.after_skip_message(broker, one),
    ]
    for end in ends:
        beats.before_process_message(broker, one)
        assert [actor for actor, _ in broker.pulse.in_hand.values()] == ["advance_lead"]
        end()
        assert broker.pulse.in_hand == {}


# --- a Redis that is away at the start ------------------------------------------------------------------------------


@pytest.fixture
def away_twice(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    asked: list[str | None] = []

    def ask(url: str | None) -> None:
        asked.append(url)
        if len(asked) < 3:
            raise OutreachError("Redis does not answer: refused")

    monkeypatch.setattr(processes, "require_redis", ask)
    monkeypatch.setattr(processes, "_REDIS_EVERY", 0.0)
    return asked


def test_in_production_a_process_waits_for_its_redis(away_twice: list[str | None]) -> None:
    processes._find_redis(Settings(production=True, redis_url="redis://r"), threading.Event())
    assert away_twice == ["redis://r"] * 3


def test_elsewhere_it_says_what_is_wrong_at_once(away_twice: list[str | None]) -> None:
    with pytest.raises(OutreachError):
        processes._find_redis(Settings(), threading.Event())
    assert len(away_twice) == 1


def test_what_waits_is_told_to_end_like_any_other(away_twice: list[str | None]) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(OutreachError):
        processes._find_redis(Settings(production=True), stop)
    assert len(away_twice) == 1


def test_a_url_that_cannot_be_used_is_never_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str | None) -> None:
        raise ConfigurationError("Redis does not let us in")

    monkeypatch.setattr(processes, "require_redis", refuse)
    with pytest.raises(ConfigurationError):
        processes._find_redis(Settings(production=True), threading.Event())
