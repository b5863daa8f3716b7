"""adopt: make a restored or cloned database the one that sends. It forgets nothing that was said after its backup, and sends nothing yet.

What the off-box journal holds and the database lacks is applied; then the database is recovering (runtime/recovering.py) until what
it does not know has been read at the providers. docs/decisions/0017-restore.md.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from outreach.compliance import register
from outreach.engine.events import EventKind
from outreach.engine.kinds import Channel
from outreach.errors import ConfigurationError, UsageError
from outreach.ids import new_token
from outreach.models import adoptions, events, instance, journal, persons, sealing
from outreach.models.base import SENDS_LOCK, Tx
from outreach.offbox import Line
from outreach.runtime.context import Context
from outreach.runtime.erase import erase
from outreach.runtime.optout import opt_out, opt_out_identifier

#: Lines that somebody else applies, or nobody: they are kept, and their numbers count.
_KINDS = ("suppressed", "lifted", "erased")
_PAGE = 5000
_REASON = "the off-box journal says so"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the operator asks for."""

    reason: str
    by: str
    #: everything that stands outside, in order
    lines: Iterable[Line] = ()
    #: a clone gets a name of its own, is simulated for ever, and its tokens are forgotten
    new_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """What came of it."""

    name: str
    found: str | None
    backup_at: datetime
    fence: int
    #: lines that the database lacked, by kind
    replayed: Mapping[str, int] = field(default_factory=dict)
    #: persons who are erased once their open calls are over
    to_erase: tuple[int, ...] = ()
    tokens_forgotten: int = 0


def adopt(ctx: Context, order: Order) -> Adopted:
    """Raises UsageError without a reason, ConfigurationError for a journal that is another's. A second run goes on where the first ended."""
    if not order.reason.strip():
        raise UsageError(
            "a database is adopted only with a reason", hint="--reason: what was restored, from when, and why"
        )
    lines = sorted(set(order.lines))
    told = ctx.highest_claim().fence
    begun, adoption_id, missing = ctx.db.run(lambda tx: _begin(ctx, tx, order, lines, told))
    counts: Counter[str] = Counter()
    to_erase: list[int] = []
    aliases = _under_other_peppers(ctx, missing)
    for line in missing:
        body = json.loads(line.text)
        digests = dict.fromkeys(str(one) for one in body.get("hmacs", ()))
        body["hmacs"] = [*digests, *(aliases[one] for one in digests if one in aliases)]
        to_erase += _apply(ctx, line, body, order.by)
        counts[body.get("kind", "")] += 1
    replayed = {kind: counts[kind] for kind in sorted(counts)}
    left = tuple(dict.fromkeys(to_erase))

    def end(tx: Tx) -> None:
        adoptions.note_replayed(tx, adoption_id, replayed, left, ctx.clock.at(tx.database_now()))
        if order.new_name is not None:
            # Those lines are the other database's; a clone begins its own.
            journal.forget_all(tx)

    ctx.db.run(end)
    return Adopted(
        name=begun.name, found=begun.found, backup_at=begun.backup_at, fence=begun.fence, tokens_forgotten=begun.tokens_forgotten,
        replayed=replayed, to_erase=left,
    )  # fmt: skip


def _begin(
    ctx: Context, tx: Tx, order: Order, lines: list[Line], told: int
) -> tuple[Adopted, int, list[Line]]:
    # Earlier T1s are over, and later ones see that nothing may be sent.
    tx.execute("SELECT pg_advisory_xact_lock(%s)", (SENDS_LOCK,))
    here = instance.read(tx)
    _require_ours(lines, here.name)
    now = ctx.clock.at(tx.database_now())
    # The first write: what this database's log says from here on is of another cluster than what it said before.
    sealing.begin_generation(tx, now)
    missing = _missing(tx, lines)
    name, cloned = order.new_name or here.name, order.new_name is not None
    backup_at = adoptions.backup_at(tx)
    fence = adoptions.raise_fence(
        tx, max([told, *(int(json.loads(line.text).get("fence") or 0) for line in lines)])
    )
    adoptions.adopt(
        tx,
        {
            "name": name,
            "key": new_token(9),
            "cluster": instance.cluster_here(tx),
            "now": now,
            "simulated": cloned,
        },
    )
    forgotten = adoptions.forget_tokens(tx, now) if cloned else 0
    values = {
        "now": now, "by": order.by, "reason": order.reason.strip(), "found": here.foreign_reason, "backup_at": backup_at, "fence": fence,
        "name_was": here.name if cloned else None,
    }  # fmt: skip
    adoption_id = adoptions.insert(tx, values)
    adoptions.wake_echoes(tx, now)
    payload = {
        "adoption": adoption_id,
        "backup_at": backup_at.isoformat(),
        "fence": fence,
        "found": here.foreign_reason,
    }
    events.append(
        tx,
        [
            events.Event(
                kind=EventKind.INSTANCE_ADOPTED, at=now, actor=order.by, payload=payload | {"clone": cloned}
            )
        ],
    )
    adopted = Adopted(
        name=name, found=here.foreign_reason, backup_at=backup_at, fence=fence, tokens_forgotten=forgotten
    )
    return adopted, adoption_id, missing


