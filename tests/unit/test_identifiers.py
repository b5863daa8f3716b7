"""Every spelling of an identifier is one value; what is none says why."""

import base58
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outreach.audience.identifiers import (
    READERS,
    Identifier,
    IdentityKind,
    Reading,
    Rejected,
    checksummed,
    is_role_mailbox,
    normalise,
    recognise,
)
from outreach.engine.kinds import Channel

#: The examples of the EIP-55 specification.
EIP55 = (
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
)


def value(reading: Reading) -> tuple[str, str]:
    assert isinstance(reading, Identifier), reading
    return reading.kind.value, reading.value


def refusal(reading: Reading) -> Rejected:
    assert isinstance(reading, Rejected), reading
    return reading


@pytest.mark.parametrize(
    "text",
    [
        "@ada_l",
        "@Ada_L",
        "ADA_L",
        "  @ada_l ",
        "\u200b@ada_l\ufeff",
        "＠ａｄａ_ｌ",
        "https://twitter.com/ada_l",
        "http://www.twitter.com/Ada_L/",
        "https://mobile.twitter.com/ada_l?lang=en",
        "HTTPS://X.COM/ADA_L",
        "x.com/ada_l",
        "twitter.com/@ada_l",
        "https://twitter.com/ada_l/status/20?s=20&t=abc",
        "https://twitter.com/#!/ada_l",
        "https://twitter.com/intent/follow?screen_name=ada_l",
        "https://twitter.com/https://twitter.com/ada_l",
        "https://twitter.com/ada_l%20",
        "<https://x.com/ada_l>",
    ],
)
def test_every_spelling_of_a_handle_is_one_handle(text: str) -> None:
    assert value(normalise("twitter", text)) == ("twitter_handle", "ada_l")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("https://t.me/ada", "at t.me, not at Twitter"),
        ("https://www.instagram.com/ada/", "at instagram.com, not at Twitter"),
        ("https://twitter.com/", "front page"),
        ("https://twitter.com/search?q=ada", "a page of Twitter"),
        ("https://twitter.com/i/notifications", "a page of Twitter"),
        ("@ada@mastodon.example", "second @"),
        ("ada@example.test", "second @"),
        ("@sixteen_letters_", "at most 15"),
        ("ada-l", "a-z, 0-9 and _"),
        ("n/a", "placeholder"),
        ("", "placeholder"),
        ("{{7*7}}", "a-z, 0-9 and _"),
    ],
)
def test_what_is_no_handle_is_rejected_with_the_reason(text: str, reason: str) -> None:
    assert reason in refusal(normalise("twitter", text)).reason


def test_a_misspelt_host_gets_a_did_you_mean() -> None:
    assert refusal(normalise("twitter", "https://twtter.com/ada")).hint == "did you mean twitter.com?"


def test_a_handle_that_looks_like_a_placeholder_is_one_when_it_is_written_with_an_at() -> None:
    assert value(normalise("twitter", "@none")) == ("twitter_handle", "none")


@pytest.mark.parametrize(
    "text",
    [
        "44196397",
        " 44196397 ",
        "https://x.com/i/user/44196397",
        "https://twitter.com/intent/user?user_id=44196397",
    ],
)
def test_the_numeric_twitter_id_is_found(text: str) -> None:
    field = "twitter" if "/" in text else "twitter_id"
    assert value(normalise(field, text)) == ("twitter_id", "44196397")


def test_an_id_that_a_spreadsheet_rounded_is_not_guessed() -> None:
    assert "rounded" in refusal(normalise("twitter_id", "1.23457E+18")).reason


@pytest.mark.parametrize(
    "text",
    [
        "ada.l@example.test",
        "Ada.L@Example.TEST",
        "mailto:ada.l@example.test?subject=hello",
        "ada.l@example.test.",
        " ada.l@example.test ; ",
        "Ada Lovelace <ada.l@example.test>",
        "<ada.l@example.test>",
    ],
)
def test_every_spelling_of_a_mailbox_is_one_mailbox(text: str) -> None:
    assert value(normalise("email", text)) == ("email", "ada.l@example.test")


def test_both_spellings_of_an_international_domain_are_one() -> None:
    assert value(normalise("email", "ada@xn--mnchen-3ya.example")) == value(
        normalise("email", "ada@münchen.example")
    )


@pytest.mark.parametrize(
    "text",
    [
        "info@play2live,io",
        "support:aco.ai",
        "https://acme.example/contact",
        "ada@",
        "a@b",
        "support@acme.example/",
        "noreply@acme.example",
    ],
)
def test_what_is_no_mailbox_is_rejected(text: str) -> None:
    assert isinstance(normalise("email", text), Rejected)


def test_role_mailboxes_are_known_whatever_their_tag() -> None:
    assert is_role_mailbox("contact@acme.example")
    assert is_role_mailbox("info+web@acme.example")
    assert not is_role_mailbox("ada@acme.example")


@pytest.mark.parametrize("address", EIP55)
def test_an_address_is_one_value_in_every_valid_spelling(address: str) -> None:
    spellings = [address, address.lower(), "0x" + address[2:].upper(), f"eip155:1:{address}", f" {address} "]
    assert {value(normalise("address", s)) for s in spellings} == {("evm_address", address.lower())}
    assert checksummed(address.lower()) == address


