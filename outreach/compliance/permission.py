"""PURE: who may do it and on what basis. The pack decides between engine and human, the record decides whether at all."""

from collections.abc import Callable
from typing import Any

from outreach.compliance.facts import Basis, BasisKind, DmMode, Facts
from outreach.compliance.packs import PACK_OF, Automation
from outreach.compliance.verdicts import Lines, iso, passed, refused
from outreach.engine.kinds import MESSAGE_KINDS

_OPT_IN = frozenset({BasisKind.OPT_IN, BasisKind.CONSENT})
#: The strongest first: the one that is shown when several stand.
_STRENGTH = tuple(BasisKind)

#: The rule that hands it over, None if none does, and the numbers either way.
_Answer = tuple[str | None, dict[str, Any]]


def automation(facts: Facts) -> Lines:
    """May the engine do it by itself? A human who claimed the task has answered that."""
    pack = PACK_OF[facts.channel]
    if facts.by_human:
        yield passed("pack", pack=pack.name)
        return
    rule, numbers = _ANSWERS[pack.of(facts.kind)](facts)
    if rule is None:
        yield passed("pack", pack=pack.name, **numbers)
    else:
        yield refused(rule, kind=facts.kind, **numbers)


def _free(_facts: Facts) -> _Answer:
    return None, {}


def _human_only(facts: Facts) -> _Answer:
    listed = facts.kind in PACK_OF[facts.channel].automation
    return ("linkedin.human_only" if listed else "pack.no_rule"), {}


def _permitted_account(facts: Facts) -> _Answer:
    permitted = facts.account.follow_permitted
    return (None if permitted else "x.follow.not_permitted"), {"follow_permitted": permitted}


def _inbound_first(facts: Facts) -> _Answer:
    standing = _standing(facts)
    # They must have written to this very account: what another of ours received opens nothing here.
    wrote = any(b.basis is BasisKind.INBOUND and b.account_id == facts.account.id for b in standing)
    opted_in = any(b.basis in _OPT_IN for b in standing)
    by_mode = facts.account.dm_mode is DmMode.OPT_IN and opted_in
    numbers = {"wrote_to_us": wrote, "opted_in": opted_in, "dm_mode": facts.account.dm_mode.value}
    return (None if wrote or by_mode else "x.dm.inbound_first"), numbers


_ANSWERS: dict[Automation, Callable[[Facts], _Answer]] = {
    Automation.FREE: _free,
    Automation.INBOUND_FIRST: _inbound_first,
    Automation.PERMITTED_ACCOUNT: _permitted_account,
    Automation.HUMAN_ONLY: _human_only,
}


def basis(facts: Facts) -> Lines:
    """Does anything on record say that we may contact this handle on this channel?"""
    if facts.kind not in MESSAGE_KINDS:
        yield passed("basis")  # a follow says nothing to anybody
        return
    standing = _standing(facts)
    ended = [b.expires_at for b in _bases(facts) if b.expires_at is not None and b.expires_at <= facts.now]
    if standing:
        best = min(standing, key=lambda b: (_STRENGTH.index(b.basis), b.obtained_at))
        since, until = iso(best.obtained_at), iso(best.expires_at)
        yield passed("basis", basis=best.basis.value, obtained_at=since, expires_at=until)
    elif ended:
        yield refused("basis.expired", expired_at=iso(max(ended)))
    else:
        yield refused("basis.none", channel=facts.channel)


def review(facts: Facts) -> Lines:
    """Has somebody read it? Who does it by hand reads it."""
    asked = facts.review
    if asked is None or facts.by_human:
        yield passed("review")
        return
    numbers: dict[str, Any] = {"wanted": asked.wanted, "approved": asked.approved, "this_one": asked.this_one}
    yield passed("review", **numbers) if asked.over or asked.this_one else refused("review.first", **numbers)


def _bases(facts: Facts) -> list[Basis]:
    return [b for b in facts.identity.bases if b.serves(facts.account.id)] if facts.identity else []


def _standing(facts: Facts) -> list[Basis]:
    return [b for b in _bases(facts) if b.stands(facts.now)]
