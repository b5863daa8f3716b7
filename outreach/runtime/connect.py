"""connect: an owner who has come back from the provider is known by it; their account gets its tokens, or nothing is stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from outreach.engine.events import EventKind
from outreach.models import accounts, authorizations, events
from outreach.models.base import Row, Tx
from outreach.runtime.authorize import (
    NotConnected,
    Redeemed,
    connector_of,
    give_back,
    needed_scopes,
    redeem,
    refuse,
)
from outreach.runtime.context import Context
from outreach.runtime.credentials import sealed_account, sealed_tokens
from outreach.runtime.stopping import resume


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """The account has its tokens."""

    account_id: int
    name: str
    external_id: str
    handle: str
    new: bool
    #: None: the provider did not say
    scopes: Sequence[str] | None
    missing: Sequence[str]
    expires_at: datetime | None
    #: the account's state now; anything but ok still holds its leads
    state: str
    state_reason: str | None
    #: leads that waited for it and are due again
    released: int


def connect(ctx: Context, state: str, code: str | None, error: str | None = None) -> Connected | NotConnected:
    """Finish what `begin` began. What the provider gave out for somebody else is given back to it."""
    redeemed = redeem(ctx, state, code, error)
    if isinstance(redeemed, NotConnected):
        return redeemed
    answer = ctx.db.run(lambda tx: _store(ctx, tx, redeemed))
    if isinstance(answer, NotConnected):
        give_back(ctx, connector_of(ctx, redeemed.row["channel"]), redeemed.client, redeemed.tokens)
        refuse(ctx, redeemed.row["id"], answer)
    return answer


def _store(ctx: Context, tx: Tx, redeemed: Redeemed) -> Connected | NotConnected:
    now = ctx.clock.at(accounts.lock_app(tx, redeemed.row["app_id"]))
    account = accounts.named(tx, redeemed.row["account_name"])
    if account is not None:
        now = ctx.clock.at(accounts.lock(tx, account["id"]))
        account = accounts.get(tx, account["id"])
    wrong = _wrong(tx, redeemed, account)
    if wrong is not None:
        return wrong
    if account is None:
        account_id, released = _make(ctx, tx, redeemed, now), 0
    else:
        account_id, released = account["id"], _renew(ctx, tx, redeemed, account, now)
    connected = _connected(ctx, tx, redeemed, account_id, account is None, released)
    authorizations.connect(tx, redeemed.row["id"], account_id, f"@{redeemed.me.handle}")
    payload: dict[str, Any] = {
        "scopes": connected.scopes,
        "missing": connected.missing,
        "new": connected.new,
    }
    happened = events.Event(
        kind=EventKind.ACCOUNT_CONNECTED, at=now, actor=redeemed.row["begun_by"], account_id=account_id, payload=payload
    )  # fmt: skip
    events.append(tx, [happened])
    return connected


def _wrong(tx: Tx, redeemed: Redeemed, account: Row | None) -> NotConnected | None:
    """Are these the tokens of the account that was named?"""
    me, row, name = redeemed.me, redeemed.row, redeemed.row["account_name"]
    who, wanted = f"@{me.handle} ({me.external_id})", row["wanted"]
    if account is not None and account["channel"] != row["channel"]:
        return NotConnected(reason="taken", message=f"{name!r} is the name of another account by now")
    expected = account["external_id"] if account else wanted["external_id"]
    if expected and expected != me.external_id:
        return NotConnected(
            reason="wrong_account",
            message=f"the tokens belong to {who}, but {name!r} is {_known_as(account, expected)}. Nothing is stored: "
            f"log in there as the right account, or give this one a name of its own",
        )
    if account is None and wanted["handle"] and wanted["handle"].lower() != me.handle.lower():
        return NotConnected(
            reason="wrong_account",
            message=f"the tokens belong to {who}, but {name!r} was to be @{wanted['handle']}. Nothing is stored",
        )
    known = accounts.by_external_ids(tx, [(row["channel"], me.external_id)])
    if account is None and known:
        other = accounts.get(tx, next(iter(known.values())))
        return NotConnected(
            reason="taken",
            message=f"{who} is here already, as {other['name']!r}. Nothing is stored: connect it under that name",
        )
    return None


def _known_as(account: Row | None, expected: str) -> str:
    return f"@{account['handle']} ({expected})" if account and account["handle"] else expected


def _make(ctx: Context, tx: Tx, redeemed: Redeemed, now: datetime) -> int:
    row, tokens, me = redeemed.row, redeemed.tokens, redeemed.me
    values = {
        **row["wanted"]["values"], "app_id": row["app_id"], "name": row["account_name"], "channel": row["channel"],
        "external_id": me.external_id, "handle": me.handle, "access_token": tokens.access_token, "refresh_token": tokens.refresh_token,
        "token_expires_at": _until(ctx, redeemed), "scopes": _scopes(redeemed), "now": now,
    }  # fmt: skip
    account_id = accounts.insert(tx, sealed_account(ctx.vault, values))
    added = events.Event(kind=EventKind.ACCOUNT_ADDED, at=now, actor=row["begun_by"], account_id=account_id)
    events.append(tx, [added])
    return account_id


def _renew(ctx: Context, tx: Tx, redeemed: Redeemed, account: Row, now: datetime) -> int:
    """New tokens mend what lacked them, and nothing else: a pause or a restriction stays."""
    tokens = redeemed.tokens
    accounts.replace_tokens(
        tx, account["id"], *sealed_tokens(ctx.vault, account, tokens.access_token, tokens.refresh_token), _until(ctx, redeemed), scopes=tokens.scopes,
        handle=redeemed.me.handle or None, now=now,
    )  # fmt: skip
    if account["state"] not in ("needs_reauth", "disconnected"):
        return 0
    return resume(tx, accounts.get(tx, account["id"]), now, actor=redeemed.row["begun_by"])


def _until(ctx: Context, redeemed: Redeemed) -> datetime | None:
    expires = redeemed.tokens.expires_at
    return ctx.clock.business(expires) if expires else None


def _scopes(redeemed: Redeemed) -> list[str] | None:
    scopes = redeemed.tokens.scopes
    return None if scopes is None else list(scopes)


def _connected(
    ctx: Context, tx: Tx, redeemed: Redeemed, account_id: int, new: bool, released: int
) -> Connected:
    account = accounts.get(tx, account_id)
    connector = connector_of(ctx, account["channel"])
    needed = needed_scopes(connector, follows=account["follow_permitted"])
    granted = account["scopes"]
    return Connected(
        account_id=account_id,
        name=account["name"],
        external_id=account["external_id"],
        handle=redeemed.me.handle,
        new=new,
        scopes=granted,
        missing=[] if granted is None else [scope for scope in needed if scope not in granted],
        expires_at=account["token_expires_at"],
        state=account["state"],
        state_reason=account["state_reason"],
        released=released,
    )
