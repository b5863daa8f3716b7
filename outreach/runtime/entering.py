"""Coming in by oneself: whoever writes first is enrolled by the very transaction that understands the message.

Not an entry point: digest, the forms and the segments call it. The person's row is locked, or was made by this transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from outreach.audience.remembering import digest_of
from outreach.compliance import register
from outreach.compliance.facts import ANSWER_WITHIN
from outreach.compliance.quoting import fold
from outreach.engine.events import EventKind
from outreach.engine.graph import Entry, Graph
from outreach.engine.kinds import MESSAGE_KINDS, Channel, ReplyClass
from outreach.models import enrolling, entries, events, leads, sequences
from outreach.models.base import Row, Tx
from outreach.models.persons import LockedPerson
from outreach.runtime.context import Context
from outreach.runtime.doors import senders_of
from outreach.runtime.enroll import Senders, channels_of, data_of
from outreach.runtime.hints import Hints
from outreach.runtime.moving import go_on

#: What a first message may be for its writer to come in: no opt-out, no refusal, nothing that a machine wrote.
OPENS = frozenset({ReplyClass.POSITIVE, ReplyClass.NEUTRAL, ReplyClass.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Door:
    """An entry of a sequence's newest version: its row, and what the graph says of it."""

    row: Row
    graph: Graph

    @property
    def entry(self) -> Entry:
        return self.graph.entries[self.row["position"]]


def door_of(tx: Tx, row: Row) -> Door:
    """Raises NeedsNewerWorker: what came is left as it is until a newer release looks."""
    return Door(row, sequences.graph_of(tx, row["version_id"]))


# --- by message ---------------------------------------------------------------------------------------------


def enter_by_message(
    ctx: Context,
    tx: Tx,
    row: Row,
    person: LockedPerson,
    identity_id: int,
    reply_class: ReplyClass,
    now: datetime,
) -> Hints:
    """Somebody whom we know, and who is in no sequence, has written: enrol them where a door is open for it."""
    door = _door_for(tx, row, reply_class, now)
    if door is None:
        return []
    why = _against_person(tx, door, person, row, now)
    if why is not None:
        refuse(tx, door, why, now, person_id=person.id, inbound_id=row["id"])
        return []
    known = enrolling.person_data(tx, person.id)
    return _admit_writer(
        ctx, tx, door, row, person.id, identity_id, data_of(known["name"], known["attributes"] or {}), now
    )


@dataclass(frozen=True, slots=True)
class Entered:
    """A stranger who has become a person of ours."""

    person_id: int
    hints: Hints


def enter_as_stranger(
    ctx: Context, tx: Tx, row: Row, reply_class: ReplyClass, now: datetime
) -> Entered | None:
    """The same for somebody whom nobody here is known by. None: no door is open for it, and they stay unknown."""
    door = _door_for(tx, row, reply_class, now) if row["peer"] else None
    if door is None:
        return None
    peer, handle = _identities(ctx, tx, row)
    why = _against_stranger(tx, door, row, [i["hmac"] for i in (peer, handle) if i is not None])
    if why is not None:
        refuse(tx, door, why, now, inbound_id=row["id"])
        return None
    person_id, identity_id = entries.insert_stranger(tx, peer, handle, now)
    register.record_inbound_basis(
        tx, identity_id=identity_id, channel=Channel(row["channel"]), account_id=row["account_id"], inbound_id=row["id"],
        at=row["occurred_at"], now=now,
    )  # fmt: skip
    return Entered(person_id, _admit_writer(ctx, tx, door, row, person_id, identity_id, {}, now))


def _identities(ctx: Context, tx: Tx, row: Row) -> tuple[dict[str, str], dict[str, str] | None]:
    """What is written down of a stranger: the id that wrote, and the handle it came under."""

    def of(kind: str, value: str, shown: str) -> dict[str, str]:
        return {"kind": kind, "value": value, "shown": shown, "hmac": digest_of(tx, ctx.peppers, kind, value)}

    handle = row["peer_handle"] if row["peer_kind"] == "twitter_id" else ""
    peer = of(row["peer_kind"], row["peer"], row["peer"])
    return peer, of("twitter_handle", handle, f"@{handle}") if handle else None


def _door_for(tx: Tx, row: Row, reply_class: ReplyClass, now: datetime) -> Door | None:
    """The door that this message opens: one that asks for words before one that does not, one for accounts before one for all."""
    if reply_class not in OPENS or now - row["occurred_at"] > ANSWER_WITHIN:
        return None
    doors = [door_of(tx, found) for found in entries.for_messages(tx, row["account_id"])]
    open_ones = [door for door in doors if _opens(door, row)]
    return min(open_ones, key=_breadth, default=None)


def _opens(door: Door, row: Row) -> bool:
    entry, found = door.entry, door.row
    named = bool(entry.accounts or entry.pools)
    ours = found["account"] in entry.accounts or bool(set(found["pools"]) & set(entry.pools))
    return (
        (ours or not named)
        and row["occurred_at"] >= found["since"]
        and says_one_of(row["text"] or "", entry.words)
    )


def _breadth(door: Door) -> tuple[bool, bool, int]:
    entry = door.entry
    return not entry.words, not (entry.accounts or entry.pools), door.row["id"]


def says_one_of(text: str, words: Sequence[str]) -> bool:
    """Does one of the words stand in the text, as a word, whatever its case and accents? No words: any text will do."""
    plain = f" {_spaced(text)} "
    return not words or any(f" {_spaced(word)} " in plain for word in words)


