"""What is asked of messages before a sequence is published: a way out, variables that are there, lengths that fit."""

import pytest

from outreach.content.templates import check_template
from outreach.engine.compiler import Compiled, compile_text
from outreach.engine.messages import MAX_SOURCE_BYTES
from outreach.engine.problems import Problem


def problems(text: str) -> list[Problem]:
    """Errors and warnings, whether or not the text compiles."""
    found = compile_text(text, "a.yaml", check_template=check_template, check_caps=lambda _: None)
    return list(found.warnings) if isinstance(found, Compiled) else found


def codes(text: str) -> list[str]:
    return [problem.code for problem in problems(text)]


def sequence(actions: str, head: str = "") -> str:
    """A file with these actions, each a line, indented here."""
    return f"sequence: a\n{head}\nactions:\n" + "".join(
        f"  {line.strip()}\n" for line in actions.strip().splitlines()
    )


def dm(text: str) -> str:
    """A file whose only action sends this direct message."""
    return sequence(f"hello: {{do: SEND_TWITTER_DM, message: {text!r}}}")


@pytest.mark.parametrize(
    "body",
    [
        "Hello. {{ opt_out }}",
        "Hello. Reply STOP to end this.",
        "Hello. You can unsubscribe any time.",
        "Hello. To opt out, just say so.",
        "Hallo. Zum Abmelden genügt ein Wort.",
        "{{ 'Hello. ' ~ opt_out }}",
    ],
)
def test_a_way_to_opt_out_may_be_the_line_or_words_of_ones_own(body: str) -> None:
    assert codes(dm(body)) == []


@pytest.mark.parametrize(
    "body",
    [
        "Hello, we stop by your booth.",
        "Hello, this is a non-stop offer.",
        "{% if opt_out %}Hello.{% endif %} Hello.",
        "Hello.{% if company %} {{ opt_out }}{% endif %}",
    ],
)
def test_a_way_to_opt_out_must_be_shown_to_everybody(body: str) -> None:
    assert codes(dm(body)) == ["S304"]


def test_every_text_that_may_come_first_needs_a_way_out_and_later_ones_do_not() -> None:
    text = sequence(
        """
        connect: {do: SEND_CONNECTION_REQUEST, next: [{on: CONNECTION_ACCEPTED, to: link}, {on: CONNECTION_NOT_ACCEPTED, after: 1w, to: mail}]}
        link: {do: SEND_LINKEDIN_DM, message: Hello by LinkedIn, next: [{on: FAILED, to: tweet}, {to: later, after: 1d}]}
        mail: {do: SEND_EMAIL, message: {subject: Hello, body: Hello by mail}, next: [{on: BOUNCED, to: xmtp}, {to: later, after: 1d}]}
        tweet: {do: SEND_TWITTER_DM, message: Hello after a failure, next: later}
        xmtp: {do: SEND_XMTP_DM, message: Hello after a bounce, next: later}
        later: {do: SEND_EMAIL, message: {subject: Again, body: Hello again}}
        """
    )
    assert [(p.code, p.path) for p in problems(text)] == [
        ("S304", f"actions.{key}.message") for key in ("link", "mail", "tweet", "xmtp")
    ]


def test_a_fallback_that_may_come_first_needs_a_way_out_as_well() -> None:
    text = sequence("one: {do: SEND_TWITTER_DM, message: {body: 'Hi {{ name }}. STOP', fallback: Hi}}")
    assert [(p.code, p.path) for p in problems(text)] == [("S304", "actions.one.message.fallback")]


@pytest.mark.parametrize(
    "message",
    [
        "Hi {{ name|default('there') }}. STOP",
        "Hi {% if name %}{{ name }}{% endif %}. STOP",
        "Hi {{ name or 'there' }}. STOP",
        "Hi {{ name if name else 'there' }}. STOP",
        "Hi {{ sender_name }} {{ sequence }}. STOP",
    ],
)
def test_a_variable_that_is_asked_for_first_needs_no_default(message: str) -> None:
    assert codes(dm(message)) == []


def test_a_fallback_saves_the_body_but_neither_itself_nor_the_subject() -> None:
    text = sequence(
        "one: {do: SEND_EMAIL, message: {subject: 'For {{ a }}', body: 'Hi {{ b }}. STOP', fallback: 'Hi {{ c }}. STOP'}}"
    )
    assert [(p.code, p.path.rsplit(".")[-1]) for p in problems(text)] == [
        ("S302", "subject"),
        ("S302", "fallback"),
    ]


@pytest.mark.parametrize("declared", ["variables: {name: there}", "requires: [name]"])
def test_a_declared_variable_may_be_printed(declared: str) -> None:
    text = sequence("one: {do: SEND_TWITTER_DM, message: 'Hi {{ name }}. STOP'}", declared)
    assert codes(text) == []


def test_a_problem_in_a_block_of_text_is_shown_on_its_own_line() -> None:
    text = "sequence: a\nactions:\n  b:\n    do: SEND_TWITTER_DM\n    message: |\n      STOP\n\n      {{ a }}\n      {{ b.c }}\n"
    assert [(p.code, p.line) for p in problems(text)] == [("S301", 9)]


@pytest.mark.parametrize(
    ("kind", "length", "expected"),
    [
        ("SEND_TWITTER_DM", 10_000, []),
        ("SEND_TWITTER_DM", 10_001, ["S305"]),
        ("SEND_LINKEDIN_DM", 8_000, []),
        ("SEND_LINKEDIN_DM", 8_001, ["S305"]),
        ("SEND_CONNECTION_REQUEST", 200, []),
        ("SEND_CONNECTION_REQUEST", 201, ["S306"]),
        ("SEND_CONNECTION_REQUEST", 301, ["S305"]),
        ("SEND_XMTP_DM", MAX_SOURCE_BYTES, []),
        ("SEND_XMTP_DM", MAX_SOURCE_BYTES + 1, ["S305"]),
    ],
)
def test_texts_fit_their_channel(kind: str, length: int, expected: list[str]) -> None:
    body = "STOP" + "." * (length - 4)
    assert codes(sequence(f"one: {{do: {kind}, message: {body!r}}}")) == expected


def test_the_opt_out_line_counts_for_the_length() -> None:
    note = "." * 290 + " {{ opt_out }}"
    assert codes(sequence(f"one: {{do: SEND_CONNECTION_REQUEST, message: {note!r}}}")) == ["S305"]


def test_a_text_that_a_condition_can_empty_is_refused() -> None:
    text = sequence("one: {do: SEND_TWITTER_DM, message: '{% if a %}STOP{% endif %}'}")
    assert codes(text) == ["S304", "S308"]


def test_a_subject_that_is_all_default_is_not_empty() -> None:
    text = sequence("one: {do: SEND_EMAIL, message: {subject: '{{ a or \"News\" }}', body: STOP}}")
    assert codes(text) == []
