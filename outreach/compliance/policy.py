"""PURE: the judge over facts. The order is fixed, and reads as a story:

1. *Is this claim still ours to make?* stale rules: nothing is written to the ledger for them.
2. *May this human be contacted at all?* suppression, which nothing outranks.
3. *Is anything standing still?* pauses, an unread message of theirs, live mode, the app, the account. While something
   stands still nothing is decided for good, so these come before every other block and before a human is asked.
4. *Should this step happen?* the handle, contacts before, proven silence, how late it comes.
5. *Who may do it?* the channel's pack: the engine, or a human.
6. *On what basis?* After the pack, so that a platform's "write to people who wrote first" shows under its own name;
   a human needs a recorded basis just the same. And has somebody read it, where the version asks for that? Before the hour,
   so that it can be read at night and sent in the morning.
7. *When?* window, touch budget, the provider's hold, pace, caps.

A human who claims a task satisfies the pack's rule; holds, pace and what only stops an API do not concern them;
suppression, pauses, basis, window, touch budget and caps do.
"""

from collections.abc import Callable
from typing import Any

from outreach.compliance import permission, timing
from outreach.compliance.facts import Facts
from outreach.compliance.packs import BASE, PACK_OF
from outreach.compliance.timing import LOOK_AGAIN
from outreach.compliance.verdicts import Decision, Lines, Verdict, iso, passed, refused
from outreach.engine.kinds import NEGATIVE_TRIGGERS, ExecutionState, IfLate

#: States that stop an API and not a human in the platform's own app.
_ONLY_THE_API = frozenset({"needs_reauth", "no_credits", "tier"})
_ACCOUNT_STATES = frozenset({"paused", "restricted", "needs_reauth", "no_credits", "tier", "disconnected"})
_APP_STATES = frozenset({"paused", "restricted", "no_credits"})
#: Shared is a word about linking: a mailbox of several people may be written to, on a basis of its own.
_USABLE_HANDLES = frozenset({"active", "shared"})
_UNUSABLE_HANDLES = frozenset({"blocked", "closed", "not_found"})


def judge(facts: Facts) -> Verdict:
    """The first line that stands against it; else one that allows it and carries the numbers of every topic."""
    lines: list[Verdict] = []
    for line in _lines(facts):
        if not line.allowed:
            return line
        lines.append(line)
    return _allowed(facts, lines)


def examine(facts: Facts) -> tuple[Verdict, ...]:
    """Every line, in order: what stands against it and what does not."""
    return tuple(_lines(facts))


def consider(facts: Facts) -> Verdict:
    """A first look, before anything is to be sent: may they be contacted at all, by whom, and on what basis? The same rules."""
    for topic in STANDING:
        for line in topic(facts):
            if not line.allowed:
                return line
    return _allowed(facts, [])


def _lines(facts: Facts) -> Lines:
    for topic in ORDER:
        yield from topic(facts)


def _allowed(facts: Facts, lines: list[Verdict]) -> Verdict:
    pack = PACK_OF[facts.channel]
    caps = [dict(line.numbers) for line in lines if line.rule.startswith("cap.")]
    topics = {
        line.rule: dict(line.numbers) for line in lines if line.numbers and not line.rule.startswith("cap.")
    }
    packs = {p.name: p.version for p in (BASE, pack)}
    numbers = {"performer": facts.performer.value, "packs": packs, "caps": caps, **topics}
    return Verdict(
        decision=Decision.ALLOW, rule="allow", pack=pack.name, version=pack.version, numbers=numbers
    )


# --- 1. is this claim still ours to make? --------------------------------------------------------------------


def _claim(facts: Facts) -> Lines:
    lead, execution = facts.lead, facts.execution
    if execution.state != ExecutionState.PLANNED:
        yield refused("stale.execution", state=execution.state)
    elif execution.with_human and not facts.by_human:
        yield refused("stale.execution", state=execution.state, with_human=True)
    elif not lead.active:
        yield refused("stale.lead")
    elif execution.rendered_epoch != lead.epoch:
        yield refused("stale.epoch", until=facts.now, rendered=execution.rendered_epoch, epoch=lead.epoch)
    elif not facts.by_human and (lead.due_at is None or lead.due_at > facts.now):
        # A human's task lies outside the lead's own timetable.
        yield refused("stale.not_due", until=lead.due_at or facts.now + LOOK_AGAIN, due_at=iso(lead.due_at))
    else:
        yield passed("claim")


# --- 2. may this human be contacted at all? ------------------------------------------------------------------


def _suppression(facts: Facts) -> Lines:
    person = facts.person
    if person.suppressed_at is not None:
        yield refused("suppression.person", since=iso(person.suppressed_at), reason=person.suppression_reason)
    hits = [hit for hit in person.suppressions if hit.channel in (None, facts.channel)]
    for hit in hits:
        yield refused(f"suppression.{hit.scope}", since=iso(hit.at), reason=hit.reason, channel=hit.channel)
    if person.suppressed_at is None and not hits:
        yield passed("suppression")


# --- 3. is anything standing still? --------------------------------------------------------------------------


