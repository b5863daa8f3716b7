"""The dramatiq broker, hardened, and the pipelined enqueue. Messages are hints: ids only, never retried, never trusted."""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature
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
from outreach.forged import HANDED_ON, wrong_with
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

#: Of a hint for an actor that is not known here: so often it is handed on at most (1, 2, 4, 8, 16 s later).
_MOST_HANDED_ON = 5
#: Milliseconds before it is handed on the first time.
_HAND_ON_AFTER = 1000
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


class Pulse:
    """Signs of life of a worker's threads, in monotonic seconds: who has shown none for long is dead, or hangs."""

    def __init__(self) -> None:
        #: by queue: when its consumer asked Redis last, whatever came of it
        self.asked: dict[str, float] = {}
        #: by thread: the actor of the message in hand, and since when
        self.in_hand: dict[str, tuple[str, float]] = {}


class SafeConsumer(_RedisConsumer):
    """Survives what stock consumers do not: a Redis that stalls or restarts while a delayed message is due."""

    def __init__(self, broker: "SafeBroker", queue_name: str, prefetch: int, timeout: int) -> None:
        broker.pulse.asked[queue_name] = time.monotonic()
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
        self._live()
        try:
            message = super().__next__()
        except redis.TimeoutError as error:
            raise ConnectionClosed(error) from None
        return message if message is None or self._is_known(message) else None

    def _live(self) -> None:
        self.broker.pulse.asked[self.queue_name] = time.monotonic()

    def _is_known(self, message: Any) -> bool:
        """A hint for an actor of a newer release is handed on, a little later each time, for a worker that has it; in the end it is
        dropped: the sweep hints again. (Until its time has come a hint may wait anywhere.)"""
        if message.actor_name in self.broker.actors or self.queue_name.endswith(".DQ"):
            return True
        handed_on = int(message.options.get(HANDED_ON, 0))
        if handed_on < _MOST_HANDED_ON:
            eta = current_millis() + _HAND_ON_AFTER * 2**handed_on
            options = {"eta": eta, HANDED_ON: handed_on + 1}
            later: Message[Any] = Message(
                dq_name(SOON), message.actor_name, message.args, message.kwargs, options
            )
            enqueue_many(self.broker, [later])
        else:
            log.info(
                "hint for an unknown actor dropped",
                extra={"action": "hint_dropped", "actor": message.actor_name},
            )
        self.ack(message)
        return False

    def ack(self, message: Any) -> None:
        self._live()
        try:
            super().ack(message)
        except redis.TimeoutError as error:
            raise ConnectionClosed(error) from None
        failpoint("message.acked")

    def nack(self, message: Any) -> None:
        self._live()
        try:
            super().nack(message)
        except redis.TimeoutError as error:
            raise ConnectionClosed(error) from None

    def requeue(self, messages: Any) -> None:
        self._live()
        try:
            super().requeue(messages)
        except _NETWORK as error:
            raise ConnectionClosed(error) from None


