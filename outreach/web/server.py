"""The web process: webhooks and forms in, the opt-out page, an account's way back, health and metrics. Answers need Postgres only."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import Route

from outreach.app import App
from outreach.models.outage import AWAY
from outreach.web import forms, health, oauth, optout, outage, webhooks
from outreach.web.watchdog import Refusals, Watchdog


def create_app(app: App) -> Starlette:
    """The ASGI application of this process's app. While it serves, a watchdog looks whether something needs somebody."""
    refusals = Refusals()
    watchdog = Watchdog(app, refusals)

    @asynccontextmanager
    async def while_serving(_: Starlette) -> AsyncIterator[None]:
        watchdog.start()
        yield
        watchdog.stop()

    web = Starlette(
        routes=[
            Route("/webhooks/{channel}/{app_name}", webhooks.challenge, methods=["GET"]),
            Route("/webhooks/{channel}/{app_name}", webhooks.receive, methods=["POST"]),
            Route("/forms/{sequence}/{form}", forms.receive, methods=["POST"]),
            Route("/opt-out/{token}", optout.page, methods=["GET"]),
            Route("/opt-out/{token}", optout.act, methods=["POST"]),
            Route("/oauth/twitter/callback", oauth.callback, methods=["GET"]),
            Route("/healthz", health.alive, methods=["GET"]),
            Route("/readyz", health.ready, methods=["GET"]),
            Route("/metrics", health.metrics, methods=["GET"]),
        ],
        lifespan=while_serving,
        exception_handlers=dict.fromkeys(AWAY, outage.answer),
    )
    web.state.outreach = app
    web.state.apps = {}
    web.state.refusals, web.state.watchdog = refusals, watchdog
    return web
