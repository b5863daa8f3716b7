"""seal: put what has become final in the log under a seal, a batch in each transaction. Off every hot path."""

import logging
from dataclasses import dataclass
from datetime import datetime

from outreach.errors import ConfigurationError
from outreach.models import journal, sealing
from outreach.models.base import Tx
from outreach.models.sealing import Generation, Seal
from outreach.runtime import hints
from outreach.runtime.chain import forge
from outreach.runtime.context import Context
from outreach.runtime.hints import Hints

log = logging.getLogger("outreach")

#: Events under one seal, at most; a larger transaction is sealed whole.
BATCH = 50_000
#: Real seconds between two seals, unless there is a whole batch.
EVERY = 60.0


def seal_due(ctx: Context, going_on: bool = False) -> Hints:
    """For the tick: one batch, once a minute; and a hint to go on at once while there is more. A second sealer finds nothing to do."""

    def work(tx: Tx) -> _Made | None:
        if not sealing.try_lock(tx):
            return None
        last, now = sealing.newest_seal(tx), ctx.clock.at(tx.database_now())
        due = going_on or last is None or now - last.at >= ctx.machine(EVERY)
        return _seal(tx, last, now) if due else None

    try:
        made = ctx.db.run(work)
    except ConfigurationError as error:
        log.warning(error.message, extra={"action": "not_sealed"})
        return []
    return [hints.seal(going_on=True)] if made is not None and made.more else []


def seal_next(ctx: Context) -> Seal | None:
    """Now, however little it is. None: everything that is final is sealed. Raises ConfigurationError in a dump that is not adopted."""

    def work(tx: Tx) -> _Made | None:
        sealing.lock(tx)
        return _seal(tx, sealing.newest_seal(tx), ctx.clock.at(tx.database_now()))

    made = ctx.db.run(work)
    return made.seal if made else None


def for_the_journal(last: Seal | None, made: Seal) -> dict[str, int | str] | None:
    """What of a seal goes to the off-box journal, as the line of kind `seal`: its head, at most one an hour. None: not this one.

    One head proves everything before it; a line a minute would drown what the journal is for.
    """
    if last is not None and last.at.replace(minute=0, second=0, microsecond=0) == made.at.replace(
        minute=0, second=0, microsecond=0
    ):
        return None
    return {"seal": made.id, "head": made.head.hex()}


@dataclass(frozen=True, slots=True)
class _Made:
    seal: Seal
    #: there is more that is final
    more: bool


def _seal(tx: Tx, last: Seal | None, now: datetime) -> _Made | None:
    span = _next_span(tx, last)
    if span is None:
        return None
    generation, from_tx, to_tx, more = span
    leaves = sealing.leaves(tx, generation, from_tx=from_tx, to_tx=to_tx)
    made = forge(last, generation, from_tx=from_tx, to_tx=to_tx, leaves=leaves, at=now)
    sealing.insert_seal(tx, made, leaves)
    if line := for_the_journal(last, made):
        journal.put(tx, "seal", line, now)
    return _Made(made, more)


def _next_span(tx: Tx, last: Seal | None) -> tuple[Generation, int, int, bool] | None:
    """The generation, the range of tx of its next seal, and whether there is more. None: nothing that is final is left."""
    generations, open_ = sealing.generations(tx), sealing.oldest_open(tx)
    number, reached = (last.generation, last.to_tx) if last else (1, 0)
    for generation in generations[number - 1 :]:
        newest = generation is generations[-1]
        from_tx = reached if generation.id == number else 0
        if newest and from_tx > open_:
            raise ConfigurationError(
                f"the log is sealed up to transaction {from_tx}, and this cluster has only come to {open_}: it was restored from a dump",
                hint="run: outreach db adopt",
            )
        if not (newest or generation.closed):
            return None
        span = _span(tx, generation, from_tx, open_ if newest else None)
        if span is not None:
            return generation, from_tx, *span
    return None


def _span(tx: Tx, generation: Generation, from_tx: int, open_: int | None) -> tuple[int, bool] | None:
    """Where the batch ends, and whether there is more. `open_`: the oldest open tx, where somebody still writes."""
    ahead = sealing.ahead(tx, generation, from_tx=from_tx, to_tx=open_, limit=BATCH)
    if ahead is None:
        return None
    if ahead.beyond is None:
        return (open_ if open_ is not None else ahead.last + 1), False
    # Transactions are sealed whole: up to the one that is cut by the limit, or, where it is the first, with it.
    return (ahead.beyond if ahead.beyond > ahead.first else ahead.beyond + 1), True
