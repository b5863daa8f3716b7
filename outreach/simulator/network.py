"""The social network itself: who is there, who follows, blocks and has written to whom. State and queries only."""

from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

#: the provider's ids count milliseconds from here, in their upper bits
SNOWFLAKE_EPOCH = datetime(2010, 11, 4, 1, 42, 54, 657000, tzinfo=UTC)


@dataclass(slots=True, kw_only=True)
class User:
    """Anybody: one of our accounts or a person."""

    id: str
    handle: str
    name: str
    created_at: datetime
    is_account: bool = False
    #: accounts only: the tier may follow through the API
    follow_permitted: bool = False
    protected: bool = False
    #: takes messages from anybody
    receives_dm: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Message:
    """One direct message; ordered by time, then by id."""

    at: datetime
    number: int
    sender: str
    recipient: str
    text: str

    @property
    def id(self) -> str:
        return str(self.number)

    @property
    def conversation(self) -> str:
        return conversation_of(self.sender, self.recipient)

    def other(self, user_id: str) -> str:
        """Whom this message is with, seen from one of the two."""
        return self.recipient if self.sender == user_id else self.sender


@dataclass(slots=True)
class Span:
    """From when until when one follows another; until None: still."""

    since: datetime
    until: datetime | None = None

    def holds(self, at: datetime) -> bool:
        return self.since <= at and (self.until is None or at < self.until)


def conversation_of(one: str, other: str) -> str:
    """The id of a conversation of two: both ids, the smaller number first."""
    return "-".join(sorted((one, other), key=int))


class Network:
    """All state. Whoever calls holds the simulator's lock."""

    def __init__(self) -> None:
        self.users: dict[str, User] = {}
        self._by_handle: dict[str, str] = {}
        self._follows: dict[tuple[str, str], Span] = {}
        self._followers: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._following: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._requests: dict[tuple[str, str], datetime] = {}
        self._blocks: set[tuple[str, str]] = set()
        self._sent: Counter[tuple[str, str]] = Counter()
        self._inbox: defaultdict[str, list[Message]] = defaultdict(list)
        self._with: defaultdict[tuple[str, str], list[Message]] = defaultdict(list)
        self._count = 0

    # --- users

    def add(self, user: User) -> None:
        """Add somebody, or change who has this id."""
        if old := self.users.get(user.id):
            self._by_handle.pop(old.handle.lower(), None)
        self.users[user.id] = user
        self._by_handle[user.handle.lower()] = user.id

    def remove(self, user_id: str) -> None:
        """Suspended or deleted: no look-up finds them; what they wrote stays. `add` brings them back."""
        self._by_handle.pop(self.users.pop(user_id).handle.lower(), None)

    def by_handle(self, handle: str) -> User | None:
        """Handles are the same in any case."""
        user_id = self._by_handle.get(handle.lower())
        return self.users[user_id] if user_id else None

    def find(self, handle_or_id: str) -> User | None:
        """By id or by handle, with or without @: for the control routes."""
        return self.users.get(handle_or_id) or self.by_handle(handle_or_id.removeprefix("@"))

    # --- relations

    def follows(self, source: str, target: str, at: datetime | None = None) -> bool:
        """Does one follow the other, now or (for lagging reads) at an instant?"""
        span = self._follows.get((source, target))
        if span is None:
            return False
        return span.until is None if at is None else span.holds(at)

    def requested(self, source: str, target: str) -> bool:
        return (source, target) in self._requests

    def blocks(self, source: str, target: str) -> bool:
        return (source, target) in self._blocks

    def follow(self, source: str, target: str, at: datetime) -> None:
        self._requests.pop((source, target), None)
        self._follows[source, target] = Span(at)
        self._followers[target][source] = None
        self._following[source][target] = None

    def request(self, source: str, target: str, at: datetime) -> None:
        """Ask a protected user."""
        self._requests[source, target] = at

    def unfollow(self, source: str, target: str, at: datetime) -> bool:
        """End a follow or take back a request; False where there was neither."""
        asked = self._requests.pop((source, target), None) is not None
        if not self.follows(source, target):
            return asked
        self._follows[source, target].until = at
        self._followers[target].pop(source, None)
        self._following[source].pop(target, None)
        return True

    def block(self, source: str, target: str, at: datetime) -> None:
        """Blocking ends both follows."""
        self._blocks.add((source, target))
        self.unfollow(source, target, at)
        self.unfollow(target, source, at)

    def unblock(self, source: str, target: str) -> None:
        self._blocks.discard((source, target))

    def followers(self, user_id: str) -> list[str]:
        """Ids, latest first."""
        return list(reversed(self._followers[user_id]))

    def following(self, user_id: str) -> list[str]:
        """Ids, latest first."""
        return list(reversed(self._following[user_id]))

    # --- messages

    def receives(self, sender: str, recipient: str) -> bool:
        """Would a message arrive? From whom one follows, or has written to, always; else as one chose. Blocks end it."""
        if self.blocks(recipient, sender):
            return False
        known = self.follows(recipient, sender) or self._sent[recipient, sender] > 0
        return known or self.users[recipient].receives_dm

    def draft(self, sender: str, recipient: str, text: str, at: datetime) -> Message:
        """A message with its id, not yet kept."""
        return Message(at=at, number=self.next_number(at), sender=sender, recipient=recipient, text=text)

    def keep(self, message: Message) -> None:
        """Put a message where both see it."""
        pair = message.sender, message.recipient
        self._sent[pair] += 1
        for owner, peer in (pair, pair[::-1]):
            for messages in (self._inbox[owner], self._with[owner, peer]):
                _insert(messages, message)

    def messages(self, owner: str, peer: str | None = None) -> Sequence[Message]:
        """All that the owner sent and received (with one peer), oldest first."""
        return self._inbox[owner] if peer is None else self._with[owner, peer]

    def sent_count(self, sender: str, recipient: str) -> int:
        """How many messages went from one to the other."""
        return self._sent[sender, recipient]

    def next_number(self, at: datetime) -> int:
        """A new id: milliseconds in the upper bits, a count in the lower 22."""
        self._count += 1
        return int((at - SNOWFLAKE_EPOCH).total_seconds() * 1000) << 22 | self._count & 0x3FFFFF


def _insert(messages: list[Message], message: Message) -> None:
    """In its place; nearly always that is the end."""
    if not messages or messages[-1].at <= message.at:
        messages.append(message)
    else:
        insort(messages, message)
