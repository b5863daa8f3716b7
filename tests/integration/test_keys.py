"""Keyed secrets: nothing readable is stored; what was moved, or whose key is lost, sends nothing; a ring is rotated beside the work."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from outreach.app import build as build_app
from outreach.audience.importing import Order, run_import
from outreach.embedded.servers import Servers
from outreach.errors import ConfigurationError, UsageError
from outreach.models import accounts, keys
from outreach.models.base import Database
from outreach.peppers import Peppers
from outreach.runtime.control import set_account
from outreach.runtime.disconnect import disconnect
from outreach.runtime.doors import form_secret
from outreach.runtime.erase import erase
from outreach.runtime.examine import examine
from outreach.runtime.forms import take_form
from outreach.runtime.give_up import give_up
from outreach.runtime.keyring import require_keys, rings
from outreach.runtime.optout import opt_out, opt_out_spelt
from outreach.runtime.poll import poll
from outreach.runtime.refresh import refresh
from outreach.runtime.rotate import Rotated, rotate
from outreach.settings import Settings
from outreach.simulator import id_of_handle
from outreach.vault import Vault
from tests.integration.cli_support import Terminal, add_account, set_environment
from tests.integration.connect_support import account, told
from tests.integration.law_support import acts, friends, open_house, roomy_account, sql
from tests.integration.test_erasure import everything
from tests.stage import MONDAY, SECRET, House

pytestmark = pytest.mark.servers
OLD, NEW = "o" * 43, "n" * 43
MINUTE = timedelta(minutes=1)
BOTH: dict[str, Any] = {"account_names": ["we", "us"]}
HELLO = """
sequence: hello
actions:
  hello: {do: SEND_TWITTER_DM, message: "Hello. {{ opt_out }}", next: END}
"""
FORM = """
sequence: welcome
entry: {on: form, form: website, source: a form, account: [we]}
actions:
  hello: {do: SEND_TWITTER_DM, message: "Hello. {{ opt_out }}", next: END}
