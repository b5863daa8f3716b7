"""The command's help: there for every command, and quick, because nothing heavy is loaded for it."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from typer.main import get_command

from outreach.cli import run
from outreach.cli.root import cli

#: Each costs more than the whole of the help may take, or belongs to a process that the help is not.
HEAVY = (
    "peewee",
    "psycopg2",
    "dramatiq",
    "redis",
    "starlette",
    "uvicorn",
    "httpx",
    "yaml",
    "rich",
    "jinja2",
    "limits",
)


def lines_of_commands() -> Iterator[tuple[str, ...]]:
    """The words of every command and every group."""

    def walk(command: object, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield words
        for name, inner in getattr(command, "commands", {}).items():
            yield from walk(inner, (*words, name))

    yield from walk(get_command(cli), ())


COMMANDS = sorted(lines_of_commands())


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words) or "outreach")
def test_every_command_tells_what_it_does(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*words, "--help"]) == 0
    shown = capsys.readouterr()
    told = shown.out.partition("Usage:")[2].partition("\n\n")[2].strip()
    assert told, "no sentence below the usage line"
    assert not told.startswith("Options:")
    assert shown.err == ""


@pytest.mark.parametrize(
    "words",
    ["up", "migrate", "worker", "scheduler", "web", "listen", "demo", "live on", "live off", "live status", "pause", "resume", "account add",
     "account list", "account pause", "account resume", "account pool", "sequence check", "sequence publish", "sequence list",
     "sequence show", "sequence graph", "sequence schema", "sequence pause", "sequence resume", "sequence archive", "audience import",
     "audience show", "audience merge", "audience imports", "segment create", "segment list", "segment show", "enroll", "enroll people", "enroll list", "enroll undo", "lead list",
     "lead show", "lead pause", "lead resume", "lead stop", "why", "send", "suppression add", "suppression check", "suppression list",
     "suppression lift", "dnd add", "ledger list", "ledger show", "ledger resolve", "task list", "task next", "task start", "task show", "task done", "task skip",
     "task release", "task never", "task caps", "reply show", "reply class", "reply assign", "reply answer", "reply done",
     "events", "replies", "stats", "status", "doctor"],
)  # fmt: skip
def test_the_promised_command_is_there(words: str) -> None:
    assert tuple(words.split()) in COMMANDS


def test_the_help_loads_nothing_heavy() -> None:
    program = (
        "import sys; from outreach.cli import run; code = run(['--help']);"
        f"sys.exit(code or ', '.join(m for m in {HEAVY!r} if m in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "Commands:" in done.stdout


def test_a_pause_loads_the_database_and_nothing_else() -> None:
    """It is wanted within the second, on a machine that may be busy: what the engine needs costs twice as much again."""
    program = (
        "import sys; import outreach.cli.root, outreach.runtime.control, outreach.models.pausing;"
        "sys.exit(', '.join(m for m in ('redis', 'dramatiq', 'httpx', 'jinja2', 'yaml', 'limits') if m in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_an_unknown_command_is_a_usage_error_that_names_the_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["staus"]) == 2
    assert "status" in capsys.readouterr().err


def test_an_unknown_option_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--jsn"]) == 2
    assert "--json" in capsys.readouterr().err


def test_the_exit_codes_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    run(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    for words in (
        "0 done",
        "1 failed",
        "2 usage or configuration",
        "3 refused or deferred by the gate",
        "4 in doubt",
    ):
        assert words in told


def test_no_secret_is_an_option_of_account_add(capsys: pytest.CaptureFixture[str]) -> None:
    run(["account", "add", "--help"])
    told = capsys.readouterr().out
    assert "--access-token" not in told
    assert "--client-secret" not in told


def test_the_module_is_the_command() -> None:
    words = [sys.executable, "-m", "outreach", "live", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=30)
    assert "status" in done.stdout


def test_a_worker_carries_no_command_line_library() -> None:
    code = (
        "import sys; sys.argv = ['outreach', 'worker', '--queues', 'nosuch'];"
        "from outreach.cli import main; code = main();"
        # httpx takes rich along by itself where it is installed
        "assert code == 2, code; assert not {'typer', 'pydantic'} & set(sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "error:" in ended.stderr
