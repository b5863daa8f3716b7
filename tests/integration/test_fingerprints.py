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
from outreach.embedded.servers import Servers
from outreach.engine.kinds import ActionKind
from outreach.limits.limiter import RedisLimiter
from outreach.models import subject
from outreach.models.base import Database
from outreach.providers.base import InboundItem, InboundKind
from outreach.runtime.accept import accept
from outreach.runtime.control import pause_lead, pause_person, stop_lead
from outreach.runtime.erase import Identifier, erase, erase_stranger
from outreach.runtime.merge import merge
from outreach.runtime.oneoff import send_one
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
    import_text(house, folder, f"people-and-{PRINTS['email']}.csv", the_file(), PRINTS["consent proof"])
    zelda = person_of(house, TWITTER_ID)
    second, bob = house.person("zelda_alt7"), house.person("bob", basis="opt_in", company="Bobs", secret="bob-word")
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
    for who, key in ((zelda, f"welcome-{PRINTS['email']}"), (bob, "welcome-bob")):
        send_one(house.ctx, key=key, person_id=who, kind=ActionKind.SEND_TWITTER_DM, text=f"once, {PRINTS['message out']}", by="eve")  # fmt: skip
    create_segment(house.db, "hers", f"twitter = {HANDLE}", house.clock.now())
    pause_person(house.ctx, zelda, PRINTS["human reason"], by="eve")
    for lead in leads:
        if house.lead(lead)["state"] == "active":
            pause_lead(house.ctx, lead, f"{PRINTS['human reason']} of @{HANDLE}", by="eve")
            stop_lead(house.ctx, lead, f"asked by @{HANDLE}" if lead == leads[0] else "asked", by="eve")
    return zelda, bob


def rows_of_others(dump: Mapping[str, list[str]], after: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Rows that are not as they were."""
    return {table: sorted(set(rows) - set(after[table])) for table, rows in dump.items() if set(rows) - set(after[table])}


def test_no_fingerprint_of_one_in_a_thousand_is_left_and_nobody_else_is_touched(
    house: House, tmp_path: Path, servers: Servers
) -> None:
    zelda, bob = a_whole_life(house, tmp_path)
    before, prints = tables(house.db), PRINTS
    found = {what for what, _ in in_tables(before, prints)}
    assert found == prints.keys(), "else the search would find nothing by itself"
    assert len(before["person"]) > MANY
    log = house.db.read("SELECT id, payload::text AS payload, at FROM event ORDER BY id")

    assert erase(house.ctx, zelda, by="eve")
    house.pass_time(timedelta(minutes=2))
    after = tables(house.db)
    assert in_tables(after, prints) == set()
    assert in_redis(servers.redis_url, prints) == set()
    assert house.db.read("SELECT id, payload::text AS payload, at FROM event WHERE id <= %s ORDER BY id", (log[-1]["id"],)) == log
    changed = rows_of_others(before, after)
    for table, rows in changed.items():
        print(table, len(rows), rows[:3])
    raise AssertionError(changed.keys())
