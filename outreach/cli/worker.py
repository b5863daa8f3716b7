"""The worker process: our own runner around dramatiq's Worker, for dynos that are told to stop twice."""

import logging
import signal
import sys
import threading
import time
from collections.abc import Sequence

from dramatiq import Broker, Worker

from outreach.broker import Pulse, SafeBroker

log = logging.getLogger("outreach")

#: Milliseconds. An idle worker asks Redis this often: it bounds how long a hint waits.
_IDLE_POLL = 100
#: Seconds. A claim makes some ten round trips under its account's lock; at Python's own 5 ms each of them may wait that long
#: for another thread to let go of the interpreter, and everybody who wants the account waits with it.
_SWITCH_SECONDS = 0.0005
#: Milliseconds to finish what is running: a call's deadline, and the transaction after it.
_FINISH_WITHIN = 22_000
#: Seconds for that and for giving back what was fetched; below a dyno's 30 s between SIGTERM and SIGKILL.
_STOP_WITHIN = 24.0
#: Real seconds without a sign of life, and a thread counts as dead. A consumer gives one with every question to Redis, answered or not,
#: and waits for an answer, for a connection and between two tries 23 s at most.
CONSUMER_SILENT = 30.0
#: Of a message in hand: its time limit has long passed, and the exception that should have ended it did not reach it.
MESSAGE_STUCK = 240.0


def told_to_end() -> threading.Event:
    """Set by the first SIGTERM or SIGINT; further ones change nothing."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def run_worker(broker: Broker, stop: threading.Event, *, queues: Sequence[str] | None, threads: int) -> int:
    """Work until `stop`; the exit code. A thread that is dead, or shows no sign of life, ends the process with 1."""
    sys.setswitchinterval(_SWITCH_SECONDS)
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
        healthy = is_whole(worker)
    in_time = _stop(worker)
    broker.close()
    for number in (signal.SIGTERM, signal.SIGINT):
        # Python gives handlers back to the system while it ends; a second signal would then kill a clean exit.
        signal.signal(number, signal.SIG_IGN)
    log.info("worker stopped", extra={"action": "worker_stopped", "clean": healthy and in_time})
    return 0 if healthy else 1


def _stop(worker: Worker) -> bool:
    """Finish what is running, give back what is not begun. False: time is up (Redis stalls, perhaps); the rows know what was under way."""
    stopping = threading.Thread(
        target=worker.stop, kwargs={"timeout": _FINISH_WITHIN}, name="stopping", daemon=True
    )
    stopping.start()
    stopping.join(_STOP_WITHIN)
    return not stopping.is_alive()


def is_whole(worker: Worker) -> bool:
    """A thread that has died, or hangs, leaves a process that looks healthy and does not work: better none, so that it is restarted."""
    dead = [t.name for t in (*worker.consumers.values(), *worker.workers) if not t.is_alive()]
    if dead:
        log.error("worker thread died", extra={"action": "worker_thread_died", "threads": ",".join(dead)})
    silent = _silent(worker.broker.pulse, time.monotonic()) if isinstance(worker.broker, SafeBroker) else []
    if silent:
        log.error(
            "worker thread gives no sign of life",
            extra={"action": "worker_thread_silent", "threads": ",".join(silent)},
        )
    return not dead and not silent


def _silent(pulse: Pulse, now: float) -> list[str]:
    """Queues whose consumer, and threads whose message, has been silent for too long. `now`: a monotonic second."""
    consumers = [f"consumer of {queue}" for queue, at in pulse.asked.items() if now - at > CONSUMER_SILENT]
    return consumers + [
        f"{name} with {actor}" for name, (actor, at) in pulse.in_hand.items() if now - at > MESSAGE_STUCK
    ]
