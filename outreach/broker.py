"""The dramatiq broker, hardened, and the pipelined enqueue. Messages are hints: ids only, never retried, never trusted."""

import json
import logging
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import redis
from dramatiq import Broker, Message, Middleware, Worker
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.common import current_millis, dq_name
from dramatiq.errors import ConnectionClosed
from dramatiq.middleware import CurrentMessage, TimeLimit
from periodiq import PeriodiqMiddleware

from outreach.errors import ConfigurationError, OutreachError
from outreach.failpoints import failpoint
from outreach.ids import new_key
from outreach.limits.limiter import accept_self_signed

#: Queues by what waits on them: `engine` leads that are merely due, however many; `inbound` what must not stand behind them
#: (ticks, answers, reads). `soon` carries delayed hints and nothing else waits on it.
ENGINE, INBOUND, SOON = "engine", "inbound", "soon"
CHANNEL_QUEUES = ("twitter", "linkedin", "xmtp", "email")
QUEUES = (ENGINE, INBOUND, *CHANNEL_QUEUES, SOON)
#: Connections that one process opens to Redis for the broker, at most: a consumer's question takes a millisecond, and for that long
#: it borrows one. What is more waits its turn.
CONNECTIONS = 4
_TURN_SECONDS = 10.0

log = logging.getLogger("outreach")

_NETWORK = (redis.ConnectionError, redis.TimeoutError)
#: Milliseconds. Far above every network timeout of a job: an asynchronous exception must never land between a
#: provider's answer and T2.
_TIME_LIMIT = 180_000
#: A tick that waited longer than this (seconds) is made up for by the next one.
_SKIP_TICKS_AFTER = 55
#: Milliseconds between two looks at a queue on which next to nothing comes.
_SELDOM = 500
#: Chunk of one MULTI of pipelined messages.
_CHUNK = 1000
#: Real seconds that a starting process gives Redis to answer.
_START_TIMEOUT = 5.0


class SafeConsumer(_RedisConsumer):
    """Survives what stock consumers do not: a Redis that stalls or restarts while a delayed message is due."""

    def __init__(self, broker: "SafeBroker", queue_name: str, prefetch: int, timeout: int) -> None:
        super().__init__(broker, queue_name, prefetch, _SELDOM if queue_name in broker.seldom else timeout)
        if queue_name.endswith(".DQ"):
            self._take_back(broker, queue_name)

    @staticmethod
    def _take_back(broker: "SafeBroker", queue_name: str) -> None:
        """After a restart of this consumer its own fetched messages sit in the ack set, where nobody would run them."""
        try:
            ids = broker.client.smembers(f"{broker.namespace}:__acks__.{broker.broker_id}.{queue_name}")
            if ids:
                broker.do_requeue(queue_name, *ids)
        except _NETWORK as error:
            raise ConnectionClosed(error) from None

    @property
    def outstanding_message_count(self) -> int:
        """Full while more than half is: then Redis is asked for many messages at a time, not for one after each."""
        count = int(super().outstanding_message_count)
        return self.prefetch if count > self.prefetch // 2 else count

    def __next__(self) -> Any:
        try:
            return super().__next__()
        except redis.TimeoutError as error:
            raise ConnectionClosed(error) from None

    def ack(self, message: Any) -> None:
        try:
            super().ack(message)
        except redis.TimeoutError as error:
            raise ConnectionClosed(error) from None
        failpoint("message.acked")

    def nack(self, message: Any) -> None:
        try:
            super().nack(message)
        except redis.TimeoutError as error:
            raise ConnectionClosed(error) from None

    def requeue(self, messages: Any) -> None:
        try:
            super().requeue(messages)
        except _NETWORK as error:
            raise ConnectionClosed(error) from None


_FIELDS = {
    "queue_name": str, "actor_name": str, "args": list, "kwargs": dict, "options": dict, "message_id": str, "message_timestamp": int,
}  # fmt: skip
_LARGEST_ID = 2**63 - 1
#: Characters of a made-up actor's name that a log line shows.
_SHOWN = 40


