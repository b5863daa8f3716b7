"""Actors of X/Twitter: one per action kind, of its name."""

import dramatiq

from outreach.app import current
from outreach.runtime.perform import perform


@dramatiq.actor(queue_name="twitter", priority=1)
def follow_on_twitter(execution_id: int) -> None:
    """Follow a person."""
    app = current()
    app.hint(perform(app.context, execution_id))


@dramatiq.actor(queue_name="twitter", priority=1)
def unfollow_on_twitter(execution_id: int) -> None:
    """Unfollow a person."""
    app = current()
    app.hint(perform(app.context, execution_id))


@dramatiq.actor(queue_name="twitter", priority=1)
def send_twitter_dm(execution_id: int) -> None:
    """Send a direct message."""
    app = current()
    app.hint(perform(app.context, execution_id))
