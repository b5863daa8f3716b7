"""The proxy between two honest parties: what arrives, and what is lost."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from outreach.chaos.proxy import Act, Proxy


class Echo:
    """A server that says back what it hears, and remembers it."""

    def __init__(self) -> None:
        self.heard = b""
        self.socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            while chunk := client.recv(1000):
                self.heard += chunk
                client.sendall(b"heard " + chunk)


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.socket.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy("127.0.0.1", echo.socket.getsockname()[1]) as proxy:
        yield proxy


def ask(proxy: Proxy, words: bytes) -> bytes:
    """What comes back; nothing where the connection is cut."""
    try:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
            client.sendall(words)
            return client.recv(1000)
    except ConnectionError:
        return b""


def test_left_alone_it_is_a_wire(proxy: Proxy) -> None:
    assert ask(proxy, b"hello") == b"heard hello"


@pytest.mark.parametrize(("act", "arrives"), [(Act.BEFORE, b""), (Act.HALF, b"hel"), (Act.AFTER, b"helloo")])
def test_what_arrives_of_a_request_that_is_cut(proxy: Proxy, echo: Echo, act: Act, arrives: bytes) -> None:
    proxy.tamper = lambda _chunk: act
    assert ask(proxy, b"helloo") == b""
    proxy.flow()
    assert ask(proxy, b"!") == b"heard !", "the next one gets through"
    assert echo.heard == arrives + b"!"


def test_a_stall_keeps_the_connection_and_what_was_said(proxy: Proxy) -> None:
    proxy.stall()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=0.3) as client:
        client.sendall(b"hello")
        with pytest.raises(TimeoutError):
            client.recv(1000)
        proxy.flow()
        client.settimeout(5)
        assert client.recv(1000) == b"heard hello"


def test_while_it_refuses_nobody_gets_in(proxy: Proxy) -> None:
    proxy.refusing = True
    assert ask(proxy, b"hello") == b""
    proxy.flow()
    assert ask(proxy, b"hello") == b"heard hello"


def test_a_server_that_is_away_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with Proxy("127.0.0.1", port) as proxy:
        assert ask(proxy, b"hello") == b""
