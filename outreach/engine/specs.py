"""The parts of a sequence as its author wrote them: actions, messages and edges, each with its place."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from outreach.engine.fields import Text
from outreach.engine.graph import TASK_EXPIRES, Entry, Lateness
from outreach.engine.kinds import CHANNEL_OF, ActionKind, Channel, TriggerKind
from outreach.engine.problems import Mark

#: Where an edge leads that leads nowhere: the lead finishes.
END = "END"


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantSpec:
    """One arm of a message as written. `subject` is its own, else the message's."""

    key: str
    weight: int
    body: Text
    subject: Text | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSpec:
    """A message as written; a plain body is one variant named `a`."""

    mark: Mark
    variants: tuple[VariantSpec, ...]
    fallback: Text | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeSpec:
    """An edge as written. `kind` None: it could not be read. `to` None: END."""

    mark: Mark
    path: str
    kind: TriggerKind | None
    to: Text | None
    after: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LatenessSpec:
    """How late an action may be, and where that is written: at the action, or at the sequence for all of them."""

    mark: Mark
    path: str
    value: Lateness


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionSpec:
    """An action as written. `kind` None: it could not be read."""

    key: str
    mark: Mark
    kind: ActionKind | None
    edges: tuple[EdgeSpec, ...] = ()
    message: MessageSpec | None = None
    wait: timedelta = timedelta(0)
    lateness: LatenessSpec | None = None
    task_expires: timedelta | None = TASK_EXPIRES

    @property
    def path(self) -> str:
        return f"actions.{self.key}"

    @property
    def channel(self) -> Channel | None:
        """Where it speaks; None: nowhere, or its kind could not be read."""
        return None if self.kind is None else CHANNEL_OF.get(self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntrySpec:
    """A door as written. `marks`: where each of its keys stands."""

    mark: Mark
    path: str
    value: Entry
    marks: Mapping[str, Mark]
