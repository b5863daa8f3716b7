"""Fault plans: rules that say which calls go wrong, and how. Deterministic: counters and hashes, no chance.

A rule: {"match": {"route": "dm.send", "account": "1", "skip": 2, "every": 3, "probability": 0.1, "times": 5},
         "do": "hang", "accepted": true, "seconds": 5}. docs/simulator.md lists what `do` may be.
The first rule that strikes wins. Route names are those of the routes tables; webhooks are `webhook:dm.received`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from math import ceil
from typing import Any

from outreach.simulator import dice
from outreach.simulator.problems import BY_NAME, INTERNAL, TOO_MANY, UNAVAILABLE, Dialect
from outreach.simulator.wire import Manner, Response


class Do(StrEnum):
    """What goes wrong. The second group is for webhooks."""

    #: 429; the bucket is full for `seconds`
    RATE_LIMIT = "rate_limit"
    #: one of the known refusals, named by `problem`
    REFUSE = "refuse"
    #: 500, or 503 by `status`
    ERROR = "error"
    #: silence for `seconds`
    HANG = "hang"
    #: the connection is reset
    RESET = "reset"
    #: a response cut in half
    TRUNCATE = "truncate"
    #: the right status over a body that is no JSON
    GARBLE = "garble"
    #: a slow body, over `seconds`
    DRIP = "drip"
    #: a right answer, but `seconds` late: what it caused (own echo, replies) may arrive before it
    DELAY = "delay"
    #: silence, and the effect comes about `seconds` later
    LATE = "late"
    #: a read that does not see the last `seconds`
    LAG = "lag"

    LOSE = "lose"
    #: delivered `copies` times, spread over `seconds`
    DUPLICATE = "duplicate"
    #: delivered `seconds` late
    POSTPONE = "postpone"
    #: delivered up to `seconds` late, each by another delay
    SHUFFLE = "shuffle"
    #: delivered with a wrong signature, and once more with the right one if `accepted`
    MISSIGN = "missign"


WEBHOOK_FAULTS = frozenset((Do.LOSE, Do.DUPLICATE, Do.POSTPONE, Do.SHUFFLE, Do.MISSIGN))
#: faults that may come before or after the call was carried out: `accepted` says which
EITHER_WAY = frozenset((Do.ERROR, Do.HANG, Do.RESET))
#: faults that only disturb what leaves: the call is always carried out
ALWAYS_ACCEPTED = frozenset((Do.TRUNCATE, Do.GARBLE, Do.DRIP, Do.DELAY, Do.LAG))


#: what a rule's route may name
CALLS = (
    "users.me", "users.by_handle", "users.by_handles", "users.by_id", "users.by_ids", "follow", "unfollow", "followers", "following",
    "dm.send", "dm.list", "dm.with", "dm.conversation", "token", "token.revoke", "authorize.page", "authorize.answer",
    "webhooks.add", "webhooks.validate", "webhooks.list", "webhooks.delete", "webhooks.replay", "subscriptions.add", "subscriptions.list", "subscriptions.delete",
)  # fmt: skip
PUSHES = (
    "webhook:dm.received", "webhook:dm.sent", "webhook:follow.follow", "webhook:follow.unfollow", "webhook:block.block",
    "webhook:oauth.revoke",
)  # fmt: skip


class FaultProblem(ValueError):
    """This is no fault plan; the message says where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which calls a rule is about."""

    #: a route's name or a pattern with *
    route: str = "*"
    #: the account's id; empty: any
    account: str = ""
    #: the first so many are left alone
    skip: int = 0
    #: then every so many-th is struck
    every: int = 1
    #: of those, this share
    probability: float = 1.0
    #: not more often than this; None: without end
    times: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What a struck call suffers. `seconds` are real seconds."""

    do: Do
    #: was the call carried out before it went wrong?
    accepted: bool = False
    seconds: float = 0.0
    status: int = 500
    problem: str = "unauthorized"
    copies: int = 2


