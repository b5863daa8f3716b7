"""Bad input, as a user gives it: one message with what to do, the right exit code, no traceback, and nothing half done."""

import codecs
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from outreach.app import build
from outreach.audience import importing
from outreach.audience.importing import Order, run_import
from outreach.cli import sending
from outreach.embedded.servers import Servers
from outreach.engine.source import MAX_BYTES
from outreach.models.base import Database
from outreach.settings import Settings
from outreach.simulator import id_of_handle
from outreach.web.optout import make_token
from outreach.web.server import create_app
from tests.integration.cli_support import SEQUENCE, Terminal, add_account, add_person, set_environment
from tests.integration.law_support import open_house, roomy_account
from tests.integration.line import Line

pytestmark = pytest.mark.servers
HEADER = "name,twitter,email,first_name\n"
ADA = "Ada Example,@ada_example,ada@example.org,Ada\n"
SPELT = "Zoë,@zoe_example,zoe@example.org,Zoë\n"


@pytest.fixture
def terminal(
    servers: Servers, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Terminal:  # fmt: skip
    set_environment(monkeypatch, servers, database_url, tmp_path)
    monkeypatch.chdir(tmp_path)
    return Terminal(capsys)


@pytest.fixture
def house(terminal: Terminal, db: Database) -> Terminal:
    """An instance with an account and a pool, a person and her segment, and a published sequence."""
    terminal("migrate")
    add_account(terminal)
    add_person(db, "Ada Example", "ada_example")
    Path("hello.yaml").write_text(SEQUENCE)
    terminal("sequence", "publish", "hello.yaml")
    terminal("account", "pool", "team", "--account", "we")
    return terminal


def refused(terminal: Terminal, *words: str, code: int = 2) -> str:
    """What a command says that must fail: one message, no traceback, nothing on stdout but what it found before."""
    terminal(*words, code=code)
    said = terminal.err
    assert "Traceback" not in said
    assert said.count("error: ") + said.count("Error: ") == 1, said
    return said


def rows_of(db: Database) -> dict[str, int]:
    """How many rows there are of whatever a refused command might have left behind."""
    tables = ("person", "identity", "import", "profile", "segment", "sequence_version", "lead", "execution", "account",
              "suppression", "event", "person_event", "consent")  # fmt: skip
    return {t: db.read(f"SELECT count(*) AS n FROM {t}")[0]["n"] for t in tables}


# --- names -------------------------------------------------------------------------------------------------------


NAMES = [
    ("sequnce list", "sequence"),
    ("sequence lst", "list"),
    ("sequence show helo", "Did you mean hello?"),
    ("sequence graph helo", "Did you mean hello?"),
    ("sequence pause helo --reason r", "Did you mean hello?"),
    ("sequence resume helo", "Did you mean hello?"),
    ("sequence archive helo", "Did you mean hello?"),
    ("stats helo", "Did you mean hello?"),
    ("lead list --sequence helo", "Did you mean hello?"),
    ("pause --sequence helo --reason r", "Did you mean hello?"),
    ("resume --sequence helo", "Did you mean hello?"),
    ("enroll helo --segment only-ada_example", "Did you mean hello?"),
    ("enroll hello --segment only-ada_exampel", "Did you mean only-ada_example?"),
    ("segment show only-ada", "Did you mean only-ada_example?"),
    ("enroll hello --segment only-ada_example --account wee", "Did you mean we?"),
    ("enroll hello --segment only-ada_example --account twiter=we", "--account twitter=we"),
    ("enroll hello --segment only-ada_example --pool teem", "Did you mean team?"),
    ("account pause wee --reason r", "Did you mean we?"),
    ("account resume wee", "Did you mean we?"),
    ("account pool p --account wee", "Did you mean we?"),
    ("pause --account wee --reason r", "Did you mean we?"),
    ("resume --account wee", "Did you mean we?"),
    ("ledger list --account wee", "Did you mean we?"),
    ("send --key k --to @ada_example --kind SEND_TWITTER_DM --text x --account wee", "Did you mean we?"),
    ("send --key k --to @ada_example --kind SEND_TWITER_DM --text x", "Did you mean SEND_TWITTER_DM?"),
    ("account add twiter a --app b --external-id 1", "Did you mean twitter?"),
    ("account add twitter a --app b --external-id 1 --zone Europe/Berln", "Did you mean Europe/Berlin?"),
    (
        "account add twitter a --app b --external-id 1 --caps SEND_TWITER_DM=1/hour",
        "Did you mean SEND_TWITTER_DM?",
    ),
    ("lead list --state activ", "Did you mean active?"),
    ("lead list --waiting-on tim", "Did you mean time?"),
    ("ledger list --state snt", "Did you mean sent?"),
    ("events --kind ActionSnt", "Did you mean ActionSent?"),
    ("segment create s --where sorce=t", "did you mean source?"),
    ("worker --queues twiter", "Did you mean twitter?"),
    ("lead show 999", "outreach lead list"),
    ("events --lead 999", "outreach lead list"),
    ("task start 999", "outreach task list"),
    ("task done 999", "outreach task list"),
    ("task never 999", "outreach task list"),
    ("task next --kind SEND_TWITER_DM", "Did you mean SEND_TWITTER_DM?"),
    ("task list --kind hold", "Did you mean held?"),
    ("task caps wee", "Did you mean we?"),
    ("task done 1 --at soon", "2026-01-05T12:00"),
    ("reply answer 999 --text x", "outreach replies"),
    ("reply class 999 positiv", "Did you mean positive?"),
    ("reply assign 999 --to eve", "outreach replies"),
    ("replies --class positiv", "Did you mean positive?"),
    ("ledger show 999", "outreach ledger list"),
]


@pytest.mark.parametrize(("words", "hint"), NAMES, ids=[words for words, _ in NAMES])
def test_a_name_that_is_not_there_brings_up_the_nearest_and_changes_nothing(
    house: Terminal, db: Database, words: str, hint: str
) -> None:
    before = rows_of(db)
    assert hint in refused(house, *words.split())
    assert rows_of(db) == before


@pytest.mark.parametrize("who", ["@ada_exampel", "ada_exmaple", "https://x.com/ada_exampl", "Ada Exampel"])
@pytest.mark.parametrize("command", ["why", "audience show", "events --person", "pause --reason r --person"])
def test_a_misspelt_human_brings_up_the_nearest_by_number_and_alias_alone(
    house: Terminal, db: Database, command: str, who: str
) -> None:
    person = db.read("SELECT id FROM person")[0]["id"]
    said = refused(house, *command.split(), who)
    assert f"Did you mean {person} (" in said
    assert "ada" not in said.lower().replace("error", "")


def test_whoever_lifts_nothing_is_told_so(house: Terminal, db: Database) -> None:
    before = rows_of(db)
    assert "outreach dnd list" in refused(house, "dnd", "lift", "@ada_exampel", "--reason", "r")
    assert "outreach dnd list" in refused(house, "dnd", "lift", "@ada_example", "--reason", "r")
    assert rows_of(db) == before


def test_somebody_quite_different_is_nobody(house: Terminal) -> None:
    assert "Did you mean" not in refused(house, "why", "@zebra_crossing")


@pytest.mark.parametrize(
    "words",
    [
        "account pause we", "sequence pause hello", "lead pause 1", "lead stop 1", "dnd add 1", "dnd lift 1",
        "sequence archive hello", "pause --all",
    ],
)  # fmt: skip
def test_an_empty_reason_is_no_reason(house: Terminal, db: Database, words: str) -> None:
    house("enroll", "hello", "--segment", "only-ada_example")
    before = rows_of(db)
    assert "reason" in refused(house, *words.split(), "--reason", " ")
    assert rows_of(db) == before
    assert db.read("SELECT state FROM account") == [{"state": "ok"}]
    assert db.read("SELECT suppressed_at FROM person") == [{"suppressed_at": None}]


@pytest.mark.parametrize(
    "words",
    [
        "lead list --limit 99999999999999999999", "events --limit 0", "replies --limit -1", "lead show 1e3",
        "enroll hello --segment only-ada_example --limit 99999999999999999999", "worker --threads 257", "web --port 65536",
        "up --port 65536", "up --workers 17", "demo --leads 0", "ledger list --since yesterday",
    ],
)  # fmt: skip
def test_a_number_out_of_range_is_usage(house: Terminal, words: str) -> None:
    refused(house, *words.split())


# --- sequence files --------------------------------------------------------------------------------------------------


def bomb() -> bytes:
    """A billion laughs: nine times nine times nine …"""
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]" for n in range(20)]
    return "\n".join(lines).encode()


