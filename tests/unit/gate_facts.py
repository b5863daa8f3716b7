"""Facts of a send that every rule lets through, and for each rule the change that breaks it alone."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any

from outreach.compliance import gate
from outreach.compliance.facts import (
    AccountFacts,
    AppFacts,
    Basis,
    BasisKind,
    CapUse,
    DmMode,
    EvidenceFacts,
    ExecutionFacts,
    Facts,
    Hold,
    IdentityFacts,
    InstanceFacts,
    LeadFacts,
    Performer,
    PersonFacts,
    ReviewFacts,
    SequenceFacts,
    SuppressionHit,
    TouchPolicy,
)
from outreach.engine.graph import Window
from outreach.engine.kinds import ActionKind, Channel, IfLate

#: A Monday noon.
NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
EARLIER, LATER = NOW - timedelta(days=3), NOW + timedelta(hours=2)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
THEY_WROTE = Basis(basis=BasisKind.INBOUND, obtained_at=EARLIER, account_id=7)
OPTED_IN = Basis(basis=BasisKind.OPT_IN, obtained_at=EARLIER)
INTEREST = Basis(basis=BasisKind.LEGITIMATE_INTEREST, obtained_at=EARLIER)
OFFICE_HOURS = Window(days=(0, 1, 2, 3, 4), start=time(9), end=time(18), zone="lead")

ALLOWED = Facts(
    now=NOW,
    recheck=timedelta(seconds=5),
    performer=Performer.ENGINE,
    kind=ActionKind.SEND_TWITTER_DM,
    channel=Channel.TWITTER,
    instance=InstanceFacts(
        live=True,
        simulated_only=False,
        paused_at=None,
        pause_reason=None,
        touch_policy=TouchPolicy(gap=timedelta(hours=48), limit=4, days=timedelta(days=30)),
    ),
    app=AppFacts(state="ok", state_reason=None),
    account=AccountFacts(
        id=7,
        state="ok",
        state_reason=None,
        zone="UTC",
        follow_permitted=True,
        dm_mode=DmMode.INBOUND_FIRST,
        loopback=False,
    ),
    sequence=SequenceFacts(
        state="active", state_reason=None, window=OFFICE_HOURS, exclude_already_contacted=False
    ),
    person=PersonFacts(
        id=1,
        suppressed_at=None,
        suppression_reason=None,
        suppressions=(),
        paused_at=None,
        pause_reason=None,
        zone="UTC",
        last_inbound_at=None,
        undigested_inbound=False,
        is_test=False,
        touches=(),
    ),
    identity=IdentityFacts(id=3, status="active", resolved=True, bases=(THEY_WROTE,)),
    lead=LeadFacts(
        active=True,
        paused_at=None,
        pause_reason=None,
        epoch=2,
        due_at=NOW,
        already_contacted=False,
        opens_contact=True,
    ),
    execution=ExecutionFacts(
        with_human=False,
        state="planned",
        rendered_epoch=2,
        cause="start",
        cause_deadline=None,
        first_due_at=EARLIER,
        late_at=None,
        if_late=IfLate.SKIP,
    ),
    evidence=EvidenceFacts(read_up_to=None, freshness=timedelta(minutes=15), contradicted=False),
    review=None,
    holds=(),
    pace_until=None,
    caps=(CapUse(scope="account", cap="40/day", limit=40, used=3),),
)
SILENCE = {"cause": "NOT_REPLIED", "cause_deadline": NOW - HOUR}


def facts(**changes: Any) -> Facts:
    """ALLOWED with changes; those of a nested value are given as a dict."""
    nested = {
        name: replace(getattr(ALLOWED, name), **change) if isinstance(change, dict) else change
        for name, change in changes.items()
    }
    return replace(ALLOWED, **nested)


def rule_of(**changes: Any) -> str:
    return gate.decide(facts(**changes)).rule


def rule_for_human(**changes: Any) -> str:
    return rule_of(performer=Performer.HUMAN, **changes)


#: How each rule is broken, alone.
BROKEN: Mapping[str, Mapping[str, Any]] = {
    "stale.execution": {"execution": {"state": "calling"}},
    "stale.lead": {"lead": {"active": False}},
    "stale.epoch": {"lead": {"epoch": 3}},
    "stale.not_due": {"lead": {"due_at": LATER}},
    "suppression.person": {"person": {"suppressed_at": EARLIER, "suppression_reason": "they said stop"}},
    "suppression.identifier": {"person": {"suppressions": (SuppressionHit(scope="identifier", at=EARLIER, reason="list"),)}},
    "instance.foreign": {"instance": {"foreign_since": EARLIER, "foreign_reason": "another cluster"}},
    "instance.recovering": {"instance": {"recovering_since": EARLIER}},
    "pause.instance": {"instance": {"paused_at": EARLIER, "pause_reason": "night"}},
    "pause.person": {"person": {"paused_at": EARLIER, "pause_reason": "unclear reply"}},
    "pause.lead": {"lead": {"paused_at": EARLIER, "pause_reason": "asked"}},
    "pause.sequence": {"sequence": {"state": "paused", "state_reason": "review"}},
    "inbound.undigested": {"person": {"undigested_inbound": True}},
    "live.simulated_only": {"instance": {"simulated_only": True}},
    "live.off": {"instance": {"live": False}},
    "app.paused": {"app": {"state": "paused"}},
    "app.restricted": {"app": {"state": "restricted"}},
    "app.no_credits": {"app": {"state": "no_credits"}},
    "app.stopped": {"app": {"state": "melted"}},
    "account.paused": {"account": {"state": "paused"}},
    "account.restricted": {"account": {"state": "restricted"}},
    "account.needs_reauth": {"account": {"state": "needs_reauth"}},
    "account.no_credits": {"account": {"state": "no_credits"}},
    "account.tier": {"account": {"state": "tier"}},
    "account.disconnected": {"account": {"state": "disconnected"}},
    "account.stopped": {"account": {"state": "melted"}},
    "identity.missing": {"identity": None},
    "identity.blocked": {"identity": {"status": "blocked"}},
    "identity.closed": {"identity": {"status": "closed"}},
    "identity.not_found": {"identity": {"status": "not_found"}},
    "identity.unusable": {"identity": {"status": "melted"}},
    "identity.unresolved": {"identity": {"resolved": False}},
    "exclude.already_contacted": {"sequence": {"exclude_already_contacted": True}, "lead": {"already_contacted": True}},
    "evidence.contradicted": {"execution": SILENCE, "evidence": {"contradicted": True}},
    "evidence.stale": {"execution": SILENCE},
    "late.skip": {"execution": {"late_at": NOW}},
    "late.ask": {"execution": {"late_at": NOW, "if_late": IfLate.ASK}},
    "x.dm.inbound_first": {"identity": {"bases": (INTEREST,)}},
    "x.follow.not_permitted": {"kind": ActionKind.FOLLOW_ON_TWITTER, "account": {"follow_permitted": False}},
    "linkedin.human_only": {"kind": ActionKind.SEND_LINKEDIN_DM, "channel": Channel.LINKEDIN},
    "pack.no_rule": {"kind": ActionKind.SEND_XMTP_DM, "channel": Channel.EMAIL},
    "basis.none": {"kind": ActionKind.SEND_EMAIL, "channel": Channel.EMAIL, "identity": {"bases": ()}},
    "basis.expired": {
        "kind": ActionKind.SEND_EMAIL,
        "channel": Channel.EMAIL,
        "identity": {"bases": (replace(INTEREST, expires_at=NOW),)},
    },
    "review.first": {"review": ReviewFacts(wanted=5, approved=4, this_one=False)},
    "window.never": {"sequence": {"window": replace(OFFICE_HOURS, days=())}},
    "window.zone_unknown": {"person": {"zone": None}, "account": {"zone": "Nowhere/At_All"}},
    "window.closed": {"sequence": {"window": replace(OFFICE_HOURS, end=time(12))}},
    "touch.none": {"instance": {"touch_policy": TouchPolicy(gap=HOUR, limit=0, days=DAY)}},
    "touch.budget": {"person": {"touches": tuple(NOW - n * timedelta(days=5) for n in (1, 2, 3, 4))}},
    "touch.gap": {"person": {"touches": (NOW - HOUR,)}},
    "hold.provider": {"holds": (Hold(scope="account", until=LATER, reason="429"),)},
    "pace.gap": {"pace_until": NOW + timedelta(seconds=30)},
    "cap.account": {"caps": (CapUse(scope="account", cap="8/hour", limit=8, used=8, full_until=LATER),)},
    "cap.task": {"caps": (CapUse(scope="task", cap="40/date", limit=40, used=40, full_until=LATER),)},
    "cap.app": {"caps": (CapUse(scope="app", cap="8/hour", limit=8, used=9, full_until=LATER),)},
    "cap.sequence": {"caps": (CapUse(scope="sequence", cap="8/hour", limit=8, used=8, full_until=LATER),)},
    "cap.instance": {"caps": (CapUse(scope="instance", cap="8/hour", limit=8, used=8, full_until=LATER),)},
}  # fmt: skip
JUDGED = list(BROKEN)
