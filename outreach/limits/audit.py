"""A cap held against what really happened, pure: the largest count any window ever saw, and what was one too many."""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from outreach.limits.caps import Cap


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One effect, or what may be one. `known_at`: since when whoever claims the next one could count it."""

    started_at: datetime
    effect_by: datetime
    known_at: datetime
    #: claimed by the engine; else made by hand, which no cap can refuse
    ours: bool
    #: IANA name: in which a local date is meant where this one is claimed
    zone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The largest count of a window, when it was reached, and how many of our own claims went over the cap."""

    largest: int
    at: datetime
    #: our claims that found the window full: each one is a breach
    over: int
    #: effects that were over it only through sends by hand (themselves, or such as were told of later)
    over_by_hand: int


#: An effect with its place among all, by start: of what starts at one instant, one stands after another.
_Ranked = tuple[int, Effect]


def peak(effects: Iterable[Effect], cap: Cap, since: datetime) -> Peak | None:
    """The fullest window that ends at one of these effects, from `since` on; None where there is none.

    As T1 counts: an effect that starts at t stands beside all that started by then and still count at t.
    """
    ranked = list(enumerate(sorted(effects, key=lambda e: e.started_at)))
    found: Peak | None = None
    for zone in sorted({e.zone for _, e in ranked}):
        judged = [(rank, e) for rank, e in ranked if e.started_at >= since and e.zone == zone]
        if judged:
            found = _fuller(found, _peak(ranked, judged, cap, zone))
    return found


def _peak(ranked: Sequence[_Ranked], judged: Sequence[_Ranked], cap: Cap, zone: str) -> Peak:
    happened = _counts(judged, [(e.started_at, rank, e.effect_by) for rank, e in ranked], cap, zone)
    known = _counts(judged, [_known(rank, e) for rank, e in ranked], cap, zone)
    largest = max(happened)
    over = sum(e.ours and count > cap.limit for (_, e), count in zip(judged, known, strict=True))
    return Peak(
        largest=largest,
        at=judged[happened.index(largest)][1].started_at,
        over=over,
        over_by_hand=sum(count > cap.limit for count in happened) - over,
    )


def _known(rank: int, effect: Effect) -> tuple[datetime, int, datetime]:
    since = max(effect.started_at, effect.known_at)
    return since, rank if effect.ours else -1, effect.effect_by


def _counts(
    judged: Sequence[_Ranked], entries: Iterable[tuple[datetime, int, datetime]], cap: Cap, zone: str
) -> list[int]:
    """For each, in order: how many have entered by its start and still count. An entry: when, its rank, effect_by."""
    waiting = sorted(entries)
    inside: list[datetime] = []
    counts: list[int] = []
    entered = 0
    for rank, effect in judged:
        now = effect.started_at
        while entered < len(waiting) and waiting[entered][:2] <= (now, rank):
            heapq.heappush(inside, waiting[entered][2])
            entered += 1
        while inside and not cap.counts(inside[0], now, zone):
            heapq.heappop(inside)
        counts.append(len(inside))
    return counts


def _fuller(one: Peak | None, other: Peak) -> Peak:
    if one is None:
        return other
    first = one if one.largest >= other.largest else other
    return Peak(
        largest=first.largest,
        at=first.at,
        over=one.over + other.over,
        over_by_hand=one.over_by_hand + other.over_by_hand,
    )