"""


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    """Two accounts under the old key, and people under the old pepper."""
    found = open_house(db, tmp_path, our_accounts=("we", "us"), keys=OLD, pepper="old")
    for name in ("we", "us"):
        roomy_account(found, name)
    found.publish(HELLO)
    require_keys(found.db, found.ctx.vault, found.ctx.peppers, MONDAY)
    return found


def with_rings(house: House, *, keys: str = OLD, pepper: str = "old") -> None:
    """As after a restart with these."""
    house.ctx = replace(house.ctx, settings=replace(house.ctx.settings, keys=keys, pepper=pepper))


def start(house: House, *, keys: str = OLD, pepper: str = "old") -> None:
    require_keys(house.db, Vault.of(keys), Peppers.of(pepper), MONDAY)


def turn(house: House, *, keys: str = OLD, pepper: str = "old", stopped: bool = True) -> Rotated:
    return rotate(house.db, Vault.of(keys), Peppers.of(pepper), now=house.clock.now(), stopped=stopped)


def row(house: House, name: str) -> Any:
    return house.db.run(lambda tx: accounts.named(tx, name))


# --- at rest -----------------------------------------------------------------------------------------------------


def test_no_table_holds_a_token_or_a_secret_that_can_be_read(house: House) -> None:
    refresh(house.ctx, account(house, "us")["id"])
    (ann,) = friends(house, "ann")
    house.enroll("hello", [ann], **BOTH)
    opened = [house.opened(row(house, name)) for name in ("we", "us")]
    house.publish(FORM)
    form = form_secret(house.ctx, "welcome", None, rotate=False).secret
    canaries = [SECRET, *(str(t) for one in opened for t in (one.access_token, one.refresh_token))]
    assert canaries[1:3] == ["token-we", "refresh-we"]
    assert canaries[3].startswith("sim-access-") and canaries[4].startswith("sim-refresh-")
    canaries.append(form)
    dump = everything(house)
    assert "v1:" in dump and len(acts(house)) == 1
    assert [canary for canary in canaries if canary in dump] == []


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE account SET access_token = (SELECT access_token FROM account WHERE name = 'us') WHERE name = 'we'",
        "UPDATE account SET access_token = refresh_token WHERE name = 'we'",
        "UPDATE account SET access_token = (SELECT consumer_secret FROM app) WHERE name = 'we'",
        "UPDATE account SET access_token = overlay(access_token PLACING 'AAAA' FROM 20) WHERE name = 'we'",
        "UPDATE account SET access_token = 'v1:00000000:AAAA' WHERE name = 'we'",
        "UPDATE account SET access_token = 'v9:00000000:AAAA' WHERE name = 'we'",
    ],
    ids=[
        "another account's",
        "another column's",
        "another table's",
        "changed",
        "a lost key's",
        "a newer one",
    ],
)
def test_what_cannot_be_opened_stops_its_account_and_no_other(house: House, tampering: str) -> None:
    people = friends(house, "ann", "bob", "cid")
    sql(house, tampering)
    leads = [lead for person in people for lead in house.enroll("hello", [person], **BOTH)]
    house.pass_time(3 * MINUTE)
    we, us = account(house, "we"), account(house, "us")
    assert (we["state"], us["state"]) == ("needs_reauth", "ok")
    assert we["state_reason"].startswith("reconnect the account: the access_token of account twitter/")
    assert {act.account for act in house.accepted()} == {id_of_handle("us")}
    theirs = {row["account_id"]: row["state"] for row in house.executions()}
    assert theirs == {we["id"]: "planned", us["id"]: "sent"}
    assert {house.lead(i)["waiting_on"] for i in leads if house.lead(i)["state"] == "active"} == {"account"}
    assert told(house) == [("AccountStopped", "needs_reauth")]


def test_once_the_account_is_connected_again_its_leads_go_on(house: House) -> None:
    people = friends(house, "ann", "bob", "cid")
    good = account(house, "we")["access_token"]
    sql(house, "UPDATE account SET access_token = refresh_token WHERE name = 'we'")
    for person in people:
        house.enroll("hello", [person], **BOTH)
    house.pass_time(3 * MINUTE)
    sql(house, "UPDATE account SET access_token = %s WHERE name = 'we'", good)
    set_account(house.ctx, "we", None, "eva")
    house.pass_time(3 * MINUTE)
    assert {row["state"] for row in house.executions()} == {"sent"}


@pytest.mark.parametrize("column", ["access_token", "refresh_token"])
def test_whatever_wants_the_account_finds_it_shut(house: House, column: str) -> None:
    we = account(house, "we")["id"]
    sql(house, f"UPDATE account SET {column} = 'v1:00000000:AAAA' WHERE name = 'we'")
    asked = len(house.simulator.tokens._access)
    if column == "access_token":
        assert poll(house.ctx, we) == []
        assert not examine(house.ctx, "we").fine
    refresh(house.ctx, we)
    assert account(house, "we")["state"] == "needs_reauth"
    assert len(house.simulator.tokens._access) == asked, "nothing was fetched"
    given = disconnect(house.ctx, "we", by="eva")
    assert (given.revoked, account(house, "we")["access_token"]) == (False, "")
    assert "00000000" in str(given.detail)


# --- a process and its secrets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"keys": NEW}, "5 credentials of account us, account we, app sim"),
        ({"pepper": "new"}, "digests of identifiers"),
        ({"keys": f"{NEW},{OLD}"}, "has never met"),
        ({"pepper": "new,old"}, "has never met"),
    ],
    ids=["another key", "another pepper", "a new key goes first", "a new pepper goes first"],
)
def test_a_process_with_other_secrets_does_not_start(
    house: House, servers: Servers, database_url: str, given: dict[str, str], said: str
) -> None:
    friends(house, "ann")
    wrong: dict[str, Any] = {"keys": OLD, "pepper": "old"} | given
    settings = Settings(database_url=database_url, redis_url=servers.redis_url, clock_origin=MONDAY, **wrong)
    with pytest.raises(ConfigurationError, match=said) as refused:
        build_app(settings)
    assert "Nothing is sent" in refused.value.message and refused.value.hint
    assert not [secret for secret in (OLD, NEW) if secret in str(refused.value)]
    assert house.db.read("SELECT count(*) AS n FROM key_check") == [{"n": 2}], "nothing was learnt of it"


def test_a_new_secret_goes_behind_the_old_one_first_and_may_then_go_before_it(house: House) -> None:
    friends(house, "ann")
    start(house, keys=f"{OLD},{NEW}", pepper="old,new")
    start(house, keys=f"{NEW},{OLD}", pepper="new,old")
    start(house)


def test_where_nothing_is_stored_yet_any_secret_will_do(db: Database) -> None:
    for keys_, pepper in ((OLD, "old"), (NEW, "new")):
        require_keys(db, Vault.of(keys_), Peppers.of(pepper), MONDAY)


def test_digests_are_found_pepper_by_pepper_without_reading_them_all(house: House) -> None:
    friends(house, "ann", "bob", "cid")
    opt_out_spelt(
        house.ctx, "email", "x@example.test", reason="asked", source="test", evidence={}, actor="eva"
    )
    with_rings(house, pepper="new,old")
    friends(house, "dan", "eve")
    used = house.db.run(keys.peppers_in_use)
    assert used == {Peppers.of("old").current, Peppers.of("new").current}


# --- rotation --------------------------------------------------------------------------------------------------------


def test_rotating_keys_seals_everything_anew_and_says_what_may_be_dropped(house: House) -> None:
    done = turn(house, keys=f"{NEW},{OLD}")
    assert (done.credentials, done.broken) == (5, [])
    assert [ring.droppable for ring in done.rings] == [[], [Vault.of(OLD).current]]
    start(house, keys=NEW)
    with_rings(house, keys=NEW)
    (ann,) = friends(house, "ann")
    house.enroll("hello", [ann], **BOTH)
    assert len(acts(house)) == 1
    assert turn(house, keys=NEW).credentials == 0


def test_the_secret_of_a_form_is_rotated_with_the_rest_and_belongs_to_it_alone(house: House) -> None:
    house.publish(FORM)
    secret = form_secret(house.ctx, "welcome", None, rotate=False).secret
    assert turn(house, keys=f"{NEW},{OLD}").credentials == 6
    with_rings(house, keys=NEW)
    assert form_secret(house.ctx, "welcome", None, rotate=False).secret == secret
    sql(house, "UPDATE sequence_entry SET secret = (SELECT consumer_secret FROM app)")
    posted: dict[str, Any] = {
        "body": b"{}",
        "content_type": "application/json",
        "signature": "t=1,v1=" + "0" * 64,
    }
    assert take_form(house.ctx, "welcome", "website", **posted).outcome == "locked"
    assert form_secret(house.ctx, "welcome", None, rotate=True).secret != secret
    assert take_form(house.ctx, "welcome", "website", **posted).outcome == "bad_signature"


def test_a_rotation_that_is_broken_off_is_run_again_and_goes_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced, count = keys.replace_sealed, iter(range(100))

    def dies(*args: Any) -> bool:
        if next(count) == 3:
            raise KeyboardInterrupt
        return replaced(*args)

    monkeypatch.setattr("outreach.runtime.rotate._CREDENTIALS", 1)
    monkeypatch.setattr(keys, "replace_sealed", dies)
    with pytest.raises(KeyboardInterrupt):
        turn(house, keys=f"{NEW},{OLD}")
    monkeypatch.setattr(keys, "replace_sealed", replaced)
    counts = {id_: len(rows) for id_, rows in house.db.run(keys.keys_in_use).items()}
    assert counts == {Vault.of(NEW).current: 3, Vault.of(OLD).current: 2}
    with_rings(house, keys=f"{OLD},{NEW}")
    people = friends(house, "ann", "bob", "cid")
    for person in people:
        house.enroll("hello", [person], **BOTH)
    assert len(acts(house)) == 3, "both accounts work in the middle of it"
    assert turn(house, keys=f"{NEW},{OLD}").credentials == 2
    start(house, keys=NEW)


def test_a_token_that_is_refreshed_meanwhile_is_not_written_over(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a worker that still seals under the old key: it has the new one, and what it writes is sealed anew, too."""
    with_rings(house, keys=f"{OLD},{NEW}")
    we, replaced, did = account(house, "we")["id"], keys.replace_sealed, list[str]()

    def slowly(tx: Any, found: Any, sealed: str) -> bool:
        if (found["name"], found["field"]) == ("we", "access_token") and not did:
            did.append("refreshed")
            in_another_thread(lambda: refresh(house.ctx, we))
        return replaced(tx, found, sealed)

    monkeypatch.setattr(keys, "replace_sealed", slowly)
    done = turn(house, keys=f"{NEW},{OLD}")
    assert did and done.broken == []
    with_rings(house, keys=NEW)
    opened = house.opened(row(house, "we"))
    assert opened.access_token == list(house.simulator.tokens._access)[-1]
    assert str(opened.refresh_token).startswith("sim-refresh-")
    start(house, keys=NEW)


