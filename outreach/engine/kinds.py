"""The closed vocabularies: channels, action and trigger kinds, signals, states. The seed's words, verbatim."""

from enum import StrEnum
from typing import TypeVar

from outreach.errors import NeedsNewerWorker

Word = TypeVar("Word", bound=StrEnum)


def known(words: type[Word], word: str) -> Word:
    """The stored word as a member. Raises NeedsNewerWorker for one that this release does not know."""
    try:
        return words(word)
    except ValueError:
        raise NeedsNewerWorker(f"{words.__name__} {word!r} is not known here") from None


class Channel(StrEnum):
    """Where a contact happens. `twitter` in code, never `x`."""

    TWITTER = "twitter"
    LINKEDIN = "linkedin"
    XMTP = "xmtp"
    EMAIL = "email"


class ActionKind(StrEnum):
    """What a node does."""

    SEND_CONNECTION_REQUEST = "SEND_CONNECTION_REQUEST"
    SEND_TWITTER_DM = "SEND_TWITTER_DM"
    SEND_LINKEDIN_DM = "SEND_LINKEDIN_DM"
    SEND_XMTP_DM = "SEND_XMTP_DM"
    SEND_EMAIL = "SEND_EMAIL"
    FOLLOW_ON_TWITTER = "FOLLOW_ON_TWITTER"
    UNFOLLOW_ON_TWITTER = "UNFOLLOW_ON_TWITTER"
    CHECK_FOR_REPLY = "CHECK_FOR_REPLY"
    WAIT = "WAIT"
    BRANCH = "BRANCH"


class TriggerKind(StrEnum):
    """Why an edge is taken."""

    REPLIED = "REPLIED"
    NOT_REPLIED = "NOT_REPLIED"
    CONNECTION_ACCEPTED = "CONNECTION_ACCEPTED"
    CONNECTION_NOT_ACCEPTED = "CONNECTION_NOT_ACCEPTED"
    FOLLOWED_BACK = "FOLLOWED_BACK"
    NOT_FOLLOWED_BACK = "NOT_FOLLOWED_BACK"
    #: the edge to no node: where it points, the lead finishes
    END = "END"
    #: taken once the action is sent, after its delay
    NORMAL_EDGE = "NORMAL_EDGE"
    REPLIED_TO_NOTE = "REPLIED_TO_NOTE"
    POSITIVE_REPLY = "POSITIVE_REPLY"
    NEGATIVE_REPLY = "NEGATIVE_REPLY"
    OUT_OF_OFFICE = "OUT_OF_OFFICE"
    BOUNCED = "BOUNCED"
    UNSUBSCRIBED = "UNSUBSCRIBED"
    TIMEOUT = "TIMEOUT"
    FAILED = "FAILED"


class SignalKind(StrEnum):
    """A fact about a lead that arrived from outside. READ is a signal and never an edge."""

    REPLIED = "REPLIED"
    CONNECTION_ACCEPTED = "CONNECTION_ACCEPTED"
    FOLLOWED_BACK = "FOLLOWED_BACK"
    UNFOLLOWED = "UNFOLLOWED"
    REPLIED_TO_NOTE = "REPLIED_TO_NOTE"
    OUT_OF_OFFICE = "OUT_OF_OFFICE"
    BOUNCED = "BOUNCED"
    UNSUBSCRIBED = "UNSUBSCRIBED"
    BLOCKED = "BLOCKED"
    READ = "READ"


class ReplyClass(StrEnum):
    """What a reply says. `unknown` never sends anything by itself."""

    POSITIVE = "positive"
    NEUTRAL = "neutral"
    NEGATIVE = "negative"
    UNSUBSCRIBE = "unsubscribe"
    #: contains a stop word but is not one: the person is paused and a human looks
    UNCLEAR = "unclear"
    OUT_OF_OFFICE = "out_of_office"
    BOUNCE = "bounce"
    UNKNOWN = "unknown"


class ExecutionState(StrEnum):
    """A ledger row's state; docs/state_machine.md draws the arrows."""

    PLANNED = "planned"
    CALLING = "calling"
    SENT = "sent"
    REFUSED = "refused"
    IN_DOUBT = "in_doubt"
    HELD = "held"
    ABSENT = "absent"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    BLOCKED = "blocked"


class IfLate(StrEnum):
    """What becomes of a step that comes too late."""

    #: it is passed over, and the lead goes on as if it were done
    SKIP = "skip"
    #: a human decides whether it is sent or passed over
    ASK = "ask"


class EntryKind(StrEnum):
    """By which door people come into a sequence without being enrolled one by one."""

    #: whoever meets the condition of a segment
    SEGMENT = "segment"
    #: whoever writes to an account of ours first
    MESSAGE_IN = "message_in"
    #: whoever fills in a form that posts to us, signed
    FORM = "form"


class LeadState(StrEnum):
    """Active means: due_at says when to look next."""

    ACTIVE = "active"
    FINISHED = "finished"
    EXITED = "exited"


class WaitingOn(StrEnum):
    """Why an active lead is not moving at this instant."""

    TIME = "time"
    SIGNAL = "signal"
    EVIDENCE = "evidence"
    CAPACITY = "capacity"
    WINDOW = "window"
    CALL = "call"
    DOUBT = "doubt"
    TASK = "task"
    ACCOUNT = "account"
    PAUSE = "pause"
    MISSING_VARIABLE = "missing_variable"


#: The channel an action speaks on. CHECK_FOR_REPLY, WAIT and BRANCH speak on none.
CHANNEL_OF: dict[ActionKind, Channel] = {
    ActionKind.SEND_CONNECTION_REQUEST: Channel.LINKEDIN,
    ActionKind.SEND_LINKEDIN_DM: Channel.LINKEDIN,
    ActionKind.SEND_TWITTER_DM: Channel.TWITTER,
    ActionKind.FOLLOW_ON_TWITTER: Channel.TWITTER,
    ActionKind.UNFOLLOW_ON_TWITTER: Channel.TWITTER,
    ActionKind.SEND_XMTP_DM: Channel.XMTP,
    ActionKind.SEND_EMAIL: Channel.EMAIL,
}
#: Actions that carry a message text (a connection request carries an optional note).
MESSAGE_KINDS = frozenset(
    {
        ActionKind.SEND_TWITTER_DM,
        ActionKind.SEND_LINKEDIN_DM,
        ActionKind.SEND_XMTP_DM,
        ActionKind.SEND_EMAIL,
        ActionKind.SEND_CONNECTION_REQUEST,
    }
)
#: A touch opens or renews contact. Follows and checks are none.
TOUCH_KINDS = MESSAGE_KINDS
#: Edges that claim that something did not happen: they need a deadline and evidence.
NEGATIVE_TRIGGERS = frozenset(
    {TriggerKind.NOT_REPLIED, TriggerKind.NOT_FOLLOWED_BACK, TriggerKind.CONNECTION_NOT_ACCEPTED}
)
#: What each of them says has not happened: a signal of these kinds makes it untrue.
CONTRADICTED_BY: dict[TriggerKind, frozenset[SignalKind]] = {
    TriggerKind.NOT_REPLIED: frozenset({SignalKind.REPLIED, SignalKind.REPLIED_TO_NOTE}),
    TriggerKind.NOT_FOLLOWED_BACK: frozenset({SignalKind.FOLLOWED_BACK}),
    TriggerKind.CONNECTION_NOT_ACCEPTED: frozenset({SignalKind.CONNECTION_ACCEPTED}),
}
