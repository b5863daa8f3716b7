"""F18: a hundred tamperings with the sealed log, a hundred found; and what each of them is called."""

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from outreach.chaos.tampering import WAYS, Throw, heads_of, taken_back, try_to_tamper
from outreach.ids import bucket
from outreach.models import sealing, tampering
from outreach.models.base import Database, Tx
from outreach.models.sealing import Seal
from outreach.runtime import seal as sealer
from outreach.runtime.context import Context
from outreach.runtime.verified import Noted, Reader, Verified
from outreach.runtime.verify import verify

pytestmark = pytest.mark.servers
NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
#: OUTREACH_TEST_EVENTS=100000 is the whole size of F18.
EVENTS = int(os.environ.get("OUTREACH_TEST_EVENTS", "10000"))
LEADS = 500
_FILL = """
INSERT INTO event (at, kind, lead_id, lead_seq, person_id, sequence_id, account_id, execution_id, actor, payload, tx)
SELECT %(at)s::timestamptz + n * interval '1 second', (ARRAY['ActionScheduled', 'ActionClaimed', 'ActionSent', 'LeadMoved'])[1 + n %% 4],
       1 + n %% %(leads)s, 1 + n / %(leads)s, 1 + n %% %(leads)s, 1, nullif(n %% 3, 0), nullif(n %% 5, 0), 'engine',
       jsonb_build_object('node', 'hello', 'visit', n %% 7), (10 + n * 400 / %(events)s)::text::xid8
  FROM generate_series(0, %(events)s - 1) n"""


def fill(db: Database, count: int, leads: int = LEADS) -> None:
    """So many events of so many leads, as if they had been written by 400 transactions of this cluster."""

    def work(tx: Tx) -> None:
        tampering.disarm(tx)  # leads without a person: only their events matter here
        tx.execute(
            "INSERT INTO lead (person_id, sequence_id, version_id, state, cursor, entered_at, enrolled_at, ended_at, event_seq)"
            " SELECT n, 1, 1, 'finished', 'a', %(at)s, %(at)s, %(at)s, %(events)s / %(leads)s FROM generate_series(1, %(leads)s) n",
            {"at": NOW, "events": count, "leads": leads},
        )
        tx.execute(_FILL, {"at": NOW, "events": count, "leads": leads})

    db.run(work)


def house(db: Database) -> Context:
    """What sealing needs of a context."""
    clock = SimpleNamespace(at=lambda now: now, machine=lambda seconds: timedelta(seconds=seconds))
    return cast(Context, SimpleNamespace(db=db, clock=clock, machine=clock.machine))


def seal_all(db: Database) -> list[Seal]:
    made = []
    while (seal := sealer.seal_next(house(db))) is not None:
        made.append(seal)
    return made


def dice(seed: int) -> Throw:
    thrown: dict[str, int] = {}

    def throw(what: str) -> float:
        thrown[what] = thrown.get(what, 0) + 1
        return bucket("tampering", seed, what, thrown[what])

    return throw