def _spaced(text: str) -> str:
    """Folded words with one blank between them; punctuation is none of them."""
    return " ".join("".join(c if c.isalnum() else " " for c in fold(text)).split())


def _against_person(tx: Tx, door: Door, person: LockedPerson, row: Row, now: datetime) -> str | None:
    if person.suppressed:
        return "suppressed"
    if person.paused:
        return "paused"
    past = _past(tx, door, person.id)
    why = _too_soon(door, past, now) or _in_conversation(door, past.spoken_at, row["occurred_at"])
    return why or _in_conversation(door, entries.written_by_hand(tx, person.id), row["occurred_at"])


def been_here(tx: Tx, door: Door, person_id: int, now: datetime) -> str | None:
    """Why they do not come in again, as far as this sequence knows them; None: they may."""
    return _too_soon(door, _past(tx, door, person_id), now)


def _past(tx: Tx, door: Door, person_id: int) -> entries.Past:
    channel = door.entry.channel.value if door.entry.channel else ""
    return entries.past(tx, person_id, door.row["sequence_id"], channel=channel, kinds=sorted(MESSAGE_KINDS))


def _against_stranger(tx: Tx, door: Door, row: Row, digests: Sequence[str]) -> str | None:
    for digest in digests:
        hits = register.suppression_of(tx, hmac=digest)
        if any(hit.channel in (None, row["channel"]) for hit in hits):
            return "suppressed"
    spoken = entries.written_to_stranger(tx, row["peer_kind"], row["peer"])
    return _in_conversation(door, spoken, row["occurred_at"])


def _too_soon(door: Door, past: entries.Past, now: datetime) -> str | None:
    """Once per person and sequence; with a cool-off again, so long after the last passage has ended."""
    if past.active:
        return "active"
    if past.ended_at is None:
        return None
    cool_off = door.entry.cool_off
    if cool_off is None:
        return "been_here"
    return "cool_off" if now < past.ended_at + cool_off else None


def _in_conversation(door: Door, spoken_at: datetime | None, wrote_at: datetime) -> str | None:
    """An answer to what we wrote to them, by an older sequence or by hand, is no first message."""
    cool_off = door.entry.cool_off
    quiet: timedelta = ANSWER_WITHIN if cool_off is None else min(cool_off, ANSWER_WITHIN)
    return "in_conversation" if spoken_at is not None and wrote_at - spoken_at <= quiet else None


def refuse(
    tx: Tx, door: Door, why: str, now: datetime, *, person_id: int | None = None, **payload: Any
) -> None:
    """Somebody stood at the door and was not let in: the log says why."""
    event = events.Event(
        kind=EventKind.ENTRY_REFUSED, at=now, person_id=person_id, sequence_id=door.row["sequence_id"],
        payload={"entry": door.entry.kind.value, "reason": why, **payload},
    )  # fmt: skip
    events.append(tx, [event])


# --- the lead -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomer:
    """Who comes in. `bound`: channel -> (account, identity) that stand already; `prefer`: identities that go before others."""

    person_id: int
    data: Mapping[str, Any]
    bound: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    prefer: Sequence[int] = ()


def _admit_writer(
    ctx: Context,
    tx: Tx,
    door: Door,
    row: Row,
    person_id: int,
    identity_id: int,
    data: Mapping[str, Any],
    now: datetime,
) -> Hints:
    """They are answered by the account that they wrote to, under the identity that wrote."""
    bound = {row["channel"]: (row["account_id"], identity_id)}
    newcomer = Newcomer(person_id=person_id, data=data, bound=bound)
    return admit(ctx, tx, door, newcomer, now, inbound_id=row["id"]) or []


def admit(
    ctx: Context, tx: Tx, door: Door, newcomer: Newcomer, now: datetime, **payload: Any
) -> Hints | None:
    """Make the lead and take its first step at once; what to hint. None: they are in the sequence already."""
    person_id, row = newcomer.person_id, door.row
    lead = {
        "person_id": person_id, "sequence_id": row["sequence_id"], "version_id": row["version_id"], "key": None, "batch": None,
        "data": newcomer.data, "cursor": door.graph.start,
    }  # fmt: skip
    lead_id = enrolling.insert_leads(tx, [lead], now, now + ctx.hint_lease).get(person_id)
    if lead_id is None:
        return None
    enrolling.insert_bindings(tx, [(lead_id, c, *b) for c, b in _bindings(tx, door, newcomer).items()])
    event = events.Event(
        kind=EventKind.LEAD_ENROLLED, at=now, lead_id=lead_id, lead_seq=1, person_id=person_id, sequence_id=row["sequence_id"],
        payload={"entry": door.entry.kind.value, **payload},
    )  # fmt: skip
    events.append(tx, [event])
    fresh = leads.read(tx, lead_id)
    found = go_on(ctx, tx, fresh, now)
    fresh.write(tx)
    return found


def _bindings(tx: Tx, door: Door, newcomer: Newcomer) -> dict[str, tuple[int, int]]:
    """One account and one identity per channel, for the lead's life."""
    bound = dict(newcomer.bound)
    others = [channel for channel in channels_of(door.graph) if channel not in bound]
    if not others:
        return bound
    senders = Senders(by_channel=senders_of(tx, others, door.entry.accounts, door.entry.pools))
    for channel in senders.by_channel:
        handles = enrolling.handles(tx, [newcomer.person_id], channel, prefer=newcomer.prefer)
        if newcomer.person_id in handles:
            bound[channel] = (senders.choose(channel, newcomer.person_id), handles[newcomer.person_id])
    return bound
