"""Who takes part in the main job's benchmark: invented people, 16 accounts, two sequences, and the simulator's world."""

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from outreach.audience.importing import Order, run_import
from outreach.compliance import register
from outreach.compliance.facts import BasisKind
from outreach.engine.kinds import Channel
from outreach.models import accounts, demo
from outreach.models.base import Tx
from outreach.runtime.context import Context
from outreach.runtime.credentials import sealed_account, sealed_app
from outreach.runtime.publish import publish

ACCOUNTS = 16
#: Leads of the second sequence: they answer one at a time, while the workers have nothing else to do.
IDLERS = 100
APP, BULK, IDLE = "bench", "bench-main", "bench-idle"
_KINDS = ("FOLLOW_ON_TWITTER", "UNFOLLOW_ON_TWITTER", "SEND_TWITTER_DM")
_SECRET = "bench-consumer-secret"  # noqa: S105  a simulated one
#: Business seconds (the clock runs in real time). Replies come well before the deadline of silence.
SILENCE = 3
_REPLIES = {"positive": 0.3, "silent": 0.7}
_REPLY_AFTER = [0.2, 1.0]

_MAIN = f"""
sequence: {BULK}
start: follow
actions:
  follow:
    do: FOLLOW_ON_TWITTER
    next: [{{on: NORMAL_EDGE, after: 0s, to: hello}}]
  hello:
    do: SEND_TWITTER_DM
    message: "Hi {{{{ name }}}}, a question: what is the hardest part right now? {{{{ opt_out }}}}"
    next: [{{on: NORMAL_EDGE, to: check}}]
  check:
    do: CHECK_FOR_REPLY
    next:
      - {{on: REPLIED, to: thanks}}
      - {{on: NOT_REPLIED, after: {SILENCE}s, to: unfollow}}
  thanks:
    do: SEND_TWITTER_DM
    message: "Thank you! I will write to you today."
    next: END
  unfollow:
    do: UNFOLLOW_ON_TWITTER
    next: END
variables: {{name: there}}
"""

_IDLE = f"""
sequence: {IDLE}
start: hello
actions:
  hello:
    do: SEND_TWITTER_DM
    message: "Hi, a question: what is the hardest part right now? {{{{ opt_out }}}}"
    next: [{{on: NORMAL_EDGE, to: check}}]
  check:
    do: CHECK_FOR_REPLY
    next:
      - {{on: REPLIED, to: thanks}}
      - {{on: NOT_REPLIED, after: 9d, to: END}}
  thanks:
    do: SEND_TWITTER_DM
    message: "Thank you! I will write to you today."
    next: END
"""


def account_name(number: int) -> str:
    """bench00 to bench15."""
    return f"bench{number:02}"


def account_id(number: int) -> str:
    """The account's id at the simulator."""
    return str(8_000_000 + number)


def person_id(number: int) -> str:
    """A person's id at the simulator."""
    return str(9_100_000_000 + number)


def make(ctx: Context, folder: Path, base_url: str, leads: int) -> None:
    """People with a recorded opt-in, two segments, accounts with room for 1,000 an hour, both sequences published."""
    now = ctx.clock.now()
    run_import(
        ctx.db,
        Order(path=str(_csv(folder, leads + IDLERS)), source="bench", basis=None, proof=None),
        pepper=ctx.settings.pepper,
        now=now,
    )

    def work(tx: Tx) -> None:
        chosen = sorted(demo.people_to_enroll(tx, leads + IDLERS), key=lambda r: r["person_id"])
        people = [r["person_id"] for r in chosen]
        demo.make_segment(tx, BULK, people[:leads], now)
        demo.make_segment(tx, IDLE, people[leads:], now)
        grants = [
            register.Grant(
                identity_id=r["identity_id"], channel=Channel.TWITTER, basis=BasisKind.OPT_IN, source="bench",
                obtained_at=now - timedelta(days=1), proof="invented people of a benchmark",
            )
            for r in chosen
        ]  # fmt: skip
        register.record_consents(tx, grants, now=now)
        app = {
            "name": APP, "channel": "twitter", "client_id": "sim-client", "client_secret": None, "consumer_secret": _SECRET,
            "caps": dict.fromkeys(_KINDS, "none"), "now": now,
        }  # fmt: skip
        app_id = accounts.put_app(tx, sealed_app(ctx.vault, app))
        for number in range(ACCOUNTS):
            accounts.insert(tx, sealed_account(ctx.vault, _account(number, app_id, base_url) | {"now": now}))

    ctx.db.run(work)
    for text in (_MAIN, _IDLE):
        published = publish(ctx, text.encode(), "bench.yaml", by="bench")
        if isinstance(published, list):
            raise SystemExit("; ".join(str(p) for p in published))


def _csv(folder: Path, count: int) -> Path:
    path = folder / "people.csv"
    rows = [f"Person {n},@bench_{n},{person_id(n)},UTC,true" for n in range(count)]
    path.write_text("\n".join(["name,twitter,twitter_id,zone,invented", *rows]) + "\n", encoding="utf-8")
    return path


def _account(number: int, app_id: int, base_url: str) -> dict[str, Any]:
    name = account_name(number)
    return {
        "app_id": app_id, "name": name, "channel": "twitter", "external_id": account_id(number), "handle": name, "base_url": base_url,
        "access_token": f"token-{name}", "refresh_token": None, "zone": "UTC", "caps": dict.fromkeys(_KINDS, "1000/hour"),
        "pace": dict.fromkeys(_KINDS, 0), "follow_permitted": True, "dm_mode": "opt_in", "mode_reason": "invented opt-ins of a benchmark",
    }  # fmt: skip


def write_world(folder: Path, leads: int) -> Path:
    """The same people and accounts, as the simulator wants them."""
    world: Mapping[str, Any] = {
        "app": {"client_id": "sim-client", "consumer_secret": _SECRET, "bearer_token": f"bearer-{_SECRET}"},
        "accounts": [
            {"handle": account_name(n), "id": account_id(n), "access_token": f"token-{account_name(n)}", "follow_permitted": True}
            for n in range(ACCOUNTS)
        ],
        "people": [
            {"handle": f"bench_{n}", "id": person_id(n)} | ({"persona": "silent"} if n >= leads else {})
            for n in range(leads + IDLERS)
        ],
        "mixture": {
            "follow_back": 0, "protected": 0, "dm_closed": 0, "answers_again": 0, "replies": _REPLIES, "reply_after": _REPLY_AFTER,
        },
        "rate_limit_overrides": {"dm.send": {"user_day": 10**6, "app_day": 10**6}, "dm.read": {"user": 10**6}},
    }  # fmt: skip
    path = folder / "world.json"
    path.write_text(json.dumps(world), encoding="utf-8")
    return path


def bearer() -> str:
    """The app's own token."""
    return f"bearer-{_SECRET}"
