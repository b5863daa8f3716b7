"""What is stored of credentials, and what a provider gets of them: sealed there, plain here, for as long as one call.

Not an entry point. An account that cannot be opened is stopped, with the reason; nothing is called for it.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from outreach.errors import ConfigurationError
from outreach.models import accounts
from outreach.models.base import Tx
from outreach.providers.base import AccountRef
from outreach.runtime.context import Context
from outreach.runtime.hints import Hints
from outreach.runtime.reading import is_loopback
from outreach.runtime.stopping import GAVE_UP, stop
from outreach.vault import DEVELOPMENT, CannotOpen, Place, Sealed, Vault

_OF_ACCOUNT = ("access_token", "refresh_token")
_OF_APP = ("client_secret", "consumer_secret")


def account_place(channel: str, external_id: str, column: str) -> Place:
    """Of a token: an account's id at its provider never changes, and is nobody else's."""
    return Place("account", column, f"{channel}/{external_id}")


def app_place(name: str, column: str) -> Place:
    """Of an app's secret: its name never changes."""
    return Place("app", column, name)


def form_place(sequence_id: int, form: str) -> Place:
    """Of the secret by which a form signs."""
    return Place("sequence_entry", "secret", f"{sequence_id}/{form}")


def place_of(row: Mapping[str, Any]) -> Place:
    """Of a row of models.keys.sealed_otherwise."""
    return Place(row["of"], row["field"], row["row"])


# --- to be stored ----------------------------------------------------------------------------------------------------


def sealed_account(vault: Vault, values: Mapping[str, Any]) -> dict[str, Any]:
    """The account's columns with its tokens sealed. `values`: as models.accounts.insert wants them, with plain tokens."""
    where = values["channel"], values["external_id"]
    return {**values, **{c: _sealed(vault, values.get(c), account_place(*where, c)) for c in _OF_ACCOUNT}}


def sealed_app(vault: Vault, values: Mapping[str, Any]) -> dict[str, Any]:
    """The same of an app's secrets, for models.accounts.put_app."""
    return {**values, **{c: _sealed(vault, values.get(c), app_place(values["name"], c)) for c in _OF_APP}}


def sealed_tokens(
    vault: Vault, account: Mapping[str, Any], access: str, refresh: str | None
) -> tuple[Sealed, Sealed | None]:
    """Fresh tokens of that account."""
    values = sealed_account(vault, {**account, "access_token": access, "refresh_token": refresh})
    return values["access_token"], values["refresh_token"]


def _sealed(vault: Vault, plain: str | None, place: Place) -> Sealed | None:
    return None if plain is None else vault.seal(plain, place)


def require_own_key(vault: Vault, base_url: str) -> None:
    """Raises ConfigurationError where a real provider's credentials would be stored under a key that everybody knows."""
    if vault.current == Vault.of(DEVELOPMENT).current and not is_loopback(base_url):
        raise ConfigurationError(
            f"credentials of {base_url} are not stored under the development key, which everybody knows",
            hint="OUTREACH_KEYS=$(outreach keys new) makes one of your own: keep it safe. Where credentials are stored already, it goes "
            "into the ring beside development first (docs/deploy.md, Secrets)",
        )


# --- to be used ------------------------------------------------------------------------------------------------------


def account_ref(vault: Vault, row: Mapping[str, Any]) -> AccountRef:
    """What a provider needs for a send or a read: the access token, and no other secret. Raises CannotOpen.

    `row` has the account's columns under their own names.
    """
    return AccountRef(
        id=row["account_id"] if "account_id" in row else row["id"],
        external_id=row["external_id"],
        base_url=row["base_url"],
        access_token=_opened(vault, row["access_token"], account_place(row["channel"], row["external_id"], "access_token")) or "",
        client_id=row["client_id"],
    )  # fmt: skip


def full_ref(vault: Vault, account: Mapping[str, Any]) -> AccountRef:
    """The same with what refreshing and revoking need. `account`: models.accounts' row. Raises CannotOpen."""
    place = account_place(account["channel"], account["external_id"], "refresh_token")
    plain = account_ref(vault, account)
    return AccountRef(
        id=plain.id, external_id=plain.external_id, base_url=plain.base_url, access_token=plain.access_token,
        refresh_token=_opened(vault, account["refresh_token"], place), client_id=plain.client_id,
        client_secret=app_secret(vault, account["app_name"], "client_secret", account["client_secret"]),
    )  # fmt: skip


def app_secret(vault: Vault, app_name: str, column: str, sealed: str | None) -> str | None:
    """An app's secret; None: it has none. Raises CannotOpen."""
    return _opened(vault, sealed, app_place(app_name, column))


def _opened(vault: Vault, sealed: str | None, place: Place) -> str | None:
    """An empty one was forgotten."""
    return vault.open(sealed, place) if sealed else sealed


def lock_out(vault: Vault, tx: Tx, account_id: int, now: datetime) -> bool:
    """Stop the account if its credentials cannot be opened; the caller holds its row. False: they can, by now."""
    account = accounts.get(tx, account_id)
    try:
        full_ref(vault, account)
    except CannotOpen as broken:
        stop(tx, account, "needs_reauth", GAVE_UP + broken.message, now)
        return True
    return False


def shut_out(ctx: Context, account_id: int) -> Hints:
    """The same in a transaction of its own, for those who hold nothing yet. Nothing is hinted: a human has to look."""
    ctx.db.run(
        lambda tx: lock_out(ctx.vault, tx, account_id, ctx.clock.at(accounts.lock_with_app(tx, account_id)))
    )
    return []
