"""Thin dramatiq actors: ids in, one runtime call, hints out. Reading starts at leads.py.

What a process has fetched it does by priority: answers and ticks (0), calls (1), then leads that are merely due (2).
Actor names are API: add, never rename. No actor retries (retries live in rows), and none has arguments but ids.
"""

import dramatiq

from outreach.app import current

dramatiq.set_broker(current().broker)

from outreach.actors import cron, email, inbound, leads, linkedin, ops, twitter, xmtp  # noqa: E402  they need the broker

__all__ = ["cron", "email", "inbound", "leads", "linkedin", "ops", "twitter", "xmtp"]
