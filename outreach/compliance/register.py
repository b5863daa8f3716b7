"""The only writer of suppression and consent.

Locks are the caller's. Whoever suppresses, drains, joins or lifts holds the person's row lock (FOR NO KEY UPDATE), which
every T1 takes too: the commit is then binding for every new send. An identifier that nobody is known by has no such row:
commit, then take the lock `sends` exclusively for an instant. Nothing here stops leads, voids tasks or writes events;
the runtime does, in the same transaction.

Whatever is suppressed, lifted or erased is a line of the off-box journal in the same transaction, so that a backup from before it
learns of it again (docs/runbook.md#restoring-a-backup). What comes out of that journal is not written into it a second time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from outreach.compliance.facts import BasisKind
from outreach.engine.kinds import Channel
from outreach.errors import ConflictError, UsageError
from outreach.models import journal, permissions
from outreach.models.base import Tx

#: The source of what was read back from the journal.
FROM_JOURNAL = "journal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppressed:
    """What suppressing a person did."""

    #: False: they were suppressed before
    first: bool
    since: datetime
    #: rows that were missing: the person's and one per identifier
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SuppressionRow:
    """One standing entry of the do-not-contact list."""

    id: int
    #: None: only the identifier is known
    person_id: int | None
    #: keyed digest of an identifier; None: the person as such
    hmac: str | None
    #: None: every channel
    channel: Channel | None
    reason: str
    source: str
    evidence: Mapping[str, Any]
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One permission to record: of this identity, on this channel, with its proof."""

    identity_id: int
    channel: Channel
    basis: BasisKind
    source: str
    proof: str
    obtained_at: datetime
    expires_at: datetime | None = None
    #: None: to all accounts of ours
    account_id: int | None = None
    #: ISO 3166 code: under whose law it was given
    country: str | None = None
    import_id: int | None = None


# --- suppression ---------------------------------------------------------------------------------------------


def suppress_person(
    tx: Tx, person_id: int, *, reason: str, source: str, evidence: Mapping[str, Any], now: datetime
) -> Suppressed:
    """Suppress the human on every channel, and each identifier they carry. Doing it again adds only what is missing.

    `evidence` holds ids and words, never an identifier in the clear. Raises ConflictError when the person was merged into
    another while the caller waited for the lock: look the person up again.
    """
    state = permissions.person_state(tx, person_id)
    if state["merged_into"] is not None:
        raise ConflictError(f"person {person_id} has become part of person {state['merged_into']}")
    since = permissions.mark_suppressed(tx, person_id, reason=reason, at=now)
    rows = permissions.insert_of_person(
        tx, person_id, reason=reason, source=source, evidence=evidence, at=now
    )
    first = state["suppressed_at"] is None
    if (first or rows) and source != FROM_JOURNAL:
        journal.tell(tx, "suppressed", journal.digests_of(tx, person_id), now, source=source, person=True)
    return Suppressed(first=first, since=since, rows=rows)


def suppress_identifier(
    tx: Tx,
    hmac: str,
    *,
    reason: str,
    source: str,
    evidence: Mapping[str, Any],
    now: datetime,
    channel: Channel | None = None,
) -> list[int]:
    """Suppress an identifier by its keyed digest, on one channel or all; who carries it now, by id.

    T1 refuses those persons from the commit on; whoever wants their leads stopped suppresses them too, one by one.
    """
    new = permissions.insert_of_identifier(
        tx, hmac, channel=channel, reason=reason, source=source, evidence=evidence, at=now
    )
    if new and source != FROM_JOURNAL:
        journal.tell(tx, "suppressed", [hmac], now, source=source, person=False, channel=channel)
    return permissions.owners_of(tx, hmac)


def mark_erasure(tx: Tx, hmac: str, *, reason: str, source: str) -> None:
    """The standing entries of this identifier say no more than that it was erased: an earlier one may quote a human's words."""
    permissions.restate(tx, hmac, reason=reason, source=source)


def effective_now(tx: Tx, person_id: int, *, now: datetime, settle: timedelta) -> bool:
    """Can nothing surface at a provider any more? Writes suppression_effective_at when that has become true.

    True once no execution of theirs is calling, and none is in doubt whose deadline is less than `settle` ago. False also
    for somebody who is not suppressed.
    """
    if permissions.person_state(tx, person_id)["suppression_effective_at"] is not None:
        return True
    return permissions.mark_effective(tx, person_id, now=now, settled_before=now - settle)


def still_draining(tx: Tx, *, limit: int = 500) -> list[int]:
    """Suppressed persons to whom something may still surface, by id: the sweep asks effective_now of each."""
    return permissions.still_draining(tx, limit=limit)


def join(tx: Tx, *, kept_id: int, gone_id: int) -> bool:
    """After a merge has relabelled the identities: the stricter of both holds, and is drained again. Is it suppressed?"""
    sides = [permissions.person_state(tx, who) for who in (kept_id, gone_id)]
    suppressed = [side for side in sides if side["suppressed_at"] is not None]
    if not suppressed:
        return False
    first = min(suppressed, key=lambda side: side["suppressed_at"])
    suppress_person(
        tx,
        kept_id,
        reason=first["suppression_reason"],
        source="merge",
        evidence={"person_id": gone_id},
        now=first["suppressed_at"],
    )
    permissions.clear_effective(tx, kept_id)
    return True


