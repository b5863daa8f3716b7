"""The judge: every rule, the order among them, and the numbers that it gives."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest

from outreach.compliance import gate
from outreach.compliance.facts import CapUse, SuppressionHit, TouchPolicy
from outreach.compliance.packs import BASE, VERSIONS
from outreach.compliance.touches import touch_room
from outreach.compliance.verdicts import RULES, Decision, Lane, passed, refused
from outreach.engine.kinds import ActionKind, Channel, IfLate, WaitingOn
from tests.unit.gate_facts import (
    ALLOWED,
    BROKEN,
    DAY,
    EARLIER,
    HOUR,
    INTEREST,
    JUDGED,
    LATER,
    NOW,
    OFFICE_HOURS,
    SILENCE,
    facts,
    rule_of,
)

# --- every rule ----------------------------------------------------------------------------------------------


def test_what_breaks_no_rule_is_allowed() -> None:
    verdict = gate.decide(ALLOWED)
    assert verdict.allowed
    assert verdict.rule == "allow"


def test_there_is_a_way_to_break_every_rule() -> None:
    assert set(BROKEN) == set(RULES) - {"limiter.unavailable"}, (
        "the limiter's own word is spoken before the gate"
    )


@pytest.mark.parametrize("rule", JUDGED)
def test_breaking_one_rule_is_refused_by_its_name(rule: str) -> None:
    verdict = gate.decide(facts(**BROKEN[rule]))
    assert verdict.rule == rule
    assert verdict.decision is RULES[rule].decision
    assert verdict.meaning == RULES[rule].meaning
    assert (verdict.pack, verdict.version) == (RULES[rule].pack, VERSIONS[RULES[rule].pack])


@pytest.mark.parametrize("rule", [name for name in JUDGED if RULES[name].decision is Decision.DEFER])
def test_every_deferral_says_until_when_and_on_what_the_lead_waits(rule: str) -> None:
    verdict = gate.decide(facts(**BROKEN[rule]))
    assert verdict.until is not None
    assert verdict.until >= NOW
    assert verdict.waiting_on is RULES[rule].waiting_on is not None
    if rule != "stale.epoch":
        assert verdict.until > NOW, "it would come due again at once"


@pytest.mark.parametrize("rule", JUDGED)
def test_every_verdict_is_plain_json(rule: str) -> None:
    stored = gate.verdict_to_json(gate.decide(facts(**BROKEN[rule])))
    assert json.loads(json.dumps(stored)) == stored


def test_an_allowance_carries_the_numbers_and_packs_that_allowed_it() -> None:
    stored = gate.verdict_to_json(gate.decide(ALLOWED))
    numbers = stored["numbers"]
    assert isinstance(numbers, dict)
    assert numbers["packs"] == {"base": BASE.version, "x": VERSIONS["x"]}
    assert numbers["caps"] == [{"scope": "account", "cap": "40/day", "limit": 40, "used": 3}]
    assert numbers["basis"]["basis"] == "inbound"
    assert numbers["touch"]["used"] == 0
    assert numbers["performer"] == "engine"
    assert json.loads(json.dumps(stored)) == stored


def test_two_caps_of_one_scope_are_both_kept() -> None:
    caps = (
        CapUse(scope="account", cap="8/hour", limit=8, used=1),
        CapUse(scope="account", cap="40/day", limit=40, used=2),
    )
    stored = gate.decide(facts(caps=caps)).numbers["caps"]
    assert [cap["cap"] for cap in stored] == ["8/hour", "40/day"]  # type: ignore[attr-defined]


# --- the order -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", JUDGED)
def test_of_two_broken_rules_the_one_that_stands_first_in_the_table_is_the_verdict(one: str) -> None:
    order = list(RULES)
    for other in JUDGED:
        both = _merged(BROKEN[one], BROKEN[other])
        if both is not None:
            broken = _broken(both)
            assert broken == sorted(broken, key=order.index), f"{one} and {other}"
            assert rule_of(**both) == broken[0]


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any] | None:
    """Both changes at once, or None where they are about the same field."""
    merged = dict(one)
    for name, change in other.items():
        mine = merged.get(name)
        if mine is None and name not in merged:
            merged[name] = change
        elif isinstance(mine, dict) and isinstance(change, dict) and not mine.keys() & change.keys():
            merged[name] = {**mine, **change}
        else:
            return None
    return merged


def _broken(changes: Mapping[str, Any]) -> list[str]:
    return [line.rule for line in gate.explain(facts(**changes)) if not line.allowed]


def test_explain_lists_every_topic_and_every_broken_rule_in_order() -> None:
    lines = gate.explain(facts(**_everything_wrong()))
    broken = [line.rule for line in lines if not line.allowed]
    assert broken[:4] == ["suppression.person", "pause.instance", "pause.person", "pause.sequence"]
    assert broken == sorted(broken, key=list(RULES).index)
    assert len(broken) >= 9
    assert [line.rule for line in gate.explain(ALLOWED)] == [
        "claim", "suppression", "pause", "inbound", "live", "app", "account", "identity", "exclude", "evidence", "lateness", "pack",
        "basis", "review", "window", "touch", "hold", "pace", "cap.account",
    ]  # fmt: skip


def _everything_wrong() -> dict[str, Any]:
    return {
        "person": {
            "suppressed_at": EARLIER,
            "suppression_reason": "stop",
            "paused_at": EARLIER,
            "undigested_inbound": True,
        },
        "instance": {"paused_at": EARLIER, "live": False},
        "sequence": {"state": "archived", "window": replace(OFFICE_HOURS, end=time(12))},
        "account": {"state": "paused"},
        "identity": {"bases": ()},
        "pace_until": LATER,
    }


def test_a_suppression_outranks_everything_that_only_waits() -> None:
    assert rule_of(**_everything_wrong()) == "suppression.person"


def test_while_something_is_paused_or_unread_no_human_is_asked_and_nothing_is_blocked() -> None:
    for standing_still in (
        "pause.instance",
        "pause.person",
        "pause.sequence",
        "inbound.undigested",
        "account.paused",
    ):
        for final in ("x.dm.inbound_first", "identity.missing"):
            both = _merged(BROKEN[standing_still], BROKEN[final])
            assert both is not None
            assert rule_of(**both) == standing_still


def test_no_human_is_asked_to_act_on_silence_that_is_not_proven() -> None:
    assert rule_of(execution=SILENCE, identity={"bases": (INTEREST,)}) == "evidence.stale"


# --- suppression ---------------------------------------------------------------------------------------------


def test_a_suppression_of_another_channel_leaves_this_one_open() -> None:
    elsewhere = SuppressionHit(scope="identifier", at=EARLIER, reason="bounced", channel=Channel.EMAIL)
    here = replace(elsewhere, channel=Channel.TWITTER)
    assert rule_of(person={"suppressions": (elsewhere,)}) == "allow"
    assert rule_of(person={"suppressions": (elsewhere, here)}) == "suppression.identifier"


def test_a_standing_row_of_the_person_stops_them_even_where_the_person_row_does_not() -> None:
    assert (
        rule_of(person={"suppressions": (SuppressionHit(scope="person", at=EARLIER, reason="list"),)})
        == "suppression.person"
    )


def test_suppression_stops_follows_too() -> None:
    assert rule_of(kind=ActionKind.FOLLOW_ON_TWITTER, **BROKEN["suppression.person"]) == "suppression.person"


# --- live ----------------------------------------------------------------------------------------------------


def test_a_simulator_on_this_machine_needs_no_live_mode() -> None:
    assert rule_of(account={"loopback": True}, instance={"live": False, "simulated_only": True}) == "allow"


# --- evidence ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read_up_to", "rule"),
    [
        (None, "evidence.stale"),
        (NOW - timedelta(minutes=61), "evidence.stale"),
        (NOW - timedelta(minutes=16), "evidence.stale"),
        (NOW - timedelta(minutes=15), "allow"),
        (NOW - timedelta(minutes=1), "allow"),
    ],
)
def test_silence_counts_when_read_past_the_deadline_and_not_long_ago(
    read_up_to: datetime | None, rule: str
) -> None:
    assert rule_of(execution=SILENCE, evidence={"read_up_to": read_up_to}) == rule


def test_evidence_that_is_fresh_but_ends_before_the_deadline_proves_nothing() -> None:
    soon = {"cause": "NOT_REPLIED", "cause_deadline": NOW - timedelta(minutes=1)}
    assert rule_of(execution=soon, evidence={"read_up_to": NOW - timedelta(minutes=2)}) == "evidence.stale"


def test_a_negative_edge_without_its_deadline_is_refused() -> None:
    lost = {"cause": "NOT_FOLLOWED_BACK", "cause_deadline": None}
    assert rule_of(execution=lost, evidence={"read_up_to": NOW}) == "evidence.stale"


# --- touches -------------------------------------------------------------------------------------------------


def test_follows_and_answers_are_no_touches() -> None:
    just_now = {"touches": (NOW - HOUR,)}
    assert rule_of(kind=ActionKind.FOLLOW_ON_TWITTER, person=just_now) == "allow"
    assert rule_of(person={**just_now, "last_inbound_at": NOW - timedelta(days=7)}) == "allow"
    assert rule_of(person={**just_now, "last_inbound_at": NOW - timedelta(days=7, seconds=1)}) == "touch.gap"


def test_the_later_of_gap_and_budget_is_the_one_the_lead_waits_for() -> None:
    touches = tuple(NOW - offset for offset in (HOUR, 29 * DAY, 29 * DAY, timedelta(days=29, hours=23)))
    verdict = gate.decide(facts(person={"touches": touches}))
    assert (verdict.rule, verdict.until) == ("touch.gap", NOW + timedelta(hours=47))
    touches = (NOW - HOUR, NOW - DAY, NOW - 2 * DAY, NOW - 3 * DAY)
    verdict = gate.decide(facts(person={"touches": touches}))
    assert (verdict.rule, verdict.until) == ("touch.budget", NOW + 27 * DAY)


def test_a_touch_leaves_the_gap_and_the_budget_exactly_at_their_ends() -> None:
    policy = TouchPolicy(gap=timedelta(hours=48), limit=1, days=timedelta(days=3))
    assert touch_room([NOW - 3 * DAY], policy, NOW).budget_until is None
    assert touch_room([NOW - 3 * DAY + HOUR], policy, NOW).budget_until == NOW + HOUR
    assert touch_room([NOW - 2 * DAY], policy, NOW).gap_until is None


def test_of_more_touches_than_the_policy_allows_the_youngest_decide_when_there_is_room_again() -> None:
    policy = TouchPolicy(gap=HOUR, limit=2, days=timedelta(days=3))
    room = touch_room([NOW - offset for offset in (DAY, 2 * DAY, 2 * DAY + HOUR, 3 * DAY)], policy, NOW)
    assert (room.used, room.budget_until) == (3, NOW + DAY)


def test_a_touch_that_may_still_arrive_counts_already() -> None:
    assert rule_of(person={"touches": (NOW + timedelta(seconds=15),)}) == "touch.gap"


# --- contacted before ----------------------------------------------------------------------------------------


def test_the_exclusion_concerns_the_opening_of_contact_and_not_its_continuation() -> None:
    excluding = {"exclude_already_contacted": True}
    before = {"already_contacted": True}
    assert rule_of(sequence=excluding, lead=before) == "exclude.already_contacted"
    assert rule_of(sequence=excluding, lead={**before, "opens_contact": False}) == "allow"
    assert rule_of(lead=before) == "allow"


# --- caps, window --------------------------------------------------------------------------------------------


def test_of_several_full_caps_the_one_that_frees_last_is_the_verdict() -> None:
    caps = (
        CapUse(scope="account", cap="8/hour", limit=8, used=8, full_until=NOW + HOUR),
        CapUse(scope="app", cap="9/day", limit=9, used=9, full_until=NOW + DAY),
        CapUse(scope="instance", cap="99/day", limit=99, used=1),
    )
    verdict = gate.decide(facts(caps=caps))
    assert (verdict.rule, verdict.until) == ("cap.app", NOW + DAY)
    assert verdict.numbers == {"scope": "app", "cap": "9/day", "limit": 9, "used": 9}


def test_a_full_cap_that_frees_in_the_past_or_never_is_looked_at_again() -> None:
    past = CapUse(scope="account", cap="8/hour", limit=8, used=8, full_until=NOW - HOUR)
    assert gate.decide(facts(caps=(past,))).until == NOW + timedelta(seconds=5)
    unknown = replace(past, full_until=None)
    assert gate.decide(facts(caps=(unknown,))).until == NOW + HOUR


def test_a_closed_window_opens_on_the_persons_own_clock() -> None:
    verdict = gate.decide(facts(person={"zone": "America/New_York"}))
    assert (verdict.rule, verdict.until) == ("window.closed", datetime(2026, 1, 5, 14, tzinfo=UTC))
    assert verdict.waiting_on is WaitingOn.WINDOW
    assert verdict.numbers["zone"] == "America/New_York"


def test_an_unknown_zone_falls_back_to_the_accounts() -> None:
    assert rule_of(person={"zone": None}, account={"zone": "America/New_York"}) == "window.closed"


def test_a_sequence_without_a_window_sends_at_any_hour() -> None:
    assert rule_of(sequence={"window": None}, now=NOW.replace(hour=3), lead={"due_at": EARLIER}) == "allow"


# --- stale claims, lanes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("if_late", IfLate)
def test_a_step_comes_too_late_from_its_instant_on_and_not_before(if_late: IfLate) -> None:
    late: dict[str, Any] = {"if_late": if_late}
    assert rule_of(execution=late | {"late_at": NOW + timedelta(microseconds=1)}) == "allow"
    assert rule_of(execution=late | {"late_at": NOW}) == f"late.{if_late}"
    assert rule_of(execution=late | {"late_at": None, "first_due_at": NOW - 999 * DAY}) == "allow"


def test_nobody_is_passed_over_while_something_stands_still_or_silence_is_not_proven() -> None:
    late = {"late_at": NOW}
    assert rule_of(execution=late, sequence={"state": "paused"}) == "pause.sequence"
    assert rule_of(execution=late, account={"state": "paused"}) == "account.paused"
    assert rule_of(execution=late, person={"undigested_inbound": True}) == "inbound.undigested"
    assert rule_of(execution=late | SILENCE) == "evidence.stale"


def test_what_a_human_holds_is_not_the_engines_to_claim() -> None:
    assert rule_of(execution={"with_human": True}) == "stale.execution"


def test_only_void_claims_are_stale() -> None:
    stale = {rule for rule in JUDGED if gate.decide(facts(**BROKEN[rule])).stale}
    assert stale == {"stale.execution", "stale.lead", "stale.epoch", "stale.not_due"}


def test_a_deferral_stays_in_the_engines_lane() -> None:
    assert gate.decide(facts(**BROKEN["cap.account"])).lane is Lane.AUTO
    assert gate.decide(facts(**BROKEN["basis.none"])).lane is Lane.BLOCKED


def test_only_deferrals_carry_an_instant() -> None:
    with pytest.raises(ValueError, match="deferrals"):
        refused("cap.account")
    with pytest.raises(ValueError, match="deferrals"):
        refused("basis.none", until=NOW)
    assert passed("basis").until is None


def test_the_limiters_word_is_a_deferral_too() -> None:
    assert refused("limiter.unavailable", until=LATER).waiting_on is WaitingOn.CAPACITY


def test_every_rule_is_documented_with_its_verdict_and_meaning() -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "compliance.md").read_text(encoding="utf-8")
    rows = {
        cells[1].strip(): cells
        for cells in (line.split("|") for line in page.splitlines())
        if len(cells) == 7
    }
    for name, rule in RULES.items():
        cells = rows[f"`{name}`"]
        assert cells[2].strip() == rule.decision.value
        assert cells[5].strip() == rule.meaning
