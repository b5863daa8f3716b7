"""carry_out: what somebody asked us to delete is deleted. May be run again: whatever died in the middle goes on from where it was."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from outreach.compliance.optout import classify_reply
from outreach.compliance.retention import MESSAGE_WITHIN, PRESSING
from outreach.engine.events import EventKind
from outreach.models import deletions, events
from outreach.models.base import Row, Tx
from outreach.providers.base import InboundKind
from outreach.runtime.context import Context
from outreach.runtime.digest import digest
from outreach.runtime.hints import Hints

#: Real seconds for which a message that nobody knows is looked for again: a push of it may be in the middle of being stored.
_LOOK_FOR = 300.0
#: A send's effect and its message's stamp are no further apart than this.
_NEAR = timedelta(hours=1)
_UNREAD = ("stored", "waiting")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """How a deletion stands. `outcome` None: it is not over, and the sweep goes on with it until `due_by`."""

    id: int
    outcome: str | None
    erased: int
    due_by: datetime
    #: of an account, now: texts sent, and received, that are gone; those left are of calls that are open or in doubt, and of
    #: messages that nobody could understand yet
    bodies: int = 0
    messages: int = 0
    bodies_left: int = 0
    messages_left: int = 0
    hints: Hints = field(default_factory=list)


def delete_message(
    ctx: Context, *, channel: str, content_id: str, account_key: str = "", reason: str, by: str
) -> Deleted:
    """Its author, or the platform, wants it gone. Unknown here, it is remembered: should it come later, its words are not stored."""

    def ask(tx: Tx) -> int:
        now = ctx.clock.at(tx.database_now())
        return deletions.ask(
            tx, scope="message", channel=channel, account_key=account_key, content_id=content_id, reason=reason, by=by, now=now,
            begin_at=now, due_by=now + MESSAGE_WITHIN,
        )  # fmt: skip

    return carry_out(ctx, ctx.db.run(ask))


def purge_account(ctx: Context, *, channel: str, account_key: str, reason: str, by: str) -> Deleted:
    """All that the account wrote and received goes, now."""

    def ask(tx: Tx) -> int:
        now = ctx.clock.at(tx.database_now())
        return deletions.ask(
            tx, scope="account", channel=channel, account_key=account_key, reason=reason, by=by, now=now, begin_at=now,
            due_by=now + MESSAGE_WITHIN,
        )  # fmt: skip

    return carry_out(ctx, ctx.db.run(ask))


def carry_out(ctx: Context, deletion_id: int) -> Deleted:
    """As much as can be done now."""
    row = ctx.db.run(lambda tx: deletions.read(tx, deletion_id))
    if row["done_at"] is None and row["scope"] == "message":
        ctx.db.run(lambda tx: _message(ctx, tx, deletion_id))
    elif row["done_at"] is None:
        return _account(ctx, row)
    return _standing(ctx, deletion_id)


def _standing(ctx: Context, deletion_id: int) -> Deleted:
    row = ctx.db.run(lambda tx: deletions.read(tx, deletion_id))
    return Deleted(id=row["id"], outcome=row["outcome"], erased=row["erased"], due_by=row["due_by"])


def _message(ctx: Context, tx: Tx, deletion_id: int) -> None:
    asked = deletions.lock(tx, deletion_id)
    if asked is None:
        return
    now = ctx.clock.at(tx.database_now())
    copies = deletions.copies(tx, asked["channel"], asked["account_key"], asked["content_id"])
    waiting = [] if _presses(asked, now) else [m["id"] for m in copies if _explains_a_call(m)]
    ready = [m for m in copies if m["id"] not in waiting]
    for message in ready:
        _keep_class(tx, message)
    erased = deletions.erase_words(tx, [m["id"] for m in ready if m["has_words"]], "deleted")
    erased += sum(_own_words(tx, m, asked["content_id"]) for m in ready)
    deletions.count(tx, deletion_id, erased)
    if waiting or (not copies and now - asked["asked_at"] < ctx.machine(_LOOK_FOR)):
        return
    _end(
        tx,
        asked,
        "erased" if copies else "unknown",
        now,
        erased=erased,
        inbound_ids=[m["id"] for m in copies],
    )


def _presses(asked: Row, now: datetime) -> bool:
    """Whatever holds it up holds it up no longer."""
    return bool(now >= asked["due_by"] - PRESSING)


def _explains_a_call(message: Row) -> bool:
    """An echo whose call is not settled yet is told by its words: for a minute or two they are needed."""
    return bool(
        message["has_words"]
        and message["state"] in _UNREAD
        and message["kind"] != InboundKind.MESSAGE_IN.value
    )


def _keep_class(tx: Tx, message: Row) -> None:
    """It may be a stop: how it reads is kept for whoever digests it."""
    unread = message["state"] in _UNREAD and message["class"] is None
    if unread and message["kind"] == InboundKind.MESSAGE_IN.value:
        deletions.note_class(tx, message["id"], classify_reply(message["text"] or "").reply_class.value)


def _own_words(tx: Tx, message: Row, content_id: str) -> int:
    """What we had said is in the ledger's side table, too."""
    if message["kind"] != InboundKind.MESSAGE_OUT.value or message["account_id"] is None:
        return 0
    at = message["occurred_at"]
    return deletions.erase_own(
        tx, message["account_id"], content_id.partition(":")[2], at - _NEAR, at + _NEAR
    )


