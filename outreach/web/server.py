"""The web process: webhooks and forms in, the opt-out page, health and metrics. Answers need Postgres only."""

from starlette.applications import Starlette
from starlette.routing import Route

from outreach.app import App
from outreach.models.outage import AWAY
from outreach.web import forms, health, optout, outage, webhooks


def create_app(app: App) -> Starlette:
    """The ASGI application of this process's app."""
    web = Starlette(
        routes=[
            Route("/webhooks/{channel}/{app_name}", webhooks.challenge, methods=["GET"]),
            Route("/webhooks/{channel}/{app_name}", webhooks.receive, methods=["POST"]),
            Route("/forms/{sequence}/{form}", forms.receive, methods=["POST"]),
            Route("/opt-out/{token}", optout.page, methods=["GET"]),
            Route("/opt-out/{token}", optout.act, methods=["POST"]),
            Route("/healthz", health.alive, methods=["GET"]),
            Route("/readyz", health.ready, methods=["GET"]),
            Route("/metrics", health.metrics, methods=["GET"]),
        ],
        exception_handlers=dict.fromkeys(AWAY, outage.answer),
    )
    web.state.outreach = app
    web.state.apps = {}
    return web
