"""X/Twitter: the API v2 client and the X Activity API's pushes."""

from outreach.providers.twitter.client import TwitterProvider
from outreach.providers.twitter.webhooks import TwitterWebhooks

__all__ = ["TwitterProvider", "TwitterWebhooks"]
