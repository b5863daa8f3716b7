"""Postgres's disk is full: nothing is called that could not be claimed, and what could not be settled is asked about when there is room."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg2
import pytest

from outreach import failpoints
from outreach.chaos import ground
from outreach.chaos.ground import Disk, NotHere, on_a_small_disk
from outreach.embedded.servers import Servers
from outreach.models.base import Database, Tx
from outreach.models.migrate import migrate
from outreach.runtime.perform import perform
from tests.integration.law_support import (
    MINUTE,
    WRITE,
    acts,
    execution,
    friends,
    open_house,
    plan,
    roomy_account,
)
from tests.stage import MONDAY, House

pytestmark = pytest.mark.servers


@pytest.fixture
def full(servers: Servers, tmp_path: Path) -> Iterator[tuple[House, Disk]]:
    """A house whose Postgres lies on a disk of its own."""
    try:
        with on_a_small_disk(servers) as moved:
            assert moved.disk is not None
            db = Database(moved.servers.database_url, pool_size=4)
            migrate(db, MONDAY)
            house = open_house(db, tmp_path, settle_seconds=0.5, call_deadline_seconds=1.0)
            roomy_account(house)
            house.publish(WRITE)
            yield house, moved.disk
            moved.disk.empty()
            db.close()
    except NotHere as why:
        pytest.skip(str(why))


def fill(house: House, disk: Disk) -> None:
    """To the last byte of the disk, and of the pages that Postgres has already: what is short finds room in those."""
    disk.fill()
    with pytest.raises(psycopg2.errors.DiskFull):
        for _ in range(1000):
            house.db.run(_crowd)


def _crowd(tx: Tx) -> None:
    tx.execute(
        "INSERT INTO event (kind, at, actor, payload) SELECT 'InstancePaused', %s, 'test', jsonb_build_object('x', repeat('x', 300))"
        " FROM generate_series(1, 20)",
        (MONDAY,),
    )


@contextmanager
def at(point: str, work: Callable[[], None]) -> Iterator[None]:
    def happen(name: str) -> None:
        if name == point:
            work()

    failpoints._armed = happen
    try:
        yield
    finally:
        failpoints._armed = None


def test_what_cannot_be_claimed_is_not_called_and_what_cannot_be_settled_is_asked_about(
    full: tuple[House, Disk],
) -> None:
    house, disk = full
    ann, bob = plan(house, "write", friends(house, "ann", "bob"))

    fill(house, disk)
    with pytest.raises(psycopg2.errors.DiskFull):
        perform(house.ctx, ann)
    assert (acts(house), execution(house, ann)["state"]) == ([], "planned"), "no room for T1, so no call"

    disk.empty()
    perform(house.ctx, ann)
    assert acts(house) == [("dm", "ann")]

    with at("call.after", lambda: fill(house, disk)), pytest.raises(psycopg2.errors.DiskFull):
        perform(house.ctx, bob)
    assert (acts(house), execution(house, bob)["state"]) == ([("dm", "ann"), ("dm", "bob")], "calling")

    disk.empty()
    house.pass_time(5 * MINUTE, step=timedelta(seconds=30))
    assert (len(acts(house)), execution(house, bob)["state"]) == (2, "sent"), (
        "asked, found, and not sent again"
    )
    assert "ActionInDoubt" in house.events(execution(house, bob)["lead_id"])


def test_without_the_right_to_mount_it_is_skipped_by_name(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NotHere, match="only root can mount"), on_a_small_disk(servers):
        pass


def test_where_root_may_mount_it_is_never_skipped() -> None:
    """A suite that skips it quietly would prove nothing."""
    capabilities = int(
        next(
            line.split()[1]
            for line in Path("/proc/self/status").read_text().splitlines()
            if line.startswith("CapEff")
        ),
        16,
    )
    if os.geteuid() != 0 or not capabilities & 1 << 21:
        pytest.skip("CAP_SYS_ADMIN is not ours")
    with ground._mounted() as folder:
        Disk(folder).fill()
        assert (folder / "ballast").stat().st_size > 2**20
