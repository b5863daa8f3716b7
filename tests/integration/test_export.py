"""Files that leave the house: whole or not at all, in bounded memory, computed by no spreadsheet, lawful for whoever imports them."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from outreach.embedded.servers import Servers
from outreach.models.base import Database
from tests.integration.cli_support import NOW, SEQUENCE, Terminal, add_account, add_person, set_environment

pytestmark = pytest.mark.servers
EVIL = ['=HYPERLINK("http://x.test","click")', "+1", "-1", "@SUM(A1)", "\tx", "\rx", "  =1+1", "＝1"]


@pytest.fixture
def house(
    servers: Servers, database_url: str, db: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Terminal:  # fmt: skip
    set_environment(monkeypatch, servers, database_url, tmp_path)
    terminal = Terminal(capsys)
    terminal("migrate")
    add_account(terminal)
    return terminal


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def profile(db: Database, person_id: int, **attributes: Any) -> None:
    def work(tx: Any) -> None:
        source = tx.one(
            "INSERT INTO import (source, file_name, file_hash, at) VALUES ('crm', 'f', 'h', %s) RETURNING id",
            (NOW,),
        )
        tx.execute(
            "INSERT INTO profile (person_id, import_id, source, source_key, attributes, created_at, updated_at) VALUES (%s, %s, 'crm', %s, %s, %s, %s)",
            (person_id, source["id"], str(person_id), json.dumps(attributes), NOW, NOW),
        )

    db.run(work)


def suppress(db: Database, person_id: int) -> None:
    db.run(
        lambda tx: tx.execute(
            "UPDATE person SET suppressed_at = %s, suppression_reason = 'stop' WHERE id = %s",
            (NOW, person_id),
        )
    )


def test_people_carry_their_handles_and_whether_they_may_be_contacted(house: Terminal, db: Database) -> None:
    ada = add_person(db, "Ada Example", "ada_example")
    add_person(db, EVIL[0], "evil")
    profile(db, ada, company="-Acme", title="CTO", budget=-5)
    suppress(db, ada)
    first, second = table(house("export", "people"))
    assert (first["name"], first["first_name"], first["last_name"]) == ("Ada Example", "Ada", "Example")
    assert (first["twitter"], first["company"], first["job_title"]) == ("ada_example", "'-Acme", "CTO")
    assert first["do_not_contact_since"].startswith("2026-01-05")
    assert second["name"] == f"'{EVIL[0]}"
    (raw, _) = [json.loads(line) for line in house("export", "people", "--format", "jsonl").splitlines()]
    assert (raw["twitter"], raw["company"], raw["attributes"]["budget"]) == ("ada_example", "-Acme", -5)
    assert [row["id"] for row in json.loads(house("export", "people", "--format", "json"))] == [1, 2]
    assert "Ada Example" in house("export", "people", "--format", "table")


def test_whoever_opted_out_does_not_leave_for_another_program(house: Terminal, db: Database) -> None:
    suppress(db, add_person(db, "Ada Example", "ada_example"))
    add_person(db, "Bob Sample", "bob")
    for crm, name in (("hubspot", "First Name"), ("pipedrive", "Person - First name")):
        rows = table(house("export", "people", "--map", crm))
        assert [row[name] for row in rows] == ["Bob"]
        assert "1 left out: on the do-not-contact list" in house.err
    assert next(iter(rows[0])) == "Person - Name"


def test_the_erased_and_the_merged_do_not_leave(house: Terminal, db: Database) -> None:
    ada, bob = add_person(db, "Ada", "ada"), add_person(db, "Bob", "bob")
    db.run(lambda tx: tx.execute("UPDATE person SET erased_at = %s WHERE id = %s", (NOW, ada)))
    db.run(lambda tx: tx.execute("UPDATE person SET merged_into = %s WHERE id = %s", (ada, bob)))
    assert table(house("export", "people")) == []
    assert house("export", "people", "--format", "json") == "[]\n"


def test_the_ledger_replies_and_funnels_leave_too(house: Terminal, db: Database, tmp_path: Path) -> None:
    ada = add_person(db, "Ada Example", "ada_example")
    (tmp_path / "hello.yaml").write_text(SEQUENCE)
    house("sequence", "publish", str(tmp_path / "hello.yaml"))
    house("enroll", "hello", "--segment", "only-ada_example")
    house(
        "send",
        "--key",
        "k",
        "--to",
        "@ada_example",
        "--kind",
        "SEND_TWITTER_DM",
        "--text",
        "Hello.",
        code=3,
    )

    def wrote(tx: Any) -> None:
        tx.execute(
            "INSERT INTO inbound (channel, account_key, content_id, kind, account_id, peer_handle, text, raw, via, occurred_at, received_at, state,"
            " person_id, class) SELECT 'twitter', '77', 'm:1', 'message_in', id, 'ada_example', '=cmd()', '{}', 'poll', %s, %s, 'digested', %s,"
            " 'positive' FROM account",
            (NOW, NOW, ada),
        )

    db.run(wrote)
    (reply,) = table(house("export", "replies"))
    assert (reply["text"], reply["class"], reply["handle"]) == ("'=cmd()", "positive", "ada_example")
    assert table(house("export", "replies", "--since", "2026-02-01")) == []
    (row,) = table(house("export", "ledger"))
    assert (row["kind"], row["sequence"], row["person_id"]) == ("SEND_TWITTER_DM", "one-off", str(ada))
    assert table(house("export", "ledger", "--sequence", "hello")) == []
    assert [row["sequence"] for row in table(house("export", "stats"))] == ["one-off"]
    (person,) = table(house("export", "people", "--sequence", "hello"))
    assert (person["lead_state"], person["node"], person["last_reply_class"]) == ("active", "say", "positive")


def test_more_rows_than_a_batch_leave_once_each(
    house: Terminal, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outreach.cli.export._BATCH", 2)
    for number in range(5):
        add_person(db, f"Person {number}", f"p{number}")
    assert [row["name"] for row in table(house("export", "people"))] == [f"Person {n}" for n in range(5)]


def test_a_file_appears_whole_or_not_at_all(
    house: Terminal, db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_person(db, "Ada Example", "ada_example")
    file = tmp_path / "out.csv"
    house("export", "people", "--output", str(file))
    assert house.out == ""
    assert "1 people written to" in house.err
    assert len(table(file.read_text(encoding="utf-8"))) == 1
    file.write_text("as it was")

    def breaks(*_: object) -> None:
        raise ValueError("half way")

    monkeypatch.setattr("outreach.cli.export._person", breaks)
    house("export", "people", "--output", str(file), code=1)
    assert file.read_text() == "as it was"
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("out")] == ["out.csv"]


REFUSED = [
    (["people", "--format", "cvs"], "Did you mean csv?"),
    (["people", "--map", "hubpsot"], "Did you mean hubspot?"),
    (["people", "--since", "yesterday"], "is no date"),
    (["ledger", "--sequence", "nothing"], "nothing"),
    (["people", "--output", "/nowhere/at/all.csv"], "cannot be written"),
]


def test_what_cannot_be_meant_is_said_and_nothing_is_written(house: Terminal) -> None:
    for words, said in REFUSED:
        house("export", *words, code=2)
        assert said in house.err
        assert house.out == ""
