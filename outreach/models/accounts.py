"""Apps, accounts and pools: who sends, what the platform permits them, and what stopped them."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from outreach.engine.suggest import did_you_mean
from outreach.errors import NotFound
from outreach.models.base import Row, Tx, to_json
from outreach.vault import Sealed

#: How the reason of an account begins that only a human can mend.
GAVE_UP = "reconnect the account: "
_COLUMNS = """
a.id, a.app_id, a.name, a.channel, a.external_id, a.handle, a.base_url, a.access_token, a.refresh_token, a.token_expires_at,
a.refresh_fence, a.refresh_deadline, a.zone, a.caps, a.pace, a.follow_permitted, a.dm_mode, a.mode_reason, a.state, a.state_reason,
a.state_at, a.scopes, a.tokens_at, b.name AS app_name, b.client_id, b.client_secret, b.consumer_secret, b.caps AS app_caps,
b.state AS app_state, b.state_reason AS app_state_reason, b.state_at AS app_state_at"""


def get(tx: Tx, account_id: int) -> Row:
    """The account with its app. Raises LookupError."""
    found = hinted(tx, account_id)
    if found is None:
        raise LookupError(f"no account {account_id}")
    return found


def hinted(tx: Tx, account_id: int) -> Row | None:
    """As `get`; None for an id that some hint made up."""
    return tx.row(
        f"SELECT {_COLUMNS} FROM account a JOIN app b ON b.id = a.app_id WHERE a.id = %s", (account_id,)
    )


def find(tx: Tx, name: str) -> Row:
    """The account of that name. Raises NotFound naming those there are."""
    row = named(tx, name)
    if row is None:
        names = [r["name"] for r in tx.rows("SELECT name FROM account ORDER BY name")]
        hint = did_you_mean(name, names) if names else "outreach account add makes one"
        raise NotFound(f"no account {name!r}", hint=hint)
    return row


def named(tx: Tx, name: str) -> Row | None:
    """The account of that name, if there is one."""
    return tx.row(
        f"SELECT {_COLUMNS} FROM account a JOIN app b ON b.id = a.app_id WHERE a.name = %s", (name,)
    )


def listed(tx: Tx) -> list[Row]:
    """All accounts with their apps, by name."""
    return tx.rows(f"SELECT {_COLUMNS} FROM account a JOIN app b ON b.id = a.app_id ORDER BY a.name")


def by_external_ids(tx: Tx, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """The accounts that a provider means: ids by channel and external id."""
    rows = tx.rows(
        "SELECT a.channel, a.external_id, a.id FROM unnest(%s::text[], %s::text[]) q (channel, external_id)"
        " JOIN account a ON a.channel = q.channel AND a.external_id = q.external_id",
        ([channel for channel, _ in keys], [external_id for _, external_id in keys]),
    )
    return {(row["channel"], row["external_id"]): row["id"] for row in rows}


def app_named(tx: Tx, name: str) -> Row | None:
    """The app of that name."""
    return tx.row(
        "SELECT id, name, channel, client_id, client_secret, consumer_secret, caps, state FROM app WHERE name = %s",
        (name,),
    )


def lock_app(tx: Tx, app_id: int) -> datetime:
    """Lock the app's row: nobody makes an account of it meanwhile; the database's time afterwards."""
    tx.execute("SELECT 1 FROM app WHERE id = %s FOR NO KEY UPDATE", (app_id,))
    return tx.database_now()


def app_by_id(tx: Tx, app_id: int) -> Row:
    """The app. Raises LookupError."""
    return tx.one("SELECT id, name, channel, client_id, client_secret FROM app WHERE id = %s", (app_id,))


def put_app(tx: Tx, values: Mapping[str, Any]) -> int:
    """Make or change the app; its id. `values`: name, channel, client_id, client_secret, consumer_secret, caps, now; secrets sealed."""
    row = tx.one(
        """
        INSERT INTO app (name, channel, client_id, client_secret, consumer_secret, caps, created_at)
        VALUES (%(name)s, %(channel)s, %(client_id)s, %(client_secret)s, %(consumer_secret)s, %(caps)s, %(now)s)
        ON CONFLICT (name) DO UPDATE SET client_id = coalesce(excluded.client_id, app.client_id),
               client_secret = coalesce(excluded.client_secret, app.client_secret),
               consumer_secret = coalesce(excluded.consumer_secret, app.consumer_secret),
               caps = CASE WHEN excluded.caps = '{}' THEN app.caps ELSE excluded.caps END
        RETURNING id""",
        {**values, "caps": to_json(values["caps"])},
    )
    return int(row["id"])


def insert(tx: Tx, values: Mapping[str, Any]) -> int:
    """A new account, its tokens sealed; its id."""
    row = tx.one(
        """
        INSERT INTO account (app_id, name, channel, external_id, handle, base_url, access_token, refresh_token, token_expires_at, scopes,
                             tokens_at, zone, caps, pace, follow_permitted, dm_mode, mode_reason, created_at)
        VALUES (%(app_id)s, %(name)s, %(channel)s, %(external_id)s, %(handle)s, %(base_url)s, %(access_token)s, %(refresh_token)s,
                %(token_expires_at)s, %(scopes)s, %(now)s, %(zone)s, %(caps)s, %(pace)s, %(follow_permitted)s, %(dm_mode)s,
                %(mode_reason)s, %(now)s) RETURNING id""",
        {
            "token_expires_at": None,
            "scopes": None,
            **values,
            "caps": to_json(values["caps"]),
            "pace": to_json(values["pace"]),
        },
    )
    return int(row["id"])


def task_caps(tx: Tx, account_id: int) -> Mapping[str, str]:
    """What humans may do by hand by this account: action kind -> caps text, where it differs from the kind's default."""
    found: Mapping[str, str] = tx.value("SELECT task_caps FROM account WHERE id = %s", (account_id,))
    return found