def _pauses(facts: Facts) -> Lines:
    until = facts.now + LOOK_AGAIN
    here = facts.instance
    paused = False
    if here.foreign_since is not None:
        paused = True
        yield refused(
            "instance.foreign", until=until, since=iso(here.foreign_since), reason=here.foreign_reason
        )
    if here.recovering_since is not None:
        paused = True
        yield refused("instance.recovering", until=until, since=iso(here.recovering_since))
    for name, holder in (("instance", facts.instance), ("person", facts.person), ("lead", facts.lead)):
        if holder.paused_at is not None:
            paused = True
            yield refused(
                f"pause.{name}", until=until, since=iso(holder.paused_at), reason=holder.pause_reason
            )
    sequence = facts.sequence
    if sequence.state != "active":
        paused = True
        yield refused("pause.sequence", until=until, state=sequence.state, reason=sequence.state_reason)
    if not paused:
        yield passed("pause")


def _inbound(facts: Facts) -> Lines:
    if facts.person.undigested_inbound:
        yield refused("inbound.undigested", until=facts.now + facts.recheck)
    else:
        yield passed("inbound", last=iso(facts.person.last_inbound_at))


def _live(facts: Facts) -> Lines:
    if facts.account.loopback:
        yield passed("live", simulated=True)
    elif facts.instance.simulated_only:
        yield refused("live.simulated_only")
    elif not facts.instance.live:
        yield refused("live.off", until=facts.now + LOOK_AGAIN)
    else:
        yield passed("live", simulated=False)


def _senders(facts: Facts) -> Lines:
    yield _sender(facts, "app", facts.app.state, facts.app.state_reason, _APP_STATES)
    yield _sender(facts, "account", facts.account.state, facts.account.state_reason, _ACCOUNT_STATES)


def _sender(facts: Facts, who: str, state: str, reason: str | None, known: frozenset[str]) -> Verdict:
    if state == "ok" or (facts.by_human and state in _ONLY_THE_API):
        return passed(who, state=state)
    return refused(_rule_of(who, state, known), until=facts.now + LOOK_AGAIN, state=state, reason=reason)


def sender_rule(app_state: str, account_state: str) -> str | None:
    """The rule that stands against whatever this account's engine would do; None: its app and itself may act."""
    if app_state != "ok":
        return _rule_of("app", app_state, _APP_STATES)
    return _rule_of("account", account_state, _ACCOUNT_STATES) if account_state != "ok" else None


def _rule_of(who: str, state: str, known: frozenset[str]) -> str:
    return f"{who}.{state if state in known else 'stopped'}"


# --- 4. should this step happen? -----------------------------------------------------------------------------


def _identity(facts: Facts) -> Lines:
    identity = facts.identity
    if identity is None:
        yield refused("identity.missing", channel=facts.channel)
    elif identity.status not in _USABLE_HANDLES:
        rule = identity.status if identity.status in _UNUSABLE_HANDLES else "unusable"
        yield refused(f"identity.{rule}", identity=identity.id, status=identity.status)
    elif not identity.resolved and not facts.by_human:
        yield refused("identity.unresolved", until=facts.now + facts.recheck, identity=identity.id)
    else:
        yield passed("identity", identity=identity.id)


def _contacted_before(facts: Facts) -> Lines:
    lead = facts.lead
    if facts.sequence.exclude_already_contacted and lead.already_contacted and lead.opens_contact:
        yield refused("exclude.already_contacted", channel=facts.channel)
    else:
        yield passed("exclude", already_contacted=lead.already_contacted)


def _evidence(facts: Facts) -> Lines:
    deadline, read = facts.execution.cause_deadline, facts.evidence.read_up_to
    if facts.execution.cause not in NEGATIVE_TRIGGERS and deadline is None:
        yield passed("evidence")
        return
    numbers: dict[str, Any] = {
        "deadline": iso(deadline),
        "read_up_to": iso(read),
        "freshness_seconds": facts.evidence.freshness.total_seconds(),
    }
    if facts.evidence.contradicted:
        yield refused("evidence.contradicted", until=facts.now + facts.recheck, **numbers)
        return
    fresh = read is not None and facts.now - read <= facts.evidence.freshness
    if deadline is not None and read is not None and read >= deadline and fresh:
        yield passed("evidence", **numbers)
    else:
        yield refused("evidence.stale", until=facts.now + facts.recheck, **numbers)


def _lateness(facts: Facts) -> Lines:
    execution = facts.execution
    numbers: dict[str, Any] = {"first_due": iso(execution.first_due_at), "late_at": iso(execution.late_at)}
    if execution.late_at is None:
        yield passed("lateness")
    elif facts.now < execution.late_at or (facts.by_human and execution.if_late is IfLate.ASK):
        yield passed("lateness", **numbers)  # a human who begins it has been asked
    else:
        yield refused(f"late.{execution.if_late}", **numbers)


#: The order of judgement.
ORDER: tuple[Callable[[Facts], Lines], ...] = (
    _claim,
    _suppression,
    _pauses,
    _inbound,
    _live,
    _senders,
    _identity,
    _contacted_before,
    _evidence,
    _lateness,
    permission.automation,
    permission.basis,
    permission.review,
    timing.window,
    timing.touch,
    timing.holds,
    timing.pace,
    timing.caps,
)
#: Of these, what can be said of somebody to whom nothing is about to be sent.
STANDING: tuple[Callable[[Facts], Lines], ...] = (
    _suppression,
    _pauses,
    _identity,
    permission.automation,
    permission.basis,
)
