"""`outreach audit caps`: it finds a breach wherever there is one, on the ledger and on a witness file, and none elsewhere."""

from pathlib import Path

import pytest

from outreach.embedded.servers import Servers
from outreach.models.base import Database
from outreach.runtime.audit import Seen, audit_caps
from tests.integration.cli_support import Terminal, set_environment
from tests.integration.law_support import HOUR, MINUTE, id_of_handle, open_house, roomy_account, sql
from tests.stage import House

pytestmark = pytest.mark.servers
HANDLES = ("ann", "bob", "cid", "dee", "eve")
FOLLOW = 'sequence: follow\ncaps: {FOLLOW_ON_TWITTER: "4/day"}\nactions:\n  follow: {do: FOLLOW_ON_TWITTER}\n'


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    """An account that may follow twice an hour, a sequence that may four times a day, and all that this allows in a day."""
    house = open_house(db, tmp_path, HANDLES)
    roomy_account(house, caps={"FOLLOW_ON_TWITTER": "2/hour"})
    house.publish(FOLLOW)
    house.enroll("follow", [house.person(handle) for handle in HANDLES])
    house.pass_time(HOUR * 30, step=MINUTE * 10)
    assert len(house.accepted()) == 5
    return house


def peaks(house: House, seen: list[Seen] | None = None) -> dict[str, tuple[int, int, int]]:
    return {
        f"{one.scope} {one.cap}": (one.peak.largest, one.peak.over, one.peak.over_by_hand)
        for one in audit_caps(house.ctx, None, seen)
    }


def test_the_engine_fills_its_caps_and_breaks_none(house: House) -> None:
    assert peaks(house) == {"account 2/hour": (2, 0, 0), "sequence 4/day": (4, 0, 0)}
    seen = [
        Seen(account=a.account, kind="FOLLOW_ON_TWITTER", at=a.t_scaled, by_hand=False)
        for a in house.accepted()
    ]
    assert peaks(house, seen) == {"account 2/hour": (2, 0, 0)}


def test_a_row_that_nobody_should_have_claimed_is_found(house: House) -> None:
    second, third = house.executions()[1:3]
    at = second["started_at"]
    sql(house, "UPDATE execution SET started_at = %s, effect_by = %s WHERE id = %s", at, at, third["id"])
    assert peaks(house)["account 2/hour"] == (3, 1, 0)


def test_a_send_by_hand_uses_up_a_cap_and_is_no_breach(house: House) -> None:
    for handle in ("ann", "bob", "cid"):
        house.simulator.acts.unfollow(id_of_handle("we"), id_of_handle(handle), house.clock.now(), by="hand")
        house.simulator.acts.follow(id_of_handle("we"), id_of_handle(handle), house.clock.now(), by="hand")
    # what no call of ours explains counts as sent by hand after D + S
    house.pass_time(MINUTE * 5)
    assert peaks(house)["account 2/hour"] == (3, 0, 1)


def test_the_command_names_the_breach_and_exits_1(
    house: House,
    servers: Servers,
    database_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal(capsys)
    set_environment(monkeypatch, servers, database_url, tmp_path)
    terminal("audit", "caps", "--witness", str(house.witness_path))
    sql(house, """UPDATE account SET caps = '{"FOLLOW_ON_TWITTER": "1/hour"}'""")
    found = terminal.json("audit", "caps", code=1)
    assert [(row["cap"], row["largest"], row["over"] > 0) for row in found if row["scope"] == "account"] == [
        ("1/hour", 2, True)
    ]
    assert "went over a cap" in terminal.err
    assert terminal.json("audit", "caps", "--since", "2030-01-01") == []
    terminal("audit", "caps", "--since", "yesterday", code=2)
    terminal("audit", "caps", "--witness", __file__, code=2)
