"""Real processes that lose a thread, a lead's process, or their way: each ends, or goes on, and costs a delay and nothing else."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from outreach.broker import message
from outreach.embedded.servers import Servers
from outreach.embedded.supervisor import Command, Supervisor
from tests.integration.kill_support import WE, Lane, open_lane, wait_for

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]


@pytest.fixture
def lane(servers: Servers, template: str, tmp_path: Path) -> Iterator[Lane]:
    with open_lane(servers, template, f"liveness_{os.getpid()}", tmp_path) as opened:
        opened.environment |= {
            "OUTREACH_TICK_SECONDS": "0.05", "OUTREACH_HINT_LEASE_SECONDS": "0.5", "OUTREACH_CHANNEL_WORKERS": "", "OUTREACH_LOG_LEVEL": "INFO",
        }  # fmt: skip
        yield opened


def command(lane: Lane, *words: str, **environ: str) -> Command:
    return Command(
        name="worker", words=[sys.executable, "-m", *words, "worker", "--threads", "2"], environ=lane.environment | environ, restart=True,
        log=lane.folder / "worker.log",
    )  # fmt: skip


def lead(lane: Lane, lead_id: int) -> dict[str, Any]:
    return lane.db.read("SELECT * FROM lead WHERE id = %s", (lead_id,))[0]


def swept_until(lane: Lane, done: Any, what: str) -> None:
    """Ticks, as often as the scheduler of a hasty world would send them."""

    def look() -> bool:
        lane.hint(message("inbound", "tick", 0).copy(args=()))
        return bool(done())

    wait_for(look, what, lambda: (lane.folder / "worker.log").read_text()[-3000:], every=0.3, seconds=240)


def test_a_lead_that_kills_its_process_is_parked_and_the_rest_goes_on(lane: Lane) -> None:
    bad, good, better = (victim.lead_id for victim in lane.enroll("t", WE, 3))
    # hinted once already, to spare the test a worker that dies
    lane.db.run(lambda tx: tx.execute("UPDATE lead SET hints = 1 WHERE id = %s", (bad,)))
    poisoned = command(lane, "outreach", OUTREACH_FAILPOINT=f"claim.before@{bad}")
    with Supervisor(say=lambda _line: None) as supervisor:
        supervisor.start(poisoned)
        swept_until(lane, lambda: lead(lane, bad)["paused_at"], "the lead to be parked")
        swept_until(
            lane,
            lambda: {lead(lane, one)["state"] for one in (good, better)} == {"finished"},
            "the rest to go on",
        )
        died = supervisor.exit_codes()["worker"]
    assert lead(lane, bad)["pause_reason"] == "failed 5 times: its process died: killed by SIGKILL"
    assert 1 <= died.count(-signal.SIGKILL) <= 5, "then it was tried in processes of its own"
    assert (
        lane.db.read("SELECT id FROM execution WHERE lead_id = %s AND started_at IS NOT NULL", (bad,)) == []
    )
    verdict = lane.verdict()
    assert (verdict.duplicates, verdict.lost) == (0, 0), verdict.findings


def test_a_worker_that_loses_a_thread_ends_is_started_again_and_the_lead_moves(lane: Lane) -> None:
    with Supervisor(say=lambda _line: None) as supervisor:
        # the first of them: a thread of the queue `soon` dies as soon as it stands
        pid = supervisor.start(
            command(
                lane, "tests.integration.one_thread_less", "soon.DQ", OUTREACH_MARK=str(lane.folder / "mark")
            )
        )
        wait_for(
            lambda: supervisor.running().get("worker", pid) != pid,
            "the worker to end by itself and to be started again",
            lambda: (lane.folder / "worker.log").read_text()[-3000:],
            every=0.1,
        )
        (one,) = (victim.lead_id for victim in lane.enroll("t", WE, 1))
        swept_until(lane, lambda: lead(lane, one)["state"] == "finished", "the lead to move")
        assert supervisor.exit_codes()["worker"][0] == 1
    said = (lane.folder / "worker.log").read_text()
    assert "worker_thread_died" in said and "threads=" in said


def test_told_to_end_twice_in_the_middle_of_a_call_a_worker_lets_it_end_and_begins_nothing_more(
    lane: Lane,
) -> None:
    (follow_then_write,) = (victim.lead_id for victim in lane.enroll("t", WE, 1))
    lane.faults({"match": {"route": "*follow"}, "do": "delay", "seconds": 2.0})
    with Supervisor(say=lambda _line: None) as supervisor:
        supervisor.start(command(lane, "outreach"))
        calling = "SELECT id FROM execution WHERE state = 'calling'"
        swept_until(lane, lambda: lane.db.read(calling), "a call to be under way")
        for _ in range(2):
            supervisor.kill("worker", signal.SIGTERM)
            time.sleep(0.1)
        wait_for(
            lambda: bool(supervisor.exit_codes()["worker"]), "the worker to end", lambda: None, every=0.1
        )
        assert supervisor.exit_codes()["worker"] == (0,)
    rows = lane.db.read("SELECT kind, state, attempts FROM execution ORDER BY id")
    assert rows[0] == {"kind": "FOLLOW_ON_TWITTER", "state": "sent", "attempts": 1}, "settled, not in doubt"
    assert [row["state"] for row in rows[1:]] == ["planned"], "its next step waits for the next worker"
    assert lead(lane, follow_then_write)["state"] == "active"
    broker: Any = lane.app.broker
    assert broker.client.keys(f"{broker.namespace}:__acks__*") == [], (
        "whatever was fetched is done or given back"
    )
