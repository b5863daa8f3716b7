"""What seals are made of, pure: leaves, Merkle roots, the chain of heads, and what differs between two states of the same events."""

import json
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256

from outreach.models.sealing import Generation, Seal

LEAF_BYTES = 60
#: What the first seal is chained to.
BEGINNING = bytes(32)
_LEAF = struct.Struct(">qqQi32s")
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def root_of(leaves: bytes) -> bytes:
    """The Merkle root (the tree of RFC 6962) of at least one leaf."""
    level = [
        sha256(b"\0" + leaves[at : at + LEAF_BYTES]).digest() for at in range(0, len(leaves), LEAF_BYTES)
    ]
    while len(level) > 1:
        odd = level[-1:] if len(level) % 2 else []
        level = [
            sha256(b"\1" + left + right).digest()
            for left, right in zip(level[::2], level[1::2], strict=False)
        ] + odd
    return level[0]


def head_of(seal: Seal, generation: Generation) -> bytes:
    """What stands for the log up to and including this seal: it holds everything about it and the head before."""
    at = (seal.at - _EPOCH) // timedelta(microseconds=1)
    said = [
        "outreach seal 1", seal.id, seal.generation, generation.first, seal.from_tx, seal.to_tx, seal.events, seal.root.hex(),
        seal.previous.hex(), at,
    ]  # fmt: skip
    return sha256(json.dumps(said).encode()).digest()


def forge(
    last: Seal | None, generation: Generation, *, from_tx: int, to_tx: int, leaves: bytes, at: datetime
) -> Seal:
    """The next link of the chain."""
    seal = Seal(
        id=last.id + 1 if last else 1, generation=generation.id, from_tx=from_tx, to_tx=to_tx, events=len(leaves) // LEAF_BYTES,
        root=root_of(leaves), previous=last.head if last else BEGINNING, head=b"", at=at,
    )  # fmt: skip
    return replace(seal, head=head_of(seal, generation))


# --- what differs -----------------------------------------------------------------------------------------------


class Wrong(StrEnum):
    """What can be wrong with a sealed event."""

    CHANGED = "changed"
    DELETED = "deleted"
    ADDED = "added"
    REORDERED = "reordered"


@dataclass(frozen=True, slots=True)
class Leaf:
    """One event as its seal knows it: its place, and the digest of what it says. `at`: microseconds since 2000."""

    id: int
    at: int
    tx: int
    seq: int
    says: bytes

    @property
    def month(self) -> str:
        """As in 2026-01, UTC; of instants that no calendar has, nothing."""
        try:
            return f"{_EPOCH + timedelta(microseconds=self.at):%Y-%m}"
        except OverflowError:
            return ""


def read_leaves(leaves: bytes) -> Iterator[Leaf]:
    """One by one."""
    return (Leaf(*parts) for parts in _LEAF.iter_unpack(leaves))


@dataclass(frozen=True, slots=True)
class Difference:
    """One event that is not as it was sealed. `was`, `now`: None where it is not there."""

    wrong: Wrong
    was: Leaf | None
    now: Leaf | None

    @property
    def event_id(self) -> int:
        leaf = self.was or self.now
        assert leaf is not None
        return leaf.id


def differences(kept: bytes, found: bytes) -> list[Difference]:
    """What happened to the events of one seal, by id: `kept` is what was sealed, `found` what stands there now."""
    was, now = Counter(read_leaves(kept)), Counter(read_leaves(found))
    gone, come = list((was - now).elements()), list((now - was).elements())
    by_id = {leaf.id: leaf for leaf in come}
    pairs = [(leaf, by_id[leaf.id]) for leaf in gone if leaf.id in by_id]
    paired = {leaf.id for leaf, _ in pairs}
    missing = [leaf for leaf in gone if leaf.id not in paired]
    rest = Counter(come) - Counter(after for _, after in pairs)
    said = Counter(before.says for before, after in pairs if before.says != after.says)
    found_here = [Difference(_of_pair(before, after, said), before, after) for before, after in pairs]
    return sorted(found_here + _strangers(missing, list(rest.elements())), key=lambda d: d.event_id)


def _of_pair(before: Leaf, after: Leaf, said: Counter[bytes]) -> Wrong:
    """The same id: other words, or the words of another event of the same seal, or another place."""
    if before.says == after.says:
        return Wrong.CHANGED if before.at != after.at else Wrong.REORDERED
    return Wrong.REORDERED if said[after.says] else Wrong.CHANGED


def _strangers(missing: Sequence[Leaf], extra: Sequence[Leaf]) -> list[Difference]:
    """Ids that are gone and ids that were not there: the same words under another id are an event that was moved."""
    spare: dict[bytes, list[Leaf]] = {}
    for leaf in extra:
        spare.setdefault(leaf.says, []).append(leaf)
    found = []
    for leaf in missing:
        twin = spare[leaf.says].pop() if spare.get(leaf.says) else None
        found.append(Difference(Wrong.REORDERED if twin else Wrong.DELETED, leaf, twin))
    return found + [Difference(Wrong.ADDED, None, leaf) for leaves in spare.values() for leaf in leaves]
