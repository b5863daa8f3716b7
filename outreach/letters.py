"""Dead letters: messages that some worker has set aside. They are hints, so nothing waits for them; but somebody should know why."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dramatiq import Broker, Message
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import DecodeError

from outreach.broker import QUEUES, reaching_redis


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One of them. Without an actor: nobody can read it."""

    id: str
    queue: str
    died_at: datetime
    actor: str | None
    args: tuple[Any, ...]


def dead_letters(broker: Broker) -> list[DeadLetter]:
    """The oldest first. Raises OutreachError where Redis does not answer."""
    if not isinstance(broker, RedisBroker):
        return []
    with reaching_redis():
        found = [_letter(broker, queue, *one) for queue in QUEUES for one in _buried(broker, queue)]
    return sorted(found, key=lambda letter: letter.died_at)


def take_letter(broker: Broker, letter: DeadLetter, *, requeue: bool) -> bool:
    """Out of the dead letters, and (requeue) on its queue again. False: another was first. Raises OutreachError where Redis does not answer."""
    assert isinstance(broker, RedisBroker), "it was found there"
    grave, queue = _grave(broker, letter.queue), f"{broker.namespace}:{letter.queue}"
    with reaching_redis():
        body: Any = broker.client.hget(f"{grave}.msgs", letter.id)
        pipe = broker.client.pipeline(transaction=True)
        pipe.zrem(grave, letter.id)
        pipe.hdel(f"{grave}.msgs", letter.id)
        if requeue and body is not None:
            pipe.hset(f"{queue}.msgs", letter.id, body)
            pipe.rpush(queue, letter.id)
        return bool(pipe.execute()[0])


def _grave(broker: RedisBroker, queue: str) -> str:
    return f"{broker.namespace}:{queue}.XQ"


def _buried(broker: RedisBroker, queue: str) -> Any:
    """(id, milliseconds) of each."""
    return broker.client.zrange(_grave(broker, queue), 0, -1, withscores=True)


def _letter(broker: RedisBroker, queue: str, id_: bytes, died_ms: float) -> DeadLetter:
    body: Any = broker.client.hget(f"{_grave(broker, queue)}.msgs", id_)
    try:
        one: Message[Any] | None = Message.decode(body or b"")
    except DecodeError:
        one = None
    return DeadLetter(
        id=id_.decode(),
        queue=queue,
        died_at=datetime.fromtimestamp(died_ms / 1000, UTC),
        actor=one.actor_name if one else None,
        args=one.args if one else (),
    )
