"""Where a lead's next step is decided. Follow runtime.advance down from here."""

import dramatiq

from outreach.app import current
from outreach.runtime.joining import join
from outreach.runtime.perform import look_and_perform
from outreach.runtime.suspect import try_lead as attempt


@dramatiq.actor(queue_name="engine", priority=2)
def advance_lead(lead_id: int) -> None:
    """Decide and write down one step for one lead; carry it out if it is due now."""
    app = current()
    app.hint(look_and_perform(app.context, lead_id))


@dramatiq.actor(queue_name="engine", priority=2)
def try_lead(lead_id: int) -> None:
    """Look with care at a lead that was hinted in vain."""
    app = current()
    app.hint(attempt(app.context, lead_id))


@dramatiq.actor(queue_name="engine", priority=2)
def join_by_segment(entry_id: int) -> None:
    """Let people of a segment into the sequence that waits for them: one batch."""
    app = current()
    app.hint(join(app.context, entry_id))
