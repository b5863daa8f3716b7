"""Day one of a growth lead: a messy list, and everything between it and the first answers, by commands alone, on real processes.

The list is as Excel saves it (cp1252, semicolons), with a formula, a man called {{7*7}}, one called <script>, somebody twice, a handle that is
none, and somebody on the do-not-contact list.
"""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from outreach.embedded.recipe import free_ports
from outreach.embedded.servers import Servers
from outreach.embedded.supervisor import Command, Supervisor
from outreach.embedded.waiting import wait_until
from outreach.simulator import id_of_handle
from outreach.simulator.witness import Acceptance, read_witness
from tests.integration.cli_support import Terminal, set_environment

pytestmark = [pytest.mark.servers, pytest.mark.timeout(240)]

LIST = """Name;X;E-Mail;Firma;Land
Zoë Müller;@zoe;zoe@example.test;Müller & Söhne;DE
{{7*7}};https://x.com/seven;;Seven;DE
<script>alert(1)</script>;@script_man;;"=HYPERLINK(""http://evil.test"")";DE
Zoë Müller;@ZOE;zoe@example.test;Müller & Söhne;DE
Bad Handle;@this handle is none!;;;DE
Nein Danke;@no_thanks;;Nein;DE
=1+1;@formula;;Formel;DE
"""
SEQUENCE = """
sequence: spring
title: Spring
review_first: 1
window: {days: mon-sun, from: "00:00", until: "23:59", zone: "UTC"}
actions:
  hello:
    do: SEND_TWITTER_DM
    message: "Hello {{ first_name | default('there') }}, shall we talk? {{ opt_out }}"
    next: check
  check:
    do: CHECK_FOR_REPLY
    next:
      - {on: POSITIVE_REPLY, to: thanks}
      - {on: REPLIED, to: END}
      - {on: NOT_REPLIED, after: 3d, to: END}
  thanks: {do: SEND_TWITTER_DM, message: "Thank you! We will write today."}
"""
#: says yes after a second; the others keep silent
YES = {"reactions": [[{"habit": "positive", "after": 1, "text": "Yes, tell me more!"}]], "receives_dm": True}
SILENT = {"reactions": [], "receives_dm": True}


class Day:
    """Everything that runs, and the terminal in front of it."""

    def __init__(self, terminal: Terminal, folder: Path, simulator: str) -> None:
        self.terminal, self.folder, self.simulator = terminal, folder, simulator

    def accepted(self) -> list[Acceptance]:
        return [a for a in read_witness(self.folder / "witness.jsonl")[0] if a.by == "api"]

    def until(self, what: Callable[[], object], why: str) -> None:
        assert wait_until(lambda: bool(what()), timeout=45.0, every=0.3), f"{why}\n{self.terminal('status')}"


@pytest.fixture
def day(
    servers: Servers, database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Day]:  # fmt: skip
    set_environment(monkeypatch, servers, database_url, tmp_path)
    port, web = free_ports(2)
    environ = {
        "OUTREACH_TICK_SECONDS": "1", "OUTREACH_POLL_SECONDS": "2", "OUTREACH_INBOX_LAG_SECONDS": "0", "OUTREACH_HINT_LEASE_SECONDS": "3",
        "PORT": str(web), "OUTREACH_ACCESS_TOKEN": "token-we", "OUTREACH_CLIENT_ID": "sim-client", "OUTREACH_INSTANCE": "acme",
    }  # fmt: skip
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    world = {
        "accounts": [{"handle": "we", "access_token": "token-we", "refresh_token": "r"}],
        "people": [{"handle": h, "persona": YES if h == "zoe" else SILENT} for h in ("zoe", "seven", "script_man", "no_thanks", "formula", "me_myself")],
    }  # fmt: skip
    (tmp_path / "world.json").write_text(json.dumps(world), encoding="utf-8")
    terminal = Terminal(capsys)
    terminal("migrate")
    with Supervisor(say=lambda _line: None) as supervisor:
        _start(supervisor, tmp_path, "outreach.simulator", "--port", str(port), "--world", str(tmp_path / "world.json"), "--witness",
               str(tmp_path / "witness.jsonl"))  # fmt: skip
        simulator = f"http://127.0.0.1:{port}"
        assert wait_until(lambda: _answers(f"{simulator}/__sim/state"), timeout=20.0, every=0.1)
        for process in ("worker", "scheduler", "web"):
            _start(supervisor, tmp_path, "outreach", process)
        yield Day(terminal, tmp_path, simulator)


def _start(supervisor: Supervisor, folder: Path, *words: str) -> None:
    import os

    log = folder / f"{words[-1] if words[0] == 'outreach' else 'simulator'}.log"
    supervisor.start(
        Command(
            name=words[-1] if words[0] == "outreach" else "simulator",
            words=[sys.executable, "-m", *words],
            environ=dict(os.environ),
            restart=False,
            log=log,
        )
    )


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1.0, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_from_a_messy_list_to_answers(day: Day) -> None:
    _the_list(day)
    file = day.folder / "spring.yaml"
    file.write_text(SEQUENCE, encoding="utf-8")
    _see_first(day, file)
    _try_on_oneself(day, file)
    _go(day, file)
    _answers_come(day)
    _out_again(day)


