"""The gate's front door: one verdict for T1, every line for explain, and what is stored of them."""

from outreach.compliance.facts import Facts
from outreach.compliance.policy import consider, examine, judge
from outreach.compliance.verdicts import Verdict


def decide(facts: Facts) -> Verdict:
    """May this step be taken now? T1 asks once per claim, after its locks, and stores the answer."""
    return judge(facts)


def first_look(facts: Facts) -> Verdict:
    """May they be contacted, by whom and on what basis, as far as can be said before anything is to be sent? No permission."""
    return consider(facts)


def explain(facts: Facts) -> list[Verdict]:
    """Every line of judgement, in the order in which it was made."""
    return list(examine(facts))


def verdict_to_json(verdict: Verdict) -> dict[str, object]:
    """Plain JSON of a verdict: what execution.verdict and the event log keep. Ids and words only."""
    return {
        "decision": verdict.decision.value,
        "rule": verdict.rule,
        "until": verdict.until.isoformat() if verdict.until else None,
        "waiting_on": verdict.waiting_on.value if verdict.waiting_on else None,
        "numbers": dict(verdict.numbers),
        "pack": verdict.pack,
        "version": verdict.version,
    }
