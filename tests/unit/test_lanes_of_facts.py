"""The lane of a step: deferrals are read past, a block outranks a hand-over, a human waits for what binds humans."""

from typing import Any

import pytest

from outreach.compliance.costs import MINUTES
from outreach.compliance.lanes import as_if_answered, standing
from outreach.compliance.packs import PACK_OF
from outreach.compliance.prices import ACTIONS
from outreach.compliance.verdicts import RULES, Decision, Lane
from outreach.engine.kinds import CHANNEL_OF, ActionKind, Channel
from tests.unit.gate_facts import BROKEN, INTEREST, facts

LANES = {
    Decision.DEFER: Lane.AUTO,
    Decision.HAND_OVER: Lane.YOURS,
    Decision.BLOCK: Lane.BLOCKED,
    Decision.SKIP: Lane.BLOCKED,
}
LINKEDIN: dict[str, Any] = {"kind": ActionKind.SEND_LINKEDIN_DM, "channel": Channel.LINKEDIN}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_alone(rule: str) -> None:
    found = standing(facts(**BROKEN[rule]))
    assert found.lane is LANES[RULES[rule].decision]
    assert found.rule == ("allow" if found.lane is Lane.AUTO else rule)
    assert (found.waits.rule if found.waits else None) == (rule if found.lane is Lane.AUTO else None)


def test_what_passes_by_itself_hides_nothing() -> None:
    closed = {**BROKEN["pause.instance"], **BROKEN["window.closed"]}
    assert standing(facts(**closed)).lane is Lane.AUTO
    assert standing(facts(**closed, **LINKEDIN)).rule == "linkedin.human_only"
    assert standing(facts(**closed, **LINKEDIN, identity={"bases": ()})).rule == "basis.none"


def test_a_human_waits_only_for_what_binds_them() -> None:
    held = standing(facts(**LINKEDIN, **BROKEN["hold.provider"], **BROKEN["pace.gap"]))
    assert [v.rule for v in held.against] == ["linkedin.human_only"]
    full = standing(facts(**LINKEDIN, **BROKEN["cap.account"]))
    assert [v.rule for v in full.against] == ["linkedin.human_only", "cap.account"]


def test_whoever_answered_may_be_answered_by_that_account() -> None:
    stranger = facts(identity={"bases": (INTEREST,)})
    assert standing(stranger).lane is Lane.YOURS
    answered = as_if_answered(stranger)
    assert standing(answered).lane is Lane.AUTO and not answered.is_touch
    assert as_if_answered(facts(identity=None)) == facts(identity=None)


def test_every_action_has_its_minutes_and_the_prices_their_sources() -> None:
    assert set(MINUTES) == set(CHANNEL_OF)
    assert all(price.source and price.read_on.year >= 2026 and price.usd > 0 for price in ACTIONS.values())
    assert {CHANNEL_OF[kind] for kind in ACTIONS} <= set(PACK_OF)