class SafeBroker(RedisBroker):
    """RedisBroker with the consumer above, which gets hints only, and errors of the network under one name."""

    #: queues on which next to nothing comes here: Redis is asked for them less often
    seldom: frozenset[str] = frozenset()
    #: of each actor, how many ids it asks for
    _ids_asked: Mapping[str, int] = {}

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.pulse = Pulse()

    @property
    def consumer_class(self) -> type[SafeConsumer]:
        return SafeConsumer

    def get_declared_delay_queues(self) -> set[str]:
        """Delayed hints go by `soon` alone: the other queues' delay queues stay empty, and nobody asks Redis for them."""
        return {dq_name(SOON)}

    def do_fetch(self, queue_name: str, prefetch: int) -> list[bytes]:
        """The next hints of a queue. What is none goes to the dead letters, with a line, and what was fetched with it is not lost."""
        fetched: list[bytes | None] = self._dispatch("fetch")(queue_name, prefetch)
        wrong = [(body, wrong_with(body, queue_name, self._ids_asked)) for body in fetched]
        for body, why in wrong:
            if why is not None:
                extra = {"action": "dead_letter", "queue": queue_name, "why": why}
                log.error("a message that is no hint of ours", extra=extra)
                self._set_aside(queue_name, body)
        return [body for body, why in wrong if why is None and body is not None]

    def declare_actor(self, actor: Any) -> None:
        super().declare_actor(actor)
        self._ids_asked = {**self._ids_asked, actor.actor_name: len(signature(actor.fn).parameters)}

    def _set_aside(self, queue_name: str, body: bytes | None) -> None:
        """What it is called in Redis is not known, for it cannot be read: it is found by what it says, among what we have fetched."""
        acks = f"{self.namespace}:__acks__.{self.broker_id}.{queue_name}"
        letters: Any = list(self.client.smembers(acks))
        bodies: Any = self.client.hmget(f"{self.namespace}:{queue_name}.msgs", letters) if letters else []
        for letter, known in zip(letters, bodies, strict=True):
            if known == body:
                self.do_nack(queue_name, letter)

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        try:
            return super().enqueue(message, delay=delay)
        except _NETWORK as error:
            raise ConnectionClosed(error) from None


class Heartbeat(Middleware):
    """A process whose prefetch is full stops asking for work, and others would take it for dead: keep the pulse, and bury the dead."""

    _every_seconds = 5.0

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:  # noqa: ARG002  dramatiq's signature
        self._stop = threading.Event()
        threading.Thread(target=self._beat, args=(broker,), name="heartbeat", daemon=True).start()

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:  # noqa: ARG002  dramatiq's signature
        self._stop.set()

    def before_process_message(self, broker: Any, message: Any) -> None:
        broker.pulse.in_hand[_thread()] = (message.actor_name, time.monotonic())

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        del message, result, exception
        broker.pulse.in_hand.pop(_thread(), None)

    def after_skip_message(self, broker: Any, message: Any) -> None:
        self.after_process_message(broker, message)

    def _beat(self, broker: Any) -> None:
        while not self._stop.wait(self._every_seconds):
            try:
                broker.do_qsize("heartbeat")
                bury_the_dead(broker)
            except _NETWORK:
                # The consumers meet the same outage and report it; the pulse returns with Redis.
                continue


def _thread() -> str:
    return threading.current_thread().name


def bury_the_dead(broker: RedisBroker) -> None:
    """What dead workers had fetched is forgotten, and not given to others as dramatiq would: one of them may be what they died of,
    and it would go from worker to worker for ever. The sweep hints again whatever is due. Raises redis' errors."""
    client, space = broker.client, broker.namespace
    dead: Any = client.zrangebyscore(
        f"{space}:__heartbeats__", 0, current_millis() - broker.heartbeat_timeout
    )
    for name in (one.decode() for one in dead):
        for queue in (*QUEUES, dq_name(SOON)):
            acks = f"{space}:__acks__.{name}.{queue}"
            letters: Any = client.smembers(acks)
            if letters:
                client.hdel(f"{space}:{queue}.msgs", *letters)
                client.delete(acks)
                log.info(
                    "hints of a dead worker forgotten, the sweep will make up for them",
                    extra={"action": "hints_forgotten", "queue": queue, "count": len(letters)},
                )
        client.zrem(f"{space}:__heartbeats__", name)


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
        # Crashed workers' hints come back by the sweep: `bury_the_dead` tidies up after them, dramatiq never.
        maintenance_chance=0,
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


@contextmanager
def reaching_redis() -> Iterator[None]:
    """Raises OutreachError where Redis does not answer: for those who ask on somebody's behalf."""
    try:
        yield
    except _NETWORK as error:
        raise OutreachError(
            f"Redis does not answer: {error}", hint="nothing is lost meanwhile: leads wait in Postgres"
        ) from None
