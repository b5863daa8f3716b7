"""watch: somebody is told once when something begins to need them, once a day while it does, and once when it is over."""

from datetime import datetime

from outreach.models import alerts, notices
from outreach.models.base import Row, Tx
from outreach.runtime import hints
from outreach.runtime.alarms import Alarm, alarms
from outreach.runtime.context import Context
from outreach.runtime.hints import Hints

ALERT = "alert"
#: Real seconds between two reminders, and after which what is over counts as over: what flickers is told once.
_REMIND, _CLEAR = 86_400.0, 300.0


def watch(ctx: Context) -> Hints:
    """One look by whoever can: the tick's worker, and the web process, which sees that there is no tick. Many are harmless."""

    def work(tx: Tx) -> Hints:
        if not alerts.begin_watch(tx):
            return []
        now = ctx.clock.at(tx.database_now())
        known = {(row["kind"], row["subject"]): row for row in alerts.current(tx)}
        found = {(a.alert.value, a.subject): a for a in alarms(ctx, tx, now)}
        for key, alarm in found.items():
            _stands(ctx, tx, alarm, known.get(key), now)
        for key in known.keys() - found.keys():
            _may_be_over(ctx, tx, known[key], now)
        return [hints.deliver()] if notices.any_due(tx, [ALERT], now) else []

    return ctx.db.run(work)


def _stands(ctx: Context, tx: Tx, alarm: Alarm, row: Row | None, now: datetime) -> None:
    kind, subject = alarm.alert.value, alarm.subject
    if row is None:
        times = alerts.begin(tx, kind, subject, alarm.detail, now)
        _tell(tx, kind, subject, "begins", alarm.detail, now, now, f"{times}:begins")
        return
    if row["clear_since"] is not None:
        alerts.set_clear(tx, kind, subject, None)
    if now - row["told_at"] >= ctx.machine(_REMIND):
        alerts.remind(tx, kind, subject, alarm.detail, now)
        _tell(
            tx, kind, subject, "goes on", alarm.detail, row["since"], now, f"{row['times']}:{now.isoformat()}"
        )


def _may_be_over(ctx: Context, tx: Tx, row: Row, now: datetime) -> None:
    kind, subject = row["kind"], row["subject"]
    if row["clear_since"] is None:
        alerts.set_clear(tx, kind, subject, now)
    elif now - row["clear_since"] >= ctx.machine(_CLEAR):
        alerts.end(tx, kind, subject, now)
        _tell(tx, kind, subject, "is over", row["detail"], row["since"], now, f"{row['times']}:over")


def _tell(
    tx: Tx, kind: str, subject: str, phase: str, detail: str, since: datetime, now: datetime, key: str
) -> None:
    payload = {
        "alert": kind,
        "subject": subject,
        "phase": phase,
        "detail": detail,
        "since": since.isoformat(),
    }
    notices.put(tx, ALERT, f"alert:{kind}:{subject}:{key}", payload, now)
