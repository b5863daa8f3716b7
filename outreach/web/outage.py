"""What the web process answers while the database is away: 503 in plain words, and never a traceback."""

import logging

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from outreach.models.outage import explain_outage
from outreach.web.optout import html

log = logging.getLogger("outreach")
#: Seconds after which whoever asked may ask again: providers and browsers know the header.
_AGAIN = {"Retry-After": "60"}


async def answer(request: Request, error: Exception) -> Response:
    """Nothing was kept and nothing was done: a provider sends its push again, and a person is told to."""
    known = explain_outage(error)
    log.error(
        known.message if known else str(error),
        extra={"action": "request_failed", "method": request.method, "route": request.url.path.split("/")[1]},
    )
    if "token" in request.path_params:
        text = "Your request was not saved. Please try again in a minute."
        return html("This did not work just now", text, status=503, headers=_AGAIN)
    return PlainTextResponse(
        "the database does not answer; nothing was kept: send it again", status_code=503, headers=_AGAIN
    )
