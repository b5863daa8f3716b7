"""rotate: put everything under the first key and the first pepper of the rings, beside running workers; what cannot be moved is said.

In batches of a transaction each: broken off, it is run again and goes on. Nothing is written over: a credential that somebody has
renewed meanwhile is left as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from outreach.errors import ConfigurationError
from outreach.models import keys
from outreach.models.base import Database, Row, Tx
from outreach.peppers import Peppers
from outreach.runtime.credentials import place_of
from outreach.runtime.keyring import VARIABLES, Ring, rings
from outreach.vault import CannotOpen, Vault

_CREDENTIALS, _IDENTITIES = 50, 500
#: Credentials that were renewed while we looked at them are looked at again, so often.
_PASSES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """What was moved, and what was not."""

    credentials: int
    #: credentials that cannot be opened, each with the reason
    broken: Sequence[str]
    identities: int
    #: per pepper how many identities of `erased` people, and `unknown` identifiers on the do-not-contact list, stay bound to it
    bound: Sequence[Row]
    #: as everything stands now
    rings: Sequence[Ring]


def rotate(db: Database, vault: Vault, peppers: Peppers, *, now: datetime, stopped: bool = False) -> Rotated:
    """`stopped`: nothing else runs, so that secrets may be used which no other process has met.

    Raises ConfigurationError where a ring is wrong, before anything is written.
    """
    db.run(lambda tx: _begin(tx, vault, peppers, now, stopped))
    credentials, broken = _reseal(db, vault)
    identities = _move(db, peppers)
    found = db.run(lambda tx: rings(tx, vault, peppers))
    bound = [row for row in db.run(keys.digests_by_pepper) if row["pepper"] != peppers.current]
    return Rotated(credentials=credentials, broken=broken, identities=identities, bound=bound, rings=found)


def _begin(tx: Tx, vault: Vault, peppers: Peppers, now: datetime, stopped: bool) -> None:
    keys.lock(tx)
    for ring in rings(tx, vault, peppers):
        if ring.unmet and not stopped:
            variable = VARIABLES[ring.kind]
            raise ConfigurationError(
                f"no process has met {ring.kind} {ring.ids[0]} yet: those that run could not read what is written under it",
                hint=f"run all with {variable}=OLD,NEW first; or stop everything, and say --stopped",
            )
        if ring.missing:
            raise ring.fault() or AssertionError("what is missing is a fault")
        keys.learn(tx, ring.kind, ring.new, now)


def _reseal(db: Database, vault: Vault) -> tuple[int, list[str]]:
    moved, broken = 0, dict[str, None]()
    for _ in range(_PASSES):
        renewed, after = 0, ("", 0, "")
        while rows := db.run(lambda tx, after=after: _reseal_some(tx, vault, after, broken)):  # type: ignore[misc]
            moved += [done for _, done in rows].count(True)
            renewed += [done for _, done in rows].count(False)
            after = rows[-1][0]
        if not renewed:
            break
    return moved, list(broken)


def _reseal_some(
    tx: Tx, vault: Vault, after: tuple[str, int, str], broken: dict[str, None]
) -> list[tuple[tuple[str, int, str], bool | None]]:
    rows = keys.sealed_otherwise(tx, vault.current, after, _CREDENTIALS)
    return [((row["of"], row["id"], row["field"]), _reseal_one(tx, vault, row, broken)) for row in rows]


def _reseal_one(tx: Tx, vault: Vault, row: Row, broken: dict[str, None]) -> bool | None:
    """None: it cannot be opened. False: somebody has just renewed it."""
    place = place_of(row)
    try:
        plain = vault.open(row["sealed"], place)
    except CannotOpen as why:
        broken[why.message] = None
        return None
    return keys.replace_sealed(tx, row, vault.seal(plain, place))


def _move(db: Database, peppers: Peppers) -> int:
    """Those whose words we have; with them go the entries of the do-not-contact list under the same digest."""
    moved, after = 0, 0
    while rows := db.run(lambda tx, after=after: _move_some(tx, peppers, after)):  # type: ignore[misc]
        moved, after = moved + len(rows), rows[-1]["id"]
    return moved


def _move_some(tx: Tx, peppers: Peppers, after: int) -> list[Row]:
    keys.lock(tx)
    rows = keys.digested_otherwise(tx, peppers.current, after, _IDENTITIES)
    moves = {row["hmac"]: peppers.digest(row["kind"], row["value"]) for row in rows}
    if moves:
        keys.move_digests(tx, sorted({row["person_id"] for row in rows}), moves)
    return rows
