"""Whether an account may act: one transition, one event. Not an entry point: whoever holds the account's row calls it.

What an operator said (paused, disconnected) outranks what a provider says: the provider will say it again.
"""

from datetime import datetime

from outreach.compliance.retention import access_ends
from outreach.engine.events import EventKind
from outreach.models import accounts, deletions, events
from outreach.models.accounts import GAVE_UP
from outreach.models.base import Row, Tx

_OPERATORS = frozenset({"paused", "disconnected"})
#: What the whole app suffers when the provider says it of the app.
_OF_AN_APP = frozenset({"no_credits", "restricted"})


def waits_for_human(state: str, reason: str | None, refresh_token: str | None) -> bool:
    """Has a provider stopped it, and is there nothing that the engine can still do about it by itself?"""
    if state == "needs_reauth":
        return refresh_token is None or bool(reason and reason.startswith(GAVE_UP))
    return state != "ok" and state not in _OPERATORS


def is_of_app(state: str, scope: str) -> bool:
    """Does it stop every account of the app?"""
    return scope == "app" and state in _OF_AN_APP


def stop(
    tx: Tx,
    account: Row,
    state: str,
    why: str,
    now: datetime,
    *,
    actor: str = "engine",
    scope: str = "account",
) -> bool:
    """The account, or its app, stands still with this reason. `account`: models.accounts' row, read under its lock.

    False: it stood so before, or an operator has stopped it: nothing is written and nothing is told.
    """
    if is_of_app(state, scope):
        if account["app_state"] in ("paused", state):
            return False
        accounts.set_app_state(tx, account["app_id"], state, why, now)
        _tell(
            tx, account, EventKind.ACCOUNT_STOPPED, now, actor, reason=state, why=why, scope="app", human=True
        )
        return True
    human = waits_for_human(state, why, account["refresh_token"])
    if _stands(account, state, why, human):
        return False
    accounts.set_state(tx, account["id"], state, why, now)
    _tell(
        tx,
        account,
        EventKind.ACCOUNT_STOPPED,
        now,
        actor,
        reason=state,
        why=why,
        scope="account",
        human=human,
    )
    return True


def _stands(account: Row, state: str, why: str, human: bool) -> bool:
    current, reason = account["state"], account["state_reason"]
    if state in _OPERATORS:
        return bool((current, reason) == (state, why))
    if current in _OPERATORS:
        return True
    return current == state and waits_for_human(current, reason, account["refresh_token"]) == human


def resume(tx: Tx, account: Row, now: datetime, *, actor: str = "engine", app: bool = False) -> int:
    """The account (and `app`: its app) may act again; how many leads are due again for it.

    They are all due at once, and go out one by one: the sweep takes as many as caps and pace have room for.
    """
    if account["state"] != "ok":
        accounts.set_state(tx, account["id"], "ok", None, now)
        _tell(tx, account, EventKind.ACCOUNT_RESUMED, now, actor, was=account["state"], scope="account")
    if app and account["app_state"] != "ok":
        accounts.set_app_state(tx, account["app_id"], "ok", None, now)
        _tell(tx, account, EventKind.ACCOUNT_RESUMED, now, actor, was=account["app_state"], scope="app")
        return accounts.release_leads(tx, now=now, app_id=account["app_id"], reasons=("account",))
    return accounts.release_leads(tx, now=now, account_id=account["id"], reasons=("account",))


def end_access(tx: Tx, *, channel: str, account_key: str, why: str, now: datetime) -> None:
    """The account's owner, or the platform, has ended our access: its texts go in time, unless it is connected again before."""
    begin_at, due_by = access_ends(now)
    deletions.ask(
        tx, scope="account", channel=channel, account_key=account_key, reason=why, by="engine", now=now, begin_at=begin_at, due_by=due_by
    )  # fmt: skip


def _tell(tx: Tx, account: Row, kind: EventKind, now: datetime, actor: str, **payload: object) -> None:
    events.append(
        tx, [events.Event(kind=kind, at=now, actor=actor, account_id=account["id"], payload=payload)]
    )


__all__ = ["GAVE_UP", "end_access", "is_of_app", "resume", "stop", "waits_for_human"]
