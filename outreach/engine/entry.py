"""Who comes in by themselves: `entry` of a sequence file, one door or a list of them."""

from dataclasses import replace
from datetime import timedelta

from yaml.nodes import ScalarNode, SequenceNode

from outreach.engine.fields import KEY, KEY_HINT, Fields, read_fields, read_text
from outreach.engine.graph import Entry
from outreach.engine.kinds import EntryKind
from outreach.engine.problems import Report
from outreach.engine.source import mark_of
from outreach.engine.specs import ActionSpec, EntrySpec

ENTRY_KEYS = ("segment", "on", "form", "account", "pool", "words", "cool_off", "source")
#: What `on` may say; a segment needs no `on`.
ON_KINDS = (EntryKind.MESSAGE_IN.value, EntryKind.FORM.value)
MAX_ENTRIES = 20
MAX_WORDS = 100
LEAST_COOL_OFF = timedelta(hours=1)
#: Keys that belong to one kind of door only; `account` and `pool` belong to all.
_FITS = {
    "segment": (EntryKind.SEGMENT,),
    "form": (EntryKind.FORM,),
    "words": (EntryKind.MESSAGE_IN,),
    "cool_off": (EntryKind.MESSAGE_IN, EntryKind.FORM),
    "source": (EntryKind.FORM,),
}
_HINT = "Write segment: NAME, on: message_in, or on: form with form: NAME."


def read_entries(fields: Fields) -> tuple[EntrySpec, ...]:
    """The doors of a file; what is wrong with them goes to the report."""
    node = fields.node("entry")
    if node is None:
        return ()
    if isinstance(node, SequenceNode):
        items = fields.items("entry")
    else:
        items = [(node, fields.at("entry"))]
    if len(items) > MAX_ENTRIES:
        message = f"{len(items)} entries, and {MAX_ENTRIES} is the most."
        fields.report.add("S113", mark_of(node), fields.at("entry"), message)
        return ()
    read = [read_fields(item, path, fields.report, ENTRY_KEYS) for item, path in items]
    return tuple(spec for one in read if one is not None and (spec := _read_entry(one)) is not None)


def _read_entry(fields: Fields) -> EntrySpec | None:
    kind = _read_kind(fields)
    if kind is None:
        return None
    for key, kinds in _FITS.items():
        if key in fields and kind not in kinds:
            message = f"An entry by {kind} does not take `{key}`."
            fields.report.add("S402", fields.mark_of(key), fields.at(key), message)
    value = Entry(
        kind=kind,
        name=_read_name(kind, fields),
        accounts=_read_list(fields, "account"),
        pools=_read_list(fields, "pool"),
        words=_read_list(fields, "words"),
        cool_off=_read_cool_off(fields),
        source=fields.plain("source").strip(),
    )
    marks = {key: fields.mark_of(key) for key in fields}
    return EntrySpec(mark=fields.mark, path=fields.path, value=value, marks=marks)


def _read_kind(fields: Fields) -> EntryKind | None:
    if "on" in fields:
        word = fields.choice("on", ON_KINDS, "")
        return EntryKind(word) if word else None
    if "segment" in fields:
        return EntryKind.SEGMENT
    fields.report.add("S401", fields.mark, fields.path, "The entry does not say who comes in.", _HINT)
    return None


def _read_name(kind: EntryKind, fields: Fields) -> str:
    if kind is EntryKind.MESSAGE_IN:
        return ""
    key = "form" if kind is EntryKind.FORM else "segment"
    fields.require(key, "Give it a name: form: website." if kind is EntryKind.FORM else _HINT)
    text = fields.text(key)
    if text is None:
        return ""
    if kind is EntryKind.FORM and KEY.fullmatch(text.value) is None:
        # It stands in the URL that the form posts to.
        fields.report.add("S104", text.mark, fields.at(key), f"{text.value!r} cannot name a form.", KEY_HINT)
    return text.value


def _read_cool_off(fields: Fields) -> timedelta | None:
    found = fields.duration("cool_off")
    if found is not None and found < LEAST_COOL_OFF:
        message = "So short a cool-off lets two machines answer each other without end."
        fields.report.add(
            "S107", fields.mark_of("cool_off"), fields.at("cool_off"), message, "Write 1h or more."
        )
    return found


def _read_list(fields: Fields, key: str) -> tuple[str, ...]:
    """One text, or a list of them; nothing blank."""
    node = fields.node(key)
    if node is None:
        return ()
    if isinstance(node, ScalarNode):
        found = [(fields.text(key), fields.at(key))]
    else:
        found = [(read_text(item, path, fields.report), path) for item, path in fields.items(key)]
    if len(found) > MAX_WORDS:
        message = f"{len(found)} of them, and {MAX_WORDS} is the most."
        fields.report.add("S113", mark_of(node), fields.at(key), message)
        return ()
    for text, path in found:
        if text is not None and not text.value.strip():
            fields.report.add("S103", text.mark, path, f"{path} is blank.", "Take it out, or write a word.")
    return tuple(dict.fromkeys(text.value.strip() for text, _ in found if text is not None))


# --- what belongs together ---------------------------------------------------------------------------------------


def check_entries(
    specs: tuple[EntrySpec, ...], actions: dict[str, ActionSpec], start: str, report: Report
) -> tuple[Entry, ...]:
    """The doors with the channel on which people write; the same door twice, or one that leads nowhere, is a problem."""
    found: list[Entry] = []
    seen: dict[tuple[EntryKind, str], int] = {}
    for spec in specs:
        key = (spec.value.kind, spec.value.name)
        if key in seen:
            message = f"There is an entry by {spec.value.label} on line {seen[key]} already."
            report.add(
                "S403", spec.mark, spec.path, message, "Put both into one: accounts and words may be lists."
            )
        seen.setdefault(key, spec.mark.line)
        found.append(_with_channel(spec, actions, start, report))
    return tuple(found)


def _with_channel(spec: EntrySpec, actions: dict[str, ActionSpec], start: str, report: Report) -> Entry:
    if spec.value.kind is not EntryKind.MESSAGE_IN:
        return spec.value
    first = actions[start].channel
    spoken = {channel for action in actions.values() if (channel := action.channel) is not None}
    channel = first or (next(iter(spoken)) if len(spoken) == 1 else None)
    if channel is None and all(action.kind is not None for action in actions.values()):
        message = "Nobody can tell on which channel they write."
        report.add("S401", spec.mark, spec.path, message, "Begin with an action of that channel.")
    return replace(spec.value, channel=channel)
