"""What survives of a text on its way through a provider."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outreach.providers.base import fingerprint


@pytest.mark.parametrize(
    ("sent", "echoed"),
    [
        ("Hello there", "Hello there"),
        ("Hello\n\n  there ", "Hello there"),
        ("Zo\u0065\u0301 says hi", "Zo\u00e9 says hi"),
        ("See https://example.test/a?b=c#d now", "See https://t.co/AbC123 now"),
        ("See https://example.test/a.", "See https://t.co/AbC123."),
        ("Visit example.com, please", "Visit https://t.co/AbC123, please"),
        ("(more at example.com/x)", "(more at https://t.co/AbC123)"),
        ("見example.com謝謝", "見https://t.co/AbC123謝謝"),
        ("R&D <3", "R&amp;D &lt;3"),
        ("STOP", "STOP "),
    ],
)
def test_an_echo_has_the_fingerprint_of_what_was_sent(sent: str, echoed: str) -> None:
    assert fingerprint(sent) == fingerprint(echoed)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Hello Ann", "Hello Bob"), ("yes", "no"), ("", "hello"), ("Straße", "Strasse"), ("STOP", "stop")],
)
def test_different_texts_have_different_fingerprints(one: str, other: str) -> None:
    assert fingerprint(one) != fingerprint(other)


@given(st.text(), st.integers(0, 3))
def test_whitespace_around_a_text_never_changes_its_fingerprint(text: str, spaces: int) -> None:
    assert fingerprint(" " * spaces + text + "\n" * spaces) == fingerprint(text)
