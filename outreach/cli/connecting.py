"""Accounts and their owners: connected in the browser, examined, given back."""

import sys
import threading
import webbrowser
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outreach.cli import output
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
    app_secrets,
    require_known,
    values_of,
)
from outreach.cli.output import AsJson, note, say
from outreach.cli.session import opened, operator
from outreach.errors import OutreachError, UsageError

if TYPE_CHECKING:
    from outreach.app import App
    from outreach.runtime.authorize import Begun, NotConnected, Wanted
    from outreach.runtime.connect import Connected
    from outreach.runtime.examine import Examined

#: X compares callback URLs exactly, port and all: this one stands in the app's settings.
PORT = 8451
#: Real seconds between two looks at what the web process has done.
_EVERY = 1.0


def connect(
    ctx: typer.Context,
    channel: Channel,
    name: Name,
    app_name: Annotated[str, typer.Option("--app", help="Of a new account: the developer app behind it. Its id and secrets: OUTREACH_CLIENT_ID and its like.")] = "",
    handle: Annotated[str, typer.Option(help="Of a new account: who it must be; else whoever lets us in.")] = "",
    external_id: Annotated[str, typer.Option(help="The same, by the id at the provider.")] = "",
    base_url: BaseUrl = X_API,
    zone: Zone = "UTC",
    follow_permitted: FollowPermitted = False,
    dm_mode: DmMode = "inbound_first",
    reason: ModeReason = "",
    caps: Caps = None,
    pace: Pace = None,
    via_web: Annotated[bool, typer.Option("--via-web", help="Come back to the web process (OUTREACH_PUBLIC_URL) instead of this machine.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Of this machine, for the way back.")] = PORT,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page here; it is printed in any case.")] = True,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="With --via-web: until the owner has answered.")] = True,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Let an account in by its owner's own word, in the browser; or renew the tokens of one that is here."""
    from outreach.runtime.authorize import Wanted

    require_known(channel, dm_mode, follow_permitted, reason, zone)
    values = values_of(base_url=base_url, zone=zone, caps=caps, pace=pace, follow_permitted=follow_permitted, dm_mode=dm_mode, reason=reason)  # fmt: skip
    wanted = Wanted(
        channel=channel, name=name, redirect_uri="", app_name=app_name, secrets=app_secrets(), external_id=external_id, handle=handle,
        values=values,
    )  # fmt: skip
    with opened(ctx) as app:
        if via_web:
            _by_the_web(app, wanted, browser=browser, wait=wait, as_json=as_json)
        else:
            _by_this_machine(app, wanted, port, browser=browser, as_json=as_json)


def _by_this_machine(app: "App", wanted: "Wanted", port: int, *, browser: bool, as_json: bool) -> None:
    from dataclasses import replace

    from outreach.cli.loopback import Callback
    from outreach.runtime.authorize import CALLBACK, GOOD_FOR_SECONDS, NotConnected, begin
    from outreach.runtime.connect import connect as connected
    from outreach.web.optout import html

    def finish(said: dict[str, str]) -> "tuple[Connected | NotConnected | None, bytes, int]":
        answer = connected(app.context, said.get("state", ""), said.get("code"), said.get("error"))
        if not isinstance(answer, NotConnected):
            page = html(
                "Connected", f"{answer.name} is connected as @{answer.handle}. You can close this page."
            )
            return answer, bytes(page.body), 200
        page = html("Not connected", f"{answer.message}.")
        # Whoever brings a state that is not ours has nothing to do with this question.
        return (None if answer.reason == "unknown" else answer), bytes(page.body), 400

    callback: Callback[Connected | NotConnected] = Callback(port, CALLBACK.format(channel=wanted.channel))
    try:
        begun = begin(app.context, replace(wanted, redirect_uri=callback.url), by=operator())
        _invite(begun, callback.url, browser)
        answer = callback.wait(finish, GOOD_FOR_SECONDS)
    finally:
        callback.close()
    if answer is None:
        raise OutreachError("nobody came back from the provider within ten minutes", hint="begin anew")
    _say_connected(answer, as_json)


def _by_the_web(app: "App", wanted: "Wanted", *, browser: bool, wait: bool, as_json: bool) -> None:
    from dataclasses import replace

    from outreach.runtime.authorize import CALLBACK, begin

    place = app.settings.public_url.rstrip("/") + CALLBACK.format(channel=wanted.channel)
    begun = begin(app.context, replace(wanted, redirect_uri=place), by=operator())
    _invite(begun, place, browser)
    if not wait:
        output.done(
            {"account": wanted.name, "authorization": begun.authorization_id, "expires_at": begun.expires_at, "url": begun.url},
            f"outreach account check {wanted.name} tells what came of it", as_json,
        )  # fmt: skip
        return
    row = _outcome(app, begun)
    if row["state"] != "connected":
        raise OutreachError(f"{wanted.name} is not connected: {row['detail'] or 'nobody came back in time'}", hint="begin anew")  # fmt: skip
    done = {"account": wanted.name, "id": row["account_id"], "connected_as": row["detail"]}
    output.done(done, f"{wanted.name} is connected as {row['detail']}; outreach account check {wanted.name} shows more", as_json)  # fmt: skip


def _outcome(app: "App", begun: "Begun") -> dict[str, Any]:
    """The question's row, once the web process has answered it or its time is over."""
    from outreach.models import authorizations

    while True:
        row = app.context.db.run(lambda tx: authorizations.read(tx, begun.authorization_id))
        assert row is not None
        over = app.context.clock.now() >= begun.expires_at + app.context.call_deadline
        if row["state"] in ("connected", "refused") or over:
            return row
        threading.Event().wait(_EVERY)


def _invite(begun: "Begun", place: str, browser: bool) -> None:
    if begun.renews:
        note("it is here already: only its tokens change, and only if they are its own")
    note("let the account in on this page, logged in as its owner:")
    note(f"  {begun.url}")
    note(f"it asks for {' '.join(begun.scopes)}, comes back to {place} (a callback URL in the app's settings), and is good for ten minutes")  # fmt: skip
    if browser and not webbrowser.open(begun.url):
        note("no browser could be opened here: open it by hand")


def _say_connected(answer: "Connected | NotConnected", as_json: bool) -> None:
    from outreach.runtime.authorize import NotConnected

    if isinstance(answer, NotConnected):
        raise OutreachError(f"not connected: {answer.message}")
    if answer.missing:
        note(f"the owner did not permit {', '.join(answer.missing)}: what needs it will be refused")
    if answer.state != "ok":
        note(f"its tokens are new, but it is still {answer.state}: {answer.state_reason}; outreach account resume {answer.name}")  # fmt: skip
    released = f"; {answer.released} leads go on as caps and pace allow" if answer.released else ""
    until = f", its first token until {output.shown(answer.expires_at)}" if answer.expires_at else ""
    sentence = f"{answer.name} is connected as @{answer.handle} ({answer.external_id}){until}{released}"
    output.done(output.plain(answer), sentence, as_json)


# --- check ----------------------------------------------------------------------------------------------------------------


def check(ctx: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Whose tokens these are, what they and the platform permit, label, credits, caps. Exits 1 where a human is needed."""
    from outreach.runtime.examine import examine

    with opened(ctx) as app:
        found = examine(app.context, name)
    if as_json:
        output.document({**output.plain(found), "fine": found.fine})
    else:
        _say_examined(found)
    if not found.fine:
        raise typer.Exit(OutreachError.exit_code)


def _say_examined(found: "Examined") -> None:
    who = f"@{found.me.handle} ({found.me.external_id})" if found.me else f"not asked: {found.not_asked}"
    state = found.state if found.reason is None else f"{found.state}: {found.reason}"
    app_state = found.app_state if found.app_reason is None else f"{found.app_state}: {found.app_reason}"
    output.facts(
        {
            "account": f"{found.name} ({found.channel}), here as @{found.handle or '?'} ({found.external_id})",
            "who_am_i": who,
            "state": state,
            "app": f"{found.app}, {app_state}",
            "token_until": found.token_expires_at or "not told",
            "scopes_granted": "not told" if found.granted is None else " ".join(found.granted),
            "scopes_missing": " ".join(found.missing) or "none known",
            "automated_label": found.automated_label,
            "credits": found.credits,
            "tier": found.tier,
        }
    )
    say("\nby itself")
    rows = [{**output.plain(one), "lacks": one.lacks, "by_itself": one.auto or "never"} for one in found.permitted]  # fmt: skip
    output.table(rows, ("kind", "by_itself", "otherwise", "rule", "lacks"))
    say("\ncaps")
    output.table(found.caps, ("scope", "kind", "cap", "used", "left", "next_free"))
    if found.state in ("needs_reauth", "disconnected"):
        note(f"outreach account connect {found.channel} {found.name}")
    elif not found.fine:
        note(f"outreach account resume {found.name}, once that is mended")


# --- disconnect -------------------------------------------------------------------------------------------------------------


def disconnect(
    ctx: typer.Context,
    name: Name,
    purge: Annotated[bool, typer.Option("--purge", help="Delete what was written by and to it, too: texts, never the ledger.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --purge: there is no way back.")] = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Give an account back: tokens revoked and forgotten, its leads wait, the history stays. Run again, it goes on where it was."""
    from outreach.runtime.disconnect import disconnect as disconnected
    from outreach.runtime.disconnect import purge as purged

    if purge and not yes:
        _confirm(name)
    with opened(ctx) as app:
        given_back = disconnected(app.context, name, by=operator())
        gone = purged(app.context, given_back.account_id) if purge else None
        app.hint(gone.hints if gone else [])
    if given_back.detail:
        note(f"its tokens could not be revoked there ({given_back.detail}): they are forgotten here; end the app's access in the platform's own settings")  # fmt: skip
    if gone and (gone.bodies_left or gone.messages_left):
        note(f"left: {gone.bodies_left} texts of calls that are in doubt, {gone.messages_left} messages nobody could read yet; run this again later")  # fmt: skip
    sentence = f"{name} is disconnected"
    if gone:
        sentence += f"; {gone.bodies} texts sent and {gone.messages} received are deleted, the ledger stays"
    values = {"account": name, "revoked": given_back.revoked, "detail": given_back.detail}
    if gone:
        values |= {key: getattr(gone, key) for key in ("bodies", "messages", "bodies_left", "messages_left")}
    output.done(values, sentence, as_json)


def _confirm(name: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError("a purge cannot be taken back", hint="say so with --yes")
    typer.confirm(f"Delete every text that {name} sent and received?", abort=True, err=True)
