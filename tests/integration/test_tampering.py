"""F18: a hundred tamperings with the sealed log, a hundred found; and what each of them is called."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from outreach.chaos.tampering import Throw, heads_of, try_to_tamper
from outreach.ids import bucket
from outreach.models import sealing, tampering
from outreach.models.base import Database, Tx
from outreach.models.sealing import Seal
from outreach.runtime import seal as sealer
from outreach.runtime.context import Context
from outreach.runtime.verified import Finding, Noted
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
    assert sum(trial.tried.values()) == 100 and len(trial.tried) >= 20
