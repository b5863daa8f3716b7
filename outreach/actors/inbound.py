"""What comes in: digested, polled, looked up, resolved."""

import dramatiq

from outreach.app import current
from outreach.runtime.digest import digest
from outreach.runtime.lookup import look_up
from outreach.runtime.perform import carry_on
from outreach.runtime.poll import poll
from outreach.runtime.resolve import resolve


@dramatiq.actor(queue_name="inbound")
def digest_inbound(inbound_id: int) -> None:
    """Understand one stored row; answer it if that is due now."""
    app = current()
    app.hint(carry_on(app.context, digest(app.context, inbound_id)))


@dramatiq.actor(queue_name="inbound")
def check_for_reply(account_id: int) -> None:
    """Poll an account's inbox: the only thing that proves silence."""
    app = current()
    app.hint(poll(app.context, account_id))


@dramatiq.actor(queue_name="inbound")
def look_up_relationships(account_id: int) -> None:
    """Look up how people stand to an account."""
    app = current()
    app.hint(look_up(app.context, account_id))


@dramatiq.actor(queue_name="inbound")
def resolve_handles(account_id: int) -> None:
    """Turn handles into immutable ids."""
    app = current()
    app.hint(resolve(app.context, account_id))
