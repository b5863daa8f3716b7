"""Reading one mapping of a sequence file: typed getters that report what is wrong and go on."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TypeVar

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from outreach.engine.notation import DURATION_HINT, parse_duration
from outreach.engine.problems import Mark, Report
from outreach.engine.source import mark_of
from outreach.engine.suggest import did_you_mean

Word = TypeVar("Word", bound=StrEnum)
_NULL = "tag:yaml.org,2002:null"
_MERGE = "<<"
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)
#: Keys of actions and variants. They stay in the ledger for ever, so they are short and plain.
KEY = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
KEY_HINT = "Use a-z, 0-9, - and _, at most 64, beginning with a letter or digit."


@dataclass(frozen=True, slots=True)
class Text:
    """A scalar as it was written, and its place."""

    value: str
    mark: Mark
    #: the line of the file on which the value's own first line stands
    first_line: int


def read_text(node: Node, path: str, report: Report) -> Text | None:
    """The node's text. Numbers and booleans count as the text they are written as; an empty value does not."""
    mark = mark_of(node)
    if not isinstance(node, ScalarNode):
        found = "a list" if isinstance(node, SequenceNode) else "keys and values"
        report.add("S103", mark, path, f"{path} must be a text, and here is {found}.")
        return None
    if node.tag == _NULL:
        report.add("S103", mark, path, f"{path} has no value.", "Write one, or take the key out.")
        return None
    return Text(node.value, mark, mark.line + (node.style in ("|", ">")))


class Fields:
    """One mapping while it is read. `known` None: the keys are the author's own."""

    def __init__(self, node: MappingNode, path: str, report: Report, known: Collection[str] | None) -> None:
        self.path, self.report, self.mark = path, report, mark_of(node)
        self._nodes: dict[str, Node] = {}
        self._marks: dict[str, Mark] = {}
        for key, value in node.value:
            self._take(key, value, known)

    def _take(self, key: Node, value: Node, known: Collection[str] | None) -> None:
        mark = mark_of(key)
        if not isinstance(key, ScalarNode):
            self.report.add("S103", mark, self.path, "A key must be a word.")
        elif key.value == _MERGE:
            self.report.add(
                "S008", mark, self.path, "Merge keys are not used here.", "Repeat the keys in full."
            )
        elif key.value in self._nodes:
            first = self._marks[key.value].line
            message = f"{key.value} stands here again; it stood on line {first} already."
            self.report.add("S007", mark, self.at(key.value), message)
        elif known is not None and key.value not in known:
            hint = did_you_mean(key.value, known)
            self.report.add("S101", mark, self.at(key.value), f"{key.value} is not known here.", hint)
        else:
            self._nodes[key.value], self._marks[key.value] = value, mark

    def __contains__(self, key: str) -> bool:
        return key in self._nodes

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def at(self, key: str) -> str:
        """The path of a key of this mapping."""
        return f"{self.path}.{key}" if self.path else key

    def mark_of(self, key: str) -> Mark:
        """Where the key stands; the mapping's own place when it does not."""
        return self._marks.get(key, self.mark)

    def node(self, key: str) -> Node | None:
        return self._nodes.get(key)

    def require(self, key: str, hint: str | None = None) -> None:
        """Report the key as missing when it is."""
        if key not in self._nodes:
            self.report.add("S102", self.mark, self.at(key), f"{key} is missing{self._inside}.", hint)

    @property
    def _inside(self) -> str:
        return f" in {self.path}" if self.path else ""

    def text(self, key: str) -> Text | None:
        node = self._nodes.get(key)
        return None if node is None else read_text(node, self.at(key), self.report)

    def plain(self, key: str, default: str = "") -> str:
        """A text without its place."""
        text = self.text(key)
        return default if text is None else text.value

    def choice(self, key: str, choices: Collection[str], default: str) -> str:
        text = self.text(key)
        if text is None:
            return default
        if text.value in choices:
            return text.value
        message = f"{self.at(key)} cannot be {text.value!r}."
        self.report.add("S108", text.mark, self.at(key), message, f"Write {' or '.join(choices)}.")
        return default

    def flag(self, key: str, *, default: bool) -> bool:
        return self.choice(key, ("true", "false"), "true" if default else "false") == "true"

    def number(self, key: str, default: int, *, most: int) -> int:
        """A whole number from 0 to `most`."""
        text = self.text(key)
        if text is None:
            return default
        if _NUMBER.fullmatch(text.value) and int(text.value) <= most:
            return int(text.value)
        message = f"{self.at(key)} must be a whole number from 0 to {most:,}."
        self.report.add("S103", text.mark, self.at(key), message)
        return default

    def duration(self, key: str) -> timedelta | None:
        text = self.text(key)
        if text is None:
            return None
        found = parse_duration(text.value)
        if found is None:
            message = f"{text.value!r} is not a duration."
            self.report.add("S107", text.mark, self.at(key), message, DURATION_HINT)
        return found

    def word(self, key: str, kinds: type[Word], code: str, what: str) -> Word | None:
        """One word of a closed vocabulary."""
        text = self.text(key)
        if text is None:
            return None
        if text.value in kinds.__members__:
            return kinds[text.value]
        hint = did_you_mean(text.value, tuple(kinds.__members__))
        self.report.add(code, text.mark, self.at(key), f"{text.value} is no kind of {what}.", hint)
        return None

    def inner(self, key: str, known: Collection[str] | None) -> "Fields | None":
        """The mapping under a key."""
        node = self._nodes.get(key)
        return None if node is None else read_fields(node, self.at(key), self.report, known)

    def items(self, key: str) -> list[tuple[Node, str]]:
        """The nodes of the list under a key, each with its path."""
        node = self._nodes.get(key)
        if node is None:
            return []
        if isinstance(node, SequenceNode):
            return [(item, f"{self.at(key)}[{i}]") for i, item in enumerate(node.value)]
        self.report.add(
            "S103", mark_of(node), self.at(key), f"{self.at(key)} must be a list, as in [one, two]."
        )
        return []


def read_fields(node: Node, path: str, report: Report, known: Collection[str] | None) -> Fields | None:
    """The node as a mapping, or None with a problem."""
    if isinstance(node, MappingNode):
        return Fields(node, path, report, known)
    report.add("S103", mark_of(node), path, f"{path} must hold keys and values.")
    return None


def usable_key(text: str, mark: Mark, path: str, report: Report, *, reserved: Collection[str] = ()) -> bool:
    """Can this be the key of an action or variant?"""
    if text in reserved:
        report.add("S104", mark, path, f"{text} is a reserved word.", KEY_HINT)
        return False
    if KEY.fullmatch(text) is None:
        report.add("S104", mark, path, f"{text!r} cannot be a key.", KEY_HINT)
        return False
    return True
