"""Imports against a real database: plan, run, run again; guards, opt-outs, bases, encodings; and the shipped files."""

import json
import threading
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outreach.audience import importing
from outreach.audience.importing import Order, plan_import, run_import
from outreach.audience.report import ImportReport, write_rejects
from outreach.audience.samples import CONTACTS_SOURCE, DIRECTORY_SOURCE, sample_audience
from outreach.compliance.reaching import reach as gate_reach
from outreach.errors import ConflictError, UsageError
from outreach.models import identities
from outreach.models.base import Database, Tx
from outreach.peppers import Peppers

pytestmark = pytest.mark.servers

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
PEPPER = "test-pepper"
TABLES = (
    "import",
    "person",
    "identity",
    "identity_link",
    "profile",
    "consent",
    "suppression",
    "person_event",
)


def order(path: Path | str, *, source: str = "crm", **words: Any) -> Order:
    return Order(path=str(path), source=source, **words)


@pytest.fixture
def bring(db: Database, tmp_file: Path) -> Any:
    """bring("twitter,email", "@ada,a@example.test", …): import these lines."""

    def run(header: str, *lines: str, plan: bool = False, **words: Any) -> ImportReport:
        tmp_file.write_text("\n".join([header, *lines, ""]), encoding="utf-8")
        work = plan_import if plan else run_import
        return work(db, order(tmp_file, **words), pepper=PEPPER, now=NOW, reach=gate_reach)

    return run


def content(db: Database) -> dict[str, list[dict[str, Any]]]:
    return {table: db.read(f"SELECT * FROM {table} ORDER BY id") for table in TABLES}


def people(db: Database) -> set[frozenset[str]]:
    """The partition: the values of each person."""
    rows = db.read("SELECT array_agg(value ORDER BY value) AS values FROM identity GROUP BY person_id")
    return {frozenset(row["values"]) for row in rows}


def suppress(db: Database, kind: str, value: str, channel: str | None = None) -> None:
    """An opt-out of somebody of whom nothing else is known any more."""
    db.run(
        lambda tx: tx.execute(
            "INSERT INTO suppression (hmac, channel, reason, source, at) VALUES (%s, %s, 'said stop', 'reply', %s)",
            (Peppers.of(PEPPER).digest(kind, value), channel, NOW),
        )
    )


# --- plan, run, run again -----------------------------------------------------------------------------------

ROWS = ("@ada,ada@example.test,Ada", "@bob,,Bob", ",nonsense,Nobody", "https://t.me/x,cy@example.test,Cy")


def test_a_plan_writes_nothing_and_says_what_the_run_then_does(db: Database, bring: Any) -> None:
    before = content(db)
    plan = bring("twitter,email,name", *ROWS, plan=True)
    assert content(db) == before
    run = bring("twitter,email,name", *ROWS)
    told = [
        {k: v for k, v in report.as_json().items() if k not in ("planned", "import_id")}
        for report in (plan, run)
    ]
    assert told[0] == told[1]
    assert (run.rows, run.accepted, run.rejected_rows, run.rejected_cells, run.persons_new) == (4, 3, 1, 2, 3)
    assert [(r.line, r.column) for r in run.rejects] == [(4, "email"), (4, ""), (5, "twitter")]


def test_the_same_file_again_changes_nothing_but_the_list_of_imports(db: Database, bring: Any) -> None:
    bring("twitter,email,name", *ROWS, basis="opt_in", proof="form 7")
    before = content(db)
    again = bring("twitter,email,name", *ROWS, basis="opt_in", proof="form 7")
    after = content(db)
    assert again.writes == 0
    assert (again.persons_new, again.persons_known) == (0, 3)
    assert {t: rows for t, rows in after.items() if t != "import"} == {
        t: rows for t, rows in before.items() if t != "import"
    }
    assert len(after["import"]) == 2
    assert after["import"][1]["counts"]["persons_known"] == 3


def test_a_report_is_json(bring: Any) -> None:
    report = bring("twitter,email,name", *ROWS)
    assert json.loads(json.dumps(report.as_json()))["identities_new"] == {"twitter_handle": 2, "email": 2}


