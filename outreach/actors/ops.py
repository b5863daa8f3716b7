"""What keeps the house in order: doubts asked about, opt-outs drained, tokens refreshed."""

import dramatiq

from outreach.app import current
from outreach.runtime.draining import drain_person as drain
from outreach.runtime.reconcile import reconcile
from outreach.runtime.refresh import refresh


@dramatiq.actor(queue_name="engine")
def reconcile_execution(execution_id: int) -> None:
    """Ask the provider whether a doubtful call happened."""
    app = current()
    app.hint(reconcile(app.context, execution_id))


@dramatiq.actor(queue_name="engine")
def drain_person(person_id: int) -> None:
    """See whether an opt-out has become effective."""
    app = current()
    app.hint(drain(app.context, person_id))


@dramatiq.actor(queue_name="engine")
def refresh_token(account_id: int) -> None:
    """Fetch fresh tokens for an account."""
    app = current()
    app.hint(refresh(app.context, account_id))
