"""Templates: what is refused, what is known beforehand, and that it holds afterwards."""

import time
from typing import get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outreach.content import templates
from outreach.content.language import LONGEST_TEXT, MAX_DEPTH
from outreach.content.lint import names_a_way_out
from outreach.content.rendering import Missing, Rendered, render
from outreach.content.templates import MAX_SOURCE_BYTES, check_template, compiled
from outreach.engine.messages import CheckTemplate, TemplateFacts

#: The content room fulfils what the engine asks of a template check; mypy is the judge.
CHECK: CheckTemplate = check_template


# --- what is refused -------------------------------------------------------------------------------------------

BOMBS = [
    "{{ 'a' * 10 ** 9 }}",
    "{{ 'a'|center(1000000000) }}",
    "{{ '%1000000000d'|format(1) }}",
    "{{ '{:>1000000000}'.format(1) }}",
    "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
    "{{ lipsum(n=100000) }}",
    "{{ 9 ** (9 ** 7) }}",
    "{{ 'a'|indent(1000000000) }}",
    "{{ 'aaaa'|replace('a', 'aaaa')|replace('a', 'aaaa') }}",
    "{% set x = 'a' %}{{ x }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{{ cycler('a', 'b') }}",
    "{{ [1, 2, 3] }}",
    "{{ {'a': 1} }}",
    "{{ 'a'|truncate(99999) }}",
    "{{ '" + "a" * (LONGEST_TEXT + 1) + "' }}",
    # one truncation after the other, each longer than may be
    "{{ name|truncate(9)|truncate(10001) }}",
    "{{ name|truncate(" + "9" * 4000 + ") }}",
    "{{ name|truncate(10 ** 9) }}",
    "{{ name|truncate(-1) }}",
    "{{ " + "9" * 5000 + " }}",
    "{{ 1e400 }}",
    "{{ 'a' ~ 10 ** 9 }}",
    "{{ 'a' * name }}",
    "{{ name|wordwrap(1) }}",
    "{{ name|batch(1000000)|list }}",
    "{{ name|ljust(1000000000) }}",
    "{{ range(10 ** 9)|join }}",
    "{{ ('a',) * 10 ** 9 }}",
    "{{ name[::1] }}",
    "{{ (name, name) }}",
    "{{ 'a' % 1000000000 }}",
    "{{ '%*d' % (1000000000, 1) }}",
    "{% for c in name recursive %}{{ loop(name) }}{% endfor %}",
    "{% for i in name %}{{ name }}{% endfor %}",
    "{% macro m(x) %}{{ caller() }}{% endmacro %}",
    "{% set ns = namespace(x=1) %}",
    "{% set x %}{{ name }}{% endset %}",
    "{% do name %}",
    "{% break %}",
    "{% debug %}",
    "{% raw %}{{ 7 * 7 }}{% endraw %}{{ 7 * 7 }}",
    "{{ name|random }}",
    "{{ name|map('upper')|list }}",
    "{{ name|select('eq', 'a') }}",
    "{{ name|tojson }}",
    "{{ name|pprint }}",
    "{{ name|format(name) }}",
    "{{ name|safe }}",
]
ESCAPES = [
    "{{ ''.__class__ }}",
    "{{ ''|attr('__class__') }}",
    "{{ name.__init__.__globals__ }}",
    "{{ name['__class__'] }}",
    "{{ '{0.__class__}'.format(name) }}",
    "{{ name.format_map({}) }}",
    "{{ self }}",
    "{{ self.__init__ }}",
    "{{ __class__ }}",
    "{{ _name }}",
    "{{ caller }}",
    "{{ loop }}",
    "{% include 'secret' %}",
    "{% extends 'secret' %}",
    "{% import 'secret' as s %}",
    "{% from 'secret' import s %}",
    "{{ {}|xmlattr }}",
    "{{ dict(a=1) }}",
    "{{ namespace() }}",
    "{% call m() %}{% endcall %}",
    "{% filter upper %}a{% endfilter %}",
    "{% block b %}{% endblock %}",
    "{% with a=1 %}{{ a }}{% endwith %}",
    "{% autoescape true %}a{% endautoescape %}",
    "{{ name|attr('__class__')|attr('__mro__') }}",
    "{{ name|attr('for' ~ 'mat')('{0.__class__}') }}",
    "{{ ''['__cla' ~ 'ss__'] }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ request }}{{ config.items() }}",
    "{{ self._TemplateReference__context }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ lipsum.__globals__['os'] }}",
    "{{ joiner.__init__ }}",
    "{{ (name, 1).__class__ }}",
    "{{ name.format(name) }}",
    "{{ '%s' % name }}",
    "{{ f'{name}' }}",
    "{{ name is sameas name }}",
    "{{ name is callable }}",
    "{{ 'a'|replace('a', name) }}",
    "{{ name|first|attr('x') }}",
    "{{ varargs }}{{ kwargs }}",
    "{{ super() }}",
    "{% import name as x %}",
    "{% include name ignore missing %}",
    "{% trans %}a{% endtrans %}",
    "{{ ℘_ }}{{ __builtins__ }}",
    # letters that fold to others: what Python takes for `__class__`
    "{{ ''.__ｃlass__ }}",
    "{{ ＿＿class＿＿ }}",
    "{{ name|ａttr('x') }}",
    "{{ ''|attr('\\x5f\\x5fclass\\x5f\\x5f') }}",
    "{{ '\\u007b\\u007b 7*7 }}'|upper() if name.x else '' }}",
    "{%- include 'x' -%}",
    "{{- name.x -}}",
    "{% line comment %}",
]
UGLY = [
    "{{ name.upper }}",
    "{{ a == b }}",
    "{{ not a }}",
    "{{ a and b }}",
    "{{ a is defined }}",
    "{{ a or (b == 'c') }}",
    "{{ 'a' if b }}",
    "{{ a|default('') }}",
    "{{ a|default(' ') }}",
    "{{ a|default(b) }}",
    "{{ a|default('b', true) }}",
    "{{ a|truncate }}",
    "{{ a|truncate(2) }}",
    "{{ a|truncate(true) }}",
    "{{ a|truncate(length=9) }}",
    "{{ a|upper('x') }}",
    "{{ none }}",
    "{{ true }}",
    "{{ 5 }}",
    "{% if a > 'b' %}x{% endif %}",
    "{% if a in 'b' %}x{% endif %}",
    "{% if a is string %}x{% endif %}",
    "{{ a",
    "{% if a %}",
    "{{ }}",
]


