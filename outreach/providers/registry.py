"""Which provider speaks for which channel. A new channel is a folder beside these and a line here."""

from collections.abc import Callable, Mapping

import httpx

from outreach.providers.base import Provider, Webhooks
from outreach.providers.email import email_provider
from outreach.providers.http import Http
from outreach.providers.linkedin import linkedin_provider
from outreach.providers.twitter import TwitterProvider, TwitterWebhooks
from outreach.providers.xmtp import xmtp_provider

#: Total deadline of one read, in real seconds.
READ_DEADLINE_SECONDS = 10.0
#: X publishes no figure for how late a message may show up in a read; this is our margin, in real seconds.
INBOX_LAG_SECONDS = 5.0


def build_providers(
    loopback_only: Callable[[], bool] | bool,
    transport: httpx.BaseTransport | None = None,
    *,
    read_deadline_seconds: float = READ_DEADLINE_SECONDS,
    inbox_lag_seconds: float = INBOX_LAG_SECONDS,
) -> Mapping[str, Provider]:
    """The providers by channel.

    While `loopback_only` (asked before every call when it is a function), whoever tries to call anything but
    this machine gets a ConfigurationError. `transport` takes the network's place: a simulator in this process.
    """
    ask = loopback_only if callable(loopback_only) else lambda: loopback_only
    twitter = TwitterProvider(
        Http(loopback_only=ask, transport=transport),
        read_deadline_seconds=read_deadline_seconds,
        inbox_lag_seconds=inbox_lag_seconds,
    )
    providers: tuple[Provider, ...] = (twitter, linkedin_provider(), xmtp_provider(), email_provider())
    return {provider.channel: provider for provider in providers}


def build_webhooks() -> Mapping[str, Webhooks]:
    """How pushes are answered and read, by channel. A channel that pushes nothing is missing."""
    return {"twitter": TwitterWebhooks()}