def test_rejects_are_written_as_json_lines(bring: Any, tmp_path: Path) -> None:
    report = bring("twitter,name", '"=CONCAT(""x"")",Eve')
    target = tmp_path / "rejects.jsonl"
    assert write_rejects(report, target) == 2
    assert json.loads(target.read_text(encoding="utf-8").splitlines()[0])["value"] == '=CONCAT("x")'


def test_what_changed_in_a_record_changes_its_profile_and_what_is_known_of_a_person_stays(
    db: Database, bring: Any
) -> None:
    bring("twitter,name,stage,country", "@ada,Ada,A,")
    report = bring("twitter,name,stage,country", "@ada,Countess,B,GB")
    assert report.profiles == Counter(changed=1, unchanged=0)
    (profile,) = db.read("SELECT attributes FROM profile")
    assert profile["attributes"] == {"stage": "B"}
    assert db.read("SELECT name, country FROM person") == [{"name": "Ada", "country": "GB"}]


def test_one_real_record_makes_an_invented_person_real(db: Database, bring: Any) -> None:
    bring("twitter,invented", "@sim_ada,true")
    assert db.read("SELECT invented FROM person") == [{"invented": True}]
    bring("twitter,stage", "@sim_ada,A")
    assert db.read("SELECT invented FROM person") == [{"invented": False}]


def test_hostile_names_are_stored_as_they_are(db: Database, bring: Any) -> None:
    names = ["{{7*7}}", "<script>alert(1)</script>", "'; DROP TABLE person; --", "%s %(x)s"]
    bring("twitter,name", *[f"@h{n},{name}" for n, name in enumerate(names)])
    assert [row["name"] for row in db.read("SELECT name FROM person ORDER BY id")] == names


def test_a_file_of_nothing_but_rejects_leaves_no_trace(db: Database, bring: Any) -> None:
    report = bring("twitter", "a b", "https://t.me/x")
    assert (report.accepted, report.import_id) == (0, None)
    assert all(not rows for rows in content(db).values())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"source": " "}, "needs a source"),
        ({"source": "resolved"}, "the engine's own"),
        ({"basis": "opt_in"}, "given together"),
        ({"proof": "form 7"}, "given together"),
        ({"basis": "inbound", "proof": "they wrote"}, "no basis is named inbound"),
        ({"mappings": ["handle=twiter"]}, "no such field"),
        ({"mappings": ["nope=twitter"]}, "no column 'nope'"),
    ],
)
def test_an_order_that_does_not_hold_together_writes_nothing(
    db: Database, bring: Any, words: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        bring("twitter", "@ada", **words)
    assert all(not rows for rows in content(db).values())


def test_json_lines_with_mapped_nested_columns(db: Database, tmp_path: Path) -> None:
    path = tmp_path / "people.jsonl"
    path.write_text(
        '{"social": {"twitter": "@ada"}, "tags": ["a", "b"]}\n{"social": {"twitter": "@bob"}}\n',
        encoding="utf-8",
    )
    report = run_import(db, order(path, mappings=["social.twitter=twitter"]), pepper=PEPPER, now=NOW)
    assert (report.format, report.accepted) == ("jsonl", 2)
    assert db.read("SELECT attributes FROM profile ORDER BY id")[0]["attributes"] == {"tags": ["a", "b"]}


def test_slices_of_a_long_file_come_to_the_same_people(
    db: Database, bring: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "SLICE", 2)
    lines = [f"@h{n % 4},h{n % 4}@example.test" for n in range(9)]
    plan, run = bring("twitter,email", *lines, plan=True), bring("twitter,email", *lines)
    assert (plan.persons_new, plan.persons_known) == (run.persons_new, run.persons_known) == (4, 0)
    assert people(db) == {frozenset({f"h{n}", f"h{n}@example.test"}) for n in range(4)}
    assert len(db.read("SELECT id FROM import")) == 1


# --- who is who ---------------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.permutations(
        [
            "@ada,a@example.test,",
            ",A@Example.test,linkedin.com/in/ada",
            "x.com/ADA,,",
            "@bob,,in/bob",
            ",,linkedin.com/in/bob/",
            ",b@example.test,in/bob",
        ]
    )
)
def test_the_order_of_rows_does_not_change_who_is_who(db: Database, bring: Any, lines: list[str]) -> None:
    # what people were is only added to: not for whoever begins anew here
    db.run(
        lambda tx: tx.script(
            "SET LOCAL session_replication_role = replica; TRUNCATE person, identity, identity_link, profile, import CASCADE"
        )
    )
    bring("twitter,email,linkedin", *lines)
    assert people(db) == {
        frozenset({"ada", "a@example.test", "in/ada"}),
        frozenset({"bob", "b@example.test", "in/bob"}),
    }


