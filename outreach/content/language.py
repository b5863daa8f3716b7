"""The template language: what of Jinja2 may be used, and why a template that uses more is refused.

An allow-list over the syntax tree. Jinja's sandbox stops escapes but not bombs (`'a'|center(10**9)` takes a gigabyte),
so nothing that computes, repeats or reaches into objects gets past here: text, variables, `if`, comparisons, a few filters.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from jinja2 import nodes

#: Nesting of conditions and expressions. More is no message but an attack on the parser.
MAX_DEPTH = 12
LONGEST_TEXT = 200
LARGEST_NUMBER = 10_000
#: `truncate` ends in three dots, which must fit
_SHORTEST_TRUNCATION = 4
COMPARISONS = frozenset({"eq", "ne"})
TESTS = frozenset({"defined"})
#: Names that Jinja gives a meaning of its own.
RESERVED = frozenset({"self", "super", "loop", "caller", "varargs", "kwargs"})


@dataclass(frozen=True, slots=True)
class TemplateProblem:
    """Why a template is refused. `line` counts from 1 within the template."""

    line: int
    message: str
    hint: str | None = None


def _no_arguments(arguments: list[nodes.Expr]) -> bool:
    return not arguments


def _one_text(arguments: list[nodes.Expr]) -> bool:
    """One text that is not blank: a blank default would print nothing."""
    match arguments:
        case [nodes.Const(value=str(text))]:
            return bool(text.strip()) and len(text) <= LONGEST_TEXT
    return False


def _one_length(arguments: list[nodes.Expr]) -> bool:
    match arguments:
        case [nodes.Const(value=int(length))] if not isinstance(length, bool):
            return _SHORTEST_TRUNCATION <= length <= LARGEST_NUMBER
    return False


#: Filters, how they are written, and whether arguments fit.
FILTERS: dict[str, tuple[str, Callable[[list[nodes.Expr]], bool]]] = {
    "default": ('default("some text")', _one_text),
    "truncate": (f"truncate(80), from {_SHORTEST_TRUNCATION}", _one_length),
    "title": ("title", _no_arguments),
    "capitalize": ("capitalize", _no_arguments),
    "lower": ("lower", _no_arguments),
    "upper": ("upper", _no_arguments),
    "trim": ("trim", _no_arguments),
    "first": ("first", _no_arguments),
}
_ALLOWED: tuple[type[nodes.Node], ...] = (
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Const,
    nodes.If,
    nodes.CondExpr,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Filter,
    nodes.Test,
    nodes.Concat,
)
_CONDITIONS = (nodes.And, nodes.Not, nodes.Compare, nodes.Test)
_INLINE_IF = 'Write {{ "one text" if company else "another" }}, or {% if company %}…{% endif %}.'
_PLAIN_NAMES = (
    "Variables are plain names. To change how one looks, use a filter, as in {{ first_name|upper }}."
)
#: What people try, in their words; anything else is named by its class.
_REFUSED: dict[str, tuple[str, str | None]] = {
    "For": ("Loops are not available.", None),
    "Call": ("Calls are not available.", _PLAIN_NAMES),
    "Getattr": ("There is nothing inside a variable.", _PLAIN_NAMES),
    "Getitem": ("There is nothing inside a variable.", _PLAIN_NAMES),
    "Assign": ("{% set %} is not available.", "Put the value under `variables`."),
    "Include": ("One template cannot include another.", None),
    "Extends": ("One template cannot extend another.", None),
    "Import": ("One template cannot import another.", None),
    "Macro": ("Macros are not available.", None),
    "Add": ("There is no arithmetic in templates.", "Join texts by ~, as in {{ first_name ~ last_name }}."),
    "List": ("There are no lists in templates.", None),
    "Dict": ("There are no dictionaries in templates.", None),
} | dict.fromkeys(
    ("Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow", "Neg", "Pos"),
    ("There is no arithmetic in templates.", None),
)


def find_problems(tree: nodes.Template) -> list[TemplateProblem]:
    """Everything in the tree that is not in the language, by line."""
    found = [problem for child in tree.body for problem in _problems(child, 1)]
    return sorted(dict.fromkeys(found), key=lambda problem: problem.line)


def _problems(node: nodes.Node, depth: int) -> list[TemplateProblem]:
    if depth > MAX_DEPTH:
        return [TemplateProblem(node.lineno, f"This is nested more than {MAX_DEPTH} deep.")]
    own = _own_problem(node)
    if own is not None:
        return [own]
    # What a filter is given was looked at with the filter.
    children = (
        node.iter_child_nodes(only=("node",)) if isinstance(node, nodes.Filter) else node.iter_child_nodes()
    )
    return [problem for child in children for problem in _problems(child, depth + 1)]


def _own_problem(node: nodes.Node) -> TemplateProblem | None:
    """What is wrong with this node itself."""
    if not isinstance(node, _ALLOWED):
        name = type(node).__name__
        message, hint = _REFUSED.get(name, (f"{name} is not available in templates.", None))
        return TemplateProblem(_line_of(node), message, hint)
    match node:
        case nodes.Output():
            return _output_problem(node)
        case nodes.CondExpr(expr2=None):
            return TemplateProblem(node.lineno, "An `if` inside {{ }} needs an `else`.", _INLINE_IF)
        case nodes.Name(name=name) if name.startswith("_") or name in RESERVED:
            return TemplateProblem(node.lineno, f"{name} cannot be a variable.")
        case nodes.Const():
            return _constant_problem(node)
        case nodes.Filter() | nodes.Test():
            return _call_problem(node)
        case nodes.Operand(op=op) if op not in COMPARISONS:
            return TemplateProblem(node.lineno, "Texts can be compared by == and != only.")
    return None


def _line_of(node: nodes.Node) -> int:
    """Jinja gives some nodes no line: then that of the first thing in them."""
    return node.lineno or next((one.lineno for one in node.find_all(nodes.Node) if one.lineno), 1)


def _output_problem(node: nodes.Output) -> TemplateProblem | None:
    for expression in node.nodes:
        if any(isinstance(part, _CONDITIONS) for part in _printed(expression)):
            return TemplateProblem(expression.lineno, "A condition would print True or False.", _INLINE_IF)
    return None


def _printed(expression: nodes.Expr | None) -> Iterator[nodes.Expr]:
    """The expression and those of its parts that may be what is printed."""
    if expression is None:
        return
    yield expression
    match expression:
        case nodes.CondExpr(expr1=yes, expr2=no):
            yield from (*_printed(yes), *_printed(no))
        case nodes.Or(left=left, right=right):
            yield from (*_printed(left), *_printed(right))
        case nodes.Concat(nodes=parts):
            for part in parts:
                yield from _printed(part)
        case nodes.Filter(node=inner):
            yield from _printed(inner)


def _constant_problem(node: nodes.Const) -> TemplateProblem | None:
    match node.value:
        case str(text) if len(text) <= LONGEST_TEXT:
            return None
        case str():
            return TemplateProblem(node.lineno, f"A quoted text may have {LONGEST_TEXT} characters.")
    return TemplateProblem(node.lineno, "Only texts can be written here.", 'Put it in quotes, as in "3".')


def _call_problem(node: nodes.Filter | nodes.Test) -> TemplateProblem | None:
    if isinstance(node, nodes.Test):
        known = node.name in TESTS and not node.args
        return None if known else TemplateProblem(node.lineno, f"The test `is {node.name}` is not available.")
    if node.name not in FILTERS:
        available = ", ".join(FILTERS)
        return TemplateProblem(
            node.lineno, f"The filter {node.name} is not available.", f"There is: {available}."
        )
    spelling, fits = FILTERS[node.name]
    if node.kwargs or node.dyn_args or node.dyn_kwargs or not fits(node.args):
        return TemplateProblem(
            node.lineno, f"The filter {node.name} does not take this.", f"Write {spelling}."
        )
    return None
