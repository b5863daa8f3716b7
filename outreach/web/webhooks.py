"""Providers push: verified on the raw body, stored raw, answered with 200; understood later."""

import logging
import time

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from outreach.app import App
from outreach.ids import digest
from outreach.models import accounts
from outreach.models.base import Row
from outreach.runtime.accept import accept, accept_unreadable
from outreach.runtime.credentials import app_secret
from outreach.vault import CannotOpen

log = logging.getLogger("outreach")

#: Providers' pushes are a few kB; more is not one of them.
_MOST_BYTES = 1_000_000


def _app(request: Request) -> App:
    app: App = request.app.state.outreach
    return app


#: Real seconds for which a process believes what it read of an app: every push asks for its secret.
_SECRET_FOR = 1.0


def _secret(request: Request) -> str | None:
    """The consumer secret of the app in the path; None where there is no such app. Raises CannotOpen."""
    name, channel = request.path_params["app_name"], request.path_params["channel"]
    known: dict[str, tuple[float, Row]] = request.app.state.apps
    read_at, row = known.get(name, (0.0, None))
    if row is None or time.monotonic() - read_at >= _SECRET_FOR:
        row = _app(request).context.db.run(lambda tx: accounts.app_named(tx, name))
        if row is not None:
            known[name] = (time.monotonic(), row)
    if row is None or row["channel"] != channel:
        return None
    return app_secret(_app(request).context.vault, name, "consumer_secret", row["consumer_secret"])


def _locked(request: Request, broken: CannotOpen) -> Response:
    """Whose signature it is cannot be told: nothing is kept, and the provider tries again."""
    log.error(broken.message, extra={"action": "secret_locked", "app": request.path_params["app_name"]})
    return PlainTextResponse("not now", status_code=503)


def challenge(request: Request) -> Response:
    """The provider asks whether this URL is ours."""
    try:
        secret = _secret(request)
    except CannotOpen as broken:
        return _locked(request, broken)
    hooks = _app(request).webhooks.get(request.path_params["channel"])
    if hooks is None or secret is None:
        return PlainTextResponse("no such app", status_code=404)
    answer = hooks.challenge(dict(request.query_params), secret)
    return (
        JSONResponse(dict(answer))
        if answer is not None
        else PlainTextResponse("no challenge", status_code=400)
    )


async def receive(request: Request) -> Response:
    """A push. 200 once it is stored; 401 when the signature is not ours, and then nothing is kept."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            # Not read to its end: whoever sends more than a provider does is none.
            return PlainTextResponse("too large", status_code=413, headers={"connection": "close"})
    return await run_in_threadpool(_store, request, bytes(body))


def _store(request: Request, body: bytes) -> Response:
    app, channel = _app(request), request.path_params["channel"]
    try:
        secret = _secret(request)
    except CannotOpen as broken:
        return _locked(request, broken)
    hooks = app.webhooks.get(channel)
    if hooks is None or secret is None:
        return PlainTextResponse("no such app", status_code=404)
    if not hooks.verify(dict(request.headers), body, secret):
        log.warning("webhook signature refused", extra={"action": "webhook_refused", "channel": channel})
        request.app.state.refusals.add(request.path_params["app_name"])
        return PlainTextResponse("bad signature", status_code=401)
    try:
        items = hooks.parse(body)
    except ValueError as error:
        accept_unreadable(app.context, channel, digest(body.decode("utf-8", "replace")), len(body))
        log.warning(
            "webhook not understood",
            extra={"action": "webhook_unreadable", "channel": channel, "error": type(error).__name__},
        )
        return PlainTextResponse("stored, not understood")
    app.hint(accept(app.context, channel, items))
    return PlainTextResponse("stored")
