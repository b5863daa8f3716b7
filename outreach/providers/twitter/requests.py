"""Requests to the X API: for an account by its token, and to the token endpoints by the app's own credentials."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import httpx

from outreach.errors import ConfigurationError
from outreach.providers.base import AccountRef

TOKEN = "/2/oauth2/token"  # noqa: S105  a path
REVOKE = "/2/oauth2/revoke"


def request_of(account: AccountRef, method: str, path: str, **content: Any) -> httpx.Request:
    """Raises ConfigurationError where the account's URL or credential cannot be put on the wire."""
    return _build(account, method, path, f"Bearer {account.access_token}", content)


def token_request(account: AccountRef, path: str, form: Mapping[str, str]) -> httpx.Request:
    """A confidential client proves itself by Basic; a public one only names itself."""
    proof = None
    if account.client_secret:
        proof = "Basic " + b64encode(f"{account.client_id}:{account.client_secret}".encode()).decode()
    return _build(account, "POST", path, proof, {"data": {**form, "client_id": account.client_id}})


def _build(
    account: AccountRef, method: str, path: str, authorization: str | None, content: Mapping[str, Any]
) -> httpx.Request:
    headers = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "outreach-engine"}
    if authorization:
        headers["authorization"] = authorization
    try:
        return httpx.Request(method, account.base_url.rstrip("/") + path, headers=headers, **content)
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"account {account.id}: {account.base_url!r} is not a URL") from error
    except UnicodeEncodeError:
        raise ConfigurationError(f"account {account.id}: its credential is not plain ASCII") from None
