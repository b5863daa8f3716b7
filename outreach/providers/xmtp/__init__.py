"""XMTP: capabilities only. A message is prepared under an id of its own and published under it, so its key holds."""

from outreach.providers.base import Capability, Idempotency
from outreach.providers.unavailable import UnavailableProvider

CAPABILITIES = {
    "SEND_XMTP_DM": Capability(idempotency=Idempotency.KEYED, can_read_back=True),
}


def xmtp_provider() -> UnavailableProvider:
    return UnavailableProvider("xmtp", CAPABILITIES)
