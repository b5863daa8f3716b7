"""authorize: an owner is sent to the provider to let an account in, and comes back with a code that becomes its tokens.

The state that travels with them is stored as a keyed digest and works once, for ten minutes. The verifier (PKCE, S256) is
stored nowhere: it is made of the state, the row's nonce and the installation's secret, so neither the database nor the
browser's history is enough to redeem a code. The exchange is a claimed call: one attempt, never repeated.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from outreach.errors import ConfigurationError, UsageError
from outreach.ids import keyed_digest, new_token
from outreach.models import accounts, authorizations, instance
from outreach.models.base import Row, Tx
from outreach.providers.base import AccountRef, AccountStopped, ReadFailed, Tokens, Unknown
from outreach.providers.connecting import Asking, Connector, Me
from outreach.runtime.context import Context
from outreach.runtime.credentials import app_secret, require_own_key, sealed_app
from outreach.runtime.reading import is_loopback
from outreach.vault import CannotOpen

#: Real seconds for which a state is good: the owner may have to log in first.
GOOD_FOR_SECONDS = 600.0
#: Where an owner comes back to: at this machine, or at the web process.
CALLBACK = "/oauth/{channel}/callback"
_FORGOTTEN_AFTER = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which account, and what a new one is made of."""

    channel: str
    name: str
    redirect_uri: str
    #: of a new account, or to be sure: the app behind it
    app_name: str = ""
    #: client_id, client_secret, consumer_secret of the app, where they are new
    secrets: Mapping[str, str] = field(default_factory=dict)
    #: who it must be; empty: whoever lets us in
    external_id: str = ""
    handle: str = ""
    #: base_url, zone, caps, pace, follow_permitted, dm_mode, mode_reason of a new account
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """Where to send the owner, until when."""

    authorization_id: int
    #: holds the state: for the owner's eyes, never for a log
    url: str
    expires_at: datetime
    scopes: Sequence[str]
    #: the account is here already: only its tokens change
    renews: bool


def begin(ctx: Context, wanted: Wanted, *, by: str) -> Begun:
    """Ask for the account. Raises UsageError or ConfigurationError, and nothing is stored, where it cannot be asked for."""
    connector = connector_of(ctx, wanted.channel)
    state, nonce = new_token(), new_token()

    def work(tx: Tx) -> Begun:
        now = ctx.clock.at(tx.database_now())
        account = accounts.named(tx, wanted.name)
        base_url = account["base_url"] if account else str(wanted.values["base_url"])
        require_callable(tx, base_url)
        require_own_key(ctx.vault, base_url)
        app = _app(ctx, tx, wanted, account, now)
        follows = account["follow_permitted"] if account else wanted.values["follow_permitted"]
        scopes = needed_scopes(connector, follows=bool(follows))
        expires_at = now + ctx.machine(GOOD_FOR_SECONDS)
        authorizations.forget_before(tx, now - _FORGOTTEN_AFTER)
        row_id = authorizations.insert(
            tx,
            {
                "channel": wanted.channel, "account_name": wanted.name, "app_id": app["id"], "account_id": account["id"] if account else None,
                "wanted": _to_store(wanted, account), "base_url": base_url, "redirect_uri": wanted.redirect_uri, "nonce": nonce,
                "state_digest": _digest(ctx, state), "begun_by": by, "begun_at": now, "expires_at": expires_at,
            },
        )  # fmt: skip
        asking = Asking(
            base_url=base_url, client_id=app["client_id"], redirect_uri=wanted.redirect_uri, state=f"{row_id}.{state}",
            challenge=_challenge(_verifier(ctx, state, nonce)), scopes=scopes,
        )  # fmt: skip
        url = connector.authorize_url(asking)
        return Begun(
            authorization_id=row_id,
            url=url,
            expires_at=expires_at,
            scopes=scopes,
            renews=account is not None,
        )

    return ctx.db.run(work)


def connector_of(ctx: Context, channel: str) -> Connector:
    """How this channel's accounts are connected. Raises UsageError where they are not."""
    provider = ctx.providers.get(channel)
    if provider is None or provider.connector is None:
        raise UsageError(
            f"{channel} accounts cannot be connected in this release",
            hint=f"outreach account add {channel} takes tokens that you have",
        )
    return provider.connector


