"""Where an owner comes back to from the provider: `account connect --via-web`. The address in the browser works once."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from outreach.app import App
from outreach.errors import OutreachError
from outreach.runtime.authorize import NotConnected
from outreach.runtime.connect import connect
from outreach.web.optout import html

_HEADERS = {"Cache-Control": "no-store"}
#: The longest that a state of ours, or a code, may be.
_MOST = 2000


async def callback(request: Request) -> Response:
    """Exchange what the provider sent along, once, and say what came of it."""
    app: App = request.app.state.outreach
    state, code = request.query_params.get("state", ""), request.query_params.get("code")
    if not state or len(state) > _MOST or len(code or "") > _MOST:
        return _page(400, "Nothing to do here", "This address is opened by the provider, not by hand.")
    try:
        answer = await run_in_threadpool(connect, app.context, state, code, request.query_params.get("error"))
    except OutreachError as error:
        return _page(409, "Not connected", error.message)
    if isinstance(answer, NotConnected):
        return _page(400, "Not connected", f"{answer.message}.")
    return _page(
        200, "Connected", f"{answer.name} is connected as @{answer.handle}. You can close this page."
    )


def _page(status: int, title: str, text: str) -> Response:
    # our errors begin small, as they follow "error:" elsewhere
    return html(title, text[:1].upper() + text[1:], status=status, headers=_HEADERS)
