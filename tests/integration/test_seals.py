"""Seals: who makes them and when, what they cover, months that have left as files, and the three commands."""

import gzip
import json
import logging
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from outreach.embedded.servers import Servers
from outreach.engine.events import EventKind
from outreach.errors import ConfigurationError
from outreach.models import events, sealing
from outreach.models.base import Database, Tx
from outreach.models.events import Event
from outreach.runtime import hints
from outreach.runtime import seal as sealer
from outreach.runtime.archives import read_archive
from outreach.runtime.seal import for_the_journal, seal_due, seal_next
from outreach.runtime.verify import verify
from tests.integration.cli_support import Terminal, set_environment
from tests.integration.law_support import FOLLOW, MINUTE, open_house, roomy_account
from tests.stage import House

pytestmark = pytest.mark.servers
NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
FEBRUARY = NOW + timedelta(days=30)


def note(db: Database, *actors: str, at: datetime = NOW) -> None:
    """One transaction's events."""
    db.run(
        lambda tx: events.append(
            tx, [Event(kind=EventKind.LEAD_MOVED, at=at, actor=actor) for actor in actors]
        )
    )


def dump(db: Database, *actors: str, tx: int = 10**12) -> None:
    """Events as a restored dump has them, each of a transaction of a cluster that had counted far."""

    def work(t: Tx) -> None:
        for number, actor in enumerate(actors):
            t.execute(
                "INSERT INTO event (at, kind, actor, tx) VALUES (%s, 'LeadMoved', %s, %s::xid8)",
                (NOW, actor, str(tx + number)),
            )

    db.run(work)


def sealed(house: House) -> list[int]:
    made = []
    while (one := seal_next(house.ctx)) is not None:
        made.append(one.events)
    return made


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    return open_house(db, tmp_path)


# --- when ---------------------------------------------------------------------------------------------------------


def test_the_tick_seals_once_a_minute_and_all_that_happened(house: House) -> None:
    roomy_account(house)
    house.publish(FOLLOW)
    house.enroll("follow", [house.person(handle) for handle in ("ann", "bob")])
    house.tick()
    first = house.db.run(sealing.newest_seal)
    assert first is not None and first.events > 4
    note(house.db, "a")
    house.clock.advance(timedelta(seconds=30))
    house.tick()
    assert house.db.run(sealing.newest_seal) == first, "not twice a minute"
    house.clock.advance(timedelta(seconds=30))
    house.tick()
    seen = verify(house.db)
    assert (seen.findings, seen.seals, seen.unsealed) == ([], 2, 0)


def test_a_full_batch_is_followed_by_the_next_at_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealer, "BATCH", 2)
    for actor in "abc":
        note(house.db, actor)
    assert seal_due(house.ctx) == [hints.seal(going_on=True)]
    assert seal_due(house.ctx) == [], "a minute has not passed"
    assert seal_due(house.ctx, going_on=True) == []
    assert [s.events for s in house.db.run(lambda tx: sealing.latest_seals(tx, 9))] == [2, 1]


def test_a_transaction_is_sealed_whole(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealer, "BATCH", 2)
    note(house.db, "a")
    note(house.db, *"bcdef")
    note(house.db, "g")
    assert sealed(house) == [1, 5, 1]
    assert verify(house.db).findings == []


def test_two_sealers_do_no_harm(house: House) -> None:
    note(house.db, "a")
    other = Database(house.db.url, pool_size=1)
    with other.transaction() as tx:
        assert sealing.try_lock(tx)
        assert seal_due(house.ctx) == []
        assert house.db.run(sealing.newest_seal) is None
    other.close()
    assert sealed(house) == [1]


def test_what_is_begun_and_not_committed_is_neither_missed_nor_sealed_twice(house: House) -> None:
    other = Database(house.db.url, pool_size=1)
    with other.transaction() as slow:
        events.append(slow, [Event(kind=EventKind.LEAD_MOVED, at=NOW, actor="slow")])
        slow.value("SELECT 1")
        note(house.db, "quick")
        assert sealed(house) == [], "the quick one has a higher tx than one that is open"
    other.close()
    assert sealed(house) == [2]
    assert verify(house.db).findings == []


