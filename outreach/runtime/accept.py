"""accept: store what a provider pushed, raw, under the content's own id. Needs Postgres only; understanding comes later."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from outreach.compliance.optout import classify_reply
from outreach.models import accounts, deletions, inbound, peers
from outreach.models.base import Row, Tx
from outreach.providers.base import InboundItem, InboundKind
from outreach.runtime import hints
from outreach.runtime.context import Context
from outreach.runtime.hints import Hints

#: What the peer's id is called in the identity graph, by channel.
PEER_KINDS = {"twitter": "twitter_id", "linkedin": "linkedin_member", "xmtp": "evm_address", "email": "email"}


@dataclass(frozen=True, slots=True)
class Push:
    """What came in by one push, or by one page of a poll."""

    channel: str
    items: Sequence[InboundItem]
    via: str


def accept(ctx: Context, channel: str, items: Sequence[InboundItem], *, via: str = "webhook") -> Hints:
    """Store the items that are new; hints to digest them."""
    if not items:
        return []
    return ctx.together.do("accept", Push(channel, items, via), partial(_accept_all, ctx))


def _accept_all(ctx: Context, pushes: Sequence[Push]) -> list[Hints]:
    def work(tx: Tx) -> list[Row]:
        return store(ctx, tx, pushes, ctx.clock.at(tx.database_now()))

    new = {(row["channel"], row["account_key"], row["content_id"]): row for row in ctx.db.run(work)}
    keys = [[(p.channel, item.account_external_id, item.content_id) for item in p.items] for p in pushes]
    return [[hints.digest(new[key]["id"]) for key in mine if key in new] for mine in keys]


def store(ctx: Context, tx: Tx, pushes: Sequence[Push], now: datetime) -> list[Row]:
    """Store the items; the rows that are to be digested. An item for an account that we do not know is stored all the same."""
    keys = {(push.channel, item.account_external_id) for push in pushes for item in push.items}
    known = accounts.by_external_ids(tx, keys)
    rows = [
        _row(ctx, push.channel, item, known.get((push.channel, item.account_external_id)), push.via, now)
        for push in pushes
        for item in push.items
    ]
    digests = [digest for row in rows for digest in _digests(ctx, row)]
    erased, deleted = deletions.unwanted(tx, digests, [row["content_id"] for row in rows])
    rows = [_nameless(ctx, tx, row) if _is_erased(ctx, tx, row, erased) else row for row in rows]
    new = inbound.store(tx, [_wordless(row) if _is_deleted(row, deleted) else row for row in rows])
    return _without_known(tx, new, now)


def _is_deleted(row: dict[str, Any], deleted: set[tuple[str, str, str]]) -> bool:
    """Has somebody asked for this very message to be deleted before it came to us?"""
    return bool(deleted) and any(
        (row["channel"], account, row["content_id"]) in deleted for account in ("", row["account_key"])
    )


def _wordless(row: dict[str, Any]) -> dict[str, Any]:
    """That it came is kept, and how it reads, for it may be a stop; what it says is not."""
    is_reply = row["kind"] == InboundKind.MESSAGE_IN.value
    reply_class = classify_reply(row["text"] or "").reply_class.value if is_reply else None
    return row | {"text": None, "raw": {}, "gone": "deleted", "class": reply_class}


def _without_known(tx: Tx, new: Sequence[Row], now: datetime) -> list[Row]:
    """Most of our own messages only say what their send says, too.

    Where it is settled they are ticked off. Where its call is under way its T2 does that, or what it leaves the sweep does.
    """
    own = {row["id"]: row for row in new if row["kind"] == InboundKind.MESSAGE_OUT.value}
    about = inbound.about_own(tx, list(own)) if own else []
    told = [{**own[a["id"]], "person_id": a["person_id"], "now": now} for a in about if a["settled"]]
    inbound.tick_off(tx, told)
    known = {a["id"] for a in about if a["settled"] or a["under_way"]}
    return [row for row in new if row["id"] not in known]


def _digests(ctx: Context, row: dict[str, Any]) -> list[str]:
    """What the register would know the peer by, under any pepper: their id first."""
    handle = ("twitter_handle", row["peer_handle"])
    named = [(k, v) for k, v in ((row["peer_kind"], row["peer"]), handle) if v]
    return [digest for k, v in named for digest in ctx.peppers.digests(k, v)]


def _is_erased(ctx: Context, tx: Tx, row: dict[str, Any], erased: set[str]) -> bool:
    """A handle may have changed hands: whoever is known by their own id is somebody else."""
    digests = _digests(ctx, row)
    by_id = digests[: len(ctx.peppers.ids)]
    return not erased.isdisjoint(digests) and (
        not erased.isdisjoint(by_id) or peers.find(tx, row["peer_kind"], row["peer"]) is None
    )


def _nameless(ctx: Context, tx: Tx, row: dict[str, Any]) -> dict[str, Any]:
    """Somebody who was erased is heard of again: that it came is kept, who and what is not."""
    kept: dict[str, Any] = {"peer_kind": "", "peer": "", "peer_handle": "", "text": None, "raw": {}}
    head, _, rest = row["content_id"].partition(":")
    # The id of a message says nothing of anybody; what else there is, is called by both sides' ids.
    if row["kind"] not in _MESSAGES:
        kept["content_id"] = _known_as(tx, row, [f"{head}:{d}" for d in ctx.peppers.digests("content", rest)])
    return row | kept


def _known_as(tx: Tx, row: dict[str, Any], content_ids: Sequence[str]) -> str:
    """The one under which it is stored already, under whatever pepper; else the first."""
    if len(content_ids) == 1:
        return content_ids[0]
    stored = inbound.known_among(tx, [(row["channel"], row["account_key"], c) for c in content_ids])
    return next((c for _, _, c in stored), content_ids[0])


_MESSAGES = {InboundKind.MESSAGE_IN.value, InboundKind.MESSAGE_OUT.value, InboundKind.READ.value}


def _row(
    ctx: Context, channel: str, item: InboundItem, account_id: int | None, via: str, now: datetime
) -> dict[str, Any]:
    return {
        "channel": channel,
        "account_key": item.account_external_id,
        "content_id": item.content_id,
        "kind": item.kind.value,
        "account_id": account_id,
        "peer_kind": PEER_KINDS[channel] if item.peer else "",
        "peer": item.peer,
        "text": item.text or None,
        "peer_handle": item.peer_handle.lower(),
        "raw": dict(item.raw),
        "via": via,
        # A provider's clock may run ahead of ours; nothing happens in the future.
        "occurred_at": min(ctx.clock.business(item.occurred_at), now) if item.occurred_at else now,
        "received_at": now,
        "state": "stored",
        "class": None,
        "gone": None,
    }


def accept_unreadable(ctx: Context, channel: str, body_digest: str, size: int) -> None:
    """A verified push that we do not understand: kept in sight, once."""

    def work(tx: Tx) -> None:
        now = ctx.clock.at(tx.database_now())
        inbound.store(
            tx,
            [
                {
                    "channel": channel, "account_key": "", "content_id": f"unreadable:{body_digest}", "kind": "unreadable", "account_id": None,
                    "peer_kind": "", "peer": "", "peer_handle": "", "text": None, "raw": {"bytes": size}, "via": "webhook", "occurred_at": now,
                    "received_at": now, "state": "unreadable", "class": None, "gone": None,
                }
            ],
        )  # fmt: skip

    ctx.db.run(work)
