"""F18: somebody with every right tampers with the sealed log, in every way we know, and `audit verify` must see it each time.

Each tampering is done, looked for, and taken back in one transaction, so the log outlives them all.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from outreach.models import sealing, tampering
from outreach.models.base import Database, Row, Tx
from outreach.models.sealing import Seal
from outreach.runtime.chain import forge
from outreach.runtime.verified import Noted, Verified
from outreach.runtime.verify import verify

T = TypeVar("T")
#: The next number in [0, 1) of that name.
Throw = Callable[[str], float]
#: Does it, and says what it did.
Way = Callable[[Tx, Throw], str]


@dataclass(frozen=True, slots=True)
class Inside:
    """Reads in a transaction that is open."""

    tx: Tx

    def run(self, work: Callable[[Tx], T]) -> T:
        return work(self.tx)


class _TakeBack(Exception):
    """Ends a transaction without a trace."""


# --- the ways ---------------------------------------------------------------------------------------------------


def _edit(tx: Tx, throw: Throw, *, change: str) -> str:
    tampering.edit(tx, _event(tx, throw)["id"], change)
    return f"edit: {change}"


def _delete(tx: Tx, throw: Throw) -> str:
    tampering.delete(tx, _event(tx, throw)["id"])
    return "delete"


def _delete_and_renumber(tx: Tx, throw: Throw) -> str:
    tampering.delete_and_renumber(tx, _event(tx, throw)["id"])
    return "delete, and renumber its lead"


def _insert(tx: Tx, throw: Throw) -> str:
    tampering.forge(tx, _event(tx, throw)["id"])
    return "insert"


def _swap_payloads(tx: Tx, throw: Throw) -> str:
    while not tampering.swap(tx, *_two(tx, throw), "kind, payload"):
        pass
    return "exchange what two say"


def _swap_places(tx: Tx, throw: Throw) -> str:
    while not tampering.swap(tx, *_two(tx, throw), "lead_id, lead_seq, tx"):
        pass
    return "exchange where two stand"


def _swap_ids(tx: Tx, throw: Throw) -> str:
    tampering.exchange_ids(tx, *_two(tx, throw))
    return "exchange ids"


def _cut_off(tx: Tx, throw: Throw) -> str:
    seals = sealing.latest_seals(tx, 1_000_000)
    if len(seals) == 1:
        return _drop_seal(tx, throw)
    tampering.cut_off(tx, seals[int(throw("cut") * (len(seals) - 1))])
    return "cut the end off"


def _drop_seal(tx: Tx, throw: Throw) -> str:
    seals = sealing.latest_seals(tx, 1_000_000)
    tampering.drop_seal(tx, seals[int(throw("seal") * len(seals))].id)
    return "drop a seal"


def _make_anew(tx: Tx, throw: Throw) -> str:
    """What nothing in the database can show: the events and every later seal agree with each other. Only a head noted elsewhere tells."""
    event = _event(tx, throw)
    tampering.edit(tx, event["id"], "payload")
    tampering.put_seals(tx, _seals_anew(tx, event["seal_id"]))
    return "edit, and make every later seal anew"


def _seals_anew(tx: Tx, begin: int) -> Sequence[tuple[Seal, bytes]]:
    generations = {g.id: g for g in sealing.generations(tx)}
    made: list[tuple[Seal, bytes]] = []
    last: Seal | None = None
    for seal in sealing.latest_seals(tx, 1_000_000):
        if seal.id >= begin:
            generation = generations[seal.generation]
            leaves = sealing.leaves(tx, generation, from_tx=seal.from_tx, to_tx=seal.to_tx)
            seal = forge(last, generation, from_tx=seal.from_tx, to_tx=seal.to_tx, leaves=leaves, at=seal.at)
            made.append((seal, leaves))
        last = seal
    return made


def _event(tx: Tx, throw: Throw) -> Row:
    return tampering.sealed(tx, throw("event"))


def _two(tx: Tx, throw: Throw) -> tuple[int, int]:
    one, other = _event(tx, throw)["id"], _event(tx, throw)["id"]
    while one == other:
        other = _event(tx, throw)["id"]
    return one, other


_OTHERS = (
    _delete, _swap_payloads, _insert, _swap_ids, _cut_off, _swap_places, _delete_and_renumber, _make_anew, _drop_seal,
)  # fmt: skip
#: One round: each column is edited once, and between the edits each of the others comes twice.
WAYS: Sequence[Way] = tuple(
    way
    for number, change in enumerate(tampering.EDITS)
    for way in (partial(_edit, change=change), _OTHERS[number % len(_OTHERS)])
)


# --- the trial ---------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Trial:
    """How often each way was tried, and which were not seen. `false_alarms`: findings before anything was touched."""

    tried: Counter[str] = field(default_factory=Counter)
    unseen: list[str] = field(default_factory=list)
    false_alarms: int = 0
    events: int = 0


def heads_of(db: Database) -> list[Noted]:
    """As they are exported."""
    return [
        Noted(head=seal.head, seal=seal.id) for seal in db.run(lambda tx: sealing.latest_seals(tx, 1_000_000))
    ]


def try_to_tamper(
    db: Database,
    throw: Throw,
    times: int,
    *,
    look: Callable[..., Verified] = verify,
    ways: Sequence[Way] = WAYS,
) -> Trial:
    """So many tamperings of the log as it is sealed now, one after the other. The role must be the server's superuser."""
    heads = heads_of(db)
    untouched = look(db, heads=heads)
    trial = Trial(false_alarms=len(untouched.findings), events=untouched.events)
    for number in range(times):
        done, seen = _tamper(db, ways[number % len(ways)], throw, heads, look)
        trial.tried[done] += 1
        if not seen:
            trial.unseen.append(done)
    return trial


def _tamper(
    db: Database,
    way: Way,
    throw: Throw,
    heads: Sequence[Noted],
    look: Callable[..., Verified],
) -> tuple[str, bool]:
    with taken_back(db) as inside:
        done = way(inside.tx, throw)
        seen = bool(look(inside, heads=heads).findings)
    return done, seen


@contextmanager
def taken_back(db: Database) -> Iterator[Inside]:
    """A transaction in which nothing holds, and of which nothing stays."""
    with suppress(_TakeBack), db.transaction() as tx:
        tampering.disarm(tx)
        yield Inside(tx)
        raise _TakeBack
