"""opt_out: a person does not want to be contacted. Binding at commit for every new send, on every channel."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from outreach.audience.remembering import digest_of
from outreach.compliance import register
from outreach.engine.events import EventKind
from outreach.errors import NotFound
from outreach.models import events, leads, persons
from outreach.models.base import SENDS_LOCK, Tx
from outreach.models.instance import drain_claims
from outreach.runtime.context import Context
from outreach.runtime.draining import drain
from outreach.runtime.moving import leave

#: Sources whose reasons are the engine's own words.
_OURS = frozenset({"reply", "block", "opt_out_page", "erasure"})


def opt_out(
    ctx: Context, person_id: int, *, reason: str, source: str, evidence: Mapping[str, Any], actor: str
) -> bool:
    """Suppress the person and stop their leads. True: already effective; False: a call is still under way."""

    def work(tx: Tx) -> bool:
        person = persons.lock_present(tx, person_id)
        if person is None:
            raise NotFound(f"no person {person_id}")
        now = ctx.clock.at(person.database_now)
        return suppress(
            ctx, tx, person.id, reason=reason, source=source, evidence=evidence, now=now, actor=actor
        )

    return ctx.db.run(work)


def suppress(
    ctx: Context, tx: Tx, person_id: int, *, reason: str, source: str, evidence: Mapping[str, Any], now: datetime, actor: str = "engine"
) -> bool:  # fmt: skip
    """The same inside a transaction that holds the person's row."""
    done = register.suppress_person(tx, person_id, reason=reason, source=source, evidence=evidence, now=now)
    if done.first:
        events.append(
            tx,
            [
                events.Event(
                    kind=EventKind.PERSON_SUPPRESSED,
                    at=now,
                    actor=actor,
                    person_id=person_id,
                    # A human's reason may name them, and the log forgets nothing: it stands in their row.
                    payload={"source": source} | ({"reason": reason} if source in _OURS else {}),
                )
            ],
        )
    stop_leads(tx, person_id, "unsubscribed", now, actor=actor)
    person = persons.lock(tx, person_id)
    assert person is not None, "the caller holds the person's row"
    return person.effective or drain(ctx, tx, person_id, now)


def stop_leads(tx: Tx, person_id: int, reason: str, now: datetime, *, actor: str = "engine") -> int:
    """Every active lead of the person exits at once; open calls are left to T2. How many."""
    stopped = leads.of_person(tx, person_id)
    for lead_id in stopped:
        lead = leads.read(tx, lead_id)
        leave(tx, lead, reason, now, actor=actor)
        lead.write(tx)
    return len(stopped)


def opt_out_identifier(
    ctx: Context, hmac: str, *, reason: str, source: str, evidence: Mapping[str, Any], actor: str
) -> list[int]:
    """Suppress an identifier by its digest, whoever carries it. Commit, then wait for the claims that did not see it yet."""
    return _keep_out(ctx, lambda _: hmac, reason, source, evidence, actor)


def opt_out_spelt(
    ctx: Context, kind: str, value: str, *, reason: str, source: str, evidence: Mapping[str, Any], actor: str
) -> list[int]:
    """The same for an identifier whose words we have: under the digest that stands already, whatever its pepper."""
    return _keep_out(ctx, lambda tx: digest_of(tx, ctx.peppers, kind, value), reason, source, evidence, actor)


def _keep_out(
    ctx: Context,
    digest: Callable[[Tx], str],
    reason: str,
    source: str,
    evidence: Mapping[str, Any],
    actor: str,
) -> list[int]:
    now = ctx.clock.now()
    owners = ctx.db.run(
        lambda tx: register.suppress_identifier(
            tx, digest(tx), reason=reason, source=source, evidence=evidence, now=now
        )
    )
    drain_claims(ctx.db, SENDS_LOCK)
    for person_id in owners:
        opt_out(ctx, person_id, reason=reason, source=source, evidence=evidence, actor=actor)
    return owners
