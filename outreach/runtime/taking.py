"""start, take_next: a human takes a task in hand. T1's checks, one holder, one deadline; what somebody has is never offered again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from outreach.compliance import gate
from outreach.compliance.facts import CapUse, Facts, Performer
from outreach.compliance.verdicts import Decision, Verdict
from outreach.content.rendering import Rendered
from outreach.engine.events import EventKind
from outreach.engine.kinds import WaitingOn
from outreach.errors import ConflictError, RefusedByGate, UsageError
from outreach.limits.caps import DEFAULT_TASK_CAPS, Cap, parse_caps
from outreach.models import accounts, claims, executions, leads, sequences, tasks
from outreach.models.base import Row, Tx
from outreach.models.leads import Lead
from outreach.providers.base import fingerprint
from outreach.runtime.claim import block
from outreach.runtime.context import Context
from outreach.runtime.late import pass_over
from outreach.runtime.moving import go_on
from outreach.runtime.prepare import render_for
from outreach.runtime.reading import Question, read_facts
from outreach.runtime.scopes import scopes_of, to_lock

_PAGE = 100
#: `take_next` asks the gate about so many at most: what stands against more than that stands against all.
_MOST_ASKED = 30
#: Rules that hold for everything of this kind by this account.
_FOR_ALL_ALIKE = ("cap.account", "cap.task", "cap.app", "cap.instance", "account.", "app.", "live.")
_FOR_EVERYBODY = ("pause.instance", "instance.foreign", "instance.recovering")
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A task in somebody's hands: what to do, for whom, by which account, until when."""

    task_id: int
    execution_id: int
    #: claimed, or asked: the claim has run out, and its holder must say what became of it
    state: str
    action: str
    channel: str
    account: str
    recipient: str
    recipient_kind: str
    person_id: int
    text: str | None
    subject: str | None
    #: how to be left alone, where a text says it
    opt_out: str | None
    reason: str
    holder: str
    deadline: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NothingToTake:
    """No task can be begun now. `refused`: those that the gate keeps back, with what stands against each."""

    refused: Sequence[tuple[int, Verdict]] = ()


def start(ctx: Context, task_id: int, holder: str) -> Started:
    """Claim an open `act` task; who holds it already gets it again.

    Raises RefusedByGate with the rule that stands against it, ConflictError if somebody else has it or it is over.
    """
    answer = ctx.db.run(lambda tx: _start(ctx, tx, task_id, holder))
    if isinstance(answer, Verdict):
        raise refusal(answer)
    return answer


def take_next(
    ctx: Context, holder: str, *, action: str | None = None, account: str | None = None
) -> Started | NothingToTake:
    """What the holder has in hand already, what they are asked about first; else the oldest open act that may be done now.

    Two people never get the same one: whoever comes second finds it taken, and goes on to the next.
    """
    mine = ctx.db.run(lambda tx: _mine(ctx, tx, holder))
    if mine is not None:
        return mine
    refused: list[tuple[int, Verdict]] = []
    shut: set[tuple[int, str]] = set()
    for row in _offered(ctx, action, account):
        if (row["account_id"], row["action_kind"]) in shut:
            continue
        answer = _try(ctx, row["id"], holder)
        if isinstance(answer, Started):
            return answer
        if answer is None:
            continue
        refused.append((row["id"], answer))
        if answer.rule.startswith(_FOR_ALL_ALIKE):
            shut.add((row["account_id"], row["action_kind"]))
        if len(refused) >= _MOST_ASKED or answer.rule in _FOR_EVERYBODY:
            break
    return NothingToTake(refused=tuple(refused))


def _offered(ctx: Context, action: str | None, account: str | None) -> Iterator[Row]:
    """All of them, page by page."""

    def page(after_id: int) -> list[Row]:
        def work(tx: Tx) -> list[Row]:
            now = ctx.clock.at(tx.database_now())
            return tasks.offered(tx, after_id=after_id, now=now, limit=_PAGE, action=action, account=account)

        return ctx.db.run(work)

    rows = page(0)
    while rows:
        yield from rows
        rows = page(rows[-1]["id"]) if len(rows) == _PAGE else []


