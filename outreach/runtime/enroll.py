"""enroll: make leads of a segment's people, each bound to one account per channel for its life. Idempotent."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from outreach.engine.events import EventKind
from outreach.engine.graph import Graph
from outreach.engine.suggest import did_you_mean
from outreach.errors import NotFound, UsageError
from outreach.ids import bucket, new_key
from outreach.models import accounts, batches, enrolling, events, sequences
from outreach.models.base import Row, Tx
from outreach.runtime import hints
from outreach.runtime.context import Context
from outreach.runtime.hints import Hints

_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """What an enrolment did: its batch, how many leads it made, and why others were left out."""

    batch: str
    sequence: str
    version: int
    members: int
    enrolled: int
    left_out: Mapping[str, int]
    hints: Hints = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Senders:
    """Which accounts may speak, per channel."""

    by_channel: Mapping[str, Sequence[int]]

    def choose(self, channel: str, person_id: int) -> int:
        """The person's account on the channel: the same whenever it is asked, spread evenly over people."""
        pool = self.by_channel[channel]
        return pool[int(bucket("sender", channel, person_id) * len(pool))]


def enroll(
    ctx: Context, sequence: str, segments: Sequence[str], *, account_names: Sequence[str] = (), pools: Sequence[str] = (), again: bool = False,
    limit: int | None = None, by: str,
) -> Enrolled:  # fmt: skip
    """Enrol the members of `segments` that may be. `again`: also those who have been through this sequence before.

    Raises NotFound or UsageError naming what is missing; then nothing is written.
    """

    def work(tx: Tx) -> Enrolled:
        found = sequences.find(tx, sequence)
        if found["state"] == "archived":
            raise UsageError(
                f"sequence {sequence!r} is archived", hint=f"outreach sequence resume {sequence}"
            )
        version = sequences.latest_version(tx, found["id"])
        if version is None:
            raise UsageError(f"sequence {sequence!r} has no version", hint="outreach sequence publish FILE")
        graph = sequences.graph_of(tx, version.id)
        require_segments(tx, segments)
        senders = find_senders(tx, channels_of(graph), account_names, pools)
        rows = enrolling.candidates(tx, segments, found["id"])
        enrolled = enroll_rows(ctx, tx, found, version, graph, senders, rows, again=again, limit=limit, by=by)
        now, made = ctx.clock.at(tx.database_now()), [hint.id for hint in enrolled.hints]
        batches.note(tx, enrolled.batch, found["id"], version.id, segments, made, at=now, by=by)
        return enrolled

    return ctx.db.run(work)


def enroll_rows(
    ctx: Context, tx: Tx, sequence: Row, version: sequences.Version, graph: Graph, senders: Senders, rows: Sequence[Row], *, again: bool,
    limit: int | None, by: str, **payload: Any,
) -> Enrolled:  # fmt: skip
    """Enrol those of the candidates that may be, in the open transaction. `payload`: what else the log says of each."""
    now = ctx.clock.at(tx.database_now())
    batch = new_key()[:8]
    handles = {
        channel: enrolling.handles(tx, [r["person_id"] for r in rows], channel)
        for channel in senders.by_channel
    }
    left_out: Counter[str] = Counter()
    chosen: list[Row] = []
    for row in rows:
        reason = stands_against(row, handles, graph, again)
        if reason is not None:
            left_out[reason] += 1
        elif limit is not None and len(chosen) >= limit:
            left_out["over the limit that was asked for"] += 1
        else:
            chosen.append(row)
    made: list[int] = []
    for start in range(0, len(chosen), _PAGE):
        page = [_lead(row, sequence["id"], version.id, graph, batch) for row in chosen[start : start + _PAGE]]
        leads = enrolling.insert_leads(tx, page, now, now + ctx.hint_lease)
        made += leads.values()
        enrolling.insert_bindings(tx, _bindings(leads, handles, senders))
        events.append(
            tx,
            [
                _enrolled_event(lead, person, sequence["id"], by, now, {"batch": batch, **payload})
                for person, lead in leads.items()
            ],
        )
    left_out["enrolled meanwhile"] += len(chosen) - len(made)
    return Enrolled(
        batch=batch, sequence=sequence["name"], version=version.version, members=len(rows), enrolled=len(made),
        left_out={reason: n for reason, n in left_out.items() if n}, hints=[hints.advance(i) for i in made],
    )  # fmt: skip


