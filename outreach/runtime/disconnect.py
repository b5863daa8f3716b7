"""disconnect: an account is given back. Its tokens are revoked where the provider can be reached, then forgotten; the ledger stays.

It may be run again: whatever died in the middle goes on from where it was.
"""

from dataclasses import dataclass

from outreach.engine.events import EventKind
from outreach.errors import ConfigurationError
from outreach.models import accounts, events
from outreach.models.base import SENDS_LOCK, Row, Tx
from outreach.models.instance import drain_claims
from outreach.providers.base import ReadFailed
from outreach.runtime.context import Context
from outreach.runtime.credentials import full_ref
from outreach.runtime.deleting import purge_account
from outreach.runtime.hints import Hints
from outreach.runtime.stopping import stop
from outreach.vault import CannotOpen


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
    """What went of the account's private content, and what had to be left for now."""

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
    provider = ctx.providers.get(account["channel"])
    if not (account["refresh_token"] or account["access_token"]):
        return None
    if provider is None or provider.connector is None:
        return f"{account['channel']} is not asked by this release"
    if not account["client_id"]:
        return "its app has no client id"
    try:
        opened = full_ref(ctx.vault, account)
    except CannotOpen as broken:
        return broken.message
    for token in filter(None, (opened.refresh_token, opened.access_token)):
        try:
            answer = provider.connector.revoke(opened, token, ctx.settings.call_deadline_seconds)
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


def purge(ctx: Context, account_id: int, *, by: str = "engine") -> Purged:
    """Texts that the account sent and received go. What must stay for now is on record, and the sweep takes it once it may."""
    account = ctx.db.run(lambda tx: accounts.get(tx, account_id))
    gone = purge_account(
        ctx, channel=account["channel"], account_key=account["external_id"], reason=f"purged by {by}", by=by
    )
    return Purged(
        bodies=gone.bodies, messages=gone.messages, bodies_left=gone.bodies_left, messages_left=gone.messages_left, hints=gone.hints
    )  # fmt: skip
