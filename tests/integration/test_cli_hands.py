"""Tasks and replies on the command line: taken, answered in own words, told about, corrected, answered by hand."""

import io
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer

from outreach.cli import task_card
from outreach.embedded.servers import Servers
from outreach.models.base import Database
from tests.integration.cli_support import NOW, Terminal, add_account, add_person, set_environment

pytestmark = pytest.mark.servers
WORDS = "Hello there. Reply STOP and I will not write again."


@pytest.fixture
def house(
    servers: Servers, database_url: str, db: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Terminal:  # fmt: skip
    """An instance with an account, and Ada and Bea, to whom a human may write."""
    set_environment(monkeypatch, servers, database_url, tmp_path)
    terminal = Terminal(capsys)
    terminal("migrate")
    add_account(terminal)
    for name, handle in (("Ada Example", "ada"), ("Bea Example", "bea")):
        add_person(db, name, handle)
    db.run(lambda tx: tx.execute(
        "INSERT INTO consent (identity_id, channel, basis, source, proof, obtained_at, recorded_at)"
        " SELECT id, 'twitter', 'legitimate_interest', 'test', 'test', %s, %s FROM identity", (NOW, NOW)))  # fmt: skip
    return terminal


def handed_over(house: Terminal, handle: str) -> None:
    house(
        "send",
        "--key",
        f"to {handle}",
        "--to",
        f"@{handle}",
        "--kind",
        "SEND_TWITTER_DM",
        "--text",
        WORDS,
        code=3,
    )


# --- the next task -------------------------------------------------------------------------------------------


def test_the_next_task_shows_whom_where_why_and_the_words_alone(house: Terminal) -> None:
    handed_over(house, "ada")
    shown = house("task", "next", "--by", "eve")
    for part in (
        "task 1 · SEND_TWITTER_DM as we on X · yours (eve) until", "@ada, 100", "https://x.com/ada",
        "https://x.com/messages/compose?recipient_id=100", "x.dm.inbound_first; X Developer Guidelines", f"\n\n{WORDS}\n\n",
        "then: outreach task done 1",
    ):  # fmt: skip
        assert part in shown
    assert house("task", "next", "--by", "eve", "--text-only") == f"{WORDS}\n"
    card = house.json("task", "next", "--by", "eve")["task"]
    assert (card["task_id"], card["text"], card["profile"]) == (1, WORDS, "https://x.com/ada")
    assert house("task", "next", "--by", "kim") == "nothing to do\n"
    house("task", "start", "1", "--by", "kim", code=1)
    assert "claimed by eve" in house.err


def test_a_task_is_done_in_own_words_from_stdin_or_a_file(
    house: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    handed_over(house, "ada")
    house("task", "next", "--by", "eve")
    house("task", "done", "1", "--by", "eve", "--as", "edited", code=2)
    house("task", "done", "1", "--by", "eve", "--as", "sent", "--text", "-", code=2)
    house("task", "done", "1", "--by", "eve", "--as", "sended", code=2)
    (tmp_path / "said.txt").write_bytes(b"\xff\xfe")
    house("task", "done", "1", "--by", "eve", "--as", "edited", "--text", str(tmp_path / "said.txt"), code=2)
    assert "UTF-8" in house.err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("Grüß dich, Ada!\n".encode())))
    answer = house.json("task", "done", "1", "--by", "eve", "--as", "edited", "--text", "-")
    assert (answer["state"], answer["outcome"], answer["observed"]) == ("done", "said, edited", False)
    assert house.json("task", "show", "1")["words"] == "Grüß dich, Ada!"


def test_at_a_full_cap_it_says_when_it_frees(house: Terminal) -> None:
    handed_over(house, "ada")
    handed_over(house, "bea")
    rows = house.json("task", "caps", "we", "SEND_TWITTER_DM=1/day")
    assert {"kind": "SEND_TWITTER_DM", "caps": "1/day", "set by": "you"} in rows
    house("task", "next", "--by", "eve")
    said = house("task", "next", "--by", "kim", code=3)
    assert (
        "1 wait: By hand this account has done as many of these as humans should (cap.task); earliest 20"
        in said
    )
    assert house.json("task", "next", "--by", "kim", code=3)["refused"][0]["rule"] == "cap.task"
    assert house.json("task", "caps", "we", "SEND_TWITTER_DM=default")[0]["set by"] == "default"
    house("task", "caps", "we", "SEND_TWITTER_DM=0/day", code=2)
    house("task", "next", "--by", "kim")


def test_whose_task_was_taken_away_is_told_and_may_say_that_it_was_done_before(house: Terminal) -> None:
    handed_over(house, "ada")
    house("task", "next", "--by", "eve")
    house("suppression", "add", "@ada", "--reason", "asked by phone")
    house("task", "done", "1", "--by", "eve", code=1)
    assert "they asked not to be contacted" in house.err
    assert "task done 1 --before" in house.err
    house("task", "list", "--mine", "--by", "eve")
    assert "task 1 (SEND_TWITTER_DM to" in house.err
    house("task", "next", "--by", "eve")
    assert "no longer yours" not in house.err
    house("task", "done", "1", "--by", "eve", "--before")
    assert house.json("ledger", "list", "--state", "sent")[0]["done_by"] == "eve"


