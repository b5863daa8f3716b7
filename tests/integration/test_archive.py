"""Months of the log leave as files: whole, under their seals, or not at all."""

import gzip
import json
import threading
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from outreach.errors import ConflictError, UsageError
from outreach.models import archiving, sealing
from outreach.models.base import Database, Row, Tx
from outreach.runtime import archive as archives
from outreach.runtime.archive import Left, archive, leaving
from outreach.runtime.archives import read_archive
from outreach.runtime.retention import set_limit
from outreach.runtime.seal import seal_next
from outreach.runtime.verify import verify
from tests.integration.law_support import open_house
from tests.stage import House

pytestmark = pytest.mark.servers
JANUARY, FEBRUARY = datetime(2026, 1, 20, tzinfo=UTC), datetime(2026, 2, 20, tzinfo=UTC)
COLUMNS = "id, at, kind, lead_id, lead_seq, person_id, sequence_id, account_id, execution_id, actor, payload, tx::text AS tx"


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    """Events of January and February, sealed but for what a test writes; two years later."""
    found = open_house(db, tmp_path)
    for at, count in ((JANUARY, 5), (FEBRUARY, 3)):
        put(found, at, count)
    while seal_next(found.ctx):
        pass
    found.clock.instant = datetime(2028, 2, 1, tzinfo=UTC)
    return found


def put(house: House, at: datetime, count: int) -> None:
    def work(tx: Tx) -> None:
        for n in range(count):
            tx.execute(
                'INSERT INTO event (at, kind, lead_id, lead_seq, actor, payload) VALUES (%s, \'LeadMoved\', %s, %s, %s, \'{"a": 1.50, "b": "ü"}\')',
                (at + timedelta(microseconds=n), None if n else 7, None if n else 1, f"é{n}"),
            )

    house.db.run(work)


def run(house: House, folder: Path) -> dict[str, Left]:
    return {one.month: one for one in archive(house.ctx, folder, by="eva")}


def rows(house: House, month: str) -> list[Row]:
    return house.db.read(f"SELECT {COLUMNS} FROM event WHERE to_char(at AT TIME ZONE 'UTC', 'YYYY-MM') = %s ORDER BY id", (month,))  # fmt: skip


def tables(house: House) -> set[str]:
    return {
        r["relname"]
        for r in house.db.read(
            "SELECT relname FROM pg_class WHERE relname LIKE 'event_2026%%' AND relkind = 'r'"
        )
    }


def test_a_month_leaves_with_every_event_and_every_column_and_is_held_against_its_seals(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "_BATCH", 2)
    before = rows(house, "2026-01")
    left = run(house, tmp_path)
    # 24 months before February 2028: January 2026 is older, February is not.
    assert (list(left), left["2026-01"].events) == (["2026-01"], 5)
    path = Path(str(left["2026-01"].path))
    kept = [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
    assert [one | {"at": datetime.fromisoformat(one["at"])} for one in kept] == before
    assert (rows(house, "2026-01"), len(rows(house, "2026-02"))) == ([], 3)
    assert "event_2026_01" not in tables(house) and "event_2026_02" in tables(house)
    (noted,) = house.db.run(sealing.exports)
    assert (noted["sha256"], noted["events"], noted["told"]) == (sha256(path.read_bytes()).hexdigest(), 5, [noted["sha256"]])  # fmt: skip
    while seal_next(house.ctx):
        pass
    month, file = read_archive(house.db, path, 100)
    assert verify(house.db, archives={month: file}).findings == []
    assert run(house, tmp_path) == {}


def test_what_is_not_sealed_stays(house: House, tmp_path: Path) -> None:
    put(house, JANUARY, 1)
    assert leaving(house.ctx).months[0][0::2] == ("2026-01", 1)
    assert run(house, tmp_path)["2026-01"].why_not == archives.UNSEALED
    assert (len(rows(house, "2026-01")), list(tmp_path.glob("event-*"))) == (6, [])
    while seal_next(house.ctx):
        pass
    assert run(house, tmp_path)["2026-01"].events == 6


@pytest.mark.parametrize("dies_in", ["_read", "_take_out"])
def test_whoever_dies_before_the_month_is_out_has_lost_nothing(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_in: str
) -> None:
    before = rows(house, "2026-01")

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(archives, dies_in, dies)
        with pytest.raises(KeyboardInterrupt):
            run(house, tmp_path)
    first = (tmp_path / "event-2026-01.jsonl.gz").read_bytes()
    assert (rows(house, "2026-01"), house.db.run(sealing.exports)) == (before, [])
    done = run(house, tmp_path)["2026-01"]
    assert done.events == 5
    assert (tmp_path / "event-2026-01.jsonl.gz").read_bytes() == first  # twice is the same file


def test_dying_between_the_dropping_and_the_commit_drops_nothing(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sealing, "note_export", dies)
        with pytest.raises(KeyboardInterrupt):
            run(house, tmp_path)
    assert len(rows(house, "2026-01")) == 5
    assert run(house, tmp_path)["2026-01"].events == 5


def test_what_is_added_while_it_is_exported_keeps_the_month(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = archives._read

    def late(path: Path) -> tuple[str, int]:
        found = real(path)
        put(house, JANUARY, 1)
        return found

    monkeypatch.setattr(archives, "_read", late)
    assert run(house, tmp_path)["2026-01"].why_not == archives.CHANGED
    assert len(rows(house, "2026-01")) == 6


def test_a_file_that_cannot_be_written_drops_nothing(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="no directory"):
        run(house, tmp_path / "nowhere")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UsageError, match="no space left"):
        run(house, tmp_path)
    assert (len(rows(house, "2026-01")), list(tmp_path.glob("event-*"))) == (5, [])


def test_somebody_in_a_long_transaction_is_not_pushed_aside(house: House, tmp_path: Path) -> None:
    with house.db.transaction() as tx:
        tx.rows("SELECT 1 FROM event LIMIT 1")
        done: list[BaseException] = []

        def other() -> None:
            try:
                run(house, tmp_path)
            except ConflictError as error:
                done.append(error)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(done) == 1
    assert run(house, tmp_path)["2026-01"].events == 5


def test_events_without_a_month_of_their_own_stay_and_are_told_of(house: House, tmp_path: Path) -> None:
    put(house, datetime(2025, 3, 1, tzinfo=UTC), 2)
    assert leaving(house.ctx).stray == 2
    run(house, tmp_path)
    assert len(rows(house, "2025-03")) == 2


def test_the_log_is_kept_for_ever_where_somebody_wants_that(house: House, tmp_path: Path) -> None:
    set_limit(house.ctx, "events", None, reason="x", by="eva")
    assert (run(house, tmp_path), leaving(house.ctx).before) == ({}, None)
    assert (
        archiving.Month(datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)).name == "2026-12"
    )
