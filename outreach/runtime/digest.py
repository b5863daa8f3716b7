"""digest: match, classify, and stop or decide in the same transaction. A reply costs one message."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from outreach.audience.remembering import digest_of
from outreach.compliance import register
from outreach.compliance.optout import classify_reply
from outreach.engine.events import EventKind
from outreach.engine.kinds import Channel, ReplyClass, SignalKind
from outreach.models import accounts, events, executions, inbound, leads, peers, persons, tasks
from outreach.models.base import Row, Tx
from outreach.models.persons import LockedPerson
from outreach.providers.base import InboundKind
from outreach.runtime import hints
from outreach.runtime.context import Context
from outreach.runtime.echoes import SKEW_SECONDS, is_echo, match_echo, match_stranger_echo
from outreach.runtime.entering import Entered, enter_as_stranger, enter_by_message
from outreach.runtime.hints import Hints
from outreach.runtime.moving import go_on
from outreach.runtime.notifying import put_reply
from outreach.runtime.optout import stop_leads, suppress
from outreach.runtime.stopping import GAVE_UP, end_access, stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One inbound row with whom it is from; the person's row and the inbound row are locked."""

    row: Row
    person: LockedPerson
    identity_id: int
    now: datetime

    @property
    def at(self) -> datetime:
        at: datetime = self.row["occurred_at"]
        return at


def digest(ctx: Context, inbound_id: int) -> Hints:
    """Understand one stored row; a second call finds nothing to do."""

    def work(tx: Tx) -> Hints:
        # An echo settles executions like T2: the lock `sends` comes before every row, here as there.
        executions.share_sends(tx)
        row = inbound.read(tx, inbound_id)
        if (
            row is None
            or row["state"] not in ("stored", "waiting")
            or not understood(row["channel"], row["kind"])
        ):
            return []
        if row["kind"] == InboundKind.ACCOUNT_REVOKED.value:
            return _revoked(ctx, tx, row)
        identity = _peer(ctx, tx, row)
        if identity is None or row["account_id"] is None:
            return _unmatched(ctx, tx, row)
        person = persons.lock_present(tx, identity["person_id"])
        if person is None or not inbound.take(tx, inbound_id):
            return []
        now = ctx.clock.at(person.database_now)
        return _understand(ctx, tx, Arrival(row=row, person=person, identity_id=identity["id"], now=now))

    return ctx.db.run(work)


def understood(channel: str, kind: str) -> bool:
    """False: a newer release stored it, and it stays as it came in until that digests it."""
    return channel in _CHANNELS and kind in _KINDS


_CHANNELS = {channel.value for channel in Channel}
_KINDS = {kind.value for kind in InboundKind}


def _peer(ctx: Context, tx: Tx, row: Row) -> Row | None:
    """Who is at the other end: by id, else by the handle they carry now, which then learns its id."""
    found = peers.find(tx, row["peer_kind"], row["peer"])
    handle = row["peer_handle"]
    if found is not None or not handle or row["peer_kind"] != "twitter_id":
        return found
    named = peers.find_handle(tx, handle)
    if named is None:
        return None
    now = ctx.clock.at(tx.database_now())
    hmac = digest_of(tx, ctx.peppers, "twitter_id", row["peer"])
    return peers.learn_id(tx, named["id"], named["person_id"], row["peer"], hmac, now)


def _understand(ctx: Context, tx: Tx, arrival: Arrival) -> Hints:
    kinds: dict[InboundKind, Callable[[Context, Tx, Arrival], Hints]] = {
        InboundKind.MESSAGE_IN: _message_in,
        InboundKind.MESSAGE_OUT: _echo,
        InboundKind.WE_FOLLOWED: _echo,
        InboundKind.WE_UNFOLLOWED: _echo,
        InboundKind.FOLLOWED_US: _followed_us,
        InboundKind.UNFOLLOWED_US: _unfollowed_us,
        InboundKind.BLOCKED_US: _blocked_us,
        InboundKind.READ: _read,
    }
    return kinds[InboundKind(arrival.row["kind"])](ctx, tx, arrival)


def _done(tx: Tx, arrival: Arrival, reply_class: ReplyClass | None = None) -> None:
    inbound.digested(
        tx, arrival.row["id"], now=arrival.now, person_id=arrival.person.id, reply_class=reply_class.value if reply_class else None
    )  # fmt: skip


# --- messages ----------------------------------------------------------------------------------------------


#: What a machine said, and what says stop: neither asks us to write.
_NO_INVITATION = (ReplyClass.OUT_OF_OFFICE, ReplyClass.UNSUBSCRIBE)


def _message_in(ctx: Context, tx: Tx, arrival: Arrival) -> Hints:
    row, now = arrival.row, arrival.now
    reply_class = _class_of(row)
    if reply_class not in _NO_INVITATION:
        register.record_inbound_basis(
            tx, identity_id=arrival.identity_id, channel=Channel(row["channel"]), account_id=row["account_id"], inbound_id=row["id"],
            at=arrival.at, now=now,
        )  # fmt: skip
    _done(tx, arrival, reply_class)
    _note(tx, arrival, EventKind.DM_REPLY_RECEIVED, reply_class=reply_class.value)
    return [*_act_on(ctx, tx, arrival, reply_class), *_tell(ctx, tx, arrival, reply_class)]