def set_task_caps(tx: Tx, account_id: int, caps: Mapping[str, str]) -> None:
    """Replace them."""
    tx.execute("UPDATE account SET task_caps = %s WHERE id = %s", (to_json(caps), account_id))


def set_state(tx: Tx, account_id: int, state: str, reason: str | None, now: datetime) -> None:
    """ok, paused, needs_reauth, restricted, no_credits, tier or disconnected; every one but ok with its reason."""
    tx.execute(
        "UPDATE account SET state = %s, state_reason = %s, state_at = %s WHERE id = %s",
        (state, reason, now, account_id),
    )


def set_app_state(tx: Tx, app_id: int, state: str, reason: str | None, now: datetime) -> None:
    """The same for all accounts of an app."""
    tx.execute(
        "UPDATE app SET state = %s, state_reason = %s, state_at = %s WHERE id = %s",
        (state, reason, now, app_id),
    )


def lock(tx: Tx, account_id: int) -> datetime:
    """Lock the account's row; the database's time afterwards."""
    tx.execute("SELECT 1 FROM account WHERE id = %s FOR NO KEY UPDATE", (account_id,))
    return tx.database_now()


def lock_with_app(tx: Tx, account_id: int) -> datetime:
    """Lock the app's row, then the account's, as claims do; the database's time afterwards."""
    tx.execute(
        "SELECT 1 FROM app WHERE id = (SELECT app_id FROM account WHERE id = %s) FOR NO KEY UPDATE",
        (account_id,),
    )
    return lock(tx, account_id)


def hold(tx: Tx, scope: str, scope_id: int, kind: str, until: datetime, reason: str) -> None:
    """The provider said: not before. A later instant replaces an earlier one."""
    tx.execute(
        "INSERT INTO hold (scope, scope_id, kind, until, reason) VALUES (%s, %s, %s, %s, %s)"
        " ON CONFLICT (scope, scope_id, kind) DO UPDATE SET until = greatest(hold.until, excluded.until), reason = excluded.reason",
        (scope, scope_id, kind, until, reason),
    )


def begin_refresh(tx: Tx, account_id: int, deadline: datetime) -> int | None:
    """Claim the one refresh; its fence, or None while another is open."""
    row = tx.row(
        "UPDATE account SET refresh_fence = nextval('fence'), refresh_deadline = %s WHERE id = %s AND refresh_fence IS NULL RETURNING refresh_fence",
        (deadline, account_id),
    )
    return int(row["refresh_fence"]) if row else None


def end_refresh(tx: Tx, account_id: int, fence: int) -> bool:
    """True: the fence was ours and is free again."""
    return bool(
        tx.execute(
            "UPDATE account SET refresh_fence = NULL, refresh_deadline = NULL WHERE id = %s AND refresh_fence = %s",
            (account_id, fence),
        )
    )


def set_tokens(
    tx: Tx,
    account_id: int,
    access: Sealed,
    refresh: Sealed | None,
    expires_at: datetime | None,
    *,
    scopes: Sequence[str] | None = None,
    now: datetime | None = None,
) -> None:
    """Fresh credentials. What is None and not told stays as it was, but for the expiry."""
    tx.execute(
        "UPDATE account SET access_token = %s, refresh_token = coalesce(%s, refresh_token), token_expires_at = %s,"
        " scopes = coalesce(%s, scopes), tokens_at = coalesce(%s, tokens_at) WHERE id = %s",
        (access, refresh, expires_at, list(scopes) if scopes is not None else None, now, account_id),
    )


