"""Actors of LinkedIn: one per action kind, of its name."""

import dramatiq

from outreach.app import current
from outreach.runtime.perform import perform


@dramatiq.actor(queue_name="linkedin", priority=1)
def send_connection_request(execution_id: int) -> None:
    """Ask to connect."""
    app = current()
    app.hint(perform(app.context, execution_id))


@dramatiq.actor(queue_name="linkedin", priority=1)
def send_linkedin_dm(execution_id: int) -> None:
    """Send a message."""
    app = current()
    app.hint(perform(app.context, execution_id))