@pytest.fixture
def log(db: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A sealed log, under about ten seals."""
    monkeypatch.setattr(sealer, "BATCH", EVENTS // 10)
    fill(db, EVENTS)
    assert sum(seal.events for seal in seal_all(db)) == EVENTS
    return db


def test_a_hundred_tamperings_are_found(log: Database) -> None:
    trial = try_to_tamper(log, dice(18), 100)
    assert (trial.false_alarms, trial.events) == (0, EVENTS)
    assert trial.unseen == []
    assert sum(trial.tried.values()) == 100
    assert {f"edit: {change}" for change in tampering.EDITS} <= trial.tried.keys()


# --- what they are called -----------------------------------------------------------------------------------------


@pytest.fixture
def small(db: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """400 events of 20 leads, each written by a transaction of its own, under four seals."""
    monkeypatch.setattr(sealer, "BATCH", 100)
    fill(db, 400, leads=20)
    assert [seal.events for seal in seal_all(db)] == [100] * 4
    return db


def found(db: Reader, **options: Any) -> list[tuple[str, int | None, int | None, int | None]]:
    return [(f.what, f.seal, f.lead, f.event) for f in verify(db, **options).findings]


Deed = Callable[[Tx], Any]
NAMED: dict[str, tuple[Deed, list[tuple[str, int | None, int | None, int | None]]]] = {
    "nothing": (lambda _: None, []),
    "words": (lambda tx: tampering.edit(tx, 150, "payload"), [("changed", 2, 10, 150)]),
    "an instant": (lambda tx: tampering.edit(tx, 150, "at, by a microsecond"), [("changed", 2, 10, 150)]),
    "deleted": (lambda tx: tampering.delete(tx, 150), [("deleted", 2, None, 150), ("gap", None, 10, None)]),
    "deleted and renumbered": (lambda tx: tampering.delete_and_renumber(tx, 390), [("deleted", 4, None, 390)]),
    "added": (lambda tx: tampering.forge(tx, 150), [("added", 2, 10, 401), ("gap", None, 10, None)]),
    "words exchanged": (
        lambda tx: tampering.swap(tx, 150, 152, "kind, lead_id, person_id, account_id, execution_id, payload"),
        [("reordered", 2, 12, 150), ("reordered", 2, 10, 152)],
    ),
    "ids exchanged": (lambda tx: tampering.exchange_ids(tx, 150, 152), [("reordered", 2, 12, 150), ("reordered", 2, 10, 152)]),
    "own numbers exchanged": (
        lambda tx: tampering.swap(tx, 150, 170, "lead_seq"), [("reordered", 2, 10, 150), ("reordered", 2, 10, 170)],
    ),
    "another transaction of the same seal": (
        lambda tx: tx.execute("UPDATE event SET tx = '162' WHERE id = 150"), [("reordered", 2, 10, 150)],
    ),
    "another seal's transaction": (
        lambda tx: tx.execute("UPDATE event SET tx = '12' WHERE id = 150"), [("added", 1, 10, 150), ("reordered", 2, 10, 150)],
    ),
    "another id": (lambda tx: tampering.edit(tx, 150, "id"), [("reordered", 2, None, 150)]),
    "a transaction that is not come to": (
        lambda tx: tampering.edit(tx, 400, "tx, to one that is not come to"), [("reordered", 4, 20, 400), ("added", None, 20, 400)],
    ),
    "a seal gone": (lambda tx: tampering.drop_seal(tx, 2), [("seal", 3, None, None), ("seal", 3, None, None)]),
    "a seal's instant": (lambda tx: tx.execute("UPDATE seal SET at = at + interval '1 s' WHERE id = 3"), [("seal", 3, None, None)]),
    "a seal's leaves": (
        lambda tx: tx.execute("UPDATE seal SET leaves = set_byte(leaves, 59, 255 - get_byte(leaves, 59)) WHERE id = 3"),
        [("seal", 3, None, None), ("changed", 3, 1, 201)],
    ),
    "a generation": (
        lambda tx: tx.execute("UPDATE event_generation SET first_event_id = 2"),
        [("seal", 1, None, None), ("reordered", 1, 1, 1), *(("seal", n, None, None) for n in (2, 3, 4))],
    ),
    "a lead that forgets its last event": (
        lambda tx: tx.execute("UPDATE lead SET event_seq = 19 WHERE id = 7"), [("gap", None, 7, None)],
    ),
}  # fmt: skip


def test_each_has_its_name_and_its_place(small: Database) -> None:
    seen = {}
    for what, (deed, _) in NAMED.items():
        with taken_back(small) as inside:
            deed(inside.tx)
            seen[what] = found(inside)
    assert seen == {what: expected for what, (_, expected) in NAMED.items()}


def test_every_column_of_an_event_is_under_its_seal(db: Database) -> None:
    rows = db.read(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'event'::regclass AND attnum > 0 AND NOT attisdropped"
    )
    assert {row["attname"] for row in rows} == sealing.COLUMNS
    assert set(re.findall(r"\b[a-z_]+\b", sealing.LEAF)) >= sealing.COLUMNS


def test_a_trial_says_what_a_blind_eye_has_not_seen(small: Database) -> None:
    def blind(db: Reader, **_: Any) -> Verified:
        return verify(db)  # without the heads that were noted

    trial = try_to_tamper(small, dice(1), len(WAYS), look=blind)
    assert trial.unseen == ["cut the end off", "edit, and make every later seal anew"] * 2


def test_nothing_is_not_zero(db: Database) -> None:
    db.run(
        lambda tx: tx.execute(
            "INSERT INTO event (at, kind, actor) VALUES (%s, 'InstancePaused', 'x')", (NOW,)
        )
    )
    seal_all(db)
    for column in ("lead_id", "lead_seq", "person_id", "sequence_id", "account_id", "execution_id"):
        with taken_back(db) as inside:
            inside.tx.execute(f"UPDATE event SET {column} = 0")
            assert [what for what, *_ in found(inside)] == ["changed"], column


# --- heads that were noted elsewhere ----------------------------------------------------------------------------------


def test_a_noted_head_shows_what_was_cut_off_or_made_anew(small: Database) -> None:
    first, second, third, last = heads_of(small)
    alone = [Noted(head=last.head)]
    assert found(small, heads=[first, second, third, last]) == found(small, heads=alone) == []
    with taken_back(small) as inside:
        tampering.cut_off(inside.tx, inside.run(lambda tx: sealing.latest_seals(tx, 3))[0])
        assert found(inside) == [], "nothing in the database can show it"
        (finding,) = verify(inside, heads=[first, second, third, last]).findings
        assert (finding.what, finding.seal) == (
            "cut_off",
            3,
        ) and "seal 4 was noted, and the last one here is 2" in finding.detail
        assert [what for what, *_ in found(inside, heads=alone)] == ["cut_off"]
        assert found(inside, heads=[second]) == []


def test_what_is_newer_is_no_finding_and_is_counted(small: Database) -> None:
    small.run(
        lambda tx: tx.execute("INSERT INTO event (at, kind, actor) VALUES (%s, 'LeadMoved', 'x')", (NOW,))
    )
    seen = verify(small)
    assert (seen.findings, seen.seals, seen.events, seen.unsealed) == ([], 4, 400, 1)
    assert [seal.events for seal in seal_all(small)] == [1]
    assert verify(small).unsealed == 0
