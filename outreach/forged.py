"""What comes out of Redis, looked at before anybody handles it: whoever can write there can put anything there. Pure."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

#: The option that says how often a hint was handed on, for a worker that knows its actor.
HANDED_ON = "handed_on"
_FIELDS = {
    "queue_name": str, "actor_name": str, "args": list, "kwargs": dict, "options": dict, "message_id": str, "message_timestamp": int,
}  # fmt: skip
_LARGEST_ID = 2**63 - 1
_LONGEST_NAME = 64


def wrong_with(body: bytes | None, queue: str, actors: Mapping[str, int]) -> str | None:
    """Why this is no hint of ours, in words that quote nothing of it; None: it is one.

    What passes names an actor and the one row that it asks for, and has no option that would change how it is carried out
    (dramatiq reads a time limit from a message, which would interrupt a call). `actors`: name -> how many ids; an actor that is not
    among them may be a newer release's.
    """
    if body is None:
        return "its body is gone"
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return "it is no JSON"
    if not isinstance(found, dict) or found.keys() != _FIELDS.keys():
        return "it is no message"
    if not all(type(found[name]) is kind for name, kind in _FIELDS.items()):
        return "a field of it is of another kind"
    name, args = found["actor_name"], found["args"]
    if not (name.isascii() and name.isidentifier() and len(name) <= _LONGEST_NAME):
        return "no actor is called like that"
    if found["queue_name"] != queue:
        return "it is of another queue"
    if found["kwargs"] or not all(type(one) is int and 0 <= one <= _LARGEST_ID for one in args):
        return "its arguments are no id"
    if len(args) != actors.get(name, len(args)):
        return "its arguments are no id"
    return None if _are_ours(found["options"], queue) else "its options are not ours"


def _are_ours(options: Mapping[str, Any], queue: str) -> bool:
    """Redis' name of it, its time where it was put off, how often it was handed on, and periodiq's time of a tick; nothing else."""
    wanted = {"redis_message_id", "eta"} if queue.endswith(".DQ") else {"redis_message_id"}
    if options.keys() - {"scheduled_at", HANDED_ON} != wanted:
        return False
    try:
        datetime.fromisoformat(options.get("scheduled_at", "2026-01-01"))
    except (TypeError, ValueError):
        return False
    numbers = (options.get("eta", 0), options.get(HANDED_ON, 0))
    return type(options["redis_message_id"]) is str and all(type(one) is int and one >= 0 for one in numbers)
