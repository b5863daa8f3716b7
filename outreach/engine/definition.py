"""A sequence as its author wrote it: YAML text in, a located Definition or all of its problems out.

This module knows what may stand where. Whether the parts make sense together (targets, cycles, templates,
opt-out) is the compiler's question.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import time

from yaml.nodes import SequenceNode

from outreach.engine import notation
from outreach.engine.entry import read_entries
from outreach.engine.fields import Fields, Text, read_text
from outreach.engine.graph import Window
from outreach.engine.kinds import CHANNEL_OF, ActionKind
from outreach.engine.lateness import LATENESS_KEYS
from outreach.engine.problems import Mark, Problem, Report
from outreach.engine.reading import read_actions
from outreach.engine.source import compose_source, decode_source, mark_of
from outreach.engine.specs import ActionSpec, EntrySpec
from outreach.engine.suggest import did_you_mean

DEFAULT_OPT_OUT = "Reply STOP and I will not write again."
#: Variables that the engine fills in: the opt-out line, the sending account's name, the sequence's name.
BUILTIN_VARIABLES = frozenset({"opt_out", "sender_name", "sequence"})

SEQUENCE_KEYS = (
    "sequence",
    "title",
    "description",
    "on_reply",
    "exclude_already_contacted",
    "window",
    "caps",
    *LATENESS_KEYS,
    "review_first",
    "variables",
    "requires",
    "opt_out",
    "entry",
    "start",
    "actions",
)
WINDOW_KEYS = ("days", "from", "until", "zone")
REPLY_RULES = ("stop", "continue")
#: More than anybody reads before a version may run by itself.
MOST_REVIEWED = 1000

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_VARIABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}", re.ASCII)
_VARIABLE_HINT = "Use letters, digits and _, beginning with a letter, as in first_name."


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A whole file as written, every part with its place."""

    filename: str
    name: str
    title: str = ""
    description: str = ""
    on_reply: str = "stop"
    exclude_already_contacted: bool = False
    window: Window | None = None
    caps: Mapping[ActionKind, Text] = field(default_factory=dict)
    review_first: int = 0
    variables: Mapping[str, Text] = field(default_factory=dict)
    requires: Mapping[str, Mark] = field(default_factory=dict)
    opt_out: Text
    entries: tuple[EntrySpec, ...] = ()
    start: Text | None = None
    actions: Mapping[str, ActionSpec] = field(default_factory=dict)


def parse_definition(text: str, filename: str) -> Definition | list[Problem]:
    """The definition in a YAML text, or every problem of its form, by line. `filename` is only remembered."""
    report = Report()
    definition = read_definition(text, filename, report)
    return report.by_line() if definition is None or report.has_errors else definition


def parse_definition_bytes(data: bytes, filename: str) -> Definition | list[Problem]:
    """As parse_definition, from a file's bytes: encodings and binary files are problems like any other."""
    text = decode_source(data)
    return parse_definition(text, filename) if isinstance(text, str) else text


def read_definition(text: str, filename: str, report: Report) -> Definition | None:
    """What can be understood of a text, problems going to the report; None when nothing can."""
    root = compose_source(text, report)
    if root is None:
        return None
    fields = Fields(root, "", report, SEQUENCE_KEYS)
    fields.require("sequence", "Give it a name: sequence: my-first-sequence.")
    return Definition(
        filename=filename,
        name=_read_name(fields),
        title=fields.plain("title"),
        description=fields.plain("description"),
        on_reply=fields.choice("on_reply", REPLY_RULES, "stop"),
        exclude_already_contacted=fields.flag("exclude_already_contacted", default=False),
        window=_read_window(fields),
        caps=_read_caps(fields),
        review_first=fields.number("review_first", 0, most=MOST_REVIEWED),
        variables=_read_variables(fields),
        requires=_read_requires(fields),
        opt_out=_read_opt_out(fields),
        entries=read_entries(fields),
        start=fields.text("start"),
        actions=read_actions(fields),
    )


def _read_name(fields: Fields) -> str:
    text = fields.text("sequence")
    if text is None:
        return ""
    if _NAME.fullmatch(text.value) is None:
        hint = "Use a-z, 0-9 and -, at most 64, as in follow-dm-branch."
        fields.report.add("S104", text.mark, "sequence", f"{text.value!r} cannot name a sequence.", hint)
    return text.value


