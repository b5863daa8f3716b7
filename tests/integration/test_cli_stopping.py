"""Stopping and undoing as an operator types it: pause, resume, enroll undo, publish --hot-text."""

import io
from pathlib import Path

import pytest

from outreach.embedded.servers import Servers
from outreach.models.base import Database
from tests.integration.cli_support import Terminal, add_account, add_person, set_environment

pytestmark = pytest.mark.servers
LATE = """
sequence: late
max_lateness: 1d
actions:
  hello: {do: SEND_TWITTER_DM, message: "Helo you. {{ opt_out }}"}
"""


@pytest.fixture
def terminal(
    servers: Servers, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Terminal:  # fmt: skip
    set_environment(monkeypatch, servers, database_url, tmp_path)
    return Terminal(capsys)


@pytest.fixture
def enrolled(terminal: Terminal, db: Database, tmp_path: Path) -> str:
    """One lead, in a batch."""
    terminal("migrate")
    add_account(terminal)
    add_person(db, "Ada Example", "ada_example")
    (tmp_path / "late.yaml").write_text(LATE)
    terminal("sequence", "publish", str(tmp_path / "late.yaml"))
    return str(terminal.json("enroll", "late", "--segment", "only-ada_example")["batch"])


class _Person(io.StringIO):
    """Somebody who sits there and types this."""

    def isatty(self) -> bool:
        return True


def types(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", _Person(text))


def make_late(db: Database) -> None:
    """As if the lead had been paused for days: its step is planned, and its time is over."""

    def work(tx: object) -> None:
        from outreach.models.base import Tx

        assert isinstance(tx, Tx)
        tx.execute(
            "INSERT INTO execution (lead_id, action_id, sequence_id, kind, channel, account_id, app_id, identity_id, state, cause,"
            " first_due_at, late_at, variant, created_at)"
            " SELECT l.id, k.id, l.sequence_id, k.kind, 'twitter', b.account_id, a.app_id, b.identity_id, 'planned', 'start',"
            " l.entered_at - interval '3 days', l.entered_at - interval '2 days', 'a', l.entered_at"
            " FROM lead l JOIN sequence_action k USING (sequence_id) JOIN lead_binding b ON b.lead_id = l.id JOIN account a ON a.id = b.account_id"
        )

    db.run(work)


# --- pause and resume --------------------------------------------------------------------------------------------


def test_a_pause_says_when_it_was_binding_and_what_was_under_way(
    terminal: Terminal, enrolled: str, db: Database
) -> None:
    answer = terminal.json("pause", "--all", "--reason", "bad copy")
    assert (answer["paused"], answer["calls_under_way"]) == ("everything", [])
    assert 0 <= answer["seconds"] < 5
    make_late(db)
    db.run(
        lambda tx: tx.execute(
            "UPDATE execution SET state = 'calling', fence = 1, started_at = created_at, call_deadline = created_at, effect_by = created_at"
        )
    )
    said = terminal("pause", "--account", "we", "--reason", "bad copy")
    assert "1 call had begun before" in said
    assert "SEND_TWITTER_DM" in said
    assert terminal.json("pause", "--sequence", "late", "--reason", "x")["calls_under_way"][0]["lead_id"] == 1


def test_a_pause_works_while_redis_is_away(
    terminal: Terminal, enrolled: str, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    terminal("pause", "--all", "--reason", "all is on fire")
    assert db.read("SELECT pause_reason FROM instance")[0]["pause_reason"] == "all is on fire"


@pytest.mark.parametrize(
    ("typed", "stands"),
    [("what?\nskip\n", "skipped"), ("ask\n", "planned"), ("send\n", "planned"), ("\n", "planned")],
)
def test_a_resume_shows_what_is_stale_and_asks(
    terminal: Terminal, enrolled: str, db: Database, monkeypatch: pytest.MonkeyPatch, typed: str, stands: str
) -> None:
    terminal("pause", "--all", "--reason", "holidays")
    make_late(db)
    types(monkeypatch, typed)
    said = terminal("resume", "--all")
    assert "late      hello  SEND_TWITTER_DM  1      skip" in said
    assert "resumed everything; 1 late steps" in said
    assert db.read("SELECT state FROM execution")[0]["state"] == stands
    assert db.read("SELECT paused_at FROM instance")[0]["paused_at"] is None


def test_who_gives_up_at_the_question_has_resumed_nothing(
    terminal: Terminal, enrolled: str, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal("pause", "--all", "--reason", "holidays")
    make_late(db)
    types(monkeypatch, "")
    terminal("resume", "--all", code=1)
    assert db.read("SELECT paused_at FROM instance")[0]["paused_at"] is not None
    assert db.read("SELECT state FROM execution")[0]["state"] == "planned"


def test_without_a_terminal_the_sequence_decides_and_that_is_said(
    terminal: Terminal, enrolled: str, db: Database
) -> None:
    terminal("pause", "--sequence", "late", "--reason", "holidays")
    make_late(db)
    assert terminal.json("resume", "--sequence", "late", "--plan")["stale"][0]["leads"] == 1
    assert db.read("SELECT state FROM sequence WHERE name = 'late'")[0]["state"] == "paused"
    terminal("resume", "--sequence", "late")
    assert "each goes by itself, as its sequence says" in terminal.err
    assert db.read("SELECT state FROM sequence WHERE name = 'late'")[0]["state"] == "active"


def test_an_answer_on_the_command_line_is_not_asked_for(
    terminal: Terminal, enrolled: str, db: Database
) -> None:
    terminal("pause", "--person", "@ada_example", "--reason", "holidays")
    make_late(db)
    terminal("resume", "--person", "@ada_example", "--stale", "nosuch", code=2)
    terminal("resume", "--person", "@ada_example", "--stale", "skip")
    assert db.read("SELECT state, reason FROM execution") == [{"state": "skipped", "reason": "late"}]


# --- enroll undo -------------------------------------------------------------------------------------------------


def test_an_enrolment_is_undone_by_the_batch_that_it_printed(terminal: Terminal, enrolled: str) -> None:
    (row,) = terminal.json("enroll", "list")
    assert (row["id"], row["enrolled"], row["active"]) == (enrolled, 1, 1)
    assert terminal("enroll", "undo", enrolled).splitlines() == [
        f"batch {enrolled} of late: 1 of 1 stopped",
        "  nothing went out to anybody",
    ]
    assert "0 of 1 stopped (1 were before)" in terminal("enroll", "undo", enrolled)
    assert "1 of 1 enrolled" in terminal("enroll", "people", "late", "--segment", "only-ada_example")


def test_a_batch_that_is_misspelt_names_the_nearest(terminal: Terminal, enrolled: str) -> None:
    terminal("enroll", "undo", enrolled[:-1] + "!", code=2)
    assert f"Did you mean {enrolled}?" in terminal.err


# --- publish --hot-text ------------------------------------------------------------------------------------------


def mended(tmp_path: Path, old: str = "Helo", new: str = "Hello") -> str:
    path = tmp_path / "mended.yaml"
    path.write_text(LATE.replace(old, new))
    return str(path)


def lead_version(db: Database) -> int:
    return int(
        db.read("SELECT v.version FROM lead l JOIN sequence_version v ON v.id = l.version_id")[0]["version"]
    )


def test_new_words_are_shown_first_and_given_after_a_yes(
    terminal: Terminal, enrolled: str, db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    types(monkeypatch, "y\n")
    said = terminal("sequence", "publish", mended(tmp_path), "--hot-text")
    for line in (
        "late, against version 1:",
        "    - Helo you. {{ opt_out }}",
        "    + Hello you. {{ opt_out }}",
        "hello  1          0",
    ):
        assert line in said.splitlines()
    assert said.splitlines()[-1].strip() == "late version 2: 1 leads get the new words"
    assert lead_version(db) == 2
    again = terminal("sequence", "publish", mended(tmp_path), "--hot-text")
    assert again.splitlines() == ["late version 2 says the same already, and no lead waits for its words"]


def test_without_a_yes_nothing_is_changed(
    terminal: Terminal, enrolled: str, db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal("sequence", "publish", mended(tmp_path), "--hot-text", code=2)
    assert "nobody is there to agree" in terminal.err
    types(monkeypatch, "n\n")
    terminal("sequence", "publish", mended(tmp_path), "--hot-text", code=1)
    assert (lead_version(db), len(db.read("SELECT 1 FROM sequence_version"))) == (1, 1)
    assert terminal.json("sequence", "publish", mended(tmp_path), "--hot-text", "--yes")["moved"] == 1


def test_more_than_words_is_refused_with_its_line(
    terminal: Terminal, enrolled: str, db: Database, tmp_path: Path
) -> None:
    path = mended(tmp_path, "max_lateness: 1d", "max_lateness: 2d")
    terminal("sequence", "publish", path, "--hot-text", "--yes", code=2)
    assert f"{path}:5:3: error S501: hello: how late it may be is another." in terminal.err
    assert len(db.read("SELECT 1 FROM sequence_version")) == 1