def stands_against(
    row: Row, handles: Mapping[str, Mapping[int, int]], graph: Graph, again: bool
) -> str | None:
    """Why this candidate (a row of models.enrolling) is left out; None: enrolled. `handles`: per channel, identities by person."""
    if row["suppressed"]:
        return "on the do-not-contact list"
    if row["active"]:
        return "active in this sequence already"
    if row["before"] and not again:
        return "has been through this sequence before (--again)"
    first = graph.node(graph.start).channel
    if first is not None and row["person_id"] not in handles.get(first.value, {}):
        return f"no {first.value} identity"
    if not any(row["person_id"] in found for found in handles.values()):
        return "no identity on any channel of the sequence"
    return None


def _lead(row: Row, sequence_id: int, version_id: int, graph: Graph, batch: str) -> dict[str, Any]:
    return {
        "person_id": row["person_id"],
        "sequence_id": sequence_id,
        "version_id": version_id,
        "key": None,
        "batch": batch,
        "data": data_of(row["name"], row["attributes"] or {}),
        "cursor": graph.start,
    }


def data_of(name: str | None, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What templates may use of a person, frozen now: their attributes, their name, and its first word."""
    words = (name or "").split()
    named = {"name": name, "first_name": words[0]} if words else {}
    return named | dict(attributes)


def _bindings(
    leads: Mapping[int, int], handles: Mapping[str, Mapping[int, int]], senders: Senders
) -> list[tuple[int, str, int, int]]:
    return [
        (lead, channel, senders.choose(channel, person), identities[person])
        for channel, identities in handles.items()
        for person, lead in leads.items()
        if person in identities
    ]


def _enrolled_event(
    lead_id: int, person_id: int, sequence_id: int, by: str, now: Any, payload: dict[str, Any]
) -> events.Event:
    return events.Event(
        kind=EventKind.LEAD_ENROLLED, at=now, actor=by, lead_id=lead_id, lead_seq=1, person_id=person_id, sequence_id=sequence_id,
        payload=payload,
    )  # fmt: skip


# --- who speaks --------------------------------------------------------------------------------------------


def channels_of(graph: Graph) -> list[str]:
    """The channels that the sequence speaks on."""
    return sorted({node.channel.value for node in graph.nodes.values() if node.channel is not None})


def find_senders(
    tx: Tx, channels: Sequence[str], account_names: Sequence[str], pools: Sequence[str]
) -> Senders:
    """The named accounts and pools by channel; where a channel has exactly one account and none was named, that one.

    `account_names`: "name" or "channel=name". Raises UsageError for a channel that nobody speaks on.
    """
    by_channel: dict[str, list[int]] = {}
    for name in account_names:
        channel, _, plain = name.rpartition("=")
        account = accounts.find(tx, plain)
        if channel and channel != account["channel"]:
            raise UsageError(
                f"--account {name}: account {plain} is of {account['channel']}",
                hint=f"write --account {account['channel']}={plain}, or --account {plain}",
            )
        by_channel.setdefault(account["channel"], []).append(account["id"])
    for pool in pools:
        for account in accounts.pool_accounts(tx, pool.rpartition("=")[2]):
            by_channel.setdefault(account["channel"], []).append(account["id"])
    everyone = accounts.listed(tx)
    for channel in channels:
        if channel not in by_channel:
            only = [a["id"] for a in everyone if a["channel"] == channel]
            if len(only) == 1:
                by_channel[channel] = only
    missing = [c for c in channels if c not in by_channel]
    if missing:
        names = ", ".join(a["name"] for a in everyone if a["channel"] in missing)
        raise UsageError(
            f"no account for {', '.join(missing)}",
            hint=f"name one with --account {missing[0]}=NAME; there are: {names or 'none; outreach account add makes one'}",
        )
    return Senders(by_channel={c: sorted(set(by_channel[c])) for c in channels})


def require_segments(tx: Tx, names: Sequence[str]) -> None:
    known = enrolling.segment_names(tx)
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) if known else "outreach segment create makes one"
            raise NotFound(f"no segment {name!r}", hint=hint)
