"""Connecting an X account: the authorize page, the code for tokens (OAuth 2.0 with PKCE), whose they are, giving them back.

Sources: docs.x.com, "OAuth 2.0 Authorization Code Flow with PKCE" and its "Making requests on behalf of users".
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from urllib.parse import quote, urlencode, urlsplit

from outreach.providers.base import AccountRef, AccountStopped, NotStarted, ReadFailed, Tokens, Unknown
from outreach.providers.connecting import Asking, Me, Revoked
from outreach.providers.http import Answer, Http
from outreach.providers.twitter.classify import read_failure, stop_of
from outreach.providers.twitter.reading import USER_ID, tokens
from outreach.providers.twitter.requests import REVOKE, TOKEN, request_of, token_request

SCOPES: Mapping[str, str] = MappingProxyType(
    {
        "tweet.read": "asked for by every look-up of users",
        "users.read": "finding people, and this account itself",
        "dm.read": "reading replies, and whether a message of ours arrived",
        "dm.write": "sending messages",
        "follows.read": "seeing who follows back",
        "follows.write": "following and unfollowing",
        "offline.access": "going on when the first token ends after two hours",
    }
)
_PAGE = "/i/oauth2/authorize"
#: Where the page is for those whose API answers elsewhere; a stand-in serves both at one address.
_SITES = {"api.x.com": "https://x.com", "api.twitter.com": "https://twitter.com"}


class TwitterConnector:
    """X tells no label of automated accounts, no credits and no tier: they show in what it refuses."""

    scopes: Mapping[str, str] = SCOPES
    following: Collection[str] = frozenset({"follows.write"})

    def __init__(self, http: Http, *, read_deadline_seconds: float) -> None:
        self._http = http
        self._read_deadline = read_deadline_seconds

    def authorize_url(self, asking: Asking) -> str:
        question = {
            "response_type": "code",
            "client_id": asking.client_id,
            "redirect_uri": asking.redirect_uri,
            "scope": " ".join(asking.scopes),
            "state": asking.state,
            "code_challenge": asking.challenge,
            "code_challenge_method": "S256",
        }
        site = _SITES.get(urlsplit(asking.base_url).hostname or "", asking.base_url.rstrip("/"))
        return f"{site}{_PAGE}?{urlencode(question, quote_via=quote)}"

    def exchange(
        self, client: AccountRef, code: str, *, redirect_uri: str, verifier: str, deadline_seconds: float
    ) -> Tokens | ReadFailed | Unknown:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        answer = self._http.call(token_request(client, TOKEN, form), deadline_seconds=deadline_seconds)
        match answer:
            case Answer():
                return tokens(answer, None)
            case NotStarted():
                return ReadFailed("unreachable", detail=answer.detail)
            case Unknown():
                return answer

    def who_am_i(self, account: AccountRef) -> Me | AccountStopped | ReadFailed:
        if not account.access_token:
            return ReadFailed("unauthorised", detail="the account is not connected")
        answer = self._http.call(
            request_of(account, "GET", "/2/users/me"), deadline_seconds=self._read_deadline
        )
        if not isinstance(answer, Answer):
            return ReadFailed("unreachable", detail=answer.detail)
        if answer.status != 200:
            return stop_of(answer) or read_failure(answer)
        data = answer.document().get("data")
        if not isinstance(data, dict) or not USER_ID.fullmatch(str(data.get("id"))):
            return ReadFailed("unreadable", detail="the answer does not say whose token this is")
        return Me(
            external_id=str(data["id"]),
            handle=str(data.get("username") or ""),
            name=str(data.get("name") or ""),
        )

    def revoke(self, account: AccountRef, token: str, deadline_seconds: float) -> Revoked | ReadFailed:
        answer = self._http.call(
            token_request(account, REVOKE, {"token": token}), deadline_seconds=deadline_seconds
        )
        if not isinstance(answer, Answer):
            return ReadFailed("unreachable", detail=answer.detail)
        # "invalid_request": X does not know the token (any more), so it is good for nothing.
        gone = answer.status == 400 and answer.document().get("error") == "invalid_request"
        if answer.ok or gone:
            return Revoked()
        return read_failure(answer)
