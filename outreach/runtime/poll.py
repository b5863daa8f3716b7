"""poll: read an account's inbox, complete or not at all; only this moves the watermark that proves silence."""

from datetime import datetime, timedelta

from outreach.models import accounts, inbound, instance, watermarks
from outreach.models.base import Row, Tx
from outreach.providers.base import AccountRef, InboundItem, InboundPage, ReadFailed
from outreach.runtime import hints
from outreach.runtime.accept import Push, store
from outreach.runtime.context import Context
from outreach.runtime.credentials import account_ref, shut_out
from outreach.runtime.digest import digest
from outreach.runtime.hints import Hints
from outreach.vault import CannotOpen


def poll(ctx: Context, account_id: int) -> Hints:
    """Store and digest what is new, then move the mark; leads that waited for it are hinted."""
    try:
        begun = ctx.db.run(lambda tx: _begin(ctx, tx, account_id))
    except CannotOpen:
        return shut_out(ctx, account_id)
    if begun is None:
        return []
    account, mark, began_at, channel = begun
    provider = ctx.providers[channel]
    page = provider.poll(account, mark["cursor"])
    if isinstance(page, ReadFailed):
        return _failed(ctx, account_id, mark["fence"], page, began_at)
    found = _store(ctx, channel, page)
    lag = ctx.machine(provider.inbox_lag_seconds)
    return [
        *found,
        *ctx.db.run(lambda tx: _end(ctx, tx, account_id, mark["fence"], page, began_at - lag, began_at)),
    ]


def _begin(ctx: Context, tx: Tx, account_id: int) -> tuple[AccountRef, Row, datetime, str] | None:
    account = accounts.hinted(tx, account_id)
    if account is None or account["channel"] not in ctx.providers:
        return None
    here = instance.read(tx)
    if here.foreign_since is not None:
        return None
    now = ctx.clock.at(tx.database_now())
    recent = now - ctx.machine(ctx.settings.tick_seconds)
    # Adopted, it waits for nothing but this.
    stale = recent if here.recovering_since is not None else now - ctx.machine(ctx.settings.poll_seconds)
    lease = now + 2 * ctx.call_deadline
    mark = watermarks.begin_poll(tx, account_id, now=now, lease=lease, stale=stale, recent=recent)
    if mark is None:
        return None
    return account_ref(ctx.vault, account), mark, now, account["channel"]


def _store(ctx: Context, channel: str, page: InboundPage) -> Hints:
    """All new items in one transaction, each digested in its own: a poison one does not hold up the rest.

    Most of a page has come by webhook already, or with the last page: it is asked about before it is made into rows.
    """

    def work(tx: Tx) -> list[Row]:
        known = inbound.known_among(tx, [_key(channel, item) for item in page.items])
        new = [item for item in page.items if _key(channel, item) not in known]
        return store(ctx, tx, [Push(channel, new, "poll")], ctx.clock.at(tx.database_now())) if new else []

    stored = ctx.db.run(work) if page.items else []
    return [hint for row in stored for hint in digest(ctx, row["id"])]


def _key(channel: str, item: InboundItem) -> tuple[str, str, str]:
    return channel, item.account_external_id, item.content_id


def _end(
    ctx: Context,
    tx: Tx,
    account_id: int,
    fence: int,
    page: InboundPage,
    read_up_to: datetime,
    began_at: datetime,
) -> Hints:
    """A gap proves nothing; and the mark never passes what is stored but not understood."""
    undigested = watermarks.oldest_undigested(tx, account_id)
    if undigested is not None:
        read_up_to = min(read_up_to, undigested - timedelta(microseconds=1))
    mark = read_up_to if page.complete else None
    if not watermarks.end_poll(
        tx, account_id, fence, cursor=page.cursor, read_up_to=mark, polled_at=began_at
    ):
        return []
    if not page.complete:
        return []
    now = ctx.clock.at(tx.database_now())
    # They are filed under the first instant from which a read can reach their deadline.
    woken = watermarks.wake_readers(
        tx, account_id, "CHECK_FOR_REPLY", up_to=began_at, now=now, lease=now + ctx.hint_lease
    )
    return [hints.advance(i) for i in woken]


def _failed(ctx: Context, account_id: int, fence: int, failed: ReadFailed, now: datetime) -> Hints:
    """Unreadable: silence stays unproven, and it is tried again when the provider allows."""
    retry_at = (
        ctx.clock.business(failed.retry_at)
        if failed.retry_at
        else now + ctx.machine(ctx.settings.tick_seconds)
    )
    ctx.db.run(lambda tx: watermarks.fail_poll(tx, account_id, fence, failed.reason, max(retry_at, now)))
    return [hints.refresh(account_id)] if failed.reason == "unauthorised" else []