def test_a_new_identity_joins_the_person_who_is_known(db: Database, bring: Any) -> None:
    bring("twitter,email", "@ada,")
    report = bring("twitter,email", "@ada,ada@example.test", source="newsletter")
    assert (report.persons_new, report.persons_known, report.identities_new) == (0, 1, Counter(email=1))
    assert people(db) == {frozenset({"ada", "ada@example.test"})}


def test_a_row_that_speaks_of_two_known_persons_as_one_leaves_both_and_proposes(
    db: Database, bring: Any
) -> None:
    bring("twitter,email", "@ada,", ",ada@example.test")
    for _ in range(2):
        report = bring("twitter,email", "@ada,ada@example.test", source="newsletter")
        assert [(m.person_a, m.person_b, m.line) for m in report.would_merge] == [(1, 2, 2)]
    assert len(people(db)) == 2
    assert [row["status"] for row in db.read("SELECT status FROM identity_link")] == ["proposed"]


def test_a_link_that_a_human_has_cut_stays_cut(db: Database, bring: Any) -> None:
    bring("twitter,email", "@ada,ada@example.test")
    db.run(lambda tx: tx.execute("UPDATE identity_link SET status = 'cut'"))
    report = bring("twitter,email", "@ada,ada@example.test")
    assert (report.writes, db.read("SELECT status FROM identity_link")) == (0, [{"status": "cut"}])


def test_an_office_mailbox_does_not_make_one_person_of_its_office(db: Database, bring: Any) -> None:
    report = bring("twitter,email", *[f"@h{n},contact@example.test" for n in range(5)])
    assert (report.persons_new, report.links_new) == (5, Counter(active=1, held_degree=4))
    assert (report.hubs[0].shown, report.hubs[0].links, report.hubs[0].held) == ("contact@example.test", 5, 4)
    later = bring("twitter,email", "@late,contact@example.test")
    assert later.links_new == Counter(held_degree=1)


def test_two_twitter_ids_are_never_one_person(db: Database, bring: Any) -> None:
    bring("twitter,twitter_id", "@ada,1")
    report = bring("twitter,twitter_id", "@ada,2")
    assert report.links_new == Counter(held_conflict=1)
    assert people(db) == {frozenset({"1", "ada"}), frozenset({"2"})}