def _the_list(day: Day) -> None:
    terminal, path = day.terminal, day.folder / "leads.csv"
    path.write_bytes(LIST.encode("cp1252"))
    words = ("audience", "import", str(path), "--source", "fair-2026", "--map", "Firma=attribute.company", "--basis", "opt_in", "--proof", "form of 3 May")  # fmt: skip
    plan = terminal(*words, "--plan")
    assert "6 of 7, 1 repeated" in plan and "line 6 X: a Twitter handle is made of" in plan
    assert terminal.json("segment", "list") == [], "a plan writes nothing"
    terminal(*words)
    assert "Zoë Müller" in terminal("audience", "show", "@zoe"), "cp1252 is read as cp1252"
    terminal("dnd", "add", "@no_thanks", "--reason", "asked by phone")
    terminal(
        "account", "add", "twitter", "we", "--app", "sim", "--external-id", id_of_handle("we"), "--handle", "we", "--base-url", day.simulator,
        "--dm-mode", "opt_in", "--reason", "our own form", "--pace", "SEND_TWITTER_DM=0", "--pace", "FOLLOW_ON_TWITTER=0",
    )  # fmt: skip
    terminal("segment", "create", "fair", "--where", "source = fair-2026 and twitter exists")
    assert [row["members"] for row in terminal.json("segment", "list")] == [4], (
        "twice is once; no_thanks is out"
    )


def _see_first(day: Day, file: Path) -> None:
    terminal = day.terminal
    terminal("sequence", "check", str(file))
    found = terminal.json("sequence", "check", str(file), "--segment", "fair", "--account", "we")
    lanes = found[0]["lanes"]
    assert [(node["node"], node["lanes"]) for node in lanes["nodes"]] == [
        ("hello", {"auto": 4}),
        ("thanks", {"auto": 4}),
    ]
    assert (lanes["enrolled"], lanes["review_minutes"]) == (4, "0.5")
    seen = terminal("sequence", "preview", str(file), "--person", "@seven")
    assert "Hello {{7*7}}" in seen, "a name is data, never a template"
    assert day.accepted() == []


def _try_on_oneself(day: Day, file: Path) -> None:
    terminal = day.terminal
    me = day.folder / "me.csv"
    me.write_text("name,x\nMy Self,@me_myself\n", encoding="utf-8")
    terminal(
        "audience", "import", str(me), "--source", "ourselves", "--basis", "opt_in", "--proof", "it is me"
    )
    terminal(
        "sequence",
        "try",
        str(file),
        "--to",
        "@me_myself",
        "--account",
        "we",
        "--wait",
        "1s",
        "--any-hour",
        "--yes",
    )
    day.until(
        lambda: [a for a in day.accepted() if a.recipient == id_of_handle("me_myself")],
        "the trial did not arrive",
    )


def _go(day: Day, file: Path) -> None:
    terminal = day.terminal
    terminal("sequence", "publish", str(file))
    terminal("live", "on", "--confirm", "acme")
    terminal("enroll", "spring", "--segment", "fair", "--account", "twitter=we")
    before = len(day.accepted())
    day.until(lambda: terminal.json("task", "list", "--kind", "review"), "nothing to review")
    assert len(day.accepted()) == before, "nothing goes out before the first OK"
    (task, *_) = terminal.json("task", "list", "--kind", "review")
    shown = terminal("task", "start", str(task["id"]), "--by", "eve")
    assert "shall we talk?" in shown and "STOP" in shown
    terminal("task", "done", str(task["id"]), "--by", "eve")
    wanted = {id_of_handle(h) for h in ("zoe", "seven", "script_man", "formula")}
    day.until(lambda: wanted <= {a.recipient for a in day.accepted()}, "not everybody was written to")


def _answers_come(day: Day) -> None:
    terminal = day.terminal
    day.until(
        lambda: [row for row in terminal.json("replies") if row["class"] == "positive"], "no reply is shown"
    )
    day.until(
        lambda: len([a for a in day.accepted() if a.recipient == id_of_handle("zoe")]) == 2,
        "no thanks for a yes",
    )
    assert id_of_handle("no_thanks") not in {a.recipient for a in day.accepted()}
    assert "next send: " in terminal("why", "@seven")
    audited = terminal.json("audit", "caps")
    assert audited and {row["over"] for row in audited} == {0}


def _out_again(day: Day) -> None:
    terminal = day.terminal
    people = list(csv.DictReader(io.StringIO(terminal("export", "people", "--format", "csv"))))
    cells = [cell for row in people for cell in row.values() if cell]
    assert not [cell for cell in cells if cell[0] in "=+@\t\r"], "no cell is a formula"
    ledger: list[Any] = [
        json.loads(line) for line in terminal("export", "ledger", "--format", "jsonl").splitlines()
    ]
    assert sum(row["state"] == "sent" for row in ledger) == len(day.accepted())