@pytest.mark.parametrize("address", EIP55)
def test_a_mistyped_digit_fails_the_checksum(address: str) -> None:
    wrong = address[:-1] + ("a" if address[-1] != "a" else "b")
    assert "checksum" in refusal(normalise("evm_address", wrong)).reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0x1234", "40 hex digits"),
        ("0x" + "0" * 40, "burn address"),
        ("0x000000000000000000000000000000000000dEaD", "burn address"),
        ("vitalik.eth", "a name, not an address"),
        ("1" * 32, "system program"),
        ("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "holds 25"),
        ("0OIl", "base58"),
        ("2" * 5000, "too long"),
    ],
)
def test_what_is_no_wallet_is_rejected_with_the_reason(text: str, reason: str) -> None:
    assert reason in refusal(normalise("address", text)).reason


def test_a_solana_address_keeps_its_case() -> None:
    address = "3SghkPdBSrpF9bzdAy5LwR4nGgFbqNcC6ZSq8vtZdj91"
    assert value(normalise("address", address)) == ("solana_address", address)


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("https://www.linkedin.com/in/Ada-Lovelace-123/", "linkedin_slug", "in/ada-lovelace-123"),
        ("de.linkedin.com/in/ada-lovelace-123?trk=x", "linkedin_slug", "in/ada-lovelace-123"),
        ("in/ada-lovelace-123", "linkedin_slug", "in/ada-lovelace-123"),
        ("ada-lovelace-123", "linkedin_slug", "in/ada-lovelace-123"),
        ("https://linkedin.com/in/J%C3%BCrgen", "linkedin_slug", "in/jürgen"),
        ("https://www.linkedin.com/company/acme/about/", "linkedin_slug", "company/acme"),
        ("https://www.linkedin.com/company-beta/11199886", "linkedin_slug", "company/11199886"),
        ("urn:li:organization:11199886", "linkedin_slug", "company/11199886"),
        ("urn:li:person:aB-1_x", "linkedin_urn", "urn:li:person:aB-1_x"),
        ("urn:li:member:42", "linkedin_member", "42"),
    ],
)
def test_linkedin_spellings_come_down_to_one_value(text: str, kind: str, expected: str) -> None:
    assert value(normalise("linkedin", text)) == (kind, expected)


@pytest.mark.parametrize(
    "text",
    [
        "https://www.linkedin.com",
        "https://www.linkedin.com/feed/",
        "https://search.example/?q=ada",
        "urn:li:share:1",
        "a b",
    ],
)
def test_what_is_no_linkedin_profile_is_rejected(text: str) -> None:
    assert isinstance(normalise("linkedin", text), Rejected)


def test_a_member_is_reached_and_a_company_page_is_not() -> None:
    member, company = normalise("linkedin", "in/ada"), normalise("linkedin", "company/ada")
    assert isinstance(member, Identifier)
    assert isinstance(company, Identifier)
    assert (member.channel, company.channel) == (Channel.LINKEDIN, None)
    assert member.value != company.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@ada", ("twitter_handle", "ada")),
        ("x.com/ada", ("twitter_handle", "ada")),
        ("twitter_id:12", ("twitter_id", "12")),
        ("ada@example.test", ("email", "ada@example.test")),
        ("mailto:ada@example.test", ("email", "ada@example.test")),
        ("linkedin.com/in/ada", ("linkedin_slug", "in/ada")),
        ("urn:li:member:42", ("linkedin_member", "42")),
        (EIP55[0], ("evm_address", EIP55[0].lower())),
        (
            "3SghkPdBSrpF9bzdAy5LwR4nGgFbqNcC6ZSq8vtZdj91",
            ("solana_address", "3SghkPdBSrpF9bzdAy5LwR4nGgFbqNcC6ZSq8vtZdj91"),
        ),
    ],
)
def test_an_identifier_is_recognised_by_its_looks(text: str, expected: tuple[str, str]) -> None:
    assert value(recognise(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Ada Lovelace",
        "ada",
        "",
        "javascript:alert(1)",
        "{{7*7}}",
        "https://example.test/ada",
        "https://[::1/x",
    ],
)
def test_what_does_not_look_like_an_identifier_is_not_taken_for_one(text: str) -> None:
    assert isinstance(recognise(text), Rejected)


@given(st.sampled_from(sorted(READERS)), st.text(max_size=80))
def test_no_text_breaks_a_reader(field: str, text: str) -> None:
    assert isinstance(normalise(field, text), Identifier | Rejected)
    assert isinstance(recognise(text), Identifier | Rejected)


@given(st.from_regex(r"[A-Za-z0-9_]{1,15}", fullmatch=True))
def test_a_value_read_again_is_itself(handle: str) -> None:
    reading = normalise("twitter", f"@{handle}")
    assert isinstance(reading, Identifier)
    assert normalise("twitter", f"@{reading.value}") == Identifier(
        kind=IdentityKind.TWITTER_HANDLE, value=reading.value, shown=f"@{reading.value}"
    )


@given(st.binary(min_size=32, max_size=32).filter(any))
def test_every_32_bytes_are_an_address_whatever_their_length_in_base58(raw: bytes) -> None:
    text = base58.b58encode(raw).decode()
    assert value(normalise("solana_address", text)) == ("solana_address", text)
