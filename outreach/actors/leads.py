"""Where a lead's next step is decided. Follow runtime.advance down from here."""

import dramatiq

from outreach.app import current
from outreach.runtime.advance import advance
from outreach.runtime.perform import carry_on


@dramatiq.actor(queue_name="engine", priority=2)
def advance_lead(lead_id: int) -> None:
    """Decide and write down one step for one lead; carry it out if it is due now."""
    app = current()
    app.hint(carry_on(app.context, advance(app.context, lead_id)))
