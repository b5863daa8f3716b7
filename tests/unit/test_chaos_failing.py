"""A scenario in which the suite itself fails is a row that says so, and takes no other's result along."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from outreach.chaos import running
from outreach.chaos.scenarios import Scenario
from outreach.cli import run
from outreach.errors import UsageError


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What has been started and ended; the second scenario fails."""
    said: list[str] = []

    def start(stack: Any, _folder: Path) -> Any:
        said.append("servers")
        stack.callback(said.append, "ended")
        return SimpleNamespace()

    def play(scenario: Scenario, *_: Any, **__: Any) -> Any:
        said.append(scenario.name)
        if scenario.name == "commits":
            raise UsageError("worker-1 cannot be started")
        figures = dict.fromkeys(
            ("attempted", "accepted", "duplicates", "lost", "over_cap", "after_opt_out", "after_pause", "in_doubt_open", "held_for_human"), 0
        )  # fmt: skip
        line = {"name": scenario.name, "seed": 1, **figures, "accepted": 5}
        return SimpleNamespace(
            scenario=scenario.name, red=False, line=lambda: line, verdict=SimpleNamespace(findings=[]), elapsed_s=1.0, broken={}, doubted=0, unnoticed=[]
        )  # fmt: skip

    monkeypatch.setattr(running, "start_own", start)
    monkeypatch.setattr(running, "run_scenario", play)
    return said


def test_the_others_are_judged_all_the_same_and_the_run_is_red(
    started: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["chaos", "--smoke", "--json", "--data-dir", str(tmp_path)]) == 1
    found = json.loads(capsys.readouterr().out)
    errors = {one["name"]: one.get("error") for one in found["scenarios"]}
    assert errors == {
        "kills": None, "commits": "UsageError: worker-1 cannot be started", "flushes": None, "opt-outs": None,
    }  # fmt: skip
    assert found["total"]["accepted"] == 15
    assert started == ["servers", "kills", "commits", "ended", "servers", "flushes", "opt-outs", "ended"]


def test_the_table_says_so_too(
    started: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["chaos", "--smoke", "--data-dir", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert "commits is not judged, the suite itself failed" in said.out
    assert "--scenario commits" in said.err
    assert started


def test_servers_of_others_end_it_before_it_begins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> Any:
        raise UsageError("chaos breaks its own servers only")

    monkeypatch.setattr(running, "start_own", refuse)
    assert run(["chaos", "--smoke", "--data-dir", str(tmp_path)]) == 2
    assert "its own servers only" in capsys.readouterr().err
