"""A failpoint kills as kill -9 does, at its own name only, and nothing at all unless it was armed."""

import signal
import subprocess
import sys


def end_of(code: str) -> int:
    return subprocess.run(
        [sys.executable, "-c", f"from outreach.runtime.failpoints import arm, failpoint; {code}"], check=False
    ).returncode


def test_an_unarmed_point_is_passed() -> None:
    assert end_of("failpoint('call.before')") == 0


def test_an_armed_point_kills_at_its_own_name_only() -> None:
    assert end_of("arm('call.after'); failpoint('call.before')") == 0
    assert end_of("arm('call.after'); failpoint('call.after')") == -signal.SIGKILL
