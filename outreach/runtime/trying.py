"""try: a sequence on oneself. The real path through gate, caps and provider; only the waits are short."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from outreach.engine.codec import graph_hash
from outreach.engine.compiler import Compiled
from outreach.engine.events import EventKind
from outreach.engine.graph import Graph
from outreach.engine.problems import Problem
from outreach.engine.trial import trial_of
from outreach.errors import NotFound, UsageError
from outreach.models import enrolling, events, leads, persons, sequences
from outreach.models.base import Row, Tx
from outreach.runtime import hints
from outreach.runtime.context import Context
from outreach.runtime.enroll import Senders, channels_of, data_of, find_senders
from outreach.runtime.hints import Hints
from outreach.runtime.moving import leave
from outreach.runtime.publish import check


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A test person's lead in a trial of the file. `stopped`: earlier trials of theirs that ended with it."""

    sequence: str
    version: int
    lead_id: int
    stopped: tuple[int, ...]
    hints: Hints


def mark_test(ctx: Context, person_id: int, is_test: bool, by: str) -> bool:
    """This person is one of us from now on (or no more). False: they were so already. Raises NotFound."""

    def work(tx: Tx) -> bool:
        person = persons.lock_present(tx, person_id)
        if person is None:
            raise NotFound(f"no person {person_id}")
        if persons.is_test(tx, person.id) == is_test:
            return False
        persons.set_test(tx, person.id, is_test)
        kind = EventKind.PERSON_MARKED_TEST if is_test else EventKind.PERSON_UNMARKED_TEST
        now = ctx.clock.at(person.database_now)
        events.append(tx, [events.Event(kind=kind, at=now, actor=by, person_id=person.id)])
        return True

    return ctx.db.run(work)


def try_out(
    ctx: Context, data: bytes, filename: str, person_id: int, *, wait: timedelta, any_hour: bool = False,
    account_names: tuple[str, ...] = (), pools: tuple[str, ...] = (), by: str,
) -> Tried | list[Problem]:  # fmt: skip
    """A lead of this test person in a hidden sequence of its own. The file's problems, and nothing written, if it has any.

    Raises UsageError for somebody who is no test person, or whom the sequence could not begin with.
    """
    compiled = check(data, filename)
    if not isinstance(compiled, Compiled):
        return compiled
    graph = trial_of(compiled.graph, wait, any_hour=any_hour)

    def work(tx: Tx) -> Tried:
        person = persons.lock_present(tx, person_id)
        if person is None:
            raise NotFound(f"no person {person_id}")
        if not persons.is_test(tx, person.id):
            raise UsageError(
                "that is no test person: trying is for oneself",
                hint="outreach audience mark-test WHO says that it is one of us",
            )
        now = ctx.clock.at(person.database_now)
        senders = find_senders(tx, channels_of(graph), account_names, pools)
        handles = {c: enrolling.handles(tx, [person.id], c) for c in senders.by_channel}
        _require_first_handle(graph, handles, person.id)
        sequence_id, version = _version(tx, graph, data.decode("utf-8-sig"), by, now)
        stopped = _stop_earlier(tx, person.id, sequence_id, by, now)
        lead_id = _insert(ctx, tx, graph, person.id, sequence_id, version.id, now)
        _bind(tx, lead_id, person.id, handles, senders)
        events.append(
            tx,
            [events.Event(kind=EventKind.LEAD_ENROLLED, at=now, actor=by, lead_id=lead_id, lead_seq=1, person_id=person.id,
                          sequence_id=sequence_id, payload={"trial": True})],
        )  # fmt: skip
        return Tried(
            sequence=graph.sequence,
            version=version.version,
            lead_id=lead_id,
            stopped=stopped,
            hints=[hints.advance(lead_id)],
        )

    return ctx.db.run(work)


def _require_first_handle(graph: Graph, handles: dict[str, dict[int, int]], person_id: int) -> None:
    first = graph.node(graph.start).channel
    if first is not None and person_id not in handles[first.value]:
        raise UsageError(
            f"this person has no {first.value} identity, and the sequence begins there",
            hint="outreach audience show WHO lists what there is",
        )


def _version(tx: Tx, graph: Graph, source: str, by: str, now: datetime) -> tuple[int, sequences.Version]:
    """The trial's version with exactly this graph: made once, found by its hash ever after."""
    sequence_id = sequences.lock_or_create(tx, graph.sequence, "A trial", built_in=True, now=now)
    wanted = graph_hash(graph)
    newest = sequences.latest_version(tx, sequence_id)
    if newest is not None and newest.content_hash == wanted:
        return sequence_id, newest
    number = newest.version + 1 if newest else 1
    return sequence_id, sequences.insert_version(
        tx, sequence_id, graph, number=number, content_hash=wanted, source=source, by=by, now=now
    )


def _stop_earlier(tx: Tx, person_id: int, sequence_id: int, by: str, now: datetime) -> tuple[int, ...]:
    """One trial at a time: whoever tries again has changed the text."""
    stopped = []
    for lead_id in leads.of_person(tx, person_id):
        lead = leads.read(tx, lead_id)
        if lead.sequence_id == sequence_id:
            leave(tx, lead, "tried again", now, actor=by)
            lead.write(tx)
            stopped.append(lead_id)
    return tuple(stopped)


def _insert(
    ctx: Context, tx: Tx, graph: Graph, person_id: int, sequence_id: int, version_id: int, now: datetime
) -> int:
    (candidate,) = enrolling.chosen(tx, [person_id], sequence_id)
    row: dict[str, Any] = {
        "person_id": person_id, "sequence_id": sequence_id, "version_id": version_id, "key": None, "batch": None,
        "data": _data(candidate), "cursor": graph.start,
    }  # fmt: skip
    return enrolling.insert_leads(tx, [row], now, now + ctx.hint_lease)[person_id]


def _data(candidate: Row) -> dict[str, Any]:
    return data_of(candidate["name"], candidate["attributes"] or {})


def _bind(tx: Tx, lead_id: int, person_id: int, handles: dict[str, dict[int, int]], senders: Senders) -> None:
    enrolling.insert_bindings(
        tx,
        [
            (lead_id, channel, senders.choose(channel, person_id), found[person_id])
            for channel, found in handles.items()
            if person_id in found
        ],
    )
