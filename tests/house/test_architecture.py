"""The rules of the house that no linter knows: sizes, actors, words, names."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from outreach.engine.kinds import CHANNEL_OF, ActionKind
from outreach.runtime.hints import Hint

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "outreach"
MODULES = sorted(PACKAGE.rglob("*.py"))
BANNED_NAMES = {
    "utils",
    "util",
    "helpers",
    "helper",
    "common",
    "services",
    "service",
    "manager",
    "managers",
    "misc",
}


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_stays_under_four_hundred_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_functions_are_short() -> None:
    lengths = {f"{path.relative_to(ROOT)}:{f.name}": length(f) for path in MODULES for f in functions(path)}
    assert median(lengths.values()) < 10
    assert {name: n for name, n in lengths.items() if n > 60} == {}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_module_is_a_drawer_for_everything(path: Path) -> None:
    assert path.stem not in BANNED_NAMES and path.parent.name not in BANNED_NAMES


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_module_says_what_lives_in_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not text.strip() or ast.get_docstring(ast.parse(text)), (
        "a module begins with a sentence on what lives here"
    )


def actors() -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    return {f.name: f for path in (PACKAGE / "actors").glob("*.py") for f in functions(path)}


def test_every_action_that_speaks_has_an_actor_of_its_name() -> None:
    assert {kind.value.lower() for kind in CHANNEL_OF} | {
        ActionKind.CHECK_FOR_REPLY.value.lower()
    } <= actors().keys()


def test_an_actor_takes_ids_only_and_is_at_most_five_lines() -> None:
    for name, actor in actors().items():
        assert len(actor.body) <= 5, name
        assert all(
            isinstance(a.annotation, ast.Name) and a.annotation.id == "int" for a in actor.args.args
        ), name


def test_every_hint_names_an_actor() -> None:
    text = (PACKAGE / "runtime" / "hints.py").read_text(encoding="utf-8")
    named = set(re.findall(r'Hint\("(\w+)"', text))
    assert named and named <= actors().keys()
    assert Hint("advance_lead", 1) == Hint("advance_lead", 1)


def test_no_actor_retries_and_none_is_delayed_by_dramatiq() -> None:
    for path in (PACKAGE / "actors").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "max_retries" not in text and "send_with_options" not in text


def test_providers_are_called_for_effects_in_one_place_only() -> None:
    callers = [
        p.relative_to(PACKAGE).as_posix()
        for p in MODULES
        if re.search(r"\.execute\(claimed\.call", p.read_text(encoding="utf-8"))
    ]
    assert callers == ["runtime/call.py"]
    elsewhere = [
        p.relative_to(PACKAGE).as_posix()
        for p in MODULES
        if re.search(r"providers\[[^]]*\]\.execute\(", p.read_text(encoding="utf-8"))
    ]
    assert elsewhere == []


def test_only_the_settings_read_the_environment() -> None:
    readers = [
        p.relative_to(PACKAGE).as_posix()
        for p in MODULES
        if "os.environ" in p.read_text(encoding="utf-8") and p.name != "settings.py"
    ]
    assert readers == []


def test_sql_never_asks_the_time_but_in_the_locks() -> None:
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        if path.name != "base.py" and "simulator" not in path.parts:
            assert not re.search(
                r"clock_timestamp\(\)(?!`)|\bCURRENT_TIMESTAMP\b|SELECT now\(\)",
                text.replace("`clock_timestamp()`", ""),
            ), path


def test_scripts_are_never_named_like_a_dependency() -> None:
    names = {p.stem for p in (ROOT / "scripts").iterdir()}
    assert not names & {"limits", "redis", "email", "dramatiq", "peewee"}


def test_the_procfile_names_modules_never_files() -> None:
    lines = (ROOT / "Procfile").read_text(encoding="utf-8").splitlines()
    assert [line.split(":")[0] for line in lines] == ["release", "web", "worker", "scheduler", "listener"]
    assert all("python -m outreach " in line for line in lines)


def test_nothing_names_a_path_of_somebodys_machine() -> None:
    for folder in ("outreach", "docs", "scripts"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix in {".py", ".md", ".yaml", ".sql", ".csv", ""}:
                assert not re.search(
                    r"(^|[\s\"'(])/(work|root|home)/", path.read_text(encoding="utf-8", errors="replace")
                ), path
