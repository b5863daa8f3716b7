"""What `outreach doctor` says of the log: whether it is sealed, and what this role could do to it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from outreach.cli.findings import Check, Health

if TYPE_CHECKING:
    from outreach.models.base import Database
    from outreach.models.roles import Standing

#: Real seconds. The tick seals once a minute; what has been final for so long and is under no seal shows that nobody does.
_MOST_UNSEALED = 600.0


def checks_of_log(db: "Database", clock: Any, *, live: bool) -> Iterator[Check]:
    """Two of them."""
    from outreach.models import roles

    yield _sealed(db, clock)
    yield _role(db.run(roles.standing), live=live)


def _sealed(db: "Database", clock: Any) -> Check:
    from outreach.models import sealing

    last, oldest = db.run(lambda tx: (sealing.newest_seal(tx), sealing.oldest_unsealed_at(tx)))
    waits = clock.real_seconds(clock.now() - oldest) if oldest else 0.0
    fine = waits <= _MOST_UNSEALED
    detail = f"{last.id} seals, head {last.head.hex()[:16]}..." if last else "nothing is sealed yet"
    if not fine:
        detail += f"; the oldest event that is under none is {waits / 60:.0f} minutes old"
    return Check(
        id="O041", title="the log's seals", health=Health.OK if fine else Health.WARN, detail=detail,
        mend="is a scheduler running, and a worker that serves the queue engine? outreach audit seal does it now, and says what is in the way",
    )  # fmt: skip


def _role(here: "Standing", *, live: bool) -> Check:
    if here.superuser:
        detail = f"{here.role} is a superuser: triggers keep the log from being changed, and it may drop them"
    elif here.owns:
        detail = f"{here.role} owns the log: triggers keep it from being changed, and it may drop them"
    elif here.may_change:
        detail = f"{here.role} does not own the log, and may change it, were it not for the triggers"
    else:
        detail = (
            f"{here.role} may add to the log, and neither change nor delete: by privilege, and by triggers"
        )
    held = not (here.superuser or here.owns or here.may_change)
    return Check(
        id="O042", title="the log's role", health=Health.WARN if live and not held else Health.OK, detail=detail,
        mend="outreach db roles --app ROLE makes a weaker one for the app (docs/deploy.md); seals show what was changed in any case",
    )  # fmt: skip
