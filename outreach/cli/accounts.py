"""Accounts: added with their tokens from the environment or stdin, listed, paused, pooled."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outreach.cli import connecting, output
from outreach.cli.account_options import (
    X_API,
    BaseUrl,
    Caps,
    Channel,
    DmMode,
    FollowPermitted,
    ModeReason,
    Name,
    Pace,
    Zone,
    read_secrets,
    require_known,
    values_of,
)
from outreach.cli.output import AsJson, Reason, note
from outreach.cli.session import opened, operator
from outreach.errors import UsageError

if TYPE_CHECKING:
    from outreach.runtime.context import Context

account = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Accounts: who sends.")


@account.command()
def add(
    ctx: typer.Context,
    channel: Channel,
    name: Name,
    app_name: Annotated[str, typer.Option("--app", help="The developer app behind it; made if there is none.")],
    external_id: Annotated[str, typer.Option(help="The account's own id at the provider.")],
    handle: Annotated[str, typer.Option(help="How the account signs: {{ sender_name }}.")] = "",
    base_url: BaseUrl = X_API,
    zone: Zone = "UTC",
    follow_permitted: FollowPermitted = False,
    dm_mode: DmMode = "inbound_first",
    reason: ModeReason = "",
    caps: Caps = None,
    pace: Pace = None,
    tokens: Annotated[str, typer.Option(help="A JSON file with the secrets; - reads stdin.")] = "",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Add an account. Its secrets come from OUTREACH_ACCESS_TOKEN and its like, from --tokens, or from a prompt."""
    require_known(channel, dm_mode, follow_permitted, reason, zone)
    values: dict[str, Any] = {
        "name": name, "channel": channel, "external_id": external_id, "handle": handle or None,
        **values_of(base_url=base_url, zone=zone, caps=caps, pace=pace, follow_permitted=follow_permitted, dm_mode=dm_mode, reason=reason),
    }  # fmt: skip
    secrets = read_secrets(tokens)
    from outreach.runtime.credentials import require_own_key

    with opened(ctx) as app:
        require_own_key(app.context.vault, base_url)
        _require_owner(app.context, values, secrets)
        account_id = app.context.db.run(lambda tx: _add(app.context, tx, app_name, values, secrets))
    output.done({"id": account_id, "name": name}, f"added account {name} ({account_id})", as_json)


def _require_owner(context: "Context", values: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
    """Raises UsageError for a token that belongs to somebody else: it would write in their name."""
    from outreach.providers.base import AccountRef
    from outreach.providers.connecting import Me
    from outreach.runtime.examine import whose_token

    ref = AccountRef(
        id=0, external_id=values["external_id"], base_url=values["base_url"], access_token=secrets["access_token"]
    )  # fmt: skip
    answer = whose_token(context, values["channel"], ref)
    if isinstance(answer, Me):
        if answer.external_id != values["external_id"]:
            raise UsageError(
                f"the token belongs to @{answer.handle} ({answer.external_id}), not to {values['external_id']}; nothing is stored",
                hint="log in as the right account, or name this one by its own id",
            )
    else:
        note(f"whose token this is could not be asked ({answer.detail or answer.reason}); outreach account check {values['name']} asks again")  # fmt: skip


def _add(
    context: "Context", tx: Any, app_name: str, values: Mapping[str, Any], secrets: Mapping[str, str]
) -> int:
    from outreach.engine.events import EventKind
    from outreach.models import accounts, events
    from outreach.runtime.credentials import sealed_account, sealed_app

    now = context.clock.at(tx.database_now())
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
    account_id = accounts.insert(
        tx, sealed_account(context.vault, {**values, **mine, "app_id": accounts.put_app(tx, sealed_app(context.vault, app)), "now": now})
    )  # fmt: skip
    added = events.Event(kind=EventKind.ACCOUNT_ADDED, at=now, actor=operator(), account_id=account_id)
    events.append(tx, [added])
    return account_id


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
    name: Name,
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """It sends nothing until it is resumed."""
    from outreach.runtime.control import set_account

    with opened(ctx) as app:
        set_account(app.context, name, reason, operator())
    output.done({"account": name, "state": "paused"}, f"account {name} is paused: {reason}", as_json)


@account.command()
def resume(ctx: typer.Context, name: Name, as_json: AsJson = False) -> None:
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
    for command in (connecting.connect, connecting.check, connecting.disconnect):
        account.command()(command)
    cli.add_typer(account, name="account")
