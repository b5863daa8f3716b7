"""The one periodic actor. Everything else is due because a row says so."""

import dramatiq
from periodiq import cron

from outreach.app import current
from outreach.runtime.tick import tick as sweep


@dramatiq.actor(queue_name="inbound", periodic=cron("* * * * *"))
def tick() -> None:
    """Sweep: claim what is due and hint it."""
    app = current()
    app.hint(sweep(app.context))