YAML = [
    (b"", "says nothing", "Start with"),
    (bytes(range(256)), "binary data", "YAML text file"),
    (SEQUENCE.encode("utf-16"), "UTF-16", "Save it as UTF-8"),
    (SEQUENCE.encode("utf-16-le"), "UTF-16", "Save it as UTF-8"),
    ("sequence: caf\xe9".encode("latin-1"), "0xe9", "Save it as UTF-8"),
    (b"#" * 10_000_000, f"larger than {MAX_BYTES:,}", "right file?"),
    (bomb(), "more than 100 aliases", "Write out"),
    (b"a: " + b"[" * 50_000, "nested more than 20", "bracket"),
    (b"a: !!python/object/apply:os.system ['id']", "has no meaning here", "Take it out"),
    (SEQUENCE.replace("message:", "mesage:").encode(), "mesage is not known", "Did you mean message?"),
    (SEQUENCE.replace("TWITTER_DM", "TWITER_DM").encode(), "no kind of action", "Did you mean SEND_TWITTER_DM?"),
    (SEQUENCE.replace("NOT_REPLIED", "NOT_REPLYED").encode(), "no kind of edge", "Did you mean NOT_REPLIED?"),
    (SEQUENCE.replace("{{ first_name }}", "{{ frist_name }}").encode(), "frist_name", "Did you mean first_name?"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "what", "mend"), YAML, ids=[what for _, what, _ in YAML])
