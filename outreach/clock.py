"""Time is handed in, never fetched: the only module that may ask the machine for the time.

*Business* time (waits, windows, caps) runs on the Clock. *Machine* durations (call deadline, settle time,
leases) are real seconds; `machine()` turns them into business time so that both can be stored and compared.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Where `now` comes from. All instants are aware and UTC."""

    def now(self) -> datetime:
        """Business time by this machine's clock."""
        ...

    def at(self, database_now: datetime) -> datetime:
        """Business time of an instant that the database's `clock_timestamp()` returned."""
        ...

    def business(self, real: datetime) -> datetime:
        """Business time of a real instant that a provider stamped."""
        ...

    def real(self, business: datetime) -> datetime:
        """The real instant of a business instant: the inverse of `business`. For what providers are asked."""
        ...

    def machine(self, seconds: float) -> timedelta:
        """`seconds` of real time, as a business duration."""
        ...

    def real_seconds(self, duration: timedelta) -> float:
        """How long a business duration takes in real seconds."""
        ...


@dataclass(frozen=True, slots=True)
class LiveClock:
    """Real time, scaled: business = origin + (real - origin) x factor. Factor 1 is plain UTC."""

    origin: datetime
    factor: float = 1.0

    def now(self) -> datetime:
        return self.at(datetime.now(UTC))

    def at(self, database_now: datetime) -> datetime:
        if self.factor == 1.0:
            return database_now.astimezone(UTC)
        return self.origin + (database_now - self.origin) * self.factor

    def business(self, real: datetime) -> datetime:
        return self.at(real)

    def real(self, business: datetime) -> datetime:
        return business if self.factor == 1.0 else self.origin + (business - self.origin) / self.factor

    def machine(self, seconds: float) -> timedelta:
        return timedelta(seconds=seconds * self.factor)

    def real_seconds(self, duration: timedelta) -> float:
        return duration.total_seconds() / self.factor


@dataclass(slots=True)
class FrozenClock:
    """Stands still until it is moved. For tests and rehearsals: one machine second is one business second."""

    instant: datetime = field(default=datetime(2026, 1, 5, 12, 0, tzinfo=UTC))

    def now(self) -> datetime:
        return self.instant

    def at(self, database_now: datetime) -> datetime:  # noqa: ARG002  the database's time is ignored
        return self.instant

    def business(self, real: datetime) -> datetime:
        return real

    def real(self, business: datetime) -> datetime:
        return business

    def machine(self, seconds: float) -> timedelta:
        return timedelta(seconds=seconds)

    def real_seconds(self, duration: timedelta) -> float:
        return duration.total_seconds()

    def advance(self, duration: timedelta) -> None:
        """Move on by `duration`."""
        self.instant += duration
