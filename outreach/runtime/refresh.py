"""refresh: fetch fresh tokens. A claimed call like a send: fence, deadline, one attempt; unknown -> a human reconnects."""

from datetime import datetime

from outreach.engine.events import EventKind
from outreach.models import accounts, events, instance
from outreach.models.base import Tx
from outreach.providers.base import AccountRef, ReadFailed, Tokens, Unknown
from outreach.runtime.context import Context
from outreach.runtime.credentials import full_ref, lock_out, sealed_tokens
from outreach.runtime.hints import Hints
from outreach.runtime.stopping import GAVE_UP, resume, stop


def refresh(ctx: Context, account_id: int) -> Hints:
    """One attempt for the account; its leads are due again when it succeeds."""
    begun = ctx.db.run(lambda tx: _begin(ctx, tx, account_id))
    if begun is None:
        return []
    account, channel, fence = begun
    answer = ctx.providers[channel].refresh(account, ctx.settings.call_deadline_seconds)
    ctx.db.run(lambda tx: _end(ctx, tx, account_id, fence, answer))
    return []


def _begin(ctx: Context, tx: Tx, account_id: int) -> tuple[AccountRef, str, int] | None:
    now = ctx.clock.at(accounts.lock(tx, account_id))
    row = accounts.hinted(tx, account_id)
    if row is None or row["refresh_token"] is None or row["channel"] not in ctx.providers:
        return None
    if instance.read(tx).foreign_since is not None:
        # A refresh token works once: it is for whoever this database was copied from.
        return None
    if row["refresh_deadline"] is not None and row["refresh_deadline"] <= now:
        # The last attempt never came back: the single-use token may be spent, and only a human can tell.
        accounts.end_refresh(tx, account_id, row["refresh_fence"])
        _needs_human(tx, account_id, "a token refresh was not answered", now)
        return None
    if row["state"] not in ("ok", "needs_reauth") or _gave_up(row["state_reason"]):
        return None
    if lock_out(ctx.vault, tx, account_id, now):
        return None
    fence = accounts.begin_refresh(tx, account_id, now + ctx.call_deadline)
    return (full_ref(ctx.vault, row), row["channel"], fence) if fence is not None else None


def _gave_up(reason: str | None) -> bool:
    return bool(reason and reason.startswith(GAVE_UP))


def _needs_human(tx: Tx, account_id: int, why: str, now: datetime) -> None:
    stop(tx, accounts.get(tx, account_id), "needs_reauth", GAVE_UP + why, now)


def _end(ctx: Context, tx: Tx, account_id: int, fence: int, answer: Tokens | ReadFailed | Unknown) -> None:
    now = ctx.clock.at(accounts.lock(tx, account_id))
    if not accounts.end_refresh(tx, account_id, fence):
        return
    match answer:
        case Tokens(access_token=access, refresh_token=token, expires_at=expires, scopes=scopes):
            until = ctx.clock.business(expires) if expires else None
            sealed = sealed_tokens(ctx.vault, accounts.get(tx, account_id), access, token)
            accounts.set_tokens(tx, account_id, *sealed, until, scopes=scopes, now=now)
            events.append(tx, [events.Event(kind=EventKind.TOKEN_REFRESHED, at=now, account_id=account_id)])
            account = accounts.get(tx, account_id)
            if account["state"] == "needs_reauth":
                resume(tx, account, now)
        case ReadFailed(reason="unreachable" | "rate_limited"):
            return
        case ReadFailed(reason=reason):
            _needs_human(tx, account_id, f"the provider refused the refresh ({reason})", now)
        case Unknown():
            _needs_human(tx, account_id, "the refresh may have been spent without an answer", now)