def _try(ctx: Context, task_id: int, holder: str) -> Started | Verdict | None:
    """None: somebody else was faster, or its text cannot be rendered."""
    try:
        return ctx.db.run(lambda tx: _start(ctx, tx, task_id, holder))
    except (ConflictError, UsageError):
        return None


def refusal(verdict: Verdict) -> RefusedByGate:
    """The verdict as an error for people."""
    until = f" (earliest {verdict.until:%Y-%m-%d %H:%M} UTC)" if verdict.until else ""
    return RefusedByGate(f"{verdict.rule}: {verdict.meaning}{until}")


# --- claiming ------------------------------------------------------------------------------------------------


def _start(ctx: Context, tx: Tx, task_id: int, holder: str) -> Started | Verdict:
    task = _act(tx, task_id)
    if task["holder"] == holder and task["state"] in ("claimed", "asked"):
        return _held(ctx, tx, task)
    row = claims.prepare(tx, task["execution_id"])
    assert row is not None
    graph = sequences.graph_of(tx, row["version_id"])
    scopes = scopes_of(row, graph)
    locked = executions.lock_for_send(tx, task["execution_id"], to_lock(scopes))
    assert locked is not None
    lead = leads.read(tx, task["lead_id"])
    now = ctx.clock.at(locked.database_now)
    _require_open(tasks.read(tx, task_id), now)
    text = render_for(row, graph)
    if text is not None and not isinstance(text, Rendered):
        raise UsageError(
            f"task {task_id}: the text cannot be rendered: {text}",
            hint="outreach why shows what the lead lacks",
        )
    question = Question(
        execution_id=task["execution_id"], graph=graph, version_id=lead.version_id, scopes=scopes, epoch=lead.epoch, performer=Performer.HUMAN
    )  # fmt: skip
    facts, _ = read_facts(ctx, tx, question, now)
    facts = replace(facts, caps=(*facts.caps, *_task_caps(tx, task, row["account_zone"], now)))
    verdict = gate.decide(facts)
    if not verdict.allowed:
        _refused(ctx, tx, lead, task, verdict, now)
        return verdict
    deadline = now + ctx.machine(ctx.settings.task_claim_seconds)
    _begin(tx, lead, task, holder, text, facts, deadline)
    return _started(
        task | {"holder": holder, "state": "claimed", "deadline": deadline}, row, text, graph.opt_out_line
    )


def _begin(
    tx: Tx, lead: Lead, task: Row, holder: str, text: Rendered | None, facts: Facts, deadline: datetime
) -> None:
    now = facts.now
    if not tasks.claim(tx, task["id"], holder, now=now, deadline=deadline):
        raise ConflictError(
            f"somebody else has just taken task {task['id']}", hint="outreach task next gives another one"
        )
    executions.reserve_for_human(
        tx, task["execution_id"], now=now, deadline=deadline, touch=facts.is_touch,
        body_hash=fingerprint(text.text) if text else None,
    )  # fmt: skip
    if text is not None:
        body = {"subject": text.subject, "body": text.text, "written_at": now}
        executions.write_bodies(tx, [{"execution_id": task["execution_id"], **body}])
    lead.wait(deadline, WaitingOn.TASK, f"held by {holder}")
    lead.log(EventKind.TASK_CLAIMED, now, actor=holder, execution_id=task["execution_id"], task_id=task["id"])
    lead.write(tx)


def _act(tx: Tx, task_id: int) -> Row:
    task = tasks.read(tx, task_id)
    if task["kind"] != "act":
        raise UsageError(
            f"task {task_id} asks for a decision, not for an act",
            hint=f"outreach task done {task_id} or skip {task_id}",
        )
    return task


