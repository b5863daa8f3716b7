"""deliver: notices go out by their URLs, one attempt at a time and in their order; what is not taken waits in its row."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from outreach.audience.aliases import alias
from outreach.engine.kinds import ReplyClass
from outreach.models import instance, notices
from outreach.models.base import Row, Tx
from outreach.models.instance import Instance
from outreach.outbound import Failed
from outreach.providers.http import Answer
from outreach.runtime import hints
from outreach.runtime.alerting import ALERT
from outreach.runtime.context import Context
from outreach.runtime.hints import Hints

REPLY = "reply"
#: At most so many in one pass, so that a process that dies in it holds up few.
_MOST = 10
#: Real seconds: of one attempt, of the first pause, of the longest one, and after which nobody tries any more.
_DEADLINE, _FIRST, _LONGEST, _GIVE_UP = 5.0, 15.0, 3600.0, 86_400.0
_KEEP = timedelta(days=30)
#: Characters of a reply that a notice shows, where it may show any.
_SHOWN = 300


@dataclass(frozen=True, slots=True)
class _Claimed:
    """Notices of one kind that are ours to deliver, with their texts."""

    url: str
    rows: Sequence[Row]
    texts: Sequence[str]


def put_reply(tx: Tx, *, inbound_id: int, person_id: int, reply_class: ReplyClass, now: datetime) -> None:
    """A reply is to be told: written with the reply itself."""
    payload = {"inbound_id": inbound_id, "person_id": person_id, "class": reply_class.value}
    notices.put(tx, REPLY, f"reply:{inbound_id}", payload, now)


def urls(ctx: Context) -> Mapping[str, str]:
    """Kind -> where it is told, of those that are told at all."""
    both = {ALERT: ctx.settings.alert_url, REPLY: ctx.settings.notify_url}
    return {kind: url for kind, url in both.items() if url}


def deliver(ctx: Context) -> Hints:
    """One pass over what is due. A URL that is down costs one attempt per pass, and its notices wait: at least once, never lost for a day."""
    more = [_deliver(ctx, kind, url) for kind, url in urls(ctx).items()]
    return [hints.deliver()] if any(more) else []


def _deliver(ctx: Context, kind: str, url: str) -> bool:
    """True: all went, and there may be more."""
    claimed = ctx.db.run(lambda tx: _claim(ctx, tx, kind, url))
    done: list[int] = []
    why: str | None = None
    for row, text in zip(claimed.rows, claimed.texts, strict=True):
        why = _post(ctx, url, text)
        if why is not None:
            break
        done.append(row["id"])
    if claimed.rows:
        ctx.db.run(lambda tx: _settle(ctx, tx, claimed, done, why))
    return why is None and len(claimed.rows) == _MOST


def _claim(ctx: Context, tx: Tx, kind: str, url: str) -> _Claimed:
    now = ctx.clock.at(tx.database_now())
    # Longer than the whole pass can take: while it lasts nobody else delivers this kind.
    lease = now + ctx.machine(_MOST * 2 * _DEADLINE + 30)
    rows = notices.claim(tx, kind, now=now, lease=lease, limit=_MOST)
    here = instance.read(tx) if rows else None
    return _Claimed(url, rows, [_text(ctx, tx, here, row) for row in rows if here is not None])


def _post(ctx: Context, url: str, text: str) -> str | None:
    """None: it was taken; else why not."""
    answer = ctx.outbound.call("POST", url, body={"text": text}, deadline_seconds=_DEADLINE)
    if isinstance(answer, Failed):
        return answer.reason
    return None if answer.ok else _refusal(answer)


def _refusal(answer: Answer) -> str:
    hint = " (a redirect, which is not followed)" if 300 <= answer.status < 400 else ""
    return f"it answered {answer.status}{hint}"


def _settle(ctx: Context, tx: Tx, claimed: _Claimed, done: Sequence[int], why: str | None) -> None:
    now = ctx.clock.at(tx.database_now())
    notices.delivered(tx, done, now)
    notices.forget(tx, now - _KEEP)
    if why is None:
        return
    failed, rest = claimed.rows[len(done)], claimed.rows[len(done) + 1 :]
    pause = min(_LONGEST, _FIRST * 2.0 ** min(failed["attempts"], 16))
    notices.put_off(tx, failed["id"], why, now + ctx.machine(pause))
    notices.give_back(tx, [row["id"] for row in rest], now)
    reason = f"not delivered within a day: {why}"
    notices.give_up(tx, failed["kind"], reason, before=now - ctx.machine(_GIVE_UP), now=now)


def try_out(ctx: Context) -> Mapping[str, str | None]:
    """A line by every URL that is set, now: its variable -> None where it was taken, else why not. Nothing is kept or repeated."""
    here = ctx.db.run(instance.read)
    text = f"[{here.mode} · {_plain(here.name)}] This is a test: whoever reads it is told."
    settings = ctx.settings
    found = {
        name: _post(ctx, url, text)
        for name, url in (("NOTIFY_URL", settings.notify_url), ("ALERT_URL", settings.alert_url))
        if url
    }
    if settings.heartbeat_url:
        answer = ctx.outbound.call("GET", settings.heartbeat_url, deadline_seconds=_DEADLINE)
        why = answer.reason if isinstance(answer, Failed) else None if answer.ok else _refusal(answer)
        found["HEARTBEAT_URL"] = why
    return found


# --- what they say -----------------------------------------------------------------------------------------------


def _text(ctx: Context, tx: Tx, here: Instance, row: Row) -> str:
    say: Callable[[Context, Tx, Mapping[str, Any]], str] = (
        _alert_text if row["kind"] == ALERT else _reply_text
    )
    return f"[{here.mode} · {_plain(here.name)}] {say(ctx, tx, row['payload'])}"


_MARKS = {"begins": "ALERT", "goes on": "STILL", "is over": "OVER"}


def _alert_text(ctx: Context, tx: Tx, payload: Mapping[str, Any]) -> str:  # noqa: ARG001  one shape for both
    since = datetime.fromisoformat(payload["since"])
    dated = "" if payload["phase"] == "begins" else f" (since {since:%Y-%m-%d %H:%M} UTC)"
    return f"{_MARKS[payload['phase']]} {payload['alert']}: {_plain(payload['detail'])}{dated} · docs/runbook.md#{payload['alert']}"


def _reply_text(ctx: Context, tx: Tx, payload: Mapping[str, Any]) -> str:
    who, found = alias(payload["person_id"]), notices.reply(tx, payload["inbound_id"])
    if found is None:
        return f"{who} wrote: {payload['class']} · outreach why {who}"
    where = " · ".join(
        _plain(word) for word in (found["sequence"], f"to {found['account']} on {found['channel']}") if word
    )
    link = conversation_link(found["channel"], found["account_key"], found["peer"])
    words = (
        f"\n> {_plain(' '.join(found['text'].split())[:_SHOWN])}"
        if ctx.settings.notify_body and found["text"]
        else ""
    )
    lines = [
        f"{who} wrote: {payload['class']} · {where}{words}",
        f"outreach why {who}",
        *([link] if link else []),
    ]
    return "\n".join(lines)


def conversation_link(channel: str, account_key: str, peer: str) -> str | None:
    """Where one who may log in as the account reads the whole conversation."""
    if channel == "linkedin":
        return "https://www.linkedin.com/messaging/"
    if channel != "twitter" or not (account_key.isdigit() and peer.isdigit()):
        return None
    low, high = sorted((account_key, peer), key=int)
    return f"https://x.com/messages/{low}-{high}"


def _plain(text: str) -> str:
    """As Slack wants text that is data: `<!channel>` of somebody's name calls nobody."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
