"""How an account is connected: its owner lets our app in at the provider, which gives out a code that becomes tokens."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from outreach.providers.base import AccountRef, AccountStopped, ReadFailed, Tokens, Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Me:
    """Whose token it is, by the provider."""

    external_id: str
    handle: str
    name: str = ""
    #: does the profile carry the platform's label for automated accounts? None: the provider does not tell
    automated: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What the owner is asked for, and where they are sent back."""

    base_url: str
    client_id: str
    redirect_uri: str
    #: carried back unchanged: shows that the answer is to this question
    state: str
    #: base64url of the verifier's SHA-256
    challenge: str
    scopes: Collection[str]


@dataclass(frozen=True, slots=True)
class Revoked:
    """The token is good for nothing any more."""


class Connector(Protocol):
    """The part of a channel that connects accounts. Every method but the first makes at most one request."""

    #: what the engine needs, and for what
    scopes: Mapping[str, str]
    #: scopes that only accounts need which the platform lets follow by software
    following: Collection[str]

    def authorize_url(self, asking: Asking) -> str:
        """The page on which the owner decides."""
        ...

    def exchange(
        self, client: AccountRef, code: str, *, redirect_uri: str, verifier: str, deadline_seconds: float
    ) -> Tokens | ReadFailed | Unknown:
        """The code's tokens; one attempt, for a code works once. `client` names the app; its own token is not used."""
        ...

    def who_am_i(self, account: AccountRef) -> Me | AccountStopped | ReadFailed:
        """Whose token this is."""
        ...

    def revoke(self, account: AccountRef, token: str, deadline_seconds: float) -> Revoked | ReadFailed:
        """Give one token back."""
        ...
