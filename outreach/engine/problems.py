"""Problems of a sequence file: coded, located, collected so that all are shown at once."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """An error keeps a file from being published; a warning does not."""

    ERROR = "error"
    WARNING = "warning"


#: Every code with its severity and what it means. docs/sequences.md explains each one; a test holds them together.
CODES: dict[str, tuple[Severity, str]] = {
    "S001": (Severity.ERROR, "the file is empty"),
    "S002": (Severity.ERROR, "the file is not text"),
    "S003": (Severity.ERROR, "the file is not UTF-8"),
    "S004": (Severity.ERROR, "the file is too large"),
    "S005": (Severity.ERROR, "the file is not valid YAML"),
    "S006": (Severity.ERROR, "too deeply nested, or too many aliases"),
    "S007": (Severity.ERROR, "a key stands twice"),
    "S008": (Severity.ERROR, "YAML tags and merge keys are not used here"),
    "S101": (Severity.ERROR, "unknown key"),
    "S102": (Severity.ERROR, "something required is missing"),
    "S103": (Severity.ERROR, "a value of the wrong type"),
    "S104": (Severity.ERROR, "not a usable name"),
    "S105": (Severity.ERROR, "unknown kind of action"),
    "S106": (Severity.ERROR, "unknown kind of edge"),
    "S107": (Severity.ERROR, "not a duration"),
    "S108": (Severity.ERROR, "a value that is not among the choices"),
    "S109": (Severity.ERROR, "the window cannot be read"),
    "S110": (Severity.ERROR, "a cap cannot be read"),
    "S111": (Severity.ERROR, "a key that does not fit this kind of action"),
    "S112": (Severity.WARNING, "a cap on an action that the sequence does not use"),
    "S113": (Severity.ERROR, "too many actions, edges or variants"),
    "S114": (Severity.WARNING, "too late whenever the window was closed"),
    "S201": (Severity.ERROR, "an edge leads to an action that does not exist"),
    "S202": (Severity.ERROR, "an action that no path reaches"),
    "S203": (Severity.ERROR, "a cycle without a wait"),
    "S204": (Severity.ERROR, "no end can be reached"),
    "S205": (Severity.ERROR, "an edge that needs a deadline has none"),
    "S206": (Severity.ERROR, "a delay on an edge that cannot wait"),
    "S207": (Severity.ERROR, "two edges claim the same moment"),
    "S208": (Severity.WARNING, "an edge that cannot fire here"),
    "S209": (Severity.WARNING, "a lead may wait here for ever"),
    "S210": (Severity.ERROR, "an END edge leads somewhere"),
    "S211": (Severity.WARNING, "an edge that another one always outruns"),
    "S301": (Severity.ERROR, "a template that cannot be used"),
    "S302": (Severity.ERROR, "a variable that may be missing"),
    "S303": (Severity.WARNING, "a variable that looks misspelt"),
    "S304": (Severity.ERROR, "a first message without a way to opt out"),
    "S305": (Severity.ERROR, "too long for the channel"),
    "S306": (Severity.WARNING, "too long for some accounts"),
    "S307": (Severity.ERROR, "weights that choose nothing"),
    "S308": (Severity.ERROR, "a message without text"),
    "S309": (Severity.ERROR, "an email without a subject, or a subject elsewhere"),
    "S310": (Severity.ERROR, "a template where plain text is wanted"),
    "S311": (Severity.WARNING, "an opt-out line that names no way out"),
    "S312": (Severity.WARNING, "a variable that no message uses"),
    "S313": (Severity.WARNING, "a required variable has a default"),
    "S401": (Severity.ERROR, "an entry that does not say who comes in"),
    "S402": (Severity.ERROR, "a key that does not fit this kind of entry"),
    "S403": (Severity.ERROR, "the same entry twice"),
    "S404": (Severity.ERROR, "an entry names what is not there"),
    "S405": (Severity.WARNING, "nobody speaks to those who come in"),
    "S501": (Severity.ERROR, "more than words has changed"),
}


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the file; both count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong: where it stands, what is wrong, and how to mend it."""

    code: str
    severity: Severity
    line: int
    column: int
    #: the keys that lead to it, as in actions.hello.next[0].to
    path: str
    message: str
    hint: str | None = None

    def describe(self, filename: str) -> str:
        """`file:line:column: error S101: message`, with the hint on a line of its own."""
        first = f"{filename}:{self.line}:{self.column}: {self.severity} {self.code}: {self.message}"
        return first if self.hint is None else f"{first}\n    {self.hint}"


class Report:
    """Collects problems while a file is read and checked, so that nobody mends a file one line at a time."""

    def __init__(self, already: Iterable[Problem] = ()) -> None:
        self._problems = list(already)

    def add(self, code: str, mark: Mark, path: str, message: str, hint: str | None = None) -> None:
        severity, _ = CODES[code]
        self._problems.append(
            Problem(
                code=code,
                severity=severity,
                line=mark.line,
                column=mark.column,
                path=path,
                message=message,
                hint=hint,
            )
        )

    @property
    def has_errors(self) -> bool:
        return any(p.severity is Severity.ERROR for p in self._problems)

    def by_line(self) -> list[Problem]:
        """All problems in the order in which a reader of the file meets them, each once."""
        return sorted(dict.fromkeys(self._problems), key=lambda p: (p.line, p.column, p.code, p.message))
