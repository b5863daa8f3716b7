"""The JSON Schema of sequence files, for editors: completion and checks while one types.

It says what may stand where. What it cannot say (targets, cycles, templates, opt-out) `outreach sequence check` says.
"""

from typing import Any

from outreach.engine.definition import BUILTIN_VARIABLES, DEFAULT_OPT_OUT, MOST_REVIEWED, REPLY_RULES
from outreach.engine.entry import MAX_ENTRIES, MAX_WORDS, ON_KINDS
from outreach.engine.expiry import NEVER
from outreach.engine.graph import TASK_EXPIRES
from outreach.engine.kinds import (
    CHANNEL_OF,
    MESSAGE_KINDS,
    NEGATIVE_TRIGGERS,
    ActionKind,
    IfLate,
    TriggerKind,
)
from outreach.engine.lateness import LATENESS_KEYS, NO_LIMIT
from outreach.engine.notation import WEEKDAYS, format_duration
from outreach.engine.reading import LARGEST_WEIGHT, MAX_ACTIONS
from outreach.engine.specs import END

Schema = dict[str, Any]

_DURATION = r"^\s*(?=\S)(\d+\s*w)?\s*(\d+\s*d)?\s*(\d+\s*h)?\s*(\d+\s*m)?\s*(\d+\s*s)?\s*$"
_KEY = r"^[a-z0-9][a-z0-9_-]{0,63}$"
_VARIABLE = r"^[A-Za-z][A-Za-z0-9_]{0,63}$"
_TIME = r"^([01]\d|2[0-3]):[0-5]\d$"
_DAY = f"({'|'.join(WEEKDAYS)})"
_DAYS = rf"^\s*{_DAY}(\s*-\s*{_DAY})?(\s*,\s*{_DAY}(\s*-\s*{_DAY})?)*\s*$"
_WAITING = sorted(NEGATIVE_TRIGGERS | {TriggerKind.TIMEOUT})


