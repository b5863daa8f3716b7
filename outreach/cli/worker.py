"""The worker process: our own runner around dramatiq's Worker, for dynos that are told to stop twice."""

import logging
import signal
import sys
import threading
from collections.abc import Sequence

from dramatiq import Broker, Worker

log = logging.getLogger("outreach")

#: Milliseconds. An idle worker asks Redis this often: it bounds how long a hint waits.
_IDLE_POLL = 100
#: Seconds. A claim makes some ten round trips under its account's lock; at Python's own 5 ms each of them may wait that long
#: for another thread to let go of the interpreter, and everybody who wants the account waits with it.
_SWITCH_SECONDS = 0.0005
#: Milliseconds to finish what is running; below a dyno's 30 s between SIGTERM and SIGKILL.
_STOP_WITHIN = 24_000


def run_worker(broker: Broker, *, queues: Sequence[str] | None, threads: int) -> int:
    """Work until SIGTERM or SIGINT; the exit code. Further signals change nothing; a dead thread ends the process with 1."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    worker = Worker(
        broker, queues=set(queues) if queues else None, worker_timeout=_IDLE_POLL, worker_threads=threads
    )
    broker.emit_after("process_boot")
    worker.start()
    log.info(
        "worker started",
        extra={"action": "worker_started", "threads": threads, "queues": ",".join(queues or ["all"])},
    )
    healthy = True
    while healthy and not stop.wait(1.0):
        healthy = _is_whole(worker)
    worker.stop(timeout=_STOP_WITHIN)
    broker.close()
    for number in (signal.SIGTERM, signal.SIGINT):
        # Python gives handlers back to the system while it ends; a second signal would then kill a clean exit.
        signal.signal(number, signal.SIG_IGN)
    log.info("worker stopped", extra={"action": "worker_stopped", "clean": healthy})
    return 0 if healthy else 1


def _is_whole(worker: Worker) -> bool:
    """A thread that has died leaves a process that looks healthy and does not work: better none, so that it is restarted."""
    dead = [t.name for t in (*worker.consumers.values(), *worker.workers) if not t.is_alive()]
    if dead:
        log.error("worker thread died", extra={"action": "worker_thread_died", "threads": ",".join(dead)})
    return not dead
