"""examine: ask the provider whose an account's tokens are, and say what stands: scopes, permissions, label, credits, caps.

What it learns is acted upon: tokens that belong to somebody else, or that the provider refuses, stop the account.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from outreach.compliance.facts import DmMode
from outreach.compliance.packs import PACK_OF, Automation
from outreach.compliance.sources import LANES
from outreach.engine.kinds import CHANNEL_OF, ActionKind, Channel, known
from outreach.errors import ConfigurationError
from outreach.models import accounts
from outreach.models.base import Row, Tx
from outreach.providers.base import AccountRef, AccountStopped, ReadFailed
from outreach.providers.connecting import Connector, Me
from outreach.runtime.authorize import needed_scopes
from outreach.runtime.context import Context
from outreach.runtime.credentials import account_ref, shut_out
from outreach.runtime.refresh import refresh
from outreach.runtime.standing import cap_uses
from outreach.runtime.stopping import GAVE_UP, stop, waits_for_human
from outreach.vault import CannotOpen

#: What X does not tell before it refuses something for it.
NOT_TOLD = "not told"


@dataclass(frozen=True, slots=True, kw_only=True)
class Permitted:
    """One kind of action of this account under its channel's pack."""

    kind: str
    #: when it runs by itself; None: never
    auto: str | None
    otherwise: str
    rule: str
    #: scopes it needs that the tokens lack; None: the provider did not say what they permit
    lacks: Sequence[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """How an account stands, now."""

    name: str
    channel: str
    app: str
    external_id: str
    handle: str | None
    #: whose the tokens are, by the provider; None: it was not asked, or did not say
    me: Me | None
    #: why not
    not_asked: str | None
    state: str
    reason: str | None
    app_state: str
    app_reason: str | None
    needs_human: bool
    token_expires_at: datetime | None
    granted: Sequence[str] | None
    missing: Sequence[str]
    permitted: Sequence[Permitted]
    #: the platform's label for automated accounts; X's API has no word for it
    automated_label: str
    credits: str
    tier: str
    caps: Sequence[Mapping[str, Any]]

    @property
    def fine(self) -> bool:
        """May it act, as far as anybody has told?"""
        return self.state == "ok" and self.app_state == "ok" and not self.missing


def examine(ctx: Context, name: str) -> Examined:
    """One question to the provider (and one refresh where it refuses the token). Raises NotFound."""
    account = ctx.db.run(lambda tx: accounts.find(tx, name))
    answer = _whose(ctx, account)
    if _refused(answer) and account["refresh_token"] and account["state"] in ("ok", "needs_reauth"):
        refresh(ctx, account["id"])
        account = ctx.db.run(lambda tx: accounts.get(tx, account["id"]))
        answer = _whose(ctx, account)
    ctx.db.run(lambda tx: _learn(ctx, tx, account["id"], account["tokens_at"], answer))
    return ctx.db.run(lambda tx: _report(ctx, tx, account["id"], answer))


def _whose(ctx: Context, account: Row) -> Me | AccountStopped | ReadFailed:
    """Of a stored token; what cannot be opened is nobody's."""
    try:
        ref = account_ref(ctx.vault, account)
    except CannotOpen as broken:
        shut_out(ctx, account["id"])
        return ReadFailed("forbidden", detail=broken.message)
    return whose_token(ctx, account["channel"], ref)


def whose_token(ctx: Context, channel: str, ref: AccountRef) -> Me | AccountStopped | ReadFailed:
    """By the provider. What may not be asked, or cannot, is a ReadFailed with the reason in words."""
    connector = _connector(ctx, channel)
    if connector is None:
        return ReadFailed("forbidden", detail=f"{channel} has no adapter in this release")
    try:
        return connector.who_am_i(ref)
    except ConfigurationError as refused:
        return ReadFailed("forbidden", detail=refused.message)


def _connector(ctx: Context, channel: str) -> Connector | None:
    provider = ctx.providers.get(channel)
    return provider.connector if provider else None


def _refused(answer: Me | AccountStopped | ReadFailed) -> bool:
    return isinstance(answer, AccountStopped) and answer.reason == "needs_reauth"


def _learn(
    ctx: Context,
    tx: Tx,
    account_id: int,
    asked_with: datetime | None,
    answer: Me | AccountStopped | ReadFailed,
) -> None:
    now = ctx.clock.at(accounts.lock_with_app(tx, account_id))
    account = accounts.get(tx, account_id)
    if account["tokens_at"] != asked_with or not account["access_token"]:
        return  # other tokens than those that were asked about
    match answer:
        case Me(external_id=external_id, handle=handle) if external_id != account["external_id"]:
            why = f"{GAVE_UP}its tokens belong to @{handle} ({external_id})"
            stop(tx, account, "needs_reauth", why, now)
        case Me(handle=handle) if handle and handle != account["handle"]:
            accounts.set_handle(tx, account_id, handle)
        case AccountStopped(reason=reason, scope=scope, code=code):
            why = f"{reason}: {code}" if code else reason
            stop(tx, account, reason, why, now, scope=scope)


# --- the report --------------------------------------------------------------------------------------------------------


def _report(ctx: Context, tx: Tx, account_id: int, answer: Me | AccountStopped | ReadFailed) -> Examined:
    account = accounts.get(tx, account_id)
    now = ctx.clock.at(tx.database_now())
    me = answer if isinstance(answer, Me) else None
    connector, granted = _connector(ctx, account["channel"]), account["scopes"]
    needed = needed_scopes(connector, follows=account["follow_permitted"]) if connector else []
    missing = [] if granted is None else [scope for scope in needed if scope not in granted]
    return Examined(
        name=account["name"], channel=account["channel"], app=account["app_name"], external_id=account["external_id"],
        handle=account["handle"], me=me, not_asked=None if me else _why(answer), state=account["state"], reason=account["state_reason"],
        app_state=account["app_state"], app_reason=account["app_state_reason"],
        needs_human=waits_for_human(account["state"], account["state_reason"], account["refresh_token"]) or account["app_state"] != "ok",
        token_expires_at=account["token_expires_at"], granted=granted, missing=missing, permitted=_permitted(account, granted),
        automated_label=_label(me), credits=_last_word(account, "no_credits", "credits"), tier=_last_word(account, "tier", "a tier"),
        caps=caps_of(tx, account, now),
    )  # fmt: skip


def _why(answer: Me | AccountStopped | ReadFailed) -> str:
    assert not isinstance(answer, Me)
    if answer.detail and answer.reason in ("forbidden", "unauthorised"):
        return answer.detail
    return f"{answer.reason}: {answer.detail}" if answer.detail else answer.reason


def _label(me: Me | None) -> str:
    if me is None or me.automated is None:
        return f"{NOT_TOLD} by the provider's API: look at the profile"
    return "shown" if me.automated else "missing"


def _last_word(account: Row, state: str, what: str) -> str:
    """What a refusal said of credits or tier: the provider tells of them in no other way."""
    for said, reason in (
        (account["state"], account["state_reason"]),
        (account["app_state"], account["app_state_reason"]),
    ):
        if said == state:
            return f"refused: {reason}"
    return f"{NOT_TOLD} by the provider until it refuses something for lack of {what}; it has not"


_SCOPES_OF: Mapping[ActionKind, Sequence[str]] = {
    ActionKind.SEND_TWITTER_DM: ("dm.read", "dm.write", "tweet.read", "users.read"),
    ActionKind.FOLLOW_ON_TWITTER: ("follows.write", "tweet.read", "users.read"),
}


def _permitted(account: Row, granted: Sequence[str] | None) -> list[Permitted]:
    channel = known(Channel, account["channel"])
    pack = PACK_OF[channel]
    kinds = [kind for kind in pack.automation if CHANNEL_OF[kind] is channel]
    return [_permission(account, kind, pack.of(kind), granted) for kind in kinds]


def _permission(
    account: Row, kind: ActionKind, automation: Automation, granted: Sequence[str] | None
) -> Permitted:
    lane = LANES[automation]
    auto = lane.auto
    if automation is Automation.PERMITTED_ACCOUNT:
        auto = f"permitted: {account['mode_reason']}" if account["follow_permitted"] else None
    elif automation is Automation.INBOUND_FIRST and account["dm_mode"] == DmMode.OPT_IN.value:
        auto = f"{auto}, and to those whose opt-in is recorded (mode opt_in: {account['mode_reason']})"
    needs = _SCOPES_OF.get(kind, _SCOPES_OF[ActionKind.FOLLOW_ON_TWITTER] if "TWITTER" in kind else ())
    lacks = None if granted is None else [scope for scope in needs if scope not in granted]
    return Permitted(
        kind=kind.value, auto=auto, otherwise=lane.otherwise, rule=lane.rule, lacks=lacks if auto else []
    )


def caps_of(tx: Tx, account: Row, now: datetime) -> list[dict[str, Any]]:
    """Every cap of the account and its app, by kind: used, left, and when a full one frees. `account`: models.accounts' row."""
    uses = cap_uses(tx, [{**account, "app": account["app_name"]}], now)
    return [
        {
            "scope": u.scope,
            "kind": u.kind,
            "cap": u.cap,
            "used": u.used,
            "left": u.left,
            "next_free": u.next_free,
        }
        for u in uses
    ]
