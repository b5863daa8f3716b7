"""Where a human finds somebody: links only where the identifiers allow them, and nothing of an identifier breaks out of one."""

import pytest

from outreach.audience.reaching import deep_link, profile_url

BOTH = {"twitter_id": "42", "twitter_handle": "ada"}


@pytest.mark.parametrize(
    ("known", "url"),
    [
        (BOTH, "https://x.com/ada"),
        ({"twitter_id": "42"}, "https://x.com/i/user/42"),
        ({"linkedin_slug": "in/ada"}, "https://www.linkedin.com/in/ada"),
        ({"linkedin_slug": "in/zoë"}, "https://www.linkedin.com/in/zo%C3%AB"),
        ({"email": "ada@example.test"}, None),
        ({}, None),
    ],
)
def test_a_page_of_their_own(known: dict[str, str], url: str | None) -> None:
    assert profile_url(known) == url


@pytest.mark.parametrize(
    ("kind", "known", "url"),
    [
        ("SEND_TWITTER_DM", BOTH, "https://x.com/messages/compose?recipient_id=42"),
        ("SEND_TWITTER_DM", {"twitter_handle": "ada"}, None),
        ("FOLLOW_ON_TWITTER", BOTH, "https://x.com/intent/follow?user_id=42"),
        ("FOLLOW_ON_TWITTER", {"twitter_handle": "ada"}, "https://x.com/intent/follow?screen_name=ada"),
        ("UNFOLLOW_ON_TWITTER", BOTH, "https://x.com/ada"),
        ("SEND_LINKEDIN_DM", {"linkedin_slug": "in/ada"}, "https://www.linkedin.com/in/ada"),
        ("SEND_CONNECTION_REQUEST", {"linkedin_slug": "in/ada"}, "https://www.linkedin.com/in/ada"),
        ("SEND_CONNECTION_REQUEST", {"linkedin_urn": "urn:li:person:1"}, None),
        ("SEND_XMTP_DM", {"evm_address": "0x1"}, None),
    ],
)
def test_a_link_that_opens_the_act(kind: str, known: dict[str, str], url: str | None) -> None:
    assert deep_link(kind, known) == url


def test_a_mail_is_ready_to_be_sent_and_its_words_stay_words() -> None:
    link = deep_link(
        "SEND_EMAIL", {"email": "ada&cc=x@example.test"}, subject="Hi & welcome", text="1+1\n=2?"
    )
    assert link == "mailto:ada%26cc%3Dx@example.test?subject=Hi%20%26%20welcome&body=1%2B1%0A%3D2%3F"
