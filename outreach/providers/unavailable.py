"""A channel that is declared but has no adapter yet: it says so, and never pretends to have sent."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from outreach.providers.base import (
    AccountRef,
    Call,
    CannotTell,
    Capability,
    InboundPage,
    Outcome,
    ReadBack,
    ReadFailed,
    Refused,
    Relationship,
    Resolved,
    Tokens,
    Unknown,
)
from outreach.providers.connecting import Connector


class UnavailableProvider:
    """Satisfies the Protocol with the capabilities of the channel and an honest no to everything."""

    inbox_lag_seconds: float = 0.0
    connector: Connector | None = None

    def __init__(self, channel: str, capabilities: Mapping[str, Capability]) -> None:
        self.channel = channel
        self.capabilities = capabilities
        self._why = f"{channel} has no adapter in this release: a human does it"

    def execute(self, call: Call, may_begin: Callable[[], bool]) -> Outcome:  # noqa: ARG002
        return Refused("channel_not_available", self._why)

    def read_back(self, call: Call, since: datetime) -> ReadBack:  # noqa: ARG002
        return CannotTell(self._why)

    def poll(self, account: AccountRef, cursor: str | None) -> InboundPage | ReadFailed:  # noqa: ARG002
        return self._no_read()

    def relationships(self, account: AccountRef, peers: Sequence[str]) -> Sequence[Relationship] | ReadFailed:  # noqa: ARG002
        return self._no_read()

    def resolve(self, account: AccountRef, handles: Sequence[str]) -> Sequence[Resolved] | ReadFailed:  # noqa: ARG002
        return self._no_read()

    def refresh(self, account: AccountRef, deadline_seconds: float) -> Tokens | ReadFailed | Unknown:  # noqa: ARG002
        return self._no_read()

    def _no_read(self) -> ReadFailed:
        return ReadFailed("forbidden", detail=self._why)
