"""Three processes of twenty threads each race one account for the room under its cap, while Redis forgets everything again and again."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from outreach.embedded.servers import Servers
from outreach.models.base import Database, Tx
from outreach.runtime.audit import audit_caps
from tests.integration.caps_racer import PROCESSES, THREADS
from tests.integration.law_support import FOLLOW, NO_CAPS, friends, open_house, plan, roomy_account
from tests.stage import House

pytestmark = pytest.mark.servers
CAP = 17
CROWD = tuple(f"p{n}" for n in range(60))


def race(house: House, servers: Servers, folder: Path, variant: str) -> list[str]:
    """Everybody performs everything, each process beginning elsewhere (or the persons' locks would part them); whom the provider accepted."""
    executions = plan(house, "follow", friends(house, *CROWD))
    witness = folder / "accepted"
    witness.touch()
    told = {
        "database_url": house.db.url, "redis_url": servers.redis_url, "now": house.clock.now().isoformat(), "witness": str(witness),
        "variant": variant, "times": 2,
    }  # fmt: skip
    racers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.integration.caps_racer"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(PROCESSES)
    ]  # fmt: skip
    for number, racer in enumerate(racers):
        _say(
            racer,
            json.dumps(
                {**told, "executions": executions[number * THREADS :] + executions[: number * THREADS]}
            ),
        )
    for racer in racers:
        assert racer.stdout is not None and racer.stdout.readline() == "ready\n"
    for racer in racers:
        _say(racer, "go")
    pause = threading.Event()
    while any(racer.poll() is None for racer in racers):
        assert servers.flush_valkey is not None
        servers.flush_valkey()
        pause.wait(0.05)
    for racer in racers:
        racer.communicate()
    assert [racer.returncode for racer in racers] == [0] * PROCESSES
    return witness.read_text().splitlines()


def _say(racer: "subprocess.Popen[str]", line: str) -> None:
    assert racer.stdin is not None
    racer.stdin.write(line + "\n")
    racer.stdin.flush()


def unlock_accounts(db: Database) -> None:
    """T1 without the lock of the account: what one counts, the other does not see yet."""

    def work(tx: Tx) -> None:
        text = tx.value("SELECT pg_get_functiondef('lock_sends'::regproc)")
        line = "PERFORM 1 FROM account a WHERE a.id = ANY (r.accounts) ORDER BY a.id FOR NO KEY UPDATE;"
        assert text.count(line) == 1
        tx.execute(text.replace(line, "").replace("%", "%%"))

    db.run(work)


@pytest.mark.parametrize("variant", ["ours", "unlocked", "no_ledger_caps"])
def test_no_race_passes_a_cap_and_no_flush_does(
    servers: Servers, db: Database, tmp_path: Path, variant: str
) -> None:
    house = open_house(db, tmp_path, CROWD)
    roomy_account(house, caps=NO_CAPS | {"FOLLOW_ON_TWITTER": f"{CAP}/hour; 40/day"})
    house.publish(FOLLOW)
    if variant == "unlocked":
        unlock_accounts(db)
    accepted = race(house, servers, tmp_path, variant)
    largest = {
        str(one.cap): (one.peak.largest, one.peak.over)
        for one in audit_caps(house.ctx, None)
        if one.scope == "account"
    }
    figures: dict[str, Any] = {"accepted": len(accepted), "ledger": largest}
    if variant == "ours":
        assert (len(accepted), len(set(accepted))) == (CAP, CAP), "not one too many, not one too few"
        assert largest == {f"{CAP}/hour": (CAP, 0), "40/day": (CAP, 0)}
    else:
        assert len(accepted) > CAP, f"a race that cannot be lost proves nothing: {figures}"
        assert largest[f"{CAP}/hour"][1] > 0, "and the audit finds it"
