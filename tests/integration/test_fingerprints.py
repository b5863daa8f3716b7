"""One of a thousand asks to be erased: no fingerprint of theirs is left in any table or in Redis, and nobody else is touched."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from outreach.audience.importing import Order, run_import
from outreach.audience.segments import create_segment
from outreach.compliance.facts import BasisKind
from outreach.compliance.register import Grant, record_consent
from outreach.embedded.servers import Servers
from outreach.engine.kinds import ActionKind, Channel
from outreach.limits.limiter import RedisLimiter
from outreach.models import sealing, subject
from outreach.models.base import Database
from outreach.providers.base import InboundItem, InboundKind
from outreach.runtime.accept import accept
from outreach.runtime.control import pause_lead, pause_person, stop_lead
from outreach.runtime.erase import Identifier, erase, erase_stranger
from outreach.runtime.merge import merge
from outreach.runtime.oneoff import send_one
from outreach.runtime.seal import seal_next
from outreach.runtime.verified import Noted
from outreach.runtime.verify import verify
from outreach.runtime.withdraw import withdraw
from outreach.simulator import id_of_handle
from tests.integration.law_support import people, roomy_account
from tests.stage import House, build
from tests.traces import in_redis, in_tables, tables

pytestmark = pytest.mark.servers
MANY = 1000
HANDLE = "zelda_q9x"
TWITTER_ID = id_of_handle(HANDLE)
SECOND_ID = id_of_handle("zelda_alt7")
#: What they are found by, each of its own kind.
PRINTS: Mapping[str, str] = {
    "handle": HANDLE,
    "numeric id": TWITTER_ID,
    "second id": SECOND_ID,
    "email": "zelda.quux@example-mail.com",
    "evm address": "0x52908400098527886E0F7030069857D2E4169EE7",
    "solana address": "7xKXtg2CW87d97TXJSDpbD5jBkheTqA83TZRuJosgAsU",
    "linkedin slug": "zelda-quux-31337",
    "name": "Zelda Quuxworthy",
    "attribute": "Quuxworthy Clockwork Ltd",
    "message out": "brass-canary-out",
    "message in": "brass-canary-in",
    "raw field": "brass-canary-raw",
    "consent proof": "brass-canary-proof",
    "human reason": "brass-canary-reason",
    "merge evidence": "brass-canary-evidence",
}
SEQUENCE = """
sequence: hello
requires: [first_name, company, secret]
actions:
  hello:
    do: SEND_TWITTER_DM
    message: "Hi {{ first_name }} of {{ company }}, {{ secret }}. {{ opt_out }}"
    next: [{on: NOT_REPLIED, after: 3d, to: END}, {on: REPLIED, to: END}]
