"""send_one: a one-off message or follow, through the same gate as everything else; unique by the caller's key."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOff:
    """The lead of a key. `new` False: the key was used before, and nothing was added."""

    lead_id: int
    new: bool
    hints: Hints


def send_one(
    ctx: Context, *, key: str, person_id: int, kind: ActionKind, text: str | None, subject: str | None = None,
    account_names: tuple[str, ...] = (), by: str,
) -> OneOff:  # fmt: skip
    """Make the key's lead, once for ever. Raises UsageError where there is no text, no handle or no account."""
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
        return _make(ctx, tx, key, person_id, kind, text, subject, account_names, by)

    return ctx.db.run(work)


def _make(
    ctx: Context, tx: Tx, key: str, person_id: int, kind: ActionKind, text: str | None, subject: str | None, account_names: tuple[str, ...],
    by: str,
) -> OneOff:  # fmt: skip
    person = persons.lock_present(tx, person_id)
    if person is None:
        raise UsageError(f"no person {person_id}")
    channel = CHANNEL_OF[kind].value
    identity_id = enrolling.handles(tx, [person.id], channel).get(person.id)
    if identity_id is None:
        raise UsageError(
            f"this person has no {channel} identity", hint="outreach audience show WHO lists what there is"
        )
    senders = find_senders(tx, [channel], account_names, ())
    now = ctx.clock.at(person.database_now)
    version = _version(tx, kind, subject is not None, now)
    data = data_of(None, {"text": text or "", **({"subject": subject} if subject else {})})
    row: dict[str, Any] = {
        "person_id": person.id, "sequence_id": version["sequence_id"], "version_id": version["id"], "key": key, "batch": None, "data": data,
        "cursor": _node(kind),
    }  # fmt: skip
    lead_id = enrolling.insert_leads(tx, [row], now, now + ctx.hint_lease).get(person.id)
    if lead_id is None:
        # Somebody used the key between our looking and our writing, and has committed.
        known = enrolling.by_key(tx, key)
        assert known is not None
        return OneOff(lead_id=known["lead_id"], new=False, hints=[])
    enrolling.insert_bindings(tx, [(lead_id, channel, senders.choose(channel, person.id), identity_id)])
    events.append(
        tx,
        [events.Event(kind=EventKind.LEAD_ENROLLED, at=now, actor=by, lead_id=lead_id, lead_seq=1, person_id=person.id,
                      sequence_id=version["sequence_id"], payload={"key": key})],
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
