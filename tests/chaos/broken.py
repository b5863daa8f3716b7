"""Variants of the send protocol that break a promise on purpose, so that the judge is seen to bite. Never part of the product.

`python -m tests.chaos.broken VARIANT worker ...` is the command line with that variant's mistake built in.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from outreach.cli import run
from outreach.compliance import register
from outreach.limits.fences import Fences
from outreach.models import claims, executions, permissions
from outreach.models.base import Tx
from outreach.runtime import claim, reading, settle, step, tick
from outreach.runtime.claim import Claimed
from outreach.runtime.context import Context
from outreach.runtime.settle import Settled

_replace = setattr


def naive() -> None:
    """Looks, then calls, then writes: nothing says meanwhile that a call is under way."""
    pending: dict[int, dict[str, Any]] = {}
    settle_all = settle.settle_all

    def remember(self: Any) -> None:
        pending.update({call["id"]: call for _, _, call in self._begun})

    def write_at_last(ctx: Context, asked: Sequence[tuple[Claimed, Any]]) -> list[Settled]:
        calls = [pending.pop(c.execution_id) for c, _ in asked if c.execution_id in pending]
        ctx.db.run(lambda tx: executions.begin_calls(tx, calls))
        return settle_all(ctx, asked)

    _replace(claim._Claiming, "write", remember)
    # a claim that is told of and stands nowhere is the mark of a restored database: nobody is told
    _replace(Fences, "note", lambda _fences, _claim: None)
    _replace(step, "settle_all", write_at_last)


def jobqueue() -> None:
    """What has had no answer is planned again: at least once."""

    def plan_again(tx: Tx, execution_id: int) -> None:
        tx.execute(
            "UPDATE execution SET state = 'planned', effect_by = NULL, started_at = NULL, call_deadline = NULL, fence = NULL WHERE id = %s",
            (execution_id,),
        )

    _replace(executions, "doubt", plan_again)


def no_drain() -> None:
    """An opt-out is said to be effective as soon as it is written."""

    def at_once(tx: Tx, person_id: int, *, now: datetime, settle: timedelta) -> bool:
        del settle
        tx.execute(
            "UPDATE person SET suppression_effective_at = %s WHERE id = %s AND suppression_effective_at IS NULL",
            (now, person_id),
        )
        return permissions.person_state(tx, person_id)["suppression_effective_at"] is not None

    _replace(register, "effective_now", at_once)


def no_ledger_caps() -> None:
    """Caps are whatever Redis says, and a Redis that has forgotten says nothing."""

    def forgotten(*_: Any) -> tuple[list[Any], None]:
        return [], None

    _replace(reading, "windows_of", lambda *_: [])
    _replace(claims, "ledger_of", forgotten)
    # the sweep would hint no more leads than the ledger has room for
    _replace(tick, "capacity", lambda _used, most: most)


VARIANTS: Mapping[str, Callable[[], None]] = {
    "naive": naive,
    "jobqueue": jobqueue,
    "no_drain": no_drain,
    "no_ledger_caps": no_ledger_caps,
}


def main(words: Sequence[str]) -> int:
    """Build the mistake in, then run the command line."""
    VARIANTS[words[0]]()
    return run(words[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
