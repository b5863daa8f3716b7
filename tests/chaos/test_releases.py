"""An older release's workers beside ours, on one database, while all of them are replaced again and again."""

import shutil
from pathlib import Path

import pytest

from outreach.chaos.ground import NotHere
from outreach.chaos.running import run_scenario
from outreach.chaos.scenarios import named
from outreach.embedded.servers import Servers
from tests.integration.old_release import make_old_release

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]


def test_two_releases_at_once(servers: Servers, tmp_path: Path) -> None:
    old = make_old_release(tmp_path / "old")
    ran = tmp_path / "the older release ran"
    with (old / "outreach" / "__init__.py").open("a") as file:
        file.write(f"\nimport pathlib\npathlib.Path({str(ran)!r}).touch()\n")
    result = run_scenario(
        named("releases"), servers, tmp_path, seed=1, leads=60, seconds=8.0, say=lambda _: None, old=old
    )
    shutil.rmtree(old)
    line = result.line()
    assert ran.exists()
    assert not result.red and (line["in_doubt_open"], line["parked"]) == (0, 0), (
        line,
        result.verdict.findings,
    )
    assert (
        line["broken"]["older workers"],
        line["broken"]["worker told to end"] >= 1,
        line["accepted"] >= 5,
    ) == (2, True, True), line


def test_without_an_older_release_it_is_skipped_by_name(servers: Servers, tmp_path: Path) -> None:
    with pytest.raises(NotHere, match="--old PATH"):
        run_scenario(named("releases"), servers, tmp_path, seed=1, leads=60, seconds=8.0, say=lambda _: None)
