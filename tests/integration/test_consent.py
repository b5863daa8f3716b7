"""Permissions: a list as a spreadsheet saves it, what it permits, and how a permission ends."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from outreach.audience.consents import ConsentReport, plan_consents, run_consents
from outreach.audience.importing import Order, run_import
from outreach.compliance import register
from outreach.compliance.facts import BasisKind
from outreach.compliance.reaching import look_at, reach
from outreach.embedded.servers import Servers
from outreach.engine.kinds import Channel
from outreach.errors import NotFound, UsageError
from outreach.models.base import Database
from outreach.runtime.explain import explain
from outreach.runtime.withdraw import withdraw
from tests.integration.cli_support import Terminal, set_environment
from tests.integration.law_support import DAY, HOUR, WRITE, acts, open_house, plan, roomy_account
from tests.stage import House

pytestmark = pytest.mark.servers
#: As Excel saves it in Germany: Windows-1252, semicolons, links as formulas.
MESSY = """identifier;channel;basis;source;obtained_at;proof;country;expiry;name
j\u00fcrgen@example.test;email;opt_in;Messe K\u00f6ln;03.05.2025;Formular 17;DE;2027-05-03;{{7*7}}
"=HYPERLINK(""mailto:bob@example.test"";""bob@example.test"")";;consent;{{7*7}};2025-05-03;<script>alert(1)</script>;AT;;<script>
@ann;twitter;opt_in;;2025-05-03;row 4;;;
@ann;twitter;opt_in;web form;;row 5;;;
@ann;twitter;opt_in;web form;2025-05-03;row 6;;;
@stranger;twitter;opt_in;web form;2025-05-03;row 7;;;
"""


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    found = open_house(db, tmp_path)
    path = tmp_path / "people.csv"
    path.write_text(
        "name;twitter;email\nAnn;@ann;ann@example.test\n{{7*7}};;j\u00fcrgen@example.test\n<script>;;bob@example.test\n",
        encoding="cp1252",
    )
    run_import(
        db, Order(path=str(path), source="crm"), pepper=found.ctx.settings.pepper, now=found.clock.now()
    )
    return found


def bring(house: House, folder: Path, text: str = MESSY, work: Any = run_consents) -> ConsentReport:
    path = folder / "consents.csv"
    path.write_bytes(text.encode("cp1252"))
    report: ConsentReport = work(house.db, str(path), [], now=house.clock.now(), reach=reach)
    return report


def record(house: House) -> list[dict[str, Any]]:
    return house.db.read(
        "SELECT i.value, c.channel, c.basis, c.source, c.proof, c.country FROM consent c JOIN identity i ON i.id = c.identity_id ORDER BY c.id"
    )


def events(house: House, kind: str) -> list[dict[str, Any]]:
    return house.db.read("SELECT person_id, actor, payload FROM event WHERE kind = %s ORDER BY id", (kind,))


def test_a_list_as_a_spreadsheet_saves_it(house: House, tmp_path: Path) -> None:
    planned = bring(house, tmp_path, work=plan_consents)
    assert (record(house), house.db.read("SELECT 1 FROM import WHERE source = 'consent list'")) == ([], [])
    report = bring(house, tmp_path)
    assert (report.encoding, report.rows, report.accepted, report.recorded, report.refused) == (
        "cp1252",
        6,
        3,
        3,
        3,
    )
    assert [(r.line, r.column) for r in report.in_order()] == [
        (4, "source"),
        (5, "obtained_at"),
        (7, "identifier"),
    ]
    assert planned.counts() == report.counts()
    assert planned.reach == report.reach
    assert [(r["value"], r["channel"], r["proof"], r["country"]) for r in record(house)] == [
        ("j\u00fcrgen@example.test", "email", "Formular 17", "DE"),
        ("bob@example.test", "email", "<script>alert(1)</script>", "AT"),
        ("ann", "twitter", "row 6", None),
    ]
    assert report.reach["email"] == {"may_contact": 2, "no_basis": 1}
    assert report.reach["twitter"] == {"waits_for_human": 1, "no_identifier": 2}, (
        "no account of ours works on opt-in"
    )
    again = bring(house, tmp_path)
    assert (again.accepted, again.recorded, len(record(house))) == (3, 0, 3)


def test_the_counts_are_the_gates_and_change_with_what_an_account_may(house: House, tmp_path: Path) -> None:
    house.account(name="open", external_id="77", dm_mode="opt_in", mode_reason="a test")
    assert bring(house, tmp_path).reach["twitter"] == {"may_contact": 1, "no_identifier": 2}


def test_a_file_that_is_no_list_of_permissions_is_refused_before_anything_is_written(
    house: House, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="no column is source"):
        bring(house, tmp_path, "identifier,basis,obtained_at,proof\n@ann,opt_in,2025-05-03,7\n")
    assert record(house) == []


# --- how it ends ------------------------------------------------------------------------------------------------


def granted(house: House, *, expires: timedelta | None = None) -> int:
    """Ann opted in, to an account that works on it."""
    roomy_account(house)
    ann = house.person("bob", basis=None)
    now = house.clock.now()
    (row,) = house.db.read("SELECT id FROM identity WHERE person_id = %s", (ann,))
    grant = register.Grant(
        identity_id=row["id"], channel=Channel.TWITTER, basis=BasisKind.OPT_IN, source="form", proof="7", obtained_at=now - DAY,
        expires_at=None if expires is None else now + expires,
    )  # fmt: skip
    house.db.run(lambda tx: register.record_consent(tx, grant, now=now))
    return ann


def test_a_permission_that_ends_between_planning_and_claiming_permits_nothing(house: House) -> None:
    ann = granted(house, expires=HOUR)
    house.publish(WRITE)
    plan(house, "write", [ann])
    house.clock.advance(HOUR)
    house.pass_time(timedelta(minutes=3))
    assert acts(house) == []
    (lead,) = explain(house.ctx, ann).leads
    assert "basis.expired" in [verdict.rule for verdict in lead.against], "neither the engine nor a human may"


def test_it_permits_until_it_ends(house: House) -> None:
    ann = granted(house, expires=HOUR)
    house.publish(WRITE)
    house.clock.advance(HOUR - timedelta(seconds=1))
    house.enroll("write", [ann])
    assert acts(house) == [("dm", "bob")]


def test_the_sweep_says_once_that_a_permission_has_ended(house: House) -> None:
    ann = granted(house, expires=HOUR)
    house.tick()
    assert events(house, "ConsentExpired") == []
    house.clock.advance(HOUR)
    for _ in range(3):
        house.tick()
    (event,) = events(house, "ConsentExpired")
    assert (event["person_id"], event["payload"]["channel"], event["payload"]["basis"]) == (
        ann,
        "twitter",
        "opt_in",
    )


def test_a_withdrawal_is_an_event_with_its_reason_and_binds_the_next_claim(house: House) -> None:
    ann = granted(house)
    house.publish(WRITE)
    plan(house, "write", [ann])
    done = withdraw(house.ctx, ann, Channel.TWITTER, reason="wrote on 3 May", by="eve")
    assert [one.basis for one in done.ended] == [BasisKind.OPT_IN]
    house.pass_time(timedelta(minutes=3))
    assert acts(house) == []
    (event,) = events(house, "ConsentWithdrawn")
    assert (event["person_id"], event["actor"], event["payload"]["basis"]) == (ann, "eve", "opt_in")
    assert house.db.read("SELECT withdraw_reason FROM consent") == [{"withdraw_reason": "wrote on 3 May"}]
    looks = house.db.run(lambda tx: look_at(tx, ann, house.clock.now()))
    assert [(look.channel, look.word) for look in looks] == [("twitter", "no_basis")]
    with pytest.raises(NotFound, match="nothing on record"):
        withdraw(house.ctx, ann, Channel.TWITTER, reason="again", by="eve")


def test_what_was_withdrawn_is_not_noted_as_expired(house: House) -> None:
    ann = granted(house, expires=HOUR)
    withdraw(house.ctx, ann, Channel.TWITTER, reason="wrote", by="eve")
    house.clock.advance(DAY)
    house.tick()
    assert events(house, "ConsentExpired") == []


# --- on the command line ----------------------------------------------------------------------------------------


@pytest.fixture
def terminal(
    servers: Servers,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Terminal:
    set_environment(monkeypatch, servers, database_url, tmp_path / "data")
    return Terminal(capsys)


def test_a_growth_leads_morning(terminal: Terminal, tmp_path: Path) -> None:
    """People, permissions, who may be contacted, one takes it back: as it is typed."""
    people, consents = tmp_path / "people.csv", tmp_path / "consents.csv"
    people.write_text("name;email\n{{7*7}};ann@example.test\n<script>;bob@example.test\n", encoding="cp1252")
    consents.write_text(
        "email;basis;source;date;proof;name\nann@example.test;opt_in;Messe K\u00f6ln;03.05.2025;Formular 1;{{7*7}}\n"
        "bob@example.test;opt_in;;03.05.2025;Formular 2;<script>\n",
        encoding="cp1252",
    )
    terminal("migrate")
    assert terminal.json("audience", "import", str(people), "--source", "crm", "--plan")["reach"][
        "email"
    ] == {"no_basis": 2}
    terminal("audience", "import", str(people), "--source", "crm")
    planned = terminal.json("consent", "import", str(consents), "--plan")
    assert (planned["accepted"], planned["recorded"], planned["left_out"]) == (1, 1, ["name"])
    said = terminal("consent", "import", str(consents))
    assert "line 3 source: the source is missing" in said
    assert "columns left out  name" in said
    shown = terminal.json("consent", "show", "ann@example.test")
    assert [(r["channel"], r["basis"], r["source"], r["state"]) for r in shown["record"]] == [
        ("email", "opt_in", "Messe K\u00f6ln", "stands")
    ]
    assert [(r["channel"], r["verdict"]) for r in shown["now"]] == [("email", "may_contact")]
    done = terminal.json("consent", "withdraw", "ann@example.test", "--channel", "email", "--reason", "wrote")
    assert done["withdrawn"] == ["opt_in"]
    assert "withdrawn" in terminal("consent", "show", "ann@example.test")
    terminal("consent", "withdraw", "ann@example.test", "--channel", "email", "--reason", "wrote", code=2)
    terminal("consent", "withdraw", "ann@example.test", "--channel", "fax", "--reason", "wrote", code=2)
    terminal("consent", "withdraw", "ann@example.test", "--channel", "email", "--reason", " ", code=2)
    terminal("consent", "show", "nobody@example.test", code=2)
    terminal("consent", "import", str(tmp_path / "consent.csv"), code=2)
    assert "Did you mean" in terminal.err


def test_a_list_of_which_nothing_can_be_used_ends_with_one(terminal: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "consents.csv"
    path.write_text(
        "email,basis,source,date,proof\nann@example.test,opt_in,form,2025-05-03,7\n", encoding="utf-8"
    )
    terminal("migrate")
    terminal("consent", "import", str(path), code=1)
    assert "nobody is known by it" in terminal.out


def test_a_forms_secret_is_told_by_name(terminal: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "welcome.yaml"
    path.write_text(
        "sequence: welcome\nentry: [{on: form, form: a}, {on: form, form: b}]\nactions: {wait: {do: WAIT, for: 1d}}\n",
        encoding="utf-8",
    )
    terminal("migrate")
    assert "people come in by form a, form b" in terminal("sequence", "check", str(path))
    terminal("sequence", "publish", str(path))
    terminal("sequence", "form-secret", "welcome", code=2)
    assert "say which: a, b" in terminal.err
    first = terminal.json("sequence", "form-secret", "welcome", "a")
    assert first["url"].endswith("/forms/welcome/a")
    assert terminal.json("sequence", "form-secret", "welcome", "a", "--rotate")["secret"] != first["secret"]
    terminal("sequence", "form-secret", "welcome", "c", code=2)
