"""A lead on which our own code fails is tried five times, later each time, then set aside with the reason; the rest goes on."""

from pathlib import Path
from typing import Any

import psycopg2
import pytest

from outreach.models import leads
from outreach.models.base import Database
from outreach.runtime import step as stepping
from outreach.runtime.control import resume_lead
from outreach.runtime.perform import look_and_perform
from tests.integration.law_support import FOLLOW, HOUR, MINUTE, open_house, roomy_account, sql
from tests.stage import House

pytestmark = pytest.mark.servers


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    house = open_house(db, tmp_path)
    roomy_account(house)
    house.publish(FOLLOW)
    return house


def poison(house: House, lead_id: int) -> None:
    """Its cursor stands where its graph has no node."""
    sql(house, "UPDATE lead SET cursor = 'nowhere' WHERE id = %s", lead_id)


def look(house: House, lead_id: int) -> None:
    with pytest.raises(KeyError):
        look_and_perform(house.ctx, lead_id)


def enrolled(house: House, *handles: str) -> list[int]:
    """Enrolled, not looked at."""
    deliver, house.deliver = house.deliver, lambda _hint: []
    found = house.enroll("follow", [house.person(handle) for handle in handles])
    house.deliver = deliver
    return found


def test_it_is_tried_later_each_time_and_then_parked_with_the_reason(house: House) -> None:
    (lead_id,) = enrolled(house, "ann")
    poison(house, lead_id)
    waits = []
    for _ in range(4):
        look(house, lead_id)
        waits.append(house.lead(lead_id)["due_at"] - house.clock.now())
    assert [w / MINUTE for w in waits] == [2, 4, 8, 16]
    assert house.lead(lead_id)["waiting_detail"].startswith("failed: KeyError in ")
    look(house, lead_id)
    lead = house.lead(lead_id)
    assert (lead["state"], lead["waiting_on"], lead["attempts"]) == ("active", "pause", 5)
    assert lead["pause_reason"].startswith("failed 5 times: KeyError in ")
    assert "nowhere" not in lead["pause_reason"], "what the data says stays in the data"
    assert house.events(lead_id)[-1] == "LeadParked"


def test_the_sweep_leaves_it_alone_and_the_rest_goes_on(house: House) -> None:
    bad, good, better = enrolled(house, "ann", "bob", "cid")
    poison(house, bad)
    for _ in range(5):
        look(house, bad)
    house.pass_time(HOUR)
    assert [house.lead(lead_id)["state"] for lead_id in (bad, good, better)] == [
        "active",
        "finished",
        "finished",
    ]
    assert len(house.accepted()) == 2


def test_in_a_pass_of_many_only_the_one_that_fails_is_counted(house: House) -> None:
    bad, good, better = enrolled(house, "ann", "bob", "cid")
    poison(house, bad)
    with pytest.raises(KeyError):
        stepping.step(house.ctx, [stepping.Look(lead_id) for lead_id in (bad, good, better)])
    assert {house.lead(lead_id)["attempts"] for lead_id in (good, better)} == {0}


def test_once_mended_it_goes_on_where_it_was(house: House) -> None:
    (lead_id,) = enrolled(house, "ann")
    poison(house, lead_id)
    for _ in range(5):
        look(house, lead_id)
    sql(house, "UPDATE lead SET cursor = 'follow' WHERE id = %s", lead_id)
    house.hints.extend(resume_lead(house.ctx, lead_id, "ops"))
    house.run()
    assert house.lead(lead_id)["state"] == "finished"
    assert house.lead(lead_id)["attempts"] == 0


def test_a_step_resets_the_count(house: House) -> None:
    (lead_id,) = enrolled(house, "ann")
    sql(house, "UPDATE lead SET attempts = 4 WHERE id = %s", lead_id)
    house.pass_time(MINUTE * 3)
    assert (house.lead(lead_id)["state"], house.lead(lead_id)["attempts"]) == ("finished", 0)


def test_a_server_that_is_away_is_not_the_leads_doing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    (lead_id,) = enrolled(house, "ann")

    def away(*_: Any) -> None:
        raise psycopg2.OperationalError("the server is away")

    with monkeypatch.context() as patch:
        patch.setattr(leads, "views", away)
        with pytest.raises(psycopg2.OperationalError):
            look_and_perform(house.ctx, lead_id)
    assert house.lead(lead_id)["attempts"] == 0
