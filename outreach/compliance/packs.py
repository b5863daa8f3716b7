"""Policy packs: versioned data on what may run by itself on which platform. Raise `version` with every change.

A pack holds facts of a platform's rules (docs/compliance.md gives the sources). What a pack does not list is left to a
human. Packs are on by default and no setting turns one off; an account's recorded mode is the only way to widen one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from outreach.engine.kinds import ActionKind, Channel


class Automation(StrEnum):
    """When the engine may do an action without a human."""

    #: whenever the base pack lets it through
    FREE = "free"
    #: they wrote to this account first, or the account works on opt-in and theirs is recorded
    INBOUND_FIRST = "inbound_first"
    #: the account is marked as permitted by the platform
    PERMITTED_ACCOUNT = "permitted_account"
    #: never: a human does it
    HUMAN_ONLY = "human_only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """A named, numbered set of rules."""

    name: str
    version: int
    automation: Mapping[ActionKind, Automation] = field(default_factory=dict)

    def of(self, kind: ActionKind) -> Automation:
        """What the pack says about this kind; a human where it says nothing."""
        return self.automation.get(kind, Automation.HUMAN_ONLY)


BASE = Pack(name="base", version=1)

#: Named after the platform's own rules: X Developer Guidelines.
X = Pack(
    name="x",
    version=1,
    automation={
        ActionKind.SEND_TWITTER_DM: Automation.INBOUND_FIRST,
        ActionKind.FOLLOW_ON_TWITTER: Automation.PERMITTED_ACCOUNT,
        ActionKind.UNFOLLOW_ON_TWITTER: Automation.PERMITTED_ACCOUNT,
    },
)
LINKEDIN = Pack(
    name="linkedin",
    version=1,
    automation={
        ActionKind.SEND_CONNECTION_REQUEST: Automation.HUMAN_ONLY,
        ActionKind.SEND_LINKEDIN_DM: Automation.HUMAN_ONLY,
    },
)
XMTP = Pack(name="xmtp", version=1, automation={ActionKind.SEND_XMTP_DM: Automation.FREE})
EMAIL = Pack(name="email", version=1, automation={ActionKind.SEND_EMAIL: Automation.FREE})

PACK_OF: Mapping[Channel, Pack] = {
    Channel.TWITTER: X,
    Channel.LINKEDIN: LINKEDIN,
    Channel.XMTP: XMTP,
    Channel.EMAIL: EMAIL,
}
VERSIONS: Mapping[str, int] = {pack.name: pack.version for pack in (BASE, *PACK_OF.values())}
