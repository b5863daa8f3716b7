"""A failpoint kills as kill -9 does, at its own name and passage only, and nothing at all unless it was armed."""

import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from outreach.cli.processes import worker
from outreach.errors import ConfigurationError
from outreach.failpoints import POINTS, arm
from outreach.settings import Settings

ROOT = Path(__file__).parents[2]
PASSED = re.compile(r'\bfailpoint\("([^"]+)"\)')


def end_of(code: str) -> int:
    return subprocess.run(
        [sys.executable, "-c", f"from outreach.failpoints import arm, failpoint; {code}"],
        check=False,
        cwd=ROOT,
    ).returncode


def test_an_unarmed_point_is_passed() -> None:
    assert end_of("failpoint('call.before')") == 0


def test_an_armed_point_kills_at_its_own_name_only() -> None:
    assert end_of("arm('call.after'); failpoint('call.before')") == 0
    assert end_of("arm('call.after'); failpoint('call.after')") == -signal.SIGKILL


def test_a_passage_is_counted() -> None:
    twice = "failpoint('call.after'); failpoint('call.before'); failpoint('call.after')"
    assert end_of(f"arm('call.after:3'); {twice}") == 0
    assert end_of(f"arm('call.after:3'); {twice}; failpoint('call.after')") == -signal.SIGKILL


@pytest.mark.parametrize("text", ["call.middle", "", "call", "call.after:0", "call.after:", "call.after:x"])
def test_what_is_no_point_is_refused_and_told_how_to_mend(text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        arm(text)
    assert repr(text) in refused.value.message
    name = text.partition(":")[0]
    assert refused.value.hint is not None
    if name in POINTS:
        assert f"{name}:3" in refused.value.hint
    else:
        assert all(point in refused.value.hint for point in POINTS)


def test_a_worker_refuses_before_it_looks_for_servers() -> None:
    with pytest.raises(ConfigurationError, match=r"OUTREACH_FAILPOINT='call\.middle'"):
        worker(Settings(failpoint="call.middle"))


def test_each_point_stands_at_one_place_in_the_code_and_no_other_does() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "outreach").rglob("*.py")]
    assert Counter(name for text in sources for name in PASSED.findall(text)) == Counter(list(POINTS))


def test_each_point_is_told_in_the_guarantees_in_the_same_words() -> None:
    document = (ROOT / "docs/guarantees.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_.]+)` \| ([^|]+) \|", document, re.MULTILINE)
    assert dict(rows) == dict(POINTS)


def test_a_deadly_lead_kills_whoever_has_it_in_hand_there_and_nobody_else() -> None:
    armed = "from outreach.failpoints import in_hand; arm('claim.before@7');"
    assert end_of(f"{armed} in_hand('claim.before', 6, 8, None); in_hand('perform.before', 7)") == 0
    assert end_of(f"{armed} in_hand('claim.before', 6, 7)") == -signal.SIGKILL


@pytest.mark.parametrize("text", ["call.after@7", "claim.before@", "claim.before@x", "nowhere@7"])
def test_a_deadly_lead_needs_a_number_and_a_point_that_knows_leads(text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        arm(text)
    assert repr(text) in refused.value.message
    assert refused.value.hint is not None and "claim.before@7" in refused.value.hint
