"""`outreach chaos --smoke` finds nothing, and says what it does not understand."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.chaos_support import chaos

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]
RED = ("duplicates", "lost", "over_cap", "after_opt_out", "after_pause")


def test_smoke_finds_nothing(tmp_path: Path) -> None:
    code, found = chaos(tmp_path, "--smoke", "--seed", "3")
    assert {name: found["total"][name] for name in RED} == dict.fromkeys(RED, 0)
    assert (code, found["total"]["in_doubt_open"]) == (0, 0)
    kills, commits, flushes, opt_outs = found["scenarios"]
    assert kills["broken"]["worker killed"] >= 5
    assert commits["broken"]["commits unanswered"] >= 5
    assert flushes["broken"]["redis flushed"] >= 4
    assert opt_outs["broken"]["opt-outs"] >= 20
    assert min(one["accepted"] for one in found["scenarios"]) >= 5, "something was sent in each of them"
    assert Path(kills["witness"]).stat().st_size > 0


def test_words_that_are_not_known(tmp_path: Path) -> None:
    for words in (["--scenario", "kils"], ["--smoke", "--full"], [], ["--smoke", "--protocol", "hope"]):
        run = subprocess.run(
            [sys.executable, "-m", "outreach", "chaos", "--data-dir", str(tmp_path), *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert run.returncode == 2, run.stderr
        assert "Traceback" not in run.stderr
