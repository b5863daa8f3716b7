"""beat: a sign of life after each tick, for a dead man's switch of somebody else's. It is not repeated: the next tick sends another."""

import logging

from outreach.outbound import Failed
from outreach.runtime.context import Context
from outreach.runtime.hints import Hints

log = logging.getLogger("outreach")
_DEADLINE = 5.0


def beat(ctx: Context) -> Hints:
    """One GET of HEARTBEAT_URL."""
    url = ctx.settings.heartbeat_url
    if url is None:
        return []
    answer = ctx.outbound.call("GET", url, deadline_seconds=_DEADLINE)
    if isinstance(answer, Failed) or not answer.ok:
        why = answer.reason if isinstance(answer, Failed) else f"it answered {answer.status}"
        log.warning("heartbeat not taken", extra={"action": "heartbeat_lost", "why": why})
    return []
