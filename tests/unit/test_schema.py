"""The JSON Schema for editors agrees with the reader, as far as a schema can."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from outreach.engine.definition import SEQUENCE_KEYS, WINDOW_KEYS, Definition, parse_definition
from outreach.engine.entry import ENTRY_KEYS
from outreach.engine.reading import ACTION_KEYS, EDGE_KEYS, MESSAGE_KEYS, VARIANT_KEYS
from outreach.engine.schema import definition_schema

ROOT = Path(__file__).parents[2]
GOOD = [
    *sorted((ROOT / "outreach" / "cli" / "starters" / "sequences").glob("*.yaml")),
    ROOT / "tests" / "data" / "all-kinds.yaml",
]
BROKEN: dict[str, dict[str, Any]] = yaml.safe_load(
    (ROOT / "tests/data/broken-sequences.yaml").read_text("utf-8")
)
SCHEMA = definition_schema()
VALIDATOR = Draft202012Validator(SCHEMA)


class _CoreLoader(yaml.SafeLoader):
    """YAML 1.2's idea of a boolean and a number, which is an editor's: `on` and `09:00` are words."""


_CoreLoader.yaml_implicit_resolvers = {
    key: [(tag, pattern) for tag, pattern in found if tag.endswith((":null", ":merge"))]
    for key, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_CoreLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false)$"), list("tf"))
_CoreLoader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[1-9][0-9]*$|^0$"), list("0123456789")
)


def accepts(text: str) -> bool:
    return bool(VALIDATOR.is_valid(yaml.load(text, Loader=_CoreLoader)))


def reads(text: str) -> bool:
    return isinstance(parse_definition(text, "a.yaml"), Definition)


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_the_published_file_is_the_schema() -> None:
    published = json.loads((ROOT / "docs" / "sequence.schema.json").read_text("utf-8"))
    assert published == SCHEMA, (
        "write json.dumps(definition_schema(), indent=2, ensure_ascii=False) to that file"
    )


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_the_examples_are_accepted(path: Path) -> None:
    assert accepts(path.read_text("utf-8"))


#: Mistakes of form that a schema sees. S104 names, S105 to S109 words, S111 keys in the wrong place.
VISIBLE = [
    "S101",
    "S102",
    "S103",
    "S104",
    "S105",
    "S106",
    "S107",
    "S108",
    "S111",
    "S205",
    "S206",
    "S210",
    "S309",
    "S401",
    "S402",
]


@pytest.mark.parametrize("code", VISIBLE)
def test_mistakes_of_form_are_refused(code: str) -> None:
    assert not accepts(BROKEN[code]["file"])


@pytest.mark.parametrize("code", sorted(set(BROKEN) - set(VISIBLE)))
def test_what_a_schema_cannot_judge_it_leaves_to_the_check(code: str) -> None:
    unreadable = {"S001", "S002", "S005", "S006", "S007", "S008"}
    seen_as_well = {"S308"}  # blank texts
    if code not in unreadable | seen_as_well:
        assert accepts(BROKEN[code]["file"])


def test_reader_and_schema_know_the_same_keys() -> None:
    definitions = SCHEMA["$defs"]
    assert list(SCHEMA["properties"]) == list(SEQUENCE_KEYS)
    assert list(SCHEMA["properties"]["window"]["properties"]) == list(WINDOW_KEYS)
    assert list(definitions["action"]["properties"]) == list(ACTION_KEYS)
    assert list(definitions["edge"]["properties"]) == list(EDGE_KEYS)
    assert list(definitions["entry"]["properties"]) == list(ENTRY_KEYS)
    assert list(definitions["variant"]["properties"]) == list(VARIANT_KEYS)
    assert list(definitions["message"]["anyOf"][1]["properties"]) == list(MESSAGE_KEYS)


def test_everything_one_can_write_is_described() -> None:
    for properties in (SCHEMA["properties"], *(d.get("properties", {}) for d in SCHEMA["$defs"].values())):
        for key, schema in properties.items():
            target = SCHEMA["$defs"].get(schema.get("$ref", "").rpartition("/")[2], {})
            assert "description" in schema or "description" in target, key


@pytest.mark.parametrize("value", ["30s", "1d12h", "1d 12h", "0s", "", "d", "2", "12h1d", "-1d"])
def test_reader_and_schema_agree_on_durations(value: str) -> None:
    text = f"sequence: a\nactions: {{b: {{do: WAIT, for: '{value}'}}}}"
    assert accepts(text) == reads(text)


@pytest.mark.parametrize("value", ["mon-fri", "mon,wed, sat-sun", "sun", "monday", "mon-", ""])
def test_reader_and_schema_agree_on_days(value: str) -> None:
    text = f"sequence: a\nwindow: {{days: '{value}'}}\nactions: {{b: {{do: WAIT, for: 1d}}}}"
    assert accepts(text) == reads(text)


@pytest.mark.parametrize("value", ["a", "a-b", "a-", "-a", "A", "a_b", "1", "a" * 64, "a" * 65])
def test_reader_and_schema_agree_on_names(value: str) -> None:
    text = f"sequence: '{value}'\nactions: {{b: {{do: WAIT, for: 1d}}}}"
    assert accepts(text) == reads(text)
