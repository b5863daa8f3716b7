"""Reads the actions of a sequence file: what may stand in an action, in its message and in its edges."""

from datetime import timedelta

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from outreach.engine.expiry import read_expiry
from outreach.engine.fields import Fields, Text, read_fields, read_text, usable_key
from outreach.engine.kinds import MESSAGE_KINDS, ActionKind, TriggerKind
from outreach.engine.lateness import LATENESS_KEYS, Defaults, read_defaults, read_lateness
from outreach.engine.problems import Mark, Report
from outreach.engine.source import mark_of
from outreach.engine.specs import END, ActionSpec, EdgeSpec, MessageSpec, VariantSpec
from outreach.engine.suggest import did_you_mean

ACTION_KEYS = ("do", "for", "message", *LATENESS_KEYS, "task", "next")
MESSAGE_KEYS = ("body", "variants", "subject", "fallback")
VARIANT_KEYS = ("weight", "body", "subject")
EDGE_KEYS = ("on", "after", "to")
LARGEST_WEIGHT = 10_000
#: A graph is loaded for every lead that moves; sequences in the field have 3 to 30 actions.
MAX_ACTIONS = 200
#: There are not more kinds of edge, and an action has one of each at most.
MAX_EDGES = len(TriggerKind)
MAX_VARIANTS = 20

_READ_HINT = "READ is a signal and never an edge: not every channel tells, and silence is no proof. Use REPLIED and NOT_REPLIED."


def read_actions(fields: Fields) -> dict[str, ActionSpec]:
    fields.require(
        "actions", "Write at least one action, as in actions: {hello: {do: SEND_TWITTER_DM, ...}}."
    )
    actions = fields.inner("actions", None)
    defaults = read_defaults(fields)
    if actions is None:
        return {}
    if not list(actions):
        fields.report.add("S102", actions.mark, "actions", "There is no action.")
    if _too_many("actions", len(list(actions)), MAX_ACTIONS, actions.mark, actions.path, fields.report):
        return {}
    found = {}
    for key in actions:
        usable_key(key, actions.mark_of(key), actions.at(key), fields.report, reserved=(END,))
        spec = actions.inner(key, ACTION_KEYS)
        if spec is not None:
            found[key] = _read_action(key, actions.mark_of(key), spec, defaults)
    return found


def _too_many(what: str, count: int, most: int, mark: Mark, path: str, report: Report) -> bool:
    if count > most:
        report.add("S113", mark, path, f"{count:,} {what}, and {most} is the most.")
    return count > most


def _read_action(key: str, mark: Mark, fields: Fields, defaults: Defaults) -> ActionSpec:
    fields.require("do", did_you_mean("", tuple(ActionKind.__members__)))
    kind = fields.word("do", ActionKind, "S105", "action")
    if kind is not None:
        _check_fit(kind, fields)
    return ActionSpec(
        key=key,
        mark=mark,
        kind=kind,
        edges=_read_next(fields),
        message=None if kind is not None and kind not in MESSAGE_KINDS else _read_message(kind, fields),
        wait=fields.duration("for") or timedelta(0),
        lateness=read_lateness(fields, kind, defaults),
        task_expires=read_expiry(fields, kind),
    )


def _check_fit(kind: ActionKind, fields: Fields) -> None:
    """`for` belongs to WAIT, `message` to what sends text; a connection request may go without a note."""
    if kind is ActionKind.WAIT:
        fields.require("for", "Say how long, as in for: 2d.")
    elif "for" in fields:
        hint = "To wait before the next action, write next: {to: …, after: 2d}."
        fields.report.add(
            "S111", fields.mark_of("for"), fields.at("for"), f"{kind} does not take `for`.", hint
        )
    if kind in MESSAGE_KINDS and kind is not ActionKind.SEND_CONNECTION_REQUEST:
        fields.require("message", "Say what to send, as in message: {body: …}.")
    elif kind not in MESSAGE_KINDS and "message" in fields:
        fields.report.add(
            "S111", fields.mark_of("message"), fields.at("message"), f"{kind} sends no message."
        )


# --- messages --------------------------------------------------------------------------------------------------


def _read_message(kind: ActionKind | None, action: Fields) -> MessageSpec | None:
    if isinstance(action.node("message"), ScalarNode):
        return _read_short_message(kind, action)
    message = action.inner("message", MESSAGE_KEYS)
    if message is None:
        return None
    if ("body" in message) == ("variants" in message):
        hint = "Write either body, or variants: {a: {weight: 1, body: …}, b: …}."
        message.report.add(
            "S308", message.mark, message.path, "A message has either a body or variants.", hint
        )
    subject = message.text("subject")
    single = _read_variant("a", message, subject) if "body" in message else None
    variants = (single,) if single else _read_variants(message, subject)
    _check_subjects(kind, message, variants)
    fallback = _read_body(message, "fallback")
    return MessageSpec(mark=action.mark_of("message"), variants=variants, fallback=fallback)


