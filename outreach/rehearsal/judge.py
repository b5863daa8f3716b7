"""The judge: what the provider's witness saw, held against what the ledger says. Trusts no id that the engine sent.

Effects are told apart by (account, recipient, kind, words), all four as the provider saw them.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from outreach.limits.caps import Cap
from outreach.models import judging
from outreach.models.base import Database, Row
from outreach.simulator.witness import Acceptance, Deed

#: What a witness calls the kinds.
KINDS = {"FOLLOW_ON_TWITTER": "follow", "UNFOLLOW_ON_TWITTER": "unfollow", "SEND_TWITTER_DM": "dm"}
_SET_AGAIN = ("FOLLOW_ON_TWITTER", "UNFOLLOW_ON_TWITTER")
#: Real seconds that an active lead may be overdue before somebody must be able to say why.
_OVERDUE_SECONDS = 90.0

Effect = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The figures of a run; the first five must be zero."""

    accepted: int
    duplicates: int
    lost: int
    over_cap: int
    after_opt_out: int
    in_doubt_open: int
    held_for_human: int
    #: what is behind each figure that is not zero, a line each
    findings: tuple[str, ...] = ()
    #: why a human must look, a line each: no fault, but nobody may guess
    held: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        return not (self.duplicates or self.lost or self.over_cap or self.after_opt_out or self.in_doubt_open)

    def figures(self) -> dict[str, int]:
        """As the last line of a run shows them."""
        names = (
            "accepted",
            "duplicates",
            "lost",
            "over_cap",
            "after_opt_out",
            "in_doubt_open",
            "held_for_human",
        )
        return {name: getattr(self, name) for name in names}


def judge(
    db: Database, acceptances: Sequence[Acceptance], deeds: Sequence[Deed], *, caps: Mapping[str, Sequence[Cap]], now: datetime,
    machine: timedelta,
) -> Verdict:  # fmt: skip
    """Judge a run. `caps`: per kind (follow, unfollow, dm) and account. `machine`: one real second in business time."""
    ledger = db.run(judging.ledger)
    suppressed = db.run(judging.effective_suppressions)
    late = db.run(lambda tx: judging.overdue(tx, now, machine * _OVERDUE_SECONDS))
    overdue = [lead for lead in late if not _is_full(lead, ledger, caps, now)]
    findings: list[str] = []
    seen = Counter(_effect_of(a) for a in acceptances)
    return Verdict(
        accepted=len(acceptances),
        duplicates=_duplicates(acceptances, ledger, findings),
        lost=_lost(seen, _repeated(deeds), ledger, findings) + len(overdue),
        over_cap=_over_cap(acceptances, caps, findings),
        after_opt_out=_after_opt_out(acceptances, suppressed, findings),
        in_doubt_open=sum(row["state"] in ("calling", "in_doubt") for row in ledger),
        held_for_human=sum(row["state"] == "held" for row in ledger),
        findings=(
            *findings,
            *(
                f"lead {o['id']} is overdue without a reason: {o['waiting_on']} {o['waiting_detail'] or ''}"
                for o in overdue
            ),
        ),
        held=_held(ledger),
    )


def judge_restored(
    db: Database, acceptances: Sequence[Acceptance], deeds: Sequence[Deed], *, caps: Mapping[str, Sequence[Cap]], now: datetime,
    machine: timedelta, said_no: Mapping[str, datetime],
) -> Verdict:  # fmt: skip
    """The same of a database that was restored from a backup: it has no word of its own on what was lost with it.

    So duplicates are told by the witness alone: the same words, or the same act, by the API to one person twice. `said_no`: who had
    opted out or was erased before the loss (by their id at the provider), and since when nothing may arrive there. What had been done to them
    before that is forgotten with them, and is not looked for in the ledger.
    """
    plain = judge(db, acceptances, deeds, caps=caps, now=now, machine=machine)
    findings: list[str] = []
    seen = Counter(_effect_of(a) for a in acceptances if a.by == "api")
    twice = {effect: n for effect, n in seen.items() if n > 1}
    findings += [f"{n} x {e[2]} by account {e[0]} to {e[1]}" for e, n in twice.items()]
    # Whoever has blocked us since is not followed any more, and no look-up shows that they were.
    undone = {(d.account, d.person, "follow") for d in deeds if d.what == "blocked"}
    ledger = [
        row
        for row in db.run(judging.ledger)
        if row["recipient"]  # the echo of a message to somebody who was erased names nobody
        and row["recipient"] not in said_no
        and not str(row["recipient"]).startswith("erased:")
        and _effect_in_ledger(row)[:3] not in undone
    ]
    others = Counter(
        _effect_of(a) for a in acceptances if a.recipient not in said_no and _effect_of(a)[:3] not in undone
    )
    # A follow that is still planned is done again, and changes nothing.
    again = [
        {**row, "state": "held"} if row["kind"] in _SET_AGAIN and row["state"] == "planned" else row
        for row in ledger
    ]
    lost = _lost(others, _repeated(deeds), again, findings)
    over = _over_cap(acceptances, caps, findings)
    late = _after_opt_out(acceptances, said_no, findings)
    return replace(
        plain, duplicates=sum(n - 1 for n in twice.values()), lost=lost, over_cap=over, after_opt_out=late + plain.after_opt_out,
        findings=tuple(findings),
    )  # fmt: skip


