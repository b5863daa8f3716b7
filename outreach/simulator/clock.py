"""The simulator's time: scaled = origin + (real - origin) x factor. Origin and factor are plain arguments.

*Real* time is what the provider stamps its answers with; *scaled* time is what its people and its rate windows
live in, and what the witness is judged on. The source of real time is injected, so that a virtual clock can stand in.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

#: where scaled time begins unless told otherwise
ORIGIN = datetime(2026, 1, 1, tzinfo=UTC)


def machine_now() -> datetime:
    """Real time of this machine, aware and UTC: the simulator's only look at a real clock."""
    return datetime.now(UTC)  # noqa: TID251  this is the port that the rule asks for


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaledClock:
    """Real time from `now`, and its mapping to scaled time. With factor 1 both are the same."""

    origin: datetime = ORIGIN
    factor: float = 1.0
    now: Callable[[], datetime] = machine_now

    def scaled(self, real: datetime) -> datetime:
        """The scaled instant of a real one."""
        return self.origin + (real - self.origin) * self.factor

    def real(self, scaled: datetime) -> datetime:
        """The real instant of a scaled one."""
        return self.origin + (scaled - self.origin) / self.factor

    def real_duration(self, scaled: timedelta) -> timedelta:
        """How long a scaled duration takes in real time."""
        return scaled / self.factor


def iso_millis(instant: datetime) -> str:
    """As the provider writes instants: 2026-01-05T12:00:00.000Z."""
    return instant.strftime("%Y-%m-%dT%H:%M:%S.") + f"{instant.microsecond // 1000:03d}Z"


def epoch_millis(instant: datetime) -> int:
    """Milliseconds since 1970, rounded down."""
    return int(instant.timestamp() * 1000)
