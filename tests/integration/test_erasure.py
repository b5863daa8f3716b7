"""Erasure: nothing of the person is found anywhere any more, and nothing of theirs is ever sent again."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from outreach.audience.importing import Order, run_import
from outreach.models.base import Database
from outreach.runtime.erase import erase
from outreach.simulator import id_of_handle
from tests.stage import House, build

pytestmark = pytest.mark.servers
SEQUENCE = """
sequence: hello
start: hello
actions:
  hello: {do: SEND_TWITTER_DM, message: "Hi {{ nick }}. {{ opt_out }}", next: {to: wait, after: 1d}}
  wait: {do: WAIT, for: 3d}
variables: {nick: there}
"""


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    found = build(db, tmp_path, people=[{"handle": "ann", "persona": "silent"}])
    found.account()
    found.publish(SEQUENCE)
    return found


def everything(house: House) -> str:
    """All rows of all tables, as text."""
    tables = [
        r["relname"]
        for r in house.db.read(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
        )
    ]
    return "\n".join(str(house.db.read(f"SELECT t::text AS row FROM {table} t")) for table in tables)


def contacted(house: House) -> tuple[int, int]:
    ann = house.person("ann", nick="Annabella-7")
    house.says("ann", "Hello you, fingerprint-in-a-message")
    house.run()
    (lead,) = house.enroll("hello", [ann])
    house.pass_time(timedelta(minutes=2))
    assert [a.kind for a in house.accepted()] == ["dm"]
    return ann, lead


FINGERPRINTS = ("Annabella-7", "fingerprint-in-a-message", id_of_handle("ann"))


def test_no_fingerprint_of_an_erased_person_is_left_in_any_table(house: House) -> None:
    ann, lead = contacted(house)
    before = everything(house)
    assert all(print_ in before for print_ in FINGERPRINTS), "else the search would find nothing by itself"
    assert erase(house.ctx, ann, by="test")
    after = everything(house)
    assert [p for p in FINGERPRINTS if p in after] == []
    assert house.lead(lead)["state"] == "exited"
    assert [e["state"] for e in house.executions(lead)] == ["sent"], "the ledger stays"


def test_what_an_erased_person_writes_later_is_kept_without_who_and_what(house: House) -> None:
    ann, _ = contacted(house)
    erase(house.ctx, ann, by="test")
    house.says("ann", "me again, second-fingerprint")
    house.run()
    assert "second-fingerprint" not in everything(house)
    assert id_of_handle("ann") not in everything(house)
    assert len(house.db.read("SELECT 1 AS one FROM inbound WHERE kind = 'message_in'")) == 2


def test_importing_an_erased_identifier_again_stays_blocked(house: House, tmp_path: Path) -> None:
    ann, _ = contacted(house)
    erase(house.ctx, ann, by="test")
    file = tmp_path / "again.csv"
    file.write_text(f"name,twitter_id\nAnn,{id_of_handle('ann')}\n", encoding="utf-8")
    order = Order(path=str(file), source="again", basis="opt_in", proof="a form")
    run_import(house.db, order, pepper=house.ctx.settings.pepper, now=house.clock.now())
    rows: list[dict[str, Any]] = house.db.read(
        "SELECT suppressed_at IS NOT NULL AS stopped FROM person WHERE erased_at IS NULL"
    )
    assert rows == [{"stopped": True}]


def test_nothing_is_erased_while_a_call_may_still_arrive(house: House) -> None:
    ann, _ = contacted(house)
    house.db.run(lambda tx: tx.execute("UPDATE execution SET state = 'calling'"))
    assert erase(house.ctx, ann, by="test") is False
    assert "Annabella-7" in everything(house)
    assert house.db.read("SELECT suppressed_at IS NOT NULL AS stopped FROM person") == [{"stopped": True}]
