"""Checks the messages of a sequence: templates, variables, the way to opt out, lengths.

The engine does not know the template language. A function of the caller's reads each template and says what it
found (TemplateFacts); outreach.content.templates.check_template is that function.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from outreach.engine.definition import BUILTIN_VARIABLES, Definition
from outreach.engine.fields import Text
from outreach.engine.flow import Flow
from outreach.engine.kinds import ActionKind
from outreach.engine.problems import Mark, Report
from outreach.engine.specs import ActionSpec, MessageSpec, VariantSpec
from outreach.engine.suggest import nearest

#: Characters that a channel takes in one message. X: 10,000 in a direct message. LinkedIn: 300 in a note
#: (200 without a paid plan), 8,000 in a message. Email and XMTP are bound by MAX_SOURCE_BYTES alone.
BODY_LIMITS: dict[ActionKind, int] = {
    ActionKind.SEND_TWITTER_DM: 10_000,
    ActionKind.SEND_CONNECTION_REQUEST: 300,
    ActionKind.SEND_LINKEDIN_DM: 8_000,
}
FREE_NOTE_LIMIT = 200
#: RFC 5322, 2.1.1: the longest line
SUBJECT_LIMIT = 998
MAX_SOURCE_BYTES = 20 * 1024
#: So alike that one is rather a slip for the other
_MISSPELT = 0.8
_OPT_OUT_HINT = "Put {{ opt_out }} where it is always shown, or say how to opt out in your own words."


class TemplateProblem(Protocol):
    """Why a template cannot be used."""

    @property
    def line(self) -> int:
        """Counts from 1 within the template."""
        ...

    @property
    def message(self) -> str: ...

    @property
    def hint(self) -> str | None: ...


class TemplateFacts(Protocol):
    """What a template says of itself before it is ever rendered."""

    @property
    def problems(self) -> Sequence[TemplateProblem]:
        """Not empty: the template is refused, and the other facts mean nothing."""
        ...

    @property
    def variables(self) -> Mapping[str, int]:
        """Every variable it names, with the template's line that names it first."""
        ...

    @property
    def required(self) -> frozenset[str]:
        """Those that it may print without having asked first whether they are there."""
        ...

    @property
    def certain_text(self) -> str:
        """The text that every rendering has, conditional parts left out."""
        ...

    @property
    def certain_variables(self) -> Sequence[str]:
        """The variables that every rendering prints, as often as it prints them."""
        ...

    @property
    def never_empty(self) -> bool:
        """Does every rendering print something that is not blank?"""
        ...

    @property
    def offers_opt_out(self) -> bool:
        """Does every rendering say how to opt out?"""
        ...


CheckTemplate = Callable[[str], TemplateFacts]


@dataclass(frozen=True, slots=True)
class _Part:
    """One template of a message. `rescued`: the message has a fallback for when a variable is missing."""

    spec: ActionSpec
    text: Text
    path: str
    is_subject: bool
    rescued: bool


