"""tell: does anybody hear us? A line by each URL that is set, and what it answered."""

import typer

from outreach.cli import output
from outreach.cli.output import AsJson
from outreach.cli.session import opened
from outreach.errors import UsageError


def tell(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Send a test line to NOTIFY_URL, ALERT_URL and HEARTBEAT_URL, now; exits 1 if one of them does not take it."""
    from outreach.runtime.notifying import try_out

    with opened(ctx) as app:
        found = try_out(app.context)
    if not found:
        raise UsageError(
            "nobody is told: neither NOTIFY_URL nor ALERT_URL nor HEARTBEAT_URL is set",
            hint="as in ALERT_URL=https://hooks.slack.com/services/…; docs/settings.md has the rest",
        )
    rows = [{"url": name, "answer": why or "taken"} for name, why in found.items()]
    output.listing(rows, ("url", "answer"), as_json)
    if any(found.values()):
        raise typer.Exit(1)


def add_to(cli: typer.Typer) -> None:
    """Register the command."""
    cli.command()(tell)
