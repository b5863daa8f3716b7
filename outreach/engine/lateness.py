"""How late a step may be: `max_lateness` and `if_late` of a sequence and of its actions, and whether a window suits them."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from outreach.engine.fields import Fields
from outreach.engine.graph import Lateness, Window
from outreach.engine.kinds import CHANNEL_OF, ActionKind, IfLate
from outreach.engine.notation import format_duration
from outreach.engine.problems import Report
from outreach.engine.specs import ActionSpec, LatenessSpec

LATENESS_KEYS = ("max_lateness", "if_late")
#: An action may be free of its sequence's limit.
NO_LIMIT = "none"


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the sequence says for actions that say nothing."""

    limit: LatenessSpec | None
    then: IfLate


def read_defaults(sequence: Fields) -> Defaults:
    """The sequence's own two keys."""
    then = _read_then(sequence, IfLate.SKIP)
    return Defaults(_read_limit(sequence, then), then)


def read_lateness(action: Fields, kind: ActionKind | None, defaults: Defaults) -> LatenessSpec | None:
    """The action's limit: its own, else the sequence's. Only what reaches a provider can be late."""
    if kind is not None and kind not in CHANNEL_OF:
        _refuse_keys(action, kind)
        return None
    then = _read_then(action, defaults.then)
    if "max_lateness" in action:
        found = _read_limit(action, then)
    elif defaults.limit is not None:
        limit = defaults.limit
        found = LatenessSpec(
            mark=limit.mark, path=limit.path, value=Lateness(after=limit.value.after, then=then)
        )
    else:
        found = None
    if found is None and "if_late" in action and not _unreadable(action):
        hint = "Say how late it may be, as in max_lateness: 2d."
        message = f"max_lateness is missing in {action.path}: without it nothing is ever too late."
        action.report.add("S102", action.mark_of("if_late"), action.at("max_lateness"), message, hint)
    return found


def _refuse_keys(action: Fields, kind: ActionKind) -> None:
    for key in LATENESS_KEYS:
        if key in action:
            message = f"{kind} does not take `{key}`: it sends nothing that could come too late."
            action.report.add("S111", action.mark_of(key), action.at(key), message)


def _read_then(fields: Fields, default: IfLate) -> IfLate:
    words = [word.value for word in IfLate]
    return IfLate(fields.choice("if_late", words, default.value))


def _unreadable(fields: Fields) -> bool:
    """Was there a limit that could not be read? Then its own problem says enough."""
    return "max_lateness" in fields and fields.plain("max_lateness") != NO_LIMIT


def _read_limit(fields: Fields, then: IfLate) -> LatenessSpec | None:
    if "max_lateness" not in fields or fields.plain("max_lateness") == NO_LIMIT:
        return None
    after = fields.duration("max_lateness")
    mark, path = fields.mark_of("max_lateness"), fields.at("max_lateness")
    if after == timedelta(0):
        hint = f"Write a duration such as 2d; {NO_LIMIT} sets no limit."
        fields.report.add("S107", mark, path, "With no lateness at all nothing would ever be sent.", hint)
    return LatenessSpec(mark=mark, path=path, value=Lateness(after=after, then=then)) if after else None


# --- does the window suit it? ----------------------------------------------------------------------------------


def check_lateness(actions: list[ActionSpec], window: Window | None, report: Report) -> None:
    """Warn where a step that falls due just after closing time would be too late when the window opens again."""
    closed = timedelta(0) if window is None else longest_closure(window)
    for lateness in dict.fromkeys(spec.lateness for spec in actions):
        if lateness is not None and lateness.value.after <= closed:
            message = (
                f"The window stays closed for {format_duration(closed)}, longer than"
                f" {format_duration(lateness.value.after)}: what falls due in between is too late when it opens."
            )
            report.add("S114", lateness.mark, lateness.path, message, "Allow more than that.")


def longest_closure(window: Window) -> timedelta:
    """The longest time that the window stays closed, on weeks without a change of the clocks."""
    day = timedelta(days=1)
    monday = datetime(2026, 1, 5)  # noqa: DTZ001  any Monday: weekdays and times of day without a zone
    length = _length(window)
    openings = sorted(monday + day * weekday + _since_midnight(window) for weekday in window.days)
    if not openings:
        return timedelta(0)  # it never opens, and the gate says so
    following = [*openings[1:], openings[0] + 7 * day]
    return max(timedelta(0), *(later - (at + length) for at, later in zip(openings, following, strict=True)))


def _since_midnight(window: Window) -> timedelta:
    return timedelta(hours=window.start.hour, minutes=window.start.minute)


def _length(window: Window) -> timedelta:
    end = timedelta(hours=window.end.hour, minutes=window.end.minute)
    length = end - _since_midnight(window)
    return length if length > timedelta(0) else length + timedelta(days=1)
