"""check --segment, preview, try, mark-test and reviews as somebody types them."""

from pathlib import Path

import pytest

from outreach.embedded.servers import Servers
from outreach.models.base import Database
from tests.integration.cli_support import SEQUENCE, Terminal, add_account, add_person, set_environment

pytestmark = pytest.mark.servers


@pytest.fixture
def terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, servers: Servers, database_url: str, tmp_path: Path
) -> Terminal:  # fmt: skip
    set_environment(monkeypatch, servers, database_url, tmp_path)
    terminal = Terminal(capsys)
    terminal("migrate")
    add_account(terminal)
    return terminal


def test_one_sees_first(terminal: Terminal, db: Database, tmp_path: Path) -> None:
    file = tmp_path / "hello.yaml"
    file.write_text(SEQUENCE)
    add_person(db, "Ada Example", "ada")
    (found,) = terminal.json("sequence", "check", str(file), "--segment", "only-ada")
    (node,) = found["lanes"]["nodes"]
    # Nothing on record says that she may be written to, not even by hand.
    assert node["lanes"] == {"blocked": 1} and node["reasons"]["blocked"] == {"basis.none": 1}
    assert found["lanes"]["meanings"]["basis.none"].startswith("Nothing on record")
    assert "lanes" not in terminal.json("sequence", "check", str(file))[0]
    said = terminal("sequence", "check", str(file), "--segment", "only-ada")
    assert "1 blocked: basis.none" in said and "your time     0 minutes" in said
    said = terminal("sequence", "preview", str(file), "--person", "@ada")
    assert "Hello Ada. Reply STOP" in said and "basis.none" in said and "blocked" in said
    people = terminal.json("sequence", "preview", str(file), "--sample", "5")["people"]
    assert [node["texts"][0]["theirs"] for node in people[0]["nodes"]] == [True]
    terminal("sequence", "preview", str(file), code=2)
    terminal("sequence", "publish", str(file), "--segment", "nobody", code=2)
    assert terminal.json("sequence", "list") == [], "a segment that is not there publishes nothing"
    assert terminal.json("sequence", "publish", str(file))["lanes"]["segments"] == ["only-ada"]


def test_one_tries_it_on_oneself(terminal: Terminal, db: Database, tmp_path: Path) -> None:
    file = tmp_path / "hello.yaml"
    file.write_text(SEQUENCE)
    add_person(db, "Ada Example", "ada")
    terminal("sequence", "try", str(file), "--to", "@ada", code=2)
    terminal("audience", "mark-test", "@ada", code=2)
    assert terminal.json("audience", "mark-test", "@ada", "--yes")["new"]
    assert terminal.json("sequence", "try", str(file), "--to", "@ada")["sequence"] == "try:hello"
    assert not terminal.json("audience", "mark-test", "@ada", "--off")["is_test"]
    assert terminal.json("sequence", "list") == [], "what is tried is hidden"


def test_a_review_is_read_and_answered(terminal: Terminal, db: Database, tmp_path: Path) -> None:
    file = tmp_path / "hello.yaml"
    file.write_text(f"{SEQUENCE}review_first: 1\n")
    person = add_person(db, "Ada Example", "ada")
    db.run(
        lambda tx: tx.execute(
            "INSERT INTO consent (identity_id, channel, account_id, basis, source, proof, obtained_at, recorded_at)"
            " SELECT i.id, 'twitter', a.id, 'inbound', 's', 'p', '2026-01-01Z', '2026-01-01Z' FROM identity i, account a WHERE i.person_id = %s",
            (person,),
        )
    )
    terminal("sequence", "publish", str(file))
    terminal("enroll", "hello", "--segment", "only-ada")
    from outreach import app as apps
    from outreach.runtime.advance import advance
    from outreach.runtime.perform import perform
    from outreach.settings import Settings

    app = apps.build(Settings.from_environment())
    try:
        for hint in advance(app.context, 1):
            perform(app.context, hint.id)
    finally:
        app.close()
    (task,) = terminal.json("task", "list")
    assert (task["kind"], task["reason"]) == ("review", "review.first")
    said = terminal("task", "start", str(task["id"]))
    assert "Hello Ada. Reply STOP" in said and "OKs so far  0 of 1" in said
    assert terminal.json("task", "done", str(task["id"]))["outcome"] == "approved"
    assert terminal.json("task", "list") == []
