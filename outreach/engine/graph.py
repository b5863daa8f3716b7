"""The compiled graph of one sequence version: frozen values. codec.py turns them to stored JSON and back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import time, timedelta

from outreach.engine.kinds import CHANNEL_OF, ActionKind, Channel, EntryKind, IfLate, TriggerKind

#: The newest format that this release reads. A graph has the oldest one that says all of it: workers leave graphs of a
#: higher format alone. 2: actions with a `lateness`, which an older worker would send however late. 3: `review_first`, which an
#: older worker would not wait for.
GRAPH_FORMAT = 3


#: How long a step that falls to a human waits for somebody to begin it, where the author says nothing.
TASK_EXPIRES = timedelta(days=14)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One arm of an A/B test: a template text and its weight."""

    key: str
    weight: int
    body: str
    subject: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a message node says. `fallback` is used when a variable of the chosen variant is missing."""

    variants: tuple[Variant, ...]
    fallback: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A trigger: why it is taken, how long after the node's clock started, and where it leads (None: END)."""

    kind: TriggerKind
    to: str | None
    #: NORMAL_EDGE, TIMEOUT: the delay. Negative edges: the deadline. Positive edges: always zero.
    after: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lateness:
    """A step that is not carried out within `after` of being due first is skipped, or a human is asked."""

    after: timedelta
    then: IfLate = IfLate.SKIP


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """An action: the author's key (for ever), its kind, its message if it has one, and its edges in the author's order."""

    key: str
    kind: ActionKind
    edges: tuple[Edge, ...] = ()
    message: Message | None = None
    #: WAIT only: how long
    wait: timedelta = timedelta(0)
    #: None: it is carried out however late
    lateness: Lateness | None = None
    #: how long nobody may begin it where it falls to a human: then it has failed; None: for ever. No reason for a higher format:
    #: an older worker lets such a task lie, and sends nothing by it
    task_expires: timedelta | None = TASK_EXPIRES

    @property
    def channel(self) -> Channel | None:
        return CHANNEL_OF.get(self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """When sends may happen: weekdays (0 = Monday), from and until (local times), in which zone.

    `zone`: "lead" (the person's zone, else the account's), "account", or an IANA name. until may be before from (over midnight).
    """

    days: tuple[int, ...] = (0, 1, 2, 3, 4)
    start: time = time(9, 0)
    end: time = time(18, 0)
    zone: str = "lead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A door by which people come in by themselves. Moving a lead never asks by which one it came."""

    kind: EntryKind
    #: the segment's, or the form's; of a door for messages it is empty
    name: str = ""
    #: message_in: where they write
    channel: Channel | None = None
    #: who speaks to them; of a door for messages also: to whom they write. Empty: any
    accounts: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()
    #: message_in: one of them must stand in the message; empty: any message
    words: tuple[str, ...] = ()
    #: who has been here comes in again so long after their last passage ended; None: never
    cool_off: timedelta | None = None
    #: form: where the consent was given, as `consent show` says it
    source: str = ""

    @property
    def label(self) -> str:
        """One line for people."""
        return f"{self.kind} {self.name}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Everything a worker must know of one version. Immutable; equal content compiles to an equal graph."""

    sequence: str
    start: str
    nodes: Mapping[str, Node]
    window: Window | None = None
    #: caps of this sequence per action kind, in caps syntax ("8/hour;40/date")
    caps: Mapping[str, str] = field(default_factory=dict)
    #: defaults of variables, by name
    defaults: Mapping[str, str] = field(default_factory=dict)
    #: never open contact with somebody whom any account of ours ever contacted on this channel
    exclude_already_contacted: bool = False
    #: what an unbranched human reply does: "stop" the lead or "continue"
    on_reply: str = "stop"
    #: what {{ opt_out }} renders to
    opt_out_line: str = "Reply STOP and I will not write again."
    #: so many messages of the version wait for somebody's OK before it runs by itself
    review_first: int = 0
    #: who comes in by themselves. No reason for a higher format: older workers carry such leads on like any other
    entries: tuple[Entry, ...] = ()
    format: int = 1

    def node(self, key: str) -> Node:
        return self.nodes[key]