def _require_ours(lines: list[Line], name: str) -> None:
    for line in lines:
        whose = json.loads(line.text).get("instance")
        if whose != name:
            raise ConfigurationError(
                f"line {line.number} of the journal is of instance {whose!r}, and this database is {name!r}",
                hint="nothing was changed: name the journal of this very instance",
            )


def _missing(tx: Tx, lines: list[Line]) -> list[Line]:
    """The lines that the database lacks. Raises ConfigurationError where both have gone on, each in its own way."""
    numbers = [line.number for line in lines]
    first = min(numbers[0] if numbers else 1, journal.last_number(tx) + 1)
    if numbers != list(range(first, first + len(numbers))):
        raise ConfigurationError(
            "the journal has a gap, or two lines of one number",
            hint="nothing was changed: fetch all of it, of every place where it was ever kept",
        )
    lacked = []
    for line in lines:
        ours = journal.line_of(tx, line.number)
        if ours is not None and ours != line.text:
            if journal.is_delivered(tx, line.number):
                raise ConfigurationError(
                    f"line {line.number} of the journal is not the one that this database has delivered under that number",
                    hint="nothing was changed: is this the journal that belongs to this database?",
                )
            journal.take_back_numbers(tx, line.number - 1)
            ours = None
        if ours is None:
            lacked.append(line)
        else:
            journal.confirm(tx, line.number)
    return lacked


def _under_other_peppers(ctx: Context, missing: list[Line]) -> dict[str, str]:
    """Digests of these lines -> those under which the same identifiers stand here: peppers may have been rotated on either side."""
    if len(ctx.peppers.ids) < 2:
        return {}
    wanted = {str(one) for line in missing for one in json.loads(line.text).get("hmacs", ())}
    found: dict[str, str] = {}
    after = 0
    while page := ctx.db.run(lambda tx, after=after: journal.known_identities(tx, after, _PAGE)):  # type: ignore[misc]
        for row in page:
            others = set(ctx.peppers.digests(row["kind"], row["value"])) - {row["hmac"]}
            found.update((one, str(row["hmac"])) for one in others & wanted)
        after = page[-1]["id"]
    return found


# --- one line --------------------------------------------------------------------------------------------------------


def _apply(ctx: Context, line: Line, body: Mapping[str, Any], by: str) -> list[int]:
    """Apply one line, then count it among ours: in that order, so that one cut short is applied again. Persons who are still to be erased."""
    digests = [str(one) for one in body.get("hmacs", ())]
    kind = body.get("kind")
    left: list[int] = []
    if kind == "suppressed":
        _suppress(ctx, body, digests, by)
    elif kind == "lifted":
        _lift(ctx, body, digests)
    elif kind == "erased":
        _suppress(ctx, {**body, "person": True}, digests, by)
        carriers = ctx.db.run(lambda tx: journal.persons_by(tx, digests))
        left = [person for person in carriers if not erase(ctx, person, by="journal", replayed=True)]
    ctx.db.run(
        lambda tx: journal.note_applied(
            tx, line.number, line.text, json.loads(line.text), ctx.clock.at(tx.database_now())
        )
    )
    return left


def _suppress(ctx: Context, body: Mapping[str, Any], digests: list[str], by: str) -> None:
    """Each identifier, whether anybody is known by it or not; and where the human was meant, whoever carries one of them."""
    channel = Channel(body["channel"]) if body.get("channel") else None
    evidence = {"journal": True, "source": body.get("source")}
    for digest in digests:
        if channel is None:
            opt_out_identifier(
                ctx, digest, reason=_REASON, source=register.FROM_JOURNAL, evidence=evidence, actor=by
            )
            continue
        now = ctx.clock.now()
        ctx.db.run(
            lambda tx, digest=digest, now=now: register.suppress_identifier(  # type: ignore[misc]
                tx,
                digest,
                reason=_REASON,
                source=register.FROM_JOURNAL,
                evidence=evidence,
                now=now,
                channel=channel,
            )
        )
    if body.get("person"):
        for person in ctx.db.run(lambda tx: journal.persons_by(tx, digests)):
            opt_out(ctx, person, reason=_REASON, source=register.FROM_JOURNAL, evidence=evidence, actor=by)


def _lift(ctx: Context, body: Mapping[str, Any], digests: list[str]) -> None:
    def work(tx: Tx) -> None:
        now = ctx.clock.at(tx.database_now())
        for person_id in journal.persons_by(tx, digests) if body.get("person") else ():
            person = persons.lock_present(tx, person_id)
            if person is not None and not journal.is_erased(tx, person.id):
                register.lift(tx, person.id, reason=_REASON, now=now, told=False)
        for digest in digests:
            register.lift_identifier(tx, digest, reason=_REASON, now=now, told=False)

    ctx.db.run(work)
