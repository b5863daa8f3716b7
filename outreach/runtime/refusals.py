"""count_refused: pushes whose signature was not ours. How many, of which app, and when last; nothing of what they said."""

from collections.abc import Mapping

from outreach.models import accounts, alerts
from outreach.models.base import Tx
from outreach.runtime.context import Context


def count_refused(ctx: Context, counts: Mapping[str, int]) -> None:
    """Add to the apps' counts, by name; an app that is gone meanwhile is left out."""

    def work(tx: Tx) -> None:
        known = {name: accounts.app_named(tx, name) for name in counts}
        by_id = {row["id"]: counts[name] for name, row in known.items() if row is not None}
        alerts.count_refused(tx, by_id, ctx.clock.at(tx.database_now()))

    if counts:
        ctx.db.run(work)
