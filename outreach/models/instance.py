"""The instance row: the one database's name, mode, clock and policy."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from outreach.errors import ConfigurationError
from outreach.ids import new_token
from outreach.models.base import Database, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """The row, as it was read."""

    name: str
    key: str
    simulated_only: bool
    live: bool
    clock_origin: datetime
    clock_factor: float
    paused_at: datetime | None
    pause_reason: str | None
    last_tick_at: datetime | None
    retained_at: datetime | None
    policy: dict[str, Any]
    caps: dict[str, str]

    @property
    def mode(self) -> str:
        """What every command shows."""
        if self.live:
            return "LIVE"
        return "SIMULATED ONLY" if self.simulated_only else "SIMULATED"


_READ = """
SELECT name, key, simulated_only, live_confirmed_at IS NOT NULL AS live, clock_origin, clock_factor, paused_at, pause_reason,
       last_tick_at, retained_at, policy, caps
  FROM instance"""


def read(tx: Tx) -> Instance:
    """Raises LookupError in a database without one."""
    return Instance(**tx.one(_READ))


def create(
    db: Database, *, name: str, simulated_only: bool, origin: datetime, factor: float, now: datetime
) -> Instance:
    """Make the row if there is none, then read it. Raises ConfigurationError where it says otherwise than asked."""

    def work(tx: Tx) -> Instance:
        tx.execute(
            "INSERT INTO instance (name, key, simulated_only, clock_origin, clock_factor, created_at)"
            " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (name, new_token(9), simulated_only, origin, factor, now),
        )
        return read(tx)

    return db.run(work)


def require_same_clock(instance: Instance, *, name: str | None, origin: datetime, factor: float) -> None:
    """Raises ConfigurationError where this process would run on another clock, or in somebody else's database."""
    if name is not None and name != instance.name:
        raise ConfigurationError(
            f"OUTREACH_INSTANCE is {name!r}, the database belongs to {instance.name!r}",
            hint="a restored or cloned database must not send: check DATABASE_URL",
        )
    same_origin = factor == 1.0 or instance.clock_origin == origin
    if instance.clock_factor != factor or not same_origin:
        raise ConfigurationError(
            f"this process runs at x{factor:g}, the database at x{instance.clock_factor:g} since {instance.clock_origin.isoformat()}",
            hint="set OUTREACH_CLOCK_FACTOR and OUTREACH_CLOCK_ORIGIN alike, or use another database",
        )


def set_paused(tx: Tx, reason: str | None, now: datetime) -> None:
    """Pause everything, or (reason None) nothing any more."""
    tx.execute("UPDATE instance SET paused_at = %s, pause_reason = %s", (now if reason else None, reason))


def set_live(tx: Tx, by: str | None, now: datetime) -> None:
    """Confirmed live by somebody, or (None) back to simulated."""
    tx.execute(
        "UPDATE instance SET live_confirmed_at = %s, live_confirmed_by = %s", (now if by else None, by)
    )


def set_ticked(tx: Tx, now: datetime) -> None:
    """The sweep has run; several schedulers never move it backwards."""
    tx.execute("UPDATE instance SET last_tick_at = greatest(last_tick_at, %s)", (now,))


#: Held shared by every T1. Taking it exclusively, for an instant, waits for the T1s that did not yet see our commit.
def drain_claims(db: Database, key: int) -> None:
    """Returns when every earlier T1 has ended; later ones see what was committed before this call."""
    db.run(lambda tx: tx.execute("SELECT pg_advisory_xact_lock(%s)", (key,)))
