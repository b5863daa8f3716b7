"""tick: the level-triggered sweep. Claims what is due, as much as there is room for, and hints it. Several are harmless."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from outreach.compliance import register
from outreach.compliance.policy import sender_rule
from outreach.engine.events import EventKind
from outreach.engine.kinds import CHANNEL_OF, ActionKind, Channel
from outreach.limits.caps import Cap, capacity, paced_starts
from outreach.limits.scope import Scope
from outreach.models import entries, events, instance, journal, notices, ticks, watermarks
from outreach.models.base import Row, Tx
from outreach.models.migrate import make_partitions
from outreach.models.ticks import Count
from outreach.providers.base import InboundKind
from outreach.runtime import hints
from outreach.runtime.context import Context
from outreach.runtime.guarding import guard
from outreach.runtime.hints import Hint, Hints
from outreach.runtime.moving import LOOK_AGAIN
from outreach.runtime.scopes import account_scope, app_scope
from outreach.runtime.stopping import GAVE_UP
from outreach.runtime.suspect import IN_VAIN

log = logging.getLogger("outreach")

#: What one tick claims at most per (account, kind), and at all.
_MOST_PER_PAIR = 200
_MOST_OTHERS = 2000
_MOST_STRANGE = 500
_MOST_INBOUND = 1000
_MOST_EXPIRED = 500
#: How seldom the off-box journal is looked at when there is nothing to write.
_UNCHECKED = timedelta(minutes=15)
#: Real seconds.
_LOOK_WHAT_IS_KEPT = 900.0
#: How long the newest start of an account still matters for its pace.
_RECENTLY = timedelta(hours=1)

_READS = {"CHECK_FOR_REPLY": hints.check_for_reply, "LOOK_UP": hints.look_up, "RESOLVE": hints.resolve}


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How many leads of one (account, kind) may be looked at in this tick."""

    account_id: int
    kind: str
    top: int
    pace: timedelta
    #: when the pace lets the first of them start
    first_at: datetime


def tick(ctx: Context) -> Hints:
    """One sweep; everything that should be looked at now or before the next one."""

    def work(tx: Tx) -> Hints:
        now = ctx.clock.at(tx.database_now())
        instance.set_ticked(tx, now)
        make_partitions(tx, now)
        here = instance.read(tx)
        if here.foreign_since is not None:
            # What belongs to whoever it was copied from is left alone: nothing is read with their tokens.
            watched = [hints.watch(), hints.deliver()] if ctx.settings.alert_url else []
            return [*(hints.digest(i) for i in _to_digest(tx, now)), *watched]
        kept = _keeping(ctx, here.retained_at, now)
        if not here.may_send:
            open_ = ticks.claim_open(tx, now=now, lease=now + ctx.hint_lease, limit=_MOST_OTHERS)
            found = [hints.recover()] if here.recovering_since is not None else []
            return [*found, *_always(ctx, tx, now), *(hints.advance(lead["id"]) for lead in open_), *kept]
        return [*_always(ctx, tx, now), *_due(ctx, tx, now), *kept]

    began = time.monotonic()
    guard(ctx)
    found = ctx.db.run(work)
    # The pulse of an installation: one line a minute, whatever there is to do.
    took = round(time.monotonic() - began, 3)
    log.info("swept", extra={"action": "tick", "hints": len(found), "seconds": took})
    return found


def _always(ctx: Context, tx: Tx, now: datetime) -> Hints:
    """What goes on even when everything is paused: reading, draining, asking. (And calls that are open are settled.)"""
    found = [hints.digest(i) for i in _to_digest(tx, now)]
    found += [hints.drain(i) for i in register.still_draining(tx, limit=_MOST_OTHERS)]
    found += [hints.refresh(i) for i in ticks.unrefreshed(tx, now, GAVE_UP)]
    found += [hints.advance(i) for i in ticks.forsaken_calls(tx, now, ctx.settle, _MOST_OTHERS)]
    for task in ticks.expired_claims(tx, now):
        if task["lead_id"] is not None:
            found.append(hints.advance(task["lead_id"]))
        if task["shown_by_look_up"]:
            # Before anybody is asked a second time: the provider may show that it was done.
            watermarks.want_relationship(tx, task["account_id"], task["identity_id"], now)
            found.append(hints.look_up(task["account_id"]))
    _note_expiries(tx, now)
    before = now - ctx.machine(ctx.settings.poll_seconds)
    found += [hints.check_for_reply(i) for i in ticks.stale_inboxes(tx, before=before, now=now)]
    return [*found, hints.seal(), *_telling(ctx, tx, now)]


