"""digest_echo: our own message, seen from the provider's side. Mostly its send is settled and says so itself."""

from collections.abc import Sequence
from functools import partial

from outreach.models import inbound
from outreach.models.base import Tx
from outreach.runtime.context import Context
from outreach.runtime.digest import digest
from outreach.runtime.hints import Hints


def digest_echo(ctx: Context, inbound_id: int) -> Hints:
    """The echo of a settled send changes nothing, and many are ticked off at once; every other row is digested like all."""
    known = ctx.together.do("digest_echo", inbound_id, partial(_tick_off, ctx))
    return [] if known else digest(ctx, inbound_id)


def _tick_off(ctx: Context, inbound_ids: Sequence[int]) -> list[bool]:
    def work(tx: Tx) -> list[bool]:
        inbound.lock_peers(tx, inbound_ids)
        known = inbound.tick_off_echoes(tx, inbound_ids, ctx.clock.at(tx.database_now()))
        return [inbound_id in known for inbound_id in inbound_ids]

    return ctx.db.run(work)
