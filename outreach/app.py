"""The composition root: settings -> the handful of collaborators. `hint` is the only place that enqueues."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dramatiq import Broker, Message
from dramatiq.errors import BrokerConnectionError

from outreach.broker import CHANNEL_QUEUES, ENGINE, INBOUND, enqueue_many, make_broker, message
from outreach.clock import Clock, LiveClock
from outreach.engine.kinds import CHANNEL_OF
from outreach.errors import ConfigurationError
from outreach.failpoints import failpoint
from outreach.limits.fences import Fences
from outreach.limits.limiter import RedisLimiter
from outreach.models import instance as instances
from outreach.models.base import Database
from outreach.models.instance import Instance
from outreach.models.migrate import require_schema
from outreach.outbound import Outbound
from outreach.providers.registry import build_providers, build_webhooks
from outreach.runtime.context import Context
from outreach.runtime.guarding import guard
from outreach.runtime.hints import Hint
from outreach.runtime.keyring import require_keys
from outreach.settings import Settings
from outreach.together import Together

log = logging.getLogger("outreach")

#: Where an actor's hints go; an action's actor has its channel's queue (where that is in use), everything else belongs to the engine.
_QUEUE_OF = {kind.value.lower(): channel.value for kind, channel in CHANNEL_OF.items()} | dict.fromkeys(
    (
        "digest_inbound", "check_for_reply", "look_up_relationships", "resolve_handles", "watch_alerts", "deliver_notices",
        "send_heartbeat", "deliver_journal", "recover_database",
    ), INBOUND
)  # fmt: skip
#: Real seconds for which a process believes what it read of the live switch; T1 reads it every time.
_LIVE_FOR = 1.0


@dataclass(slots=True, kw_only=True)
class App:
    """One process's collaborators."""

    settings: Settings
    context: Context
    broker: Broker
    instance: Instance
    webhooks: dict[str, Any] = field(default_factory=dict)
    #: what there is to say of a schema of a newer release
    schema_note: str | None = None
    #: threads that have hints at the same time share a round trip
    _enqueues: Together[list[Message[Any]], None] = field(
        default_factory=lambda: Together(same_for_all=(BrokerConnectionError,))
    )

    def hint(self, hints: Iterable[Hint]) -> None:
        """Enqueue; a Redis that is down costs latency, never a lead: the sweep hints again."""
        messages = [message(self._queue_of(h.actor), h.actor, h.id, h.after) for h in dict.fromkeys(hints)]
        if not messages:
            return
        failpoint("hints.before")
        try:
            self._enqueues.do(messages, self._enqueue)
        except BrokerConnectionError as error:
            log.warning(
                "hints lost, the sweep will make up for them",
                extra={"action": "hints_lost", "count": len(messages), "error": str(error)},
            )
        failpoint("hints.after")

    def _queue_of(self, actor: str) -> str:
        """A channel without workers of its own has its hints go where answers go: nothing that is merely due stands before them."""
        queue = _QUEUE_OF.get(actor, ENGINE)
        return INBOUND if queue in CHANNEL_QUEUES and queue not in self.settings.channel_workers else queue

    def _enqueue(self, many: Sequence[list[Message[Any]]]) -> list[None]:
        enqueue_many(self.broker, [message for messages in many for message in messages])
        return [None] * len(many)

    def close(self) -> None:
        """Give back the connections."""
        self.broker.close()
        self.context.db.close()


def build(
    settings: Settings,
    *,
    clock: Clock | None = None,
    carries: frozenset[str] = frozenset(),
    of_any_name: bool = False,
    ending: Callable[[], bool] = lambda: False,
    apart: Callable[[int], str | None] | None = None,
) -> App:
    """The app of these settings; `of_any_name`: whatever name the database carries, for those who look at it. Raises ConfigurationError where the database is not ours, or not ready."""
    if settings.database_url is None or settings.redis_url is None:
        raise ConfigurationError(
            "DATABASE_URL and REDIS_URL are not set", hint="outreach up starts its own; or set both"
        )
    db = Database(settings.database_url, pool_size=settings.pool_size)
    schema_note = require_schema(db)
    if schema_note:
        log.warning(schema_note, extra={"action": "newer_schema"})
    instance = db.run(instances.read)
    instances.require_same_clock(
        instance,
        name=None if of_any_name else settings.instance,
        origin=settings.clock_origin,
        factor=settings.clock_factor,
    )
    loopback_only = _loopback_only(db, instance)
    providers = build_providers(
        loopback_only,
        # One poll fits into its lease of two call deadlines.
        read_deadline_seconds=settings.call_deadline_seconds,
        inbox_lag_seconds=settings.inbox_lag_seconds,
    )
    fences = Fences()
    limiter = RedisLimiter(settings.redis_url, instance.key, fences)
    context = Context(
        settings=settings,
        clock=clock or LiveClock(origin=settings.clock_origin, factor=settings.clock_factor),
        db=db,
        limiter=limiter,
        fences=fences,
        told_claim=limiter.highest_claim,
        providers=providers,
        outbound=Outbound(simulated=loopback_only, inside=settings.outbound_hosts),
        carries=carries,
        ending=ending,
        apart=apart,
    )
    require_keys(db, context.vault, context.peppers, context.clock.now())
    # Before anything is done with it: is this the database that sends?
    if guard(context) is not None:
        instance = db.run(instances.read)
        log.warning(
            "this database was restored or cloned",
            extra={"action": "foreign", "why": instance.foreign_reason},
        )
    broker = make_broker(settings.redis_url, instance.key)
    return App(
        settings=settings, context=context, broker=broker, instance=instance, webhooks=dict(build_webhooks()), schema_note=schema_note
    )  # fmt: skip


def _loopback_only(db: Database, instance: Instance) -> Callable[[], bool]:
    """Second line behind T1: while the instance is not live, no provider beyond this machine can be reached at all."""
    if instance.simulated_only:
        return lambda: True
    read_at, live = -_LIVE_FOR, False

    def ask() -> bool:
        nonlocal read_at, live
        if time.monotonic() - read_at >= _LIVE_FOR:
            live, read_at = db.run(instances.read).live, time.monotonic()
        return not live

    return ask


# --- the process's one app ---------------------------------------------------------------------------------------

_current: App | None = None


def current() -> App:
    """This process's app, built from the environment at the first call."""
    global _current
    if _current is None:
        _current = build(Settings.from_environment())
    return _current


def override(app: App | None) -> None:
    """Put another app in its place: for the command line, which has read its own settings, and for tests."""
    global _current
    _current = app


__all__ = ["CHANNEL_QUEUES", "App", "build", "current", "override"]
