"""What is signed: one comparison decides, it takes the same time for every wrong signature, and it is made before anything is parsed."""

import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest

from outreach.clock import FrozenClock
from outreach.providers.twitter import TwitterWebhooks
from outreach.runtime import forms
from outreach.web import optout

HOOKS = TwitterWebhooks()
CLOCK = FrozenClock()
STAMP = str(int(CLOCK.now().timestamp()))


class _Context:
    """As much of one as a form's signature needs."""

    clock = CLOCK

    class settings:
        form_tolerance_seconds = 300.0

    @staticmethod
    def machine(seconds: float) -> Any:
        return CLOCK.machine(seconds)


def form(secret: str, body: bytes, header: str) -> bool:
    context: Any = _Context()
    return forms.check_signature(context, secret, body, header, CLOCK.now()) is None


#: what is checked -> does it take a wrong signature?
WRONG: dict[str, Callable[[], object]] = {
    "push": lambda: HOOKS.verify({"X-Twitter-Webhooks-Signature": "sha256=AAAA"}, b"\xff{", "secret"),
    "push, other name": lambda: HOOKS.verify({"x-twitter-webhooks-signature-oauth2": "x"}, b"", "secret"),
    "form": lambda: form("secret", b"\xff{", f"t={STAMP},v1={'a' * 64}"),
    "opt-out link": lambda: optout.read_token("secret", "NDI.aaaa"),
}


@pytest.mark.parametrize("what", WRONG)
def test_the_comparison_that_decides_is_the_one_in_constant_time_on_bytes(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not WRONG[what]()
    compared: list[tuple[object, object]] = []

    def compare(a: Any, b: Any) -> bool:
        compared.append((a, b))
        return True

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert WRONG[what](), "nothing else looks at the signature"
    assert compared
    assert all(type(one) is bytes for pair in compared for one in pair)


@pytest.mark.parametrize("what", ["push", "form"])
def test_nothing_is_parsed_before_the_signature_is_ours(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(*_: object, **__: object) -> None:
        raise AssertionError("parsed")

    monkeypatch.setattr(json, "loads", parse)
    assert not WRONG[what]()


@pytest.mark.parametrize("change", [b" ", b"\n", b"\x00", b"\xc3\xa9"])
def test_the_raw_bytes_are_signed_and_not_what_they_mean(change: bytes) -> None:
    body = b'{"a": 1}'
    good = str((HOOKS.challenge({"crc_token": body.decode()}, "secret") or {})["response_token"])
    assert HOOKS.verify({"x-twitter-webhooks-signature": good}, body, "secret")
    for other in (body + change, change + body, body.replace(b" ", b"")):
        assert not HOOKS.verify({"x-twitter-webhooks-signature": good}, other, "secret")
    signed = forms.sign("secret", STAMP, body)
    assert form("secret", body, f"t={STAMP},v1={signed}")
    assert not form("secret", body + change, f"t={STAMP},v1={signed}")
    assert not form("secret", body, f"t={int(STAMP) + 1},v1={signed}"), "the time is signed, too"


@pytest.mark.parametrize(
    "token", ["NDI.é", "NDI.\udcff", "é", ".", "NDI", "", "OTk5.", "a" * 5000 + ".b", "LTE.x", "٤٢.x"]
)
def test_no_made_up_link_makes_the_page_stumble(token: str) -> None:
    assert optout.read_token("secret", token) is None


def test_a_link_says_nothing_of_anybody_and_is_ours_under_its_own_secret_alone() -> None:
    token = optout.make_token("secret", 42)
    assert optout.read_token("secret", token) == 42
    assert optout.read_token("other", token) is None
    assert optout.read_token("secret", token + "a") is None
    assert optout.read_token("secret", "NDM." + token.partition(".")[2]) is None
