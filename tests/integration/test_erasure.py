"""Erasure: nothing of the person is found anywhere any more, and nothing of theirs is ever sent again."""

from datetime import timedelta
from pathlib import Path

import pytest

from outreach.audience.importing import Order, run_import
from outreach.models.base import Database
from outreach.providers.base import InboundItem, InboundKind
from outreach.runtime.accept import accept
from outreach.runtime.erase import erase
from outreach.simulator import id_of_handle
from tests.integration.law_support import fault
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


def follow_both_ways(house: House) -> None:
    """Somebody follows by hand, and is followed back; the echo of it waits."""
    now, we, them = house.clock.now(), id_of_handle("we"), id_of_handle("ann")
    house.simulator.acts.follow(we, them, now, by="hand")
    house.simulator.acts.follow_back(now, them, we)
    house.run()


def by_hand(house: House, text: str) -> None:
    sent = house.simulator.acts.message(
        id_of_handle("we"), id_of_handle("ann"), text, house.clock.now(), by="hand"
    )
    assert not hasattr(sent, "status"), sent
    house.run()


def test_what_is_called_by_both_sides_ids_is_forgotten_too(house: House) -> None:
    ann, _ = contacted(house)
    follow_both_ways(house)
    house.simulator.acts.unfollow_back(house.clock.now(), id_of_handle("ann"), id_of_handle("we"))
    house.run()
    assert id_of_handle("ann") in str(house.db.read("SELECT content_id FROM signal"))
    assert erase(house.ctx, ann, by="test")
    assert id_of_handle("ann") not in everything(house)
    house.simulator.acts.unfollow(id_of_handle("we"), id_of_handle("ann"), house.clock.now())
    follow_both_ways(house)
    house.pass_time(timedelta(minutes=5))
    assert id_of_handle("ann") not in everything(house)


def test_what_is_sent_by_hand_to_an_erased_person_counts_and_names_nobody(house: House) -> None:
    ann, _ = contacted(house)
    assert erase(house.ctx, ann, by="test")
    by_hand(house, "by hand, third-fingerprint")
    follow_both_ways(house)
    house.pass_time(timedelta(minutes=5))
    after = everything(house)
    assert [p for p in (*FINGERPRINTS, "third-fingerprint") if p in after] == []
    found = [(e["kind"], e["cause"], e["identity_id"]) for e in house.executions()][1:]
    assert found == [("SEND_TWITTER_DM", "by_hand", None), ("FOLLOW_ON_TWITTER", "by_hand", None)]


def test_an_echo_of_ours_that_comes_after_the_erasure_is_not_counted_again(house: House) -> None:
    fault(house, "webhook:dm.sent", "postpone", seconds=600, times=1)
    ann = house.person("ann")
    house.says("ann", "Hello you")
    house.run()
    (lead,) = house.enroll("hello", [ann])
    assert len(house.accepted()) == 1
    assert erase(house.ctx, ann, by="test")
    assert house.db.read("SELECT 1 AS one FROM inbound WHERE kind = 'message_out'") == []
    house.pass_time(timedelta(minutes=20))
    assert len(house.db.read("SELECT 1 AS one FROM inbound WHERE kind = 'message_out' AND peer = ''")) == 1
    assert [e["lead_id"] for e in house.executions()] == [lead]


HANDLE = "zelda_9"


def test_who_was_known_by_handle_alone_is_kept_out_by_it(db: Database, tmp_path: Path) -> None:
    house = build(db, tmp_path, people=[{"handle": HANDLE, "persona": "silent"}])
    house.account()
    zelda = house.person(HANDLE, resolved=False)
    house.says(HANDLE, "unread, fourth-fingerprint")
    house.simulator.run_until(house.clock.now())
    assert [
        r["state"] for r in house.db.read("SELECT state FROM inbound WHERE peer_handle = %s", (HANDLE,))
    ] == ["stored"]
    assert erase(house.ctx, zelda, by="test")
    house.says(HANDLE, "later, fifth-fingerprint")
    house.run()
    rows = house.db.read("SELECT t::text AS row FROM inbound t")
    assert [p for p in (HANDLE, id_of_handle(HANDLE), "fourth-f", "fifth-f") if p in str(rows).lower()] == []
    assert len(rows) == 2


def test_a_handle_of_somebody_erased_that_has_changed_hands_hides_nobody_else(house: House) -> None:
    bob = house.person("bob", resolved=False)
    assert erase(house.ctx, bob, by="test")
    ann = house.person("ann")
    accept(
        house.ctx,
        "twitter",
        [
            InboundItem(
                kind=InboundKind.MESSAGE_IN, content_id="dm:7", account_external_id=id_of_handle("we"), peer=id_of_handle("ann"),
                occurred_at=house.clock.now(), text="STOP", peer_handle="Bob",
            )
        ],
    )  # fmt: skip
    house.pass_time(timedelta(minutes=2))
    rows = house.db.read("SELECT suppressed_at IS NOT NULL AS stopped FROM person WHERE id = %s", (ann,))
    assert rows == [{"stopped": True}]


def test_importing_an_erased_identifier_again_stores_nothing_and_says_so(
    house: House, tmp_path: Path
) -> None:
    ann, _ = contacted(house)
    erase(house.ctx, ann, by="test")
    file = tmp_path / "again.csv"
    file.write_text(
        f"name,twitter_id\nAnn,{id_of_handle('ann')}\nBob,{id_of_handle('bob')}\n", encoding="utf-8"
    )
    order = Order(path=str(file), source="again", basis="opt_in", proof="a form")
    report = run_import(house.db, order, pepper=house.ctx.settings.pepper, now=house.clock.now())
    assert (report.accepted, report.erased, report.rejects[0].line) == (1, 1, 2)
    assert "erased" in report.rejects[0].reason
    assert house.db.read("SELECT name FROM person WHERE erased_at IS NULL") == [{"name": "Bob"}]
    assert id_of_handle("ann") not in everything(house)


def test_nothing_is_erased_while_a_call_may_still_arrive(house: House) -> None:
    ann, _ = contacted(house)
    house.db.run(lambda tx: tx.execute("UPDATE execution SET state = 'calling'"))
    assert erase(house.ctx, ann, by="test") is False
    assert "Annabella-7" in everything(house)
    assert house.db.read("SELECT suppressed_at IS NOT NULL AS stopped FROM person") == [{"stopped": True}]
