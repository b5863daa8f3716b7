"""Rendering for one lead: what stays data, what counts as missing, what is sent instead, what fits."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outreach.content.rendering import (
    MAX_OUTPUT,
    MAX_SUBJECT,
    Missing,
    Rendered,
    TooLong,
    compose,
    render,
    render_subject,
)


def text_of(source: str, **values: str) -> str:
    found = render(source, values)
    assert isinstance(found, Rendered), found
    return found.text


def test_what_a_lead_brings_is_data_and_is_rendered_once() -> None:
    assert text_of("Hi {{ a }}", a="{{ 7*7 }}") == "Hi {{ 7*7 }}"
    assert (
        text_of("Hi {{ a }}", a="{% for x in range(9) %}x{% endfor %}")
        == "Hi {% for x in range(9) %}x{% endfor %}"
    )
    assert text_of("Hi {{ a }}", a="<b>&amp;</b>") == "Hi <b>&amp;</b>"
    assert text_of("{% if a %}{{ a }}{% endif %}", a="{{ b }}", b="never") == "{{ b }}"


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_value_is_printed_as_it_is_but_for_its_ends_and_control_characters(value: str) -> None:
    found = render("[{{ a }}]", {"a": value})
    if isinstance(found, Missing):
        assert not "".join(c for c in value if unicodedata.category(c) != "Cc").strip()
    else:
        assert isinstance(found, Rendered)
        assert set(found.text[1:-1]) <= set(value)
        assert not {"\0", "\x1b", "\r"} & set(found.text)


@pytest.mark.parametrize("blank", ["", " ", "\n\t", "\u00a0", "\0"])
def test_a_blank_value_counts_as_missing(blank: str) -> None:
    assert render("Hi {{ a }}", {"a": blank}) == Missing(("a",))
    assert text_of("Hi {{ a|default('there') }}", a=blank) == "Hi there"
    assert text_of("Hi{% if a %} {{ a }}{% endif %}", a=blank) == "Hi"


def test_all_missing_variables_are_named_at_once() -> None:
    assert render("{{ b }} {{ a|upper }} {{ c|first }} {{ d|truncate(9) }} {{ b }}", {}) == Missing(
        ("b", "a", "c", "d")
    )


def test_only_variables_on_the_way_taken_are_missing() -> None:
    source = "{% if a %}{{ b }}{% else %}{{ c }}{% endif %}"
    assert render(source, {"a": "x"}) == Missing(("b",))
    assert render(source, {"c": "x"}) == Rendered(text="x")


def test_a_text_that_comes_out_empty_is_never_sent() -> None:
    assert render("{% if a %}x{% endif %}", {}) == Missing(("a",))
    assert render("{% if not a %}x{% endif %}", {"a": "y"}) == Missing(())


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ a|upper }} {{ a|title }} {{ b|lower|capitalize }}", "ANN LEE Ann Lee Bob"),
        ("{{ a|first }}.", "a."),
        ("{{ a|truncate(5) }}", "ann lee"),
        ("{{ ('x ' ~ a)|trim }}", "x ann lee"),
        ("{{ a if b == 'BOB' else 'no' }}", "ann lee"),
        ("{{ ''|first }}x", "x"),
        ("a\n{% if b %}\nb\n{% endif %}\nc", "a\nb\nc"),
        ("  {# hidden #}x  ", "x"),
    ],
)
def test_filters_and_conditions_do_what_they_say(source: str, expected: str) -> None:
    assert text_of(source, a="ann lee", b="BOB") == expected


def test_the_longest_text_is_the_channels() -> None:
    assert render("{{ a }}", {"a": "x" * 10}, 10) == Rendered(text="x" * 10)
    assert render("{{ a }}\n\n", {"a": "x" * 11}, 10) == TooLong(11, 10)
    assert render("{{ a }}", {"a": "x" * (MAX_OUTPUT + 1)}) == TooLong(MAX_OUTPUT + 1, MAX_OUTPUT)


def test_an_output_bomb_is_cut_off() -> None:
    found = render("{{ a }}" * 2_900, {"a": "x" * 90_000})
    assert isinstance(found, TooLong)
    assert found.length < 3 * MAX_OUTPUT


@pytest.mark.parametrize("breaking", ["\r\n", "\n", "\r", "\u2028", "\u0085", "\v"])
def test_a_subject_is_one_line_whatever_a_lead_is_called(breaking: str) -> None:
    found = render_subject("Hello {{ a }}", {"a": f"Ann{breaking}Bcc: all@example.test"})
    assert isinstance(found, Rendered)
    assert len(found.text.splitlines()) == 1
    assert found.text.startswith("Hello Ann")


def test_a_subject_has_a_greatest_length() -> None:
    assert render_subject("{{ a }}", {"a": "x" * (MAX_SUBJECT + 1)}) == TooLong(MAX_SUBJECT + 1, MAX_SUBJECT)


# --- body, fallback, subject -----------------------------------------------------------------------------------


def test_a_missing_variable_takes_its_default_then_the_fallback_then_nothing() -> None:
    body, fallback = "Hi {{ a }} of {{ b }}", "Hi {{ a }}"
    values = {"b": "Acme"}
    assert compose(body=body, values=values, defaults={"a": "there"}) == Rendered(text="Hi there of Acme")
    assert compose(body=body, fallback=fallback, values={}, defaults={"a": "there"}) == Rendered(
        text="Hi there", used_fallback=True
    )
    assert compose(body=body, fallback=fallback, values=values, defaults={}) == Missing(("a",))
    assert compose(body=body, values={}, defaults={}) == Missing(("a", "b"))


def test_a_leads_own_value_goes_before_the_default_unless_it_is_blank() -> None:
    assert compose(body="{{ a }}", values={"a": "Ann"}, defaults={"a": "there"}) == Rendered(text="Ann")
    assert compose(body="{{ a }}", values={"a": " "}, defaults={"a": "there"}) == Rendered(text="there")


def test_a_missing_subject_is_not_saved_by_the_fallback() -> None:
    found = compose(body="x", subject="For {{ a }}", fallback="y", values={}, defaults={})
    assert found == Missing(("a",))


def test_a_whole_email_has_its_subject_and_says_which_body_it_took() -> None:
    found = compose(body="{{ b }}", subject="For {{ a }}", fallback="y", values={"a": "Ann"}, defaults={})
    assert found == Rendered(text="y", subject="For Ann", used_fallback=True)


def test_a_text_that_is_too_long_is_not_exchanged_for_the_fallback() -> None:
    found = compose(body="{{ a }}", fallback="short", values={"a": "x" * 11}, defaults={}, max_length=10)
    assert found == TooLong(11, 10)
