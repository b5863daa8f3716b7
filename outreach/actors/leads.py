"""Where a lead's next step is decided. Follow runtime.advance down from here."""

import dramatiq

from outreach.app import current
from outreach.runtime.perform import look_and_perform


@dramatiq.actor(queue_name="engine", priority=2)
def advance_lead(lead_id: int) -> None:
    """Decide and write down one step for one lead; carry it out if it is due now."""
    app = current()
    app.hint(look_and_perform(app.context, lead_id))