def _end(
    tx: Tx, asked: Row, outcome: str, now: datetime, *, account_id: int | None = None, **payload: object
) -> None:
    deletions.end(tx, asked["id"], outcome, now)
    said = {"deletion_id": asked["id"], "scope": asked["scope"], "outcome": outcome, **payload}
    event = events.Event(
        kind=EventKind.CONTENT_DELETED, at=now, actor=asked["asked_by"], account_id=account_id, payload=said
    )
    events.append(tx, [event])


# --- all of an account --------------------------------------------------------------------------------------------------


def _account(ctx: Context, asked: Row) -> Deleted:
    """What is not understood yet is understood first: it may be a stop. Then windows of ids, a transaction each."""
    account = ctx.db.run(lambda tx: deletions.account_of(tx, asked["channel"], asked["account_key"]))
    hints = _understand(ctx, asked)
    until = asked["asked_at"]
    bodies = _bodies(ctx, asked, account["id"]) if account is not None else 0
    messages = _all(ctx, asked["id"], lambda tx, after: deletions.purge_messages(tx, asked["channel"], asked["account_key"], after, until))  # fmt: skip
    left = ctx.db.run(lambda tx: _close(ctx, tx, asked, account))
    row = ctx.db.run(lambda tx: deletions.read(tx, asked["id"]))
    return Deleted(
        id=row["id"], outcome=row["outcome"], erased=row["erased"], due_by=row["due_by"], bodies=bodies,
        messages=messages + left["forced"], bodies_left=left["bodies"], messages_left=left["messages"], hints=hints,
    )  # fmt: skip


def _bodies(ctx: Context, asked: Row, account_id: int) -> int:
    until = asked["asked_at"]
    everything = _presses(asked, ctx.db.run(lambda tx: ctx.clock.at(tx.database_now())))
    ctx.db.run(lambda tx: deletions.purge_one_offs(tx, account_id, until))
    return _all(
        ctx, asked["id"], lambda tx, after: deletions.purge_bodies(tx, account_id, after, until, everything=everything)
    )  # fmt: skip


def _understand(ctx: Context, asked: Row) -> Hints:
    unread = ctx.db.run(lambda tx: deletions.undigested_of(tx, asked["channel"], asked["account_key"]))
    return [hint for row in unread for hint in digest(ctx, row["id"])]


def _all(ctx: Context, deletion_id: int, forget: Callable[[Tx, int], Row]) -> int:
    total, after = 0, 0

    def work(tx: Tx) -> Row:
        row = forget(tx, after)
        if row["n"]:
            deletions.count(tx, deletion_id, row["n"])
        return row

    while (row := ctx.db.run(work))["seen"]:
        total, after = total + row["n"], row["last"]
    return total


def _close(ctx: Context, tx: Tx, asked: Row, account: Row | None) -> Row:
    """It is over once nothing is left; when the time presses, the rest goes as it is."""
    row = deletions.lock(tx, asked["id"])
    channel, key = asked["channel"], asked["account_key"]
    if row is None:
        return {"bodies": 0, "messages": 0, "forced": 0}
    now = ctx.clock.at(tx.database_now())
    unread = deletions.undigested_of(tx, channel, key) if _presses(asked, now) else []
    for message in unread:
        _keep_class(tx, message)
    more = deletions.erase_words(tx, [message["id"] for message in unread], "purged")
    deletions.count(tx, asked["id"], more)
    left = deletions.left_of(tx, channel, key, asked["asked_at"])
    if not left["bodies"] and not left["messages"]:
        _end(
            tx,
            asked,
            "erased",
            now,
            account_id=account["id"] if account else None,
            erased=row["erased"] + more,
        )
    return left | {"forced": more}
