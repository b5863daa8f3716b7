"""`outreach up --simulate`: everything in one terminal against a simulated X, where whoever is imported has a life of their own.

In a database of its own that is simulated for ever, on a fast clock. What the provider took, and what people did, is said as it
happens, from the provider's own log.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from outreach.cli.output import note, say
from outreach.cli.running import process_commands
from outreach.cli.session import on_its_clock
from outreach.cli.simulated_world import ACCOUNT, REFRESH_TOKEN, TOKEN, World, witness_of
from outreach.clock import LiveClock
from outreach.embedded.servers import start_servers
from outreach.embedded.supervisor import Supervisor, interrupted_by_signals
from outreach.errors import ConfigurationError, NotFound, OutreachError
from outreach.ids import new_token
from outreach.rehearsal.world import external_id
from outreach.settings import Settings

if TYPE_CHECKING:
    from outreach.models.base import Database, Row, Tx

INSTANCE = "simulated"
#: Real seconds between two looks at the database and at the witness.
_LOOK = 1.0
#: Business time that passed unwatched; more than this is worth a word.
_LONG_AWAY = timedelta(days=30)
_LOG_LEVEL = "OUTREACH_LOG_LEVEL"
#: What has to happen often, when a day is a minute. Machine durations stay real seconds.
_FAST = {
    "OUTREACH_TICK_SECONDS": "1", "OUTREACH_CALL_DEADLINE_SECONDS": "3", "OUTREACH_GUARD_SECONDS": "1", "OUTREACH_SETTLE_SECONDS": "3",
    "OUTREACH_HINT_LEASE_SECONDS": "3", "OUTREACH_EVIDENCE_SECONDS": "6", "OUTREACH_POLL_SECONDS": "3",
    "OUTREACH_INBOX_LAG_SECONDS": "0", "OUTREACH_INSTANCE": INSTANCE,
}  # fmt: skip


def simulated_data_dir(settings: Settings) -> Settings:
    """Where nobody named a directory, a simulation has one of its own inside the default one."""
    if settings.data_dir != Settings().data_dir:
        return settings
    return replace(settings, data_dir=settings.data_dir / "simulated")


def run_simulation(settings: Settings, *, port: int, workers: int, speed: float, fresh: bool) -> None:
    """Run until Ctrl-C. Raises ConfigurationError where a real database would be played with."""
    if settings.database_url or settings.redis_url:
        raise ConfigurationError(
            "a simulation has servers of its own, and DATABASE_URL or REDIS_URL is set",
            hint="unset both for this command",
        )
    settings = simulated_data_dir(settings)
    with interrupted_by_signals(), start_servers(settings) as servers:
        for line in servers.notes:
            note(line)
        ready = replace(settings, database_url=servers.database_url, redis_url=servers.redis_url)
        with _simulated_database(ready, speed, fresh) as (ready, db), Supervisor() as supervisor:
            try:
                _run(ready, db, supervisor, port, workers)
            except KeyboardInterrupt:
                note("stopping; the data stays, and the same command goes on")


def _run(settings: Settings, db: "Database", supervisor: Supervisor, port: int, workers: int) -> None:
    from outreach.cli.processes import listening
    from outreach.runtime.credentials import app_secret
    from outreach.vault import Vault

    listening(settings.host, port).close()
    account = db.run(_account)
    secret = app_secret(Vault.of(settings.keys), ACCOUNT, "consumer_secret", account["consumer_secret"])
    world = World(settings=settings, db=db, url=account["base_url"], secret=secret or "")
    world.begin(supervisor)
    for command in process_commands(settings, port, workers):
        supervisor.start(replace(command, environ={_LOG_LEVEL: "WARNING", **command.environ, **_FAST}))
    world.listen(f"http://127.0.0.1:{port}")
    _say_how(settings)
    while supervisor.wait(_LOOK) is None:
        world.meet()
        world.tell()


def _say_how(settings: Settings) -> None:
    clock = LiveClock(origin=settings.clock_origin, factor=settings.clock_factor)
    say(
        f"a simulated X is up, and a day passes in {86_400 / settings.clock_factor:.0f} s; here it is {clock.now():%a %d %b %Y %H:%M} UTC"
    )
    say(f"the account that sends is called {ACCOUNT}; in another terminal:")
    say(f"  export OUTREACH_DATA_DIR={settings.data_dir}")
    say(f"  outreach audience import FILE … ; outreach enroll SEQUENCE --account twitter={ACCOUNT} …")
    say("what the provider takes, and what people do, appears here · Ctrl-C stops it")
    sys.stdout.flush()


# --- the database -----------------------------------------------------------------------------------------------


@contextmanager
def _simulated_database(
    settings: Settings, speed: float, fresh: bool
) -> Iterator[tuple[Settings, "Database"]]:
    """The database, simulated for ever, with its account; made or emptied if need be. Settings on its clock."""
    from outreach.models import admin, instance
    from outreach.models.base import Database
    from outreach.models.migrate import migrate

    assert settings.database_url is not None
    if fresh:
        admin.empty_database(settings.database_url)
        witness_of(settings).unlink(missing_ok=True)
    origin = datetime.now(UTC)  # noqa: TID251  where scaled time begins: business and real time are one here
    db = Database(settings.database_url, pool_size=1)
    try:
        migrate(db, origin)
        here = instance.create(
            db, name=INSTANCE, simulated_only=True, origin=origin, factor=speed, now=origin
        )
        if not here.simulated_only:
            raise ConfigurationError(
                f"the database in {settings.data_dir} is not a simulation's: it could go live",
                hint="name another directory: outreach --data-dir .outreach/simulated up --simulate",
            )
        ready = on_its_clock(settings)
        now = LiveClock(origin=ready.clock_origin, factor=ready.clock_factor).now()
        db.run(lambda tx: _ensure_account(tx, now, ready.keys))
        if here.last_tick_at is not None and now - here.last_tick_at > _LONG_AWAY:
            days = (now - here.last_tick_at).days
            note(
                f"the fast clock ran on while nothing else did: {days} days have passed; --fresh begins again"
            )
        yield ready, db
    finally:
        db.close()


def _ensure_account(tx: "Tx", now: datetime, keys: str) -> None:
    from outreach.embedded.recipe import free_ports
    from outreach.models import accounts
    from outreach.runtime.credentials import sealed_account, sealed_app
    from outreach.vault import Vault

    vault = Vault.of(keys)
    if any(row["name"] == ACCOUNT for row in accounts.listed(tx)):
        return
    app: dict[str, Any] = {"name": ACCOUNT, "channel": "twitter", "client_id": "sim-client", "client_secret": None, "consumer_secret": new_token(18), "caps": {}, "now": now}  # fmt: skip
    accounts.insert(tx, sealed_account(vault, {
        "app_id": accounts.put_app(tx, sealed_app(vault, app)), "name": ACCOUNT, "channel": "twitter", "external_id": external_id(ACCOUNT), "handle": ACCOUNT,
        "base_url": f"http://127.0.0.1:{free_ports(1)[0]}", "access_token": TOKEN, "refresh_token": REFRESH_TOKEN, "zone": "UTC", "caps": {},
        "pace": {}, "follow_permitted": True, "dm_mode": "opt_in", "mode_reason": "simulated: nothing leaves this machine", "now": now,
    }))  # fmt: skip


def _account(tx: "Tx") -> "Row":
    from outreach.models import accounts

    try:
        return accounts.find(tx, ACCOUNT)
    except NotFound as error:
        raise OutreachError(f"the account {ACCOUNT} is gone", hint="begin again with --fresh") from error
