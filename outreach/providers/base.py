"""The one Protocol between the engine and a channel. Providers know no tables and no policy: capabilities only.

Outcomes are a closed set of values. Each says two things: was it surely accepted, surely not, or unknown;
and whose problem it is (the recipient's, the account's, the app's).
"""

import hashlib
import html
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from outreach.providers.connecting import Connector


class Idempotency(StrEnum):
    """What the provider does with the same request twice."""

    #: sets a state (follow, unfollow): asking twice changes nothing
    NATURAL = "natural"
    #: honours a key of ours
    KEYED = "keyed"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """What is true of one action kind on this provider."""

    idempotency: Idempotency
    can_read_back: bool
    max_length: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRef:
    """What a provider may know of a sending account."""

    id: int
    external_id: str
    base_url: str
    #: empty: forgotten
    access_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One provider call: exactly one attempt with a total deadline in real seconds."""

    kind: str
    account: AccountRef
    #: the recipient's id at the provider
    recipient: str
    body: str | None = None
    subject: str | None = None
    #: constant per execution; sent where the provider honours keys, never relied on elsewhere
    key: str = ""
    deadline_seconds: float = 15.0


# --- outcomes of execute(): values, not exceptions -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Accepted:
    """Surely accepted (any 2xx, even one we cannot parse)."""

    ids: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AlreadyDone:
    """The wanted state stood already (already following, already connected)."""

    ids: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refused:
    """Surely not accepted, and it is this recipient's or this request's problem. `retry` says whether later may help."""

    code: str
    detail: str = ""
    retry: bool = False


@dataclass(frozen=True, slots=True)
class RateLimited:
    """Surely not accepted; the scope's bucket is empty until `reset_at` (real time; None: unknown)."""

    scope: Literal["account", "app"] = "account"
    reset_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AccountStopped:
    """Surely not accepted; the account or the app cannot send until a human acts.

    `detail`: the provider's prose, which may quote what it was sent, tokens too. It is for whoever has asked just now, and is
    stored and logged nowhere. `code`: its status and codes, which may be.
    """

    reason: Literal["needs_reauth", "restricted", "no_credits", "tier"]
    scope: Literal["account", "app"] = "account"
    detail: str = ""
    code: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class NotStarted:
    """Surely not accepted: nothing was written (no connection, or the guard said no)."""

    detail: str = ""
    #: True: our own guard aborted it; False: the network did
    guarded: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """Anything else: it may have been accepted."""

    detail: str = ""


Outcome = Accepted | AlreadyDone | Refused | RateLimited | AccountStopped | NotStarted | Unknown


# --- a text on its way through a provider ---------------------------------------------------------------------

#: what providers rewrite: their short links, any URL, and bare host names that they turn into links
_LINK = re.compile(
    r"https?://t\.co/[A-Za-z0-9]+|https?://[!-~]+|(?:[a-z0-9-]+\.)+[a-z]{2,}(?:/[!-~]*)?",
    re.IGNORECASE | re.ASCII,
)
#: what link rewriting and trimming leave dangling
_NOISE = re.compile(r"[\s.,;:!?…'\"()\[\]<>]+")


def fingerprint(text: str) -> str:
    """SHA-256, in hex, of what survives of a text: equal for a body that we sent and for its echo.

    Links, whitespace and punctuation go (providers shorten links and trim), entities and Unicode forms are
    unified. Two messages that differ in nothing else have the same fingerprint.
    """
    plain = unicodedata.normalize("NFC", html.unescape(text))
    return hashlib.sha256(_NOISE.sub("", _LINK.sub("", plain)).encode()).hexdigest()


# --- reading ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """Read-back saw it, at the provider's own time (real time)."""

    at: datetime
    ids: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Missing:
    """Read-back was complete and did not see it."""


@dataclass(frozen=True, slots=True)
class CannotTell:
    """Read-back failed, or its view has a gap."""

    detail: str = ""


ReadBack = Found | Missing | CannotTell


