"""The way out to addresses that a user typed: public ones only, bounded in size and time."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from outreach.addresses import Address, is_public
from outreach.download import Door, NotPublic, Unreachable, check_public, fetch
from outreach.errors import OutreachError, UsageError

TLS = Path(__file__).parents[1] / "data" / "tls"


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(TLS / "localhost.pem"))


#: Opens to this machine, as no door of the product does.
LOOPBACK = Door(allows=lambda address: address.is_loopback, tls=trusting)


class Handler(BaseHTTPRequestHandler):
    """`/N`: N bytes; `/to?URL`: a redirect; `/drip`, `/silent`: too slow; `/short`: less than it promised."""

    protocol_version = "HTTP/1.1"
    stop = threading.Event()

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/to":
            self.head(302, location=query, content_length="0")
        elif path == "/drip":
            self.head(200)
            while not self.stop.wait(0.05):
                self.wfile.write(b"x")
        elif path == "/silent":
            self.stop.wait(10)
        elif path == "/short":
            self.head(200, content_length="100")
            self.wfile.write(b"x")
            self.close_connection = True
        elif path == "/missing":
            self.head(404, content_length="0")
        else:
            size = int(path[1:])
            self.head(200, content_length=str(size))
            self.wfile.write(b"y" * size)

    def head(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the connection's own thread: a client that hangs up in the middle of the handshake stops nobody else."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(TLS / "localhost.pem", TLS / "localhost.key")
        with context.wrap_socket(request, server_side=True) as secure:
            super().finish_request(secure, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[str]:
    Handler.stop.clear()
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=partial(server.serve_forever, 0.01), daemon=True)
        thread.start()
        yield f"https://localhost:{server.server_port}"
        Handler.stop.set()
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with serving() as url:
        yield url


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255",
        "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::",
        "ff02::1", "0.1.2.3", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "192.88.99.1", "240.0.0.1",
        "::127.0.0.1", "::a9fe:a9fe", "64:ff9b:1::7f00:1", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "2002:6440:1::",
        "2001:0:4136:e378:8000:63bf:5601:5601", "fec0::1", "2001:db8::1", "100::1", "2606:4700::5efe:7f00:1", "2606:4700::200:5efe:a9fe:a9fe",
        "ff0e::1", "5f00::1", "3fff::1",
    ],
)  # fmt: skip
def test_an_inner_address_is_not_public_under_any_spelling(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_the_rest_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "http://example.test/a.csv", "ftp://example.test/", "https:///a", "https://127.0.0.1/a", "https://[::1]/a", "https://localhost/a",
        "https://2130706433/a", "https://0x7f.1/a", "https://[::ffff:127.0.0.1]/a", "https://169.254.169.254/latest/meta-data", "https://[::1",
        "https://me:hunter2@127.0.0.1/a", "https://127.0.0.1:99999/", "https://017700000001/a", "https://0177.0.0.1/a", "https://0/a",
        "https://①②⑦.⓪.⓪.①/a", "https://127。0。0。1/a", "https://2852039166/latest/meta-data", "https://0xa9fea9fe/", "https://[fe80::1%25lo]/a",
        "https://[::127.0.0.1]/", "https://[64:ff9b::7f00:1]/", "https://hunter2@127.0.0.1/", "HTTP://127.0.0.1/", "https:\\\\127.0.0.1/",
    ],
)  # fmt: skip
def test_what_may_not_be_called_is_refused_before_anything_is_opened(url: str) -> None:
    with pytest.raises(NotPublic) as refused:
        check_public(url)
    assert "hunter2" not in str(refused.value)


def test_one_inner_address_among_several_refuses_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [(0, 0, 0, "", (address, 443)) for address in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: answers)
    with pytest.raises(NotPublic, match=r"10\.0\.0\.1"):
        check_public("https://example.test/")


def test_a_name_that_changes_its_mind_reaches_only_what_was_checked(
    site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    truly = socket.getaddrinfo

    def answer(host: str, port: int, *args: Any, **options: Any) -> Any:
        if host != "localhost":
            return truly(host, port, *args, **options)
        asked.append(host)
        return [(2, 1, 6, "", ("127.0.0.1" if len(asked) == 1 else "10.0.0.1", port))]

    monkeypatch.setattr("socket.getaddrinfo", answer)
    assert fetch(f"{site}/3", most_bytes=10, deadline=5, door=LOOPBACK) == b"yyy"
    assert asked == ["localhost"], "a second look-up might have said something else"


def test_a_body_is_fetched_up_to_its_limit(site: str) -> None:
    assert fetch(f"{site}/1000", most_bytes=1000, deadline=5, door=LOOPBACK) == b"y" * 1000
    with pytest.raises(UsageError, match="larger than 999 bytes"):
        fetch(f"{site}/1000", most_bytes=999, deadline=5, door=LOOPBACK)


def test_a_redirect_is_followed_and_checked_anew(site: str) -> None:
    assert fetch(f"{site}/to?/7", most_bytes=10, deadline=5, door=LOOPBACK) == b"y" * 7
    for inner in ("https://10.0.0.1/", "http://localhost/", "https://169.254.169.254/"):
        with pytest.raises(NotPublic):
            fetch(f"{site}/to?{inner}", most_bytes=10, deadline=5, door=LOOPBACK)
    with pytest.raises(Unreachable, match="redirects more than 3 times"):
        fetch(f"{site}/to?/to?/to?/to?/1", most_bytes=10, deadline=5, door=LOOPBACK)


@pytest.mark.parametrize("path", ["/drip", "/silent"])
def test_one_deadline_holds_for_all_of_it(site: str, path: str) -> None:
    with pytest.raises(Unreachable, match="it took too long"):
        fetch(f"{site}{path}", most_bytes=10**6, deadline=0.3, door=LOOPBACK)


@pytest.mark.parametrize("path", ["/short", "/missing"])
def test_what_breaks_off_or_is_not_there_is_no_body(site: str, path: str) -> None:
    with pytest.raises(Unreachable):
        fetch(f"{site}{path}?signature=hunter2", most_bytes=1000, deadline=5, door=LOOPBACK)


def test_a_secret_in_the_query_is_never_shown(site: str) -> None:
    with pytest.raises(Unreachable) as failed:
        fetch(f"{site}/missing?signature=hunter2", most_bytes=1000, deadline=5, door=LOOPBACK)
    assert "hunter2" not in str(failed.value) and "/missing answered 404" in str(failed.value)


def test_a_certificate_of_nobody_known_is_refused(site: str) -> None:
    def open_to(address: Address) -> bool:
        return address.is_loopback

    with pytest.raises(OutreachError, match="certificate"):
        fetch(f"{site}/1", most_bytes=10, deadline=5, door=Door(allows=open_to))