def test_a_broken_sequence_file_is_told_by_line_with_what_to_do_and_publishes_nothing(
    terminal: Terminal, db: Database, content: bytes, what: str, mend: str
) -> None:
    terminal("migrate")
    Path("x.yaml").write_bytes(content)
    before = rows_of(db)
    for command in ("check", "publish", "graph"):
        said = terminal("sequence", command, "x.yaml", code=2) + terminal.err
        assert what in said, command
        assert mend in said, command
        assert "x.yaml:" in said
        assert "Traceback" not in said
    assert rows_of(db) == before


@pytest.mark.parametrize(
    "command", ["sequence check", "sequence publish", "sequence graph", "audience import --source t"]
)
def test_a_file_that_is_not_there_brings_up_the_nearest(terminal: Terminal, command: str) -> None:
    terminal("migrate")
    Path("people.csv").write_text(HEADER)
    Path("hello.yaml").write_text(SEQUENCE)
    Path("folder.d").mkdir()
    assert "Did you mean hello.yaml?" in refused(terminal, *command.split(), "helo.yaml")
    assert "Did you mean people.csv?" in refused(terminal, *command.split(), "pepole.csv")
    assert "looked in" in refused(terminal, *command.split(), "no/such/thing.x")
    assert "it is a folder" in refused(terminal, *command.split(), "folder.d")