def in_another_thread(work: Callable[[], object]) -> None:
    import threading

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()


def test_what_cannot_be_opened_is_left_as_it_is_and_said(house: House) -> None:
    sql(house, "UPDATE account SET access_token = refresh_token WHERE name = 'we'")
    done = turn(house, keys=f"{NEW},{OLD}")
    assert done.credentials == 4
    assert [why.partition(" of ")[0] for why in done.broken] == ["the access_token"]
    assert [ring.droppable for ring in done.rings] == [[], []]


def test_a_secret_that_no_running_process_has_is_not_written_with(house: House) -> None:
    with pytest.raises(ConfigurationError, match="no process has met") as refused:
        turn(house, keys=f"{NEW},{OLD}", stopped=False)
    assert "--stopped" in str(refused.value)
    start(house, keys=f"{OLD},{NEW}")
    assert turn(house, keys=f"{NEW},{OLD}", stopped=False).credentials == 5


# --- peppers ---------------------------------------------------------------------------------------------------------


def bring(house: House, source: str, *lines: str) -> None:
    folder = house.witness_path.parent / f"{source}.csv"
    folder.write_text("\n".join(["name,twitter_id,email", *lines]) + "\n", encoding="utf-8")
    order = Order(path=str(folder), source=source, basis="opt_in", proof="a form")
    run_import(house.db, order, pepper=house.ctx.settings.pepper, now=house.clock.now())


