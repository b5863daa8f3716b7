"""What a check of the installation finds."""

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """How a check came out. Only `fail` makes the exit code 1."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    #: it could not be made, because an earlier one failed, or the server does not tell
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One finding. `mend` says what to do about it."""

    id: str
    title: str
    health: Health
    detail: str
    mend: str | None = None
