"""Persons as the runtime needs them: locked, paused, followed through a merge."""

from dataclasses import dataclass
from datetime import datetime

from outreach.models.base import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedPerson:
    """The person's row is locked; `database_now` was read afterwards."""

    id: int
    database_now: datetime
    suppressed: bool
    effective: bool
    paused: bool
    merged_into: int | None


def lock(tx: Tx, person_id: int) -> LockedPerson | None:
    """FOR NO KEY UPDATE: what T1 takes too. None: there is no such person."""
    row = tx.row(
        "SELECT id, suppressed_at IS NOT NULL AS suppressed, suppression_effective_at IS NOT NULL AS effective,"
        " paused_at IS NOT NULL AS paused, merged_into FROM person WHERE id = %s FOR NO KEY UPDATE",
        (person_id,),
    )
    return LockedPerson(**row, database_now=tx.database_now()) if row else None


def lock_present(tx: Tx, person_id: int) -> LockedPerson | None:
    """The person, or whom they have been merged into, locked."""
    for _ in range(10):
        person = lock(tx, person_id)
        if person is None or person.merged_into is None:
            return person
        person_id = person.merged_into
    raise LookupError(f"person {person_id} is merged in a circle")


def set_paused(tx: Tx, person_id: int, reason: str | None, now: datetime) -> None:
    """Pause, or (reason None) resume. The caller holds the row."""
    tx.execute(
        "UPDATE person SET paused_at = %s, pause_reason = %s WHERE id = %s",
        (now if reason else None, reason, person_id),
    )


def is_test(tx: Tx, person_id: int) -> bool:
    """Is this one of us? The caller holds the row, or only shows it."""
    return bool(tx.value("SELECT is_test FROM person WHERE id = %s", (person_id,)))


def set_test(tx: Tx, person_id: int, is_test: bool) -> None:
    """One of us from now on, or no more. The caller holds the row."""
    tx.execute("UPDATE person SET is_test = %s WHERE id = %s", (is_test, person_id))
