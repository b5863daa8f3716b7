"""Access and refresh tokens. A refresh token works once; its second use is refused as the provider refuses it."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from outreach.simulator.wire import Request, Response, answer
from outreach.simulator.witness import Witness
from outreach.simulator.world import AccountSpec, AppSpec

SCOPE = "dm.read dm.write follows.read follows.write offline.access tweet.read users.read"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: an account by its id, or (None) the app itself."""

    account: str | None


@dataclass(slots=True)
class _Grant:
    account: str
    expires: datetime | None


@dataclass(slots=True)
class Tokens:
    """All that were given out. Whoever calls holds the simulator's lock."""

    app: AppSpec
    seed: int
    #: of access tokens that a refresh gives out
    lifetime: timedelta
    witness: Witness
    _access: dict[str, _Grant] = field(default_factory=dict)
    _refresh: dict[str, str] = field(default_factory=dict)
    _given: int = 0

    def admit(self, account: AccountSpec, now: datetime) -> None:
        """An account's first tokens."""
        expires = None if account.expires_in_s is None else now + timedelta(seconds=account.expires_in_s)
        self._access[account.access_token] = _Grant(account.id, expires)
        if account.refresh_token:
            self._refresh[account.refresh_token] = account.id

    def caller(self, request: Request, now: datetime) -> Caller | None:
        """Who asks, by the bearer token; None: nobody that we know."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        if token == self.app.bearer_token:
            return Caller(None)
        grant = self._access.get(token)
        if grant is None or (grant.expires is not None and now >= grant.expires):
            return None
        return Caller(grant.account)

    def revoke(self, account: str, now: datetime) -> None:
        """Take away all tokens of an account."""
        self._access = {token: grant for token, grant in self._access.items() if grant.account != account}
        self._refresh = {token: owner for token, owner in self._refresh.items() if owner != account}
        self.witness.saw(now, "revoked", account=account)

    def exchange(self, request: Request, now: datetime) -> Response:
        """POST /2/oauth2/token with grant_type=refresh_token."""
        form = request.form()
        if refusal := self._refused_client(request, form):
            return refusal
        if form.get("grant_type") != "refresh_token":
            return oauth_error("unsupported_grant_type", "Only refresh_token is supported here.")
        account = self._refresh.pop(form.get("refresh_token", ""), None)
        if account is None:
            return oauth_error("invalid_request", "Value passed for the token was invalid.")
        return self._renew(account, now)

    def _refused_client(self, request: Request, form: Mapping[str, str]) -> Response | None:
        """A confidential client proves itself with Basic; a public one names itself in the form."""
        app = self.app
        if app.client_secret is None:
            known = form.get("client_id") == app.client_id
            return (
                None
                if known
                else oauth_error("invalid_client", "Value passed for the client id was invalid.")
            )
        expected = base64.b64encode(f"{app.client_id}:{app.client_secret}".encode()).decode()
        if request.headers.get("authorization") == f"Basic {expected}":
            return None
        return oauth_error("unauthorized_client", "Missing valid authorization header", 401)

    def _renew(self, account: str, now: datetime) -> Response:
        """New tokens. The old access token lives on until it expires: the provider says nothing to the contrary."""
        self._given += 1
        access, refresh = (self._new(kind, account) for kind in ("access", "refresh"))
        self.witness.saw(now, "refreshed", account=account)
        self._access[access] = _Grant(account, now + self.lifetime)
        self._refresh[refresh] = account
        return answer(
            {
                "token_type": "bearer",
                "expires_in": int(self.lifetime.total_seconds()),
                "access_token": access,
                "scope": SCOPE,
                "refresh_token": refresh,
            }
        )

    def _new(self, kind: str, account: str) -> str:
        text = f"{self.seed}\x1f{kind}\x1f{account}\x1f{self._given}"
        return f"sim-{kind}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def oauth_error(error: str, description: str, status: int = 400) -> Response:
    """The token endpoint's own dialect."""
    return answer({"error": error, "error_description": description}, status)