def wrong_with(body: bytes, queue: str, actors: Mapping[str, int]) -> str | None:
    """Why this is no hint of ours, in words that quote nothing of it but an actor's name; None: it is one.

    Whoever can write to Redis can put anything there. What passes here names an actor that we have and the one row it asks for, and
    has no option that would change how it is carried out (dramatiq reads a time limit from a message). `actors`: name -> how many ids.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return "it is no JSON"
    if not isinstance(found, dict) or found.keys() != _FIELDS.keys():
        return "it is no message"
    if not all(type(found[name]) is kind for name, kind in _FIELDS.items()):
        return "a field of it is of another kind"
    name, args = found["actor_name"], found["args"]
    if name not in actors:
        return f"{_UNKNOWN}{name[:_SHOWN] if name.isascii() and name.isidentifier() else '?'}"
    if found["queue_name"] != queue:
        return "it is of another queue"
    if (
        found["kwargs"]
        or len(args) != actors[name]
        or not all(type(one) is int and 0 <= one <= _LARGEST_ID for one in args)
    ):
        return "its arguments are no id"
    return None if _are_ours(found["options"], queue) else "its options are not ours"


_UNKNOWN = "unknown actor "


def _say_dropped(queue: str, why: str) -> None:
    extra = {"action": "hint_dropped", "queue": queue, "why": why}
    if why.startswith(_UNKNOWN):
        # Workers of two releases at once are nothing to warn of.
        log.info("hint for an unknown actor dropped", extra={**extra, "actor": why.removeprefix(_UNKNOWN)})
    else:
        log.warning("hint dropped", extra=extra)


def _are_ours(options: Mapping[str, Any], queue: str) -> bool:
    """Redis' name of it, its time where it was put off, and periodiq's time of a tick; nothing else."""
    wanted = {"redis_message_id", "eta"} if queue.endswith(".DQ") else {"redis_message_id"}
    if options.keys() - {"scheduled_at"} != wanted:
        return False
    try:
        datetime.fromisoformat(options.get("scheduled_at", "2026-01-01"))
    except (TypeError, ValueError):
        return False
    return type(options["redis_message_id"]) is str and type(options.get("eta", 0)) is int


class SafeBroker(RedisBroker):
    """RedisBroker with the consumer above, which gets hints only, and errors of the network under one name."""

    #: queues on which next to nothing comes here: Redis is asked for them less often
    seldom: frozenset[str] = frozenset()
    #: of each actor, how many ids it asks for
    _ids_asked: Mapping[str, int] = {}

    @property
    def consumer_class(self) -> type[SafeConsumer]:
        return SafeConsumer

    def get_declared_delay_queues(self) -> set[str]:
        """Delayed hints go by `soon` alone: the other queues' delay queues stay empty, and nobody asks Redis for them."""
        return {dq_name(SOON)}

    def do_fetch(self, queue_name: str, prefetch: int) -> list[bytes]:
        """The next hints of a queue. What is none (forged, or of a newer release, whose sweep hints again) is deleted, one line each."""
        fetched: list[bytes | None] = self._dispatch("fetch")(queue_name, prefetch)
        hints = []
        for body in fetched:
            why = wrong_with(body, queue_name, self._ids_asked) if body is not None else "its body is gone"
            if why is None and body is not None:
                hints.append(body)
                continue
            _say_dropped(queue_name, why or "")
            self._forget(queue_name, body)
        return hints

    def declare_actor(self, actor: Any) -> None:
        super().declare_actor(actor)
        self._ids_asked = {**self._ids_asked, actor.actor_name: actor.fn.__code__.co_argcount}

    def _forget(self, queue_name: str, body: bytes | None) -> None:
        """Delete a fetched body that nobody can acknowledge, since its name in Redis is not known: it is found by what it says."""
        acks = f"{self.namespace}:__acks__.{self.broker_id}.{queue_name}"
        bodies = f"{self.namespace}:{queue_name}.msgs"
        ids = list(self.client.smembers(acks))
        found = self.client.hmget(bodies, ids) if ids else []
        for redis_id, known in zip(ids, found, strict=True):
            if known == body:
                self.client.srem(acks, redis_id)
                self.client.hdel(bodies, redis_id)

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        try:
            return super().enqueue(message, delay=delay)
        except _NETWORK as error:
            raise ConnectionClosed(error) from None


class Heartbeat(Middleware):
    """A process whose prefetch is full stops asking for work, and others would take it for dead: keep the pulse."""

    _every_seconds = 5.0

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:  # noqa: ARG002  dramatiq's signature
        self._stop = threading.Event()
        threading.Thread(target=self._beat, args=(broker,), name="heartbeat", daemon=True).start()

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:  # noqa: ARG002  dramatiq's signature
        self._stop.set()

    def _beat(self, broker: Any) -> None:
        while not self._stop.wait(self._every_seconds):
            try:
                broker.do_qsize("heartbeat")
            except _NETWORK:
                # The consumers meet the same outage and report it; the pulse returns with Redis.
                continue