class MessageCheck:
    """One pass over the messages of a definition; remembers which variables were met."""

    def __init__(self, definition: Definition, check_template: CheckTemplate, report: Report) -> None:
        self._definition, self._check_template, self._report = definition, check_template, report
        self._known = BUILTIN_VARIABLES | set(definition.variables) | set(definition.requires)
        self._used: dict[str, tuple[Mark, str]] = {}
        self._all_read = True

    def run(self, first_contacts: Iterable[str]) -> None:
        """Check every message; those of `first_contacts` must say how to opt out."""
        self._check_plain_texts()
        first = set(first_contacts)
        for spec in self._definition.actions.values():
            for part in _parts(spec):
                self._check_part(part, opens=spec.key in first)
        self._check_spelling()
        self._check_declared()

    # --- one template ---

    def _check_part(self, part: _Part, *, opens: bool) -> None:
        if len(part.text.value.encode("utf-8", "surrogatepass")) > MAX_SOURCE_BYTES:
            message = f"The template has more than {MAX_SOURCE_BYTES:,} bytes."
            self._report.add("S305", part.text.mark, part.path, message)
            return
        facts = self._check_template(part.text.value)
        for problem in facts.problems:
            self._report.add(
                "S301", _within(part.text, problem.line), part.path, problem.message, problem.hint
            )
        if facts.problems:
            self._all_read = False
            return
        self._check_variables(part, facts)
        self._check_length(part, facts)
        if opens and not part.is_subject and not facts.offers_opt_out:
            message = f"{part.spec.key} may be the first message a person gets, and this text offers no way to opt out."
            self._report.add("S304", part.text.mark, part.path, message, _OPT_OUT_HINT)

    def _check_variables(self, part: _Part, facts: TemplateFacts) -> None:
        for name, line in facts.variables.items():
            mark = _within(part.text, line)
            self._used.setdefault(name, (mark, part.path))
            if name in facts.required and name not in self._known and not part.rescued:
                hint = (
                    f"Give it a default under `variables`, {self._rescue(part)}or list it under `requires`."
                )
                self._report.add(
                    "S302", mark, part.path, f"Nothing says what {name} is when a lead lacks it.", hint
                )

    def _rescue(self, part: _Part) -> str:
        return (
            ""
            if part.is_subject or part.path.endswith("fallback")
            else "give the message a `fallback` that does without, "
        )

    def _check_length(self, part: _Part, facts: TemplateFacts) -> None:
        if not facts.never_empty:
            self._report.add("S308", part.text.mark, part.path, "This text may come out empty.")
        limit = (
            SUBJECT_LIMIT if part.is_subject else BODY_LIMITS.get(part.spec.kind) if part.spec.kind else None
        )
        least = self._least_length(facts)
        if limit is not None and least > limit:
            message = f"At least {least:,} characters, and the channel takes {limit:,}."
            self._report.add("S305", part.text.mark, part.path, message)
        elif part.spec.kind is ActionKind.SEND_CONNECTION_REQUEST and least > FREE_NOTE_LIMIT:
            message = (
                f"At least {least:,} characters; accounts without a paid plan may send {FREE_NOTE_LIMIT}."
            )
            self._report.add("S306", part.text.mark, part.path, message)

    def _least_length(self, facts: TemplateFacts) -> int:
        known = {"opt_out": len(self._definition.opt_out.value), "sequence": len(self._definition.name)}
        return len(facts.certain_text.strip()) + sum(known.get(name, 1) for name in facts.certain_variables)

    # --- the whole ---

    def _check_plain_texts(self) -> None:
        """Defaults and the opt-out line are put in as they are, so a template in them would be shown to people."""
        plain = {f"variables.{name}": text for name, text in self._definition.variables.items()}
        for path, text in (plain | {"opt_out": self._definition.opt_out}).items():
            if any(opening in text.value for opening in ("{{", "{%", "{#")):
                self._report.add(
                    "S310", text.mark, path, f"{path} is plain text: nothing in it is filled in."
                )
        opt_out = self._definition.opt_out
        if not self._check_template(opt_out.value).offers_opt_out:
            message = "The opt-out line names no way out that we know."
            self._report.add(
                "S311",
                opt_out.mark,
                "opt_out",
                message,
                "Say for instance: Reply STOP and I will not write again.",
            )

    def _check_spelling(self) -> None:
        """A name that nothing declares is lawful where a fallback stands by, and a slip is easily made there."""
        for name, (mark, path) in self._used.items():
            near = None if name in self._known else nearest(name, self._known, cutoff=_MISSPELT)
            if near is not None:
                self._report.add("S303", mark, path, f"{name} is declared nowhere.", f"Did you mean {near}?")

    def _check_declared(self) -> None:
        declared = {f"variables.{n}": (n, t.mark) for n, t in self._definition.variables.items()}
        required = {f"requires.{n}": (n, mark) for n, mark in self._definition.requires.items()}
        for path, (name, mark) in (declared | required).items():
            if name not in self._used and self._all_read:
                self._report.add("S312", mark, path, f"No message uses {name}.")
        for name, mark in self._definition.requires.items():
            if name in self._definition.variables:
                message = f"{name} has a default, so a lead without it is written to all the same."
                self._report.add(
                    "S313", mark, f"requires.{name}", message, "Take it out of `variables` or of `requires`."
                )


def check_messages(definition: Definition, flow: Flow, check_template: CheckTemplate, report: Report) -> None:
    """Everything that can be said of the messages before a lead is known."""
    MessageCheck(definition, check_template, report).run(flow.first_contacts())


def _parts(spec: ActionSpec) -> Iterator[_Part]:
    message = spec.message
    if message is None:
        return
    rescued = message.fallback is not None
    subjects: set[Text] = set()
    for variant in message.variants:
        yield _Part(
            spec, variant.body, _variant_path(spec, message, variant), is_subject=False, rescued=rescued
        )
        if variant.subject is not None and variant.subject not in subjects:
            subjects.add(variant.subject)
            yield _Part(spec, variant.subject, f"{spec.path}.message.subject", is_subject=True, rescued=False)
    if message.fallback is not None:
        yield _Part(spec, message.fallback, f"{spec.path}.message.fallback", is_subject=False, rescued=False)


def _variant_path(spec: ActionSpec, message: MessageSpec, variant: VariantSpec) -> str:
    return f"{spec.path}.message.{variant.key}" if len(message.variants) > 1 else f"{spec.path}.message"


def _within(text: Text, line: int) -> Mark:
    """The place in the file of a line of a template. Folded texts lose their lines; there it is the nearest guess."""
    return (
        text.mark if line == 1 and text.first_line == text.mark.line else Mark(text.first_line + line - 1, 1)
    )
