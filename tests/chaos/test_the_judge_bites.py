"""Each variant that is broken on purpose is found out by the judge, on a scenario where ours stays clean."""

from pathlib import Path

import pytest

from tests.chaos.chaos_support import chaos

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]


@pytest.mark.parametrize(
    ("protocol", "scenario", "finding"),
    [
        ("naive", "hints", "duplicates"),
        ("jobqueue", "silent", "duplicates"),
        ("no_drain", "opt-outs", "after_opt_out"),
        ("no_ledger_caps", "flushes", "over_cap"),
    ],
)
def test_the_judge_bites(tmp_path: Path, protocol: str, scenario: str, finding: str) -> None:
    code, found = chaos(tmp_path, "--protocol", protocol, "--scenario", scenario)
    assert (code, found["total"][finding] > 0) == (1, True), found["total"]
