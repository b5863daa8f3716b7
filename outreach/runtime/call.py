"""call: one provider call, exactly one attempt, with no transaction open."""

import time

from outreach.errors import ConfigurationError
from outreach.failpoints import failpoint
from outreach.providers.base import NotStarted, Outcome
from outreach.runtime.claim import Claimed
from outreach.runtime.context import Context


def call(ctx: Context, claimed: Claimed) -> Outcome:
    """What the provider says. Never begins when the claim is older than the guard G."""
    provider = ctx.providers[claimed.prepared.row["channel"]]
    guard = claimed.claimed_monotonic + ctx.settings.guard_seconds

    def may_begin() -> bool:
        failpoint("call.before_first_byte")
        return time.monotonic() < guard

    failpoint("call.before")
    try:
        outcome = provider.execute(claimed.call, may_begin)
    except ConfigurationError as refused:
        # Raised before the first byte only: an address that this mode may not reach.
        return NotStarted(refused.message)
    failpoint("call.after")
    return outcome
