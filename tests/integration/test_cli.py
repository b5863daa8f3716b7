"""The command line on real servers: every group at least once, its exit codes, and JSON that parses."""

import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from outreach.audience.aliases import alias
from outreach.cli import run
from outreach.embedded.servers import Servers
from outreach.models import instance
from outreach.models.base import Database
from tests.integration.cli_support import NOW, SEQUENCE, Terminal, add_account, add_person, set_environment

pytestmark = pytest.mark.servers


@pytest.fixture
def terminal(
    servers: Servers, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Terminal:  # fmt: skip
    set_environment(monkeypatch, servers, database_url, tmp_path)
    return Terminal(capsys)


@pytest.fixture
def house(terminal: Terminal, db: Database) -> Terminal:
    """An instance with an account, a person called Ada Example and a segment that holds her."""
    terminal("migrate")
    add_account(terminal)
    add_person(db, "Ada Example", "ada_example")
    return terminal


def _enrolled(house: Terminal, tmp_path: Path) -> int:
    (tmp_path / "hello.yaml").write_text(SEQUENCE)
    house("sequence", "publish", str(tmp_path / "hello.yaml"))
    house("enroll", "hello", "--segment", "only-ada_example")
    return int(house.json("lead", "list")[0]["id"])


# --- the instance ------------------------------------------------------------------------------------------------


def test_migrate_makes_the_instance_and_does_nothing_the_second_time(terminal: Terminal) -> None:
    terminal("migrate")
    assert terminal.json("migrate") == {"applied": [], "note": None, "online": []}
    assert terminal.json("status")["instance"] == "local"


def test_a_database_without_an_instance_says_what_to_run(terminal: Terminal) -> None:
    terminal("status", code=2)
    assert "outreach migrate" in terminal.err


def test_a_command_takes_the_clock_of_the_database(terminal: Terminal, db: Database) -> None:
    instance.create(db, name="demo", simulated_only=True, origin=NOW, factor=3600.0, now=NOW)
    assert terminal.json("status")["mode"] == "SIMULATED ONLY"
    assert "SIMULATED ONLY · demo" in terminal.err


def test_the_mode_stands_on_stderr_and_never_on_stdout(house: Terminal) -> None:
    house("live", "status", "--json")
    assert "SIMULATED · local" in house.err
    assert json.loads(house.out) == {"mode": "SIMULATED", "instance": "local"}


def test_production_without_urls_is_a_configuration_error(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("DYNO", "web.1")
    monkeypatch.setenv("OUTREACH_PEPPER", "p")
    monkeypatch.setenv("OUTREACH_INSTANCE", "spring")
    monkeypatch.setenv("OUTREACH_KEYS", "k" * 43)
    monkeypatch.setenv("OUTREACH_LINK_SECRET", "s")
    terminal("status", code=2)
    assert "DATABASE_URL" in terminal.err


def test_a_database_that_does_not_answer_fails_without_a_traceback(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://me:hunter2@127.0.0.1:1/none")
    terminal("status", code=1)
    assert "does not answer" in terminal.err
    assert "hunter2" not in terminal.err
    assert "Traceback" not in terminal.err


def test_commands_that_need_no_redis_work_without_it(
    house: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    assert house.json("account", "list")[0]["name"] == "we"
    house("lead", "list")


# --- switches ------------------------------------------------------------------------------------------------------


def test_live_needs_the_instances_name(house: Terminal) -> None:
    house("live", "on", "--confirm", "wrong", code=2)
    assert house.json("live", "status")["mode"] == "SIMULATED"
    house("live", "on", "--confirm", "local")
    assert house.json("live", "status")["mode"] == "LIVE"
    house("live", "off")
    assert house.json("live", "status")["mode"] == "SIMULATED"


def test_live_on_without_a_terminal_says_how_to_confirm(
    house: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    house("live", "on", code=2)
    assert "--confirm" in house.err


def test_a_demo_database_never_goes_live(terminal: Terminal, db: Database) -> None:
    instance.create(db, name="demo", simulated_only=True, origin=NOW, factor=1.0, now=NOW)
    terminal("live", "on", "--confirm", "demo", code=2)


def test_pause_all_shows_on_every_command_until_resumed(house: Terminal) -> None:
    house("pause", "--all", "--reason", "holidays")
    house("lead", "list")
    assert "PAUSED: holidays" in house.err
    house("resume", "--all")
    house("lead", "list")
    assert "PAUSED" not in house.err


def test_pause_wants_exactly_one_thing(house: Terminal) -> None:
    house("pause", "--reason", "why", code=2)
    house("pause", "--all", "--account", "we", "--reason", "why", code=2)


def test_a_person_is_paused_and_resumed(house: Terminal) -> None:
    house("pause", "--person", "Ada Example", "--reason", "on leave")
    assert house.json("audience", "show", "@ada_example")["person"]["paused_at"]
    house("resume", "--person", "@ada_example")
    assert house.json("audience", "show", "@ada_example")["person"]["paused_at"] is None


# --- accounts --------------------------------------------------------------------------------------------------------


def test_an_account_is_added_listed_paused_and_pooled_without_its_secrets(house: Terminal) -> None:
    assert house.json("account", "list")[0]["caps"] == {"SEND_TWITTER_DM": "4/hour"}
    assert "very-secret-token" not in house.out
    house("account", "pause", "we", "--reason", "review")
    assert house.json("status")["accounts_in_trouble"][0]["reason"] == "review"
    house("account", "resume", "we")
    house("account", "pool", "team", "--account", "we")
    assert house.json("account", "list")[0]["pools"] == ["team"]


def test_an_account_without_a_token_is_refused_before_anything_is_written(
    house: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OUTREACH_ACCESS_TOKEN", raising=False)
    house("account", "add", "twitter", "b", "--app", "sim", "--external-id", "78", code=2)
    assert len(house.json("account", "list")) == 1


def test_what_the_platform_permits_needs_a_reason(house: Terminal) -> None:
    house(
        "account", "add", "twitter", "b", "--app", "sim", "--external-id", "78", "--follow-permitted", code=2
    )
    assert "reason" in house.err


def test_the_same_account_is_not_added_twice(house: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTREACH_ACCESS_TOKEN", "t")
    house("account", "add", "twitter", "we", "--app", "sim", "--external-id", "78", code=2)
    house("account", "add", "twitter", "other", "--app", "sim", "--external-id", "77", code=2)


# --- sequences -------------------------------------------------------------------------------------------------------


def test_a_sequence_is_checked_published_shown_and_drawn(house: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "hello.yaml"
    path.write_text(SEQUENCE)
    assert house.json("sequence", "check", str(path))[0]["ok"] is True
    published = house.json("sequence", "publish", str(path))
    assert {k: published[k] for k in ("sequence", "version", "new")} == {
        "sequence": "hello",
        "version": 1,
        "new": True,
    }
    assert published["lanes"]["segments"], "whom it may contact stands beside it"
    assert house.json("sequence", "publish", str(path))["new"] is False
    assert house.json("sequence", "list")[0]["name"] == "hello"
    assert house.json("sequence", "show", "hello")["source"] == SEQUENCE
    assert "flowchart TD" in house("sequence", "graph", "hello")
    assert "flowchart TD" in house("sequence", "graph", str(path))
    assert json.loads(house("sequence", "schema"))["type"] == "object"


def test_a_broken_file_shows_all_its_problems_and_publishes_nothing(house: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("sequence: Not A Name\nactions:\n  a: {do: NOTHING}\n")
    problems = house.json("sequence", "check", str(path), code=2)[0]["problems"]
    assert {p["code"] for p in problems} >= {"S104", "S105"}
    house("sequence", "publish", str(path), code=2)
    assert house.json("sequence", "list") == []


def test_a_sequence_is_paused_resumed_and_archived(house: Terminal, tmp_path: Path) -> None:
    _enrolled(house, tmp_path)
    for words, state in (
        (("pause", "--reason", "text"), "paused"),
        (("resume",), "active"),
        (("archive",), "archived"),
    ):
        house("sequence", words[0], "hello", *words[1:])
        assert house.json("sequence", "list")[0]["state"] == state


def test_a_misspelt_name_brings_up_the_nearest(house: Terminal, tmp_path: Path) -> None:
    _enrolled(house, tmp_path)
    for words in (
        ("sequence", "show", "helo"),
        ("stats", "helo"),
        ("enroll", "helo", "--segment", "only-ada_example"),
    ):
        house(*words, code=2)
        assert "Did you mean hello?" in house.err
    house("enroll", "hello", "--segment", "only-ada_exampel", code=2)
    assert "Did you mean only-ada_example?" in house.err
    house("account", "resume", "wee", code=2)
    assert "Did you mean we?" in house.err
    house("lead", "list", "--state", "activ", code=2)
    assert "Did you mean active?" in house.err


# --- leads -----------------------------------------------------------------------------------------------------------


def test_enrolling_again_adds_nobody(house: Terminal, tmp_path: Path) -> None:
    _enrolled(house, tmp_path)
    assert house.json("enroll", "hello", "--segment", "only-ada_example")["enrolled"] == 0


def test_a_lead_is_listed_by_alias_paused_resumed_and_stopped(house: Terminal, tmp_path: Path) -> None:
    lead = _enrolled(house, tmp_path)
    row = house.json("lead", "list", "--sequence", "hello", "--state", "active")[0]
    assert row["person"] == alias(row["person_id"])
    assert "ada_example" not in house("lead", "list")
    house("lead", "pause", str(lead), "--reason", "wait")
    house("lead", "resume", str(lead))
    house("lead", "stop", str(lead), "--reason", "enough")
    found = house.json("lead", "show", str(lead))["lead"]
    assert (found["state"], found["exit_reason"]) == ("exited", "enough")
    house("lead", "stop", str(lead), code=2)
    house("lead", "show", "999", code=2)


def test_why_tells_the_rule_that_stands_against_the_next_step(house: Terminal, tmp_path: Path) -> None:
    lead = _enrolled(house, tmp_path)
    _advance(house, lead)
    found = house.json("why", "@ada_example")["leads"][0]
    assert "x.dm.inbound_first" in found["against"]
    assert found["earliest"] is None
    assert found["path"][0]["kind"] == "LeadEnrolled"
    said = house("why", "Ada Example")
    assert "next send: not by itself: x.dm.inbound_first, basis.none" in said
    assert "x.dm.inbound_first" in said
    assert "ada_example" not in said


def _advance(house: Terminal, lead: int) -> None:
    """What a worker would do with the lead's first hint."""
    from outreach import app as apps
    from outreach.runtime.advance import advance
    from outreach.settings import Settings

    app = apps.build(Settings.from_environment())
    try:
        advance(app.context, lead)
    finally:
        app.close()


# --- who -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["@Ada_Example", "https://x.com/ada_example", "ada ex", "1", "ALIAS"])
def test_who_understands_every_spelling(house: Terminal, db: Database, spelling: str) -> None:
    person = db.read("SELECT id FROM person")[0]["id"]
    who = {"1": str(person), "ALIAS": alias(person)}.get(spelling, spelling)
    assert house.json("audience", "show", who)["person"]["id"] == person


def test_an_ambiguous_name_lists_the_candidates_by_id(house: Terminal, db: Database) -> None:
    second = add_person(db, "Ada Other", "ada_other")
    house("why", "ada", code=2)
    assert str(second) in house.err
    assert "ada_other" not in house.err


def test_nobody_is_an_error_that_does_not_repeat_what_was_typed(house: Terminal) -> None:
    house("why", "@someone_else", code=2)
    assert "someone_else" not in house.err


# --- sending ---------------------------------------------------------------------------------------------------------


def test_a_send_that_the_gate_hands_over_ends_with_3_and_the_rule(house: Terminal) -> None:
    send = ("send", "--key", "k1", "--to", "@ada_example", "--kind", "SEND_TWITTER_DM", "--text", "Hello")
    found = house.json(*send, code=3)
    assert (found["state"], found["verdict"]["rule"], found["new"]) == ("planned", "x.dm.inbound_first", True)
    assert house.json(*send, code=3)["new"] is False
    assert len(house.json("ledger", "list")) == 1


def test_an_enqueued_send_is_left_to_the_workers(house: Terminal) -> None:
    found = house.json(
        "send",
        "--key",
        "k2",
        "--to",
        "@ada_example",
        "--kind",
        "SEND_TWITTER_DM",
        "--text",
        "Hi",
        "--enqueue",
    )
    assert found["enqueued"] is True
    assert found["execution"] is None


def test_a_send_without_text_is_a_usage_error(house: Terminal) -> None:
    house("send", "--key", "k3", "--to", "@ada_example", "--kind", "SEND_TWITTER_DM", code=2)
    house("send", "--key", "k3", "--to", "@ada_example", "--kind", "SEND_PIGEON", "--text", "x", code=2)


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("sent", 0),
        ("refused", 1),
        ("blocked", 3),
        ("planned", 3),
        ("in_doubt", 4),
        ("held", 4),
        ("calling", 4),
    ],
)
def test_a_sends_exit_code_follows_what_became_of_it(state: str, code: int) -> None:
    from outreach.cli.sending import exit_code

    assert exit_code({"execution_state": state, "state": "active"}) == code


def test_a_task_is_listed_and_starting_it_needs_a_basis(house: Terminal) -> None:
    house(
        "send", "--key", "k4", "--to", "@ada_example", "--kind", "SEND_TWITTER_DM", "--text", "Hello", code=3
    )
    task = house.json("task", "list")[0]
    assert task["reason"] == "x.dm.inbound_first"
    house("task", "start", str(task["id"]), "--by", "me", code=3)
    assert "basis.none" in house.err


def test_a_task_with_a_basis_shows_whom_to_write_to_and_is_done(house: Terminal, db: Database) -> None:
    db.run(lambda tx: tx.execute(
        "INSERT INTO consent (identity_id, channel, basis, source, proof, obtained_at, recorded_at)"
        " SELECT id, 'twitter', 'legitimate_interest', 'test', 'test', %s, %s FROM identity", (NOW, NOW)))  # fmt: skip
    house(
        "send",
        "--key",
        "k5",
        "--to",
        "@ada_example",
        "--kind",
        "SEND_TWITTER_DM",
        "--text",
        "Hello there",
        code=3,
    )
    task = str(house.json("task", "list")[0]["id"])
    house("task", "done", task, code=2)
    started = house.json("task", "start", task, "--by", "me")
    assert (started["text"], started["holder"], started["handles"][0]) == (
        "Hello there",
        "me",
        "@ada_example",
    )
    house("task", "done", task, "--by", "me")
    assert house.json("ledger", "list", "--state", "sent")[0]["done_by"] == "me"
    assert house.json("task", "list") == []
    assert house.json("task", "list", "--closed")[0]["state"] == "done"


def test_a_skipped_task_ends_its_lead(house: Terminal) -> None:
    house(
        "send", "--key", "k6", "--to", "@ada_example", "--kind", "SEND_TWITTER_DM", "--text", "Hello", code=3
    )
    house("task", "skip", str(house.json("task", "list")[0]["id"]), "--by", "me")
    assert house.json("lead", "list", "--state", "exited")


# --- the ledger ------------------------------------------------------------------------------------------------------


def test_the_ledger_shows_one_contact_with_its_verdict(house: Terminal) -> None:
    house(
        "send", "--key", "k7", "--to", "@ada_example", "--kind", "SEND_TWITTER_DM", "--text", "Hello", code=3
    )
    row = house.json("ledger", "list", "--account", "we", "--since", "2026-01-01")[0]
    assert house.json("ledger", "show", str(row["id"]))["verdict"]["rule"] == "x.dm.inbound_first"
    house("ledger", "resolve", str(row["id"]), "--happened", code=2)
    assert "held" in house.err
    house("ledger", "list", "--since", "yesterday", code=2)


@pytest.mark.parametrize(("answer", "state"), [("--happened", "sent"), ("--not-happened", "skipped")])
def test_a_held_contact_is_resolved_by_a_human(
    house: Terminal, db: Database, answer: str, state: str
) -> None:
    house(
        "send", "--key", "k8", "--to", "@ada_example", "--kind", "SEND_TWITTER_DM", "--text", "Hello", code=3
    )
    execution = house.json("ledger", "list")[0]["id"]

    def hold(tx: Any) -> None:
        tx.execute(
            "UPDATE execution SET state = 'held', reason = 'test', fence = 1, started_at = %s, call_deadline = %s, effect_by = %s WHERE id = %s",
            (NOW, NOW, NOW, execution),
        )
        tx.execute("UPDATE task SET kind = 'held' WHERE execution_id = %s", (execution,))

    db.run(hold)
    assert house.json("ledger", "resolve", str(execution), answer, "--by", "me")["state"] == state


# --- do not contact ----------------------------------------------------------------------------------------------------


def test_a_person_is_suppressed_checked_listed_and_lifted(house: Terminal, tmp_path: Path) -> None:
    _enrolled(house, tmp_path)
    house("suppression", "add", "@ada_example", "--reason", "asked by letter")
    assert house.json("dnd", "check", "@ada_example", code=3)["suppressed"] is True
    assert house.json("dnd", "list")[0]["person"]
    assert house.json("lead", "list", "--state", "exited")
    assert house.json("dnd", "lift", "@ada_example", "--reason", "asked again")["lifted"] >= 1
    assert house.json("dnd", "check", "@ada_example")["suppressed"] is False


def test_an_identifier_that_nobody_is_known_by_is_suppressed_too(house: Terminal) -> None:
    house("dnd", "add", "stranger@example.test", "--reason", "asked by phone")
    assert house.json("dnd", "check", "Stranger@Example.test", code=3)["suppressed"] is True
    assert "stranger" not in house("dnd", "list")
    assert house.json("dnd", "lift", "stranger@example.test", "--reason", "mistake")["lifted"] == 1


def test_what_is_neither_a_person_nor_an_identifier_is_not_found(house: Terminal) -> None:
    house("dnd", "add", "nobody at all", "--reason", "why", code=2)


# --- the audience --------------------------------------------------------------------------------------------------------


def test_people_are_planned_imported_and_merged(house: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("name,twitter,email\nBo Example,@bo_example,bo@example.test\nCy Example,@cy_example,\n")
    words = ("audience", "import", str(path), "--source", "test")
    assert house.json(*words, "--plan")["persons_new"] == 2
    assert house.json(*words)["persons_new"] == 2
    assert house.json(*words)["writes"] == 0
    assert "may contact" in house(*words, "--plan")
    assert house.json("audience", "imports")[0]["source"] == "test"
    merged = house.json("audience", "merge", "bo@example.test", "@cy_example", "--evidence", "they said so")
    assert house.json("audience", "show", "@cy_example")["person"]["id"] == merged["kept"]


def test_a_segment_is_created_from_a_condition_and_enrolled(house: Terminal, tmp_path: Path) -> None:
    _enrolled(house, tmp_path)
    assert house.json("segment", "create", "everybody", "--where", "twitter exists")["members"] == 1
    assert house.json("enroll", "hello", "--segment", "everybody")["left_out"]
    house("segment", "create", "nobody", "--where", "twiter exists", code=2)
    assert "nobody" not in house("segment", "list")


def test_a_segment_is_listed_and_shown_by_alias(house: Terminal) -> None:
    assert house.json("segment", "list")[0]["members"] == 1
    assert house.json("segment", "show", "only-ada_example")["first_members"]
    house("segment", "show", "only-ada_exampel", code=2)
    assert "Did you mean" in house.err


# --- watching ------------------------------------------------------------------------------------------------------------


def test_events_name_their_cause_and_never_a_handle(house: Terminal, tmp_path: Path) -> None:
    lead = _enrolled(house, tmp_path)
    kinds = [row["kind"] for row in house.json("events", "--lead", str(lead))]
    assert kinds == ["LeadEnrolled"]
    assert house.json("events", "--kind", "AccountAdded")
    assert "ada_example" not in house("events")
    house("events", "--kind", "LeadEnroled", code=2)


def test_stats_count_what_was_planned_and_never_claim_reads(house: Terminal, tmp_path: Path) -> None:
    lead = _enrolled(house, tmp_path)
    _advance(house, lead)
    found = house.json("stats", "hello")
    assert found["leads"][0]["leads"] == 1
    (row,) = found["funnel"]
    assert (row["node"], row["planned"], row["waiting"], row["sent"], row["reads"]) == (
        "say",
        1,
        1,
        0,
        "not offered",
    )


def test_a_reply_is_credited_to_the_variant_that_it_answers(
    house: Terminal, tmp_path: Path, db: Database
) -> None:
    lead = _enrolled(house, tmp_path)
    _advance(house, lead)

    def answered(tx: Any) -> None:
        tx.execute(
            "UPDATE execution SET state = 'sent', sent_at = %s, effect_by = %s, started_at = %s",
            (NOW, NOW, NOW),
        )
        tx.execute(
            "INSERT INTO signal (lead_id, kind, content_id, class, at, received_at) VALUES (%s, 'REPLIED', 'c', 'positive', %s, %s)",
            (lead, NOW, NOW),
        )

    db.run(answered)
    (row,) = house.json("stats", "hello")["funnel"]
    assert (row["sent"], row["replies"], row["positive_replies"]) == (1, 1, 1)


def test_status_shows_every_cap_with_what_is_left(house: Terminal) -> None:
    caps = {(c["kind"], c["cap"]): c for c in house.json("status")["caps"]}
    assert caps["SEND_TWITTER_DM", "4/hour"]["left"] == 4
    assert "no cap has been touched" in house("status")


def test_replies_are_empty_before_anybody_writes(house: Terminal) -> None:
    assert house.json("replies") == []
    assert "no replies yet" in house("replies")


# --- doctor --------------------------------------------------------------------------------------------------------------


def test_doctor_finds_a_sound_house_sound(house: Terminal) -> None:
    checks = {c["id"]: c for c in house.json("doctor")["checks"]}
    assert {f"O{n:03}" for n in range(1, 15)} <= checks.keys()
    assert checks["O003"]["health"] == "ok"


def test_a_policy_pack_that_nobody_has_checked_for_long_warns_in_doctor_and_on_publishing(
    house: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = {check["id"]: check for check in house.json("doctor")["checks"]}
    assert checks["O020"]["health"] == "ok"
    monkeypatch.setattr("outreach.compliance.sources.OLD_AFTER", timedelta(days=-100_000))
    checks = {check["id"]: check for check in house.json("doctor")["checks"]}
    assert checks["O020"]["health"] == "warn" and "x (read on" in checks["O020"]["detail"]
    (tmp_path / "hello.yaml").write_text(SEQUENCE)
    house("sequence", "publish", str(tmp_path / "hello.yaml"))
    assert house.err.count("warning: policy pack x") == 1
    assert "policy pack email" not in house.err


def test_doctor_fails_where_the_database_does_not_answer_and_tells_no_password(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://me:hunter2@127.0.0.1:1/none")
    checks = {c["id"]: c for c in terminal.json("doctor", code=1)["checks"]}
    assert checks["O002"]["health"] == "fail"
    assert "hunter2" not in terminal.out


def test_doctor_holds_the_processes_connections_against_the_tightest_limit(
    house: Terminal, db: Database
) -> None:
    name = db.read("SELECT current_database() AS name")[0]["name"]
    with db.transaction() as tx:
        tx.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 13")
    found = {c["id"]: c for c in house.json("doctor", code=1)["checks"]}["O007"]
    assert found["health"] == "fail" and "this database allows 13" in found["detail"]
    assert "1 worker x 8" in found["detail"] and "essential-0" in found["detail"]
    few = {c["id"]: c for c in house.json("doctor", "--formation", "web=0")["checks"]}["O007"]
    assert few["health"] == "ok"


def test_doctor_fails_where_redis_does_not_answer(house: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    assert {c["id"] for c in house.json("doctor", code=1)["checks"] if c["health"] == "fail"} == {"O004"}


def test_a_single_process_wants_urls(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL")
    terminal("worker", code=2)
    assert "outreach up" in terminal.err


def test_an_unknown_queue_brings_up_the_nearest(terminal: Terminal) -> None:
    terminal("worker", "--queues", "twiter", code=2)
    assert "Did you mean twitter?" in terminal.err


def test_an_unexpected_error_is_one_line(house: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def burst(*_: object) -> None:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr("outreach.models.reports.accounts", burst)
    house("account", "list", code=1)
    assert "RuntimeError: first line (--traceback shows where)" in house.err
    assert "second line" not in house.err
    with pytest.raises(RuntimeError):
        run(["account", "list", "--traceback"])
