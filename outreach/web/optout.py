"""The public opt-out page. GET only shows it (mail scanners follow links); POST acts. No login, no expiry."""

import base64
import hmac
from collections.abc import Mapping
from html import escape

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from outreach.app import App
from outreach.ids import keyed_digest
from outreach.runtime.optout import opt_out

_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:12vh auto;padding:0 1rem;color:#1c1c1c}}
button{{font:inherit;padding:.6rem 1.4rem;border:0;border-radius:.4rem;background:#1c1c1c;color:#fff;cursor:pointer}}</style></head>
<body><h1>{title}</h1><p>{text}</p>{form}</body></html>"""
_FORM = '<form method="post"><button type="submit">Do not contact me again</button></form>'


def make_token(secret: str, person_id: int) -> str:
    """Opaque, for ever valid, without anything personal in it."""
    head = base64.urlsafe_b64encode(str(person_id).encode()).decode().rstrip("=")
    return f"{head}.{keyed_digest(secret, 'opt-out', str(person_id))[:32]}"


def read_token(secret: str, token: str) -> int | None:
    """The person, or None for a token that is not ours."""
    head, _, _ = token.partition(".")
    try:
        person_id = int(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except ValueError:
        return None
    ours = make_token(secret, person_id).encode()
    return person_id if hmac.compare_digest(ours, token.encode("utf-8", "surrogatepass")) else None


def _person(request: Request) -> tuple[App, int | None]:
    app: App = request.app.state.outreach
    return app, read_token(app.settings.link_secret, request.path_params["token"])


def html(
    title: str, text: str, form: str = "", status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A page; title and text are plain words and are escaped."""
    page = _PAGE.format(title=escape(title), text=escape(text), form=form)
    always = {
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
        "Referrer-Policy": "no-referrer",
    }
    return HTMLResponse(page, status_code=status, headers={**always, **(headers or {})})


def page(request: Request) -> Response:
    """Ask."""
    _, person_id = _person(request)
    if person_id is None:
        return html("This link is not complete", "Please copy the whole link from the message.", status=404)
    return html("Stop all messages?", "One click, and we do not contact you again, on any channel.", _FORM)


async def act(request: Request) -> Response:
    """Do it: binding for every new send when this answers."""
    app, person_id = _person(request)
    if person_id is None:
        return html("This link is not complete", "Please copy the whole link from the message.", status=404)
    await run_in_threadpool(
        opt_out, app.context, person_id, reason="they used the opt-out page", source="opt_out_page", evidence={}, actor="opt-out page"
    )  # fmt: skip
    return html("Done", "We will not contact you again.")