def test_a_file_that_may_not_be_read_says_so(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("hello.yaml").write_text(SEQUENCE)

    def denied(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert "chmod" in refused(terminal, "sequence", "check", "hello.yaml")


# --- files of people -------------------------------------------------------------------------------------------------


FILES = [
    (b"", "is empty", 2),
    (b" \n\n", "nothing but blanks", 2),
    (HEADER.encode(), "no row below it", 2),
    (bytes(range(256)), "is binary", 2),
    (b"PK\x03\x04\x14\0\x06\0", "is a workbook", 2),
    (HEADER.encode("utf-16-le"), "UTF-16 without a byte order mark", 2),
    (HEADER.encode("utf-32"), "is UTF-32", 2),
    (b"Vorname,Twittter,Telefon\nAda,@ada,1\n", "--map Twittter=twitter", 2),
    (b"1,2,3\n4,5,6\n", "is the header missing?", 2),
    (HEADER.encode() + ADA.encode() * 3 + b'"Eve,@eve\n', "line 5", 2),
    (b"name,twitter\nA,!!!\nB,???\n", "nobody was imported", 1),
    (b'name,twitter\nA,=A1\n', "nobody was imported", 1),
    (b'{"name": "A"}\n', "no column identifies anybody", 2),
    (b'{oops\n', "holds no record", 2),
]  # fmt: skip


@pytest.mark.parametrize("plan", [[], ["--plan"]], ids=["run", "plan"])
@pytest.mark.parametrize(("content", "what", "code"), FILES, ids=[what for _, what, _ in FILES])
def test_a_broken_file_of_people_is_refused_whole_with_what_to_do(
    terminal: Terminal, db: Database, content: bytes, what: str, code: int, plan: list[str]
) -> None:
    terminal("migrate")
    Path("x").write_bytes(content)
    before = rows_of(db)
    said = refused(terminal, "audience", "import", "x", "--source", "t", *plan, code=code)
    assert what in said
    assert said.rstrip().splitlines()[-1].startswith("  "), "a hint says what to do"
    assert rows_of(db) == before


def test_a_huge_file_is_refused_before_it_is_read_to_its_end(
    terminal: Terminal, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal("migrate")
    monkeypatch.setattr("outreach.audience.reading.MAX_BYTES", 3 * 1024**2)
    Path("x.csv").write_text(HEADER + ADA * 100_000)
    assert "larger than 3 MB" in refused(terminal, "audience", "import", "x.csv", "--source", "t")
    assert rows_of(db)["import"] == 0


def test_a_file_that_breaks_off_behind_the_first_slice_leaves_nothing(
    terminal: Terminal, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal("migrate")
    monkeypatch.setattr(importing, "SLICE", 2)
    Path("x.csv").write_text(HEADER + "".join(f"P,@p{n},,\n" for n in range(9)) + '"Eve,@eve\n')
    assert "line 11" in refused(terminal, "audience", "import", "x.csv", "--source", "t")
    assert (rows_of(db)["person"], rows_of(db)["import"]) == (0, 0)


SPELLINGS: list[tuple[str, bytes]] = [
    ("utf-8", (HEADER + SPELT).encode()),
    ("utf-8 with a mark", codecs.BOM_UTF8 + (HEADER + SPELT).encode()),
    ("utf-16", (HEADER + SPELT).encode("utf-16")),
    ("utf-16 big-endian", codecs.BOM_UTF16_BE + (HEADER + SPELT).encode("utf-16-be")),
    ("cp1252", (HEADER + SPELT).encode("cp1252")),
    ("excel", ("sep=;\r\n" + (HEADER + SPELT).replace(",", ";").replace("\n", "\r\n")).encode("cp1252")),
    ("tabs", (HEADER + SPELT).replace(",", "\t").encode("utf-16")),
    ("links", (HEADER + 'Zoë,"=HYPERLINK(""https://x.com/zoe_example"";""@zoe_example"")",'
               '"=HYPERLINK(""mailto:zoe@example.org"",""write"")",Zoë\n').encode()),
]  # fmt: skip


@pytest.mark.parametrize("content", [c for _, c in SPELLINGS], ids=[name for name, _ in SPELLINGS])
def test_every_programs_spelling_of_a_file_is_the_same_person(
    terminal: Terminal, db: Database, content: bytes
) -> None:
    terminal("migrate")
    Path("x.csv").write_bytes(content)
    terminal("audience", "import", "x.csv", "--source", "t")
    assert db.read("SELECT name FROM person") == [{"name": "Zoë"}]
    assert db.read("SELECT kind, value FROM identity ORDER BY kind") == [
        {"kind": "email", "value": "zoe@example.org"},
        {"kind": "twitter_handle", "value": "zoe_example"},
    ]
    assert db.read("SELECT attributes FROM profile") == [{"attributes": {"first_name": "Zoë"}}]


# --- people with odd names -------------------------------------------------------------------------------------------

EVIL = ("{{7*7}}", "<script>alert(1)</script>", "{% raw %}", "${7*7}", "'; DROP TABLE person; --")


def test_names_that_are_code_elsewhere_are_names_here_from_the_file_to_the_message_and_the_page(
    db: Database, tmp_path: Path, database_url: str, servers: Servers, terminal: Terminal
) -> None:
    handles = [f"evil_{n}" for n in range(len(EVIL))]
    stage = open_house(db, tmp_path, handles)
    roomy_account(stage)
    lines = [f'"{name}",{id_of_handle(h)},UTC,"{name}"' for name, h in zip(EVIL, handles, strict=True)]
    (tmp_path / "evil.csv").write_text("name,twitter_id,zone,first_name\n" + "\n".join(lines))
    order = Order(path=str(tmp_path / "evil.csv"), source="crm", basis="opt_in", proof="a test")
    run_import(db, order, pepper=stage.ctx.settings.pepper, now=stage.clock.now())
    persons = {row["name"]: row["id"] for row in db.read("SELECT id, name FROM person")}
    assert set(persons) == set(EVIL)
    stage.publish(SEQUENCE)
    leads = stage.enroll("hello", [persons[name] for name in EVIL])
    texts = sorted(a.body or "" for a in stage.accepted())
    assert len(texts) == len(EVIL), stage.db.read("SELECT waiting_on, waiting_detail FROM lead")
    for name in EVIL:
        assert any(text.startswith(f"Hello {name}. ") for text in texts), name
    assert not any("49" in text.partition("http")[0] for text in texts)
    for lead, name in zip(leads, EVIL, strict=True):
        shown = terminal("lead", "show", str(lead)) + terminal("why", str(persons[name]))
        shown += terminal("audience", "show", name)
        assert name in shown
    page = _opt_out_page(database_url, servers, persons[EVIL[1]])
    assert "<script>" not in page
    assert "49" not in page


def _opt_out_page(database_url: str, servers: Servers, person: int) -> str:
    app = build(Settings(database_url=database_url, redis_url=servers.redis_url, link_secret="links"))
    try:
        with TestClient(create_app(app)) as web:
            url = f"/opt-out/{make_token('links', person)}"
            return str(
                web.get(url).text + web.post(url).text + web.get("/opt-out/<script>alert(1)</script>").text
            )
    finally:
        app.close()


# --- servers that are away at the start ------------------------------------------------------------------------------

COMMANDS = [
    "status", "migrate", "worker", "scheduler", "web", "up", "lead list", "lead show 1", "ledger list", "task list", "events",
    "replies", "stats hello", "account list", "sequence list", "segment list", "audience imports", "dnd list", "why 1",
    "pause --all --reason r", "resume --all", "live status", "enroll hello --segment s", "audience import people.csv --source t",
    "send --key k --to 1 --kind SEND_TWITTER_DM --text x",
]  # fmt: skip


def wrong(url: str, **changes: str) -> str:
    """The URL with another password or database name."""
    head, _, name = url.partition("?")[0].rpartition("/")
    start, _, rest = head.rpartition("@")
    user = start.rpartition(":")[0]
    password = changes.get("password", start.rpartition(":")[2])
    return f"{user}:{password}@{rest}/{changes.get('name', name)}"


@pytest.mark.parametrize("words", COMMANDS)
def test_a_database_that_cannot_be_used_is_one_message_whatever_is_run(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, database_url: str, words: str
) -> None:
    Path("people.csv").write_text(HEADER + ADA)
    cases = [
        ("postgres://me:hunter2@127.0.0.1:1/none", 1, "does not answer"),
        (wrong(database_url, password="hunter2"), 2, "check user, password and name in DATABASE_URL"),
        (wrong(database_url, name="nosuch"), 2, "check user, password and name in DATABASE_URL"),
        (f"{database_url}{'&' if '?' in database_url else '?'}hunter=2", 2, "DATABASE_URL cannot be used"),
        ("postgres://me:hunter2@[::1/none", 2, "DATABASE_URL is no URL"),
        ("mysql://me:hunter2@127.0.0.1/none", 2, "as in DATABASE_URL=postgres://"),
    ]
    for url, code, what in cases:
        monkeypatch.setenv("DATABASE_URL", url)
        said = refused(terminal, *words.split(), code=code)
        assert what in said
        assert "hunter2" not in said


@pytest.mark.parametrize("words", ["worker", "scheduler", "up"])
def test_a_redis_that_cannot_be_used_is_one_message_for_whoever_needs_it_to_start(
    house: Terminal, monkeypatch: pytest.MonkeyPatch, servers: Servers, words: str
) -> None:
    cases = [
        ("redis://:hunter2@127.0.0.1:1/0", 1, "Redis does not answer"),
        (wrong(servers.redis_url, password="hunter2"), 2, "check password"),
        ("redis://:hunter2@127.0.0.1:port/0", 2, "REDIS_URL is no URL"),
        ("http://127.0.0.1", 2, "as in REDIS_URL=redis://"),
    ]
    for url, code, what in cases:
        monkeypatch.setenv("REDIS_URL", url)
        said = refused(house, *words.split(), code=code)
        assert what in said
        assert "hunter2" not in said


@pytest.mark.parametrize("words", ["web", "up"])
def test_a_port_that_is_taken_is_a_configuration_error_and_not_the_gates_refusal(
    house: Terminal, words: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = refused(house, words, "--port", str(taken.getsockname()[1]))
    assert "cannot be listened on" in said
    assert "--port" in said


@pytest.mark.parametrize("words", ["status", "migrate", "worker", "scheduler", "web", "up", "lead list"])
def test_a_schema_of_a_release_that_serves_this_code_no_more_says_which_to_deploy(
    house: Terminal, db: Database, words: str
) -> None:
    db.run(
        lambda tx: tx.execute(
            "INSERT INTO migration (name, number, sha256, release, serves_from, applied_at) VALUES ('0002_next', 2, 'x', '9.8.7', 2, now())"
        )
    )
    assert "deploy release 9.8.7 or later" in refused(house, *words.split())


# --- servers that go away in the middle ------------------------------------------------------------------------------


@pytest.fixture
def line(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """DATABASE_URL by way of a line that can be cut."""
    found = Line(database_url)
    monkeypatch.setenv("DATABASE_URL", found.url)
    yield found
    found.cut()


def after(work: Callable[..., Any], then: Callable[[], None]) -> Callable[..., Any]:
    """`work`, and right behind it `then`, the first time."""
    done: list[bool] = []

    def both(*words: Any, **named: Any) -> Any:
        found = work(*words, **named)
        if not done:
            done.append(True)
            then()
        return found

    return both


def test_an_import_whose_database_goes_away_has_written_nothing_and_can_be_run_again(
    house: Terminal, db: Database, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("people.csv").write_text(HEADER + SPELT)
    before = rows_of(db)
    with monkeypatch.context() as patch:
        patch.setattr(importing, "_write_rows", after(importing._write_rows, line.cut))
        said = refused(house, "audience", "import", "people.csv", "--source", "t", code=1)
    assert "does not answer" in said
    assert rows_of(db) == before
    line.mend()
    house("audience", "import", "people.csv", "--source", "t")
    assert rows_of(db)["person"] == before["person"] + 1


def test_a_send_whose_database_goes_away_is_in_doubt_and_its_key_tells_later(
    house: Terminal, line: Line, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("send", "--key", "k", "--to", "@ada_example", "--kind", "SEND_TWITTER_DM", "--text", "x")
    with monkeypatch.context() as patch:
        patch.setattr(sending, "_step", after(sending._step, line.cut))
        said = refused(house, *words, code=4)
    assert "may have been sent" in said
    assert "the same key" in said
    line.mend()
    house(*words, code=3)
    assert "this key was used before" in house.out
    assert rows_of(db)["execution"] == 1
