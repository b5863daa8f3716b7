"""What `outreach doctor` asks Postgres: version, schema, clocks, connections, partitions, ticks, accounts, policy packs."""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from outreach.cli import connections
from outreach.cli.connections import Need
from outreach.cli.doctor_log import checks_of_log
from outreach.cli.findings import Check, Health
from outreach.cli.session import connected
from outreach.settings import Settings

if TYPE_CHECKING:
    from outreach.models.base import Database, Row
    from outreach.models.instance import Instance

#: Real seconds. A clock that differs by more breaks signatures; a sweep that is older has been missed twice.
_MOST_SKEW, _MOST_TICK_AGE = 2.0, 120.0


def checks_of_database(settings: Settings, wanted: Sequence[Need]) -> Iterator[Check]:
    """All of them, in the order of their numbers as far as one needs another."""
    from outreach.models import instance, reports

    with connected(settings) as db:
        before = time.monotonic()
        server = db.run(reports.server)
        took = time.monotonic() - before
        yield Check(
            id="O002",
            title="database",
            health=Health.OK,
            detail=f"Postgres {server['version']}, {server['bytes'] / 1024**2:.0f} MB",
        )
        yield _schema(db)
        yield _skew(server, took)
        yield _budget(server, wanted)
        yield _writable(server)
        yield _partitions(db.run(reports.has_stray_events))
        here = db.run(instance.read)
        yield _keys(settings, db)
        yield from _of_instance(settings, db, here)


def _schema(db: "Database") -> Check:
    from outreach.models.migrate import schema_state

    state = schema_state(db)
    if state.refusal is not None:
        health, detail, mend = Health.FAIL, state.refusal.message, state.refusal.hint or ""
    elif state.missing:
        health, detail, mend = Health.FAIL, f"lacks {', '.join(state.missing)}", "outreach migrate"
    elif state.note:
        health, detail, mend = (
            Health.WARN,
            state.note,
            "finish the deployment, or leave it so after a roll-back",
        )
    elif state.online:
        health, detail, mend = (
            Health.WARN,
            f"works, but lacks the indexes of {', '.join(state.online)}",
            "outreach migrate --online",
        )
    else:
        health, detail, mend = Health.OK, f"up to date ({state.release})", ""
    return Check(id="O003", title="schema", health=health, detail=detail, mend=mend or None)


def _skew(server: "Row", took: float) -> Check:
    here = datetime.now(UTC)  # noqa: TID251  this check compares this machine's own clock with the database's
    skew = abs((here - server["now"]).total_seconds())
    fine = skew <= _MOST_SKEW + took
    return Check(
        id="O006", title="clocks", health=Health.OK if fine else Health.WARN, detail=f"this machine and the database differ by {skew:.2f} s",
        mend="let a time service set this machine's clock: webhook signatures and call deadlines depend on it",
    )  # fmt: skip


def _budget(server: "Row", wanted: Sequence[Need]) -> Check:
    """What ours want at most against the tightest limit, less what others hold of it."""
    total = connections.postgres_total(wanted)
    limit = min(server["limits"], key=lambda limit: int(limit["most"]) - int(limit["others"]))
    room = limit["most"] - limit["others"]
    fine = total <= room
    held = f", others hold {limit['others']}" if limit["others"] else ""
    return Check(
        id="O007", title="connections", health=Health.OK if fine else Health.FAIL,
        detail=f"{total} at most ({connections.spelt(wanted, 'postgres')}); {limit['of']} allows {limit['most']}{held}, ours hold "
        f"{server['ours']} now; {connections.smallest(connections.POSTGRES_PLANS, total)}",
        mend="fewer processes, fewer OUTREACH_WORKER_THREADS, a smaller OUTREACH_POOL_SIZE, or a larger plan: docs/deploy.md adds it up",
    )  # fmt: skip


def _writable(server: "Row") -> Check:
    fine = not server["read_only"]
    return Check(
        id="O012", title="writing", health=Health.OK if fine else Health.FAIL,
        detail="this is a primary" if fine else "this database is a read-only replica",
        mend="point DATABASE_URL at the primary",
    )  # fmt: skip


def _keys(settings: Settings, db: "Database") -> Check:
    """Are the peppers and keys of this terminal those of the database?"""
    from outreach.peppers import Peppers
    from outreach.runtime.keyring import rings
    from outreach.vault import Vault

    found = db.run(lambda tx: rings(tx, Vault.of(settings.keys), Peppers.of(settings.pepper)))
    faults = [fault for ring in found if (fault := ring.fault()) is not None]
    held = "; ".join(f"{ring.kind} {', '.join(ring.ids)}" for ring in found)
    return Check(
        id="O021", title="keys", health=Health.FAIL if faults else Health.OK,
        detail=faults[0].message if faults else f"those of this database: {held}",
        mend=faults[0].hint if faults else None,
    )  # fmt: skip


def _partitions(stray: bool) -> Check:
    return Check(
        id="O014", title="event partitions", health=Health.WARN if stray else Health.OK,
        detail="some events lie outside every month" if stray else "made ahead",
        mend="is a scheduler running? its tick makes them two months ahead; outreach migrate does too",
    )  # fmt: skip


