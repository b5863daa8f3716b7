"""What a step costs: a human's minutes, and the provider's price. Facts with their source and date; nothing is guessed.

What no entry names is unknown, and is said to be.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from outreach.engine.kinds import ActionKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Minutes:
    """How long a human needs for one: open it, read it, do it, say so."""

    minutes: Decimal
    why: str


#: Of tasks, by what is to be done. Ours, from trying it; your own stop-watch knows better.
MINUTES: Mapping[ActionKind, Minutes] = {
    ActionKind.SEND_TWITTER_DM: Minutes(minutes=Decimal(1), why="open the conversation, read, paste, send"),
    ActionKind.FOLLOW_ON_TWITTER: Minutes(minutes=Decimal("0.5"), why="open the profile, follow"),
    ActionKind.UNFOLLOW_ON_TWITTER: Minutes(minutes=Decimal("0.5"), why="open the profile, unfollow"),
    ActionKind.SEND_CONNECTION_REQUEST: Minutes(
        minutes=Decimal("1.5"), why="open the profile, read it, paste the note, invite"
    ),
    ActionKind.SEND_LINKEDIN_DM: Minutes(minutes=Decimal(1), why="open the conversation, read, paste, send"),
    ActionKind.SEND_XMTP_DM: Minutes(minutes=Decimal(1), why="open the conversation, read, paste, send"),
    ActionKind.SEND_EMAIL: Minutes(minutes=Decimal(1), why="open a draft, read, paste, send"),
}
#: A look at a message that waits for somebody's OK (`review_first`).
REVIEW = Minutes(minutes=Decimal("0.5"), why="read, say yes or no")
