"""Forms post here, signed: POST /forms/SEQUENCE/FORM. Every answer is JSON and has a name; a refused one has left nothing behind."""

import logging
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from outreach.app import App
from outreach.runtime.forms import MOST_BYTES, SIGNATURE, Outcome, Taken, take_form

log = logging.getLogger("outreach")

_REFUSALS: dict[Outcome, tuple[int, str]] = {
    "unknown": (404, "There is no such form: no open sequence of this name has an entry by it."),
    "unsigned": (401, "The header Outreach-Signature is missing."),
    "bad_signature": (401, "The signature is not this form's, or not of this body."),
    "expired": (
        401,
        "The signature's time is too long ago, or ahead of ours: sign anew, and look at the clock.",
    ),
    "malformed": (400, "The body cannot be read."),
    "unusable": (422, "The fields do not say who this is."),
    "locked": (503, "Whose signature this is cannot be told now. Nothing was taken: send it again later."),
    "replayed": (409, "This very submission was taken before; nothing was done twice."),
}


async def receive(request: Request) -> Response:
    """One submission."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            return _answer(413, error="too_large", message=f"A submission has at most {MOST_BYTES} bytes.")
    return await run_in_threadpool(_take, request, body)


def _take(request: Request, body: bytes) -> Response:
    app: App = request.app.state.outreach
    sequence, form = request.path_params["sequence"], request.path_params["form"]
    taken = take_form(
        app.context, sequence, form, body=body, content_type=request.headers.get("content-type", ""),
        signature=request.headers.get(SIGNATURE),
    )  # fmt: skip
    if taken.outcome != "taken":
        return _refused(sequence, form, taken)
    app.hint(taken.hints)
    return _answer(200, ok=True, entered=taken.entered, **({"why": taken.why} if taken.why else {}))


def _refused(sequence: str, form: str, taken: Taken) -> Response:
    status, message = _REFUSALS[taken.outcome]
    if status == 401:
        said = {"action": "form_refused", "reason": taken.outcome, "sequence": sequence, "form": form}
        log.warning("form signature refused", extra=said)
    if taken.outcome == "locked":
        log.error(
            "; ".join(taken.problems), extra={"action": "secret_locked", "sequence": sequence, "form": form}
        )
        return _answer(status, error=taken.outcome, message=message)
    problems = {"problems": list(taken.problems)} if taken.problems else {}
    return _answer(status, error=taken.outcome, message=message, **problems)


def _answer(status: int, **content: Any) -> Response:
    return JSONResponse({"ok": False, **content}, status_code=status)