def _of_instance(settings: Settings, db: "Database", here: "Instance") -> Iterator[Check]:
    from outreach.clock import LiveClock
    from outreach.models import reports

    clock = LiveClock(origin=settings.clock_origin, factor=settings.clock_factor)
    yield _home(db, here)
    yield _journal(settings, db)
    yield _tick(here, clock.now(), clock)
    accounts = db.run(reports.accounts)
    trouble = reports.stopped(accounts)
    listed = ", ".join(f"{row['name']} {row['state']}" for row in trouble)
    yield Check(
        id="O009", title="accounts", health=Health.WARN if trouble else Health.OK, detail=listed or "none is stopped",
        mend="outreach account list shows the reasons; outreach account resume NAME lets one send again",
    )  # fmt: skip
    yield _addresses(here, accounts)
    yield _packs(clock.now())
    yield from checks_of_log(db, clock, live=here.live)


def _home(db: "Database", here: "Instance") -> Check:
    """Is this the database that sends, and could one tell if it were a copy?"""
    from outreach.models.instance import cluster_here

    place = db.run(cluster_here)
    if here.foreign_reason:
        return Check(
            id="O031", title="this very database", health=Health.FAIL, detail=f"restored or cloned: {here.foreign_reason}",
            mend="outreach db adopt, once the original has been ended; a clone: outreach db adopt --as NAME",
        )  # fmt: skip
    if here.cluster is not None and place is not None and place != here.cluster:
        return Check(
            id="O031", title="this very database", health=Health.FAIL, detail=f"made in cluster/database {here.cluster}, and this is {place}",
            mend="outreach db adopt, once the original has been ended; a clone: outreach db adopt --as NAME",
        )  # fmt: skip
    if here.recovering_since:
        return Check(
            id="O031", title="this very database", health=Health.WARN, detail="adopted, and what its backup does not know is being read",
            mend="outreach db status shows what it waits for",
        )  # fmt: skip
    return Check(
        id="O031", title="this very database", health=Health.WARN if place is None else Health.OK,
        detail="a copy elsewhere cannot be told by its place: this role may not ask" if place is None else "is where it was made or adopted",
        mend="GRANT EXECUTE ON FUNCTION pg_control_system() TO the role of DATABASE_URL; its fences and the journal tell all the same",
    )  # fmt: skip


def _journal(settings: Settings, db: "Database") -> Check:
    from outreach.models import journal

    row = db.run(journal.standing)
    if settings.journal_url is None:
        return Check(
            id="O032", title="off-box journal", health=Health.WARN if settings.production else Health.SKIPPED,
            detail="kept nowhere: a restored backup forgets who has opted out since",
            mend="set OUTREACH_JOURNAL_URL: a file on another disk, a URL, or s3://BUCKET/PREFIX",
        )  # fmt: skip
    waits = f"{row['waiting']} lines wait" if row["waiting"] else "all lines are outside"
    failed = f"; the last attempt failed: {row['reason']}" if row["reason"] else ""
    return Check(
        id="O032", title="off-box journal", health=Health.WARN if row["reason"] else Health.OK, detail=waits + failed,
        mend="what waits is tried again by itself; check OUTREACH_JOURNAL_URL",
    )  # fmt: skip


def _packs(now: datetime) -> Check:
    from outreach.compliance import sources

    old = sources.old_packs(now)
    listed = ", ".join(f"{pack.name} (read on {sources.read_on(pack)})" for pack in old)
    return Check(
        id="O020", title="policy packs", health=Health.WARN if old else Health.OK,
        detail=f"sources nobody has read for half a year: {listed}" if old else "their sources were read within the last half year",
        mend="outreach policy show names them: read them again, or install a newer release",
    )  # fmt: skip


def _tick(here: "Instance", now: datetime, clock: Any) -> Check:
    age = None if here.last_tick_at is None else clock.real_seconds(now - here.last_tick_at)
    fine = age is not None and age <= _MOST_TICK_AGE
    detail = "there was none yet" if age is None else f"the last was {age:.0f} s ago"
    return Check(
        id="O008", title="ticks", health=Health.OK if fine else Health.WARN, detail=detail,
        mend="is a scheduler running, and a worker that serves the queue inbound? outreach up runs all",
    )  # fmt: skip


def _addresses(here: "Instance", accounts: "list[Row]") -> Check:
    from outreach.runtime.reading import is_loopback

    beyond = sorted(row["name"] for row in accounts if not is_loopback(row["base_url"]))
    if here.live or not beyond:
        return Check(id="O010", title="mode", health=Health.OK, detail=here.mode)
    what = "are refused for ever" if here.simulated_only else "send nothing until: outreach live on"
    return Check(
        id="O010", title="mode", health=Health.WARN, detail=f"{here.mode}; accounts with a real provider {what}: {', '.join(beyond)}",
        mend="outreach live on, once everything else here is right; or point them at a simulator",
    )  # fmt: skip
