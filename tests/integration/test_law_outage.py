"""Postgres goes away and comes back in the middle of a send: what the provider said is written all the same."""

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg2
import pytest

from outreach.embedded.servers import Servers
from outreach.embedded.waiting import wait_until
from outreach.models.base import UNREACHABLE, Database, Tx
from outreach.providers.base import Accepted
from outreach.runtime.claim import Claimed, claim
from outreach.runtime.prepare import Prepared, prepare
from outreach.runtime.settle import settle
from tests.integration.law_support import WRITE, execution, friends, open_house, plan, roomy_account
from tests.stage import House

pytestmark = pytest.mark.servers


@pytest.fixture
def house(database_url: str, tmp_path: Path) -> Iterator[House]:
    db = Database(database_url, pool_size=4)
    found = open_house(db, tmp_path, webhooks=False)
    roomy_account(found)
    found.publish(WRITE)
    yield found
    db.close()


def crash(servers: Servers) -> None:
    assert servers.crash_postgres is not None
    servers.crash_postgres()
    assert wait_until(lambda: not answers(servers), timeout=20)


def answers(servers: Servers) -> bool:
    try:
        psycopg2.connect(servers.database_url).close()
    except psycopg2.OperationalError:
        return False
    return True


def test_t2_waits_for_a_database_that_is_away_and_writes_the_answer_once(
    house: House, servers: Servers
) -> None:
    (execution_id,) = plan(house, "write", friends(house, "ann"))
    prepared = prepare(house.ctx, execution_id)
    assert isinstance(prepared, Prepared)
    claimed = claim(house.ctx, prepared)
    assert isinstance(claimed, Claimed)
    crash(servers)
    settled = settle(house.ctx, claimed, Accepted(ids={"dm_event_id": "1"}))
    row = execution(house, execution_id)
    assert (row["state"], row["provider_ids"], row["attempts"]) == ("sent", {"dm_event_id": "1"}, 1)
    assert settled.effect_by is not None


def test_threads_whose_connections_were_all_cut_fail_once_at_most(house: House, servers: Servers) -> None:
    together = threading.Barrier(3)

    def use(tx: Tx) -> object:
        together.wait(10)
        return tx.value("SELECT 1")

    def once_at_most(_: int) -> tuple[object, object]:
        before = house.db.run(use)
        if together.wait(10) == 0:
            crash(servers)
            assert wait_until(lambda: answers(servers), timeout=20)
        together.wait(30)
        with contextlib.suppress(*UNREACHABLE):
            house.db.read("SELECT 1")
        return before, house.db.run(lambda tx: tx.value("SELECT 1"))

    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(once_at_most, range(3))) == [(1, 1)] * 3


def test_an_outage_that_lasts_is_an_error_and_not_an_endless_wait(
    database_url: str, servers: Servers
) -> None:
    nobody = Database(database_url.replace("127.0.0.1", "127.0.0.2"), pool_size=1)
    with pytest.raises(UNREACHABLE):
        nobody.run_when_back(lambda tx: tx.rows("SELECT 1"), 0.6)
    nobody.close()
