"""`account connect`, `check` and `disconnect` as typed, over loopback: a browser, a provider, and not one secret in sight."""

import json
import logging
import threading
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from dramatiq.brokers.stub import StubBroker
from starlette.testclient import TestClient

from outreach.app import App
from outreach.cli import connecting
from outreach.cli.logs import set_up_logs
from outreach.cli.session import on_its_clock
from outreach.clock import LiveClock
from outreach.embedded.servers import Servers
from outreach.limits.limiter import MemoryLimiter
from outreach.models import accounts, instance
from outreach.models.base import Database
from outreach.providers.registry import build_providers
from outreach.runtime.context import Context
from outreach.runtime.credentials import account_place, full_ref
from outreach.settings import Settings
from outreach.simulator import Simulator, Witness, WorldSpec
from outreach.simulator.clock import ScaledClock
from outreach.simulator.server import Server
from outreach.vault import Vault
from outreach.web.server import create_app
from tests.integration.cli_support import Terminal, set_environment
from tests.integration.connect_support import answer_page

pytestmark = pytest.mark.servers
SECRET = "the-apps-own-secret"
WORLD = {
    "app": {"client_id": "acme-client", "client_secret": SECRET},
    "accounts": [
        {"handle": "acme", "id": "900", "access_token": "t", "follow_permitted": True},
        {"handle": "other", "id": "901", "access_token": "t2"},
    ],
}


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[tuple[str, Simulator]]:
    clock = ScaledClock()
    simulator = Simulator(
        WorldSpec.read(WORLD), witness=Witness(clock, tmp_path / "witness.jsonl"), post=lambda *_: (200, b""), clock=clock
    )  # fmt: skip
    with Server(simulator).running() as url:
        yield url, simulator


