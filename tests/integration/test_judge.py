"""The judge: a message that went out twice is a duplicate, whatever the ledger takes its echo for."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from outreach.models.base import Database
from outreach.rehearsal.judge import Verdict, judge
from outreach.simulator.witness import Acceptance
from tests.integration.law_support import MINUTE, WRITE, friends, id_of_handle, open_house, roomy_account, sql
from tests.stage import House

pytestmark = pytest.mark.servers


def judged(house: House, acceptances: list[Acceptance]) -> Verdict:
    return judge(
        house.db, acceptances, house.deeds(), caps={}, now=house.clock.now(), machine=timedelta(seconds=1)
    )


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    """The engine has written to Ann, and somebody has sent her the same words by hand, which the ledger knows."""
    house = open_house(db, tmp_path, ("ann",))
    roomy_account(house)
    house.publish(WRITE)
    house.enroll("write", friends(house, "ann"))
    body = house.db.read("SELECT body FROM message_body")[0]["body"]
    house.simulator.acts.message(id_of_handle("we"), id_of_handle("ann"), body, house.clock.now(), by="hand")
    house.pass_time(MINUTE * 5)
    assert [row["cause"] for row in house.executions()] == ["start", "by_hand"]
    return house


def test_what_was_sent_by_hand_is_no_duplicate(house: House) -> None:
    assert judged(house, house.accepted()).clean


def test_a_second_message_by_the_api_is_one_though_its_echo_passed_for_one_by_hand(house: House) -> None:
    first, second = house.accepted()
    assert (first.by, second.by) == ("api", "hand")
    verdict = judged(house, [first, replace(second, by="api")])
    assert (verdict.duplicates, verdict.clean) == (1, False)
    assert verdict.findings == (f"accepted 1 more than called: dm by account {first.account}",)


def test_a_message_that_was_called_for_nobody_is_a_duplicate_and_lost(house: House) -> None:
    sql(house, "UPDATE execution SET attempts = 0")
    assert judged(house, house.accepted()).duplicates == 1
