"""standing: how things stand, in one read-only transaction: for `status`, and for whoever shows the same elsewhere."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from outreach.compliance import prices
from outreach.engine.kinds import CHANNEL_OF
from outreach.limits.caps import DEFAULT_PACE
from outreach.limits.scope import Scope
from outreach.models import alerts, deletions, health, instance, notices, reports, standing, ticks, watermarks
from outreach.models.base import Row, Tx
from outreach.runtime.alarms import alarms
from outreach.runtime.context import Context
from outreach.runtime.scopes import account_scope, app_scope, windows_of

_DAY, _MONTH = timedelta(days=1), timedelta(days=30)
_LISTED = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class CapUse:
    """A cap: of whose account (or "app NAME"), what of it is used and left, and when a full one frees."""

    account: str
    kind: str
    cap: str
    used: int
    left: int
    next_free: datetime | None
    scope: str
    scope_id: int


def standing_now(ctx: Context) -> dict[str, Any]:
    """Everything at once, as of one instant."""

    def work(tx: Tx) -> dict[str, Any]:
        now = ctx.clock.at(tx.database_now())
        here, vitals, accounts = instance.read(tx), health.vitals(tx, now), reports.accounts(tx)
        caps = cap_uses(tx, accounts, now)
        replies = standing.unanswered(tx, now - _MONTH)
        tasks = standing.tasks(tx)
        known = {(row["kind"], row["subject"]): row["since"] for row in alerts.current(tx)}
        return {
            "mode": here.mode,
            "instance": here.name,
            "now": now,
            "paused": here.pause_reason,
            "foreign": here.foreign_reason,
            "recovering": here.recovering_since,
            "last_tick_at": vitals["last_tick_at"],
            "due": vitals["due"],
            "oldest_due_at": vitals["oldest_due_at"],
            "next_send_at": _next_send(tx, accounts, caps, now) if here.may_send else None,
            "needs_newer_worker": reports.left_to_newer(tx),
            **{name: vitals[name] for name in _COUNTS},
            "tasks": vitals["tasks"],
            "tasks_asked": tasks["asked"],
            "oldest_task_at": tasks["oldest"],
            "unanswered": replies["unanswered"],
            "oldest_unanswered_at": replies["oldest"],
            "cost_today": _cost(tx, here.live, now),
            "alerts": [
                {"alert": a.alert.value, "subject": a.subject, "since": known.get((a.alert.value, a.subject)), "detail": a.detail}
                for a in alarms(ctx, tx, now)
            ],
            "notices": notices.standing(tx, now - _DAY),
            "deletions": deletions.open_ones(tx, _LISTED),
            "waiting": reports.waiting(tx),
            "blocked": standing.blocked(tx, _LISTED),
            "refused_today": standing.refused_for_good(tx, now - _DAY),
            "accounts_in_trouble": reports.stopped(accounts),
            "inboxes": watermarks.listed(tx),
            "caps": caps,
        }  # fmt: skip

    return ctx.db.run(work)


_COUNTS = ("active", "calling", "in_doubt", "held", "undigested", "accounts_stopped", "draining")


def cap_uses(tx: Tx, accounts: Sequence[Row], now: datetime) -> list[CapUse]:
    """Every cap of every account and app, in the kinds of their channels."""
    names: dict[tuple[str, int], str] = {}
    scopes: dict[str, Scope] = {}
    for account in accounts:
        for scope in _scopes(account):
            scopes[scope.name] = scope
            names[scope.kind, scope.id] = (
                account["name"] if scope.kind == "account" else f"app {account['app']}"
            )
    windows = windows_of(list(scopes.values()), now)
    asked = [
        ticks.Count(scope=w.window.scope, scope_id=w.window.scope_id, kind=w.window.kind, since=w.window.since,
                    inclusive=w.window.inclusive, limit=w.window.limit)
        for w in windows
    ]  # fmt: skip
    found = []
    for counted, used in zip(windows, ticks.counted(tx, asked), strict=True):
        w = counted.window
        left, free = w.limit - used, None
        if left <= 0:
            newest = reports.nth_newest_effect(tx, w.scope, w.scope_id, w.kind, w.since, w.inclusive, w.limit)
            free = counted.cap.frees_at(newest, now, counted.zone) if newest else None
        found.append(
            CapUse(account=names[w.scope, w.scope_id], kind=w.kind, cap=str(counted.cap), used=used, left=left, next_free=free,
                   scope=w.scope, scope_id=w.scope_id)
        )  # fmt: skip
    return found


def _scopes(account: Mapping[str, Any]) -> Iterable[Scope]:
    for kind, channel in CHANNEL_OF.items():
        if channel == account["channel"]:
            yield account_scope(account["id"], account["channel"], kind.value, account["caps"], account["pace"], account["zone"])  # fmt: skip
            yield app_scope(account["app_id"], kind.value, account["app_caps"])


def _next_send(tx: Tx, accounts: Sequence[Row], caps: Sequence[CapUse], now: datetime) -> datetime | None:
    """The earliest instant at which something can go out, as far as rows, pace, holds and caps tell; the gate has the last word."""
    by_id = {account["id"]: account for account in accounts}
    kinds = {kind.value for kind in CHANNEL_OF}
    starts = [
        _start(row, by_id[row["account_id"]], caps, now)
        for row in standing.next_by_pair(tx, now - timedelta(hours=1))
        if row["kind"] in kinds
    ]
    return min(starts, default=None)


def _start(row: Row, account: Row, caps: Sequence[CapUse], now: datetime) -> datetime:
    pace = timedelta(seconds=float(account["pace"].get(row["kind"], DEFAULT_PACE[account["channel"]])))
    scopes = {("account", row["account_id"]), ("app", row["app_id"])}
    full = [
        c.next_free for c in caps if c.kind == row["kind"] and (c.scope, c.scope_id) in scopes and c.next_free
    ]
    paced = [row["last_started_at"] + pace] if row["last_started_at"] else []
    held = [row["held_until"]] if row["held_until"] else []
    start: datetime = max([now, row["due_at"], *full, *paced, *held])
    return start


def _cost(tx: Tx, live: bool, now: datetime) -> dict[str, Any]:
    """Since midnight UTC, as providers count their days. What was simulated was not paid."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    cost = prices.cost_of(standing.acts(tx, midnight), standing.arrivals(tx, midnight))
    return {"usd": float(cost.usd), "simulated": not live, "without_price": dict(cost.without_price)}
