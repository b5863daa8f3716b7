"""PURE: the lane of a step, by the gate's own word: auto (by itself, now or later), yours (a human does it), blocked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from outreach.compliance.facts import Basis, BasisKind, Facts, Performer
from outreach.compliance.gate import explain
from outreach.compliance.verdicts import Decision, Lane, Verdict

_FINAL = (Decision.BLOCK, Decision.SKIP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a step would run, the line that says so, and everything that stands against it at this instant."""

    lane: Lane
    #: what put it there; None: nothing did, it runs by itself
    because: Verdict | None
    #: every line against it, in the gate's order
    against: Sequence[Verdict]

    @property
    def rule(self) -> str:
        return self.because.rule if self.because else "allow"

    @property
    def waits(self) -> Verdict | None:
        """What it would wait for if it were due now: the first in the gate's order."""
        return next((v for v in self.against if v.until is not None), None)


def standing(facts: Facts) -> Standing:
    """Read past deferrals: what passes by itself keeps a step in its lane. A block binds the human, too.

    What is handed over waits only for what the human who would do it must wait for.
    """
    against = [line for line in explain(facts) if not line.allowed]
    final = next((v for v in against if v.decision in _FINAL), None)
    if final is not None:
        return Standing(lane=Lane.BLOCKED, because=final, against=against)
    handed = next((v for v in against if v.decision is Decision.HAND_OVER), None)
    if handed is None:
        return Standing(lane=Lane.AUTO, because=None, against=against)
    by_hand = [v for v in explain(replace(facts, performer=Performer.HUMAN)) if not v.allowed]
    return Standing(lane=Lane.YOURS, because=handed, against=[handed, *by_hand])


def as_if_answered(facts: Facts) -> Facts:
    """The same for somebody who has just written to this account: where only an answer leads to the step."""
    if facts.identity is None:
        return facts
    wrote = Basis(basis=BasisKind.INBOUND, obtained_at=facts.now, account_id=facts.account.id)
    return replace(
        facts,
        person=replace(facts.person, last_inbound_at=facts.now),
        identity=replace(facts.identity, bases=(*facts.identity.bases, wrote)),
    )
