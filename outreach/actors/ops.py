"""What keeps the house in order: doubts asked about, opt-outs drained, tokens refreshed, the log sealed, people told."""

import dramatiq

from outreach.app import current
from outreach.runtime.alerting import watch
from outreach.runtime.draining import drain_person as drain
from outreach.runtime.heartbeat import beat
from outreach.runtime.journaling import take_out
from outreach.runtime.notifying import deliver
from outreach.runtime.reconcile import reconcile
from outreach.runtime.recovering import recover
from outreach.runtime.refresh import refresh
from outreach.runtime.retaining import retain
from outreach.runtime.seal import seal_due


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


@dramatiq.actor(queue_name="engine")
def retain_content(_nothing: int) -> None:
    """Let go what was kept for long enough, and what somebody asked us to delete."""
    app = current()
    app.hint(retain(app.context))


@dramatiq.actor(queue_name="engine")
def seal_events(going_on: int) -> None:
    """Put what is new in the log under a seal. 1: go on with the next batch."""
    app = current()
    app.hint(seal_due(app.context, bool(going_on)))


# On the queue of ticks and answers: whoever must be told must not stand behind the leads. They speak of no row, so their id is nothing.


@dramatiq.actor(queue_name="inbound")
def watch_alerts(_nothing: int) -> None:
    """See whether something needs somebody."""
    app = current()
    app.hint(watch(app.context))


@dramatiq.actor(queue_name="inbound")
def deliver_notices(_nothing: int) -> None:
    """Deliver what our own people are to be told."""
    app = current()
    app.hint(deliver(app.context))


@dramatiq.actor(queue_name="inbound")
def deliver_journal(_nothing: int) -> None:
    """Deliver what a backup must not forget."""
    app = current()
    app.hint(take_out(app.context))


@dramatiq.actor(queue_name="inbound")
def recover_database(_nothing: int) -> None:
    """Read what an adopted database's backup does not know, and let sends go on once all is read."""
    app = current()
    app.hint(recover(app.context))


@dramatiq.actor(queue_name="inbound")
def send_heartbeat(_nothing: int) -> None:
    """Tell the dead man's switch that the tick runs."""
    app = current()
    app.hint(beat(app.context))
