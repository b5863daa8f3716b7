"""Where a lead's next step is decided. Follow runtime.advance down from here."""

import dramatiq

from outreach.app import current
from outreach.runtime.advance import advance


@dramatiq.actor(queue_name="engine", priority=2)
def advance_lead(lead_id: int) -> None:
    """Decide and write down one step for one lead."""
    app = current()
    app.hint(advance(app.context, lead_id))
