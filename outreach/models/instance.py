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
    #: where it was made or adopted; None: it could not be read there
    cluster: str | None
    foreign_since: datetime | None
    foreign_reason: str | None
    recovering_since: datetime | None

    @property
    def may_send(self) -> bool:
        """False: everything is paused, or this database is not the one that sends (yet). T1 judges; whoever sweeps asks this."""
        return self.paused_at is None and self.foreign_since is None and self.recovering_since is None

    @property
    def mode(self) -> str:
        """What every command shows."""
        if self.live:
            return "LIVE"
        return "SIMULATED ONLY" if self.simulated_only else "SIMULATED"


_READ = """
SELECT name, key, simulated_only, live_confirmed_at IS NOT NULL AS live, clock_origin, clock_factor, paused_at, pause_reason,
       last_tick_at, retained_at, policy, caps, cluster, foreign_since, foreign_reason, recovering_since
  FROM instance"""


def read(tx: Tx) -> Instance:
    """Raises LookupError in a database without one."""
    return Instance(**tx.one(_READ))


def cluster_here(tx: Tx) -> str | None:
    """What no copy of a database shares with it: its cluster's number (a dump is restored into another one) and the database's own
    (a clone beside it has another). None: this role may not ask (`doctor` says so)."""
    if not tx.value("SELECT has_function_privilege('pg_control_system()', 'EXECUTE') AS may"):
        return None
    found: str = tx.value(
        "SELECT c.system_identifier || '/' || d.oid AS here FROM pg_control_system() c, pg_database d WHERE d.datname = current_database()"
    )
    return found


def create(
    db: Database, *, name: str, simulated_only: bool, origin: datetime, factor: float, now: datetime
) -> Instance:
    """Make the row if there is none, then read it. Raises ConfigurationError where it says otherwise than asked."""

    def work(tx: Tx) -> Instance:
        tx.execute(
            "INSERT INTO instance (name, key, simulated_only, clock_origin, clock_factor, created_at, cluster)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (name, new_token(9), simulated_only, origin, factor, now, cluster_here(tx)),
        )
        return read(tx)

    return db.run(work)


def require_same_clock(instance: Instance, *, name: str | None, origin: datetime, factor: float) -> None:
    """Raises ConfigurationError where this process would run on another clock, or in somebody else's database."""
    if name is not None and name != instance.name:
        raise ConfigurationError(
            f"OUTREACH_INSTANCE is {name!r}, the database belongs to {instance.name!r}",
            hint="a cloned database must not send: check DATABASE_URL, or give it its name: outreach db adopt --as NAME",
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


def set_foreign(tx: Tx, reason: str, now: datetime) -> bool:
    """Restored or cloned: nothing is sent any more. False: that was known."""
    return bool(
        tx.execute(
            "UPDATE instance SET foreign_since = %s, foreign_reason = %s, recovering_since = NULL WHERE foreign_since IS NULL",
            (now, reason),
        )
    )


def set_cluster(tx: Tx, cluster: str | None) -> None:
    """Where it is at home."""
    tx.execute("UPDATE instance SET cluster = %s", (cluster,))


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
