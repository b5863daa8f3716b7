"""PURE: where a human finds somebody: the page of their profile, and the link that opens the very act. Only what the identifiers allow."""

from collections.abc import Mapping
from urllib.parse import quote


def profile_url(known: Mapping[str, str]) -> str | None:
    """The person's own page. `known`: identity kind -> value, of one account of theirs."""
    if handle := known.get("twitter_handle"):
        return f"https://x.com/{quote(handle)}"
    if user_id := known.get("twitter_id"):
        return f"https://x.com/i/user/{quote(user_id)}"
    if slug := known.get("linkedin_slug"):
        return f"https://www.linkedin.com/{quote(slug)}"
    return None


def deep_link(
    kind: str, known: Mapping[str, str], *, text: str | None = None, subject: str | None = None
) -> str | None:
    """What opens the act of this kind, as far ready as the platform takes it; None: it cannot be addressed."""
    user_id, handle = known.get("twitter_id"), known.get("twitter_handle")
    if kind == "SEND_TWITTER_DM":
        return f"https://x.com/messages/compose?recipient_id={quote(user_id)}" if user_id else None
    if kind in ("FOLLOW_ON_TWITTER", "UNFOLLOW_ON_TWITTER"):
        return _intent(user_id, handle) if kind == "FOLLOW_ON_TWITTER" else profile_url(known)
    if kind == "SEND_EMAIL":
        return _mail(known.get("email"), text, subject)
    return profile_url(known)


def _intent(user_id: str | None, handle: str | None) -> str | None:
    if user_id:
        return f"https://x.com/intent/follow?user_id={quote(user_id)}"
    return f"https://x.com/intent/follow?screen_name={quote(handle)}" if handle else None


def _mail(address: str | None, text: str | None, subject: str | None) -> str | None:
    if not address:
        return None
    parts = {"subject": subject, "body": text}
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in parts.items() if value)
    return f"mailto:{quote(address, safe='@')}" + (f"?{query}" if query else "")
