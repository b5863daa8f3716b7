"""Actors of XMTP: one per action kind, of its name."""

import dramatiq

from outreach.app import current
from outreach.runtime.perform import perform


@dramatiq.actor(queue_name="xmtp", priority=1)
def send_xmtp_dm(execution_id: int) -> None:
    """Send a message."""
    app = current()
    app.hint(perform(app.context, execution_id))
