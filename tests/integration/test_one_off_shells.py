"""`scripts/enqueue_one_off.py --key k` in five shells at once, beside a worker: one message at the provider."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from outreach.broker import message
from outreach.embedded.servers import Servers
from outreach.simulator import id_of_handle
from tests.integration.kill_support import Lane, open_lane, wait_for
from tests.integration.law_support import people

pytestmark = pytest.mark.servers
ROOT = Path(__file__).parents[2]


def shell(lane: Lane, person: int, *words: str) -> "subprocess.Popen[str]":
    """One shell with the command in it, begun and not waited for."""
    command = [
        sys.executable, str(ROOT / "scripts/enqueue_one_off.py"), "--key", "welcome-17", "--to", str(person), "--kind", "SEND_TWITTER_DM",
        "--account", "we", "--json", *words,
    ]  # fmt: skip
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        command, env={**lane.environment, "PYTHONPATH": paths}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )  # fmt: skip


def said(process: "subprocess.Popen[str]") -> dict[str, Any]:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    answer: dict[str, Any] = json.loads(out)
    return answer


def test_five_shells_with_one_key_make_one_message(servers: Servers, template: str, tmp_path: Path) -> None:
    with open_lane(servers, template, "one_off_shells", tmp_path) as lane:
        lane.add_people(people("ada"))
        person = lane.house.person("ada", basis="opt_in")

        def sent() -> bool:
            lane.hint(message("engine", "tick", 0).copy(args=()))
            return bool(lane.db.read("SELECT 1 FROM execution WHERE state = 'sent'"))

        with lane.worker(tmp_path / "worker.log"):
            shells = [shell(lane, person, "--text", f"Hello from shell {n}.") for n in range(5)]
            answers = [said(one) for one in shells]
            wait_for(sent, "the message", lambda: lane.db.read("SELECT * FROM execution"), every=0.3)
            late = said(shell(lane, person, "--text", "Hello again."))
            # Whoever gets a hint late, or twice, finds nothing to do.
            lane.hint(*[message("engine", "advance_lead", late["lead"])] * 5)
            lane.hint(*[message("twitter", "send_twitter_dm", late["execution"])] * 5)
            wait_for(lambda: lane.queues_are_empty(), "the hints to be gone", lambda: None, every=0.2)
        assert sorted(answer["new"] for answer in answers) == [False] * 4 + [True]
        assert (late["new"], late["state"]) == (False, "sent")
        assert {answer["lead"] for answer in [*answers, late]} == {late["lead"]}
        (accepted,) = lane.accepted()
        assert (accepted.kind, accepted.recipient) == ("dm", id_of_handle("ada"))
        (row,) = lane.db.read("SELECT state, attempts FROM execution")
        assert (row["state"], row["attempts"]) == ("sent", 1)
