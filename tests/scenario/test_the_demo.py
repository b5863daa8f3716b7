"""The whole story on real processes and real servers: `outreach demo`, judged by the provider's own log."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]


def test_the_demo_sends_and_its_witness_finds_nothing_wrong(tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "outreach",
        "--data-dir",
        str(tmp_path),
        "demo",
        "--leads",
        "60",
        "--seed",
        "3",
        "--json",
    ]
    run = subprocess.run(words, capture_output=True, text=True, timeout=150, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    (last,) = run.stdout.strip().splitlines()
    figures = json.loads(last)
    witness = figures["witness"]
    assert witness["accepted"] > 60, "everybody is followed, and some are written to"
    zeros = ("duplicates", "lost", "over_cap", "after_opt_out", "in_doubt_open")
    assert {name: witness[name] for name in zeros} == dict.fromkeys(zeros, 0)
    assert figures["persons"] == 60
    assert figures["replies"] > 0 and figures["tasks"] > 0
