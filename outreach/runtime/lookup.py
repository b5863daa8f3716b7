"""look_up: read how people stand to an account, batched; relationship edges need it after their deadline."""

from collections.abc import Sequence
from datetime import datetime

from outreach.engine.kinds import ActionKind, SignalKind
from outreach.models import accounts, adoptions, instance, leads, persons, tasks, watermarks
from outreach.models.base import Row, Tx
from outreach.providers.base import AccountRef, ReadFailed, Relationship
from outreach.runtime import hints
from outreach.runtime.context import Context
from outreach.runtime.credentials import account_ref, shut_out
from outreach.runtime.hints import Hints
from outreach.runtime.lost import settle_follow
from outreach.runtime.moving import go_on
from outreach.runtime.observing import observe
from outreach.vault import CannotOpen

#: X answers for at most so many ids at once.
_BATCH = 100


def look_up(ctx: Context, account_id: int) -> Hints:
    """One batch of the account's wanted relationships; leads that waited are hinted or go on."""
    try:
        asked = ctx.db.run(lambda tx: _wanted(ctx, tx, account_id))
    except CannotOpen:
        return shut_out(ctx, account_id)
    if asked is None:
        return []
    account, channel, wanted, began_at = asked
    answer = ctx.providers[channel].relationships(account, [w["value"] for w in wanted])
    if isinstance(answer, ReadFailed):
        return [hints.refresh(account_id)] if answer.reason == "unauthorised" else []
    by_peer = {r.peer: r for r in answer}
    found: Hints = []
    for row in wanted:
        relationship = by_peer.get(row["value"])
        if relationship is not None and relationship.follows_us:
            found += _followed_back(ctx, account_id, row, began_at)
    found += _done_by_hand(ctx, account_id, by_peer, wanted, began_at)
    found += _done_before(ctx, account_id, by_peer, wanted)
    # Only now: were the evidence there before the signals, a death in between would prove a silence that the look-up denies.
    ctx.db.run(lambda tx: _note(tx, account_id, wanted, by_peer, began_at))
    seen = [row["identity_id"] for row in wanted]
    return [*found, *ctx.db.run(lambda tx: _wake(ctx, tx, account_id, seen))]


def _wanted(ctx: Context, tx: Tx, account_id: int) -> tuple[AccountRef, str, list[Row], datetime] | None:
    account = accounts.hinted(tx, account_id)
    wanted = watermarks.wanted_relationships(tx, account_id, _BATCH)
    if account is None or not wanted or account["channel"] not in ctx.providers:
        return None
    return account_ref(ctx.vault, account), account["channel"], wanted, ctx.clock.at(tx.database_now())


def _note(
    tx: Tx, account_id: int, wanted: Sequence[Row], by_peer: dict[str, Relationship], began_at: datetime
) -> None:
    """Somebody who no longer exists does not follow us: the look-up has answered for them too."""
    rows = [
        (w["identity_id"], found.follows_us if found else False, found.we_follow if found else False)
        for w in wanted
        for found in [by_peer.get(w["value"])]
    ]
    watermarks.looked_up(tx, account_id, rows, began_at)


def _followed_back(ctx: Context, account_id: int, row: Row, at: datetime) -> Hints:
    """The look-up saw what no webhook told: it is a signal all the same, to every lead whose evidence the look-up is."""

    def work(tx: Tx) -> Hints:
        person = persons.lock_present(tx, row["person_id"])
        if person is None:
            return []
        found: Hints = []
        for lead_id in leads.bound_to(tx, person.id, account_id, row["identity_id"]):
            # A look-up of its own each: what an edge was taken on weeks ago says nothing of today.
            content = f"relationship:{account_id}:{row['identity_id']}:{at.isoformat()}"
            if leads.has_signal(tx, lead_id, SignalKind.FOLLOWED_BACK):
                continue
            leads.add_signal(tx, lead_id, SignalKind.FOLLOWED_BACK, content, at=at, now=at, inbound_id=None)
            lead = leads.read(tx, lead_id)
            found += go_on(ctx, tx, lead, ctx.clock.at(person.database_now))
            lead.write(tx)
        return found

    return ctx.db.run(work)


def _done_by_hand(
    ctx: Context, account_id: int, by_peer: dict[str, Relationship], wanted: Sequence[Row], at: datetime
) -> Hints:
    """Does it show what somebody has begun by hand and not answered for yet?"""
    in_hand = ctx.db.run(lambda tx: tasks.in_hand(tx, account_id, [row["identity_id"] for row in wanted]))
    peers = {row["identity_id"]: row["value"] for row in wanted}
    found: Hints = []
    for task in in_hand:
        relationship = by_peer.get(peers[task["identity_id"]])
        follows = task["kind"] == ActionKind.FOLLOW_ON_TWITTER.value
        if relationship is not None and relationship.we_follow is follows:
            found += observe(ctx, task["execution_id"], at)
    return found


def _done_before(
    ctx: Context, account_id: int, by_peer: dict[str, Relationship], wanted: Sequence[Row]
) -> Hints:
    """Adopted, a database may be about to follow those whom it has followed after its backup."""

    def work(tx: Tx) -> list[int]:
        if instance.read(tx).recovering_since is None:
            return []
        followed = [
            row["identity_id"]
            for row in wanted
            if (seen := by_peer.get(row["value"])) is not None and (seen.we_follow or seen.pending)
        ]
        return adoptions.planned_follows(tx, account_id, followed)

    return [hint for execution_id in ctx.db.run(work) for hint in settle_follow(ctx, execution_id)]


def _wake(ctx: Context, tx: Tx, account_id: int, identity_ids: Sequence[int]) -> Hints:
    now = ctx.clock.at(tx.database_now())
    more = watermarks.wanted_relationships(tx, account_id, 1)
    woken = watermarks.wake_looked_up(tx, account_id, identity_ids, now=now, lease=now + ctx.hint_lease)
    return [*map(hints.advance, woken), *([hints.look_up(account_id)] if more else [])]