def free(house: House) -> list[str]:
    """Names of those who could be written to."""
    rows = house.db.read(
        "SELECT name FROM person WHERE suppressed_at IS NULL AND erased_at IS NULL ORDER BY name"
    )
    return [r["name"] for r in rows]


def said_no(house: House) -> None:
    """Ann is erased, Bob opted out, and somebody whom nobody knows did, too: all under the pepper of now."""
    ann, bob = friends(house, "ann", "bob")
    assert erase(house.ctx, ann, by="eva")
    opt_out(house.ctx, bob, reason="asked", source="test", evidence={}, actor="eva")
    opt_out_spelt(
        house.ctx, "email", "x@example.test", reason="asked", source="test", evidence={}, actor="eva"
    )


AGAIN = (
    f"Ann,{id_of_handle('ann')},",
    f"Bob,{id_of_handle('bob')},",
    "Xeno,,x@example.test",
    "Yves,,y@example.test",
)


@pytest.mark.parametrize("turned", [False, True], ids=["before keys rotate", "after it"])
def test_whoever_said_no_under_an_older_pepper_stays_out(house: House, turned: bool) -> None:
    said_no(house)
    with_rings(house, pepper="new,old")
    if turned:
        turn(house, pepper="new,old")
    bring(house, "again", *AGAIN)
    assert free(house) == ["Yves"]
    house.enroll(
        "hello", [r["id"] for r in house.db.read("SELECT id FROM person WHERE erased_at IS NULL")], **BOTH
    )
    house.pass_time(3 * MINUTE)
    assert acts(house) == []


def test_rotating_peppers_says_who_stays_bound_to_the_old_one(house: House) -> None:
    said_no(house)
    friends(house, "cid")
    done = turn(house, pepper="new,old")
    assert done.identities == 2, "bob and cid; of ann and of the stranger there are only digests"
    old = Peppers.of("old").current
    assert done.bound == [{"pepper": old, "identities": 1, "erased": 1, "unknown": 1}]
    assert done.rings[0].droppable == []
    with pytest.raises(ConfigurationError, match=f"lacks pepper {old}"):
        start(house, pepper="new")
    start(house, pepper="new,old")
    assert turn(house, pepper="new,old").identities == 0


def test_where_all_words_are_known_the_old_pepper_may_go(house: House) -> None:
    ann, _ = friends(house, "ann", "bob")
    opt_out(house.ctx, ann, reason="asked", source="test", evidence={}, actor="eva")
    done = turn(house, pepper="new,old")
    assert (done.bound, done.rings[0].droppable) == ([], [Peppers.of("old").current])
    start(house, pepper="new")
    with_rings(house, pepper="new")
    bring(house, "again", AGAIN[0])
    assert free(house) == ["Bob"]


def test_a_stranger_who_said_no_and_is_imported_takes_the_old_digest_along(house: House) -> None:
    """Their words are known now, and with them all that stood under the old pepper moves."""
    opt_out_spelt(
        house.ctx, "email", "x@example.test", reason="asked", source="test", evidence={}, actor="eva"
    )
    with_rings(house, pepper="new,old")
    bring(house, "again", *AGAIN[2:])
    done = turn(house, pepper="new,old")
    assert done.bound == []
    start(house, pepper="new")
    with_rings(house, pepper="new")
    bring(house, "third", "Xeno again,,x@example.test", "Zoe,,z@example.test")
    assert free(house) == ["Yves", "Zoe"]


def test_a_handle_that_learns_an_id_which_is_on_the_list_is_not_written_to(house: House) -> None:
    opt_out_spelt(
        house.ctx, "twitter_id", id_of_handle("ann"), reason="asked", source="test", evidence={}, actor="eva"
    )
    with_rings(house, pepper="new,old")
    ann = house.person("ann", resolved=False, basis="opt_in")
    (lead,) = house.enroll("hello", [ann], **BOTH)
    house.pass_time(5 * MINUTE)
    assert (acts(house), house.lead(lead)["exit_reason"]) == ([], "suppression.identifier")