def needed_scopes(connector: Connector, *, follows: bool) -> list[str]:
    """No more than this account will use."""
    return [scope for scope in connector.scopes if follows or scope not in connector.following]


def require_callable(tx: Tx, base_url: str) -> None:
    """Raises ConfigurationError for a provider beyond this machine while the instance is not live."""
    here = instance.read(tx)
    if is_loopback(base_url) or here.live:
        return
    if here.simulated_only:
        raise ConfigurationError(
            f"{here.name!r} is simulated for ever, and {base_url} is not on this machine",
            hint="make a database of its own for real accounts",
        )
    raise ConfigurationError(
        f"{base_url} is not on this machine, and this instance is simulated",
        hint="outreach live on, first; outreach pause --all keeps it from sending meanwhile",
    )


def _to_store(wanted: Wanted, account: Row | None) -> dict[str, Any]:
    """Who it must be, and what a new account is made of."""
    external_id = account["external_id"] if account else wanted.external_id
    values = {} if account else dict(wanted.values)
    return {"external_id": external_id, "handle": wanted.handle.removeprefix("@"), "values": values}


def _app(ctx: Context, tx: Tx, wanted: Wanted, account: Row | None, now: datetime) -> Row:
    """The app behind it, made or completed with the secrets that were handed in."""
    if account is not None:
        _require_same(wanted, account)
    name = account["app_name"] if account else wanted.app_name
    if not name:
        raise UsageError(
            f"there is no account {wanted.name!r} yet, so it must be said which developer app it is connected to",
            hint="--app NAME",
        )
    known = accounts.app_named(tx, name)
    if known is not None and known["channel"] != wanted.channel:
        raise UsageError(f"app {name!r} is of {known['channel']}")
    theirs = wanted.secrets.get("client_id")
    if known is not None and known["client_id"] and theirs and theirs != known["client_id"]:
        raise UsageError(
            f"app {name!r} has another client id than OUTREACH_CLIENT_ID says",
            hint="unset it, or give the other app a name of its own",
        )
    if known is None or theirs:
        values = {key: wanted.secrets.get(key) for key in ("client_id", "client_secret", "consumer_secret")}
        said: dict[str, Any] = {"name": name, "channel": wanted.channel, "caps": {}, "now": now, **values}
        accounts.put_app(tx, sealed_app(ctx.vault, said))
        known = accounts.app_named(tx, name)
    assert known is not None
    if not known["client_id"]:
        raise ConfigurationError(
            f"app {name!r} has no client id", hint="set OUTREACH_CLIENT_ID (and OUTREACH_CLIENT_SECRET, if the app has one)"
        )  # fmt: skip
    return known


def _require_same(wanted: Wanted, account: Row) -> None:
    if account["channel"] != wanted.channel:
        raise UsageError(f"account {wanted.name!r} is of {account['channel']}")
    if wanted.app_name and wanted.app_name != account["app_name"]:
        raise UsageError(f"account {wanted.name!r} belongs to the app {account['app_name']!r}")
    if wanted.external_id and wanted.external_id != account["external_id"]:
        raise UsageError(
            f"account {wanted.name!r} is {account['external_id']}, not {wanted.external_id}",
            hint="a different account gets a different name",
        )


# --- the secret parts ------------------------------------------------------------------------------------------------


def _digest(ctx: Context, state: str) -> str:
    return keyed_digest(ctx.settings.link_secret, "authorize-state", state)


def _verifier(ctx: Context, state: str, nonce: str) -> str:
    """64 hex digits."""
    return keyed_digest(ctx.settings.link_secret, "authorize-verifier", state, nonce)


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


