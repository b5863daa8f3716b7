"""PURE: when it may happen. Window, touch budget, the provider's hold, pace, caps: each says until when it stands against."""

from datetime import datetime, timedelta
from typing import Any

from outreach.compliance.facts import CapUse, Facts, TouchPolicy
from outreach.compliance.touches import TouchRoom, touch_room
from outreach.compliance.verdicts import Lines, iso, passed, refused
from outreach.compliance.windows import next_opening, zone_of

#: Whoever ends a pause or frees a cap wakes its leads; this is only how long a lead sleeps if nobody does.
LOOK_AGAIN = timedelta(hours=1)


def window(facts: Facts) -> Lines:
    """Is it a decent hour where they live?"""
    hours = facts.sequence.window
    if hours is None:
        yield passed("window")
        return
    zone = zone_of(hours, facts.person.zone, facts.account.zone)
    if zone is None:
        unknown = {"person_zone": facts.person.zone, "account_zone": facts.account.zone}
        yield refused("window.zone_unknown", until=facts.now + LOOK_AGAIN, **unknown)
        return
    opens = next_opening(hours, zone, facts.now)
    local = facts.now.astimezone(zone).strftime("%a %H:%M")
    if opens is None:
        yield refused("window.never", days=list(hours.days))
    elif opens > facts.now:
        yield refused("window.closed", until=opens, zone=zone.key, local=local, opens_at=iso(opens))
    else:
        yield passed("window", zone=zone.key, local=local)


def touch(facts: Facts) -> Lines:
    """Was this human left alone long enough, over all their channels?"""
    policy = facts.instance.touch_policy
    if not facts.is_touch:
        yield passed("touch", is_touch=False)
    elif policy.limit < 1:
        yield refused("touch.none", limit=policy.limit)
    else:
        yield from _budget(touch_room(facts.person.touches, policy, facts.now), policy)


def _budget(room: TouchRoom, policy: TouchPolicy) -> Lines:
    numbers: dict[str, Any] = {
        "used": room.used,
        "limit": policy.limit,
        "days": policy.days / timedelta(days=1),
        "gap_hours": policy.gap / timedelta(hours=1),
    }
    ends = {"touch.budget": room.budget_until, "touch.gap": room.gap_until}
    against = [(until, rule) for rule, until in ends.items() if until is not None]
    # The later end first: it is the one that the lead waits for.
    for until, rule in sorted(against, reverse=True):
        yield refused(rule, until=until, **numbers)
    if not against:
        yield passed("touch", **numbers)


def holds(facts: Facts) -> Lines:
    """Did the provider ask to wait? It asked the API, not a human in the platform's own app."""
    standing = [] if facts.by_human else [hold for hold in facts.holds if hold.until > facts.now]
    for hold in sorted(standing, key=lambda h: h.until, reverse=True):
        yield refused("hold.provider", until=hold.until, scope=hold.scope, reason=hold.reason)
    if not standing:
        yield passed("hold")


def pace(facts: Facts) -> Lines:
    """Is the account's distance between two of this kind kept?"""
    until = facts.pace_until
    if until is not None and until > facts.now and not facts.by_human:
        yield refused("pace.gap", until=until)
    else:
        yield passed("pace")


def caps(facts: Facts) -> Lines:
    """Is there room under every cap? The one that frees last comes first."""
    full = [cap for cap in facts.caps if cap.full]
    for cap in sorted(full, key=lambda c: _frees_at(facts, c), reverse=True):
        yield refused(f"cap.{cap.scope}", until=_frees_at(facts, cap), **_numbers(cap))
    for cap in facts.caps:
        if not cap.full:
            yield passed(f"cap.{cap.scope}", **_numbers(cap))


def _numbers(cap: CapUse) -> dict[str, Any]:
    return {"scope": cap.scope, "cap": cap.cap, "limit": cap.limit, "used": cap.used}


def _frees_at(facts: Facts, cap: CapUse) -> datetime:
    if cap.full_until is None:
        return facts.now + LOOK_AGAIN
    # A full cap never frees in the past: whoever counted it saw another instant, and we look again soon.
    return max(cap.full_until, facts.now + facts.recheck)
