"""resolve: turn handles into immutable ids, batched per account; a handle the provider does not know ends its leads."""

from outreach.audience.remembering import digest_of
from outreach.models import accounts, peers, watermarks
from outreach.models.base import Row, Tx
from outreach.providers.base import AccountRef, ReadFailed
from outreach.runtime import hints
from outreach.runtime.context import Context
from outreach.runtime.credentials import account_ref, shut_out
from outreach.runtime.hints import Hints
from outreach.vault import CannotOpen

#: X answers for at most so many names at once.
_BATCH = 100


def resolve(ctx: Context, account_id: int) -> Hints:
    """One batch; the leads that waited for their ids are hinted."""
    try:
        asked = ctx.db.run(lambda tx: _unresolved(ctx, tx, account_id))
    except CannotOpen:
        return shut_out(ctx, account_id)
    if asked is None:
        return []
    account, channel, handles = asked
    if channel not in ctx.providers:
        return []
    if not handles:
        return ctx.db.run(lambda tx: _wake(ctx, tx, account_id))
    answer = ctx.providers[channel].resolve(account, [h["value"] for h in handles])
    if isinstance(answer, ReadFailed):
        return [hints.refresh(account_id)] if answer.reason == "unauthorised" else []
    ids = {found.handle.lower(): found.external_id for found in answer}
    ctx.db.run(lambda tx: _learn(ctx, tx, handles, ids))
    return ctx.db.run(lambda tx: _wake(ctx, tx, account_id))


def _unresolved(ctx: Context, tx: Tx, account_id: int) -> tuple[AccountRef, str, list[Row]] | None:
    account = accounts.hinted(tx, account_id)
    if account is None:
        return None
    return account_ref(ctx.vault, account), account["channel"], watermarks.unresolved(tx, account_id, _BATCH)


def _learn(ctx: Context, tx: Tx, handles: list[Row], ids: dict[str, str]) -> None:
    now = ctx.clock.at(tx.database_now())
    unknown, taken = [], []
    for handle in handles:
        external_id = ids.get(handle["value"])
        if external_id is None:
            unknown.append(handle["identity_id"])
            continue
        hmac = digest_of(tx, ctx.peppers, "twitter_id", external_id)
        learnt = peers.learn_id(tx, handle["identity_id"], handle["person_id"], external_id, hmac, now)
        if learnt is None:
            # The id is somebody else's in our graph: nobody is contacted by it until that is cleared up.
            taken.append(handle["identity_id"])
        else:
            peers.rebind(tx, handle["identity_id"], learnt["id"])
    peers.set_status(tx, unknown, "not_found")
    peers.set_status(tx, taken, "shared")


def _wake(ctx: Context, tx: Tx, account_id: int) -> Hints:
    now = ctx.clock.at(tx.database_now())
    more = watermarks.unresolved(tx, account_id, 1)
    if more:
        return [hints.resolve(account_id)]
    woken = watermarks.wake_readers(tx, account_id, "RESOLVE", up_to=now, now=now, lease=now + ctx.hint_lease)
    return [hints.advance(i) for i in woken]