class InboundKind(StrEnum):
    """What a provider can tell us unasked."""

    MESSAGE_IN = "message_in"
    #: our own message, seen from the provider's side: confirms a send, or is one made by hand
    MESSAGE_OUT = "message_out"
    FOLLOWED_US = "followed_us"
    UNFOLLOWED_US = "unfollowed_us"
    WE_FOLLOWED = "we_followed"
    WE_UNFOLLOWED = "we_unfollowed"
    BLOCKED_US = "blocked_us"
    ACCOUNT_REVOKED = "account_revoked"
    READ = "read"


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundItem:
    """One fact. `content_id` is the content's own id, the same by webhook and by poll: stored once, for ever."""

    kind: InboundKind
    content_id: str
    #: our account's id at the provider
    account_external_id: str
    #: the other side's id at the provider; empty where there is none
    peer: str
    #: when it happened, by the provider (real time); None: the provider does not say, the arrival stands in
    occurred_at: datetime | None
    text: str = ""
    peer_handle: str = ""
    #: the raw piece as received
    raw: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundPage:
    """A poll's result. `complete`: every item newer than the cursor is in here, with no gap."""

    items: Sequence[InboundItem]
    cursor: str | None
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Relationship:
    """How a person stands to our account, read now."""

    peer: str
    follows_us: bool
    we_follow: bool
    #: our follow waits for their approval (protected account)
    pending: bool = False
    #: None: the provider does not say
    receives_messages: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A handle's immutable id."""

    handle: str
    external_id: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Fresh credentials."""

    access_token: str = field(repr=False)
    #: the one to use next time: a new one, or the old one where the provider keeps it
    refresh_token: str | None = field(repr=False)
    #: real time; None: the provider does not say, the token is good until it is refused
    expires_at: datetime | None
    #: what it permits; None: the provider does not say
    scopes: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class ReadFailed:
    """A read did not succeed: the reason, and when to try again (real time; None: unknown). `detail`, `code`: as in AccountStopped."""

    reason: Literal["rate_limited", "unreachable", "unauthorised", "forbidden", "unreadable"]
    retry_at: datetime | None = None
    detail: str = ""
    code: str = field(default="", compare=False)


@runtime_checkable
class Provider(Protocol):
    """A channel. Every method makes at most one logical request and never retries by itself."""

    channel: str
    capabilities: Mapping[str, Capability]
    #: how long the provider's inbox reads may lag behind, in real seconds
    inbox_lag_seconds: float
    #: None: its accounts' tokens are handed in
    connector: "Connector | None"

    def execute(self, call: Call, may_begin: Callable[[], bool]) -> Outcome:
        """Exactly one attempt. `may_begin()` is asked just before the first byte; False aborts with NotStarted.

        Raises ConfigurationError, before anything is written, where the account's address may not be called.
        """
        ...

    def read_back(self, call: Call, since: datetime) -> ReadBack:
        """Did it happen at or after `since` (real time)? How far the clocks may differ is the caller's to subtract."""
        ...

    def poll(self, account: AccountRef, cursor: str | None) -> InboundPage | ReadFailed:
        """The account's inbox since the cursor, complete or marked as not."""
        ...

    def relationships(self, account: AccountRef, peers: Sequence[str]) -> Sequence[Relationship] | ReadFailed:
        """At most 100 peers at once; peers that no longer exist are missing from the answer."""
        ...

    def resolve(self, account: AccountRef, handles: Sequence[str]) -> Sequence[Resolved] | ReadFailed:
        """At most 100 handles at once; unknown handles are missing from the answer."""
        ...

    def refresh(self, account: AccountRef, deadline_seconds: float) -> Tokens | ReadFailed | Unknown:
        """One refresh attempt. Unknown: the old token may be spent."""
        ...


class Webhooks(Protocol):
    """How a channel's pushes are answered and read. Raw bytes only; constant time."""

    def challenge(self, query: Mapping[str, str], secret: str) -> Mapping[str, str] | None:
        """The answer to a registration challenge, or None when the query is none."""
        ...

    def verify(self, headers: Mapping[str, str], body: bytes, secret: str) -> bool:
        """Is the signature of this raw body ours?"""
        ...

    def parse(self, body: bytes) -> Sequence[InboundItem]:
        """The facts in a verified body. Raises ValueError when it is not understood."""
        ...
