"""The demo's people and accounts: a real directory and invented contacts, and what the simulator must know of them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product
from typing import Any

import httpx

from outreach.audience.importing import Order, run_import
from outreach.audience.samples import CONTACTS_SOURCE, DIRECTORY_SOURCE, sample_audience
from outreach.compliance import register
from outreach.compliance.facts import BasisKind
from outreach.engine.kinds import Channel
from outreach.ids import new_token
from outreach.limits.caps import Cap, parse_caps
from outreach.models import accounts, demo
from outreach.models.base import Tx
from outreach.runtime.context import Context
from outreach.runtime.credentials import sealed_account, sealed_app
from outreach.runtime.enroll import Senders

SEQUENCE = "demo-follow-dm-branch"
SEGMENT = "demo"
APP = "demo"
#: name -> may follow by itself (the platform permits it), or hands follows to a human
ACCOUNTS: Mapping[str, bool] = {"nova": True, "orbit": True, "pico": False}
CAPS = {
    "FOLLOW_ON_TWITTER": "12/hour; 150/day",
    "SEND_TWITTER_DM": "12/hour; 150/day",
    "UNFOLLOW_ON_TWITTER": "12/hour; 150/day",
}
_PROOF = "simulated: published project directory; nothing leaves this machine"
_ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Singapore", "America/Sao_Paulo")
#: How people behave: delays in business seconds.
_MIXTURE = {
    "follow_back": 0.45, "protected": 0.03, "dm_closed": 0.04, "follow_after": [600, 4 * 3600], "reply_after": [300, 9 * 3600],
    "auto_reply_after": [5, 90], "returns_after": [10 * 3600, 30 * 3600],
}  # fmt: skip

_TEXT = """
sequence: demo-follow-dm-branch
title: "Follow, write, branch on the reply (demo)"
window: {days: mon-sun, from: "07:00", until: "23:00", zone: lead}
variables: {symbol: your project}
start: follow
actions:
  follow:
    do: FOLLOW_ON_TWITTER
    next:
      - {on: FOLLOWED_BACK, to: hello}
      - {on: NOT_FOLLOWED_BACK, after: 5h, to: hello}
      - {on: FAILED, to: END}
  hello:
    do: SEND_TWITTER_DM
    message:
      variants:
        question: {weight: 50, body: "Hi, a question about {{ symbol }}: what is the hardest part right now? {{ opt_out }}"}
        offer: {weight: 50, body: "Hi, would an outside review of {{ symbol }} be of use? {{ opt_out }}"}
    next:
      - {on: NORMAL_EDGE, to: check}
      - {on: FAILED, to: END}
  check:
    do: CHECK_FOR_REPLY
    next:
      - {on: POSITIVE_REPLY, to: thanks}
      - {on: REPLIED, to: END}
      - {on: NOT_REPLIED, after: 10h, to: unfollow}
  thanks:
    do: SEND_TWITTER_DM
    message: "Glad to hear it! {{ sender_name }} will write to you about {{ symbol }} today."
    next: END
  unfollow:
    do: UNFOLLOW_ON_TWITTER
    next: [{on: FAILED, to: END}]
"""


def sequence_text() -> bytes:
    """The demo's sequence file."""
    return _TEXT.encode()


