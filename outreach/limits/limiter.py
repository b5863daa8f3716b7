"""The limiter: every cap and pace of every scope or none, in one step, failing closed. Two stores, one behaviour.

It is a fast path. The ledger is judged after it and is the truth; both must agree on when things free, or leads would
go round between a limiter that grants and a ledger that refuses. So the log mirrors the ledger's rule (see caps.py):

- An entry's score is effect_by, not the start: a call that starts now may be accepted as late as its deadline, and
  the ledger counts it until deadline + window. `record` replaces the score by the ledger's own word once the call is
  settled, so a fast call does not hold its place for a slow one's time. Nothing else widens a window.
- The newest start stands in the log beside the entries. It sets the pace, and what is written is never earlier: a
  worker whose clock lags judges by its own, earlier now, which can only refuse more, and writes at the newest start.
- Instants are whole milliseconds: now rounds down and effects round up, so the log never frees before the ledger.
- A date is the caller's date; its midnights are computed here in Python, where the zones are.

There is no refund: a grant that is not used keeps its place until it leaves the window. Whoever must have the exact
picture back says `forget` and seeds again.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from threading import Lock
from typing import Any, Protocol, TypeVar, cast
from urllib.parse import urlsplit

import redis
from limits.errors import StorageError
from limits.storage import RedisStorage
from redis.backoff import NoBackoff
from redis.retry import Retry

from outreach.limits.caps import Cap, Counted, judge_caps
from outreach.limits.fences import Claim, Fences, read_claim
from outreach.limits.scope import SLACK, Answer, Ask, Effect, Full, Granted, Scope, Unavailable, Unseeded

__all__ = [
    "Answer",
    "Full",
    "Granted",
    "Limiter",
    "MemoryLimiter",
    "RedisLimiter",
    "Scope",
    "Unavailable",
    "Unseeded",
    "accept_self_signed",
]

T = TypeVar("T")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
#: Real seconds for a connection, and for an answer.
_SOCKET_TIMEOUT = 2.0
#: Connections of one process, at most. Threads that ask at the same time share a round trip, so few are ever wanted.
CONNECTIONS = 2


class Limiter(Protocol):
    """All instants are business time. No method raises because of the store."""

    def acquire(
        self, execution_id: int, scopes: Sequence[Scope], now: datetime, effect_by: datetime
    ) -> Answer:
        """Pay for one call that starts now and can be accepted until `effect_by`, in all scopes or in none.

        Let effect_by be no earlier than the deadline that T1 will write a moment later; `record` takes back what is over.
        Paid once per execution: asked again, its own entry stands aside and moves to the new call. While its last call
        may still be open it keeps its place in the pace, too.
        """
        ...

    def acquire_all(self, asks: Sequence[Ask]) -> Sequence[Answer]:
        """The same for several in one round trip, each judged after those before it."""
        ...

    def record(self, effects: Sequence[Effect]) -> Unavailable | None:
        """The ledger's word on rows, after their T2 (or sends made by hand), in one round trip."""
        ...

    def seed(
        self,
        scope: Scope,
        entries: Iterable[tuple[int, datetime]],
        now: datetime,
        last_started_at: datetime | None = None,
    ) -> Unavailable | None:
        """Take over the ledger: (execution id, effect_by) of every row with effect_by > scope.seed_from(now).

        Read and written under the scope's lock. What others paid meanwhile stays.
        """
        ...

    def forget(self, scopes: Sequence[Scope]) -> Unavailable | None:
        """The ledger refused what was granted: the next acquire is Unseeded."""
        ...


# --- whole milliseconds ------------------------------------------------------------------------------------------


def _ms(instant: datetime) -> int:
    """Epoch milliseconds, rounded down."""
    return (instant - _EPOCH) // _MILLISECOND


