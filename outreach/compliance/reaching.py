"""Who may be contacted where, and why not: the gate's own rules over people to whom nothing is about to be sent.

A first look and no permission: the gate judges every send anew. What is not known yet (window, caps, touches) is left open.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from outreach.compliance import facts as f
from outreach.compliance.gate import first_look
from outreach.compliance.verdicts import Decision, Verdict
from outreach.engine.kinds import ActionKind, Channel, ExecutionState, IfLate
from outreach.models import audience
from outreach.models.base import Row, Tx

#: The message that is judged on each channel.
_SPEAKS = {
    Channel.TWITTER: ActionKind.SEND_TWITTER_DM,
    Channel.LINKEDIN: ActionKind.SEND_LINKEDIN_DM,
    Channel.XMTP: ActionKind.SEND_XMTP_DM,
    Channel.EMAIL: ActionKind.SEND_EMAIL,
}
#: The counts of a report, in the order in which they are shown.
WORDS = (
    "may_contact", "waits_for_human", "no_basis", "expired", "suppressed", "paused", "unusable", "no_identifier",
)  # fmt: skip
_WORD_OF = {
    "suppression.person": "suppressed",
    "suppression.identifier": "suppressed",
    "pause.person": "paused",
    "identity.missing": "no_identifier",
    "basis.none": "no_basis",
    "basis.expired": "expired",
}
_NEVER = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the gate would say of one identity on its channel."""

    identity_id: int
    shown: str
    channel: str
    word: str
    rule: str
    meaning: str


def reach(tx: Tx, person_ids: Sequence[int], now: datetime) -> dict[str, Counter[str]]:
    """Per channel, how many of the persons may be contacted, and how many may not for which reason (WORDS)."""
    accounts = _accounts(tx)
    counts: dict[str, Counter[str]] = {channel.value: Counter() for channel in _SPEAKS}
    for row in audience.reach(tx, person_ids, [channel.value for channel in _SPEAKS], now):
        counts[row["channel"]][word_of(_verdict(row, accounts, now))] += row["persons"]
    return counts


def look_at(tx: Tx, person_id: int, now: datetime) -> list[Look]:
    """The same for each identity of one person."""
    accounts = _accounts(tx)
    return [_look(row, _verdict(row, accounts, now)) for row in audience.reach_of_each(tx, person_id, now)]


def _look(row: Row, verdict: Verdict) -> Look:
    return Look(
        identity_id=row["identity_id"], shown=row["shown"], channel=row["channel"], word=word_of(verdict), rule=verdict.rule,
        meaning=verdict.meaning,
    )  # fmt: skip


def word_of(verdict: Verdict) -> str:
    """The count that a verdict falls under."""
    if verdict.decision is Decision.HAND_OVER:
        return "waits_for_human"
    return "may_contact" if verdict.allowed else _WORD_OF.get(verdict.rule, "unusable")


def _accounts(tx: Tx) -> Mapping[str, Sequence[f.AccountFacts]]:
    """Our accounts by channel; where there is none, one as it would be at first."""
    found: dict[str, list[f.AccountFacts]] = {channel.value: [] for channel in _SPEAKS}
    for row in audience.channel_accounts(tx):
        found[row["channel"]].append(replace(_SOMEBODY, id=row["id"], dm_mode=f.DmMode(row["dm_mode"])))
    return {channel: accounts or [_SOMEBODY] for channel, accounts in found.items()}


#: The best first: by whichever account of ours it goes.
_BEST = (Decision.ALLOW, Decision.HAND_OVER, Decision.DEFER, Decision.SKIP, Decision.BLOCK)


def _verdict(row: Row, accounts: Mapping[str, Sequence[f.AccountFacts]], now: datetime) -> Verdict:
    verdicts = [_by_account(_facts(row, account, now)) for account in accounts[row["channel"]]]
    return min(verdicts, key=lambda verdict: _BEST.index(verdict.decision))


def _by_account(facts: f.Facts) -> Verdict:
    """What is handed over must be a human's to do: where the record permits nobody, that is what stands against it."""
    verdict = first_look(facts)
    if verdict.decision is not Decision.HAND_OVER:
        return verdict
    by_human = first_look(replace(facts, performer=f.Performer.HUMAN))
    return verdict if by_human.allowed else by_human


# --- facts ------------------------------------------------------------------------------------------------------

_SOMEBODY = f.AccountFacts(
    id=0, state="ok", state_reason=None, zone="UTC", follow_permitted=False, dm_mode=f.DmMode.INBOUND_FIRST, loopback=True
)  # fmt: skip
_INSTANCE = f.InstanceFacts(
    live=False, simulated_only=False, paused_at=None, pause_reason=None,
    touch_policy=f.TouchPolicy(gap=_NEVER, limit=0, days=_NEVER),
)  # fmt: skip
_LEAD = f.LeadFacts(
    active=True,
    paused_at=None,
    pause_reason=None,
    epoch=0,
    due_at=None,
    already_contacted=False,
    opens_contact=True,
)
_EXECUTION = f.ExecutionFacts(
    with_human=False, state=ExecutionState.PLANNED.value, rendered_epoch=0, cause="start", cause_deadline=None, first_due_at=None,
    late_at=None, if_late=IfLate.SKIP,
)  # fmt: skip


def _facts(row: Row, account: f.AccountFacts, now: datetime) -> f.Facts:
    channel = Channel(row["channel"])
    return f.Facts(
        now=now, recheck=_NEVER, performer=f.Performer.ENGINE, kind=_SPEAKS[channel], channel=channel, instance=_INSTANCE,
        app=f.AppFacts(state="ok", state_reason=None), account=account,
        sequence=f.SequenceFacts(state="active", state_reason=None, window=None, exclude_already_contacted=False),
        person=_person(row, now), identity=_identity(row, now), lead=_LEAD, execution=_EXECUTION,
        evidence=f.EvidenceFacts(read_up_to=None, freshness=_NEVER, contradicted=False), holds=(), pace_until=None, caps=(), review=None,
    )  # fmt: skip


def _person(row: Row, now: datetime) -> f.PersonFacts:
    hits = tuple(
        f.SuppressionHit(scope="identifier", at=now, reason="", channel=Channel(name) if name else None)
        for name in row["stopped_on"]
    )
    since = now if row["suppressed"] else None
    return f.PersonFacts(
        id=0, suppressed_at=since, suppression_reason="" if row["suppressed"] else None, suppressions=hits,
        paused_at=now if row["paused"] else None, pause_reason="" if row["paused"] else None, zone=None, last_inbound_at=None,
        undigested_inbound=False, touches=(), is_test=False,
    )  # fmt: skip


def _identity(row: Row, now: datetime) -> f.IdentityFacts | None:
    if row["status"] is None:
        return None
    return f.IdentityFacts(
        id=0, status=row["status"], resolved=True, bases=tuple(_basis(text, now) for text in row["bases"])
    )


def _basis(text: str, now: datetime) -> f.Basis:
    """`basis/has ended/account`: what is left of a permission when many of a kind are counted together."""
    basis, ended, *account = text.split("/")
    return f.Basis(
        basis=f.BasisKind(basis), obtained_at=now, expires_at=now if ended == "true" else None,
        account_id=int(account[0]) if account else None,
    )  # fmt: skip
