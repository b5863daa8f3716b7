"""What the commands about accounts are told: the platform's permissions, caps, pace, and secrets, never by argv."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from outreach.errors import ConfigurationError, UsageError
from outreach.settings import inherited_environment

Name = Annotated[str, typer.Argument(help="The account's name.")]
Channel = Annotated[str, typer.Argument(help="twitter, linkedin, xmtp or email.")]
BaseUrl = Annotated[str, typer.Option(help="Where the provider, or a stand-in, answers.")]
Zone = Annotated[str, typer.Option(help="Its IANA time zone, for caps per date and for windows.")]
FollowPermitted = Annotated[
    bool, typer.Option("--follow-permitted", help="The platform permits this account to follow by software.")
]
DmMode = Annotated[str, typer.Option(help="inbound_first or opt_in.")]
ModeReason = Annotated[
    str, typer.Option("--reason", help="Why --dm-mode opt_in, or --follow-permitted, is true.")
]
Caps = Annotated[list[str] | None, typer.Option(help="KIND=CAPS, as in SEND_TWITTER_DM=8/hour;40/day.")]
Pace = Annotated[list[str] | None, typer.Option(help="KIND=SECONDS between two.")]
#: Where X's API answers.
X_API = "https://api.x.com"
#: Secrets by the name under which they come in. Never by argv, where every process of the machine could read them.
SECRETS = {
    "access_token": "OUTREACH_ACCESS_TOKEN",
    "refresh_token": "OUTREACH_REFRESH_TOKEN",
    "client_id": "OUTREACH_CLIENT_ID",
    "client_secret": "OUTREACH_CLIENT_SECRET",
    "consumer_secret": "OUTREACH_CONSUMER_SECRET",
}  # fmt: skip
#: Bytes of a file of tokens.
_MOST_SECRETS = 64 * 1024
_CHANNELS = ("twitter", "linkedin", "xmtp", "email")


def require_known(channel: str, dm_mode: str, follow_permitted: bool, reason: str, zone: str) -> None:
    from outreach.engine.notation import zone_names
    from outreach.engine.suggest import did_you_mean

    if channel not in _CHANNELS:
        raise UsageError(f"no channel {channel!r}", hint=did_you_mean(channel, _CHANNELS))
    if dm_mode not in ("inbound_first", "opt_in"):
        raise UsageError(f"no mode {dm_mode!r}", hint=did_you_mean(dm_mode, ("inbound_first", "opt_in")))
    if (dm_mode == "opt_in" or follow_permitted) and not reason.strip():
        raise UsageError(
            "what the platform permits needs a reason", hint="--reason says who permitted it, and when"
        )
    if zone not in zone_names():
        raise UsageError(f"{zone!r} is no time zone", hint=did_you_mean(zone, zone_names()))


def pairs(words: Sequence[str], option: str) -> dict[str, str]:
    """KIND=VALUE words by kind. Raises UsageError."""
    from outreach.engine.kinds import CHANNEL_OF
    from outreach.engine.suggest import did_you_mean

    kinds = [kind.value for kind in CHANNEL_OF]
    found = {}
    for word in words:
        kind, equals, value = word.partition("=")
        if not equals:
            raise UsageError(
                f"{option} {word!r} has no =".lstrip(), hint=f"{option} SEND_TWITTER_DM=…".lstrip()
            )
        if kind not in kinds:
            raise UsageError(f"{kind} is no action that can be limited", hint=did_you_mean(kind, kinds))
        found[kind] = value.strip()
    return found


def caps_of(words: Sequence[str]) -> dict[str, str]:
    from outreach.limits.caps import parse_caps

    found = pairs(words, "--caps")
    for text in found.values():
        if text != "none":
            parse_caps(text)
    return found


def pace_of(words: Sequence[str]) -> dict[str, float]:
    found = {}
    for kind, text in pairs(words, "--pace").items():
        try:
            found[kind] = float(text)
        except ValueError:
            raise UsageError(f"--pace {kind}={text} is no number of seconds") from None
        if not 0 <= found[kind] <= 86_400:
            raise UsageError(f"--pace {kind}={text} is not within 0 and 86400 seconds")
    return found


def values_of(
    *, base_url: str, zone: str, caps: Sequence[str] | None, pace: Sequence[str] | None, follow_permitted: bool, dm_mode: str, reason: str,
) -> dict[str, Any]:  # fmt: skip
    """A new account's columns."""
    return {
        "base_url": base_url, "zone": zone, "caps": caps_of(caps or []), "pace": pace_of(pace or []), "follow_permitted": follow_permitted,
        "dm_mode": dm_mode, "mode_reason": reason or None,
    }  # fmt: skip


def app_secrets() -> Mapping[str, str]:
    """Of the developer app, from the environment; what is not set is missing."""
    environ = inherited_environment()
    names = ("client_id", "client_secret", "consumer_secret")
    return {key: environ[SECRETS[key]] for key in names if environ.get(SECRETS[key])}


def read_secrets(tokens: str) -> dict[str, str]:
    """From --tokens, else from the environment, else (the access token alone) from a prompt that shows nothing."""
    if tokens:
        return _secrets_of_json(_text_of(tokens))
    environ = inherited_environment()
    found = {key: environ[name] for key, name in SECRETS.items() if environ.get(name)}
    if "access_token" not in found:
        if not sys.stdin.isatty():
            raise ConfigurationError(
                "no access token", hint="set OUTREACH_ACCESS_TOKEN, or hand a JSON file to --tokens"
            )
        found["access_token"] = typer.prompt("Access token", hide_input=True, err=True)
    return found


def _text_of(path: str) -> str:
    from outreach.cli.files import bytes_of

    if path == "-":
        return sys.stdin.read()
    try:
        return bytes_of(Path(path), _MOST_SECRETS).decode("utf-8-sig")
    except UnicodeDecodeError:
        # Never the bytes themselves: they hold secrets.
        raise UsageError(f"{path} is no UTF-8 text", hint="save it as UTF-8") from None


def _secrets_of_json(text: str) -> dict[str, str]:
    hint = f"an object of {', '.join(SECRETS)}"
    try:
        found = json.loads(text)
    except ValueError:
        # Never the text itself: it holds secrets.
        raise UsageError("the tokens are no JSON", hint=hint) from None
    if not isinstance(found, dict) or not found.get("access_token") or set(found) - set(SECRETS):
        raise UsageError("the tokens are not what is wanted", hint=hint)
    return {key: str(value) for key, value in found.items()}
