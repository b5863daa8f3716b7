"""What the gate can say. Every refusal is one of the rules below: a stable dotted name, its pack, and its meaning."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from outreach.compliance.packs import BASE, LINKEDIN, VERSIONS, X
from outreach.engine.kinds import WaitingOn


class Decision(StrEnum):
    """The five verdicts."""

    ALLOW = "allow"
    #: not now: look again at `until`
    DEFER = "defer"
    #: not by the engine: a human may
    HAND_OVER = "hand_over"
    #: not any more: the lead goes on as if it were done
    SKIP = "skip"
    #: not at all
    BLOCK = "block"


class Lane(StrEnum):
    """Where a step would run: by itself, in your hands, or nowhere."""

    AUTO = "auto"
    YOURS = "yours"
    BLOCKED = "blocked"


_LANE_OF = {
    Decision.ALLOW: Lane.AUTO,
    Decision.DEFER: Lane.AUTO,
    Decision.HAND_OVER: Lane.YOURS,
    Decision.SKIP: Lane.BLOCKED,
    Decision.BLOCK: Lane.BLOCKED,
}
_STALE = "stale."


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One line of judgement: the decision, the rule that made it, the numbers that explain it, the pack and its version.

    A refusal carries the rule's name; a line that lets through carries its topic ("window", "cap.account").
    """

    decision: Decision
    rule: str
    pack: str
    version: int
    #: DEFER only: when to look again
    until: datetime | None = None
    #: DEFER only: what the lead then waits on
    waiting_on: WaitingOn | None = None
    #: plain JSON values; instants as ISO 8601 text
    numbers: Mapping[str, object] = field(default_factory=dict)

    @property
    def allowed(self) -> bool:
        return self.decision is Decision.ALLOW

    @property
    def lane(self) -> Lane:
        return _LANE_OF[self.decision]

    @property
    def stale(self) -> bool:
        """The claim is void because the row or the lead moved on: write no verdict to the ledger."""
        return self.rule.startswith(_STALE)

    @property
    def meaning(self) -> str:
        """One sentence for people."""
        # A topic that lets through may share its name with the rule that refuses ("cap.account").
        rule = None if self.allowed else RULES.get(self.rule)
        return rule.meaning if rule else "Nothing stands against it."


#: What a topic of judgement yields.
Lines = Iterator[Verdict]


@dataclass(frozen=True, slots=True)
class Rule:
    """A way to be refused."""

    name: str
    decision: Decision
    meaning: str
    #: DEFER only
    waiting_on: WaitingOn | None = None
    pack: str = BASE.name
    #: HAND_OVER only: who says so
    source: str = ""


_BLOCK, _DEFER, _HAND_OVER = Decision.BLOCK, Decision.DEFER, Decision.HAND_OVER
_ACCOUNT, _PAUSE, _EVIDENCE = WaitingOn.ACCOUNT, WaitingOn.PAUSE, WaitingOn.EVIDENCE
_TIME, _WINDOW, _CAPACITY = WaitingOn.TIME, WaitingOn.WINDOW, WaitingOn.CAPACITY

