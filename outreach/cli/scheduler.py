"""The scheduler process: periodiq's minute, and a pacer beside it where ticks are wanted more often."""

import logging
import signal
import sys
import threading
from typing import Any

from dramatiq import Actor, Broker
from dramatiq.errors import BrokerConnectionError
from periodiq import Scheduler

log = logging.getLogger("outreach")
_MINUTE = 60.0


class PatientScheduler(Scheduler):  # type: ignore[misc]  # periodiq is untyped
    """Stock periodiq exits when Redis does not answer; the next minute is as good as this one."""

    def send_actors(self, actors: list[Actor[Any, Any]], now: Any) -> None:
        try:
            super().send_actors(actors, now)
        except BrokerConnectionError as error:
            log.warning("tick not sent", extra={"action": "tick_lost", "error": str(error)})


def run_scheduler(broker: Broker, tick_seconds: float) -> int:
    """Send ticks until SIGTERM or SIGINT."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    actors = [actor for actor in broker.actors.values() if "periodic" in actor.options]
    tick = broker.get_actor("tick")
    stop = threading.Event()
    if tick_seconds != _MINUTE:
        threading.Thread(target=_pace, args=(tick, tick_seconds, stop), name="pacer", daemon=True).start()
    log.info("scheduler started", extra={"action": "scheduler_started", "tick_seconds": tick_seconds})
    scheduler = PatientScheduler(actors=actors)
    try:
        scheduler.schedule()
        scheduler.loop()
    except KeyboardInterrupt:
        log.info("scheduler stopped", extra={"action": "scheduler_stopped"})
    finally:
        stop.set()
    return 0


def _pace(tick: Actor[Any, Any], seconds: float, stop: threading.Event) -> None:
    """The same message as periodiq's, more often. Ticks are level-triggered: a doubled one does nothing."""
    while not stop.wait(seconds):
        try:
            tick.send()
        except BrokerConnectionError as error:
            log.warning("tick not sent", extra={"action": "tick_lost", "error": str(error)})
