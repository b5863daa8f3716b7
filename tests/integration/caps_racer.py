"""One process of a race for the room under one account's cap: twenty threads over real Postgres and Valkey.

`python -m tests.integration.caps_racer`, told on stdin as JSON: where the servers are, which executions to perform, where to write
down what "the provider" accepts, and which mistake to make. Says `ready`, waits for a line, races, and ends.
"""

import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from outreach.clock import FrozenClock
from outreach.embedded.waiting import wait_until
from outreach.errors import OutreachError
from outreach.limits.limiter import RedisLimiter
from outreach.models import claims
from outreach.models.base import UNREACHABLE, Database
from outreach.providers.base import Accepted, Call, NotStarted, Outcome
from outreach.providers.registry import build_providers
from outreach.runtime.context import Context
from outreach.runtime.perform import perform
from outreach.settings import Settings
from tests.chaos.broken import VARIANTS
from tests.integration.law_support import GrantsEverything

PROCESSES, THREADS = 3, 20


class Accepting:
    """A provider that accepts everything, and writes down whom: the witness of this race. All else is X's."""

    def __init__(self, witness: Path) -> None:
        self._inner: Any = build_providers(True)["twitter"]
        self._file = os.open(witness, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def execute(self, call: Call, may_begin: Callable[[], bool]) -> Outcome:
        if not may_begin():
            return NotStarted("too late")
        os.write(self._file, f"{call.recipient}\n".encode())
        return Accepted()


def main(told: Mapping[str, Any]) -> None:
    if told["variant"] in VARIANTS:
        VARIANTS[told["variant"]]()
    # with the lock they cannot all be there at once; without it they are
    _linger(Path(told["witness"]).parent if told["variant"] == "unlocked" else None)
    providers: Any = {"twitter": Accepting(Path(told["witness"]))}
    context = Context(
        settings=Settings(guard_seconds=30.0),
        clock=FrozenClock(datetime.fromisoformat(told["now"])),
        db=Database(told["database_url"], pool_size=12),
        # without the lock it is the ledger alone that is raced: Redis would hide the mistake until it forgets
        limiter=GrantsEverything()
        if told["variant"] == "unlocked"
        else RedisLimiter(told["redis_url"], "race"),
        providers=providers,
    )

    def race(execution_id: int) -> None:
        for _ in range(told["times"]):
            try:
                perform(context, execution_id)
            except (OutreachError, *UNREACHABLE):
                continue  # a row that was busy: the sweep would come back to it, and here the next turn does

    print("ready", flush=True)
    sys.stdin.readline()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(race, told["executions"]))


def _linger(meet: Path | None) -> None:
    """T1 rests between what it has read and what it writes, so that processes overlap there. `meet`: thrice, until all have come.

    (A process's first T1 is one thread's, the second takes along those who came meanwhile.)
    """
    read, rest, numbers = claims.facts, threading.Event(), count(1)

    def slowly(*args: Any, **options: Any) -> Any:
        answer, number = read(*args, **options), next(numbers)
        if meet is None or number > 3:
            rest.wait(0.005)
        else:
            (meet / f"{os.getpid()}.{number}.here").touch()
            wait_until(lambda: len(list(meet.glob(f"*.{number}.here"))) >= PROCESSES, timeout=10.0)
        return answer

    claims.facts = slowly


if __name__ == "__main__":
    main(json.loads(sys.stdin.readline()))
