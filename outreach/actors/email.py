"""Actors of email: one per action kind, of its name."""

import dramatiq

from outreach.app import current
from outreach.runtime.perform import perform


@dramatiq.actor(queue_name="email", priority=1)
def send_email(execution_id: int) -> None:
    """Send an email."""
    app = current()
    app.hint(perform(app.context, execution_id))
