"""audit: caps recomputed from what the ledger, or an outside witness, says happened. It believes no counter and no verdict."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from outreach.engine.kinds import ActionKind
from outreach.limits.audit import Effect, Peak, peak
from outreach.limits.caps import Cap
from outreach.limits.scope import Scope
from outreach.models import accounts, auditing, instance, sequences
from outreach.models.base import Row, Tx
from outreach.runtime.context import Context
from outreach.runtime.scopes import account_scope, app_scope, instance_scope, sequence_scope

_KINDS = tuple(kind.value for kind in ActionKind)
_BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An effect that an outside witness saw: by which account (its id at the provider), of which kind, when."""

    account: str
    kind: str
    at: datetime
    by_hand: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """One cap of one scope, and the fullest window that it ever had to hold."""

    scope: str
    name: str
    kind: str
    cap: Cap
    peak: Peak


#: A scope with the name that people know it by.
_Named = tuple[Scope, str]


def audit_caps(ctx: Context, since: datetime | None, seen: Sequence[Seen] | None = None) -> list[Audited]:
    """Every cap that governs anything since then. `seen`: what a witness saw, instead of the ledger.

    Caps are those in force now. A witness tells accounts apart, not sequences: their caps are judged on the ledger alone.
    """

    def work(tx: Tx) -> list[Audited]:
        begin = since or _BEGINNING
        by_account = {row["id"]: row for row in accounts.listed(tx)}
        if seen is not None:
            return _audited(_witnessed_scopes(tx, by_account, seen), begin, _from_witness(by_account, seen))
        return _audited(
            _ledger_scopes(tx, by_account, begin), begin, lambda scope: _from_ledger(tx, scope, begin)
        )

    return ctx.db.run(work)


def _audited(
    scopes: Iterable[_Named], since: datetime, effects: Callable[[Scope], list[Effect]]
) -> list[Audited]:
    found: list[Audited] = []
    for scope, name in scopes:
        happened = effects(scope) if scope.caps else []
        for cap in scope.caps:
            fullest = peak(happened, cap, since)
            if fullest is not None:
                found.append(
                    Audited(scope=scope.kind, name=name, kind=scope.action_kind, cap=cap, peak=fullest)
                )
    return found


# --- which scopes ---------------------------------------------------------------------------------------------


def _ledger_scopes(tx: Tx, by_account: dict[int, Row], since: datetime) -> Iterator[_Named]:
    used = auditing.used(tx, _KINDS, since)
    yield from _account_scopes(tx, by_account, [(row["account_id"], row["kind"]) for row in used])
    for row in auditing.used_sequences(tx, _KINDS, since):
        version = sequences.latest_version(tx, row["sequence_id"])
        if version is not None:
            caps = sequences.graph_of(tx, version.id).caps
            yield sequence_scope(row["sequence_id"], row["kind"], caps), row["name"]


def _witnessed_scopes(tx: Tx, by_account: dict[int, Row], seen: Sequence[Seen]) -> Iterator[_Named]:
    ids = {row["external_id"]: row["id"] for row in by_account.values()}
    pairs = {(ids[one.account], one.kind) for one in seen if one.account in ids}
    yield from _account_scopes(tx, by_account, sorted(pairs))


def _account_scopes(tx: Tx, by_account: dict[int, Row], pairs: Sequence[tuple[int, str]]) -> Iterator[_Named]:
    for account_id, kind in pairs:
        row = by_account[account_id]
        yield (
            account_scope(account_id, row["channel"], kind, row["caps"], row["pace"], row["zone"]),
            row["name"],
        )
    for app_id, name, kind in sorted(
        {(by_account[a]["app_id"], by_account[a]["app_name"], k) for a, k in pairs}
    ):
        caps = next(row["app_caps"] for row in by_account.values() if row["app_id"] == app_id)
        yield app_scope(app_id, kind, caps), name
    own = instance.read(tx)
    for kind in sorted({kind for _, kind in pairs}):
        yield instance_scope(kind, own.caps), own.name


# --- what happened in them ------------------------------------------------------------------------------------


def _from_ledger(tx: Tx, scope: Scope, since: datetime) -> list[Effect]:
    longest = max((cap.length for cap in scope.caps), default=timedelta(0))
    return [
        Effect(
            started_at=row["started_at"],
            effect_by=row["effect_by"],
            known_at=row["created_at"] if row["by_hand"] else row["started_at"],
            ours=not row["by_hand"],
            zone=row["zone"],
        )
        for row in auditing.effects(tx, scope.kind, scope.id, scope.action_kind, since - longest)
    ]


def _from_witness(by_account: dict[int, Row], seen: Sequence[Seen]) -> Callable[[Scope], list[Effect]]:
    """A witness has one instant for each effect."""
    ids = {row["external_id"]: row for row in by_account.values()}

    def belongs(one: Seen, scope: Scope) -> bool:
        row = ids.get(one.account)
        if row is None or one.kind != scope.action_kind:
            return False
        return scope.kind == "instance" or scope.id == row["app_id" if scope.kind == "app" else "id"]

    return lambda scope: [
        Effect(
            started_at=one.at,
            effect_by=one.at,
            known_at=one.at,
            ours=not one.by_hand,
            zone=ids[one.account]["zone"],
        )
        for one in seen
        if belongs(one, scope)
    ]
