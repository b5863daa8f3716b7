"""disconnect: an account is given back. Its tokens are revoked where the provider can be reached, then forgotten; the ledger stays.

It may be run again: whatever died in the middle goes on from where it was.
"""

from collections.abc import Callable
from dataclasses import dataclass

from outreach.engine.events import EventKind
from outreach.errors import ConfigurationError
from outreach.models import accounts, erasing, events
from outreach.models.base import SENDS_LOCK, Row, Tx
from outreach.models.instance import drain_claims
from outreach.providers.base import ReadFailed
from outreach.runtime.context import Context, account_ref
from outreach.runtime.digest import digest
from outreach.runtime.hints import Hints
from outreach.runtime.stopping import stop

#: Rows of one transaction of a purge.
_BATCH = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnected:
    """The account holds no token any more."""

    account_id: int
    name: str
    #: the provider knows its tokens no more
    revoked: bool
    #: why not, where it could not be told
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """What went of the account's private content, and what had to be left: run it again later."""

    bodies: int
    messages: int
    #: of calls that are open or in doubt
    bodies_left: int
    #: that could not be understood yet, and may be a stop
    messages_left: int
    hints: Hints


def disconnect(ctx: Context, name: str, *, by: str) -> Disconnected:
    """No call of this account begins once it returns; its leads wait for the account."""
    account = ctx.db.run(lambda tx: _halt(ctx, tx, name, by))
    drain_claims(ctx.db, SENDS_LOCK)
    why = _revoke(ctx, account)
    ctx.db.run(lambda tx: _forget(ctx, tx, account["id"], why is None, by))
    return Disconnected(account_id=account["id"], name=name, revoked=why is None, detail=why)


def _halt(ctx: Context, tx: Tx, name: str, by: str) -> Row:
    account_id = accounts.find(tx, name)["id"]
    now = ctx.clock.at(accounts.lock_with_app(tx, account_id))
    account = accounts.get(tx, account_id)
    stop(tx, account, "disconnected", f"disconnected by {by}", now, actor=by)
    return account


def _revoke(ctx: Context, account: Row) -> str | None:
    """None: both tokens are worthless now. Otherwise why they may still live at the provider."""
    held = [token for token in (account["refresh_token"], account["access_token"]) if token]
    provider = ctx.providers.get(account["channel"])
    if not held:
        return None
    if provider is None or provider.connector is None:
        return f"{account['channel']} is not asked by this release"
    if not account["client_id"]:
        return "its app has no client id"
    for token in held:
        try:
            answer = provider.connector.revoke(
                account_ref(account), token, ctx.settings.call_deadline_seconds
            )
        except ConfigurationError as refused:
            return refused.message
        if isinstance(answer, ReadFailed):
            said = answer.code or answer.detail
            return f"{answer.reason}: {said}" if said else answer.reason
    return None


def _forget(ctx: Context, tx: Tx, account_id: int, revoked: bool, by: str) -> None:
    now = ctx.clock.at(accounts.lock(tx, account_id))
    account = accounts.get(tx, account_id)
    if account["state"] != "disconnected" or not account["access_token"]:
        return  # connected anew meanwhile, or forgotten by another run of this
    accounts.forget_tokens(tx, account_id)
    given = events.Event(
        kind=EventKind.ACCOUNT_DISCONNECTED, at=now, actor=by, account_id=account_id, payload={"revoked": revoked}
    )  # fmt: skip
    events.append(tx, [given])


def purge(ctx: Context, account_id: int) -> Purged:
    """Texts that the account sent and received go, in transactions of a few thousand. What is not understood yet is read first."""
    hints = [hint for one in ctx.db.run(lambda tx: erasing.undigested_of(tx, account_id)) for hint in digest(ctx, one)]  # fmt: skip
    bodies = _all(ctx, lambda tx, after: erasing.forget_bodies(tx, account_id, after, _BATCH))
    messages = _all(ctx, lambda tx, after: erasing.forget_messages(tx, account_id, after, _BATCH))
    left = ctx.db.run(lambda tx: erasing.left_of(tx, account_id))
    return Purged(
        bodies=bodies,
        messages=messages,
        bodies_left=left["bodies"],
        messages_left=left["messages"],
        hints=hints,
    )


def _all(ctx: Context, forget: Callable[[Tx, int], Row]) -> int:
    total, after = 0, 0
    while True:
        row = ctx.db.run(lambda tx, after=after: forget(tx, after))  # type: ignore[misc]
        total += int(row["n"])
        if row["n"] < _BATCH:
            return total
        after = row["last"]
