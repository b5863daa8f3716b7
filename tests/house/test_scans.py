"""The scanners of CI can fail: for a planted secret, for a planted pin, and for a scanner that overlooks what was planted."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts import scanning

ROOT = Path(__file__).parents[2]
#: In pieces, so that this file is not what is found.
TOKEN = "ghp_" + "wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0p" + "INUx"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A working copy with one harmless file, and the real lists."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / scanning.FLOORS, tmp_path / scanning.FLOORS)
    (tmp_path / "app.py").write_text("name = 'a harmless name of some length'\n", encoding="utf-8")
    (tmp_path / ".secrets.baseline").write_text('{"results": {}}', encoding="utf-8")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
    return tmp_path


def test_a_planted_secret_is_found_without_being_repeated_and_can_only_be_accepted_by_hand(
    checkout: Path,
) -> None:
    assert list(scanning.new_secrets(checkout)) == []
    (checkout / "app.py").write_text(f"\n\ngithub = '{TOKEN}'\n", encoding="utf-8")
    found = list(scanning.new_secrets(checkout))
    assert {one.where for one in found} == {"app.py:3"}
    assert not any(TOKEN in one.what for one in found)
    scanning.accept(checkout)
    assert list(scanning.new_secrets(checkout)) == []
    assert TOKEN not in (checkout / ".secrets.baseline").read_text(encoding="utf-8")
    (checkout / "new.txt").write_text("-----BEGIN RSA " + "PRIVATE KEY-----\n", encoding="utf-8")
    assert [one.where for one in scanning.new_secrets(checkout)] == ["new.txt:1"], (
        "not only what git has been told of"
    )


def test_a_planted_pin_is_refused_in_the_lock_and_where_it_is_installed() -> None:
    lock = (ROOT / "uv.lock").read_text(encoding="utf-8")
    known = scanning.floors(ROOT)
    assert list(scanning.below(scanning.locked(lock), known, "uv.lock")) == []
    planted = lock.replace('name = "jinja2"\nversion = "3.1.6"', 'name = "jinja2"\nversion = "3.1.5"')
    assert planted != lock
    (found,) = scanning.below(scanning.locked(planted), known, "uv.lock")
    assert found.where == "uv.lock"
    assert "jinja2 3.1.5 has CVE-2025-27516" in found.what
    (found,) = scanning.below({"urllib3": "2.6.9", "idna": "3.20"}, known, "installed")
    assert "2.7.0 or newer" in found.what


def test_every_floor_is_of_something_in_use_and_names_its_holes() -> None:
    lock = scanning.locked((ROOT / "uv.lock").read_text(encoding="utf-8"))
    for name, floor in scanning.floors(ROOT).items():
        assert name in lock, f"{name} is no dependency any more"
        assert floor.ids


def test_a_scanner_that_overlooks_what_was_planted_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(scanning.planted()) == []
    monkeypatch.setattr(scanning, "secrets_in", lambda paths: iter(()))
    monkeypatch.setattr(scanning, "floors", lambda root: {})
    assert {one.where for one in scanning.planted()} == {"secrets", "dependencies"}


class Said:
    def __init__(self, stdout: str) -> None:
        self.stdout, self.stderr = stdout, "it does not answer"


@pytest.mark.parametrize(
    ("stdout", "known_bad", "others"),
    [
        # A service that answers; one that cannot be asked; one that knows of nothing, as an index without advisories does.
        (json.dumps({"dependencies": [{"name": "jinja2", "version": "3.1.5", "vulns": [{"id": "PYSEC-1"}]}]}), ["jinja2 3.1.5 has PYSEC-1"], ["jinja2 3.1.5 has PYSEC-1"]),
        ("", None, ["it does not answer"]),
        (json.dumps({"dependencies": [{"name": "jinja2", "version": "3.1.5", "vulns": []}]}), None, None),
    ],
)  # fmt: skip
def test_an_advisory_service_counts_only_if_it_knows_what_everybody_knows(
    monkeypatch: pytest.MonkeyPatch, stdout: str, known_bad: list[str] | None, others: list[str] | None
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: Said(stdout))

    def said(versions: dict[str, str]) -> list[str] | None:
        found = scanning.audit(versions)
        return [one.what for one in found] if found else None

    assert said({"jinja2": "3.1.5"}) == known_bad
    assert said({"starlette": "1.10.0"}) == others


def test_the_run_says_which_of_the_two_looked_and_fails_for_any_finding(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scanning, "ROOT", checkout)
    monkeypatch.setattr(scanning, "audit", lambda versions: None)
    lock = '[[package]]\nname = "jinja2"\nversion = "{}"\nsource = {{ registry = "x" }}\n'
    (checkout / "uv.lock").write_text(lock.format("3.1.6"), encoding="utf-8")
    assert scanning.main([]) == 0
    assert "no advisory service answers" in capsys.readouterr().out
    (checkout / "uv.lock").write_text(lock.format("3.1.5"), encoding="utf-8")
    assert scanning.main([]) == 1
    assert "CVE-2025-27516" in capsys.readouterr().out
    monkeypatch.setattr(
        scanning, "audit", lambda versions: [scanning.Finding("pip-audit", "jinja2 has PYSEC-1")]
    )
    assert scanning.main([]) == 1
    assert "pip-audit, strict" in capsys.readouterr().out
