"""Workers by the dozen: a process that has imported everything, and forks a worker for each line on its stdin.

A forked worker runs what `python -m outreach worker` runs, over connections of its own; only the imports, nine tenths of a
worker's start, are done once. In: {"words": [...], "environment": {...}, "log": "...", "seconds": 30}. Out: its exit code,
as subprocess has it, or "late" for one that still lived after so many seconds (and was ended).
"""

import json
import os
import signal
import sys
import time
from typing import Any

import outreach.cli.worker
import outreach.runtime.advance
import outreach.runtime.digest
import outreach.runtime.draining
import outreach.runtime.lookup
import outreach.runtime.perform
import outreach.runtime.poll
import outreach.runtime.reconcile
import outreach.runtime.refresh
import outreach.runtime.resolve
import outreach.runtime.tick  # noqa: F401  all for the children
from outreach.cli.processes import run_process


def become_worker(order: dict[str, Any]) -> None:
    """In the child: a worker with its own environment and log, until it ends."""
    log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.clear()
    os.environ.update(order["environment"])
    code = 70
    try:
        code = run_process(order["words"])
    finally:
        os._exit(code)


def end_of(child: int, seconds: float) -> str:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return str(os.waitstatus_to_exitcode(status))
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "late"


for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if child == 0:
        become_worker(order)
    print(end_of(child, order["seconds"]), flush=True)