@pytest.fixture
def terminal(
    servers: Servers, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Terminal:  # fmt: skip
    set_environment(monkeypatch, servers, database_url, tmp_path)
    monkeypatch.setenv("OUTREACH_CLIENT_ID", "acme-client")
    monkeypatch.setenv("OUTREACH_CLIENT_SECRET", SECRET)
    found = Terminal(capsys)
    found("migrate")
    return found


Come = Callable[[httpx.Client, str], None]
#: Long enough for a machine that does ten other things.
PATIENCE = 30.0


@pytest.fixture
def owner(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Lets the next page that is opened be answered by somebody, in a browser of their own."""
    threads: list[threading.Thread] = []
    failures: list[BaseException] = []

    def answers(who: str, come: Come | None = None, **form: str) -> None:
        def visit(url: str) -> None:
            try:
                with httpx.Client(base_url=url.partition("/i/")[0]) as browser:
                    if come is not None:
                        come(browser, url)
                        return
                    said = answer_page(browser, url, who, **form)
                    place = httpx.URL(url).params["redirect_uri"]
                    browser.get(place.removesuffix("callback") + "favicon.ico")
                    browser.get(place, params={"state": "1.made-up", "code": "x"})
                    browser.get(place, params=said)
            except BaseException as failure:
                failures.append(failure)
                raise

        def opened(url: str) -> bool:
            threads.append(threading.Thread(target=visit, args=(url,)))
            threads[-1].start()
            return True

        monkeypatch.setattr(webbrowser, "open", opened)

    yield answers
    for thread in threads:
        thread.join(PATIENCE)
    assert failures == []


def connect(terminal: Terminal, url: str, *words: str, code: int = 0) -> str:
    new = (
        "--app",
        "acme-app",
        "--base-url",
        url,
        "--follow-permitted",
        "--reason",
        "their letter",
        "--port",
        "0",
    )
    return terminal("account", "connect", "twitter", "acme", *new, *words, code=code)


def test_an_account_is_connected_checked_renewed_and_given_back_and_no_secret_shows(
    terminal: Terminal, provider: tuple[str, Simulator], owner: Callable[..., None], db: Database
) -> None:
    url, _ = provider
    kept = logging.getLogger().handlers, logging.getLogger().level
    set_up_logs(Settings(log_level="DEBUG"))
    shown: list[str] = []
    secrets = {SECRET}

    def keep() -> None:
        shown.append(terminal.out + terminal.err)
        for row in db.run(accounts.listed):
            opened = full_ref(Vault.of(Settings().keys), row)
            secrets.update(word for word in (opened.access_token, opened.refresh_token) if word)

    try:
        owner("acme")
        connect(terminal, url, "--json")
        assert json.loads(terminal.out)["external_id"] == "900"
        keep()
        found = terminal.json("account", "check", "acme")
        assert (found["fine"], found["me"]["handle"], found["missing"]) == (True, "acme", [])
        assert found["token_expires_at"] is not None
        keep()
        owner("other")
        connect(terminal, url, code=1)
        assert "belong to @other (901)" in terminal.err and "@acme (900)" in terminal.err
        keep()
        dead = Vault.of(Settings().keys).seal("dead", account_place("twitter", "900", "access_token"))
        db.run(lambda tx: tx.execute("UPDATE account SET access_token = %s", (dead,)))
        assert "@acme (900)" in terminal("account", "check", "acme")
        keep()
        owner("acme")
        connect(terminal, url)
        keep()
        terminal("account", "disconnect", "acme", "--purge", code=2)
        assert "--yes" in terminal.err
        assert "disconnected" in terminal("account", "disconnect", "acme", "--purge", "--yes")
        keep()
        terminal("account", "check", "acme", code=1)
        keep()
    finally:
        logging.getLogger().handlers, logging.getLogger().level = kept
    assert len(secrets) >= 7
    everything = "".join(shown)
    assert "sim-" not in everything
    assert [word for word in secrets if word in everything] == []


def test_an_owner_who_says_no_is_one_clear_message(
    terminal: Terminal, provider: tuple[str, Simulator], owner: Callable[..., None], db: Database
) -> None:
    owner("acme", deny="1")
    connect(terminal, provider[0], code=1)
    assert "the owner said no" in terminal.err
    assert db.read("SELECT 1 FROM account") == []


def test_a_port_that_is_taken_is_named(terminal: Terminal, provider: tuple[str, Simulator]) -> None:
    port = provider[0].rpartition(":")[2]
    terminal("account", "connect", "twitter", "acme", "--app", "a", "--base-url", provider[0], "--port", port, code=2)  # fmt: skip
    assert port in terminal.err and "--via-web" in terminal.err


def test_a_token_of_somebody_else_is_not_added(
    terminal: Terminal, provider: tuple[str, Simulator], monkeypatch: pytest.MonkeyPatch, db: Database
) -> None:
    monkeypatch.setenv("OUTREACH_ACCESS_TOKEN", "t2")
    add = ("account", "add", "twitter", "acme", "--app", "acme-app", "--base-url", provider[0])
    terminal(*add, "--external-id", "900", code=2)
    assert "@other (901)" in terminal.err and "nothing is stored" in terminal.err
    assert db.read("SELECT 1 FROM account UNION ALL SELECT 1 FROM app") == []
    terminal(*add, "--external-id", "901")
    assert db.read("SELECT external_id FROM account") == [{"external_id": "901"}]


# --- by the web process ----------------------------------------------------------------------------------------


@pytest.fixture
def web(terminal: Terminal, db: Database) -> Iterator[TestClient]:
    """The web process, on the same database and with the same secret."""
    settings = on_its_clock(Settings.from_environment())
    clock = LiveClock(origin=settings.clock_origin, factor=settings.clock_factor)
    context = Context(settings=settings, clock=clock, db=db, limiter=MemoryLimiter(), providers=build_providers(True))  # fmt: skip
    app = App(settings=settings, context=context, broker=StubBroker(middleware=[]), instance=db.run(instance.read))  # fmt: skip
    with TestClient(create_app(app)) as client:
        yield client


def by_the_web(web: TestClient, who: str, seen: list[Any], twice: threading.Event) -> Come:
    """Back by the web process, and then once more by the browser's history."""

    def come(browser: httpx.Client, url: str) -> None:
        said = answer_page(browser, url, who)
        seen.extend(web.get("/oauth/twitter/callback", params=said) for _ in range(2))
        twice.set()

    return come


def test_the_way_back_may_lead_to_the_web_process_and_is_gone_once(
    terminal: Terminal, provider: tuple[str, Simulator], owner: Callable[..., None], web: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(connecting, "_EVERY", 0.02)
    seen: list[Any] = []
    twice = threading.Event()
    owner("acme", by_the_web(web, "acme", seen, twice))
    connect(terminal, provider[0], "--via-web")
    assert "acme is connected as @acme" in terminal.out
    assert twice.wait(PATIENCE)
    first, again = seen
    assert (first.status_code, again.status_code) == (200, 400)
    assert "Connected" in first.text and "it works once" in again.text
    assert first.headers["cache-control"] == "no-store" and first.headers["referrer-policy"] == "no-referrer"
    twice.clear()
    owner("other", by_the_web(web, "other", seen, twice))
    connect(terminal, provider[0], "--via-web", code=1)
    assert "belong to @other" in terminal.err
    assert twice.wait(PATIENCE)


def test_an_address_that_nobody_gave_out_is_a_page_that_says_so(web: TestClient, db: Database) -> None:
    for params in ({}, {"code": "x"}, {"state": "", "code": "x"}, {"state": "1.x", "code": "x"}, {"state": "y" * 3000}):  # fmt: skip
        answer = web.get("/oauth/twitter/callback", params=params)
        assert answer.status_code == 400, params
    shown = web.get("/oauth/twitter/callback", params={"state": "<script>", "error": "<script>"}).text
    assert "<script>" not in shown
    assert web.post("/oauth/twitter/callback").status_code == 405
    assert db.read("SELECT 1 FROM account_authorization") == []


def test_without_waiting_the_address_is_the_answer(
    terminal: Terminal, provider: tuple[str, Simulator], owner: Callable[..., None]
) -> None:
    owner("acme", lambda *_: None)
    found = json.loads(connect(terminal, provider[0], "--via-web", "--no-wait", "--json"))
    assert found["url"].startswith(provider[0]) and found["expires_at"]