def note_erased(tx: Tx, person_id: int, *, now: datetime) -> None:
    """They are erased in this transaction: a backup that brings them back must forget them again."""
    journal.tell(tx, "erased", journal.digests_of(tx, person_id), now, person=True)


def lift(tx: Tx, person_id: int, *, reason: str, now: datetime, told: bool = True) -> int:
    """Lift every suppression of the person and of their identifiers; how many rows. Only a human with a reason does this.

    Raises UsageError without a reason, or for an erased person: what they asked for outlives what we know of them.
    """
    if permissions.person_state(tx, person_id)["erased_at"] is not None:
        raise UsageError(f"person {person_id} is erased and stays suppressed")
    lifted = permissions.lift_of_person(tx, person_id, reason=_said(reason), at=now)
    permissions.unmark_suppressed(tx, person_id)
    if told:
        journal.tell(tx, "lifted", journal.digests_of(tx, person_id), now, person=True)
    return lifted


def lift_identifier(tx: Tx, hmac: str, *, reason: str, now: datetime, told: bool = True) -> int:
    """Lift the suppressions of an identifier; how many rows. A suppressed person stays suppressed. UsageError as in lift.

    `told` (here and in lift): False for what was read back from the journal.
    """
    lifted = permissions.lift_of_identifier(tx, hmac, reason=_said(reason), at=now)
    if told and lifted:
        journal.tell(tx, "lifted", [hmac], now, person=False)
    return lifted


def _said(reason: str) -> str:
    if not reason.strip():
        raise UsageError(
            "a suppression is lifted only with a reason", hint="say who asked for it, when and how"
        )
    return reason.strip()


def suppression_of(tx: Tx, *, person_id: int | None = None, hmac: str | None = None) -> list[SuppressionRow]:
    """The standing entries that concern a person (with all their identifiers) or one identifier, oldest first."""
    if (person_id is None) == (hmac is None):
        raise ValueError("ask for a person or for an identifier")
    if person_id is not None:
        rows = permissions.standing_of_person(tx, person_id)
    else:
        rows = permissions.standing_of_identifier(tx, str(hmac))
    return [
        SuppressionRow(**{**row, "channel": Channel(row["channel"]) if row["channel"] else None})
        for row in rows
    ]


# --- consent -------------------------------------------------------------------------------------------------


def record_consent(tx: Tx, grant: Grant, *, now: datetime) -> bool:
    """Record one permission. False: it stands already, or was withdrawn since it was obtained."""
    return record_consents(tx, [grant], now=now) == 1


def record_consents(tx: Tx, grants: Sequence[Grant], *, now: datetime) -> int:
    """Record many; how many were new. The same proof counts once, and never again after it was withdrawn.

    Raises UsageError for a permission without source or proof.
    """
    for grant in grants:
        if not grant.source.strip() or not grant.proof.strip():
            raise UsageError(
                f"a basis of {grant.basis.value} needs a source and a proof",
                hint="where does it come from, and what shows it?",
            )
    return permissions.insert_consents(tx, [_row(grant, now) for grant in dict.fromkeys(grants)])


def _row(grant: Grant, now: datetime) -> tuple[Any, ...]:
    return (
        grant.identity_id, grant.channel.value, grant.account_id, grant.basis.value, grant.source, grant.proof,
        grant.country, grant.obtained_at, grant.expires_at, grant.import_id, now,
    )  # fmt: skip


def record_inbound_basis(
    tx: Tx,
    *,
    identity_id: int,
    channel: Channel,
    account_id: int,
    inbound_id: int,
    at: datetime,
    now: datetime,
) -> bool:
    """They wrote to this account at `at`: from then on it may answer. False: a later message is on record already.

    Not for an opt-out: who says stop has not asked us to write.
    """
    return permissions.upsert_inbound_basis(
        tx,
        identity_id=identity_id,
        channel=channel.value,
        account_id=account_id,
        proof=f"inbound:{inbound_id}",
        at=at,
        now=now,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A permission that permits nothing any more."""

    consent_id: int
    identity_id: int
    basis: BasisKind


def withdraw_consent(
    tx: Tx,
    *,
    identity_ids: Sequence[int],
    channel: Channel,
    reason: str,
    now: datetime,
    basis: BasisKind | None = None,
) -> list[Ended]:
    """End the permissions of these identities on this channel (one basis, or all of them).

    Whoever holds the person's row binds every new send by it at the commit. Raises UsageError without a reason.
    """
    if not reason.strip():
        raise UsageError(
            "a permission is withdrawn only with a reason", hint="say who asked for it, when and how"
        )
    rows = permissions.withdraw(
        tx, identity_ids, channel.value, basis=basis.value if basis else None, reason=reason.strip(), at=now
    )
    return [
        Ended(consent_id=r["id"], identity_id=r["identity_id"], basis=BasisKind(r["basis"])) for r in rows
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """A permission that has run out; of whom, and where."""

    consent_id: int
    person_id: int
    channel: str
    basis: str
    at: datetime


def note_expired(tx: Tx, *, now: datetime, limit: int) -> list[Expired]:
    """Permissions that have run out and were not noted yet, each once. The gate does not wait for this: it reads the instant."""
    return [
        Expired(
            consent_id=r["id"],
            person_id=r["person_id"],
            channel=r["channel"],
            basis=r["basis"],
            at=r["expires_at"],
        )
        for r in permissions.note_expired(tx, now=now, limit=limit)
    ]