def test_two_imports_at_once_make_each_person_once(db: Database, tmp_path: Path) -> None:
    lines = "\n".join(["twitter,email", *[f"@h{n},h{n}@example.test" for n in range(300)], ""])
    paths = [tmp_path / name for name in ("one.csv", "two.csv")]
    reports: list[ImportReport] = []

    def work(path: Path) -> None:
        path.write_text(lines, encoding="utf-8")
        reports.append(run_import(db, order(path), pepper=PEPPER, now=NOW))

    threads = [threading.Thread(target=work, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(r.persons_new for r in reports) == [0, 300]
    assert len(people(db)) == 300


@pytest.mark.parametrize("times", [2, 3])
def test_a_person_merged_meanwhile_is_read_again_and_then_nothing_is_half_done(
    db: Database, bring: Any, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    bring("twitter", "@ada")
    before, left, lock = content(db), [times], identities.lock_persons

    def busy(tx: Tx, persons: Iterable[int]) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise ConflictError("merged meanwhile")
        lock(tx, persons)

    monkeypatch.setattr(identities, "lock_persons", busy)
    if times < 3:
        assert bring("twitter,email", "@ada,ada@example.test").identities_new == Counter(email=1)
        return
    with pytest.raises(ConflictError):
        bring("twitter,email", "@ada,ada@example.test")
    assert content(db) == before


def test_a_merged_person_receives_nothing(db: Database, bring: Any) -> None:
    bring("twitter", "@ada", "@bob")
    db.run(lambda tx: tx.execute("UPDATE person SET merged_into = 1 WHERE id = 2"))
    with pytest.raises(ConflictError, match="merged or erased"):
        bring("twitter,email", "@bob,bob@example.test")


# --- permission ---------------------------------------------------------------------------------------------


def reach(report: ImportReport, channel: str) -> dict[str, int]:
    return dict(report.reach[channel])


def test_nothing_may_be_sent_without_a_basis_by_nobody(bring: Any) -> None:
    report = bring(
        "twitter,email,linkedin,address", f"@ada,ada@example.test,in/ada,0x{'1' * 40}", "@bob,,company/bob,"
    )
    assert reach(report, "twitter") == {"no_basis": 2}
    assert reach(report, "email") == reach(report, "xmtp") == {"no_basis": 1, "no_identifier": 1}
    assert reach(report, "linkedin") == {"no_basis": 1, "no_identifier": 1}


def test_a_basis_holds_for_the_identities_of_the_file_and_for_nothing_they_are_linked_with(
    db: Database, bring: Any
) -> None:
    bring("twitter,email", "@ada,ada@example.test")
    report = bring("email,stage", "ada@example.test,A", basis="opt_in", proof="form 7")
    assert (report.bases_new, reach(report, "email"), reach(report, "twitter")) == (
        1,
        {"may_contact": 1},
        {"no_basis": 1},
    )
    (consent,) = db.read(
        "SELECT c.channel, c.basis, c.proof, i.value FROM consent c JOIN identity i ON i.id = c.identity_id"
    )
    assert consent == {"channel": "email", "basis": "opt_in", "proof": "form 7", "value": "ada@example.test"}


def test_interest_is_no_reason_for_a_direct_message_on_twitter(bring: Any) -> None:
    report = bring(
        "twitter,email", "@ada,ada@example.test", basis="legitimate_interest", proof="assessment 3"
    )
    assert (reach(report, "twitter"), reach(report, "email")) == ({"waits_for_human": 1}, {"may_contact": 1})


def test_a_basis_that_was_withdrawn_is_not_revived_by_its_file(db: Database, bring: Any) -> None:
    bring("email", "ada@example.test", basis="opt_in", proof="form 7")
    db.run(lambda tx: tx.execute("UPDATE consent SET withdrawn_at = %s, withdraw_reason = 'asked'", (NOW,)))
    report = bring("email", "ada@example.test", basis="opt_in", proof="form 7")
    assert (report.bases_new, reach(report, "email")) == (0, {"no_basis": 1})


def test_who_opted_out_comes_back_suppressed_with_every_identity(db: Database, bring: Any) -> None:
    suppress(db, "email", "ada@example.test")
    report = bring("twitter,email", "@ada,ADA@example.test", "@bob,", basis="opt_in", proof="form 7")
    assert report.suppressed == 1
    assert reach(report, "twitter") == {"suppressed": 1, "waits_for_human": 1}
    assert reach(report, "email") == {"suppressed": 1, "no_identifier": 1}
    (ada,) = db.read(
        "SELECT id, suppressed_at, suppression_reason FROM person WHERE suppressed_at IS NOT NULL"
    )
    assert (ada["suppressed_at"], ada["suppression_reason"]) == (NOW, "said stop")
    remembered = {row["hmac"] for row in db.read("SELECT hmac FROM suppression WHERE hmac IS NOT NULL")}
    assert Peppers.of(PEPPER).digest("twitter_handle", "ada") in remembered
    assert [
        e["kind"] for e in db.read("SELECT kind FROM person_event WHERE person_id = %s", (ada["id"],))
    ] == ["suppressed"]


def test_a_known_person_is_suppressed_when_a_file_gives_them_an_identifier_that_opted_out(
    db: Database, bring: Any
) -> None:
    bring("twitter", "@ada")
    suppress(db, "email", "ada@example.test")
    assert bring("twitter,email", "@ada,ada@example.test").suppressed == 1
    assert db.read("SELECT id FROM person WHERE suppressed_at IS NOT NULL") == [{"id": 1}]


def test_a_new_identifier_of_a_suppressed_person_is_remembered_too(db: Database, bring: Any) -> None:
    bring("twitter", "@ada")
    db.run(
        lambda tx: tx.execute(
            "UPDATE person SET suppressed_at = %s, suppression_reason = 'said stop'", (NOW,)
        )
    )
    report = bring("twitter,email", "@ada,ada@example.test")
    assert (report.suppressed, reach(report, "email")) == (0, {"suppressed": 1})
    assert Peppers.of(PEPPER).digest("email", "ada@example.test") in {
        r["hmac"] for r in db.read("SELECT hmac FROM suppression")
    }


def test_an_opt_out_from_one_channel_stops_that_channel(db: Database, bring: Any) -> None:
    suppress(db, "email", "ada@example.test", channel="email")
    report = bring("twitter,email", "@ada,ada@example.test", basis="opt_in", proof="form 7")
    assert (report.suppressed, reach(report, "email"), reach(report, "twitter")) == (
        0,
        {"suppressed": 1},
        {"waits_for_human": 1},
    )


def test_an_import_never_lifts_an_opt_out(db: Database, bring: Any) -> None:
    suppress(db, "twitter_handle", "ada")
    for day in range(3):
        bring("twitter,stage", f"@ada,{day}", basis="consent", proof=f"paper {day}")
    assert db.read(
        "SELECT count(*) AS standing FROM suppression WHERE hmac IS NOT NULL AND lifted_at IS NULL"
    ) == [{"standing": 1}]
    assert db.read("SELECT count(*) AS free FROM person WHERE suppressed_at IS NULL") == [{"free": 0}]


def test_an_expired_basis_is_none(db: Database, bring: Any) -> None:
    bring("email", "ada@example.test", basis="opt_in", proof="form 7")
    ended = "UPDATE consent SET obtained_at = obtained_at - interval '1 day', expires_at = %s"
    db.run(lambda tx: tx.execute(ended, (NOW - timedelta(seconds=1),)))
    assert reach(bring("email,stage", "ada@example.test,B"), "email") == {"expired": 1}


# --- the shipped files --------------------------------------------------------------------------------------


def test_the_shipped_directory_of_real_organisations_is_imported_once_and_for_all(db: Database) -> None:
    with sample_audience() as sample:
        first, again = (
            run_import(
                db,
                order(sample.directory, source=DIRECTORY_SOURCE),
                pepper=PEPPER,
                now=NOW,
                reach=gate_reach,
            )
            for _ in range(2)
        )
    assert (first.rows, first.rejected_rows, first.rejected_cells) == (4191, 0, 8)
    assert first.identities_new == Counter(twitter_handle=2763, solana_address=4169, linkedin_slug=63)
    assert (first.persons_new, first.largest_person, first.hubs[0].links) == (3149, 13, 99)
    assert reach(first, "twitter") == {"no_basis": 2762, "no_identifier": 387}
    assert again.writes == 0


def test_the_invented_contacts_are_forty_people_in_sixty_rows(db: Database) -> None:
    with sample_audience() as sample:
        report = run_import(
            db, order(sample.contacts, source=CONTACTS_SOURCE), pepper=PEPPER, now=NOW, reach=gate_reach
        )
    assert (report.rows, report.accepted, report.persons_new, report.rejects) == (60, 60, 40, [])
    assert report.links_new.keys() == {"active"}
    found = db.read(
        "SELECT bool_and(invented) AS invented, bool_and(zone IS NOT NULL AND country IS NOT NULL) AS placed FROM person"
    )
    assert found == [{"invented": True, "placed": True}]
    handles = db.read("SELECT value FROM identity WHERE kind = 'twitter_handle'")
    assert all(row["value"].startswith("sim_") for row in handles)
    emails = db.read("SELECT value FROM identity WHERE kind = 'email'")
    assert all(row["value"].endswith("@example.test") for row in emails)
