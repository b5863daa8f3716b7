"""The page on which an account lets our app in: OAuth 2.0 authorization code with PKCE, as far as the app sees it.

At the provider the page knows who is logged in; here a button per account stands for that. Whoever posts the form without a
browser names the account in `as` (its handle or id).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from urllib.parse import urlencode

from outreach.simulator.network import Network, User
from outreach.simulator.routes import Auth, Call, Route, table
from outreach.simulator.tokens import SCOPE, Code, Tokens
from outreach.simulator.wire import Response

#: How long a code is good, in real seconds.
CODE_LIFETIME = timedelta(seconds=30)
#: The longest state that is carried back.
LONGEST_STATE = 500
_PATH = "/i/oauth2/authorize"
_ASKED = ("response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method")  # fmt: skip
_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title></head><body><h1>{title}</h1>{body}</body></html>"""


@dataclass(slots=True)
class AuthorizeRoutes:
    """The page and its form's answer."""

    network: Network
    tokens: Tokens
    seed: int
    _given: int = 0

    def routes(self) -> list[Route]:
        return table(
            ("authorize.page", "GET", _PATH, self.page, Auth.NONE, None),
            ("authorize.answer", "POST", _PATH, self.answer, Auth.NONE, None),
        )

    def page(self, call: Call) -> Response:
        """Who may be let in as whom: nothing is given out yet."""
        asked = _asked(call.request.query)
        wrong = self._wrong(asked)
        if wrong:
            return _wrong_page(wrong)
        hidden = "".join(
            f'<input type="hidden" name="{name}" value="{escape(value)}">' for name, value in asked.items()
        )
        ours = [user for user in self.network.users.values() if user.is_account]
        buttons = "".join(
            f'<button name="as" value="{escape(user.handle)}">Authorize app as @{escape(user.handle)}</button>'
            for user in ours
        )
        scopes = "".join(f"<li>{escape(scope)}</li>" for scope in asked["scope"].split())
        form = f'<ul>{scopes}</ul><form method="post" action="{_PATH}">{hidden}{buttons}<button name="deny" value="1">Cancel</button></form>'
        return _html("An app wants to access your account", form)

    def answer(self, call: Call) -> Response:
        """Back to the app: with a code that works once, or with the refusal."""
        form = call.request.form()
        asked = _asked(form)
        wrong = self._wrong(asked)
        if wrong:
            return _wrong_page(wrong)
        if form.get("deny"):
            return _back(asked, error="access_denied")
        user = self.network.find(form.get("as", ""))
        if user is None or not user.is_account:
            return _wrong_page("nobody of that name is logged in here")
        return _back(asked, code=self._code(asked, user, call.now))

    def _code(self, asked: Mapping[str, str], user: User, now: datetime) -> str:
        self._given += 1
        text = f"{self.seed}\x1fcode\x1f{user.id}\x1f{self._given}"
        code = f"sim-code-{hashlib.sha256(text.encode()).hexdigest()[:32]}"
        self.tokens.give_code(
            code,
            Code(
                account=user.id,
                scopes=asked["scope"],
                redirect_uri=asked["redirect_uri"],
                challenge=asked["code_challenge"],
                expires=now + CODE_LIFETIME,
            ),
        )
        return code

    def _wrong(self, asked: Mapping[str, str]) -> str | None:
        """What X shows on a page of its own, without going back to an address that it cannot trust."""
        app = self.tokens.app
        known = set(SCOPE.split())
        if asked["client_id"] != app.client_id:
            return "the client id is unknown"
        if not asked["redirect_uri"] or (
            app.callback_urls and asked["redirect_uri"] not in app.callback_urls
        ):
            return "the redirect URI is none of the app's callback URLs"
        if (
            asked["response_type"] != "code"
            or asked["code_challenge_method"] != "S256"
            or not asked["code_challenge"]
        ):
            return "only the authorization code with an S256 challenge is served here"
        if not asked["state"] or len(asked["state"]) > LONGEST_STATE:
            return f"a state of 1 to {LONGEST_STATE} characters is wanted"
        if not asked["scope"].split() or set(asked["scope"].split()) - known:
            return f"the scopes are not among {SCOPE}"
        return None


def _asked(values: Mapping[str, str]) -> dict[str, str]:
    return {name: values.get(name, "") for name in _ASKED}


def _back(asked: Mapping[str, str], **said: str) -> Response:
    joined = "&" if "?" in asked["redirect_uri"] else "?"
    place = f"{asked['redirect_uri']}{joined}{urlencode({'state': asked['state'], **said})}"
    return Response(status=302, headers={"location": place, "cache-control": "no-store"})


def _wrong_page(why: str) -> Response:
    return _html(
        "Something went wrong", f"<p>You weren't able to give access to the App: {escape(why)}.</p>", 400
    )


def _html(title: str, body: str, status: int = 200) -> Response:
    page = _PAGE.format(title=escape(title), body=body)
    return Response(status=status, body=page.encode(), headers={"content-type": "text/html; charset=utf-8"})
