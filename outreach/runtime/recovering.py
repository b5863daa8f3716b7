"""recover: an adopted database reads what its backup does not know; once nothing is left to read, sends go on."""

from typing import Any

from outreach.engine.events import EventKind
from outreach.models import accounts, adoptions, events, instance, journal
from outreach.models.base import Row, Tx
from outreach.runtime import hints
from outreach.runtime.context import Context
from outreach.runtime.erase import erase
from outreach.runtime.hints import Hints
from outreach.runtime.lost import settle_follow

#: Persons erased again in one pass.
_MOST_ERASED = 500
#: Leads planned in one pass.
_MOST_PLANNED = 2000


def recover(ctx: Context) -> Hints:
    """One pass: erase again whom the journal names, ask for what is unread, or let sends go on."""
    adoption = ctx.db.run(_adoption)
    if adoption is None:
        return []
    for person_id in adoption["to_erase"][:_MOST_ERASED]:
        if erase(ctx, person_id, by="journal", replayed=True):
            ctx.db.run(lambda tx, who=person_id: adoptions.note_erased(tx, adoption["id"], who))  # type: ignore[misc]
    ctx.db.run(adoptions.point_follows)
    settled = ctx.db.run(lambda tx: adoptions.followed_already(tx, adoption["at"]))
    found = [hint for execution_id in settled for hint in settle_follow(ctx, execution_id)]
    return [*found, *ctx.db.run(lambda tx: _go_on(ctx, tx))]


def _adoption(tx: Tx) -> Row | None:
    return adoptions.newest(tx) if instance.read(tx).recovering_since is not None else None


def _go_on(ctx: Context, tx: Tx) -> Hints:
    now = ctx.clock.at(tx.database_now())
    adoption = _adoption(tx)
    if adoption is None:
        return []
    adoptions.point_follows(tx)
    adoptions.want_follows(tx, adoption["at"], now)
    waits = adoptions.waits_for(tx, adoption["id"], channels=list(ctx.providers))
    if adoptions.followed_already(tx, adoption["at"]):
        return [hints.recover()]
    found = [hints.advance(lead_id) for lead_id in adoptions.unplanned(tx, now, _MOST_PLANNED)]
    found += [hints.resolve(account_id) for account_id in adoptions.unresolved_accounts(tx)]
    planned = not found
    found += [hints.check_for_reply(row["id"]) for row in waits["unread"]]
    found += [hints.look_up(row["id"]) for row in waits["unlooked"]]
    if planned and nothing_left(waits):
        _release(tx, adoption["id"], "engine", ctx)
    return found


def nothing_left(waits: Row) -> bool:
    """Is everything read, settled, replayed and erased?"""
    return bool(
        waits["replayed"]
        and not any(waits[name] for name in ("unread", "unlooked", "open_calls", "to_erase", "echoes"))
    )


def release(ctx: Context, reason: str, by: str) -> None:
    """Somebody lets sends go on although not everything could be read; they say why."""

    def work(tx: Tx) -> None:
        adoption = _adoption(tx)
        if adoption is not None:
            _release(tx, adoption["id"], by, ctx, reason=reason)

    ctx.db.run(work)


def _release(tx: Tx, adoption_id: int, by: str, ctx: Context, reason: str | None = None) -> None:
    now = ctx.clock.at(tx.database_now())
    adoptions.cancel_left_over(tx, now)
    adoptions.release(tx, adoption_id, by, now)
    accounts.release_leads(tx, now=now, reasons=("pause",))
    payload = {"adoption": adoption_id} | ({"reason": reason} if reason else {})
    events.append(tx, [events.Event(kind=EventKind.INSTANCE_RELEASED, at=now, actor=by, payload=payload)])


# --- for people ------------------------------------------------------------------------------------------------------


def database_standing(ctx: Context) -> dict[str, Any]:
    """Does this database send? Else why not, and what it waits for."""

    def work(tx: Tx) -> dict[str, Any]:
        here, adoption = instance.read(tx), adoptions.newest(tx)
        recovering = here.recovering_since is not None and adoption is not None
        waits = (
            adoptions.waits_for(tx, adoption["id"], channels=list(ctx.providers))
            if recovering and adoption
            else None
        )
        return {
            "sends": _sends(here),
            "instance": f"{here.mode} · {here.name}",
            "home": here.cluster,
            "here": instance.cluster_here(tx) or "unknown: this role may not ask (pg_control_system)",
            "foreign": here.foreign_reason,
            "journal": _journal(ctx, journal.standing(tx)),
            "adoption": {name: adoption[name] for name in _SHOWN} if adoption else None,
            "waits_for": what_is_left(waits) if waits else [],
        }

    return ctx.db.run(work)


_SHOWN = ("at", "by", "reason", "found", "backup_at", "replayed_at", "replayed", "released_at", "released_by")


def _sends(here: instance.Instance) -> str:
    if here.foreign_since is not None:
        return "no: it was restored or cloned; outreach db adopt"
    if here.recovering_since is not None:
        return "not yet: what its backup does not know is being read"
    return "no: everything is paused" if here.paused_at is not None else "yes"


def _journal(ctx: Context, standing: Row) -> str:
    waits = (
        f"{standing['waiting']} lines wait since {standing['oldest']:%Y-%m-%d %H:%M} UTC"
        if standing["waiting"]
        else "no line waits"
    )
    if ctx.settings.journal_url is None:
        return f"kept nowhere outside (OUTREACH_JOURNAL_URL); {waits}"
    last = f"line {standing['last']} is outside" if standing["last"] else "nothing is outside yet"
    why = f"; the last attempt failed: {standing['reason']}" if standing["reason"] else ""
    return f"{last}; {waits}{why}"


def what_is_left(waits: Row) -> list[dict[str, str]]:
    """What still stands before the sends, a line each."""
    left = (
        []
        if waits["replayed"]
        else [{"what": "the journal", "of": "", "why": "adopt was cut short: run it again"}]
    )
    if waits["to_erase"]:
        left.append(
            {"what": "erasures", "of": str(waits["to_erase"]), "why": "calls of theirs are still under way"}
        )
    if waits["open_calls"]:
        left.append(
            {
                "what": "calls",
                "of": str(waits["open_calls"]),
                "why": "open in the backup; the provider is asked",
            }
        )
    if waits["echoes"]:
        left.append(
            {
                "what": "own messages",
                "of": str(waits["echoes"]),
                "why": "told before it was adopted; they are read next",
            }
        )
    for row in waits["unread"]:
        read = f"read up to {row['read_up_to']:%Y-%m-%d %H:%M} UTC" if row["read_up_to"] else "never read"
        why = (
            row["failed"]
            or (row["state"] != "ok" and f"{row['state']}: {row['state_reason']}")
            or "its poll is on the way"
        )
        left.append({"what": "the inbox", "of": row["name"], "why": f"{read}; {why}"})
    left += [
        {
            "what": "follows",
            "of": f"{row['name']} ({row['follows']})",
            "why": "whether they were done is looked up",
        }
        for row in waits["unlooked"]
    ]
    return left