def _class_of(row: Row) -> ReplyClass:
    """How it reads; where its words are gone, how it read before they went."""
    if row["gone"] and row["class"]:
        return ReplyClass(row["class"])
    return classify_reply(row["text"] or "").reply_class


def _tell(ctx: Context, tx: Tx, arrival: Arrival, reply_class: ReplyClass) -> Hints:
    """Our own people are told of it, where they want to be."""
    if not ctx.settings.notify_url:
        return []
    put_reply(
        tx,
        inbound_id=arrival.row["id"],
        person_id=arrival.person.id,
        reply_class=reply_class,
        now=arrival.now,
    )
    return [hints.deliver()]


def _act_on(ctx: Context, tx: Tx, arrival: Arrival, reply_class: ReplyClass) -> Hints:
    if reply_class is ReplyClass.UNSUBSCRIBE:
        suppress(
            ctx, tx, arrival.person.id, reason="they said stop", source="reply", evidence={"inbound_id": arrival.row["id"]}, now=arrival.now
        )  # fmt: skip
        return []
    if reply_class is ReplyClass.UNCLEAR:
        return _ask_a_human(ctx, tx, arrival)
    if reply_class is ReplyClass.OUT_OF_OFFICE:
        return _signal(ctx, tx, arrival, _in_contact(ctx, tx, arrival), SignalKind.OUT_OF_OFFICE, reply_class)
    everyone = leads.of_person(tx, arrival.person.id)
    if not everyone:
        return enter_by_message(
            ctx, tx, arrival.row, arrival.person, arrival.identity_id, reply_class, arrival.now
        )
    answered = everyone if _in_contact(ctx, tx, arrival) else []
    return _signal(ctx, tx, arrival, answered, SignalKind.REPLIED, reply_class)


def _in_contact(ctx: Context, tx: Tx, arrival: Arrival) -> list[int]:
    """Leads that had contacted the person when this happened: what came before we wrote is no answer, however late it is read.

    An answer may carry a clock that is behind ours. One that is taken for older is lost; the other mistake only makes us stop.
    """
    by = arrival.at + ctx.machine(SKEW_SECONDS)
    return inbound.leads_in_contact(tx, arrival.person.id, by)


def _answered(ctx: Context, tx: Tx, arrival: Arrival) -> list[int]:
    """All active leads of the person, begun or not, if any was in contact: a human answers us, not one of our sequences."""
    everyone = leads.of_person(tx, arrival.person.id)
    return everyone if _in_contact(ctx, tx, arrival) else []


def _ask_a_human(ctx: Context, tx: Tx, arrival: Arrival) -> Hints:
    """It contains a stop word and is none: the person is paused until somebody has read it.

    Said after we wrote, it was no silence, whatever it turns out to be.
    """
    for lead_id in _answered(ctx, tx, arrival):
        _add(tx, arrival, lead_id, SignalKind.REPLIED, ReplyClass.UNCLEAR)
    persons.set_paused(tx, arrival.person.id, "a reply that may be an opt-out", arrival.now)
    tasks.open_one(
        tx, kind="decide", person_id=arrival.person.id, inbound_id=arrival.row["id"], reason="reply.unclear", now=arrival.now
    )  # fmt: skip
    events.append(
        tx,
        [
            events.Event(
                kind=EventKind.PERSON_PAUSED,
                at=arrival.now,
                person_id=arrival.person.id,
                payload={"inbound_id": arrival.row["id"]},
            )
        ],
    )
    found: Hints = []
    for lead_id in leads.of_person(tx, arrival.person.id):
        lead = leads.read(tx, lead_id)
        lead.epoch += 1
        found += go_on(ctx, tx, lead, arrival.now)
        lead.write(tx)
    return found


def _echo(ctx: Context, tx: Tx, arrival: Arrival) -> Hints:
    """Our own message, follow or unfollow, seen from the provider's side."""
    return match_echo(ctx, tx, arrival.row, arrival.person, arrival.identity_id, arrival.now)


def _read(ctx: Context, tx: Tx, arrival: Arrival) -> Hints:
    """They read it: counted, never an edge."""
    for lead_id in _in_contact(ctx, tx, arrival):
        _add(tx, arrival, lead_id, SignalKind.READ, None)
    _done(tx, arrival)
    return []


# --- relationships -----------------------------------------------------------------------------------------


def _followed_us(ctx: Context, tx: Tx, arrival: Arrival) -> Hints:
    account_id = arrival.row["account_id"]
    _done(tx, arrival)
    _note(tx, arrival, EventKind.FOLLOWED_BACK_DETECTED)
    followed = inbound.leads_followed(tx, arrival.person.id, account_id)
    return _signal(ctx, tx, arrival, followed, SignalKind.FOLLOWED_BACK, None)


