"""Numbers that look random and are not: hashes of the parts they are made of. No state, no order, no surprise."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TypeVar

T = TypeVar("T")


def _draw(parts: tuple[object, ...]) -> int:
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def unit(*parts: object) -> float:
    """A number in [0, 1) made of the parts."""
    return _draw(parts) / 2**64


def signed_64(*parts: object) -> int:
    """A signed 64-bit number made of the parts: half of them are negative, as event ids of X are."""
    return _draw(parts) - 2**63


def pick(choices: Sequence[T], *parts: object) -> T:
    """One of the choices, each as likely."""
    return choices[_draw(parts) % len(choices)]


def weighted(weights: Mapping[T, float], *parts: object) -> T:
    """One of the keys, as likely as its share of the weights. At least one weight must be above zero."""
    mark = unit(*parts) * sum(weights.values())
    chosen = next(iter(weights))
    for key, weight in weights.items():
        if weight <= 0:
            continue
        chosen = key
        mark -= weight
        if mark < 0:
            break
    return chosen


def between(low: timedelta, high: timedelta, *parts: object) -> timedelta:
    """A duration between the two, as likely in each order of magnitude: many soon, some late. `low` > 0."""
    ratio: float = (high / low) ** unit(*parts)
    return low * ratio