# --- window, caps, variables -----------------------------------------------------------------------------------


def _read_window(fields: Fields) -> Window | None:
    window = fields.inner("window", WINDOW_KEYS)
    if window is None:
        return None
    default = Window()
    start = _read_time(window, "from", default.start)
    end = _read_time(window, "until", default.end)
    if start == end:
        hint = "For no window at all, take `window` out of the file."
        window.report.add(
            "S109", window.mark_of("until"), window.at("until"), "The window opens for no time.", hint
        )
    return Window(
        days=_read_days(window, default.days), start=start, end=end, zone=_read_zone(window, default.zone)
    )


def _read_time(window: Fields, key: str, default: time) -> time:
    text = window.text(key)
    if text is None:
        return default
    found = notation.parse_time(text.value)
    if found is None:
        message = f"{text.value!r} is not a time of day."
        window.report.add("S109", text.mark, window.at(key), message, notation.TIME_HINT)
    return default if found is None else found


def _read_days(window: Fields, default: tuple[int, ...]) -> tuple[int, ...]:
    node = window.node("days")
    if node is None:
        return default
    if isinstance(node, SequenceNode):
        texts = [read_text(item, path, window.report) for item, path in window.items("days")]
        written = ",".join(text.value for text in texts if text is not None)
    else:
        written = window.plain("days", "mon-fri")
    days = notation.parse_days(written)
    if days is None:
        message = f"{written!r} names no weekdays."
        window.report.add("S109", mark_of(node), window.at("days"), message, notation.DAYS_HINT)
    return default if days is None else days


def _read_zone(window: Fields, default: str) -> str:
    text = window.text("zone")
    if text is None:
        return default
    names = notation.zone_names()
    if text.value not in names:
        message = f"{text.value!r} is no time zone."
        hint = did_you_mean(text.value, names)
        window.report.add("S109", text.mark, window.at("zone"), message, hint)
    return text.value


def _read_caps(fields: Fields) -> dict[ActionKind, Text]:
    """Caps as written. What a cap may say is the limiter's language: the compiler asks a function of its caller."""
    caps = fields.inner("caps", None)
    if caps is None:
        return {}
    kinds = {kind.value for kind in CHANNEL_OF}
    for key in caps:
        if key not in kinds:
            message = f"{key} is no action that can be capped."
            caps.report.add(
                "S105", caps.mark_of(key), caps.at(key), message, did_you_mean(key, sorted(kinds))
            )
    texts = {ActionKind(key): caps.text(key) for key in caps if key in kinds}
    return {kind: text for kind, text in texts.items() if text is not None}


def _read_variables(fields: Fields) -> dict[str, Text]:
    variables = fields.inner("variables", None)
    if variables is None:
        return {}
    found = {}
    for name in variables:
        text = variables.text(name)
        if text is None or not _usable_variable(
            name, variables.mark_of(name), variables.at(name), fields.report
        ):
            continue
        found[name] = text
        _refuse_blank(text, variables.at(name), fields.report)
    return found


def _read_requires(fields: Fields) -> dict[str, Mark]:
    found = {}
    for node, path in fields.items("requires"):
        text = read_text(node, path, fields.report)
        if text is not None and _usable_variable(text.value, text.mark, path, fields.report):
            found[text.value] = text.mark
    return found


def _usable_variable(name: str, mark: Mark, path: str, report: Report) -> bool:
    if name in BUILTIN_VARIABLES:
        hint = "The line's text is set by the key opt_out." if name == "opt_out" else None
        report.add("S104", mark, path, f"{name} is filled in by the engine.", hint)
        return False
    if _VARIABLE.fullmatch(name) is None:
        report.add("S104", mark, path, f"{name!r} cannot name a variable.", _VARIABLE_HINT)
        return False
    return True


def _read_opt_out(fields: Fields) -> Text:
    text = fields.text("opt_out")
    if text is None:
        return Text(DEFAULT_OPT_OUT, fields.mark, fields.mark.line)
    _refuse_blank(text, "opt_out", fields.report)
    return text


def _refuse_blank(text: Text, path: str, report: Report) -> None:
    if not text.value.strip():
        report.add("S103", text.mark, path, f"{path} is blank.", "Nothing blank is ever put into a message.")
