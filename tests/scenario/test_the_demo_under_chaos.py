"""The same story while its workers are killed, Valkey is flushed and Postgres restarts: the witness finds nothing wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]


def test_kills_flushes_and_a_restart_cost_time_and_nothing_else(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "outreach", "demo", "--chaos", "--json", "--data-dir", str(tmp_path)]
    run = subprocess.run(
        [*words, "--leads", "80", "--seed", "4", "--seconds", "24"],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert run.stdout, run.stderr[-2000:]
    (last,) = run.stdout.strip().splitlines()
    figures = json.loads(last)
    zeros = ("duplicates", "lost", "over_cap", "after_opt_out", "in_doubt_open")
    assert {name: figures["witness"][name] for name in zeros} == dict.fromkeys(zeros, 0)
    assert run.returncode == 0, run.stderr[-2000:]
    chaos = figures["chaos"]
    assert chaos["worker_kills"] >= 3 and chaos["flushalls"] >= 1 and chaos["postgres_restarts"] == 1
    assert figures["witness"]["accepted"] > 40, "most are followed, and some are written to"