#: By name, in the order in which they are judged. (The formatter would break the table.)
# fmt: off
RULES: Mapping[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("stale.execution", _BLOCK, "Somebody else has moved this step already."),
        Rule("stale.lead", _BLOCK, "The lead has ended."),
        Rule("stale.epoch", _DEFER, "The lead was stopped, paused or merged since this text was rendered; it is rendered anew.", _TIME),
        Rule("stale.not_due", _DEFER, "The lead is not due yet.", _TIME),
        Rule("suppression.person", _BLOCK, "This person asked not to be contacted, or was marked so."),
        Rule("suppression.identifier", _BLOCK, "An identifier of this person is on the do-not-contact list."),
        Rule("instance.foreign", _DEFER, "This database was restored or cloned: nothing is sent until `outreach db adopt`.", _PAUSE),
        Rule("instance.recovering", _DEFER, "This database was adopted: what its backup does not know is read first (`outreach db status`).", _PAUSE),
        Rule("pause.instance", _DEFER, "Everything is paused.", _PAUSE),
        Rule("pause.person", _DEFER, "The person is paused: something of theirs waits for a human to read it.", _PAUSE),
        Rule("pause.lead", _DEFER, "The lead is paused.", _PAUSE),
        Rule("pause.sequence", _DEFER, "The sequence is paused or archived.", _PAUSE),
        Rule("inbound.undigested", _DEFER, "They wrote something that is not read yet; it may be a stop.", _EVIDENCE),
        Rule("live.simulated_only", _BLOCK, "This database is simulated for ever; a provider beyond this machine is refused."),
        Rule("live.off", _DEFER, "Live mode is off; only a simulator on this machine may be called.", _ACCOUNT),
        Rule("app.paused", _DEFER, "The app is paused.", _ACCOUNT),
        Rule("app.restricted", _DEFER, "The platform restricted the app.", _ACCOUNT),
        Rule("app.no_credits", _DEFER, "The app has no credits left.", _ACCOUNT),
        Rule("app.stopped", _DEFER, "The app is in a state that this release does not know.", _ACCOUNT),
        Rule("account.paused", _DEFER, "The account is paused.", _ACCOUNT),
        Rule("account.restricted", _DEFER, "The platform restricted the account.", _ACCOUNT),
        Rule("account.needs_reauth", _DEFER, "The account must be connected again.", _ACCOUNT),
        Rule("account.no_credits", _DEFER, "The account has no credits left.", _ACCOUNT),
        Rule("account.tier", _DEFER, "The account's tier does not include this.", _ACCOUNT),
        Rule("account.disconnected", _DEFER, "The account was disconnected; its tokens are forgotten.", _ACCOUNT),
        Rule("account.stopped", _DEFER, "The account is in a state that this release does not know.", _ACCOUNT),
        Rule("identity.missing", _BLOCK, "This person has no handle on this channel."),
        Rule("identity.blocked", _BLOCK, "This handle has blocked us."),
        Rule("identity.closed", _BLOCK, "This handle is closed."),
        Rule("identity.not_found", _BLOCK, "The provider knows no such handle."),
        Rule("identity.unusable", _BLOCK, "The handle is in a state that this release does not know."),
        Rule("identity.unresolved", _DEFER, "The handle's own id is being looked up.", _EVIDENCE),
        Rule("exclude.already_contacted", _BLOCK, "An account of ours contacted them on this channel before, and the sequence excludes that."),
        Rule("evidence.contradicted", _DEFER, "They were not silent after all: the step is taken back, and what they did decides.", _EVIDENCE),
        Rule("evidence.stale", _DEFER, "Silence is not proven: the inbox is not read up to the deadline, or was read too long ago.", _EVIDENCE),
        Rule("late.skip", Decision.SKIP, "It comes later than its sequence allows, and is passed over."),
        Rule("late.ask", _HAND_OVER, "It comes later than its sequence allows; a human says whether it is still to be sent."),
        Rule("x.dm.inbound_first", _HAND_OVER, "X lets software write only to people who wrote to this account first.", pack=X.name, source="X Developer Guidelines"),
        Rule("x.follow.not_permitted", _HAND_OVER, "X lets software follow and unfollow only from accounts it has permitted.", pack=X.name, source="X Developer Guidelines; X API changelog of 16 April 2026"),
        Rule("linkedin.human_only", _HAND_OVER, "LinkedIn lets no software write or invite; a human does it.", pack=LINKEDIN.name, source="LinkedIn API Terms of Use; LinkedIn User Agreement 8.2"),
        Rule("pack.no_rule", _HAND_OVER, "The channel's policy pack says nothing about this kind of action."),
        Rule("basis.none", _BLOCK, "Nothing on record says that we may contact this handle on this channel."),
        Rule("basis.expired", _BLOCK, "What said that we may contact this handle has expired."),
        Rule("review.first", _HAND_OVER, "The first messages of this version are sent only after somebody has read them and said yes."),
        Rule("window.never", _BLOCK, "The sequence's window never opens."),
        Rule("window.zone_unknown", _DEFER, "Neither the person's nor the account's time zone is known.", _WINDOW),
        Rule("window.closed", _DEFER, "Outside the sending window where they live.", _WINDOW),
        Rule("touch.none", _BLOCK, "The touch policy allows no touches at all."),
        Rule("touch.budget", _DEFER, "They were contacted as often as the touch policy allows.", _CAPACITY),
        Rule("touch.gap", _DEFER, "They were contacted too recently.", _CAPACITY),
        Rule("hold.provider", _DEFER, "The provider asked us to wait.", _CAPACITY),
        Rule("pace.gap", _DEFER, "The account has just done one; the next keeps its distance.", _CAPACITY),
        Rule("cap.account", _DEFER, "The account's cap is full.", _CAPACITY),
        Rule("cap.task", _DEFER, "By hand this account has done as many of these as humans should.", _CAPACITY),
        Rule("cap.app", _DEFER, "The app's cap is full.", _CAPACITY),
        Rule("cap.sequence", _DEFER, "The sequence's cap is full.", _CAPACITY),
        Rule("cap.instance", _DEFER, "The whole installation's cap is full.", _CAPACITY),
        # Not a fact of the ledger: said when the limiter before T1 cannot be asked.
        Rule("limiter.unavailable", _DEFER, "The rate limiter does not answer; meanwhile nothing is sent.", _CAPACITY),
    )
}
# fmt: on


def refused(name: str, *, until: datetime | None = None, **numbers: object) -> Verdict:
    """The line of a rule that stands against it. DEFER rules need `until`."""
    rule = RULES[name]
    if (rule.decision is Decision.DEFER) != (until is not None):
        raise ValueError(
            f"rule {name} is a {rule.decision}: `until` belongs to deferrals, and to all of them"
        )
    return Verdict(
        decision=rule.decision,
        rule=name,
        pack=rule.pack,
        version=VERSIONS[rule.pack],
        until=until,
        waiting_on=rule.waiting_on,
        numbers=numbers,
    )


def passed(topic: str, *, pack: str = BASE.name, **numbers: object) -> Verdict:
    """The line of a topic that lets it through."""
    return Verdict(decision=Decision.ALLOW, rule=topic, pack=pack, version=VERSIONS[pack], numbers=numbers)


def iso(at: datetime | None) -> str | None:
    """An instant as a JSON value."""
    return at.isoformat() if at else None