@dataclass(slots=True, kw_only=True)
class Rule:
    """One rule and how far it is."""

    match: Match
    fault: Fault
    seen: int = 0
    struck: int = 0

    def is_about(self, route: str) -> bool:
        """Is it one of the rule's routes, and can it suffer so? A push cannot hang, a call cannot be told twice."""
        fits = (self.fault.do in WEBHOOK_FAULTS) == route.startswith("webhook:")
        return fits and fnmatchcase(route, self.match.route)

    def strikes(self, route: str, account: str, dice_of: tuple[object, ...]) -> bool:
        """Does it strike this call? Counts the call if it is one of those that the rule is about."""
        match = self.match
        if not self.is_about(route) or (match.account and match.account != account):
            return False
        self.seen += 1
        nth = self.seen - match.skip - 1
        if nth < 0 or nth % match.every or (match.times is not None and self.struck >= match.times):
            return False
        if match.probability < 1 and dice.unit(*dice_of, self.seen) >= match.probability:
            return False
        self.struck += 1
        return True


@dataclass(slots=True)
class FaultPlan:
    """The rules of a run."""

    seed: int = 0
    rules: list[Rule] = field(default_factory=list)

    def strike(self, route: str, account: str) -> Fault | None:
        """What this call suffers, or None. Every rule counts every call until one strikes."""
        for index, rule in enumerate(self.rules):
            if rule.strikes(route, account, (self.seed, index, route)):
                return rule.fault
        return None

    def report(self) -> list[dict[str, Any]]:
        """How often each rule saw a call and struck."""
        return [
            {"route": rule.match.route, "do": rule.fault.do.value, "seen": rule.seen, "struck": rule.struck}
            for rule in self.rules
        ]


def read_plan(raw: object) -> list[Rule]:
    """The rules of a plan: {"rules": [...]}, or the list alone. Raises FaultProblem."""
    if isinstance(raw, Mapping):
        if set(raw) != {"rules"}:
            raise FaultProblem(
                f'a plan is {{"rules": [...]}}; this one has {", ".join(sorted(raw)) or "nothing"}'
            )
        raw = raw["rules"]
    return read_rules(raw)


def read_rules(raw: object) -> list[Rule]:
    """Rules from JSON. Raises FaultProblem with the number (from 0) of the rule that is wrong."""
    if not isinstance(raw, Sequence) or isinstance(raw, str):
        raise FaultProblem("rules: not a list")
    return [_rule(one, f"rule {number}") for number, one in enumerate(raw)]


_NUMBER = (int, float)
#: what a value may be, by key, and how that is said
_WANTED: Mapping[str, tuple[tuple[type, ...], str]] = {
    "route": ((str,), "a string"), "account": ((str,), "a string"), "skip": ((int,), "a whole number"),
    "every": ((int,), "a whole number"), "probability": (_NUMBER, "a number"), "times": ((int, type(None)), "a whole number or null"),
    "do": ((str,), "a string"), "accepted": ((bool,), "true or false"), "seconds": (_NUMBER, "a number"),
    "status": ((int,), "a whole number"), "problem": ((str,), "a string"), "copies": ((int,), "a whole number"),
}  # fmt: skip


def _rule(raw: object, where: str) -> Rule:
    parts = dict(_object(raw, where))
    match = _object(parts.pop("match", {}), f"{where}: match")
    _check_keys(match, Match, f"{where}: match")
    _check_keys(parts, Fault, where)
    if parts.get("do") not in set(Do):
        raise FaultProblem(f"{where}: do is one of {', '.join(Do)}, not {parts.get('do')!r}")
    rule = Rule(match=Match(**match), fault=Fault(**{**parts, "do": Do(parts["do"])}))
    if problem := _problem(rule):
        raise FaultProblem(f"{where}: {problem}")
    return rule


def _object(raw: object, where: str) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise FaultProblem(f"{where}: not an object")
    return raw


def _check_keys(raw: Mapping[str, Any], cls: type[Match] | type[Fault], where: str) -> None:
    known = [f.name for f in fields(cls)]
    for key, value in raw.items():
        if key not in known:
            raise FaultProblem(f"{where}: unknown key {key!r}; known are {', '.join(known)}")
        kinds, said = _WANTED[key]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise FaultProblem(f"{where}: {key} is {said}, not {value!r}")


