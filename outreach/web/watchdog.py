"""What the web process sees that the tick cannot: that there is no tick. It needs Postgres only, and nobody's hint."""

import logging
import threading
from collections import Counter

from outreach.app import App
from outreach.models.outage import AWAY
from outreach.runtime.alerting import watch
from outreach.runtime.notifying import deliver
from outreach.runtime.refusals import count_refused

log = logging.getLogger("outreach")

#: Real seconds between two looks.
_EVERY = 60.0


class Refusals:
    """Pushes with a wrong signature, counted here and written with the next look: whoever forges many costs no statement each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, app_name: str) -> None:
        """One more. Apps are those we know: a name made up by a stranger never comes here."""
        with self._lock:
            self._counts[app_name] += 1

    def take(self) -> dict[str, int]:
        """What has been counted since the last time."""
        with self._lock:
            taken, self._counts = dict(self._counts), Counter()
        return taken


class Watchdog:
    """A thread of the web process; one look is `look`."""

    def __init__(self, app: App, refusals: Refusals) -> None:
        self._app = app
        self._refusals = refusals
        self._stop = threading.Event()

    def start(self) -> None:
        """Look every minute, from a minute after the start: a process that has just started knows nothing yet."""
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(_EVERY):
            try:
                self.look()
            except AWAY as error:
                # Nothing can be known or told without the database: that is what HEARTBEAT_URL is for.
                log.warning(
                    "the watchdog cannot look",
                    extra={"action": "watch_failed", "error": type(error).__name__},
                )
            except Exception:
                # A watchdog that dies of one look would be missed by nobody.
                log.exception("the watchdog stumbled", extra={"action": "watch_failed"})

    def look(self) -> None:
        """Write what was counted, raise and end alerts, and deliver what is due: by itself, for workers may be dead."""
        ctx = self._app.context
        count_refused(ctx, self._refusals.take())
        if ctx.settings.alert_url:
            watch(ctx)
        deliver(ctx)
