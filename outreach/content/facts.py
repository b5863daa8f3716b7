"""What can be known of a template before any lead is known: which variables it prints, and which it prints for certain."""

from collections.abc import Iterable, Iterator

from jinja2 import nodes

Names = frozenset[str]
_NONE: Names = frozenset()
#: Filters that change how a text looks and leave out none of it.
_KEEPING = frozenset({"title", "capitalize", "lower", "upper", "trim"})


def all_variables(tree: nodes.Template) -> dict[str, int]:
    """Every variable with the line that names it first, in that order."""
    found: dict[str, int] = {}
    for name in sorted(tree.find_all(nodes.Name), key=lambda node: node.lineno):
        found.setdefault(name.name, name.lineno)
    return found


def required_variables(tree: nodes.Template) -> Names:
    """Those that some rendering prints without having asked first whether they are there."""
    return _required_by(tree.body, _NONE)


def certain_output(tree: nodes.Template) -> tuple[str, tuple[str, ...]]:
    """The text and the variables that every rendering prints; what stands under a condition is left out."""
    pieces = [piece for node in tree.body if isinstance(node, nodes.Output) for piece in _pieces(node.nodes)]
    text = "".join(_literal(piece) for piece in pieces)
    names = [piece.name for piece in pieces if isinstance(piece, nodes.Name)]
    return text, tuple(names)


def never_empty(tree: nodes.Template) -> bool:
    """Does every rendering print something that is not blank, whichever conditions hold?"""
    return any(map(_speaks, tree.body))


def _speaks(node: nodes.Node) -> bool:
    match node:
        case nodes.TemplateData(data=text) | nodes.Const(value=str(text)):
            return bool(text.strip())
        case nodes.Name() | nodes.Filter(name="default" | "first", node=nodes.Name()):
            return True
        case nodes.Filter(name="first"):
            return False  # a text may begin with a space
        case nodes.Filter(node=nodes.Expr() as inner):
            return _speaks(inner)
        case nodes.Or(left=left, right=right):
            return _speaks(left) and _speaks(right)
        case nodes.CondExpr(expr1=yes, expr2=nodes.Expr() as no):
            return _speaks(yes) and _speaks(no)
        case nodes.If():
            return all(
                any(map(_speaks, body)) for body in (node.body, node.else_, *(b.body for b in node.elif_))
            )
    return any(map(_speaks, node.iter_child_nodes()))


def _pieces(expressions: Iterable[nodes.Expr]) -> Iterator[nodes.Expr]:
    """What is printed one after the other: `a ~ b` taken apart, and filters taken off that keep every word."""
    for expression in expressions:
        match expression:
            case nodes.Concat(nodes=parts):
                yield from _pieces(parts)
            case nodes.Filter(name=name, node=nodes.Expr() as inner) if name in _KEEPING:
                yield from _pieces([inner])
            case _:
                yield expression


def _literal(piece: nodes.Expr) -> str:
    match piece:
        case nodes.TemplateData(data=text) | nodes.Const(value=str(text)):
            return text
    return ""


# --- what is asked for before it is printed --------------------------------------------------------------------


def _required_by(body: Iterable[nodes.Node], there: Names) -> Names:
    """`there`: variables that are known to be there at this point."""
    return _NONE.union(*(_required(node, there) for node in body))


def _required(node: nodes.Node, there: Names) -> Names:
    match node:
        case nodes.Name(name=name):
            return _NONE if name in there else frozenset({name})
        case nodes.If():
            return _required_by_if(node, there)
        case nodes.CondExpr(test=test, expr1=yes, expr2=nodes.Expr() as no):
            return _asked(test, there) | _required(yes, there | _vouched(test)) | _required(no, there)
        case nodes.Or(left=left, right=right):
            return _stood_in_for(left, there) | _required(right, there)
        case nodes.Filter(name="default", node=nodes.Name()):
            return _NONE
    return _required_by(node.iter_child_nodes(), there)


def _stood_in_for(left: nodes.Expr, there: Names) -> Names:
    """What the left side of an `or` needs: not its bare variables, for when one is missing the right side stands in."""
    match left:
        case nodes.Name():
            return _NONE
        case nodes.Or(left=further, right=nearer):
            return _stood_in_for(further, there) | _stood_in_for(nearer, there)
    return _required(left, there)


def _required_by_if(node: nodes.If, there: Names) -> Names:
    test = node.test
    found = _required_by(node.else_, there) | _required_by(node.elif_, there)
    return found | _asked(test, there) | _required_by(node.body, there | _vouched(test))


def _asked(test: nodes.Node, there: Names) -> Names:
    """What a condition needs: to name a variable is to ask for it, but a filter wants something to work on."""
    match test:
        case nodes.And(left=left, right=right):
            return _asked(left, there) | _asked(right, there | _vouched(left))
        case nodes.Or(left=left, right=right):
            return _asked(left, there) | _asked(right, there)
        case nodes.Not(node=inner) | nodes.Test(node=inner):
            return _asked(inner, there)
        case nodes.Compare(expr=left, ops=operands):
            return _asked(left, there).union(*(_asked(operand.expr, there) for operand in operands))
        case nodes.Name():
            return _NONE
    return _required(test, there)


def _vouched(test: nodes.Node) -> Names:
    """The variables that are there for certain when the test holds."""
    match test:
        case nodes.Name(name=name):
            return frozenset({name})
        case nodes.Test(name="defined", node=nodes.Name(name=name)):
            return frozenset({name})
        case nodes.And(left=left, right=right):
            return _vouched(left) | _vouched(right)
        case nodes.Compare(expr=nodes.Name(name=name), ops=[nodes.Operand(op="eq", expr=nodes.Const())]):
            return frozenset({name})
    return _NONE