def _keeping(ctx: Context, looked_at: datetime | None, now: datetime) -> Hints:
    """Every quarter of an hour: is something to be let go? A hint that is lost is given again."""
    every = ctx.machine(_LOOK_WHAT_IS_KEPT)
    return [hints.retain()] if looked_at is None or now - looked_at >= every else []


def _telling(ctx: Context, tx: Tx, now: datetime) -> Hints:
    """Our own people are told, too; where nobody asked for it, nothing is looked at."""
    settings = ctx.settings
    found = [hints.watch()] if settings.alert_url else []
    found += [hints.beat()] if settings.heartbeat_url else []
    found += (
        [hints.take_out()]
        if settings.journal_url and journal.any_due(tx, now=now, unchecked_since=now - _UNCHECKED)
        else []
    )
    told = [kind for kind, url in (("alert", settings.alert_url), ("reply", settings.notify_url)) if url]
    return [*found, hints.deliver()] if told and notices.any_due(tx, told, now) else found


def _note_expiries(tx: Tx, now: datetime) -> None:
    """Permissions that have run out are said in the log. The gate does not wait for it: it reads the instant itself."""
    expired = register.note_expired(tx, now=now, limit=_MOST_EXPIRED)
    events.append(
        tx,
        [
            events.Event(
                kind=EventKind.CONSENT_EXPIRED, at=now, person_id=one.person_id,
                payload={"consent_id": one.consent_id, "channel": one.channel, "basis": one.basis, "expired_at": one.at.isoformat()},
            )
            for one in expired
        ],
    )  # fmt: skip


def _to_digest(tx: Tx, now: datetime) -> list[int]:
    return ticks.inbound_to_digest(tx, now, _MOST_INBOUND, channels=list(Channel), kinds=list(InboundKind))


def _due(ctx: Context, tx: Tx, now: datetime) -> Hints:
    """Per account the top k by due_at, k = free capacity; then what waits for no account."""
    horizon = now + ctx.machine(ctx.settings.tick_seconds)
    lease = now + ctx.hint_lease
    asked = ticks.asked_for(tx, now=now, horizon=horizon, recently=now - _RECENTLY)
    _hold(tx, [r for r in asked if r["kind"] not in _READS], now)
    reads = [_READS[r["kind"]](r["account_id"]) for r in asked if r["kind"] in _READS and _may_read(r)]
    rooms = rooms_of(
        tx, [r for r in asked if r["kind"] not in _READS and _may_send(r, horizon)], now, horizon - now
    )
    tops = [(r.account_id, r.kind, r.top) for r in rooms if r.top > 0]
    late = ticks.claim_late(tx, now=now, lease=lease, limit=_MOST_OTHERS)
    sends = ticks.claim_filed(tx, tops, now=now, horizon=horizon, lease=lease)
    # A read wakes its leads; those that it should have woken long since look for themselves.
    waiting = [(r["account_id"], r["kind"], _MOST_PER_PAIR) for r in asked if r["kind"] in _READS]
    readers = ticks.claim_filed(tx, waiting, now=now, horizon=now - ctx.hint_lease, lease=lease)
    others = ticks.claim_others(tx, now=now, horizon=horizon, lease=lease, limit=_MOST_OTHERS)
    others += ticks.claim_strange(tx, now=now, horizon=horizon, lease=lease, limit=_MOST_STRANGE)
    starts = [(row, row["due_at"]) for row in [*late, *others, *readers]] + _spaced(rooms, sends)
    reads += [hints.join(i) for i in entries.segment_doors(tx)]
    return [*reads, *(_soon(ctx, row, at, now) for row, at in starts)]