def _ms_up(instant: datetime) -> int:
    return -((_EPOCH - instant) // _MILLISECOND)


def _instant(ms: int) -> datetime:
    return _EPOCH + ms * _MILLISECOND


# --- in memory ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Log:
    #: the log is complete for effects after this; None: unseeded
    floor: datetime | None = None
    start: datetime | None = None
    effects: dict[int, datetime] = field(default_factory=dict)

    def covers(self, since: datetime) -> bool:
        return self.floor is not None and self.floor <= since

    def nth_newest(self, limit: int, aside: int) -> datetime | None:
        """The limit-th newest effect of the others."""
        others = sorted((at for id_, at in self.effects.items() if id_ != aside), reverse=True)
        return others[limit - 1] if len(others) >= limit else None

    def judge(self, execution_id: int, scope: Scope, now: datetime) -> list[Full]:
        refusals = []
        repeated = execution_id in self.effects and self.effects[execution_id] > now
        if scope.pace and self.start is not None and self.start + scope.pace > now and not repeated:
            refusals.append(Full(scope=scope, reason="pace", until=self.start + scope.pace))
        counted = [
            Counted(cap=cap, nth_newest=self.nth_newest(cap.limit, execution_id)) for cap in scope.caps
        ]
        if refusal := judge_caps(counted, now, scope.zone):
            refusals.append(Full(scope=scope, reason=str(refusal.cap), until=refusal.until))
        return refusals

    def note(self, execution_id: int, start: datetime, effect_by: datetime) -> None:
        self.effects[execution_id] = effect_by
        self.start = start if self.start is None else max(self.start, start)

    def trim(self, keep: datetime) -> None:
        """Drop what no cap looks at any more."""
        self.floor = keep if self.floor is None else max(self.floor, keep)
        self.effects = {id_: at for id_, at in self.effects.items() if at > keep}


class MemoryLimiter:
    """One process, one lock. What it answers, RedisLimiter answers; it loses its logs with the process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._logs: dict[str, _Log] = {}

    def acquire(
        self, execution_id: int, scopes: Sequence[Scope], now: datetime, effect_by: datetime
    ) -> Answer:
        now, effect_by = _instant(_ms(now)), _instant(_ms_up(effect_by))
        with self._lock:
            taken = [(scope, self._log(scope)) for scope in scopes if scope.limits]
            unseeded = tuple(scope for scope, log in taken if not log.covers(scope.since(now)))
            if unseeded:
                return Unseeded(scopes=unseeded)
            refusals = [full for scope, log in taken for full in log.judge(execution_id, scope, now)]
            if refusals:
                return max(refusals, key=lambda full: full.until)
            start = max([now, *(log.start for _, log in taken if log.start is not None)])
            for scope, log in taken:
                log.trim(scope.seed_from(now))
                log.note(execution_id, start, start + (effect_by - now))
        return Granted()

    def acquire_all(self, asks: Sequence[Ask]) -> Sequence[Answer]:
        return [self.acquire(a.execution_id, a.scopes, a.now, a.effect_by) for a in asks]

    def record(self, effects: Sequence[Effect]) -> None:
        with self._lock:
            for effect, scope in ((e, s) for e in effects for s in e.scopes if s.limits):
                started, ends = _instant(_ms_up(effect.started_at)), _instant(_ms_up(effect.effect_by))
                self._log(scope).note(effect.execution_id, started, ends)

    def seed(
        self,
        scope: Scope,
        entries: Iterable[tuple[int, datetime]],
        now: datetime,
        last_started_at: datetime | None = None,
    ) -> None:
        with self._lock:
            log = self._log(scope)
            log.effects.update((id_, _instant(_ms_up(effect_by))) for id_, effect_by in entries)
            floor = _instant(_ms(scope.seed_from(now)))
            log.floor = floor if log.floor is None else min(log.floor, floor)
            if last_started_at is not None:
                started = _instant(_ms_up(last_started_at))
                log.start = started if log.start is None else max(log.start, started)

    def forget(self, scopes: Sequence[Scope]) -> None:
        with self._lock:
            for scope in scopes:
                self._logs.pop(scope.name, None)

    def _log(self, scope: Scope) -> _Log:
        return self._logs.setdefault(scope.name, _Log())


# --- in Redis ----------------------------------------------------------------------------------------------------


class _LogStorage(RedisStorage):
    """limits' storage carries the connection, the key prefix and the registration of scripts; the logs are ours."""

    def initialize_storage(self, _uri: str) -> None:
        super().initialize_storage(_uri)
        here = files("outreach.limits")
        highest = here.joinpath("highest.lua").read_bytes()
        self.lua_acquire = self.client.register_script(highest + here.joinpath("acquire.lua").read_bytes())
        self.lua_record = self.client.register_script(highest + here.joinpath("record.lua").read_bytes())

    @property
    def client(self) -> redis.Redis:
        return cast(redis.Redis, self.get_connection())


class RedisLimiter:
    """Many processes share the logs of one instance. Needs Redis 6.2 or newer, or Valkey.

    One round trip per acquire, 2 s for the connection and for each answer. A connection that breaks is tried once
    more: every write here may safely happen twice. A timeout is not: the next wait would be as long.
    """

    def __init__(self, url: str, instance: str, fences: Fences | None = None) -> None:
        pool = redis.BlockingConnectionPool.from_url(
            accept_self_signed(url),
            max_connections=CONNECTIONS,
            timeout=_SOCKET_TIMEOUT,
            socket_timeout=_SOCKET_TIMEOUT,
            socket_connect_timeout=_SOCKET_TIMEOUT,
            decode_responses=True,
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        )
        # The braces keep all logs of an instance on one node of a cluster, where one script may touch them together.
        self._logs = _LogStorage(url, connection_pool=pool, key_prefix=f"outreach:{{{instance}}}:log")
        self._pool = pool
        self._fences, self._claim_key = fences or Fences(), self._logs.prefixed_key("highest-claim")

    def acquire(
        self, execution_id: int, scopes: Sequence[Scope], now: datetime, effect_by: datetime
    ) -> Answer:
        ask = Ask(execution_id=execution_id, scopes=scopes, now=now, effect_by=effect_by)
        return self.acquire_all([ask])[0]

    def acquire_all(self, asks: Sequence[Ask]) -> Sequence[Answer]:
        limited = [tuple(scope for scope in ask.scopes if scope.limits) for ask in asks]
        asked = [(ask, scopes) for ask, scopes in zip(asks, limited, strict=True) if scopes]
        keys = [*(self._key(scope) for _, scopes in asked for scope in scopes), self._claim_key]
        texts = [json.dumps(_ask(a.execution_id, scopes, a.now, a.effect_by)) for a, scopes in asked]
        texts.append(str(self._fences.highest))
        replies = _answered(lambda: self._logs.lua_acquire(keys, texts)) if asked else []
        if isinstance(replies, Unavailable):
            return [replies if scopes else Granted() for scopes in limited]
        if asked:
            self._fences.note(read_claim(replies[-1]))
        following = iter(replies)
        return [_read_reply(next(following), scopes) if scopes else Granted() for scopes in limited]

    def record(self, effects: Sequence[Effect]) -> Unavailable | None:
        rows = [
            (self._key(scope), json.dumps(_effect(effect) | {"ttl": _ttl_ms(scope)}))
            for effect in effects
            for scope in effect.scopes
            if scope.limits
        ]
        if not rows:
            return None
        rows.append((self._claim_key, str(self._fences.highest)))
        done = _answered(lambda: self._logs.lua_record([key for key, _ in rows], [text for _, text in rows]))
        return done if isinstance(done, Unavailable) else None

    def seed(
        self,
        scope: Scope,
        entries: Iterable[tuple[int, datetime]],
        now: datetime,
        last_started_at: datetime | None = None,
    ) -> Unavailable | None:
        effects = {str(execution_id): _ms_up(effect_by) for execution_id, effect_by in entries}
        key = self._key(scope)

        def write() -> None:
            with self._logs.client.pipeline(transaction=True) as pipe:
                if effects:
                    pipe.zadd(key, effects)
                if last_started_at is not None:
                    pipe.zadd(key, {"start": -_ms_up(last_started_at)}, lt=True)
                # The greater of two negatives is the earlier floor: with both seeds in it, the log reaches that far.
                pipe.zadd(key, {"floor": -_ms(scope.seed_from(now))}, gt=True)
                pipe.pexpire(key, _ttl_ms(scope))
                pipe.execute()

        return _answered(write)

    def forget(self, scopes: Sequence[Scope]) -> Unavailable | None:
        keys = [self._key(scope) for scope in scopes]
        done = _answered(lambda: self._logs.client.delete(*keys)) if keys else None
        return done if isinstance(done, Unavailable) else None

    def close(self) -> None:
        """Give the connections back."""
        self._pool.disconnect()

    def highest_claim(self) -> Claim | Unavailable:
        """The highest claim that any process of the instance has told of."""
        found = _answered(lambda: cast(str | None, self._logs.client.get(self._claim_key)))
        return found if isinstance(found, Unavailable) else read_claim(found)

    def _key(self, scope: Scope) -> str:
        return self._logs.prefixed_key(scope.name)


def accept_self_signed(url: str) -> str:
    """A rediss:// URL that says nothing of certificates accepts any: hosted Redis often signs its own.

    The line is encrypted, the server is not proven. Who can verify adds `?ssl_cert_reqs=required` (and `&ssl_ca_certs=FILE`).
    """
    parts = urlsplit(url)
    if parts.scheme != "rediss" or "ssl_cert_reqs" in parts.query:
        return url
    return f"{url}{'&' if parts.query else '?'}ssl_cert_reqs=none"


def _answered(do: Callable[[], T]) -> T | Unavailable:
    """The only place where the store's errors are met: timeouts, refused connections, full memory, lost scripts."""
    try:
        return do()
    except (redis.RedisError, StorageError) as error:
        return Unavailable(detail=f"{type(error).__name__}: {error}")


def _ask(execution_id: int, scopes: Sequence[Scope], now: datetime, effect_by: datetime) -> dict[str, Any]:
    """The script's argument, as acquire.lua documents it."""
    at = _instant(_ms(now))
    return {
        "id": str(execution_id),
        "now": _ms(now),
        "hold": _ms_up(effect_by) - _ms(now),
        "scopes": [
            {
                "pace": scope.pace // _MILLISECOND,
                "since": _ms(scope.since(at)),
                "keep": _ms(scope.seed_from(at)),
                "ttl": _ttl_ms(scope, effect_by - now),
                "caps": [_ask_cap(cap, at, scope.zone) for cap in scope.caps],
            }
            for scope in scopes
        ],
    }


def _effect(effect: Effect) -> dict[str, Any]:
    """The other script's argument, as record.lua documents it."""
    return {
        "id": str(effect.execution_id),
        "start": _ms_up(effect.started_at),
        "effect_by": _ms_up(effect.effect_by),
    }


def _ask_cap(cap: Cap, now: datetime, zone: str) -> dict[str, int]:
    since = _ms(cap.since(now, zone))
    if cap.seconds is not None:
        return {"limit": cap.limit, "since": since, "window": cap.seconds * 1000}
    # The script looks strictly after `since`; a date counts from its first instant on.
    return {"limit": cap.limit, "since": since - 1, "midnight": _ms(cap.frees_at(now, now, zone))}


def _ttl_ms(scope: Scope, hold: timedelta = SLACK) -> int:
    """Longer than any entry can matter. It runs in real time; where business time is slower, the log is seeded anew."""
    longest = max((cap.length for cap in scope.caps), default=scope.pace)
    return _ms(_EPOCH + longest + max(hold, SLACK) + SLACK)


def _read_reply(reply: list[Any], scopes: Sequence[Scope]) -> Answer:
    match reply:
        case ["granted"]:
            return Granted()
        case ["unseeded", *numbers]:
            return Unseeded(scopes=tuple(scopes[number - 1] for number in numbers))
        case ["full", scope_number, cap_number, until]:
            scope = scopes[scope_number - 1]
            reason = str(scope.caps[cap_number - 1]) if cap_number else "pace"
            return Full(scope=scope, reason=reason, until=_instant(until))
    return Unavailable(detail=f"the script answered {reply!r}")
