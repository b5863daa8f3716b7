"""Thirty histories of the whole engine in any order, and four mistakes that such histories find out. OUTREACH_TEST_SEEDS=500 plays more."""

import os
from pathlib import Path

import pytest

from outreach.embedded.servers import Servers
from tests.chaos import broken
from tests.scenario.any_order import Theatre

pytestmark = [pytest.mark.servers, pytest.mark.timeout(3600)]
SEEDS = int(os.environ.get("OUTREACH_TEST_SEEDS", "30"))


def test_whatever_the_order(servers: Servers, template: str, tmp_path: Path) -> None:
    theatre = Theatre(url=servers.database_url, template=template, folder=tmp_path)
    for number in range(1, SEEDS + 1):
        wrong = theatre.play(number)
        assert wrong is None, f"{wrong}\nagain: python -m tests.scenario.any_order --seed {number}"


@pytest.mark.parametrize(
    ("protocol", "first", "finding"),
    [
        ("naive", 1, "more than called"),
        ("jobqueue", 7, "more than called"),
        ("no_drain", 10, "after an effective opt-out"),
        ("no_ledger_caps", 1, "over 2/hour"),
    ],
)
def test_they_find_what_is_broken_on_purpose(
    servers: Servers,
    template: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    protocol: str,
    first: int,
    finding: str,
) -> None:
    """Within thirty histories; they begin where it was found at once, to be quick."""
    monkeypatch.setattr(broken, "_replace", monkeypatch.setattr)
    broken.VARIANTS[protocol]()
    theatre = Theatre(url=servers.database_url, template=template, folder=tmp_path)
    found = next(wrong for number in range(30) if (wrong := theatre.play((first - 1 + number) % 30 + 1)))
    assert finding in found
