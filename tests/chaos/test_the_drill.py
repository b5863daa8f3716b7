"""The restore drill, end to end on servers of its own: pg_dump, loss, pg_restore, refusal, adoption; the witness judges."""

from pathlib import Path

from outreach.chaos.drill import run_drill
from outreach.embedded.servers import start_servers
from outreach.settings import Settings


def test_nothing_is_sent_twice_or_to_somebody_who_has_said_no(tmp_path: Path) -> None:
    with start_servers(Settings(data_dir=tmp_path), "drill", scratch=True) as servers:
        done = run_drill(servers, tmp_path, seed=2, leads=60, say=lambda _: None, before=2.5, lost=3.0)
    assert done.clean, done.verdict.findings
    assert done.replayed.get("erased") == 2 and done.replayed["suppressed"] >= 2
    assert done.lost["sends"] > 0 and done.recovered > 0, "it must have lost something"
