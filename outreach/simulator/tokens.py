"""Access and refresh tokens, and the codes that they are given out for. Codes and refresh tokens work once.

A second use is refused as the provider refuses it.
"""

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
    scopes: str = SCOPE


@dataclass(frozen=True, slots=True)
class _Renewal:
    """What a refresh token stands for."""

    account: str
    scopes: str = SCOPE


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """What an authorization code stands for, until it expires (real time)."""

    account: str
    scopes: str
    redirect_uri: str
    #: base64url of the verifier's SHA-256, without padding
    challenge: str
    expires: datetime


@dataclass(slots=True)
class Tokens:
    """All that were given out. Whoever calls holds the simulator's lock."""

    app: AppSpec
    seed: int
    #: of access tokens that a refresh gives out
    lifetime: timedelta
    witness: Witness
    _access: dict[str, _Grant] = field(default_factory=dict)
    _refresh: dict[str, _Renewal] = field(default_factory=dict)
    _codes: dict[str, Code] = field(default_factory=dict)
    _given: int = 0

    def admit(self, account: AccountSpec, now: datetime) -> None:
        """An account's first tokens."""
        expires = None if account.expires_in_s is None else now + timedelta(seconds=account.expires_in_s)
        self._access[account.access_token] = _Grant(account.id, expires)
        if account.refresh_token:
            self._refresh[account.refresh_token] = _Renewal(account.id)

    def give_code(self, code: str, stands_for: Code) -> None:
        """From the authorize page."""
        self._codes[code] = stands_for

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
        self._refresh = {token: one for token, one in self._refresh.items() if one.account != account}
        self.witness.saw(now, "revoked", account=account)

    def exchange(self, request: Request, now: datetime) -> Response:
        """POST /2/oauth2/token with grant_type=authorization_code or refresh_token."""
        form = request.form()
        if refusal := self._refused_client(request, form):
            return refusal
        match form.get("grant_type"):
            case "refresh_token":
                renewal = self._refresh.pop(form.get("refresh_token", ""), None)
                if renewal is None:
                    return oauth_error("invalid_request", "Value passed for the token was invalid.")
                self.witness.saw(now, "refreshed", account=renewal.account)
                return self._give(renewal, now)
            case "authorization_code":
                return self._redeem(form, now)
            case _:
                return oauth_error(
                    "unsupported_grant_type", "Only authorization_code and refresh_token are supported here."
                )

    def _redeem(self, form: Mapping[str, str], now: datetime) -> Response:
        """A code for tokens, once: whatever is wrong with the request, the code is spent."""
        code = self._codes.pop(form.get("code", ""), None)
        if code is None or now >= code.expires:
            return oauth_error("invalid_request", "Value passed for the authorization code was invalid.")
        if form.get("redirect_uri") != code.redirect_uri:
            return oauth_error("invalid_request", "Value passed for the redirect uri did not match the uri of the authorization code.")  # fmt: skip
        if challenge_of(form.get("code_verifier", "")) != code.challenge:
            return oauth_error("invalid_request", "Value passed for the code verifier did not match the code challenge.")  # fmt: skip
        self.witness.saw(now, "connected", account=code.account)
        return self._give(_Renewal(code.account, code.scopes), now)

    def revoke_token(self, request: Request, now: datetime) -> Response:
        """POST /2/oauth2/revoke: one access token, or a refresh token."""
        form = request.form()
        if refusal := self._refused_client(request, form):
            return refusal
        token = form.get("token", "")
        found = self._access.pop(token, None) or self._refresh.pop(token, None)
        if found is None:
            return oauth_error("invalid_request", "Value passed for the token was invalid.")
        self.witness.saw(now, "revoked", account=found.account)
        return answer({"revoked": True})

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

    def _give(self, to: _Renewal, now: datetime) -> Response:
        """New tokens. An old access token lives on until it expires: the provider says nothing to the contrary."""
        self._given += 1
        access, refresh = (self._new(kind, to.account) for kind in ("access", "refresh"))
        self._access[access] = _Grant(to.account, now + self.lifetime, to.scopes)
        given = {
            "token_type": "bearer",
            "expires_in": int(self.lifetime.total_seconds()),
            "access_token": access,
            "scope": to.scopes,
        }
        if "offline.access" not in to.scopes.split():
            return answer(given)
        self._refresh[refresh] = to
        return answer({**given, "refresh_token": refresh})

    def _new(self, kind: str, account: str) -> str:
        text = f"{self.seed}\x1f{kind}\x1f{account}\x1f{self._given}"
        return f"sim-{kind}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def challenge_of(verifier: str) -> str:
    """The S256 challenge of a verifier."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def oauth_error(error: str, description: str, status: int = 400) -> Response:
    """The token endpoint's own dialect."""
    return answer({"error": error, "error_description": description}, status)