def test_never_and_release(house: Terminal) -> None:
    handed_over(house, "ada")
    house("task", "next", "--by", "eve")
    house("task", "release", "1", "--by", "eve")
    assert house.json("task", "list")[0]["state"] == "open"
    assert house.json("task", "never", "1", "--by", "eve")["effective"]
    house("suppression", "check", "@ada", code=3)
    assert house.json("task", "list") == []


def test_at_a_terminal_one_goes_on_from_task_to_task(
    house: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """e: in own words; x: no such word; q: the second stays in hand."""
    handed_over(house, "ada")
    handed_over(house, "bea")
    typed = iter(["e", "x", "q"])
    monkeypatch.setattr(task_card, "at_terminal", lambda: True)
    monkeypatch.setattr(typer, "prompt", lambda *_a, **_o: next(typed))
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hi Ada,\nhow are you?\n.\n"))
    house("task", "next", "--by", "eve")
    assert "task 1 is done: said, edited" in house.err
    assert "task 2 stays yours" in house.err
    assert [t["state"] for t in house.json("task", "list")] == ["claimed"]
    typed = iter(["n", "no", "n", "y"])
    house("task", "next", "--by", "eve")
    assert house.json("task", "list", "--closed")[1]["outcome"] == "never"


def test_a_claim_that_ran_out_asks_did_you_send_it(house: Terminal, db: Database) -> None:
    handed_over(house, "ada")
    house("task", "next", "--by", "eve")
    db.run(lambda tx: tx.execute("UPDATE task SET deadline = deadline - interval '1 hour'"))
    assert "did you send it?" in house("task", "next", "--by", "eve")
    assert house("task", "next", "--by", "kim") == "nothing to do\n"


# --- replies -------------------------------------------------------------------------------------------------


def heard(db: Database, text: str, reply_class: str = "neutral") -> int:
    """Ada wrote this, and it was digested."""

    def work(tx: Any) -> int:
        person = tx.one("SELECT id FROM person WHERE name = 'Ada Example'")["id"]
        account = tx.one("SELECT id FROM account")["id"]
        row = tx.one(
            "INSERT INTO inbound (channel, account_key, content_id, kind, account_id, peer_kind, peer, text, raw, via, occurred_at, received_at,"
            " state, digested_at, person_id, class) VALUES ('twitter', '77', %s, 'message_in', %s, 'twitter_id', %s, %s, '{}', 'poll', %s, %s,"
            " 'digested', %s, %s, %s) RETURNING id",
            (f"dm:{text}", account, str(1000 + person), text, NOW, NOW + timedelta(seconds=1), NOW, person, reply_class),
        )  # fmt: skip
        return int(row["id"])

    return db.run(work)


def test_replies_are_listed_on_one_line_whatever_they_hold(house: Terminal, db: Database) -> None:
    reply = heard(db, "Where\ndo I \x1b[31msign\x07?")
    heard(db, "Great!", "positive")
    listed = house("replies")
    assert "Where do I [31msign ?" in listed
    assert "\x1b" not in listed + house("reply", "show", str(reply))
    assert [r["class"] for r in house.json("replies", "--class", "positive")] == ["positive"]
    house("replies", "--class", "positiv", code=2)
    assert "Did you mean positive?" in house.err


def test_following_shows_each_reply_once_as_soon_as_it_is_understood(
    house: Terminal, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for word in ("One", "Two", "Three"):
        heard(db, word)
    looks: list[float] = []

    class Wait:
        def wait(self, seconds: float) -> None:
            looks.append(seconds)
            if len(looks) == 3:
                raise KeyboardInterrupt
            heard(db, f"Now {len(looks)}")

    monkeypatch.setattr("outreach.cli.replies.threading.Event", Wait)
    shown = house("replies", "--follow", "--limit", "2", code=130).splitlines()
    assert [line.partition("neutral  ")[2] for line in shown] == ["Two", "Three", "Now 1", "Now 2"]


def test_a_reply_is_corrected_assigned_and_done(house: Terminal, db: Database) -> None:
    reply = str(heard(db, "Hmm"))
    house("reply", "class", reply, "positiv", code=2)
    assert "Did you mean positive?" in house.err
    assert "reply 1 is positive (was neutral)" in house("reply", "class", reply, "positive", "--by", "eve")
    house("reply", "assign", reply, "--to", "kim")
    assert house.json("replies", "--open", "--to", "kim")[0]["assignee"] == "kim"
    house("reply", "done", reply)
    assert house("replies", "--open") == "no replies\n"
    house("reply", "done", "99", code=2)
    assert "on the do-not-contact list" in house("reply", "class", reply, "unsubscribe")
    assert "a class lifts no opt-out" in house("reply", "class", reply, "neutral")


def test_an_answer_by_hand_ends_like_a_send_and_never_doubles(house: Terminal, db: Database) -> None:
    """Nothing listens at the account's address: surely not taken, so it is tried again later."""
    reply = str(heard(db, "Hmm"))
    house("reply", "answer", reply, "--text", " ", code=2)
    first = house.json("reply", "answer", reply, "--text", "Hello Ada.", code=3)
    again = house.json("reply", "answer", reply, "--text", "Hello once more.", code=3)
    assert (first["lead"], first["new"], again["new"]) == (again["lead"], True, False)
    assert "has its answer already" in house.err
    assert db.read("SELECT count(*) AS n FROM lead")[0]["n"] == 1
    house("suppression", "add", "@ada", "--reason", "asked by phone")
    house("reply", "answer", reply, "--text", "Hello Ada.", code=1)