def _hold(tx: Tx, asked: Sequence[Row], now: datetime) -> None:
    """Leads that are due for an account that stands still wait for it, and say so; whoever lets it go on wakes them."""
    rules = [(r, sender_rule(r["app_state"], r["state"])) for r in asked]
    held = [(r["account_id"], r["kind"], rule) for r, rule in rules if rule is not None]
    ticks.hold_back(tx, held, now=now, until=now + LOOK_AGAIN, limit=_MOST_OTHERS)


def _spaced(rooms: Sequence[Room], rows: Sequence[Row]) -> list[tuple[Row, datetime]]:
    """When to look at each lead: in the order they are due, as far apart as their account's pace wants them."""
    by_pair = {(room.account_id, room.kind): room for room in rooms}
    next_at = {pair: room.first_at for pair, room in by_pair.items()}
    starts = []
    for row in sorted(rows, key=lambda r: (r["due_at"], r["id"])):
        pair = (row["account_id"], row["next_kind"])
        at = max(next_at[pair], row["due_at"])
        next_at[pair] = at + by_pair[pair].pace
        starts.append((row, at))
    return starts


def _soon(ctx: Context, row: Row, at: datetime, now: datetime) -> Hint:
    """Now: at once. Before the next tick: by the queue `soon`, at its instant. What was hinted in vain too often: with care."""
    look = hints.try_lead if row["hints"] > IN_VAIN else hints.advance
    return look(row["id"], max(0.0, ctx.clock.real_seconds(at - now)))


def _may_read(row: Row) -> bool:
    return bool(row["state"] in ("ok", "paused", "no_credits"))


def _may_send(row: Row, horizon: datetime) -> bool:
    standing = sender_rule(row["app_state"], row["state"])
    return bool(standing is None and (row["held_until"] is None or row["held_until"] <= horizon))


def rooms_of(tx: Tx, asked: Sequence[Row], now: datetime, length: timedelta) -> list[Room]:
    """Free capacity per (account, kind): what every cap leaves, and no more than the pace can start before the next tick."""
    scopes = [(row, _scopes(row)) for row in asked]
    counts = [
        (index, scope, cap) for index, (_, both) in enumerate(scopes) for scope in both for cap in scope.caps
    ]
    numbers = ticks.counted(tx, [_count(scope, cap, now) for _, scope, cap in counts])
    used: dict[int, list[tuple[Cap, int]]] = {}
    for (index, _, cap), number in zip(counts, numbers, strict=True):
        used.setdefault(index, []).append((cap, number))
    rooms = []
    for index, (row, both) in enumerate(scopes):
        pace, last = both[0].pace, row["last_started_at"]
        most = paced_starts(pace, last, now, length, _MOST_PER_PAIR)
        rooms.append(
            Room(
                account_id=row["account_id"],
                kind=row["kind"],
                top=max(0, capacity(used.get(index, []), most) - row["on_their_way"]),
                pace=pace,
                first_at=max(now, last + pace) if last else now,
            )
        )
    return rooms


def _scopes(row: Row) -> tuple[Scope, Scope]:
    channel = _channel(row["kind"])
    caps: Mapping[str, str] = row["caps"]
    return (
        account_scope(row["account_id"], channel, row["kind"], caps, row["pace"], row["zone"]),
        app_scope(row["app_id"], row["kind"], row["app_caps"]),
    )


def _channel(kind: str) -> str:
    return CHANNEL_OF[ActionKind(kind)].value


def _count(scope: Scope, cap: Cap, now: datetime) -> Count:
    return Count(
        scope=scope.kind,
        scope_id=scope.id,
        kind=scope.action_kind,
        since=cap.since(now, scope.zone),
        inclusive=cap.seconds is None,
        limit=cap.limit,
    )
