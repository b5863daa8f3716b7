"""Accounts: added with their tokens from the environment or stdin, listed, paused, pooled."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from outreach.cli import output
from outreach.cli.output import AsJson, Reason
from outreach.cli.session import opened, operator
from outreach.errors import ConfigurationError, UsageError
from outreach.settings import inherited_environment

account = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Accounts: who sends.")

_Name = Annotated[str, typer.Argument(help="The account's name.")]
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


@account.command()
def add(
    ctx: typer.Context,
    channel: Annotated[str, typer.Argument(help="twitter, linkedin, xmtp or email.")],
    name: _Name,
    app_name: Annotated[str, typer.Option("--app", help="The developer app behind it; made if there is none.")],
    external_id: Annotated[str, typer.Option(help="The account's own id at the provider.")],
    handle: Annotated[str, typer.Option(help="How the account signs: {{ sender_name }}.")] = "",
    base_url: Annotated[str, typer.Option(help="Where the provider, or a stand-in, answers.")] = "https://api.x.com",
    zone: Annotated[str, typer.Option(help="Its IANA time zone, for caps per date and for windows.")] = "UTC",
    follow_permitted: Annotated[bool, typer.Option("--follow-permitted", help="The platform permits this account to follow by software.")] = False,
    dm_mode: Annotated[str, typer.Option(help="inbound_first or opt_in.")] = "inbound_first",
    reason: Annotated[str, typer.Option(help="Why --dm-mode opt_in, or --follow-permitted, is true.")] = "",
    caps: Annotated[list[str] | None, typer.Option(help="KIND=CAPS, as in SEND_TWITTER_DM=8/hour;40/day.")] = None,
    pace: Annotated[list[str] | None, typer.Option(help="KIND=SECONDS between two.")] = None,
    tokens: Annotated[str, typer.Option(help="A JSON file with the secrets; - reads stdin.")] = "",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Add an account. Its secrets come from OUTREACH_ACCESS_TOKEN and its like, from --tokens, or from a prompt."""
    _check(channel, dm_mode, follow_permitted, reason, zone)
    values: dict[str, Any] = {
        "name": name, "channel": channel, "external_id": external_id, "handle": handle or None, "base_url": base_url, "zone": zone,
        "caps": _caps(caps or []), "pace": _pace(pace or []), "follow_permitted": follow_permitted, "dm_mode": dm_mode,
        "mode_reason": reason or None,
    }  # fmt: skip
    secrets = read_secrets(tokens)
    with opened(ctx) as app:
        account_id = app.context.db.run(lambda tx: _add(tx, app.context.clock, app_name, values, secrets))
    output.done({"id": account_id, "name": name}, f"added account {name} ({account_id})", as_json)


def _add(tx: Any, clock: Any, app_name: str, values: Mapping[str, Any], secrets: Mapping[str, str]) -> int:
    from outreach.engine.events import EventKind
    from outreach.models import accounts, events

    now = clock.at(tx.database_now())
    if any(row["name"] == values["name"] for row in accounts.listed(tx)):
        raise UsageError(f"there is an account {values['name']!r} already", hint="give it another name")
    if accounts.by_external_ids(tx, [(values["channel"], values["external_id"])]):
        raise UsageError("that account is here already, under another name", hint="outreach account list")
    known = accounts.app_named(tx, app_name)
    if known is not None and known["channel"] != values["channel"]:
        raise UsageError(f"app {app_name!r} is of {known['channel']}")
    app = {"name": app_name, "channel": values["channel"], "caps": {}, "now": now} | {
        key: secrets.get(key) for key in ("client_id", "client_secret", "consumer_secret")
    }
    mine = {key: secrets.get(key) for key in ("access_token", "refresh_token")}
    account_id = accounts.insert(tx, {**values, **mine, "app_id": accounts.put_app(tx, app), "now": now})
    added = events.Event(kind=EventKind.ACCOUNT_ADDED, at=now, actor=operator(), account_id=account_id)
    events.append(tx, [added])
    return account_id


def _check(channel: str, dm_mode: str, follow_permitted: bool, reason: str, zone: str) -> None:
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


def _caps(words: Sequence[str]) -> dict[str, str]:
    from outreach.limits.caps import parse_caps

    found = pairs(words, "--caps")
    for text in found.values():
        if text != "none":
            parse_caps(text)
    return found


def _pace(words: Sequence[str]) -> dict[str, float]:
    found = {}
    for kind, text in pairs(words, "--pace").items():
        try:
            found[kind] = float(text)
        except ValueError:
            raise UsageError(f"--pace {kind}={text} is no number of seconds") from None
        if not 0 <= found[kind] <= 86_400:
            raise UsageError(f"--pace {kind}={text} is not within 0 and 86400 seconds")
    return found


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


@account.command("list")
def list_all(ctx: typer.Context, as_json: AsJson = False) -> None:
    """All accounts, without their secrets."""
    from outreach.models import reports

    with opened(ctx) as app:
        rows = app.context.db.run(reports.accounts)
    columns = (
        "name",
        "channel",
        "app",
        "state",
        "state_reason",
        "zone",
        "follow_permitted",
        "dm_mode",
        "caps",
        "pools",
    )
    output.listing(rows, columns, as_json, empty="none; outreach account add makes one")


@account.command()
def pause(
    ctx: typer.Context,
    name: _Name,
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """It sends nothing until it is resumed."""
    from outreach.runtime.control import set_account

    with opened(ctx) as app:
        set_account(app.context, name, reason, operator())
    output.done({"account": name, "state": "paused"}, f"account {name} is paused: {reason}", as_json)


@account.command()
def resume(ctx: typer.Context, name: _Name, as_json: AsJson = False) -> None:
    """It sends again, whatever stopped it."""
    from outreach.runtime.control import set_account

    with opened(ctx) as app:
        set_account(app.context, name, None, operator())
    output.done({"account": name, "state": "ok"}, f"account {name} may send again", as_json)


@account.command()
def pool(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The pool's name.")],
    members: Annotated[list[str], typer.Option("--account", help="A member; give it again for more.")],
    as_json: AsJson = False,
) -> None:
    """Make a pool of exactly these accounts of one channel."""
    from outreach.models import accounts

    with opened(ctx) as app:
        context = app.context

        def work(tx: Any) -> int:
            rows = [accounts.find(tx, member) for member in members]
            channels = {row["channel"] for row in rows}
            if len(channels) != 1:
                raise UsageError(
                    "a pool's accounts are of one channel", hint=f"these are of {', '.join(sorted(channels))}"
                )
            now = context.clock.at(tx.database_now())
            return accounts.put_pool(tx, name, channels.pop(), [row["id"] for row in rows], now)

        pool_id = context.db.run(work)
    output.done(
        {"id": pool_id, "pool": name, "accounts": members}, f"pool {name}: {', '.join(members)}", as_json
    )


def add_to(cli: typer.Typer) -> None:
    """Register these commands."""
    cli.add_typer(account, name="account")
