"""A project to begin with: what `outreach init` writes works as it stands, and overwrites nothing."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from outreach.audience.reading import Record, open_table
from outreach.audience.rows import parse_columns, read_row
from outreach.cli import run
from outreach.cli.init import STARTERS, project_files, starter_files
from outreach.cli.root import cli

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=sorted(STARTERS))
def project(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert run(["init", "spring", "--starter", request.param]) == 0
    monkeypatch.chdir(tmp_path / "spring")
    return tmp_path / "spring"


def test_every_starter_has_a_sequence_and_every_sequence_is_a_starter() -> None:
    assert [file.name for file in starter_files()] == [f"{name}.yaml" for name in sorted(STARTERS)]


def test_what_it_writes_can_be_checked_as_it_stands_without_a_database(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(path) for folder in ("sequences", "templates") for path in (project / folder).glob("*.yaml")]
    capsys.readouterr()
    assert run(["sequence", "check", *files, "--json"]) == 0
    assert [one["ok"] for one in json.loads(capsys.readouterr().out)] == [True, True]
    first = next((project / "sequences").glob("*.yaml")).read_text(encoding="utf-8").splitlines()[0]
    assert (
        first.endswith("$schema=sequence.schema.json")
        and (project / "sequences/sequence.schema.json").exists()
    )


def test_nothing_is_left_to_fill_in_and_no_secret_is_written(project: Path) -> None:
    for path in project.rglob("*"):
        if path.is_file():
            assert not re.search(
                r"@(name|starter|version|senders|remark)@", path.read_text(encoding="utf-8")
            ), path
    assert ".env\n" in (project / ".gitignore").read_text(encoding="utf-8")
    for name in ("OUTREACH_PEPPER", "OUTREACH_KEYS", "OUTREACH_LINK_SECRET"):
        assert f"\n{name}=\n" in (project / ".env.example").read_text(encoding="utf-8")


def test_its_readme_shows_commands_that_are_understood(project: Path) -> None:
    lines = [
        shlex.split(line, comments=True)[1:]
        for line in (project / "README.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("outreach ")
    ]
    assert len(lines) >= 9
    for words in lines:
        command: Any = get_command(cli)
        context = command.make_context("outreach", list(words[:1]), resilient_parsing=True)
        while hasattr(command, "commands"):
            name = words.pop(0) if words[0] in command.commands else command.default_command
            command = command.commands[name]
            context = type(context)(command, parent=context, info_name=name)
        command.parse_args(context, words)


def test_its_sample_is_read_without_a_single_reject(project: Path) -> None:
    with open_table(str(project / "people.csv")) as table:
        read = [read_row(record, parse_columns(())) for record in table.records if isinstance(record, Record)]
    assert [rejects for _, rejects in read] == [[]] * 6 and all(row for row, _ in read)


def test_nothing_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mine.txt").write_text("mine", encoding="utf-8")
    assert run(["init", "here"]) == 2
    assert "holds something already" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["mine.txt"]
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert run(["init", "file"]) == 2
    (tmp_path / "empty").mkdir()
    assert run(["init", "empty"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "here"]


@pytest.mark.parametrize("words", [["Spring"], ["a b"], ["x" * 41], ["ok", "--starter", "follow-dm"]])
def test_words_that_cannot_be_used_make_nothing(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["init", *words]) == 2
    assert list(tmp_path.iterdir()) == []


# --- one formation, wherever it is written down ------------------------------------------------------------------


def processes(text: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in text.splitlines() if line)


def test_the_procfile_the_app_and_the_compose_file_agree() -> None:
    ours = processes((ROOT / "Procfile").read_text(encoding="utf-8"))
    files = project_files("spring", "inbound-dm")
    assert files["Procfile"] == (ROOT / "Procfile").read_text(encoding="utf-8")
    app = json.loads((ROOT / "app.json").read_text(encoding="utf-8"))
    assert set(app["formation"]) == ours.keys() - {"release"}
    compose = yaml.safe_load(files["compose.yaml"])["services"]
    commands = {name: service["command"] for name, service in compose.items() if "build" in service}
    assert commands.pop("migrate") == ours["release"]
    assert commands == {name: ours[name] for name in ("web", "worker", "scheduler")}
    assert "noeviction" in compose["valkey"]["command"]
