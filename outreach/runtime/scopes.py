"""Whose caps a send falls under, in both spellings: scopes for the limiter, windows for the ledger."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from outreach.compliance.facts import CapUse
from outreach.engine.graph import Graph
from outreach.limits.caps import DEFAULT_APP_CAPS, DEFAULT_CAPS, DEFAULT_PACE, Cap, parse_caps
from outreach.limits.scope import Scope
from outreach.models.base import Row
from outreach.models.claims import Window

#: What a row of accounts and apps says, or the default of the kind. "none" as text: no cap of our own.
_NONE = "none"
_NONE_BEFORE: Mapping[str, int] = MappingProxyType({})


def account_scope(
    account_id: int, channel: str, kind: str, caps: Mapping[str, str], pace: Mapping[str, float], zone: str
) -> Scope:
    """The account's own caps and pace."""
    return Scope(
        kind="account",
        id=account_id,
        action_kind=kind,
        caps=_caps(caps.get(kind), DEFAULT_CAPS[kind].caps),
        pace_seconds=float(pace.get(kind, DEFAULT_PACE[channel])),
        zone=zone,
    )


def app_scope(app_id: int, kind: str, caps: Mapping[str, str]) -> Scope:
    """The developer app's caps, over all its accounts."""
    default = DEFAULT_APP_CAPS.get(kind)
    return Scope(
        kind="app", id=app_id, action_kind=kind, caps=_caps(caps.get(kind), default.caps if default else ())
    )


def sequence_scope(sequence_id: int, kind: str, caps: Mapping[str, str], zone: str = "UTC") -> Scope:
    """What a sequence allows itself; a local date is the sending account's."""
    return Scope(kind="sequence", id=sequence_id, action_kind=kind, caps=_caps(caps.get(kind), ()), zone=zone)


def instance_scope(kind: str, caps: Mapping[str, str], zone: str = "UTC") -> Scope:
    """What the whole instance allows itself; a local date is the sending account's."""
    return Scope(kind="instance", id=0, action_kind=kind, caps=_caps(caps.get(kind), ()), zone=zone)


def _caps(text: str | None, default: Sequence[Cap]) -> tuple[Cap, ...]:
    if text is None:
        return tuple(default)
    return () if text.strip() == _NONE else parse_caps(text)


def scopes_of(row: Row, graph: Graph) -> tuple[Scope, ...]:
    """All scopes of one execution. `row` is models.claims.prepare's."""
    kind, zone = row["kind"], row["account_zone"]
    scopes = (
        account_scope(
            row["account_id"], row["channel"], kind, row["account_caps"], row["account_pace"], zone
        ),
        app_scope(row["app_id"], kind, row["app_caps"]),
        sequence_scope(row["sequence_id"], kind, graph.caps, zone),
        instance_scope(kind, row["instance_caps"], zone),
    )
    return tuple(s for s in scopes if s.limits)


def to_lock(scopes: Sequence[Scope]) -> list[str]:
    """What T1 must lock beside the account's row, so that nobody claims between its counting and its commit."""
    return ["app" if s.kind == "app" else s.name for s in scopes if s.caps and s.kind != "account"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedWindow:
    """A window of the ledger query beside the cap it counts."""

    window: Window
    cap: Cap
    zone: str

    def use(self, nth_newest: datetime | None, now: datetime) -> CapUse:
        """What the gate is told: full exactly when the limit-th newest effect still counts."""
        full = nth_newest is not None
        return CapUse(
            scope=self.window.scope,
            cap=str(self.cap),
            limit=self.cap.limit,
            used=self.cap.limit if full else 0,
            full_until=self.cap.frees_at(nth_newest, now, self.zone) if nth_newest is not None else None,
        )


def windows_of(
    scopes: Sequence[Scope], now: datetime, places: Mapping[str, int] = _NONE_BEFORE
) -> list[CountedWindow]:
    """One window per cap of every scope, as of `now`, with room for `places` others that are not in the ledger yet."""
    return [
        CountedWindow(
            window=Window(
                scope=scope.kind,
                scope_id=scope.id,
                kind=scope.action_kind,
                limit=cap.limit - places.get(scope.name, 0),
                since=cap.since(now, scope.zone),
                inclusive=cap.seconds is None,
            ),
            cap=cap,
            zone=scope.zone,
        )
        for scope in scopes
        for cap in scope.caps
    ]


def pace_of(scopes: Sequence[Scope]) -> timedelta:
    """The account's pacing gap."""
    return max((s.pace for s in scopes if s.kind == "account"), default=timedelta(0))