"""


def the_file() -> str:
    """A thousand people, of whom one is the one."""
    out = io.StringIO()
    write = csv.writer(out)
    write.writerow(("name", "first_name", "company", "secret", "twitter", "twitter_id", "email", "evm_address", "solana_address", "linkedin"))  # fmt: skip
    for n in range(MANY - 1):
        write.writerow((f"Person {n}", "Pat", f"Firm {n}", f"word-{n}", f"person_{n}x", 900_000_000_000 + n, f"p{n}@example-mail.com", "", "", ""))  # fmt: skip
    write.writerow(
        (
            PRINTS["name"], "Zelda", PRINTS["attribute"], PRINTS["message out"], f"@{HANDLE}", TWITTER_ID, PRINTS["email"], PRINTS["evm address"],
            PRINTS["solana address"], f"https://www.linkedin.com/in/{PRINTS['linkedin slug']}",
        )
    )  # fmt: skip
    return out.getvalue()


@pytest.fixture
def house(db: Database, tmp_path: Path, servers: Servers) -> House:
    found = build(db, tmp_path, people=people(HANDLE, "zelda_alt7", "bob"))
    found.ctx = replace(found.ctx, limiter=RedisLimiter(servers.redis_url, f"prints-{tmp_path.name}"))
    roomy_account(found)
    found.publish(SEQUENCE)
    return found


def import_text(house: House, folder: Path, name: str, text: str, proof: str) -> Any:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    order = Order(path=str(file), source="conference-2026", basis="opt_in", proof=proof)
    return run_import(house.db, order, pepper=house.ctx.settings.pepper, now=house.clock.now())


def person_of(house: House, value: str) -> int:
    return int(house.db.read("SELECT person_id FROM identity WHERE value = %s", (value,))[0]["person_id"])


def a_whole_life(house: House, folder: Path) -> tuple[int, int]:
    """Imported, written to, answered, paused, merged, asked about, talked about: the person, and somebody who lives the same beside them."""
    import_text(house, folder, f"people-and-{PRINTS['email']}.csv", the_file(), "a form")
    zelda = person_of(house, TWITTER_ID)
    identity = house.db.read("SELECT id FROM identity WHERE value = %s", (PRINTS["email"],))[0]["id"]
    grant = Grant(
        identity_id=identity, channel=Channel.EMAIL, basis=BasisKind.CONSENT, source="a letter", proof=PRINTS["consent proof"],
        obtained_at=house.clock.now(),
    )  # fmt: skip
    house.db.run(lambda tx: record_consent(tx, grant, now=house.clock.now()))
    withdraw(house.ctx, zelda, Channel.EMAIL, reason=PRINTS["human reason"], by="eve")
    second, bob = (
        house.person("zelda_alt7"),
        house.person("bob", basis="opt_in", first_name="Bob", company="Bobs", secret="bob-word"),
    )
    merge(house.ctx, zelda, second, evidence=PRINTS["merge evidence"], by="eve")
    for who in (HANDLE, "bob"):
        house.says(who, f"Hello, {PRINTS['message in'] if who == HANDLE else 'bob-in'}")
    house.run()
    leads = house.enroll("hello", [zelda, bob])
    house.pass_time(timedelta(minutes=2))
    assert [a.kind for a in house.accepted()] == ["dm"] * len(house.accepted()) and len(house.accepted()) >= 2
    for who in (HANDLE, "bob"):
        house.simulator.acts.follow_back(house.clock.now(), id_of_handle(who), id_of_handle("we"))
    accept(
        house.ctx, "twitter",
        [
            InboundItem(
                kind=InboundKind.MESSAGE_IN, content_id="dm:77001", account_external_id=id_of_handle("we"), peer=TWITTER_ID, peer_handle=HANDLE,
                occurred_at=house.clock.now(), text="maybe, no, stop?", raw={"profile": PRINTS["raw field"]},
            )
        ],
    )  # fmt: skip
    house.pass_time(timedelta(minutes=2))
    for person, key, text in (
        (zelda, f"welcome-{PRINTS['email']}", PRINTS["message out"]),
        (bob, "welcome-bob", "hello bob"),
    ):
        send_one(house.ctx, key=key, person_id=person, kind=ActionKind.SEND_TWITTER_DM, text=text, by="eve")
    create_segment(house.db, "hers", f"twitter_handle = {HANDLE}", house.clock.now())
    pause_person(house.ctx, zelda, PRINTS["human reason"], by="eve")
    pause_person(house.ctx, bob, "on holiday", by="eve")
    for lead, why in zip(leads, (f"{PRINTS['human reason']}, says @{HANDLE}", "asked"), strict=True):
        if house.lead(lead)["state"] == "active":
            pause_lead(house.ctx, lead, why, by="eve")
    one_off = house.db.read(
        "SELECT id FROM lead WHERE key LIKE 'welcome-%%' AND state = 'active' AND person_id = %s", (zelda,)
    )
    for row in one_off:
        stop_lead(house.ctx, row["id"], f"asked by @{HANDLE}", by="eve")
    return zelda, bob


#: Tables of which the erasure changes rows, all of them the one person's, or words that quoted them.
TOUCHED = {"person", "identity", "inbound", "lead", "execution", "consent", "identity_link", "suppression", "profile", "message_body", "person_event",
           "task", "import", "segment", "signal"}  # fmt: skip


def test_no_fingerprint_of_one_in_a_thousand_is_left_and_nobody_else_is_touched(
    house: House, tmp_path: Path, servers: Servers
) -> None:
    zelda, bob = a_whole_life(house, tmp_path)
    before = tables(house.db)
    assert {what for what, _ in in_tables(before, PRINTS)} == PRINTS.keys(), (
        "else the search finds nothing by itself"
    )
    held = json.dumps(house.db.run(lambda tx: subject.everything_on(tx, zelda)), default=str)
    assert [what for what, text in PRINTS.items() if text not in held] == [], (
        "all of it is what she may ask for"
    )
    assert "bob" not in held.lower()
    log = log_of(house)
    seal_next(house.ctx)
    noted = house.db.run(sealing.newest_seal)
    assert noted is not None

    assert erase(house.ctx, zelda, by="eve")
    after = tables(house.db)
    assert in_tables(after, PRINTS) == set()
    assert in_redis(servers.redis_url, PRINTS) == set()
    assert log_of(house)[: len(log)] == log, "the log only grows"
    assert_the_others_are_as_they_were(house, before, after, bob)
    it_stays_so(house, tmp_path, servers)
    seal_next(house.ctx)
    seen = verify(house.db, heads=[Noted(head=noted.head, seal=noted.id)])
    assert (seen.findings, seen.events >= len(log)) == ([], True), "what was sealed before is as it was"


def log_of(house: House) -> list[Any]:
    return house.db.read("SELECT t::text AS row FROM event t ORDER BY id")


def assert_the_others_are_as_they_were(house: House, before: Any, after: Any, bob: int) -> None:
    changed = {table for table, rows in before.items() if set(rows) - set(after[table])}
    assert changed <= TOUCHED, changed - TOUCHED
    ids = house.db.read("SELECT id FROM person WHERE erased_at IS NULL")
    assert len(ids) == MANY
    held = house.db.run(lambda tx: json.dumps(subject.everything_on(tx, bob), default=str))
    for word in ("bob-in", "hello bob", "Bobs", "on holiday"):
        assert word in held
    for table in ("person", "profile", "identity", "consent"):
        gone = set(before[table]) - set(after[table])
        assert all(not row.startswith(f"({bob},") for row in gone)
        assert len(gone) <= 20, f"of a thousand, {len(gone)} rows of {table} have changed"


def it_stays_so(house: House, folder: Path, servers: Servers) -> None:
    """She writes again, follows, is imported again by whatever she was known by, and enrolled with everybody."""
    house.says(HANDLE, "brass-canary-in once more")
    house.simulator.acts.unfollow_back(house.clock.now(), TWITTER_ID, id_of_handle("we"))
    house.run()
    report = import_text(house, folder, "again.csv", the_file(), "again")
    assert (report.rows, report.erased, report.accepted, report.persons_new) == (MANY, 1, MANY - 1, 0)
    known_by = (
        "handle",
        "numeric id",
        "second id",
        "email",
        "evm address",
        "solana address",
        "linkedin slug",
    )
    columns = ("twitter", "twitter_id", "twitter_id", "email", "evm_address", "solana_address", "linkedin")
    for column, what in zip(columns, known_by, strict=True):
        file = f"{what.replace(' ', '-')}.csv"
        said = import_text(house, folder, file, f"{column},company\n{PRINTS[what]},Firm\n", "again")
        assert (said.erased, said.accepted, said.persons_new) == (1, 0, 0), what
        assert "erased" in said.rejects[0].reason
    house.pass_time(timedelta(minutes=20))
    assert in_tables(tables(house.db), PRINTS) == set()
    assert in_redis(servers.redis_url, PRINTS) == set()


def test_somebody_of_whom_only_a_message_is_known_can_be_forgotten_and_stays_so(house: House) -> None:
    stranger = id_of_handle("stranger_77")
    prints = {"id": stranger, "handle": "stranger_77", "words": "brass-canary-stranger"}

    def writes(number: int) -> None:
        accept(
            house.ctx, "twitter",
            [
                InboundItem(
                    kind=InboundKind.MESSAGE_IN, content_id=f"dm:8800{number}", account_external_id=id_of_handle("we"), peer=stranger,
                    peer_handle="Stranger_77", occurred_at=house.clock.now(), text=prints["words"], raw={"by": "stranger_77"},
                )
            ],
        )  # fmt: skip
        house.pass_time(timedelta(minutes=2))

    writes(1)
    assert {what for what, _ in in_tables(tables(house.db), prints)} == prints.keys()
    assert erase_stranger(house.ctx, Identifier(kind="twitter_handle", value="stranger_77"), by="eve") == 1
    assert erase_stranger(house.ctx, Identifier(kind="twitter_id", value=stranger), by="eve") == 0
    assert in_tables(tables(house.db), prints) == set()
    writes(2)
    assert in_tables(tables(house.db), prints) == set()
    assert len(house.db.read("SELECT 1 AS one FROM inbound WHERE kind = 'message_in'")) == 2


def test_a_common_word_that_is_somebodys_handle_is_left_where_it_means_something_else(
    house: House, tmp_path: Path
) -> None:
    import_text(house, tmp_path, "founders of founders.csv", "name,twitter\nAnna Lee,@founders\nBea,@bea_4\n", "the founders' form")  # fmt: skip
    create_segment(house.db, "founders", "source = conference-2026", house.clock.now())
    assert erase(house.ctx, person_of(house, "founders"), by="eve")
    kept = house.db.read("SELECT file_name, proof, (SELECT name FROM segment) AS segment FROM import")
    assert kept[-1] == {
        "file_name": "founders of founders.csv",
        "proof": "the founders' form",
        "segment": "founders",
    }
