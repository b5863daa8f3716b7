"""The packs: what runs by itself on which platform, what a human may do that the engine may not, and their versions."""

from dataclasses import replace

import pytest

from outreach.compliance import gate
from outreach.compliance.facts import Basis, BasisKind, DmMode
from outreach.compliance.packs import PACK_OF, Automation
from outreach.compliance.verdicts import Lane
from outreach.engine.kinds import CHANNEL_OF, ActionKind, Channel
from outreach.ids import content_hash
from tests.unit.gate_facts import (
    BROKEN,
    EARLIER,
    INTEREST,
    JUDGED,
    LATER,
    NOW,
    OPTED_IN,
    THEY_WROTE,
    facts,
    rule_for_human,
    rule_of,
)

# --- the X pack ----------------------------------------------------------------------------------------------


def test_a_message_goes_by_itself_to_somebody_who_wrote_to_this_account() -> None:
    assert rule_of(identity={"bases": (THEY_WROTE,)}) == "allow"


def test_having_written_to_another_account_of_ours_opens_nothing_here() -> None:
    assert rule_of(identity={"bases": (replace(THEY_WROTE, account_id=8),)}) == "x.dm.inbound_first"
    assert rule_of(identity={"bases": (replace(THEY_WROTE, account_id=None),)}) == "x.dm.inbound_first"


def test_an_opt_in_alone_is_not_enough_and_neither_is_the_accounts_mode() -> None:
    assert rule_of(identity={"bases": (OPTED_IN,)}) == "x.dm.inbound_first"
    assert (
        rule_of(account={"dm_mode": DmMode.OPT_IN}, identity={"bases": (INTEREST,)}) == "x.dm.inbound_first"
    )


@pytest.mark.parametrize("kind", [BasisKind.OPT_IN, BasisKind.CONSENT])
def test_an_account_on_opt_in_writes_to_those_who_opted_in(kind: BasisKind) -> None:
    basis = replace(OPTED_IN, basis=kind)
    assert rule_of(account={"dm_mode": DmMode.OPT_IN}, identity={"bases": (basis,)}) == "allow"


def test_an_opt_in_that_has_ended_or_not_begun_opens_nothing() -> None:
    mode = {"dm_mode": DmMode.OPT_IN}
    for basis in (replace(OPTED_IN, expires_at=NOW), replace(OPTED_IN, obtained_at=LATER)):
        assert rule_of(account=mode, identity={"bases": (basis,)}) == "x.dm.inbound_first"


def test_without_any_basis_a_message_on_x_waits_for_a_human_by_the_platforms_rule_and_both_lines_are_shown() -> (
    None
):
    both = facts(identity={"bases": ()})
    assert gate.decide(both).rule == "x.dm.inbound_first"
    assert gate.decide(both).lane is Lane.YOURS
    assert "basis.none" in [line.rule for line in gate.explain(both)]


@pytest.mark.parametrize("kind", [ActionKind.FOLLOW_ON_TWITTER, ActionKind.UNFOLLOW_ON_TWITTER])
def test_follows_and_unfollows_run_by_themselves_only_from_permitted_accounts(kind: ActionKind) -> None:
    assert rule_of(kind=kind, identity={"bases": ()}) == "allow"
    assert rule_of(kind=kind, account={"follow_permitted": False}) == "x.follow.not_permitted"


# --- the other packs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ActionKind.SEND_CONNECTION_REQUEST, ActionKind.SEND_LINKEDIN_DM])
def test_linkedin_is_always_a_humans(kind: ActionKind) -> None:
    everything = {"bases": (THEY_WROTE, OPTED_IN, INTEREST)}
    assert rule_of(kind=kind, channel=Channel.LINKEDIN, identity=everything) == "linkedin.human_only"


@pytest.mark.parametrize(
    ("kind", "channel"), [(ActionKind.SEND_EMAIL, Channel.EMAIL), (ActionKind.SEND_XMTP_DM, Channel.XMTP)]
)
@pytest.mark.parametrize("basis", list(BasisKind))
def test_email_and_xmtp_go_on_any_recorded_basis(
    kind: ActionKind, channel: Channel, basis: BasisKind
) -> None:
    given = {"bases": (Basis(basis=basis, obtained_at=EARLIER, account_id=7),)}
    assert rule_of(kind=kind, channel=channel, identity=given) == "allow"
    assert rule_of(kind=kind, channel=channel, identity={"bases": ()}) == "basis.none"


def test_a_basis_given_to_another_account_is_none_here() -> None:
    given = {"bases": (replace(OPTED_IN, account_id=8),)}
    assert rule_of(kind=ActionKind.SEND_EMAIL, channel=Channel.EMAIL, identity=given) == "basis.none"


def test_an_expired_basis_beside_a_standing_one_does_no_harm() -> None:
    given = {"bases": (replace(OPTED_IN, expires_at=NOW), INTEREST)}
    assert rule_of(kind=ActionKind.SEND_EMAIL, channel=Channel.EMAIL, identity=given) == "allow"


def test_a_shared_mailbox_may_be_written_to_on_a_basis() -> None:
    assert rule_of(identity={"status": "shared"}) == "allow"


# --- the human lane ------------------------------------------------------------------------------------------

THE_HUMANS_OWN = (
    "stale.not_due", "account.needs_reauth", "account.no_credits", "account.tier", "app.no_credits", "identity.unresolved",
    "late.ask", "x.dm.inbound_first", "x.follow.not_permitted", "linkedin.human_only", "pack.no_rule", "hold.provider", "pace.gap",
    "review.first",
)  # fmt: skip


@pytest.mark.parametrize("rule", THE_HUMANS_OWN)
def test_a_human_satisfies_the_packs_and_does_not_care_what_stops_an_api(rule: str) -> None:
    assert rule_for_human(**BROKEN[rule]) == "allow"


@pytest.mark.parametrize("rule", [rule for rule in JUDGED if rule not in THE_HUMANS_OWN])
def test_every_other_rule_binds_a_human_just_the_same(rule: str) -> None:
    assert rule_for_human(**BROKEN[rule]) == rule


def test_a_human_too_needs_a_recorded_basis_for_a_message_on_x() -> None:
    assert rule_for_human(identity={"bases": ()}) == "basis.none"
    assert rule_for_human(identity={"bases": (INTEREST,)}) == "allow"


# --- the packs themselves -------------------------------------------------------------------------------------------


def test_every_kind_that_speaks_has_a_word_in_its_channels_pack() -> None:
    for kind, channel in CHANNEL_OF.items():
        assert kind in PACK_OF[channel].automation


def test_what_a_pack_does_not_list_is_left_to_a_human() -> None:
    assert PACK_OF[Channel.EMAIL].of(ActionKind.SEND_TWITTER_DM) is Automation.HUMAN_ONLY


def test_a_pack_that_changes_gets_a_new_version() -> None:
    """When this fails, raise the pack's version and write the new pair of version and digest here."""
    published = {
        "x": (1, "bb006af34bab"),
        "linkedin": (1, "5e5ccf788c9a"),
        "xmtp": (1, "b56e723a4d52"),
        "email": (1, "b38c4709a973"),
    }
    found = {
        pack.name: (
            pack.version,
            content_hash({kind.value: rule.value for kind, rule in pack.automation.items()})[:12],
        )
        for pack in PACK_OF.values()
    }
    assert found == published