def _unfollowed_us(ctx: Context, tx: Tx, arrival: Arrival) -> Hints:
    _done(tx, arrival)
    return _signal(ctx, tx, arrival, _in_contact(ctx, tx, arrival), SignalKind.UNFOLLOWED, None)


def _blocked_us(ctx: Context, tx: Tx, arrival: Arrival) -> Hints:
    """A block is the plainest objection there is: it holds for the person, on every channel."""
    _done(tx, arrival)
    for lead_id in _in_contact(ctx, tx, arrival):
        _add(tx, arrival, lead_id, SignalKind.BLOCKED, None)
    stop_leads(tx, arrival.person.id, "blocked_us", arrival.now)
    suppress(
        ctx, tx, arrival.person.id, reason="they blocked us", source="block", evidence={"inbound_id": arrival.row["id"]}, now=arrival.now
    )  # fmt: skip
    return []


# --- the rest ----------------------------------------------------------------------------------------------


def _signal(
    ctx: Context,
    tx: Tx,
    arrival: Arrival,
    lead_ids: Sequence[int],
    kind: SignalKind,
    reply_class: ReplyClass | None,
) -> Hints:
    """Give the signal to leads and let each go on: the next step is hinted from here."""
    found: Hints = []
    for lead_id in lead_ids:
        if not _add(tx, arrival, lead_id, kind, reply_class):
            continue
        lead = leads.read(tx, lead_id)
        lead.log(
            EventKind.SIGNAL_RECEIVED,
            arrival.now,
            signal=kind.value,
            reply_class=reply_class,
            inbound_id=arrival.row["id"],
        )
        found += go_on(ctx, tx, lead, arrival.now)
        lead.write(tx)
    return found


def _add(tx: Tx, arrival: Arrival, lead_id: int, kind: SignalKind, reply_class: ReplyClass | None) -> bool:
    return leads.add_signal(
        tx, lead_id, kind, arrival.row["content_id"], at=arrival.at, now=arrival.now, inbound_id=arrival.row["id"],
        reply_class=reply_class.value if reply_class else None,
    )  # fmt: skip


def _note(tx: Tx, arrival: Arrival, kind: EventKind, **payload: object) -> None:
    events.append(
        tx,
        [
            events.Event(
                kind=kind, at=arrival.now, person_id=arrival.person.id, account_id=arrival.row["account_id"],
                payload={"inbound_id": arrival.row["id"], "via": arrival.row["via"], **payload},
            )
        ],
    )  # fmt: skip


def _revoked(ctx: Context, tx: Tx, row: Row) -> Hints:
    """They took the permission back: the account cannot send until it is connected again."""
    now = (
        ctx.clock.at(accounts.lock(tx, row["account_id"]))
        if row["account_id"]
        else ctx.clock.at(tx.database_now())
    )
    if row["account_id"] and inbound.take(tx, row["id"]):
        account = accounts.get(tx, row["account_id"])
        # Told late, it may be about a permission that was given anew since.
        if account["tokens_at"] is None or row["occurred_at"] >= account["tokens_at"]:
            stop(tx, account, "needs_reauth", f"{GAVE_UP}the permission was revoked at the provider", now)
            end_access(
                tx,
                channel=row["channel"],
                account_key=row["account_key"],
                why="access was revoked at the provider",
                now=now,
            )
    inbound.digested(tx, row["id"], now=now, person_id=None, reply_class=None)
    return []


def _unmatched(ctx: Context, tx: Tx, row: Row) -> Hints:
    """Nobody we know: kept in sight. What our account did counts; whoever says stop is remembered by their identifier."""
    if not inbound.take(tx, row["id"]):
        return []
    now = ctx.clock.at(tx.database_now())
    if is_echo(row) and row["account_id"] is not None:
        match_stranger_echo(ctx, tx, row, now)
        return []
    reply_class = None
    if row["kind"] == InboundKind.MESSAGE_IN.value:
        reply_class = _class_of(row)
        entered = enter_as_stranger(ctx, tx, row, reply_class, now)
        if entered is not None:
            return _met(tx, row, entered, reply_class, now)
        if reply_class is ReplyClass.UNSUBSCRIBE:
            register.suppress_identifier(
                tx, digest_of(tx, ctx.peppers, row["peer_kind"], row["peer"]), reason="they said stop", source="reply",
                evidence={"inbound_id": row["id"]}, now=now,
            )  # fmt: skip
    inbound.digested(
        tx, row["id"], now=now, person_id=None, reply_class=reply_class.value if reply_class else None, state="unmatched"
    )  # fmt: skip
    return []


def _met(tx: Tx, row: Row, entered: Entered, reply_class: ReplyClass, now: datetime) -> Hints:
    """A stranger who came in by writing: from now on somebody we know."""
    inbound.digested(tx, row["id"], now=now, person_id=entered.person_id, reply_class=reply_class.value)
    payload = {"inbound_id": row["id"], "via": row["via"], "reply_class": reply_class.value}
    event = events.Event(
        kind=EventKind.DM_REPLY_RECEIVED, at=now, person_id=entered.person_id, account_id=row["account_id"], payload=payload
    )  # fmt: skip
    events.append(tx, [event])
    return entered.hints
