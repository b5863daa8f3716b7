"""How long a step that falls to a human may lie about: `task: {expires: 3d}` of an action."""

from datetime import timedelta

from outreach.engine.fields import Fields
from outreach.engine.graph import TASK_EXPIRES
from outreach.engine.kinds import CHANNEL_OF, ActionKind

TASK_KEYS = ("expires",)
#: Such a task waits for ever.
NEVER = "never"


def read_expiry(action: Fields, kind: ActionKind | None) -> timedelta | None:
    """How long nobody may begin it; None: for ever. Only what reaches a provider can fall to a human."""
    if kind is not None and kind not in CHANNEL_OF and "task" in action:
        message = f"{kind} does not take `task`: there is nothing in it for a human to do."
        action.report.add("S111", action.mark_of("task"), action.at("task"), message)
        return TASK_EXPIRES
    task = action.inner("task", TASK_KEYS)
    if task is None:
        return TASK_EXPIRES
    if "expires" in task and task.plain("expires") == NEVER:
        return None
    found = task.duration("expires")
    if found == timedelta(0):
        hint = f"Write a duration such as 3d; {NEVER} lets it wait."
        mark = task.mark_of("expires")
        task.report.add("S107", mark, task.at("expires"), "Nobody could ever begin it.", hint)
    return found or TASK_EXPIRES