def test_what_an_erased_person_writes_is_kept_nameless_under_a_new_pepper_too(house: House) -> None:
    said_no(house)
    with_rings(house, pepper="new,old")
    house.says("ann", "it is me, sixth-fingerprint")
    house.run()
    assert "sixth-fingerprint" not in everything(house)
    assert [r["peer"] for r in house.db.read("SELECT peer FROM inbound WHERE kind = 'message_in'")] == [""]


# --- lost ------------------------------------------------------------------------------------------------------------


def test_a_key_that_is_lost_is_given_up_by_a_human_and_its_accounts_are_connected_again(house: House) -> None:
    lost = Vault.of(OLD).current
    vault, peppers = Vault.of(NEW), Peppers.of("old")
    with pytest.raises(ConfigurationError, match=lost):
        start(house, keys=NEW)
    done = give_up(house.db, vault, peppers, lost, now=house.clock.now())
    assert (done.kind, sorted(done.stopped)) == ("key", ["us", "we"])
    start(house, keys=NEW)
    assert {account(house, name)["state"] for name in ("we", "us")} == {"needs_reauth"}
    with pytest.raises(UsageError, match="lacks"):
        give_up(house.db, vault, peppers, lost, now=house.clock.now())


def test_a_pepper_that_is_lost_costs_those_of_whom_there_are_only_digests(house: House) -> None:
    said_no(house)
    with pytest.raises(ConfigurationError):
        turn(house, pepper="new")
    give_up(house.db, Vault.of(OLD), Peppers.of("new"), Peppers.of("old").current, now=house.clock.now())
    start(house, pepper="new")
    assert turn(house, pepper="new").identities == 1
    with_rings(house, pepper="new")
    bring(house, "again", *AGAIN)
    assert free(house) == ["Ann", "Xeno", "Yves"], "bob is here, and stays out"
    (pepper, _) = house.db.run(lambda tx: rings(tx, house.ctx.vault, house.ctx.peppers))
    assert pepper.missing == []


# --- as typed --------------------------------------------------------------------------------------------------------


@pytest.fixture
def terminal(
    servers: Servers, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Terminal:  # fmt: skip
    set_environment(monkeypatch, servers, database_url, tmp_path)
    monkeypatch.setenv("OUTREACH_KEYS", OLD)
    found = Terminal(capsys)
    found("migrate")
    add_account(found)
    return found


def test_a_lost_key_as_an_operator_meets_it(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = Vault.of(OLD).current, Vault.of(NEW).current
    said = [terminal("keys", "check")]
    monkeypatch.setenv("OUTREACH_KEYS", NEW)
    for words in (("status",), ("worker",), ("scheduler",), ("web", "--port", "0")):
        terminal(*words, code=2)
        said.append(terminal.err)
        assert f"lacks key {old}" in terminal.err and "account we" in terminal.err
    found = terminal.json("keys", "check", code=1)
    assert [(s["id"], s["ring"], s["stored"]) for s in found["secrets"] if s["kind"] == "key"] == [
        (new, "current", "nothing"), (old, "MISSING", "1 credential of account we"),
    ]  # fmt: skip
    doctor = terminal.json("doctor", code=1)
    assert [c["health"] for c in doctor["checks"] if c["id"] == "O021"] == ["fail"]
    terminal("pause", "--all", "--reason", "a key is lost")
    terminal("keys", "rotate", code=2)
    said += [terminal("keys", "rotate", "--stopped", code=2), terminal.err]
    monkeypatch.setenv("OUTREACH_KEYS", f"{NEW},{OLD}")
    terminal("status", code=2)
    assert "never met" in terminal.err
    said += [terminal("keys", "rotate", "--stopped"), terminal.err]
    assert f"credentials sealed anew under key {new}: 1" in said[-2]
    assert f"may be dropped from OUTREACH_KEYS: {old}" in said[-2]
    monkeypatch.setenv("OUTREACH_KEYS", NEW)
    terminal("status")
    terminal("keys", "give-up", old, code=2)
    terminal("keys", "give-up", old, "--yes", code=2)
    assert not [s for s in (OLD, NEW, "very-secret-token") if s in "".join(said)]


def test_a_fresh_key_is_a_good_one_and_never_the_same(terminal: Terminal) -> None:
    one, other = terminal("keys", "new").strip(), terminal("keys", "new").strip()
    assert one != other and len(Vault.of(f"{one},{other}").ids) == 2
