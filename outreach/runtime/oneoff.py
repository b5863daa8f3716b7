"""send_one: a one-off message or follow, through the same gate as everything else; unique by the caller's key."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from outreach.engine.codec import graph_hash
from outreach.engine.events import EventKind
from outreach.engine.graph import Graph, Message, Node, Variant
from outreach.engine.kinds import CHANNEL_OF, MESSAGE_KINDS, ActionKind
from outreach.errors import UsageError
from outreach.models import enrolling, events, persons, sequences
from outreach.models.base import Row, Tx
from outreach.runtime import hints
from outreach.runtime.context import Context
from outreach.runtime.enroll import data_of, find_senders
from outreach.runtime.hints import Hints

_NAME = "one-off"
#: Called with the transaction and the new lead.
Made = Callable[[Tx, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOff:
    """The lead of a key. `new` False: the key was used before, and nothing was added."""

    lead_id: int
    new: bool
    hints: Hints


def send_one(
    ctx: Context, *, key: str, person_id: int, kind: ActionKind, text: str | None, subject: str | None = None,
    account_names: tuple[str, ...] = (), identity_id: int | None = None, by: str, made: Made | None = None,
) -> OneOff:  # fmt: skip
    """Make the key's lead, once for ever. Raises UsageError where there is no text, no handle or no account.

    `identity_id`: to this very handle of theirs; None: the most stable one. `made`: what else to write, with the new lead.
    """
    if kind not in CHANNEL_OF:
        raise UsageError(
            f"{kind.value} contacts nobody", hint="one-off kinds: " + ", ".join(k.value for k in CHANNEL_OF)
        )
    if (kind in MESSAGE_KINDS) != bool(text):
        raise UsageError(f"{kind.value} {'needs' if kind in MESSAGE_KINDS else 'takes no'} --text")

    def work(tx: Tx) -> OneOff:
        known = enrolling.by_key(tx, key)
        if known is not None:
            return OneOff(lead_id=known["lead_id"], new=False, hints=[])
        data = {"text": text or "", **({"subject": subject} if subject else {})}
        made_now = _make(ctx, tx, _Wish(key, person_id, kind, data, account_names, identity_id, by))
        if made is not None and made_now.new:
            made(tx, made_now.lead_id)
        return made_now

    return ctx.db.run(work)


@dataclass(frozen=True, slots=True)
class _Wish:
    """One send that somebody wants."""

    key: str
    person_id: int
    kind: ActionKind
    data: Mapping[str, str]
    account_names: tuple[str, ...]
    identity_id: int | None
    by: str


def _make(ctx: Context, tx: Tx, wish: _Wish) -> OneOff:
    person = persons.lock_present(tx, wish.person_id)
    if person is None:
        raise UsageError(f"no person {wish.person_id}")
    channel = CHANNEL_OF[wish.kind].value
    identity_id = wish.identity_id or enrolling.handles(tx, [person.id], channel).get(person.id)
    if identity_id is None:
        raise UsageError(
            f"this person has no {channel} identity", hint="outreach audience show WHO lists what there is"
        )
    senders = find_senders(tx, [channel], wish.account_names, ())
    now = ctx.clock.at(person.database_now)
    version = _version(tx, wish.kind, "subject" in wish.data, now)
    row: dict[str, Any] = {
        "person_id": person.id, "sequence_id": version["sequence_id"], "version_id": version["id"], "key": wish.key, "batch": None,
        "data": data_of(None, dict(wish.data)), "cursor": _node(wish.kind),
    }  # fmt: skip
    lead_id = enrolling.insert_leads(tx, [row], now, now + ctx.hint_lease).get(person.id)
    if lead_id is None:
        # Somebody used the key between our looking and our writing, and has committed.
        known = enrolling.by_key(tx, wish.key)
        assert known is not None
        return OneOff(lead_id=known["lead_id"], new=False, hints=[])
    enrolling.insert_bindings(tx, [(lead_id, channel, senders.choose(channel, person.id), identity_id)])
    # Without the key: a caller may have made it of an address, and the log forgets nothing.
    events.append(
        tx,
        [events.Event(kind=EventKind.LEAD_ENROLLED, at=now, actor=wish.by, lead_id=lead_id, lead_seq=1, person_id=person.id,
                      sequence_id=version["sequence_id"], payload={})],
    )  # fmt: skip
    return OneOff(lead_id=lead_id, new=True, hints=[hints.advance(lead_id)])


def _version(tx: Tx, kind: ActionKind, with_subject: bool, now: datetime) -> Row:
    """The compiled one-action version of the kind: made once, found by its hash ever after."""
    graph = _graph(kind, with_subject)
    sequence_id = sequences.lock_or_create(tx, _NAME, "One-off sends", built_in=True, now=now)
    wanted = graph_hash(graph)
    found = sequences.by_hash(tx, sequence_id, wanted)
    if found is not None:
        return found
    newest = sequences.latest_version(tx, sequence_id)
    version = sequences.insert_version(
        tx, sequence_id, graph, number=newest.version + 1 if newest else 1, content_hash=wanted, source="", by="engine", now=now
    )  # fmt: skip
    return {"id": version.id, "sequence_id": sequence_id}


def _node(kind: ActionKind) -> str:
    """A key stands for one kind for ever, so each kind has its own."""
    return kind.value.lower()


def _graph(kind: ActionKind, with_subject: bool) -> Graph:
    subject = "{{ subject }}" if with_subject else None
    said = (
        Message(variants=(Variant(key="a", weight=1, body="{{ text }}", subject=subject),))
        if kind in MESSAGE_KINDS
        else None
    )
    return Graph(
        sequence=_NAME,
        start=_node(kind),
        nodes={_node(kind): Node(key=_node(kind), kind=kind, message=said)},
        on_reply="continue",
    )
