"""What decide() may answer: the moves to make now, and then exactly one of Perform, Wait, Finish, Exit."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from outreach.engine.kinds import TriggerKind, WaitingOn


class Want(StrEnum):
    """Evidence that a negative edge lacks."""

    INBOX = "inbox"
    RELATIONSHIP = "relationship"


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """The cursor goes along an edge. `to` None: the END edge."""

    trigger: TriggerKind
    source: str
    to: str | None
    #: when it could have been taken first: what it leads to is due since then
    due: datetime
    #: the signal the edge was taken on
    signal_id: int | None = None
    #: negative edges: the instant that evidence had to reach
    deadline: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Perform:
    """Do this node's action now."""

    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Look again at `until`. Where evidence is missing, `wants` says which, and `until` is the deadline it must reach."""

    until: datetime
    on: WaitingOn
    detail: str | None = None
    wants: Want | None = None
    #: `until` is the deadline of somebody's silence, and nothing comes due before it
    silence: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The graph has ended for this lead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """The lead leaves early. `signal_id`: the signal that stopped it."""

    reason: str
    signal_id: int | None = None


Then = Perform | Wait | Finish | Exit


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The moves, where they lead, and what to do there."""

    moves: tuple[Move, ...]
    cursor: str
    visits: Mapping[str, int]
    entered_at: datetime
    then: Then
