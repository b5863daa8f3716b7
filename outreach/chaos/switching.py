"""The kill switch under fire: everything, one account, one sequence or one human stops while calls are under way, and goes on again."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from outreach.app import App
from outreach.models import judging, pausing
from outreach.models.base import Row, Tx
from outreach.rehearsal import world
from outreach.rehearsal.judge import KINDS
from outreach.runtime import control
from outreach.simulator.witness import Acceptance

_WHY, _BY = "the scenario wants it", "chaos"
#: More than ever are under way at once.
_MOST_CALLS = 1000
SCOPES = ("everything", "account", "sequence", "person")


@dataclass(slots=True, kw_only=True)
class Pause:
    """One turn of the switch. `named`: the account's name, the person's id."""

    scope: str
    named: str = ""
    person: int | None = None
    #: when it had returned, by the business clock, and how many real seconds that took
    at: datetime
    seconds: float
    #: executions that it said were under way
    calls: Sequence[int]
    until: datetime | None = None


def pause(app: App, scope: str, account: str, person: int | None) -> Pause | None:
    """Turn it off, as the command does. None: there is nobody to pause."""
    if scope == "person" and person is None:
        return None
    desk, began = app.context, time.monotonic()
    match scope:
        case "everything":
            control.pause_all(desk, _WHY, _BY)
        case "account":
            control.set_account(desk, account, _WHY, _BY)
        case "sequence":
            control.set_sequence(desk, world.SEQUENCE, "paused", _WHY, _BY)
        case _:
            assert person is not None
            control.pause_person(desk, person, _WHY, _BY)
    took, at = time.monotonic() - began, desk.clock.now()
    of = person if scope == "person" else None
    calls = desk.db.run(lambda tx: pausing.calls_under_way(tx, person=of, limit=_MOST_CALLS))
    named = {"account": account, "sequence": world.SEQUENCE}.get(scope, "")
    return Pause(
        scope=scope,
        named=named,
        person=of,
        at=at,
        seconds=took,
        calls=[call["execution_id"] for call in calls],
    )


def resume(app: App, one: Pause) -> None:
    """Turn it on again."""
    one.until = app.context.clock.now()
    match one.scope:
        case "everything":
            control.resume_all(app.context, _BY)
        case "account":
            control.set_account(app.context, one.named, None, _BY)
        case "sequence":
            control.set_sequence(app.context, one.named, "active", None, _BY)
        case _:
            assert one.person is not None
            app.hint(control.unpause_person(app.context, one.person, _BY))


def sent_despite(app: App, pauses: Sequence[Pause], acceptances: Iterable[Acceptance]) -> int:
    """What the provider accepted by the API in a pause, in its scope, and no call that was under way explains."""
    if not pauses:
        return 0
    ledger = {row["id"]: row for row in app.context.db.run(judging.ledger)}
    of_person = app.context.db.run(_recipients)
    accounts = {
        row["name"]: row["external_id"]
        for row in app.context.db.read("SELECT name, external_id FROM account")
    }
    seen = [a for a in acceptances if a.by == "api"]
    return sum(_despite(one, seen, ledger, accounts, of_person) for one in pauses)


def _despite(
    one: Pause,
    seen: Iterable[Acceptance],
    ledger: Mapping[int, Row],
    accounts: Mapping[str, str],
    of_person: Mapping[int, set[str]],
) -> int:
    def is_meant(a: Acceptance) -> bool:
        if not (one.at < a.t_scaled and (one.until is None or a.t_scaled <= one.until)):
            return False
        if one.scope == "account":
            return a.account == accounts[one.named]
        return one.person is None or a.recipient in of_person.get(one.person, set())

    rows = [ledger[execution_id] for execution_id in one.calls]
    explained = Counter((row["account"], row["recipient"], KINDS[row["kind"]]) for row in rows)
    found = Counter((a.account, a.recipient, a.kind) for a in seen if is_meant(a))
    return sum(max(0, n - explained[effect]) for effect, n in found.items())


def _recipients(tx: Tx) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for row in tx.rows("SELECT person_id, value FROM identity WHERE kind = 'twitter_id'"):
        found.setdefault(row["person_id"], set()).add(row["value"])
    return found


def slowest(pauses: Iterable[Pause]) -> dict[str, float]:
    """Real seconds until the slowest pause of each scope was binding."""
    found: dict[str, float] = {}
    for one in pauses:
        found[one.scope] = round(max(found.get(one.scope, 0.0), one.seconds), 3)
    return found
