"""What needs somebody now: conditions, read from the rows. Writes nothing; `status` shows them as they are."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from outreach.compliance.retention import PRESSING
from outreach.engine.kinds import CHANNEL_OF, ActionKind
from outreach.models import alerts, deletions, instance, journal
from outreach.models.base import Row, Tx
from outreach.runtime.context import Context
from outreach.runtime.stopping import GAVE_UP
from outreach.runtime.tick import rooms_of

#: Real seconds.
TICK_LATE = 180.0
DUE_LATE = 600.0
INBOX_LATE = 3600.0
OPTOUT_LATE = 60.0
JOURNAL_LATE = 300.0
_REFUSED_FOR = 900.0
#: Of the connections that the server allows.
_CONNECTIONS_FULL = 0.8
#: Of deletions that are late, so many are told one by one.
_DELETIONS = 10
_SENDS = {kind.value for kind in CHANNEL_OF}


class Alert(StrEnum):
    """Why somebody is called. Names are for ever: they stand in rows, in runbooks and in other people's filters."""

    TICK_LATE = "tick_late"
    DUE_LATE = "due_late"
    ACCOUNT = "account_needs_somebody"
    HELD = "held"
    INBOX_LATE = "inbox_late"
    SIGNATURES = "signatures_refused"
    CONNECTIONS = "connections_high"
    OPTOUT_LATE = "optout_not_effective"
    FOREIGN = "database_foreign"
    JOURNAL_LATE = "journal_late"
    DELETION_LATE = "deletion_late"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """A condition that holds now: of what (an account's or app's name; empty: of everything), and a sentence."""

    alert: Alert
    subject: str = ""
    detail: str


def alarms(ctx: Context, tx: Tx, now: datetime) -> list[Alarm]:
    """Everything that needs somebody at this instant."""
    return [
        *_vital(ctx, tx, now),
        *_foreign(tx),
        *_journal(ctx, tx, now),
        *_due_late(ctx, tx, now),
        *_accounts(tx),
        *_inboxes(ctx, tx, now),
        *_signatures(ctx, tx, now),
        *_connections(tx),
        *_deletions(tx, now),
    ]


def _vital(ctx: Context, tx: Tx, now: datetime) -> Iterator[Alarm]:
    row = alerts.vital_signs(tx, now - ctx.machine(OPTOUT_LATE))
    if now - row["last_tick_at"] > ctx.machine(TICK_LATE):
        what = "there was no tick yet" if row["never_ticked"] else f"no tick since {_at(row['last_tick_at'])}"
        yield Alarm(alert=Alert.TICK_LATE, detail=f"{what}: is a scheduler running, a worker, and Redis?")
    if row["held"]:
        yield Alarm(
            alert=Alert.HELD, detail=f"{row['held']} held: the provider cannot tell whether they happened, the oldest since "
            f"{_at(row['held_since'])}",
        )  # fmt: skip
    if row["draining"]:
        yield Alarm(
            alert=Alert.OPTOUT_LATE, detail=f"{row['draining']} opted out, the first at {_at(row['draining_since'])}, and a call begun before "
            "may still surface",
        )  # fmt: skip


def _foreign(tx: Tx) -> Iterator[Alarm]:
    here = instance.read(tx)
    if here.foreign_reason is not None:
        detail = f"this database was restored or cloned, and sends nothing: {here.foreign_reason} (outreach db adopt)"
        yield Alarm(alert=Alert.FOREIGN, detail=detail)


def _journal(ctx: Context, tx: Tx, now: datetime) -> Iterator[Alarm]:
    """Where it is kept outside at all: what waits there for long would be lost with the database."""
    if ctx.settings.journal_url is None:
        return
    row = journal.standing(tx)
    if row["oldest"] is not None and now - row["oldest"] > ctx.machine(JOURNAL_LATE):
        why = f": {row['reason']}" if row["reason"] else ""
        yield Alarm(
            alert=Alert.JOURNAL_LATE, detail=f"{row['waiting']} lines of the off-box journal wait, the oldest since {_at(row['oldest'])}{why}"
        )  # fmt: skip


def _due_late(ctx: Context, tx: Tx, now: datetime) -> Iterator[Alarm]:
    """One alarm, of the oldest: a backlog that its caps explain is none."""
    late = ctx.machine(DUE_LATE)
    rows = alerts.overdue(tx, now=now, late=now - late)
    sends = [row for row in rows if row["kind"] in _SENDS]
    open_pairs = {(r.account_id, r.kind) for r in rooms_of(tx, sends, now, late) if r.top > 0}
    stuck = [
        row for row in rows if row["kind"] not in _SENDS or (row["account_id"], row["kind"]) in open_pairs
    ]
    if stuck:
        yield Alarm(alert=Alert.DUE_LATE, detail=_of_lead(stuck[0]))


def _of_lead(row: Row) -> str:
    what = (
        f" for {ActionKind(row['kind']).value if row['kind'] in _SENDS else row['kind']} by {row['account']}"
        if row["kind"]
        else ""
    )
    return f"lead {row['id']} has been due since {_at(row['due_at'])}{what}, and nothing explains it"


def _accounts(tx: Tx) -> Iterator[Alarm]:
    for row in alerts.accounts_in_need(tx, GAVE_UP):
        yield Alarm(
            alert=Alert.ACCOUNT, subject=row["name"], detail=f"account {row['name']}: {row['state']} ({row['reason'] or 'no reason given'})"
        )  # fmt: skip


def _inboxes(ctx: Context, tx: Tx, now: datetime) -> Iterator[Alarm]:
    # Whoever reads inboxes more seldom than that has said so.
    late = ctx.machine(max(INBOX_LATE, 2 * ctx.settings.poll_seconds))
    for row in alerts.unread_inboxes(tx, now - late):
        so_far = f"read up to {_at(row['read_up_to'])}" if row["read_up_to"] else "never read"
        why = f": {row['failed']}" if row["failed"] else ""
        yield Alarm(
            alert=Alert.INBOX_LATE, subject=row["name"], detail=f"inbox of {row['name']} {so_far}{why}; no silence is proven meanwhile"
        )  # fmt: skip


def _signatures(ctx: Context, tx: Tx, now: datetime) -> Iterator[Alarm]:
    for row in alerts.refused_pushes(tx, now - ctx.machine(_REFUSED_FOR)):
        yield Alarm(
            alert=Alert.SIGNATURES, subject=row["name"], detail=f"pushes to app {row['name']} carry a wrong signature, the last at "
            f"{_at(row['last_at'])}: is its consumer secret the provider's?",
        )  # fmt: skip


def _connections(tx: Tx) -> Iterator[Alarm]:
    row = alerts.connections(tx)
    if row["used"] > _CONNECTIONS_FULL * row["most"]:
        yield Alarm(
            alert=Alert.CONNECTIONS,
            detail=f"{row['used']} of {row['most']} connections to Postgres are in use",
        )


def _deletions(tx: Tx, now: datetime) -> Iterator[Alarm]:
    for row in deletions.open_ones(tx, _DELETIONS, pressing=now + PRESSING):
        what = f"message {row['content_id']}" if row["scope"] == "message" else f"all of {row['account']}"
        yield Alarm(
            alert=Alert.DELETION_LATE, subject=str(row["id"]), detail=f"deletion {row['id']} ({what}) was asked for at {_at(row['asked_at'])} "
            f"and is not done; it must be by {_at(row['due_by'])}",
        )  # fmt: skip


def _at(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC"
