"""Who does what after how long. A persona is a function of (seed, user id) alone, whatever the order of arrival.

All durations are scaled (business) time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any

from outreach.simulator import dice
from outreach.simulator.phrases import PHRASES

HOUR = timedelta(hours=1)


class Habit(StrEnum):
    """What somebody does when a message of ours reaches them."""

    SILENT = "silent"
    POSITIVE = "positive"
    NEUTRAL = "neutral"
    NEGATIVE = "negative"
    #: says a stop word and nothing else
    STOP = "stop"
    #: says something that merely contains one
    STOP_INSIDE = "stop_inside"
    OUT_OF_OFFICE = "out_of_office"
    #: blocks the account, without a word
    BLOCK = "block"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """How habits are spread over a population: shares in [0, 1], weights of any size, delays as (least, most)."""

    follow_back: float = 0.4
    #: of those whom we unfollow
    unfollow_back: float = 0.2
    protected: float = 0.04
    #: of those who are protected
    approves: float = 0.7
    dm_closed: float = 0.05
    #: says a word to our second message too
    answers_again: float = 0.3
    replies: Mapping[Habit, float] = field(
        default_factory=lambda: {
            Habit.POSITIVE: 0.17,
            Habit.NEUTRAL: 0.08,
            Habit.NEGATIVE: 0.08,
            Habit.STOP: 0.05,
            Habit.STOP_INSIDE: 0.03,
            Habit.OUT_OF_OFFICE: 0.06,
            Habit.BLOCK: 0.02,
            Habit.SILENT: 0.51,
        }
    )
    follow_after: tuple[timedelta, timedelta] = (HOUR / 2, 30 * HOUR)
    reply_after: tuple[timedelta, timedelta] = (HOUR / 12, 40 * HOUR)
    auto_reply_after: tuple[timedelta, timedelta] = (timedelta(seconds=5), timedelta(seconds=90))
    #: from an out-of-office reply to the real one
    returns_after: tuple[timedelta, timedelta] = (36 * HOUR, 140 * HOUR)

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> "Mixture":
        """From JSON: the fields above, delays as `[least, most]` seconds. Raises ValueError on anything else."""
        changes: dict[str, Any] = {}
        for key, value in raw.items():
            if key == "replies":
                changes[key] = {Habit(habit): float(weight) for habit, weight in value.items()}
            elif key.endswith("_after"):
                low, high = value
                changes[key] = (timedelta(seconds=low), timedelta(seconds=high))
            else:
                changes[key] = float(value)
        try:
            return replace(cls(), **changes)
        except TypeError as error:
            raise ValueError(f"mixture: {error}") from None

    def __post_init__(self) -> None:
        for name in ("follow_back", "unfollow_back", "protected", "approves", "dm_closed", "answers_again"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"mixture: {name} is not a share between 0 and 1")
        for name in ("follow_after", "reply_after", "auto_reply_after", "returns_after"):
            low, high = getattr(self, name)
            if not timedelta(0) < low <= high:
                raise ValueError(f"mixture: {name} must be [least, most] with 0 < least <= most")
        if not any(weight > 0 for weight in self.replies.values()):
            raise ValueError("mixture: replies needs a weight above zero")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """What one message of ours brings about, and how long after it arrives."""

    habit: Habit
    after: timedelta
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Persona:
    """One person's script. None: never."""

    receives_dm: bool = True
    protected: bool = False
    approve_after: timedelta | None = None
    follow_back_after: timedelta | None = None
    unfollow_back_after: timedelta | None = None
    #: to the first message of an account, to its second, ...; each may bring about several things
    reactions: tuple[tuple[Reaction, ...], ...] = ()

    def to_message(self, nth: int) -> tuple[Reaction, ...]:
        """What the nth message (from 0) of one account brings about."""
        return self.reactions[nth] if nth < len(self.reactions) else ()