def replace_tokens(
    tx: Tx,
    account_id: int,
    access: Sealed,
    refresh: Sealed | None,
    expires_at: datetime | None,
    *,
    scopes: Sequence[str] | None,
    handle: str | None,
    now: datetime,
) -> None:
    """The credentials of a new grant: nothing of the old one stays, and a refresh of the old one that is open writes nothing."""
    tx.execute(
        "UPDATE account SET access_token = %s, refresh_token = %s, token_expires_at = %s, scopes = %s, tokens_at = %s,"
        " handle = coalesce(%s, handle), refresh_fence = NULL, refresh_deadline = NULL WHERE id = %s",
        (access, refresh, expires_at, list(scopes) if scopes is not None else None, now, handle, account_id),
    )


def set_handle(tx: Tx, account_id: int, handle: str) -> None:
    """They renamed themselves."""
    tx.execute("UPDATE account SET handle = %s WHERE id = %s", (handle, account_id))


def forget_tokens(tx: Tx, account_id: int) -> None:
    """Of a disconnected account; a refresh that is open writes nothing."""
    tx.execute(
        "UPDATE account SET access_token = '', refresh_token = NULL, token_expires_at = NULL, scopes = NULL, tokens_at = NULL,"
        " refresh_fence = NULL, refresh_deadline = NULL WHERE id = %s",
        (account_id,),
    )


def release_leads(
    tx: Tx,
    *,
    now: datetime,
    account_id: int | None = None,
    app_id: int | None = None,
    sequence_id: int | None = None,
    reasons: tuple[str, ...] = ("account", "pause"),
) -> int:
    """Leads that waited for an account or a pause are due again; the caps and the pace keep them from bursting out."""
    return tx.execute(
        """
        UPDATE lead SET due_at = greatest(entered_at, %(now)s), waiting_on = 'time', waiting_detail = NULL
         WHERE state = 'active' AND waiting_on = ANY(%(reasons)s) AND paused_at IS NULL
           AND (%(account)s::bigint IS NULL OR account_id = %(account)s)
           AND (%(app)s::bigint IS NULL OR account_id = ANY (SELECT id FROM account WHERE app_id = %(app)s))
           AND (%(sequence)s::bigint IS NULL OR sequence_id = %(sequence)s)""",
        {"now": now, "reasons": list(reasons), "account": account_id, "app": app_id, "sequence": sequence_id},
    )


# --- pools -----------------------------------------------------------------------------------------------------------


def put_pool(tx: Tx, name: str, channel: str, account_ids: list[int], now: datetime) -> int:
    """A pool with exactly these accounts; its id."""
    row = tx.one(
        "INSERT INTO sender_pool (name, channel, created_at) VALUES (%s, %s, %s) ON CONFLICT (name) DO UPDATE SET channel = excluded.channel RETURNING id",
        (name, channel, now),
    )
    tx.execute(
        "DELETE FROM sender_pool_account WHERE pool_id = %s AND account_id <> ALL(%s)",
        (row["id"], account_ids),
    )
    tx.insert_many(
        "INSERT INTO sender_pool_account (pool_id, account_id) VALUES %s ON CONFLICT DO NOTHING",
        [(row["id"], i) for i in account_ids],
    )
    return int(row["id"])


def pool_names(tx: Tx) -> list[str]:
    """All pools."""
    return [row["name"] for row in tx.rows("SELECT name FROM sender_pool ORDER BY name")]


def pool_members(tx: Tx, name: str) -> list[Row]:
    """The pool's accounts: id, name, channel; none where there is no such pool."""
    return tx.rows(
        "SELECT a.id, a.name, a.channel FROM sender_pool p JOIN sender_pool_account m ON m.pool_id = p.id JOIN account a ON a.id = m.account_id"
        " WHERE p.name = %s ORDER BY a.id",
        (name,),
    )


def pool_accounts(tx: Tx, name: str) -> list[Row]:
    """The same. Raises NotFound where the pool is not there, or empty."""
    rows = pool_members(tx, name)
    if not rows:
        names = pool_names(tx)
        makes = "outreach account pool NAME --account A --account B makes one"
        raise NotFound(f"no sender pool {name!r}", hint=did_you_mean(name, names) if names else makes)
    return rows
