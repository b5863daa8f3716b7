"""LinkedIn: capabilities only. Its terms ask for a human action per message, so a human is who acts."""

from outreach.providers.base import Capability, Idempotency
from outreach.providers.unavailable import UnavailableProvider

CAPABILITIES = {
    # the server refuses a second invitation; 200 characters is what a free account may write in a note
    "SEND_CONNECTION_REQUEST": Capability(
        idempotency=Idempotency.NATURAL, can_read_back=True, max_length=200
    ),
    "SEND_LINKEDIN_DM": Capability(idempotency=Idempotency.NONE, can_read_back=True),
}


def linkedin_provider() -> UnavailableProvider:
    return UnavailableProvider("linkedin", CAPABILITIES)