def _is_full(lead: Row, ledger: Iterable[Row], caps: Mapping[str, Sequence[Cap]], now: datetime) -> bool:
    """Has the lead's account used up a cap? Then nothing of that kind can be begun now."""
    used = [
        row["effect_by"]
        for row in ledger
        if (row["account"], row["kind"]) == (lead["account"], lead["next_kind"])
        and row["effect_by"] is not None
    ]
    windows = [
        (cap.limit, timedelta(seconds=cap.seconds))
        for cap in caps.get(KINDS.get(lead["next_kind"], ""), ())
        if cap.seconds
    ]
    return any(sum(at > now - window for at in used) >= limit for limit, window in windows)


def _held(ledger: Iterable[Row]) -> tuple[str, ...]:
    why = Counter((KINDS[row["kind"]], row["reason"]) for row in ledger if row["state"] == "held")
    return tuple(f"{n} x {kind}: {reason}" for (kind, reason), n in sorted(why.items()))


def _effect_of(acceptance: Acceptance) -> Effect:
    return (acceptance.account, acceptance.recipient, acceptance.kind, acceptance.body_sha256)


def _effect_in_ledger(row: Row) -> Effect:
    body = row["body"]
    words = hashlib.sha256(body.encode()).hexdigest() if body is not None else ""
    return (row["account"], row["recipient"], KINDS[row["kind"]], words)


def _duplicates(acceptances: Iterable[Acceptance], ledger: Iterable[Row], findings: list[str]) -> int:
    """More effects by the API than executions that ever called. What a human did in the provider's own app excuses none of them:
    an echo that nothing explains is taken for a send by hand, and would hide the very message that was sent twice."""
    called = Counter(_effect_in_ledger(row) for row in ledger if row["attempts"])
    by_api = Counter(_effect_of(a) for a in acceptances if a.by == "api")
    more = {effect: n - called[effect] for effect, n in by_api.items() if n > called[effect]}
    findings += [
        f"accepted {n} more than called: {effect[2]} by account {effect[0]}" for effect, n in more.items()
    ]
    return sum(more.values())


def _lost(
    seen: Counter[Effect], repeated: Counter[tuple[str, str, str]], ledger: Sequence[Row], findings: list[str]
) -> int:
    """Accepted without a sent, doubtful or held row; or sent without an acceptance (a state that stood already is one)."""
    known = Counter(
        _effect_in_ledger(r) for r in ledger if r["state"] in ("sent", "calling", "in_doubt", "held")
    )
    sent = Counter(_effect_in_ledger(r) for r in ledger if r["state"] == "sent")
    unknown = {e: n - known[e] for e, n in seen.items() if n > known[e]}
    unseen = {e: n - seen[e] - repeated[e[:3]] for e, n in sent.items() if n > seen[e] + repeated[e[:3]]}
    findings += [f"accepted and not in the ledger: {e[2]} by account {e[0]} x{n}" for e, n in unknown.items()]
    findings += [
        f"in the ledger and never accepted: {e[2]} by account {e[0]} x{n}" for e, n in unseen.items()
    ]
    return sum(unknown.values()) + sum(unseen.values())


def _repeated(deeds: Iterable[Deed]) -> Counter[tuple[str, str, str]]:
    """Calls that changed nothing, because what they asked for stood already."""
    return Counter((d.account, d.person, d.kind) for d in deeds if d.what == "repeated")


def _over_cap(
    acceptances: Iterable[Acceptance], caps: Mapping[str, Sequence[Cap]], findings: list[str]
) -> int:
    """Effects that were one too many in a rolling window of the witness's own scaled time."""
    times: dict[tuple[str, str], list[datetime]] = defaultdict(list)
    for acceptance in acceptances:
        times[acceptance.account, acceptance.kind].append(acceptance.t_scaled)
    over = 0
    for (account, kind), instants in times.items():
        for cap in caps.get(kind, ()):
            n = _passes(sorted(instants), cap)
            if n:
                findings.append(f"account {account}: {n} {kind} over {cap}")
            over += n
    return over


def _passes(instants: Sequence[datetime], cap: Cap) -> int:
    """How many came when `limit` others already lay in the window that ends with them."""
    assert cap.seconds is not None, "the witness is judged on rolling windows"
    window = timedelta(seconds=cap.seconds)
    return sum(
        later - instants[index] < window for index, later in enumerate(instants[cap.limit :])
    )  # fmt: skip


def _after_opt_out(
    acceptances: Iterable[Acceptance], suppressed: Mapping[str, datetime], findings: list[str]
) -> int:
    """Effects of the engine that reached somebody after their opt-out had become effective. A human with the task in hand is told,
    and cannot be stopped."""
    late = [
        a
        for a in acceptances
        if a.by == "api" and a.recipient in suppressed and a.t_scaled > suppressed[a.recipient]
    ]
    findings += [
        f"{a.kind} by account {a.account} at {a.t_scaled.isoformat()} after an effective opt-out"
        for a in late
    ]
    return len(late)


def reply_latencies_ms(db: Database, acceptances: Sequence[Acceptance], deeds: Iterable[Deed]) -> list[float]:
    """Real milliseconds from a reply to the action it caused, for actions that nothing deferred; sorted."""
    bodies = {(a.account, a.recipient, a.body_sha256): a for a in acceptances if a.kind == "dm"}
    said: dict[tuple[str, str], list[datetime]] = defaultdict(list)
    for deed in deeds:
        if deed.what == "said":
            said[deed.account, deed.person].append(deed.t_real)
    found = []
    for row in db.run(judging.answers):
        words = hashlib.sha256(row["body"].encode()).hexdigest()
        answer = bodies.get((row["account"], row["recipient"], words))
        before = [
            t for t in said[row["account"], row["recipient"]] if answer is not None and t <= answer.t_real
        ]
        if answer is not None and before:
            found.append((answer.t_real - max(before)).total_seconds() * 1000)
    return sorted(found)