def _problem(rule: Rule) -> str | None:
    """What is wrong with values of the right kind."""
    match, fault = rule.match, rule.fault
    if match.every < 1 or fault.copies < 1:
        return "every and copies are at least 1"
    if match.skip < 0 or fault.seconds < 0 or (match.times or 0) < 0:
        return "skip, times and seconds are not below 0"
    if not 0 <= match.probability <= 1:
        return f"probability lies between 0 and 1, not at {match.probability}"
    if fault.problem not in BY_NAME:
        return f"problem is one of {', '.join(BY_NAME)}, not {fault.problem!r}"
    if fault.status not in (500, 503):
        return f"status is 500 or 503, not {fault.status}"
    possible = PUSHES if fault.do in WEBHOOK_FAULTS else CALLS
    if not any(rule.is_about(route) for route in possible):
        return f"{fault.do.value} cannot strike {match.route!r}; it can strike {', '.join(possible)}"
    return None


def suffer(
    fault: Fault,
    *,
    now: datetime,
    dialect: Dialect,
    run: Callable[[timedelta], Response],
    later: Callable[[timedelta], None],
) -> Response:
    """The response of a struck call. `run(lag)` carries it out; `later(delay)` has it carried out afterwards."""
    pause = timedelta(seconds=fault.seconds)
    if fault.do is Do.LATE:
        later(pause)
        return Response(status=503, manner=Manner.HANG, seconds=fault.seconds)
    carried_out = fault.do in ALWAYS_ACCEPTED or (fault.accepted and fault.do in EITHER_WAY)
    response = run(pause if fault.do is Do.LAG else timedelta(0)) if carried_out else None
    return _mangled(fault, response, now=now, dialect=dialect)


def _mangled(fault: Fault, response: Response | None, *, now: datetime, dialect: Dialect) -> Response:
    """What leaves instead of the response (None: the call was not carried out)."""
    match fault.do:
        case Do.RATE_LIMIT:
            reset = str(ceil(now.timestamp() + fault.seconds))
            return TOO_MANY.render(dialect).with_headers(
                {"x-rate-limit-remaining": "0", "x-rate-limit-reset": reset}
            )
        case Do.REFUSE:
            return BY_NAME[fault.problem].render(dialect)
        case Do.ERROR:
            return (UNAVAILABLE if fault.status == 503 else INTERNAL).render(dialect)
        case Do.HANG | Do.RESET:
            return Response(status=503, manner=Manner(fault.do.value), seconds=fault.seconds)
    assert response is not None
    match fault.do:
        case Do.TRUNCATE:
            return replace(response, manner=Manner.TRUNCATED)
        case Do.DRIP:
            return replace(response, manner=Manner.DRIP, seconds=fault.seconds)
        case Do.DELAY:
            return replace(response, seconds=fault.seconds)
        case Do.GARBLE:
            return replace(
                response, body=b"<html><body>upstream connect error", headers={"content-type": "text/html"}
            )
        case _:
            return response


@dataclass(frozen=True, slots=True)
class Posting:
    """One planned delivery of one event: how long after it happened, and whether its signature is right."""

    after: timedelta
    signed: bool = True


def postings(fault: Fault | None, event_id: str) -> Iterable[Posting]:
    """The deliveries of one event under a fault (none: one, at once)."""
    if fault is None or fault.do not in WEBHOOK_FAULTS:
        return (Posting(timedelta(0)),)
    spread = timedelta(seconds=fault.seconds)
    match fault.do:
        case Do.LOSE:
            return ()
        case Do.DUPLICATE:
            return [Posting(spread * copy / max(1, fault.copies - 1)) for copy in range(fault.copies)]
        case Do.SHUFFLE:
            return (Posting(spread * dice.unit(event_id)),)
        case Do.MISSIGN:
            wrong = Posting(timedelta(0), signed=False)
            return (wrong, Posting(spread)) if fault.accepted else (wrong,)
        case _:
            return (Posting(spread),)