@pytest.mark.parametrize("source", [*BOMBS, *ESCAPES, *UGLY])
def test_bombs_escapes_and_ugly_output_are_refused_before_anything_runs(source: str) -> None:
    began = time.perf_counter()
    facts = check_template(source)
    assert facts.problems
    assert time.perf_counter() - began < 1
    with pytest.raises(ValueError, match="refused template"):
        compiled(source)


@pytest.mark.parametrize("opening", ["(", "not ", "a or ", "-"])
def test_nesting_is_bounded(opening: str) -> None:
    for depth in (MAX_DEPTH + 1, 5_000):
        assert check_template("{{ " + opening * depth + "a }}").problems


def test_nested_conditions_are_bounded() -> None:
    for depth in (MAX_DEPTH + 1, 1_200):
        assert check_template("{% if a %}" * depth + "x" + "{% endif %}" * depth).problems


def test_a_source_has_a_greatest_size_in_bytes() -> None:
    assert not check_template("é" * (MAX_SOURCE_BYTES // 2)).problems
    assert check_template("é" * (MAX_SOURCE_BYTES // 2) + "x").problems


DEEP = [
    "(",
    "[",
    "{",
    "not ",
    "a or ",
    "a if a else ",
    "-",
    "+",
    "a|upper|",
    "a == ",
    "a and ",
    "a.b.",
    "a['x']",
    "{'a':",
    "f(",
]


@pytest.mark.parametrize("opening", DEEP)
@pytest.mark.parametrize("depth", [300, 20_000])
def test_no_depth_makes_the_parser_stumble(opening: str, depth: int) -> None:
    """Whatever is nested, however deep: refused with a problem and its line, within a moment."""
    source = ("{{ " + opening * depth)[: MAX_SOURCE_BYTES - 10] + " a }}"
    began = time.perf_counter()
    problems = check_template(source).problems
    assert problems and problems[0].line == 1
    assert time.perf_counter() - began < 5


def test_every_refusal_says_where_and_most_say_what_instead() -> None:
    for source in (*BOMBS, *ESCAPES):
        (problem, *_) = check_template("Hi\n\n" + source).problems
        assert problem.line in (1, 3), source
        assert problem.message


def test_nothing_that_is_refused_is_ever_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_it(*_: object, **__: object) -> None:
        raise AssertionError("compiled")

    monkeypatch.setattr(templates._ENVIRONMENT, "from_string", compile_it)
    monkeypatch.setattr(templates._ENVIRONMENT, "compile", compile_it)
    for source in (*BOMBS, *ESCAPES):
        with pytest.raises(ValueError, match="refused template"):
            compiled(source)


def test_the_longest_source_that_is_allowed_costs_next_to_nothing() -> None:
    for source in (
        "{{ a|upper }}" * 1500,
        "{# c #}" * 2900,
    ):
        began = time.perf_counter()
        assert not check_template(source).problems
        render(source, {"a": "x" * 1000})
        assert time.perf_counter() - began < 10


def test_every_problem_is_reported_on_its_line() -> None:
    facts = check_template("Hi\n{{ a.b }}\n\n{{ 1 + 2 }} {{ c|nope }}")
    assert [problem.line for problem in facts.problems] == [2, 4, 4]
    assert "upper" in (facts.problems[0].hint or "")
    assert "default" in (facts.problems[2].hint or "")


@settings(deadline=None)
@given(st.text("{}%#-|()[]'\"~.,=!<>+*/ abif_0\n", max_size=60))
def test_no_source_makes_the_check_fail(source: str) -> None:
    facts = check_template(source)
    if not facts.problems:
        render(source, {"a": "x"})


# --- what is known beforehand ----------------------------------------------------------------------------------


def test_facts_have_the_shape_that_the_engine_asks_for() -> None:
    asked = {name for name, value in vars(TemplateFacts).items() if isinstance(value, property)}
    assert asked <= set(get_type_hints(type(check_template(""))))


@pytest.mark.parametrize(
    ("source", "required"),
    [
        ("{{ a }} {{ b|upper }}", {"a", "b"}),
        ("{{ a ~ ' ' ~ b }}", {"a", "b"}),
        ("{{ a|default('x') }}", set()),
        ("{{ a|default('x')|upper }}", set()),
        ("{{ a|upper|default('x') }}", {"a"}),
        ("{{ a or 'x' }}", set()),
        ("{{ a or b }}", {"b"}),
        ("{{ a or b or 'x' }}", set()),
        ("{{ a if a else 'x' }}", set()),
        ("{{ a if b else 'x' }}", {"a"}),
        ("{{ a if a == 'y' else 'x' }}", set()),
        ("{% if a %}{{ a }}{% endif %}", set()),
        ("{% if a %}{{ a }}{% else %}{{ b }}{% endif %}", {"b"}),
        ("{% if a and b %}{{ a }}{{ b }}{% endif %}", set()),
        ("{% if a or b %}{{ a }}{% endif %}", {"a"}),
        ("{% if not a %}{{ a }}{% endif %}", {"a"}),
        ("{% if a is defined %}{{ a }}{% endif %}", set()),
        ("{% if a %}x{% elif b %}{{ b }}{{ c }}{% endif %}", {"c"}),
        ("{% if a|lower == 'x' %}y{% endif %}", {"a"}),
        ("{% if a and a|lower == 'x' %}{{ a }}{% endif %}", set()),
        ("{% if a %}{% if b %}{{ a }}{{ b }}{% endif %}{% endif %}", set()),
    ],
)
def test_a_variable_is_required_where_it_is_printed_unasked(source: str, required: set[str]) -> None:
    facts = check_template(source)
    assert not facts.problems
    assert facts.required == required


def test_variables_are_known_with_the_line_that_names_them_first() -> None:
    assert check_template("{{ b }}\n{% if a %}\n{{ b }}{% endif %}").variables == {"b": 1, "a": 2}


@pytest.mark.parametrize(
    "source", ["{{ opt_out|first }}", "{{ opt_out|truncate(9) }}", "{{ 'Reply STOP'|first }}"]
)
def test_a_shortened_way_out_is_none(source: str) -> None:
    assert not check_template(source).offers_opt_out
    assert check_template("{{ opt_out|upper }}").offers_opt_out


def test_only_what_everybody_sees_is_certain() -> None:
    facts = check_template(
        "Hi {{ a|upper }}{% if b %} from {{ b }}{% endif %}{{ ' and ' ~ c }}{{ d|default('x') }}"
    )
    assert (facts.certain_text, facts.certain_variables) == ("Hi  and ", ("a", "c"))


@pytest.mark.parametrize(
    ("source", "never_empty"),
    [
        ("", False),
        (" \n ", False),
        ("{# a #}", False),
        ("x", True),
        ("{{ a }}", True),
        ("{{ a|default('x') }}", True),
        ("{{ a or 'x' }}", True),
        ("{{ a or '' }}", False),
        ("{{ 'x' if a else '' }}", False),
        ("{{ 'x' if a else b }}", True),
        ("{% if a %}x{% endif %}", False),
        ("{% if a %}x{% else %}y{% endif %}", True),
        ("{% if a %}x{% elif b %} {% else %}y{% endif %}", False),
    ],
)
def test_a_text_that_may_come_out_empty_is_known_as_such(source: str, never_empty: bool) -> None:
    assert check_template(source).never_empty is never_empty


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("Reply STOP and I will not write again.", True),
        ("Unsubscribe: one click.", True),
        ("You may opt-out.", True),
        ("Opting out is easy.", True),
        ("Zum Abbestellen genügt ein Wort.", True),
        ("Pour vous désabonner, un mot suffit.", True),
        ("Responde BAJA para no recibir más.", True),
        ("Stop by our booth", False),
        ("non-stop music", False),
        ("STOPPING power", False),
        ("We adopt outstanding ideas", False),
        ("", False),
    ],
)
def test_words_that_offer_a_way_out_are_known(text: str, offered: bool) -> None:
    assert names_a_way_out(text) is offered


# --- what is known beforehand holds afterwards -----------------------------------------------------------------

_NAMES = st.sampled_from(["a", "b", "c"])
_QUOTED = st.sampled_from(["'x'", "'y'", "' '"])
_EXPRESSIONS = st.recursive(
    _NAMES | _QUOTED,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda p: f"({p[0]} or {p[1]})"),
        st.tuples(inner, inner).map(lambda p: f"({p[0]} ~ {p[1]})"),
        st.tuples(inner, _NAMES, inner).map(lambda p: f"({p[0]} if {p[1]} else {p[2]})"),
        st.tuples(inner, st.sampled_from(["upper", "trim", "first", "default('z')"])).map(
            lambda p: f"{p[0]}|{p[1]}"
        ),
    ),
    max_leaves=5,
)
_TESTS = st.recursive(
    _NAMES
    | st.tuples(_EXPRESSIONS, _QUOTED).map(lambda p: f"{p[0]} == {p[1]}")
    | _NAMES.map(lambda n: f"{n} is defined"),
    lambda inner: st.one_of(
        inner.map(lambda t: f"not ({t})"),
        st.tuples(inner, inner).map(lambda p: f"({p[0]}) and ({p[1]})"),
        st.tuples(inner, inner).map(lambda p: f"({p[0]}) or ({p[1]})"),
    ),
    max_leaves=3,
)
_BODIES = st.recursive(
    _EXPRESSIONS.map(lambda e: f"{{{{ {e} }}}}") | st.sampled_from(["text", " "]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(_TESTS, inner, inner).map(
            lambda p: f"{{% if {p[0]} %}}{p[1]}{{% else %}}{p[2]}{{% endif %}}"
        ),
        st.tuples(_TESTS, inner).map(lambda p: f"{{% if {p[0]} %}}{p[1]}{{% endif %}}"),
    ),
    max_leaves=5,
)


@settings(deadline=None, max_examples=300)
@given(_BODIES, st.sets(_NAMES))
def test_with_all_required_variables_nothing_is_missing_and_all_that_is_certain_is_there(
    source: str, extra: set[str]
) -> None:
    facts = check_template(source)
    if facts.problems:
        return
    values = {name: name * 3 for name in facts.required | extra}
    found = render(source, values)
    if facts.never_empty:
        assert isinstance(found, Rendered), (source, values, found)
    if isinstance(found, Missing):
        assert not set(found.names) & facts.required
        assert not facts.certain_variables and not facts.certain_text.strip()
    else:
        assert isinstance(found, Rendered)
        assert len(found.text) >= len(facts.certain_text.strip())