# --- the way back ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NotConnected:
    """Nothing was stored of any token. `reason`: unknown, used, expired, denied, refused, wrong_account, taken."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Redeemed:
    """Tokens of a known owner, not stored yet."""

    #: of account_authorization
    row: Row
    client: AccountRef
    tokens: Tokens
    me: Me


def redeem(ctx: Context, state: str, code: str | None, error: str | None) -> Redeemed | NotConnected:
    """Use the state up, exchange the code once, and ask whose tokens these are."""
    taken = ctx.db.run(lambda tx: _take(ctx, tx, state, code, error))
    if isinstance(taken, NotConnected):
        return taken
    row, client, verifier = taken
    assert code is not None
    connector = connector_of(ctx, row["channel"])
    deadline = ctx.settings.call_deadline_seconds
    got = connector.exchange(
        client, code, redirect_uri=row["redirect_uri"], verifier=verifier, deadline_seconds=deadline
    )
    if not isinstance(got, Tokens):
        return refuse(ctx, row["id"], _why_not(got))
    me = connector.who_am_i(_with(client, got))
    if isinstance(me, Me):
        return Redeemed(row=row, client=client, tokens=got, me=me)
    give_back(ctx, connector, client, got)
    return refuse(
        ctx, row["id"], NotConnected(reason="refused", message=f"the provider did not say whose tokens these are ({me.code or me.detail or me.reason}); connect once more")
    )  # fmt: skip


def _take(
    ctx: Context, tx: Tx, state: str, code: str | None, error: str | None
) -> tuple[Row, AccountRef, str] | NotConnected:
    """The row, its app's credentials and the verifier. A state that is not ours changes nothing."""
    head, _, secret = state.partition(".")
    row = (
        authorizations.lock(tx, int(head)) if head.isascii() and head.isdecimal() and len(head) < 19 else None
    )
    stored = row["state_digest"] if row else ""
    if not hmac.compare_digest(stored, _digest(ctx, secret)) or row is None:
        return NotConnected(reason="unknown", message="this address is not one that we gave out")
    now = ctx.clock.at(tx.database_now())
    if row["state"] != "open":
        return NotConnected(
            reason="used", message="this was answered before; it works once. Nothing was changed"
        )
    authorizations.use(tx, row["id"], now)
    if now >= row["expires_at"]:
        return _refused(tx, row["id"], "expired", "this was asked too long ago; begin anew")
    if error or not code:
        said = "the owner said no" if error == "access_denied" else "the provider sent no code"
        return _refused(tx, row["id"], "denied", said)
    app = accounts.app_by_id(tx, row["app_id"])
    try:
        client_secret = app_secret(ctx.vault, app["name"], "client_secret", app["client_secret"])
    except CannotOpen as broken:
        return _refused(tx, row["id"], "refused", broken.message)
    client = AccountRef(
        id=row["account_id"] or 0, external_id=row["wanted"]["external_id"], base_url=row["base_url"], access_token="",
        client_id=app["client_id"], client_secret=client_secret,
    )  # fmt: skip
    return row, client, _verifier(ctx, secret, row["nonce"])


def _refused(tx: Tx, row_id: int, reason: str, message: str) -> NotConnected:
    authorizations.refuse(tx, row_id, message)
    return NotConnected(reason=reason, message=message)


def refuse(ctx: Context, row_id: int, answer: NotConnected) -> NotConnected:
    """Write down why nothing came of it."""
    ctx.db.run(lambda tx: authorizations.refuse(tx, row_id, answer.message))
    return answer


def give_back(ctx: Context, connector: Connector, client: AccountRef, tokens: Tokens) -> None:
    """Tokens that nobody will use: the provider forgets them too, where it can be reached. No second try: they end by themselves."""
    for token in filter(None, (tokens.refresh_token, tokens.access_token)):
        connector.revoke(client, token, ctx.settings.call_deadline_seconds)


def _with(client: AccountRef, tokens: Tokens) -> AccountRef:
    return AccountRef(
        id=client.id, external_id=client.external_id, base_url=client.base_url, access_token=tokens.access_token
    )  # fmt: skip


def _why_not(got: ReadFailed | Unknown | AccountStopped) -> NotConnected:
    # Stored, and shown by a page that anybody may be looking at: the provider's codes, never its prose.
    detail = "no answer" if isinstance(got, Unknown) else f"{got.reason}, {got.code or got.detail}"
    return NotConnected(
        reason="refused", message=f"the provider did not give out tokens ({detail}); begin anew"
    )