def _read_short_message(kind: ActionKind | None, action: Fields) -> MessageSpec | None:
    """`message: Hi …`, short for {body: Hi …}."""
    body = _read_body(action, "message")
    if body is None:
        return None
    if kind is ActionKind.SEND_EMAIL:
        _report_no_subject(action.report, body.mark, action.at("message"))
    single = VariantSpec(key="a", weight=1, body=body, subject=None)
    return MessageSpec(mark=action.mark_of("message"), variants=(single,))


def _read_variants(message: Fields, subject: Text | None) -> tuple[VariantSpec, ...]:
    variants = message.inner("variants", None)
    if variants is None:
        return ()
    if _too_many("variants", len(list(variants)), MAX_VARIANTS, variants.mark, variants.path, message.report):
        return ()
    found = []
    for key in variants:
        usable_key(key, variants.mark_of(key), variants.at(key), message.report)
        spec = _read_arm(key, variants, subject)
        if spec is not None:
            found.append(spec)
    if not any(spec.weight for spec in found):
        text = "The weights add up to nothing: no variant would ever be chosen."
        message.report.add("S307", message.mark_of("variants"), variants.path, text)
    return tuple(found)


def _read_arm(key: str, variants: Fields, subject: Text | None) -> VariantSpec | None:
    """`a: {weight: 60, body: …}`, or `a: …`, which weighs 1."""
    if isinstance(variants.node(key), ScalarNode):
        body = _read_body(variants, key)
        return None if body is None else VariantSpec(key=key, weight=1, body=body, subject=subject)
    fields = variants.inner(key, VARIANT_KEYS)
    return None if fields is None else _read_variant(key, fields, fields.text("subject") or subject)


def _read_variant(key: str, fields: Fields, subject: Text | None) -> VariantSpec | None:
    fields.require("body")
    weight = fields.number("weight", 1, most=LARGEST_WEIGHT)
    body = _read_body(fields, "body")
    return None if body is None else VariantSpec(key=key, weight=weight, body=body, subject=subject)


def _read_body(fields: Fields, key: str) -> Text | None:
    text = fields.text(key)
    if text is not None and not text.value.strip():
        fields.report.add("S308", text.mark, fields.at(key), f"{fields.at(key)} is blank.")
        return None
    return text


def _check_subjects(kind: ActionKind | None, message: Fields, variants: tuple[VariantSpec, ...]) -> None:
    if kind is None:
        return
    for variant in variants:
        if kind is ActionKind.SEND_EMAIL and (variant.subject is None or not variant.subject.value.strip()):
            _report_no_subject(message.report, variant.body.mark, message.path)
        elif kind is not ActionKind.SEND_EMAIL and variant.subject is not None:
            text = f"{kind} has no subject: only email has."
            message.report.add("S309", variant.subject.mark, message.at("subject"), text)


def _report_no_subject(report: Report, mark: Mark, path: str) -> None:
    report.add("S309", mark, path, "This email has no subject.", "Add message: {subject: …, body: …}.")


# --- edges -----------------------------------------------------------------------------------------------------


def _read_next(action: Fields) -> tuple[EdgeSpec, ...]:
    """`next` is a key, an edge, or a list of either."""
    node = action.node("next")
    if isinstance(node, SequenceNode):
        if _too_many("edges", len(node.value), MAX_EDGES, mark_of(node), action.at("next"), action.report):
            return ()
        found = [_read_edge(item, path, action.report) for item, path in action.items("next")]
    else:
        found = [] if node is None else [_read_edge(node, action.at("next"), action.report)]
    return tuple(edge for edge in found if edge is not None)


def _read_edge(node: Node, path: str, report: Report) -> EdgeSpec | None:
    if not isinstance(node, MappingNode):
        to = read_text(node, path, report)
        return None if to is None else _edge(mark_of(node), path, TriggerKind.NORMAL_EDGE, to)
    fields = read_fields(node, path, report, EDGE_KEYS)
    assert fields is not None  # it is a mapping
    kind = _read_trigger(fields)
    if kind is not TriggerKind.END:
        fields.require("to", "Name the next action, or END.")
    return _edge(fields.mark, path, kind, fields.text("to"), fields.duration("after"))


def _edge(
    mark: Mark, path: str, kind: TriggerKind | None, to: Text | None, after: timedelta | None = None
) -> EdgeSpec:
    target = None if to is not None and to.value == END else to
    return EdgeSpec(mark=mark, path=path, kind=kind, to=target, after=after)


def _read_trigger(fields: Fields) -> TriggerKind | None:
    if "on" not in fields:
        return TriggerKind.NORMAL_EDGE
    node = fields.node("on")
    if isinstance(node, ScalarNode) and node.value == "READ":
        fields.report.add("S106", mark_of(node), fields.at("on"), "READ cannot be waited for.", _READ_HINT)
        return None
    return fields.word("on", TriggerKind, "S106", "edge")