def make_broker(url: str, namespace: str) -> SafeBroker:
    """The broker of one instance."""
    broker = SafeBroker(
        client=redis.Redis(connection_pool=_bounded_pool(url)),
        namespace=f"outreach:{namespace}:dramatiq",
        middleware=[
            TimeLimit(time_limit=_TIME_LIMIT),
            CurrentMessage(),
            PeriodiqMiddleware(skip_delay=_SKIP_TICKS_AFTER),
            Heartbeat(),
        ],
        # Crashed workers' hints come back by the sweep; this only tidies up after them.
        maintenance_chance=20_000,
        heartbeat_timeout=30_000,
    )
    for queue in QUEUES:
        broker.declare_queue(queue)
    return broker


def require_redis(url: str | None) -> None:
    """Raises OutreachError where Redis does not answer, ConfigurationError where it does not let us in. For a start only:
    what runs already waits for Redis to come back, as the rows do."""
    assert url is not None
    client = redis.Redis.from_url(
        accept_self_signed(url), socket_timeout=_START_TIMEOUT, socket_connect_timeout=_START_TIMEOUT
    )
    try:
        client.ping()
    except (redis.AuthenticationError, redis.ResponseError) as error:
        raise ConfigurationError(
            f"Redis does not let us in: {error}", hint="check password and database number in REDIS_URL"
        ) from error
    except redis.RedisError as error:
        raise OutreachError(
            f"Redis does not answer: {error}",
            hint="is it up, and is REDIS_URL right (rediss:// for TLS)? Nothing is lost meanwhile: leads wait in Postgres",
        ) from error
    finally:
        client.close()


def _bounded_pool(url: str) -> redis.BlockingConnectionPool:
    """From a URL only: given a host, redis-py would send a hint up to eleven times."""
    return redis.BlockingConnectionPool.from_url(
        _with_timeout(accept_self_signed(url)), max_connections=CONNECTIONS, timeout=_TURN_SECONDS
    )


def queues_in_use(channel_workers: Sequence[str]) -> tuple[str, ...]:
    """The queues by which hints go: three, and one for each channel that has workers of its own."""
    return (ENGINE, INBOUND, SOON, *(channel for channel in CHANNEL_QUEUES if channel in channel_workers))


def _with_timeout(url: str) -> str:
    return url if "socket_timeout" in url else f"{url}{'&' if '?' in url else '?'}socket_timeout=10"


def message(queue: str, actor: str, row_id: int, delay_seconds: float = 0.0) -> Message[Any]:
    """A hint as a message; delayed ones go by the queue `soon`, whatever their actor's own queue is."""
    if delay_seconds <= 0:
        return Message(queue_name=queue, actor_name=actor, args=(row_id,), kwargs={}, options={})
    eta = current_millis() + int(delay_seconds * 1000)
    return Message(
        queue_name=dq_name(SOON), actor_name=actor, args=(row_id,), kwargs={}, options={"eta": eta}
    )


def enqueue_many(broker: Broker, messages: Sequence[Message[Any]]) -> None:
    """All messages in few round trips: ids and bodies appear together. Raises dramatiq's ConnectionClosed."""
    if not isinstance(broker, RedisBroker):
        for one in messages:
            broker.enqueue(one)
        return
    try:
        for start in range(0, len(messages), _CHUNK):
            _pipeline(broker, messages[start : start + _CHUNK])
    except _NETWORK as error:
        raise ConnectionClosed(error) from None


def _pipeline(broker: RedisBroker, messages: Sequence[Message[Any]]) -> None:
    bodies: dict[str, dict[Any, Any]] = defaultdict(dict)
    for one in messages:
        redis_id = new_key()
        stamped = one.copy(options={"redis_message_id": redis_id})
        bodies[stamped.queue_name][redis_id] = stamped.encode()
    pipe = broker.client.pipeline(transaction=True)
    for queue, by_id in bodies.items():
        pipe.hset(f"{broker.namespace}:{queue}.msgs", mapping=by_id)
        pipe.rpush(f"{broker.namespace}:{queue}", *by_id)
    pipe.execute()


def queue_lengths(broker: Broker) -> dict[str, int] | None:
    """Hints that wait, by queue; `soon` holds those whose time has not come. None: Redis does not answer."""
    if not isinstance(broker, RedisBroker):
        return {}
    names = [*(queue for queue in QUEUES if queue != SOON), dq_name(SOON)]
    pipe = broker.client.pipeline(transaction=False)
    for name in names:
        pipe.llen(f"{broker.namespace}:{name}")
    try:
        return {name.removesuffix(".DQ"): int(n) for name, n in zip(names, pipe.execute(), strict=True)}
    except _NETWORK:
        return None
