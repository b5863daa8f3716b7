"""What decide() may know of a lead: values built from rows by runtime, nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from outreach.engine.kinds import Channel, ExecutionState, ReplyClass, SignalKind, TriggerKind


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalView:
    """A signal that no edge has used yet."""

    id: int
    kind: SignalKind
    at: datetime
    reply_class: ReplyClass | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionView:
    """The ledger row of the present node and visit."""

    state: ExecutionState
    #: when the provider took it; the clocks of the node's edges start here
    sent_at: datetime | None = None
    reason: str | None = None
    #: when it was passed over, because it came too late; the node counts as done since then
    passed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadView:
    """Where a lead stands and what has happened to it."""

    cursor: str
    entered_at: datetime
    #: where one instant leads over several nodes: since when the lead could have stood on this one
    due: datetime | None = None
    visits: Mapping[str, int] = field(default_factory=dict)
    execution: ExecutionView | None = None
    #: unused signals, oldest first
    signals: tuple[SignalView, ...] = ()
    #: every inbox through which the lead was contacted is read and digested up to here; None: at least one never was
    read_up_to: datetime | None = None
    #: when the relationship with this person was last looked up; None: never
    looked_up_at: datetime | None = None
    #: the trigger that led to the present node, as far as its action is still to be done
    entered_by: TriggerKind | None = None
    #: channels on which the lead has an account and an identity
    channels: frozenset[Channel] = frozenset()

    @property
    def visit(self) -> int:
        """How often the cursor has been on this node, this time included."""
        return self.visits.get(self.cursor, 1)