def persona_of(
    seed: int, user_id: str, mixture: Mixture, fixed: str | Mapping[str, Any] | None = None
) -> Persona:
    """The script of one person; `fixed` names a habit or overrides parts of it. Raises ValueError if it is wrong."""
    hashed = _hashed(seed, user_id, mixture, Habit(fixed) if isinstance(fixed, str) else None)
    return _overridden(hashed, fixed) if isinstance(fixed, Mapping) else hashed


def _hashed(seed: int, user_id: str, mixture: Mixture, habit: Habit | None) -> Persona:
    def chance(share: float, trait: str) -> bool:
        return dice.unit(seed, user_id, trait) < share

    def delay(span: tuple[timedelta, timedelta], trait: str) -> timedelta:
        return dice.between(*span, seed, user_id, trait)

    protected = chance(mixture.protected, "protected")
    return Persona(
        # whoever is cast to answer must be reachable
        receives_dm=habit is not None or not chance(mixture.dm_closed, "dm"),
        protected=protected,
        approve_after=delay(mixture.follow_after, "approve")
        if protected and chance(mixture.approves, "ok")
        else None,
        follow_back_after=delay(mixture.follow_after, "follow")
        if chance(mixture.follow_back, "back")
        else None,
        unfollow_back_after=delay(mixture.follow_after, "un")
        if chance(mixture.unfollow_back, "unback")
        else None,
        reactions=_reactions(
            seed, user_id, mixture, habit or dice.weighted(mixture.replies, seed, user_id, "habit")
        ),
    )


def _reactions(seed: int, user_id: str, mixture: Mixture, habit: Habit) -> tuple[tuple[Reaction, ...], ...]:
    def reaction(kind: Habit, nth: int) -> Reaction:
        span = mixture.auto_reply_after if kind is Habit.OUT_OF_OFFICE else mixture.reply_after
        after = dice.between(*span, seed, user_id, "reply", nth)
        return Reaction(habit=kind, after=after, text=phrase(kind, seed, user_id, nth))

    if habit is Habit.SILENT:
        return ()
    first = [reaction(habit, 0)]
    if habit is Habit.OUT_OF_OFFICE:
        back = dice.between(*mixture.returns_after, seed, user_id, "returns")
        kind = dice.pick((Habit.POSITIVE, Habit.NEUTRAL, Habit.NEGATIVE), seed, user_id, "then")
        first.append(replace(reaction(kind, 1), after=back))
    if habit is Habit.STOP:
        # whoever is written to again after a stop says it again
        return tuple(first), (reaction(Habit.STOP, 1),)
    if habit is Habit.POSITIVE and dice.unit(seed, user_id, "again") < mixture.answers_again:
        return tuple(first), (reaction(Habit.POSITIVE, 1),)
    return (tuple(first),)


def phrase(habit: Habit, *parts: object) -> str:
    """A text of that class made of the parts; empty for habits without words."""
    choices = PHRASES.get(habit.value)
    return dice.pick(choices, *parts, "phrase") if choices else ""


_DURATIONS = ("approve_after", "follow_back_after", "unfollow_back_after")


def _overridden(persona: Persona, raw: Mapping[str, Any]) -> Persona:
    changes: dict[str, Any] = {}
    for key, value in raw.items():
        if key in _DURATIONS:
            changes[key] = None if value is None else timedelta(seconds=value)
        elif key == "reactions":
            changes[key] = tuple(tuple(_read_reaction(one) for one in step) for step in value)
        elif key in ("receives_dm", "protected"):
            changes[key] = bool(value)
        else:
            raise ValueError(f"persona: unknown key {key!r}")
    return replace(persona, **changes)


def _read_reaction(raw: Mapping[str, Any]) -> Reaction:
    unknown = set(raw) - {"habit", "after", "text"}
    if unknown or "habit" not in raw:
        raise ValueError(f"reaction: wants habit, after (seconds) and text, got {sorted(raw)}")
    habit = Habit(raw["habit"])
    text = raw.get("text") or phrase(habit, raw.get("after"))
    return Reaction(habit=habit, after=timedelta(seconds=raw.get("after", 60)), text=text)