def witness_caps(caps: Mapping[str, str] = CAPS) -> dict[str, tuple[Cap, ...]]:
    """The accounts' caps, by the witness's words."""
    names = {"FOLLOW_ON_TWITTER": "follow", "UNFOLLOW_ON_TWITTER": "unfollow", "SEND_TWITTER_DM": "dm"}
    return {names[kind]: parse_caps(text) for kind, text in caps.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """Who takes part."""

    persons: int
    #: person -> how they may be written to: wrote_first, opted_in, neither
    stories: Mapping[int, str]


def make_audience(ctx: Context, leads: int, seed: int, now: datetime) -> Audience:
    """Import both files, freeze the first `leads` people with a Twitter handle, and give each a story by the seed."""
    with sample_audience() as sample:
        for path, source in ((sample.directory, DIRECTORY_SOURCE), (sample.contacts, CONTACTS_SOURCE)):
            order = Order(
                path=str(path), source=source, basis=BasisKind.LEGITIMATE_INTEREST.value, proof=_PROOF
            )
            run_import(ctx.db, order, pepper=ctx.settings.pepper, now=now)

    def work(tx: Tx) -> Audience:
        chosen = demo.people_to_enroll(tx, leads)
        demo.make_segment(tx, SEGMENT, [r["person_id"] for r in chosen], now)
        demo.spread_zones(tx, [r["person_id"] for r in chosen], _ZONES)
        stories = {r["person_id"]: _story(seed, r["person_id"]) for r in chosen}
        grants = [_opt_in(r["identity_id"], now) for r in chosen if stories[r["person_id"]] == "opted_in"]
        register.record_consents(tx, grants, now=now)
        return Audience(persons=len(chosen), stories=stories)

    return ctx.db.run(work)


def _story(seed: int, person_id: int) -> str:
    byte = hashlib.sha256(f"{seed}:{person_id}".encode()).digest()[0]
    return ("wrote_first", "opted_in", "neither")[0 if byte < 90 else 1 if byte < 230 else 2]


def _opt_in(identity_id: int, now: datetime) -> register.Grant:
    return register.Grant(
        identity_id=identity_id, channel=Channel.TWITTER, basis=BasisKind.OPT_IN, source="simulated form", obtained_at=now - timedelta(days=1),
        proof="simulated: nobody filled in a form; demo only",
    )  # fmt: skip


def make_accounts(
    ctx: Context, base_url: str, now: datetime, caps: Mapping[str, str] = CAPS
) -> tuple[dict[str, int], str]:
    """The accounts, pointing at the simulator; their ids, and the app's secret."""
    secret = new_token(18)

    def work(tx: Tx) -> dict[str, int]:
        app: dict[str, Any] = {
            "name": APP,
            "channel": "twitter",
            "client_id": "sim-client",
            "client_secret": None,
            "consumer_secret": secret,
            "caps": {},
            "now": now,
        }
        app_id = accounts.put_app(tx, sealed_app(ctx.vault, app))
        made = {
            name: accounts.insert(
                tx, sealed_account(ctx.vault, _account(name, permitted, app_id, base_url, now, caps))
            )
            for name, permitted in ACCOUNTS.items()
        }
        for account_id in made.values():
            # The simulated human taps as tirelessly as software would: the accounts' own caps are what binds.
            accounts.set_task_caps(tx, account_id, dict.fromkeys(caps, "none"))
        return made

    return ctx.db.run(work), secret


def _account(
    name: str, permitted: bool, app_id: int, base_url: str, now: datetime, caps: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "app_id": app_id, "name": name, "channel": "twitter", "external_id": external_id(name), "handle": name, "base_url": base_url,
        "access_token": f"demo-{name}", "refresh_token": f"demo-refresh-{name}", "zone": "UTC", "caps": dict(caps),
        "pace": dict.fromkeys(CAPS, 10), "follow_permitted": permitted, "dm_mode": "opt_in",
        "mode_reason": "simulated opt-ins from a simulated form; demo only", "now": now,
    }  # fmt: skip


def external_id(name: str) -> str:
    """An account's id at the simulator."""
    return str(9_000_000 + sum(name.encode()))


def world(ctx: Context, audience: Audience, account_ids: Mapping[str, int], secret: str) -> dict[str, Any]:
    """The simulator's world: the same people by their handles; who wrote first did so to the account that will speak to them."""
    senders = Senders(by_channel={"twitter": sorted(account_ids.values())})
    name_of = {i: name for name, i in account_ids.items()}
    rows = ctx.db.run(lambda tx: demo.handles_of_segment(tx, SEGMENT))
    return {
        "app": {"client_id": "sim-client", "consumer_secret": secret, "bearer_token": f"bearer-{secret}"},
        "accounts": [
            {
                "handle": n,
                "id": external_id(n),
                "access_token": f"demo-{n}",
                "refresh_token": f"demo-refresh-{n}",
                "follow_permitted": permitted,
            }
            for n, permitted in ACCOUNTS.items()
        ],
        "people": [
            _person(row, audience, name_of[senders.choose("twitter", row["person_id"])]) for row in rows
        ],
        "mixture": _MIXTURE,
    }


def _person(row: Mapping[str, Any], audience: Audience, account: str) -> dict[str, Any]:
    person: dict[str, Any] = {"handle": row["handle"]}
    if row["external_id"]:
        person["id"] = row["external_id"]
    if audience.stories[row["person_id"]] == "wrote_first":
        person["wrote_first"] = {
            "text": "Hello, I found you through the directory.",
            "after_s": 0.1,
            "to": account,
        }
    return person


def subscribe(simulator_url: str, web_url: str, app: str, accounts: Sequence[str], bearer: str) -> None:
    """Register the app's webhook (the simulator asks the web process for the challenge), and subscribe every account to its events."""
    kinds = ("dm.received", "dm.sent", "follow.follow", "follow.unfollow", "oauth.revoke")
    headers = {"authorization": f"Bearer {bearer}"}
    with httpx.Client(base_url=simulator_url, headers=headers, trust_env=False) as client:
        hook = client.post(
            "/2/webhooks", json={"url": f"{web_url}/webhooks/twitter/{app}"}
        ).raise_for_status()
        for name, kind in product(accounts, kinds):
            wish = {"event_type": kind, "filter": {"user_id": external_id(name)}}
            made = client.post(
                "/2/activity/subscriptions", json={**wish, "webhook_id": hook.json()["data"]["id"]}
            )
            made.raise_for_status()
