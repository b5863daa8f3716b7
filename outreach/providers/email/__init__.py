"""Email: capabilities only. SMTP honours no key (both copies of one Message-ID are delivered) and shows nothing back."""

from outreach.providers.base import Capability, Idempotency
from outreach.providers.unavailable import UnavailableProvider

CAPABILITIES = {
    "SEND_EMAIL": Capability(idempotency=Idempotency.NONE, can_read_back=False, max_length=100_000),
}


def email_provider() -> UnavailableProvider:
    return UnavailableProvider("email", CAPABILITIES)
