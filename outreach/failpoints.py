"""Named points at which a test may kill the process. Inert unless the environment named one at start."""

import os
import signal
from collections.abc import Callable, Collection, Mapping
from itertools import count

from outreach.errors import ConfigurationError

#: Every point there is, and what is true at that instant, in the order in which a send passes them.
POINTS: Mapping[str, str] = {
    "hints.before": "what the transaction decided is committed, nobody is told",
    "hints.after": "the hint is enqueued, the message that led to it is not acknowledged",
    "perform.before": "the message has arrived, nothing is read",
    "claim.before": "rendered and granted by the limiter, T1 has not begun",
    "claim.in": "T1 has written everything, it is not committed",
    "call.before": "T1 is committed, there is no connection",
    "call.before_first_byte": "the connection stands, no byte is written",
    "http.half_written": "the head of the request is written, its body is not",
    "http.written": "the whole request is written, nothing of an answer is read",
    "call.after": "the provider has answered, T2 has not begun",
    "settle.in": "T2 has written everything, it is not committed",
    "settle.after": "T2 is committed, nothing else knows of it",
    "message.acked": "the message is acknowledged",
    "readback.after": "the provider was asked about a doubt and has answered, nothing is written",
    "readback.in": "the answer to a doubt is written, it is not committed",
}

#: Those at which one knows which leads are in hand.
OF_LEADS = frozenset({"perform.before", "claim.before"})
_armed: Callable[[str], None] | None = None
_deadly: Callable[[str, Collection[int | None]], None] | None = None


def arm(text: str) -> None:
    """The process dies, as by kill -9, at the named point: `call.after`, or at its third passage: `call.after:3`.

    `claim.before@7`: there, whenever it has lead 7 in hand. Raises ConfigurationError where there is no such point.
    """
    global _armed, _deadly
    name, at_sign, lead = text.partition("@")
    if at_sign:
        _deadly = _killer_of(name, _lead_of(text, name, lead))
        return
    name, passage = _read(text)
    passages = count(1)

    def die(at: str) -> None:
        if at == name and next(passages) == passage:
            os.kill(os.getpid(), signal.SIGKILL)

    _armed = die


def failpoint(name: str) -> None:
    """A boundary that `POINTS` names. One comparison, unless a point is armed."""
    if _armed is not None:
        _armed(name)


def in_hand(name: str, *leads: int | None) -> None:
    """At this point these leads are in hand. One comparison, unless one of them is to kill whoever has it."""
    if _deadly is not None:
        _deadly(name, leads)


def _killer_of(name: str, lead_id: int) -> Callable[[str, Collection[int | None]], None]:
    def die(at: str, leads: Collection[int | None]) -> None:
        if at == name and lead_id in leads:
            os.kill(os.getpid(), signal.SIGKILL)

    return die


def _lead_of(text: str, name: str, lead: str) -> int:
    if name not in OF_LEADS or not lead.isdecimal():
        raise ConfigurationError(
            f"OUTREACH_FAILPOINT={text!r} names no lead at a point that knows one",
            hint=f"write {' or '.join(f'{point}@7' for point in sorted(OF_LEADS))} for lead 7",
        )
    return int(lead)


def _read(text: str) -> tuple[str, int]:
    name, colon, passage = text.partition(":")
    if name not in POINTS:
        raise ConfigurationError(
            f"OUTREACH_FAILPOINT={text!r}: there is no point {name!r}", hint=f"there is: {', '.join(POINTS)}"
        )
    if colon and not (passage.isdecimal() and int(passage) > 0):
        raise ConfigurationError(
            f"OUTREACH_FAILPOINT={text!r}: {passage!r} is not the number of a passage",
            hint=f"write {name}, or {name}:3 for its third passage",
        )
    return name, int(passage or 1)