# --- clusters -------------------------------------------------------------------------------------------------------


def test_a_restored_dump_is_sealed_to_its_end_and_new_events_after_it(house: House) -> None:
    dump(house.db, "a", "b")
    house.db.run(lambda tx: sealing.begin_generation(tx, NOW))
    note(house.db, "new")
    assert sealed(house) == [2, 1]
    seen = verify(house.db)
    assert (seen.findings, seen.events, seen.unsealed) == ([], 3, 0)
    house.db.run(
        lambda tx: tx.execute(
            "INSERT INTO event (id, at, kind, actor, tx) VALUES (1000, %s, 'LeadMoved', 'x', '2000000000000'), (0, %s, 'LeadMoved', 'y', '5')",
            (NOW, NOW),
        )
    )
    assert [(f.what, f.event) for f in verify(house.db).findings] == [("added", 1000)], (
        "0 is of no generation that begins with 1"
    )


def test_a_dump_that_nobody_has_adopted_is_not_sealed_and_said(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    dump(house.db, "a")
    note(house.db, "b")
    assert sealed(house) == [1], "what is of a transaction to come waits"
    (finding,) = verify(house.db).findings
    assert (finding.what, finding.event) == ("added", 1) and "not adopted" in finding.detail
    # and a dump whose seals have come along
    house.db.run(
        lambda tx: tx.execute(
            "INSERT INTO seal (id, generation, from_tx, to_tx, events, root, previous, head, leaves, at) SELECT 2, 1, to_tx, '1000000000001', 1,"
            " root, head, root, substr(leaves, 1, 60), at FROM seal"
        )
    )
    with pytest.raises(ConfigurationError, match="restored from a dump"):
        seal_next(house.ctx)
    with caplog.at_level(logging.WARNING, logger="outreach"):
        house.clock.advance(MINUTE)
        assert seal_due(house.ctx) == []
    assert "restored from a dump" in caplog.text


# --- months that leave ------------------------------------------------------------------------------------------------


def leave(house: House, path: Path, *, told: bool = True) -> int:
    """January leaves as a file, as retention does it; how many events it had."""
    end = datetime(2026, 2, 1, tzinfo=UTC)
    assert house.db.run(lambda tx: sealing.unsealed_between(tx, NOW, end)) == 0
    lines = [
        row["line"]
        for row in house.db.read("SELECT row_to_json(e)::text AS line FROM event_2026_01 e ORDER BY id")
    ]
    content = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    digest = sha256(path.read_bytes()).hexdigest()

    def work(tx: Tx) -> None:
        seals = sealing.seals_of(tx, datetime(2026, 1, 1, tzinfo=UTC), end)
        tx.script("ALTER TABLE event DETACH PARTITION event_2026_01; DROP TABLE event_2026_01")
        sealing.note_export(
            tx, month=date(2026, 1, 1), events=len(lines), sha256=digest, seals=seals, now=FEBRUARY
        )
        payload = {"month": "2026-01", "events": len(lines), "sha256": digest}
        if told:
            events.append(tx, [Event(kind=EventKind.EVENTS_EXPORTED, at=FEBRUARY, payload=payload)])

    house.db.run(work)
    return len(lines)


@pytest.mark.parametrize("name", ["2026-01.jsonl", "2026-01.jsonl.gz"])
def test_a_month_that_has_left_is_accepted_and_its_file_is_checked(
    house: House, tmp_path: Path, name: str
) -> None:
    file = tmp_path / name
    note(house.db, "a", "b")
    note(house.db, "c", at=FEBRUARY)
    assert sealed(house) == [3], "one seal over both months"
    note(house.db, "d", at=FEBRUARY)
    assert leave(house, file) == 2
    row = house.db.read("SELECT events, first_seal, last_seal FROM event_export")[0]
    assert row == {"events": 2, "first_seal": 1, "last_seal": 1}
    seen = verify(house.db)
    assert (seen.findings, seen.exported) == ([], {"2026-01": 2})
    month, archive = read_archive(house.db, file, 1)
    assert (month, verify(house.db, archives={month: archive}).findings) == ("2026-01", [])


def test_a_file_that_was_touched_and_a_month_of_which_nobody_tells_are_found(
    house: House, tmp_path: Path
) -> None:
    file = tmp_path / "2026-01.jsonl"
    note(house.db, "a", "b")
    assert sealed(house) == [2]
    leave(house, file, told=False)
    (finding,) = verify(house.db).findings
    assert finding.what == "export" and "does not tell" in finding.detail
    lines = file.read_text(encoding="utf-8").splitlines()

    def whats(changed: Sequence[str]) -> list[str]:
        file.write_text("".join(f"{line}\n" for line in changed), encoding="utf-8")
        month, archive = read_archive(house.db, file, 1000)
        return sorted(
            f.what
            for f in verify(house.db, archives={month: archive}).findings
            if "does not tell" not in f.detail
        )

    assert whats([lines[0].replace('"a"', '"A"'), lines[1]]) == ["changed", "export"]
    assert whats(lines[:1]) == ["deleted", "export"]
    more = json.dumps({**json.loads(lines[1]), "id": 99})
    assert whats([*lines, more]) == ["added", "export"]


# --- commands -----------------------------------------------------------------------------------------------------------


def test_the_commands(
    house: House,
    servers: Servers,
    database_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal(capsys)
    set_environment(monkeypatch, servers, database_url, tmp_path)
    monkeypatch.setenv("OUTREACH_INSTANCE", "test")
    assert "nothing is sealed yet" in terminal("audit", "seals")
    assert "nothing was changed" in terminal("audit", "verify") and "0 seals" in terminal.err
    note(house.db, "a", "b")
    assert "sealed 2 events; seal 1" in terminal("audit", "seal")
    assert "already" in terminal("audit", "seal")
    heads = tmp_path / "heads.jsonl"
    terminal("audit", "seals", "--export", str(heads))
    (line,) = terminal("audit", "seals", "--export", "-").splitlines()
    assert heads.read_text(encoding="utf-8") == f"{line}\n"
    head = json.loads(line)["head"]
    assert terminal.json("audit", "seals")[0]["head"] == head
    terminal("audit", "verify")
    assert "no head was given" in terminal.err
    for noted in (str(heads), head, f"1:{head}"):
        assert terminal.json("audit", "verify", "--head", noted)["heads"] == 1
    terminal("audit", "verify", "--head", f"7:{head}", code=1)
    assert "cut off" in terminal.out and "runbook" in terminal.err
    assert terminal.json("audit", "verify", "--head", "0" * 64, code=1)["findings"][0]["what"] == "cut_off"
    journal = tmp_path / "journal.jsonl"
    journal.write_text(
        '{"kind": "suppressed", "n": 1}\n' + json.dumps({"kind": "seal", "seal": 1, "head": head}) + "\n",
        encoding="utf-8",
    )
    assert terminal.json("audit", "verify", "--head", str(journal))["heads"] == 1
    note(house.db, "c")
    terminal("audit", "verify", "--since", "2026-01-05T12:00")
    assert "1 events are newer" in terminal.err
    for bad in (
        ["--head", "nowhere.jsonl"],
        ["--head", __file__],
        ["--archive", str(heads)],
        ["--archive", "nowhere.jsonl"],
        ["--since", "x"],
    ):
        terminal("audit", "verify", *bad, code=2)
    terminal("audit", "seals", "--export", str(tmp_path / "none" / "x"), code=2)


def test_at_most_one_head_an_hour_goes_to_the_journal(house: House) -> None:
    lines = []
    for minutes in (0, 10, 49, 1):
        house.clock.advance(MINUTE * minutes)
        note(house.db, "a")
        last = house.db.run(sealing.newest_seal)
        made = seal_next(house.ctx)
        assert made is not None
        lines.append(for_the_journal(last, made))
    assert [line["seal"] if line else None for line in lines] == [1, None, None, 4]
    told = [
        json.loads(r["body"])
        for r in house.db.read("SELECT body FROM journal WHERE kind = 'seal' ORDER BY id")
    ]
    heads = [r["head"].hex() for r in house.db.read("SELECT head FROM seal WHERE id IN (1, 4) ORDER BY id")]
    assert [(line["seal"], line["head"]) for line in told] == list(zip([1, 4], heads, strict=True))
