"""Is the process alive, can it work, and the numbers that say how things stand."""

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from outreach.app import App
from outreach.models import health
from outreach.models.outage import AWAY

#: Business durations are what the database stores; two missed minutes of real time are too many.
_TICK_LATE_SECONDS = 120.0


def alive(request: Request) -> Response:  # noqa: ARG001  one shape for all endpoints
    """The process answers."""
    return PlainTextResponse("ok")


def ready(request: Request) -> Response:
    """Postgres answers and the sweep has run lately; 503 with the reason otherwise."""
    app: App = request.app.state.outreach
    now = app.context.clock.now()
    try:
        row = app.context.db.run(lambda tx: health.vitals(tx, now))
    except AWAY:
        return JSONResponse({"ready": False, "why": "the database does not answer"}, status_code=503)
    late = app.context.machine(_TICK_LATE_SECONDS)
    if row["last_tick_at"] is None or now - row["last_tick_at"] > late:
        return JSONResponse(
            {"ready": False, "why": "no tick for two minutes: is a scheduler running?"}, status_code=503
        )
    return JSONResponse({"ready": True, "mode": app.instance.mode})


def metrics(request: Request) -> Response:
    """Prometheus text, from the database: true whichever process is asked."""
    app: App = request.app.state.outreach
    now = app.context.clock.now()
    row = app.context.db.run(lambda tx: health.vitals(tx, now))
    oldest, tick = row["oldest_due_at"], row["last_tick_at"]
    numbers = {
        "outreach_leads_active": row["active"],
        "outreach_leads_due": row["due"],
        "outreach_oldest_due_seconds": (now - oldest).total_seconds() if oldest else 0,
        "outreach_last_tick_age_seconds": (now - tick).total_seconds() if tick else -1,
        "outreach_executions_calling": row["calling"],
        "outreach_executions_in_doubt": row["in_doubt"],
        "outreach_executions_held": row["held"],
        "outreach_tasks_open": row["tasks"],
        "outreach_inbound_undigested": row["undigested"],
        "outreach_accounts_stopped": row["accounts_stopped"],
        "outreach_optouts_draining": row["draining"],
        "outreach_alerts": row["alerts"],
    }
    return PlainTextResponse(
        "".join(f"# TYPE {name} gauge\n{name} {value}\n" for name, value in numbers.items())
    )