def _require_open(task: Row, now: datetime) -> None:
    """Raises ConflictError, naming the holder."""
    another = "outreach task next gives another one"
    if task["state"] in ("claimed", "asked"):
        until = f" until {task['deadline']:%H:%M} UTC" if task["state"] == "claimed" else ""
        raise ConflictError(f"task {task['id']} is {task['state']} by {task['holder']}{until}", hint=another)
    if task["state"] != "open":
        raise ConflictError(f"task {task['id']} is {task['state']} ({task['outcome']})", hint=another)
    if task["expires_at"] is not None and task["expires_at"] <= now:
        raise ConflictError(
            f"task {task['id']} expired on {task['expires_at']:%Y-%m-%d %H:%M} UTC", hint=another
        )


def _refused(ctx: Context, tx: Tx, lead: Lead, task: Row, verdict: Verdict, now: datetime) -> None:
    """What the gate says of a human binds as it does the engine: a block ends it, a deferral leaves the task open for later."""
    if verdict.rule == "evidence.contradicted":
        go_on(ctx, tx, lead, now)
        lead.write(tx)
        return
    if verdict.stale or verdict.decision not in (Decision.BLOCK, Decision.SKIP):
        return
    if verdict.decision is Decision.SKIP:
        pass_over(ctx, tx, lead, task["execution_id"], now)
        lead.write(tx)
        return
    tasks.close(tx, task["id"], "void", verdict.rule, "engine", now)
    block(ctx, tx, lead, task["execution_id"], verdict, now)
    lead.write(tx)


# --- what humans may do by hand ------------------------------------------------------------------------------


def _task_caps(tx: Tx, task: Row, zone: str, now: datetime) -> list[CapUse]:
    """The caps of humans for this kind by this account, counted from the ledger. The caller holds the account's row."""
    caps = caps_by_hand(tx, task["account_id"], task["action_kind"])
    # A local date counts a row that ends exactly at its midnight; a rolling window does not.
    sinces = [cap.since(now, zone) - (_MICROSECOND if cap.seconds is None else timedelta(0)) for cap in caps]
    windows = [(since, cap.limit) for since, cap in zip(sinces, caps, strict=True)]
    newest = tasks.nth_newest_by_hand(
        tx, task["account_id"], task["action_kind"], task["execution_id"], windows
    )
    return [
        CapUse(
            scope="task",
            cap=str(cap),
            limit=cap.limit,
            used=0 if nth is None else cap.limit,
            full_until=None if nth is None else cap.frees_at(nth, now, zone),
        )
        for cap, nth in zip(caps, newest, strict=True)
    ]


def caps_by_hand(tx: Tx, account_id: int, kind: str) -> Sequence[Cap]:
    """The account's own, else the kind's; "none" means none."""
    said = accounts.task_caps(tx, account_id).get(kind)
    if said is None:
        return DEFAULT_TASK_CAPS[kind].caps
    return () if said == "none" else parse_caps(said)


# --- what is in hand -----------------------------------------------------------------------------------------


def _mine(ctx: Context, tx: Tx, holder: str) -> Started | None:
    held = tasks.held_by(tx, holder)
    return _held(ctx, tx, held[0]) if held else None


def _held(ctx: Context, tx: Tx, task: Row) -> Started:
    """As it was rendered when it was begun: that is what was to be sent."""
    row = claims.prepare(tx, task["execution_id"])
    assert row is not None
    graph = sequences.graph_of(tx, row["version_id"])
    body = executions.message_of(tx, task["execution_id"])
    text = Rendered(text=body["body"], subject=body["subject"]) if body else None
    over = task["state"] == "claimed" and task["deadline"] <= ctx.clock.at(tx.database_now())
    return _started(task | ({"state": "asked"} if over else {}), row, text, graph.opt_out_line)


def _started(task: Row, row: Row, text: Rendered | None, opt_out: str) -> Started:
    return Started(
        task_id=task["id"],
        execution_id=task["execution_id"],
        state=task["state"],
        action=row["kind"],
        channel=row["channel"],
        account=row["account_name"],
        recipient=row["recipient"],
        recipient_kind=row["identity_kind"],
        person_id=row["person_id"],
        text=text.text if text else None,
        subject=text.subject if text else None,
        opt_out=opt_out if text and opt_out in text.text else None,
        reason=task["reason"],
        holder=task["holder"],
        deadline=task["deadline"],
    )
