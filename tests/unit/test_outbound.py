"""The door to addresses that an operator names: what it refuses, whatever a name resolves to, and what it says of it."""

import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest

from outreach.outbound import Failed, Outbound
from outreach.providers.http import Answer

SECRET_PATH = "/services/T000/very-secret"


def door(
    *addresses: str, simulated: bool = False, inside: tuple[str, ...] = (), seen: list[str] | None = None
) -> Outbound:
    """Every name resolves to these."""

    def resolver(host: str, port: int) -> list[str]:
        if seen is not None:
            seen.append(host)
        return list(addresses)

    return Outbound(simulated=lambda: simulated, inside=inside, resolver=resolver)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.test/x",
        "http://127.0.0.1/x",
        "https://127.0.0.1/x",
        "https://localhost/x",
        "https://[::1]/x",
        "https://10.0.0.1/x",
        "https://172.16.4.4/x",
        "https://192.168.1.1/x",
        "https://100.64.0.1/x",
        "https://169.254.169.254/latest/meta-data/",
        "https://[fe80::1]/x",
        "https://[fd00:ec2::254]/x",
        "https://[::ffff:10.0.0.1]/x",
        "https://[::ffff:169.254.169.254]/x",
        "https://[64:ff9b::a00:1]/x",
        "https://[2002:a00:1::]/x",
        "https://0.0.0.0/x",
        "https://224.0.0.1/x",
        "https://255.255.255.255/x",
        "https://me:hunter2@hooks.example.test/x",
        "file:///etc/passwd",
        "gopher://hooks.example.test/x",
        "//hooks.example.test/x",
        "hooks",
        "https://",
    ],
)
def test_a_live_instance_is_refused_by_the_looks_of_the_url(url: str) -> None:
    seen: list[str] = []
    answer = door("93.184.216.34", seen=seen).call("POST", url, body={}, deadline_seconds=1)
    assert isinstance(answer, Failed)
    assert seen == []
    assert "hunter2" not in answer.reason
    assert "meta-data" not in answer.reason


@pytest.mark.parametrize(
    "addresses",
    [
        ["10.0.0.1"], ["127.0.0.1"], ["169.254.169.254"], ["::1"], ["fe80::1%eth0"], ["::ffff:127.0.0.1"], ["fd12::1"],
        # one good one among them is no excuse: the next look-up may give the other
        ["93.184.216.34", "10.0.0.1"],
    ],
)  # fmt: skip
@pytest.mark.parametrize("simulated", [True, False])
def test_a_name_that_resolves_to_our_own_network_is_refused(addresses: list[str], simulated: bool) -> None:
    answer = door(*addresses, simulated=simulated).call(
        "POST", f"https://hooks.example.test{SECRET_PATH}", body={}, deadline_seconds=1
    )
    assert isinstance(answer, Failed)
    assert "no public address" in answer.reason
    assert "very-secret" not in answer.reason


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f000001", "017700000001", "127.1", "0x7f.1", "0177.0.0.1", "0", "①②⑦.⓪.⓪.①", "127。0。0。1", "2852039166", "0xa9fea9fe", "[::ffff:7f00:1]",
     "[::127.0.0.1]", "[2606:4700::5efe:7f00:1]", "[fec0::1]"],
)  # fmt: skip
def test_no_spelling_of_an_inner_address_is_called(host: str) -> None:
    """As the system's own resolver reads them, and without a connection."""
    tried: list[tuple[object, ...]] = []

    def connect(*args: object, **_: object) -> None:
        tried.append(args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("socket.create_connection", connect)
        answer = Outbound(simulated=lambda: False).call(
            "POST", f"https://{host}/x", body={}, deadline_seconds=1
        )
    assert isinstance(answer, Failed)
    assert tried == []


@pytest.mark.parametrize("simulated", [True, False])
@pytest.mark.parametrize("host", ["10.0.0.1", "169.254.169.254", "[fd00::1]"])
def test_plain_http_goes_nowhere_beyond_this_machine(host: str, simulated: bool) -> None:
    answer = Outbound(simulated=lambda: simulated).call("GET", f"http://{host}/", deadline_seconds=1)
    assert isinstance(answer, Failed)


def test_one_deadline_holds_for_all_of_it() -> None:
    """Somebody who accepts and says nothing; somebody who says a byte now and then."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        answer = Outbound(simulated=lambda: True).call("POST", url, body={}, deadline_seconds=0.2)
    assert isinstance(answer, Failed)


def test_a_private_host_is_permitted_by_name_but_never_the_metadata_service() -> None:
    url = "https://alerts.internal/x"
    permitted = door("127.0.0.1", inside=("alerts.internal",)).call("GET", url, deadline_seconds=1)
    assert isinstance(permitted, Failed)
    assert "no public address" not in permitted.reason  # it was tried: nobody listens there
    refused = door("169.254.169.254", inside=("alerts.internal",)).call("GET", url, deadline_seconds=1)
    assert isinstance(refused, Failed)
    assert "no public address" in refused.reason


def test_a_name_that_does_not_resolve_is_a_failure_and_no_crash() -> None:
    def nowhere(host: str, port: int) -> list[str]:
        raise OSError("Name or service not known")

    answer = Outbound(simulated=lambda: False, resolver=nowhere).call(
        "GET", "https://nowhere.example.test/", deadline_seconds=1
    )
    assert isinstance(answer, Failed)
    assert "cannot be resolved" in answer.reason


# --- a server of this machine ------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[Callable[[int, dict[str, str]], str]]:
    """Answers every request with what it is told to; the URL."""
    told: list[tuple[int, dict[str, str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            status, headers = told[-1]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()

        def answer_with(status: int, headers: dict[str, str]) -> str:
            told.append((status, headers))
            return f"http://127.0.0.1:{listening.server_port}/hook"

        yield answer_with
        listening.shutdown()


def test_a_simulated_instance_may_speak_to_this_machine(server: Callable[..., str]) -> None:
    answer = Outbound(simulated=lambda: True).call(
        "POST", server(204, {}), body={"text": "ä"}, deadline_seconds=5
    )
    assert isinstance(answer, Answer)
    assert answer.status == 204


def test_what_is_connected_to_is_the_address_that_was_judged(server: Callable[..., str]) -> None:
    """The name is resolved once; asked again it would point elsewhere."""
    url, asked = server(200, {}), []
    rebinding = iter([["127.0.0.1"], ["10.0.0.1"]])

    def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        return next(rebinding)

    found = Outbound(simulated=lambda: True, resolver=resolver).call(
        "POST", url.replace("127.0.0.1", "localhost"), body={}, deadline_seconds=5
    )
    assert isinstance(found, Answer)
    assert asked == ["localhost"]


def test_a_redirect_is_an_answer_and_is_not_followed(server: Callable[..., str]) -> None:
    url = server(307, {"location": "http://169.254.169.254/latest/meta-data/"})
    answer = Outbound(simulated=lambda: True).call("POST", url, body={}, deadline_seconds=5)
    assert isinstance(answer, Answer)
    assert answer.status == 307


def test_an_answer_is_cut_where_the_caller_says() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=b"x" * 5000))
    answer = Outbound(simulated=lambda: True, transport=transport).call(
        "GET", "https://files.example.test/people.csv", deadline_seconds=1, most_bytes=1000
    )
    assert isinstance(answer, Answer)
    assert (len(answer.body), answer.whole) == (1000, False)
