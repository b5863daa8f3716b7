"""PURE: the touch budget of one human over all their channels, in the same arithmetic as the caps."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from outreach.compliance.facts import TouchPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class TouchRoom:
    """What is left of the budget at `now`."""

    #: touches that count at `now` within the policy's days
    used: int
    #: when the gap since the last one ends; None: it has ended
    gap_until: datetime | None
    #: when the oldest of a full budget leaves it; None: there is room
    budget_until: datetime | None


def touch_room(touches: Sequence[datetime], policy: TouchPolicy, now: datetime) -> TouchRoom:
    """The budget as it stands. A touch at t counts at `now` while t > now - window: it leaves exactly at t + window.

    `policy.limit` must be at least 1.
    """
    counted = sorted((at for at in touches if at > now - policy.days), reverse=True)
    gap_end = counted[0] + policy.gap if counted else now
    # When the limit-th youngest leaves, limit - 1 remain: room for one.
    budget_end = counted[policy.limit - 1] + policy.days if len(counted) >= policy.limit else now
    return TouchRoom(
        used=len(counted),
        gap_until=gap_end if gap_end > now else None,
        budget_until=budget_end if budget_end > now else None,
    )
