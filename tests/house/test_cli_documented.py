"""docs/cli.md shows every command, and shows none that the command line does not understand."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from outreach.cli.root import cli

DOCUMENT = (Path(__file__).parents[2] / "docs/cli.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", DOCUMENT, re.DOTALL)
#: The words of each command line, without a redirection; a backslash goes on in the next line.
EXAMPLES = [
    shlex.split(line.partition(" > ")[0], comments=True)[1:]
    for block in BLOCKS
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("outreach ")
]


def commands() -> Iterator[tuple[str, ...]]:
    def walk(command: object, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        inner = getattr(command, "commands", {})
        if not inner:
            yield words
        for name, each in inner.items():
            yield from walk(each, (*words, name))

    yield from walk(get_command(cli), ())


@pytest.mark.parametrize("words", sorted(c for c in commands() if c[0] != "dnd"), ids=" ".join)
def test_each_command_has_an_example(words: tuple[str, ...]) -> None:
    assert any(tuple(example[: len(words)]) == words for example in EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES, ids=" ".join)
def test_each_example_is_understood(example: list[str]) -> None:
    command, words = get_command(cli), list(example)
    context = command.make_context("outreach", words[:1], resilient_parsing=True)
    while hasattr(command, "commands"):
        # `enroll SEQUENCE` is `enroll people SEQUENCE`.
        default = getattr(command, "default_command", None)
        name = words.pop(0) if default is None or words[0] in command.commands else default
        command = command.commands[name]
        context = type(context)(command, parent=context, info_name=name)
    # Raises a usage error for an option that is not known, and for an argument that is missing.
    command.parse_args(context, words)


#: one check with two names: servers of our own, or a database that a URL names
_EITHER = {"O002": {"servers", "database"}}


def test_a_check_of_doctor_has_a_number_of_its_own() -> None:
    titles: dict[str, set[str]] = {}
    for file in (Path(__file__).parents[2] / "outreach" / "cli").glob("doctor*.py"):
        for number, title in re.findall(r'id="(O\d+)",\s*title="([^"]+)"', file.read_text(encoding="utf-8")):
            titles.setdefault(number, set()).add(title)
    assert len(titles) > 10, "they are found at all"
    assert {number: found for number, found in titles.items() if len(found) > 1} == _EITHER
