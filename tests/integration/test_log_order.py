"""The log's own order: who follows it misses nothing, whatever order transactions commit in and whichever cluster wrote what."""

from datetime import UTC, datetime
from functools import partial

import pytest

from outreach.engine.events import EventKind
from outreach.errors import ConflictError
from outreach.models import events, sealing
from outreach.models.base import Database, Tx
from outreach.models.events import Event, Place

pytestmark = pytest.mark.servers
NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


def note(tx: Tx, who: str) -> None:
    events.append(tx, [Event(kind=EventKind.LEAD_MOVED, at=NOW, actor=who)])
    tx.value("SELECT 1")  # what is written travels with what is read


def note_two(name: str, tx: Tx) -> None:
    note(tx, name)
    note(tx, name.upper())


def read_on(db: Database, place: Place, limit: int = 100) -> tuple[list[str], Place]:
    rows, place = db.run(lambda tx: events.tail(tx, after=place, limit=limit))
    return [row["actor"] for row in rows], place


def dump(db: Database, who: list[str], tx: int) -> None:
    """Events as a restored dump has them: with the tx of the cluster that they were written in, which had counted far."""
    for number, actor in enumerate(who):
        db.run(
            lambda t, actor=actor, number=number: t.execute(  # type: ignore[misc]  # bound at once
                "INSERT INTO event (at, kind, actor, tx) VALUES (%s, 'LeadMoved', %s, %s::xid8)",
                (NOW, actor, str(tx + number)),
            )
        )


def test_who_follows_sees_what_was_begun_first_and_committed_last(db: Database) -> None:
    place = db.run(events.here)
    other = Database(db.url, pool_size=1)
    with other.transaction() as slow:
        note(slow, "slow")
        db.run(lambda tx: note(tx, "quick"))
        seen, place = read_on(db, place)
        assert seen == [], "an event with a lower id may still appear"
        assert [row["actor"] for row in db.run(lambda tx: events.latest(tx, limit=5))] == ["quick"]
        assert db.run(lambda tx: events.latest(tx, limit=5, before=place)) == []
    other.close()
    assert read_on(db, place)[0] == ["slow", "quick"]


def test_a_reader_who_takes_a_few_at_a_time_misses_none(db: Database) -> None:
    place = db.run(events.here)
    for name in "abcde":
        db.run(partial(note_two, name))
    seen: list[str] = []
    while (more := read_on(db, place, limit=3))[0]:
        seen, place = seen + more[0], more[1]
    assert seen == list("aAbBcCdDeE")


def test_the_order_is_that_of_numbers(db: Database) -> None:
    """The place before any of this cluster's own: 99 comes before 100."""
    for number in (100, 99, 101):
        dump(db, [str(number)], tx=number)
    assert read_on(db, Place(1, 0, 0)) == (["99", "100", "101"], db.run(events.here))
    seen: list[str] = []
    place = Place(1, 0, 0)
    while (more := read_on(db, place, limit=1))[0]:
        seen, place = seen + more[0], more[1]
    assert seen == ["99", "100", "101"], "ids go another way"


def test_a_restored_dump_is_over_and_new_events_follow_it(db: Database) -> None:
    dump(db, ["old", "older"], tx=10**12)
    before = db.run(events.here)
    assert db.run(lambda tx: sealing.begin_generation(tx, NOW)) == 2
    db.run(lambda tx: note(tx, "new"))
    assert read_on(db, before)[0] == ["new"]
    assert read_on(db, Place(1, 10**12 + 5, 0))[0] == ["new"], "who followed in the old cluster goes on here"
    latest = db.run(lambda tx: events.latest(tx, limit=5, before=events.here(tx)))
    assert [row["actor"] for row in latest] == ["old", "older", "new"]
    assert [(g.first, g.closed) for g in db.run(sealing.generations)] == [(1, True), (3, False)]


def test_a_generation_in_which_nothing_happened_is_begun_once(db: Database) -> None:
    assert db.run(lambda tx: sealing.begin_generation(tx, NOW)) == 1
    dump(db, ["old"], tx=10**12)
    assert db.run(lambda tx: sealing.begin_generation(tx, NOW)) == 2
    assert db.run(lambda tx: sealing.begin_generation(tx, NOW)) == 2


def test_ids_go_on_above_what_was_restored(db: Database) -> None:
    """Rows that were loaded without their sequence: the next id would be one of theirs."""
    db.run(
        lambda tx: tx.execute(
            "INSERT INTO event (id, at, kind, actor, tx) VALUES (500, %s, 'LeadMoved', 'old', '7')", (NOW,)
        )
    )
    db.run(lambda tx: sealing.begin_generation(tx, NOW))
    db.run(lambda tx: note(tx, "new"))
    assert [r["id"] for r in db.read("SELECT id FROM event ORDER BY id")] == [500, 501]


def test_an_older_generation_is_not_over_while_somebody_still_writes_in_it(db: Database) -> None:
    dump(db, ["old"], tx=10**12)
    other = Database(db.url, pool_size=1)
    with other.transaction() as slow:
        note(slow, "slow")
        db.run(lambda tx: sealing.begin_generation(tx, NOW))
        assert [g.closed for g in db.run(sealing.generations)] == [False, False]
    other.close()
    assert [g.closed for g in db.run(sealing.generations)] == [True, False]


def test_a_generation_is_a_transactions_first_write(db: Database) -> None:
    def late(tx: Tx) -> int:
        note(tx, "before")
        return sealing.begin_generation(tx, NOW)

    with pytest.raises(ConflictError, match="has written already"):
        db.run(late)
