"""Retention on the command line: what it says before, what it does, and what stands in place of words that are gone."""

import csv
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from outreach.embedded.servers import Servers
from outreach.models.base import Database, Tx
from tests.integration.cli_support import Terminal, add_account, add_person, set_environment

pytestmark = pytest.mark.servers


@pytest.fixture
def house(
    servers: Servers, database_url: str, db: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Terminal:  # fmt: skip
    """Ada has written: half a year and a day ago, and today."""
    set_environment(monkeypatch, servers, database_url, tmp_path)
    terminal = Terminal(capsys)
    terminal("migrate")
    add_account(terminal)
    ada = add_person(db, "Ada Example", "ada")
    now = datetime.now(UTC)

    def work(tx: Tx) -> None:
        for content, at in (("dm:1", now - timedelta(days=181)), ("dm:2", now)):
            tx.execute(
                "INSERT INTO inbound (channel, account_key, content_id, kind, account_id, peer_kind, peer, text, raw, via, occurred_at, received_at,"
                " state, class, person_id) VALUES ('twitter', '77', %s, 'message_in', 1, 'twitter_id', %s, %s, '{\"a\": 1}', 'webhook', %s, %s,"
                " 'digested', 'neutral', %s)",
                (content, str(1000 + ada), f"words of {content}", at, at, ada),
            )

    db.run(work)
    return terminal


def test_it_says_what_would_go_and_then_says_why_it_is_gone(house: Terminal) -> None:
    for words in (("plan",), ("run", "--dry-run")):
        said = house("retention", *words)
        assert [line.split()[:4] for line in said.splitlines() if line.startswith("messages ")] == [["messages", "180", "days", "1"]]  # fmt: skip
    assert house.json("retention", "plan")["kinds"][0]["rows"] == 1
    assert house("retention", "run") == "gone: 1 messages\n"
    assert house("retention", "run") == "nothing was old enough\n"
    assert "(gone: kept 180 days)" in house("replies") and "words of dm:2" in house.out
    shown = house("reply", "show", "1")
    assert "(gone: kept 180 days)" in shown and "words of dm:1" not in shown
    exported = list(csv.DictReader(io.StringIO(house("export", "replies"))))
    assert [(row["text"], row["gone"]) for row in exported] == [("", "age"), ("words of dm:2", "")]
    assert "RetentionRan" in house("events")


def test_an_author_who_deletes_is_obeyed_and_a_wrong_id_is_one_clear_message(house: Terminal) -> None:
    house("inbound", "delete", "foo", "--reason", "x", code=2)
    assert "dm:1870001" in house.err
    house("inbound", "delete", "2", code=2)  # without a reason
    assert "its words are gone (1 texts)" in house("inbound", "delete", "2", "99", "--reason", "deleted at X")
    assert "dm:99: not here" in house.out
    assert "(gone: its author deleted it)" in house("reply", "show", "2")
    assert "message dm:99" in house("inbound", "deletions") and "dm:2" not in house.out
    assert "message dm:99" in house("status")
    assert [row["content_id"] for row in house.json("inbound", "deletions")] == ["dm:99"]


def test_a_limit_is_set_within_bounds_and_with_a_reason(house: Terminal) -> None:
    wrong: dict[str, tuple[str, ...]] = {
        "7 to 3650 days": ("messages", "3", "--reason", "x"), "no number of days": ("messages", "ten", "--reason", "x"),
        "Did you mean messages": ("mesages", "30", "--reason", "x"), "no number of months": ("events", "-1", "--reason", "x"),
    }  # fmt: skip
    for said, words in wrong.items():
        house("retention", "set", *words[2:], "--", *words[:2], code=2)
        assert said in house.err
    assert "kept 200 days (was 180 days)" in house(
        "retention", "set", "messages", "200", "--reason", "notice"
    )
    assert house("retention", "run") == "nothing was old enough\n"
    assert "for ever" in house("retention", "set", "messages", "off", "--reason", "court order")
    assert house.json("retention", "plan")["kinds"][0]["kept"] == "for ever"


def test_what_has_left_the_log_is_said_where_somebody_reads_it(
    house: Terminal, db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house("retention", "run", "--archive", str(tmp_path / "nowhere"), code=2)
    assert db.read("SELECT 1 FROM retention_run") == []  # nothing half done
    long_ago = datetime(2020, 5, 1, tzinfo=UTC)
    db.run(lambda tx: tx.execute("SELECT make_event_partition(%s)", (long_ago,)))
    insert = "INSERT INTO event (at, kind, actor) VALUES (%s, 'LeadMoved', 'x')"
    db.run(lambda tx: tx.execute(insert, (long_ago,)))
    assert "2020-05" in house("retention", "plan") and "1 events are not sealed" in house.out
    assert "2020-05: stays" in house("retention", "run", "--archive", str(tmp_path))
    house("audit", "seal")
    assert "2020-05: has left: 1 events" in house("retention", "run", "--archive", str(tmp_path))
    for words in (("events",), ("why", "@ada")):
        house(*words)
        assert "events of 2020-05 are archived as files" in house.err
    house("audit", "verify", "--archive", str(tmp_path / "event-2020-05.jsonl.gz"))
