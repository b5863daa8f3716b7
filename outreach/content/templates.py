"""Reads templates: sandboxed Jinja2 behind an allow-list. What passes here can be rendered without harm."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from outreach.content.facts import all_variables, certain_output, never_empty, required_variables
from outreach.content.language import FILTERS, TESTS, TemplateProblem, find_problems
from outreach.content.lint import names_a_way_out

MAX_SOURCE_BYTES = 20 * 1024
_OPT_OUT = "opt_out"
_TOO_LONG_A_NUMBER = "This number is too long."
_LONG_NUMBER = re.compile(r"[0-9_]{1000}")
_TOO_DEEP = TemplateProblem(1, "The template is nested too deep.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateFacts:
    """What a template says of itself before it is ever rendered."""

    #: not empty: the template is refused, and the rest means nothing
    problems: tuple[TemplateProblem, ...] = ()
    #: every variable it names, with the line that names it first
    variables: Mapping[str, int] = field(default_factory=dict)
    #: those that some rendering prints without having asked first whether they are there
    required: frozenset[str] = frozenset()
    #: the text that every rendering has
    certain_text: str = ""
    #: the variables that every rendering prints, as often as it does
    certain_variables: tuple[str, ...] = ()
    #: every rendering prints something that is not blank
    never_empty: bool = False
    #: every rendering says how to opt out
    offers_opt_out: bool = False


def check_template(source: str) -> TemplateFacts:
    """What the template needs and promises, or why it is refused. Never raises, whatever the source is."""
    if len(source.encode("utf-8", "surrogatepass")) > MAX_SOURCE_BYTES:
        problem = TemplateProblem(1, f"The template has more than {MAX_SOURCE_BYTES:,} bytes.")
        return TemplateFacts(problems=(problem,))
    try:
        tree = _ENVIRONMENT.parse(source)
        problems = find_problems(tree)
    except TemplateSyntaxError as error:
        return TemplateFacts(problems=(TemplateProblem(error.lineno, f"Template: {error.message}"),))
    except RecursionError:
        return TemplateFacts(problems=(_TOO_DEEP,))
    except ValueError:
        # Python refuses to read a number of more than some thousand digits, and Jinja says no line.
        return TemplateFacts(problems=(TemplateProblem(_line_of_number(source), _TOO_LONG_A_NUMBER),))
    return TemplateFacts(problems=tuple(problems)) if problems else _facts(tree)


def _line_of_number(source: str) -> int:
    found = _LONG_NUMBER.search(source)
    return source.count("\n", 0, found.start()) + 1 if found else 1


def _facts(tree: nodes.Template) -> TemplateFacts:
    text, printed = certain_output(tree)
    return TemplateFacts(
        variables=all_variables(tree),
        required=required_variables(tree),
        certain_text=text,
        certain_variables=printed,
        never_empty=never_empty(tree),
        offers_opt_out=_OPT_OUT in printed or names_a_way_out(text),
    )


@lru_cache(maxsize=512)
def compiled(source: str) -> tuple[Template, frozenset[str]]:
    """The template, ready to render, and the names of its variables. Raises ValueError when it is refused.

    Sources were checked when their sequence was published; the check here is the second lock on the door.
    """
    facts = check_template(source)
    if facts.problems:
        raise ValueError(f"refused template: {facts.problems[0].message}")
    return _ENVIRONMENT.from_string(source), frozenset(facts.variables)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        autoescape=False,  # messages are plain text; whoever puts one into HTML escapes it there
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.clear()
    environment.filters = {name: environment.filters[name] for name in FILTERS} | {"first": _first_letter}
    environment.tests = {name: environment.tests[name] for name in TESTS}
    return environment


def _first_letter(text: object) -> str:
    """Jinja's own `first` fails on an empty text; this one prints nothing."""
    return str(text)[:1]


_ENVIRONMENT = _environment()