def definition_schema() -> Schema:
    """The schema (draft 2020-12) of a whole sequence file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Outreach sequence",
        "description": "A sequence: what is done with a person, what is waited for, and where each answer leads.",
        "type": "object",
        "required": ["sequence", "actions"],
        "additionalProperties": False,
        "properties": _sequence_properties(),
        "$defs": {
            "action": _action(),
            "message": _message(),
            "variant": _variant(),
            "edge": _edge(),
            "entry": _door(),
            "target": _text("The key of the next action, or END to finish.", pattern=f"^{END}$|{_KEY}"),
            "duration": _text(
                "A duration: 30s, 15m, 2h, 3d, 1w, or together, as in 1d12h.", pattern=_DURATION
            ),
            "template": _text("A text with {{ variables }} and {% if … %} in it.", pattern=r"\S"),
            "plain": {
                "description": "A text that is put into messages as it is.",
                "anyOf": [{"type": "string", "pattern": r"\S"}, {"type": ["number", "boolean"]}],
            },
        },
    }


def _sequence_properties() -> Schema:
    variable = {"pattern": _VARIABLE, "not": {"enum": sorted(BUILTIN_VARIABLES)}}
    return {
        "sequence": _text(
            "Its name, for ever: a-z, 0-9 and -.", pattern=r"^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$"
        ),
        "title": _text("What people call it."),
        "description": _text("What it is for."),
        "on_reply": _choice(
            "What a person's reply does that no edge takes: stop the lead, or go on.", REPLY_RULES, "stop"
        ),
        "exclude_already_contacted": {
            "description": "Never open contact with somebody whom any account of ours has contacted on this channel.",
            "type": "boolean",
            "default": False,
        },
        "window": _window(),
        "caps": _caps(),
        "max_lateness": _max_lateness(
            "The most that a step may come after it was first due; for actions that say nothing."
        ),
        "if_late": _if_late(),
        "review_first": {
            "description": "So many messages of a version wait for somebody's OK before it runs by itself.",
            "type": "integer",
            "minimum": 0,
            "maximum": MOST_REVIEWED,
            "default": 0,
        },
        "variables": _mapping("Defaults of variables, by name.", variable, {"$ref": "#/$defs/plain"}),
        "requires": {
            "description": "Variables that every lead must bring; one that lacks them waits for a human.",
            "type": "array",
            "items": {"type": "string"} | variable,
        },
        "opt_out": {
            "$ref": "#/$defs/plain",
            "description": "What {{ opt_out }} says.",
            "default": DEFAULT_OPT_OUT,
        },
        "entry": _entry(),
        "start": _text("The action to begin with. Default: the first one.", pattern=_KEY),
        "actions": _mapping(
            "The actions by key. A key is part of the ledger for ever: to rename one is to make a new action.",
            {"pattern": _KEY, "not": {"const": END}},
            {"$ref": "#/$defs/action"},
        )
        | {"minProperties": 1, "maxProperties": MAX_ACTIONS},
    }


def _entry() -> Schema:
    one = {"$ref": "#/$defs/entry"}
    return {
        "description": "Who comes in by themselves: one door, or a list of them.",
        "anyOf": [one, {"type": "array", "maxItems": MAX_ENTRIES, "items": one}],
    }


def _door() -> Schema:
    text: Schema = {"type": ["string", "number", "boolean"]}
    texts: Schema = {"anyOf": [text, {"type": "array", "maxItems": MAX_WORDS, "items": text}]}
    properties: Schema = {
        "segment": _text("Whoever meets this segment's condition comes in."),
        "on": {
            "description": "message_in: whoever writes to us first. form: whoever fills in a form.",
            "enum": list(ON_KINDS),
        },
        "form": _text("The form's name, in the URL it posts to.", pattern=_KEY),
        "account": {"description": "Who speaks; for message_in: to whom they write.", **texts},
        "pool": {"description": "The same, by a pool's name.", **texts},
        "words": {"description": "One of them must stand in the message.", **texts},
        "cool_off": {
            "$ref": "#/$defs/duration",
            "description": "Who has been here comes in again so long after their last passage. Without it: never.",
        },
        "source": _text("Where the form's consent is given, in words."),
    }
    by_segment: Schema = {
        "required": ["segment"],
        "not": {"anyOf": [{"required": [key]} for key in ("on", "form", "words", "cool_off", "source")]},
    }
    by_message: Schema = {
        "required": ["on"],
        "properties": {"on": {"const": ON_KINDS[0]}},
        "not": {"anyOf": [{"required": [key]} for key in ("segment", "form", "source")]},
    }
    by_form: Schema = {
        "required": ["on", "form"],
        "properties": {"on": {"const": ON_KINDS[1]}},
        "not": {"anyOf": [{"required": [key]} for key in ("segment", "words")]},
    }
    return _object("One door.", properties) | {"oneOf": [by_segment, by_message, by_form]}


def _window() -> Schema:
    days = [
        {"type": "string", "pattern": _DAYS},
        {"type": "array", "minItems": 1, "items": {"enum": list(WEEKDAYS)}},
    ]
    return _object(
        "When sends may happen. Outside of it they wait.",
        {
            "days": {
                "description": "Weekdays: mon-fri, mon,wed or a list.",
                "anyOf": days,
                "default": "mon-fri",
            },
            "from": _text('The first minute, as in "09:00".', pattern=_TIME),
            "until": _text(
                'The minute after the last, as in "18:00"; before `from`: over midnight.', pattern=_TIME
            ),
            "zone": _text(
                "lead (the person's zone, else the account's), account, or a name such as Europe/Vienna."
            ),
        },
    )


def _caps() -> Schema:
    cap = _text(
        "For instance 8/hour; 40/date: at most 8 in any hour, and 40 on one calendar date.", pattern=r"\S"
    )
    return _object(
        "At most so many by one account for this sequence. The account's own caps hold beside them.",
        {kind.value: cap for kind in CHANNEL_OF},
    )


def _action() -> Schema:
    kinds = {
        "description": "What is done.",
        "enum": [kind.value for kind in ActionKind],
    }
    properties: Schema = {
        "do": kinds,
        "for": {"$ref": "#/$defs/duration", "description": "WAIT only: how long."},
        "message": {"$ref": "#/$defs/message"},
        "max_lateness": _max_lateness("The most that it may come after it was first due."),
        "if_late": _if_late(),
        "task": _task(),
        "next": _next(),
    }
    return _object("One action.", properties) | {"required": ["do"], "allOf": _fits()}


def _task() -> Schema:
    expires = {
        "description": "So long it waits for somebody to begin it; then it has failed.",
        "anyOf": [{"const": NEVER}, {"$ref": "#/$defs/duration"}],
        "default": format_duration(TASK_EXPIRES),
    }
    return _object("Where the platform leaves it to a human: how the task is kept.", {"expires": expires})


def _max_lateness(description: str) -> Schema:
    return {"description": description, "anyOf": [{"const": NO_LIMIT}, {"$ref": "#/$defs/duration"}]}


def _if_late() -> Schema:
    words = tuple(word.value for word in IfLate)
    return _choice("What becomes of a step that comes later than that.", words, IfLate.SKIP.value)


def _next() -> Schema:
    one = [{"$ref": "#/$defs/target"}, {"$ref": "#/$defs/edge"}]
    return {
        "description": "Where it leads: an action's key, an edge, or a list of edges. Without it the lead finishes here.",
        "anyOf": [*one, {"type": "array", "items": {"anyOf": one}}],
    }


def _fits() -> list[Schema]:
    """What each kind of action must and must not have."""
    speaking = sorted(MESSAGE_KINDS - {ActionKind.SEND_CONNECTION_REQUEST})
    silent = sorted(set(ActionKind) - MESSAGE_KINDS)
    idle = sorted(set(ActionKind) - set(CHANNEL_OF))
    no_subject: Schema = {"not": {"required": ["subject"]}}
    subjects: Schema = {"properties": {"message": {"anyOf": [{"type": "string"}, no_subject]}}}
    return [
        _when_do([ActionKind.WAIT], {"required": ["for"]}, {"not": {"required": ["for"]}}),
        _when_do(speaking, {"required": ["message"]}),
        _when_do(silent, {"not": {"required": ["message"]}}),
        _when_do(idle, {"not": {"anyOf": [{"required": [key]} for key in (*LATENESS_KEYS, "task")]}}),
        _when_do([ActionKind.SEND_EMAIL], {"properties": {"message": {"type": "object"}}}, subjects),
    ]


def _when_do(kinds: list[ActionKind], then: Schema, otherwise: Schema | None = None) -> Schema:
    condition = {"required": ["do"], "properties": {"do": {"enum": [kind.value for kind in kinds]}}}
    rule: Schema = {"if": condition, "then": then}
    return rule if otherwise is None else rule | {"else": otherwise}


def _message() -> Schema:
    properties: Schema = {
        "body": {"$ref": "#/$defs/template", "description": "What is sent."},
        "variants": _mapping(
            "An A/B test: texts of which each person gets one, for ever the same.",
            {"pattern": _KEY},
            {"anyOf": [{"$ref": "#/$defs/template"}, {"$ref": "#/$defs/variant"}]},
        )
        | {"minProperties": 1},
        "subject": {"$ref": "#/$defs/template", "description": "Email only."},
        "fallback": {
            "$ref": "#/$defs/template",
            "description": "Sent when a variable of the text is missing.",
        },
    }
    exactly_one = [{"required": ["body"]}, {"required": ["variants"]}]
    full = _object("A message with its parts.", properties) | {"oneOf": exactly_one}
    return {
        "description": "What is sent: a text, or its parts.",
        "anyOf": [{"$ref": "#/$defs/template"}, full],
    }


def _variant() -> Schema:
    properties: Schema = {
        "weight": {
            "description": "Its share; 60 and 40 are as 3 and 2. 0: nobody new gets it.",
            "type": "integer",
            "minimum": 0,
            "maximum": LARGEST_WEIGHT,
            "default": 1,
        },
        "body": {"$ref": "#/$defs/template"},
        "subject": {
            "$ref": "#/$defs/template",
            "description": "Email only; instead of the message's subject.",
        },
    }
    return _object("One text of an A/B test.", properties) | {"required": ["body"]}


def _edge() -> Schema:
    kinds = [kind.value for kind in TriggerKind]
    properties: Schema = {
        "on": {
            "description": "Why it is taken. READ is a signal and never an edge.",
            "enum": kinds,
            "default": "NORMAL_EDGE",
        },
        "after": {
            "$ref": "#/$defs/duration",
            "description": "NORMAL_EDGE, TIMEOUT: the delay. NOT_…: the deadline by which it must have happened.",
        },
        "to": {"$ref": "#/$defs/target"},
    }
    finishes: Schema = {"properties": {"to": {"const": END}}}
    return _object("One edge.", properties) | {
        "allOf": [
            _when_on([TriggerKind.END], finishes, {"required": ["to"]}),
            _when_on(_WAITING, {"required": ["after"]}),
            _when_on(
                sorted(set(TriggerKind) - set(_WAITING) - {TriggerKind.NORMAL_EDGE}),
                {"not": {"required": ["after"]}},
            ),
        ]
    }


def _when_on(kinds: list[TriggerKind], then: Schema, otherwise: Schema | None = None) -> Schema:
    condition = {"required": ["on"], "properties": {"on": {"enum": [kind.value for kind in kinds]}}}
    rule: Schema = {"if": condition, "then": then}
    return rule if otherwise is None else rule | {"else": otherwise}


def _text(description: str, *, pattern: str | None = None) -> Schema:
    schema: Schema = {"description": description, "type": "string"}
    return schema if pattern is None else schema | {"pattern": pattern}


def _choice(description: str, choices: tuple[str, ...], default: str) -> Schema:
    return {"description": description, "enum": list(choices), "default": default}


def _object(description: str, properties: Schema) -> Schema:
    return {
        "description": description,
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def _mapping(description: str, names: Schema, values: Schema) -> Schema:
    return {
        "description": description,
        "type": "object",
        "propertyNames": names,
        "additionalProperties": values,
    }
