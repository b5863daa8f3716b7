"""From bytes to located YAML nodes, within limits: nothing is constructed, nothing can blow up."""

import codecs
from typing import Any

import yaml
from yaml.events import AliasEvent, Event
from yaml.nodes import MappingNode, Node
from yaml.reader import ReaderError

from outreach.engine.problems import Mark, Problem, Report

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20
MAX_ALIASES = 100
_START = Mark(1, 1)
_WIDE_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_SAVE_AS = "Save it as UTF-8."


def decode_source(data: bytes) -> str | list[Problem]:
    """The text of a sequence file. A UTF-8 byte order mark is dropped; anything that is not UTF-8 text is a problem."""
    report = Report()
    if len(data) > MAX_BYTES:
        _too_large(report)
    elif _is_wide(data):
        report.add("S003", _START, "", "The file is UTF-16 or UTF-32.", _SAVE_AS)
    elif b"\0" in data:
        report.add("S002", _START, "", "The file holds binary data.", "A sequence is a YAML text file.")
    else:
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            mark = _mark_at(data[: error.start].decode(), error.start)
            report.add("S003", mark, "", f"The byte 0x{data[error.start]:02x} here is not UTF-8.", _SAVE_AS)
    return report.by_line()


def compose_source(text: str, report: Report) -> MappingNode | None:
    """The root mapping with the place of every node; None when there is none, and then the report says why."""
    text = text.removeprefix("\ufeff")
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        _too_large(report)
        return None
    root = _compose(text, report)
    if root is None and not report.has_errors:
        report.add("S001", _START, "", "The file says nothing.", "Start with `sequence:` and `actions:`.")
    elif root is not None and not isinstance(root, MappingNode):
        hint = "Start with `sequence: name` and `actions:`."
        report.add("S103", mark_of(root), "", "The file must hold keys and values.", hint)
    return root if isinstance(root, MappingNode) else None


def mark_of(node: Node) -> Mark:
    """Where the node starts."""
    return _from_yaml(node.start_mark)


def _from_yaml(mark: Any) -> Mark:
    return Mark(mark.line + 1, mark.column + 1)


class _Refused(yaml.YAMLError):
    """Valid YAML that a sequence has no use for."""

    def __init__(self, code: str, what: str, mark: Any, hint: str) -> None:
        super().__init__(what)
        self.code, self.what, self.mark, self.hint = code, what, mark, hint


class _BoundedLoader(yaml.SafeLoader):
    """Composes nodes only, and gives up before a file can cost more than it weighs."""

    depth = 0
    aliases = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        event: Event = self.peek_event()  # type: ignore[no-untyped-call]
        self.aliases += isinstance(event, AliasEvent)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _Refused(
                "S006",
                f"This is nested more than {MAX_DEPTH} deep.",
                event.start_mark,
                "No key of a sequence stands that deep: is a bracket too many here?",
            )
        if self.aliases > MAX_ALIASES:
            raise _Refused(
                "S006",
                f"The file has more than {MAX_ALIASES} aliases.",
                event.start_mark,
                "Write out what the aliases (*name) stand for.",
            )
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise _Refused(
                "S008",
                f"The tag {tag} has no meaning here.",
                event.start_mark,
                "Take it out: plain texts, numbers, lists and keys are all there is.",
            )
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _compose(text: str, report: Report) -> Node | None:
    try:
        return yaml.compose(text, Loader=_BoundedLoader)
    except _Refused as error:
        report.add(error.code, _from_yaml(error.mark), "", error.what, error.hint)
    except ReaderError as error:
        mark = _mark_at(text[: error.position], error.position)
        report.add("S002", mark, "", f"A control character stands here (U+{ord(text[error.position]):04X}).")
    except yaml.MarkedYAMLError as error:
        report.add("S005", *_explain(error))
    return None


def _explain(error: yaml.MarkedYAMLError) -> tuple[Mark, str, str, str | None]:
    mark = error.problem_mark or error.context_mark
    said = f"{error.problem or error.context}"
    hint = None
    if "\\t" in said:
        hint = "YAML indents by spaces, never by tabs."
    elif "mapping values are not allowed" in said:
        hint = 'A text that holds ": " needs quotes around it.'
    elif "but found another document" in said:
        hint = "One file holds one sequence: take out the line `---`."
    return _from_yaml(mark) if mark else _START, "", f"YAML: {said}.", hint


def _is_wide(data: bytes) -> bool:
    """UTF-16 or UTF-32: by its mark or, as ASCII text gives itself away, by every other byte being zero."""
    zeros = [i for i, byte in enumerate(data[:4]) if byte == 0]
    return data.startswith(_WIDE_MARKS) or zeros in ([0, 2], [1, 3])


def _too_large(report: Report) -> None:
    what = f"The file is larger than {MAX_BYTES:,} bytes."
    report.add("S004", _START, "", what, "A sequence is a page or two of YAML: is this the right file?")


def _mark_at(before: str, offset: int) -> Mark:
    """The place that follows the text `before`."""
    line_start = before.rfind("\n") + 1
    return Mark(before.count("\n") + 1, len(before) - line_start + 1) if offset else _START
