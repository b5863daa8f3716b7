"""The processes' own little command line, which carries no typer: the same codes, one message, no traceback."""

from datetime import UTC, datetime
from typing import Any

import pytest
from dramatiq.errors import ConnectionClosed
from periodiq import Scheduler

from outreach.cli.processes import run_process
from outreach.cli.scheduler import PatientScheduler


@pytest.mark.parametrize(
    "words",
    [
        "worker --threads 257", "worker --threads -3", "worker --threads two", "worker --threads 1e3", "web --port 65536",
        "web --port http", "scheduler extra", "worker --thread 2", "wrker",
    ],
)  # fmt: skip
def test_words_that_cannot_be_used_are_usage(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run_process(words.split())
    assert end.value.code == 2
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize("words", ["worker", "scheduler", "web"])
@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("postgres://me:hunter2@127.0.0.1:1/none", 1),
        ("postgres://me:hunter2@127.0.0.1:1/none?hunter=2", 2),
        ("postgres://[::1/none", 2),
    ],
)
def test_a_database_that_cannot_be_used_is_one_message(
    words: str, url: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    assert run_process([words]) == code
    said = capsys.readouterr().err
    assert (said.count("error: "), "Traceback" in said, "hunter2" in said) == (1, False, False)


def test_what_nobody_foresaw_is_one_line_too_and_a_traceback_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def burst(*_: object) -> None:
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr("outreach.cli.processes.process_settings", burst)
    assert run_process(["worker"]) == 1
    assert capsys.readouterr().err == "error: RuntimeError (--traceback shows where)\n", (
        "its words stay out of what is kept as a log"
    )
    with pytest.raises(RuntimeError):
        run_process(["worker", "--traceback"])


def test_the_minutes_tick_that_redis_does_not_take_is_left_to_the_next_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: Any) -> None:
        raise ConnectionClosed(ConnectionError("refused"))

    monkeypatch.setattr(Scheduler, "send_actors", away)
    PatientScheduler(actors=[]).send_actors([], datetime(2026, 1, 5, tzinfo=UTC))
    assert [record.__dict__["action"] for record in caplog.records] == ["tick_lost"]
