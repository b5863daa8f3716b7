"""A roll-out and a roll-back with leads in flight: N, then N+1, then N again, then N+1. Nothing is lost, nothing happens twice."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from outreach.cli import run
from outreach.embedded.servers import Servers
from outreach.errors import ConfigurationError
from outreach.models import migrate as migrating
from outreach.models.base import Database
from outreach.models.describe import describe
from outreach.models.migrate import Migration, migrate, read_folder, require_schema, schema_state
from outreach.simulator.witness import read_witness
from tests.integration.law_support import (
    FOLLOW_THEN_UNFOLLOW,
    HOUR,
    MINUTE,
    WRITE_AND_LISTEN,
    acts,
    friends,
    open_house,
    plan,
    roomy_account,
)
from tests.integration.old_release import make_old_release, run_old_release
from tests.stage import MONDAY, House

pytestmark = pytest.mark.servers

ADDITIVE = "-- release: 0.2.0\n-- serves from: 1\nALTER TABLE lead ADD COLUMN mood text;\n"
BREAKING = "-- release: 0.2.0\n-- serves from: 2\nALTER TABLE lead RENAME COLUMN data TO attributes;\n"
UNDO = "sequence: undo\nactions:\n  undo: {do: UNFOLLOW_ON_TWITTER}\n"
LEFT = "needs newer worker: ActionKind 'UNFOLLOW_ON_TWITTER' is not known here"
NewCode = Callable[[str], AbstractContextManager[None]]


@pytest.fixture
def new_code(tmp_path: Path) -> NewCode:
    """Code that ships one migration more; this process's own code is the older one again afterwards."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    for file in resources.files("outreach.models.migrations").iterdir():
        if file.name.endswith(".sql"):
            (folder / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")

    @contextmanager
    def code(sql: str) -> Iterator[None]:
        (folder / "0002_next.sql").write_text(sql, encoding="utf-8")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(migrating, "shipped", lambda: read_folder(folder))
            yield

    return code


# --- leads in flight -------------------------------------------------------------------------------------------------


@pytest.fixture
def old_code(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "old"
    yield make_old_release(folder)
    shutil.rmtree(folder)


def standing(house: House, leads: list[int]) -> list[tuple[Any, ...]]:
    """Where leads are, and their whole ledger."""
    ledger = [
        (e["id"], e["kind"], e["state"], e["visit"], e["sent_at"])
        for lead in leads
        for e in house.executions(lead)
    ]
    return [
        (house.lead(i)["cursor"], house.lead(i)["visits"], house.lead(i)["state"]) for i in leads
    ] + ledger


def test_out_and_back_with_leads_in_flight(
    db: Database, tmp_path: Path, new_code: NewCode, old_code: Path
) -> None:
    house = open_house(db, tmp_path, ("cid", "dan", "eve"))
    roomy_account(house)
    url, now = db.url, house.clock.now()

    # N: two people are written to, and their silence is awaited.
    old_people = friends(house, "ann", "bob")
    first = run_old_release(
        old_code,
        url=url,
        folder=f"{tmp_path}/n",
        at=now.isoformat(),
        sequence="listen",
        text=WRITE_AND_LISTEN,
        person_ids=old_people,
    )
    old_leads = first["leads"]
    assert (first["note"], len(old_leads)) == (None, 2)

    # N+1: the schema grows; a sequence with an action that N has never heard of is under way, one such action is planned.
    with new_code(ADDITIVE):
        assert migrate(db, now) == ["0002_next"]
        house.publish(FOLLOW_THEN_UNFOLLOW)
        new_leads = house.enroll("follow-unfollow", friends(house, "cid", "dan"))
        house.publish(UNDO)
        plan(house, "undo", friends(house, "eve"))
        new_leads += [
            row["id"] for row in db.read("SELECT id FROM lead WHERE next_kind = 'UNFOLLOW_ON_TWITTER'")
        ]
        assert (len(new_leads), acts(house)) == (3, [("follow", "cid"), ("follow", "dan")])
    before, schema = standing(house, new_leads), db.run(describe)

    # N again: its own leads go on to the end; what it cannot read stands still, and says why.
    second = run_old_release(
        old_code, url=url, folder=f"{tmp_path}/back", at=now.isoformat(), minutes=4 * 24 * 60
    )
    assert (
        second["note"] == "the database is of a newer release (0.2.0: 0002_next), which still serves this one"
    )
    assert (second["applied"], db.run(describe)) == ([], schema)
    assert [house.lead(i)["state"] for i in old_leads] == ["finished", "finished"]
    left = [house.lead(i) for i in new_leads]
    assert [(row["waiting_on"], row["waiting_detail"]) for row in left] == [("pause", LEFT)] * 3
    assert standing(house, new_leads) == before

    # It does not spin on them either: four looks in an hour of sixty sweeps, each hinted twice at most.
    third = run_old_release(
        old_code, url=url, folder=f"{tmp_path}/hour", at=second["now"], minutes=60, step=1
    )
    assert all(3 <= third["looks"].get(str(i), 0) <= 10 for i in new_leads), third["looks"]

    # N+1 comes back and finishes them.
    with new_code(ADDITIVE):
        assert require_schema(db) is None
        house.clock.instant = datetime.fromisoformat(third["now"])
        house.pass_time(HOUR, step=MINUTE)
    assert [house.lead(i)["state"] for i in new_leads] == ["finished"] * 3
    taken = [*acts(house), *_taken(tmp_path / "n"), *_taken(tmp_path / "back"), *_taken(tmp_path / "hour")]
    # Nobody had followed eve: her unfollow is in the ledger, and changed nothing at the provider.
    assert Counter(kind for kind, _ in taken) == {"follow": 2, "unfollow": 2, "dm": 4}
    assert max(Counter(row for row in taken if row[0] != "dm").values()) == 1
    assert set(Counter(row for row in taken if row[0] == "dm").values()) == {2}
    assert {row["state"] for row in house.executions()} == {"sent"}


def _taken(folder: Path) -> list[tuple[str, str]]:
    return [(one.kind, one.recipient) for one in read_witness(folder / "witness.jsonl")[0]]


# --- schema and code -------------------------------------------------------------------------------------------------


@pytest.fixture
def terminal(
    servers: Servers, database_url: str, db: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", servers.redis_url)
    monkeypatch.setenv("OUTREACH_DATA_DIR", str(tmp_path))
    assert run(["migrate"]) == 0


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """The command's exit code, and all that it wrote."""
    capsys.readouterr()
    code = run(words)
    return code, "".join(capsys.readouterr())


@pytest.mark.usefixtures("terminal")
def test_code_that_a_newer_schema_serves_goes_on_and_says_so(
    db: Database, new_code: NewCode, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with new_code(ADDITIVE):
        migrate(db, MONDAY)
    note = "the database is of a newer release (0.2.0: 0002_next), which still serves this one"
    assert said(capsys, "migrate") == (0, f"nothing to do: {note}\n")
    caplog.clear()
    code, text = said(capsys, "status")
    assert (code, f"schema  {note}" in " ".join(text.split(" ")).replace("   ", " ") or note in text) == (
        0,
        True,
    )
    assert [r.message for r in caplog.records].count(note) == 1
    code, text = said(capsys, "doctor")
    assert (code, note in text) == (0, True)
    assert [r["name"] for r in db.read("SELECT name FROM migration ORDER BY number")] == [
        "0001_initial",
        "0002_next",
    ]


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("command", ["migrate", "status", "worker", "scheduler", "web"])
def test_code_that_a_newer_schema_does_not_serve_refuses(
    db: Database, new_code: NewCode, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    with new_code(BREAKING):
        migrate(db, MONDAY)
    schema = db.run(describe)
    code, text = said(capsys, command)
    assert code == 2
    assert "migrated by release 0.2.0 (0002_next), which serves release 0.2.0 and later" in text
    assert "deploy release 0.2.0 or later" in text
    assert db.run(describe) == schema


@pytest.mark.usefixtures("terminal")
def test_doctor_names_the_release_to_deploy(
    db: Database, new_code: NewCode, capsys: pytest.CaptureFixture[str]
) -> None:
    with new_code(BREAKING):
        migrate(db, MONDAY)
    code, text = said(capsys, "doctor")
    assert (code, "deploy release 0.2.0 or later" in text) == (1, True)


def test_code_that_is_newer_than_the_schema_asks_for_the_migration(db: Database, new_code: NewCode) -> None:
    with (
        new_code(ADDITIVE),
        pytest.raises(ConfigurationError, match="lacks 0002_next\n  run: outreach migrate"),
    ):
        require_schema(db)


def test_a_later_migration_never_makes_the_schema_serve_older_code_again(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release to deploy is the one that shipped the last breaking migration, not the newest."""
    ours = migrating.shipped()
    later = [
        Migration("0002_next", BREAKING),
        Migration("0003_more", "-- release: 0.3.0\n-- serves from: 1\nSELECT 1;"),
    ]
    with monkeypatch.context() as patch:
        patch.setattr(migrating, "shipped", lambda: [*ours, *later])
        migrate(db, MONDAY)
    with pytest.raises(ConfigurationError, match=r"deploy release 0\.2\.0 or later"):
        require_schema(db)


def test_code_of_another_line_neither_fills_gaps_nor_runs(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = migrating.shipped()
    theirs = Migration("0003_theirs", "-- release: 0.3.0\n-- serves from: 1\nSELECT 1;")
    mine = Migration("0002_mine", "-- release: 0.2.0\n-- serves from: 1\nCREATE TABLE mine (id int);")
    monkeypatch.setattr(migrating, "shipped", lambda: [*ours, theirs])
    migrate(db, MONDAY)
    monkeypatch.setattr(migrating, "shipped", lambda: [*ours, mine])
    for work in (lambda: migrate(db, MONDAY), lambda: require_schema(db)):
        with pytest.raises(ConfigurationError, match=r"0003_theirs.*lacks 0002_mine"):
            work()
    assert (schema_state(db).missing, db.read("SELECT to_regclass('mine') AS t")[0]["t"]) == (
        ["0002_mine"],
        None,
    )


@pytest.mark.parametrize(
    ("name", "sql", "says"),
    [
        ("0002_next", "-- release: 0.2.0\nSELECT 1;", "does not declare 'serves from'"),
        ("0002_next", "-- serves from: 1\nSELECT 1;", "does not declare 'release'"),
        ("0002_next", "-- release: 0.2.0\n-- serves from: 3\nSELECT 1;", "'serves from: 3'"),
        ("0002_next", "-- release: 0.2.0\n-- serves from: all\nSELECT 1;", "'serves from: all'"),
        ("next", "-- release: 0.2.0\n-- serves from: 1\nSELECT 1;", "next.sql has no number"),
    ],
)
def test_a_migration_without_its_declarations_is_not_applied(
    db: Database, monkeypatch: pytest.MonkeyPatch, name: str, sql: str, says: str
) -> None:
    ours = migrating.shipped()
    monkeypatch.setattr(migrating, "shipped", lambda: [*ours, Migration(name, sql)])
    with pytest.raises(ConfigurationError, match=says):
        migrate(db, MONDAY)
    assert len(db.read("SELECT name FROM migration")) == len(ours)
