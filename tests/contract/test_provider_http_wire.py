"""The exchange on a real socket: what a send can be sure of, whatever the server does."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest

from outreach.providers.base import NotStarted, Unknown
from outreach.providers.http import MAX_BODY, Answer, Http

HEAD = b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n"
CREATED = HEAD + b'{"data":{"a":1}}'[:15]

Script = Callable[["Visit"], object]


class Visit:
    """One connection to the server, from the server's side."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.received = b""

    def read_request(self) -> bytes:
        """One whole request (a head and, for a POST, its two-byte body); empty at the end of the connection."""
        request = b""
        while not request.endswith(b"{}") if request.startswith(b"POST") else b"\r\n\r\n" not in request:
            piece = self.socket.recv(65536)
            if not piece:
                break
            request += piece
        self.received += request
        return request

    def reset(self) -> None:
        """Close with a RST instead of a FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class Server:
    """A loopback server that plays one script per connection."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.visits: list[Visit] = []
        self.visited = threading.Event()
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            visit = Visit(connection)
            self.visits.append(visit)
            self.visited.set()
            thread = threading.Thread(target=self._play, args=(visit,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _play(self, visit: Visit) -> None:
        with visit.socket:
            try:
                self._script(visit)
            except OSError:
                return  # the client hung up, as some of the tests want

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(5)
        for visit in self.visits:
            with suppress(OSError):  # the script may have closed it
                visit.socket.shutdown(socket.SHUT_RD)
        for thread in self._threads:
            thread.join(5)


@contextmanager
def serving(script: Script) -> Iterator[Server]:
    server = Server(script)
    try:
        yield server
    finally:
        server.stop()


def answering(response: bytes) -> Script:
    """Read a request and send these bytes; then close."""

    def script(visit: Visit) -> None:
        visit.read_request()
        visit.socket.sendall(response)

    return script


def keeping(response: bytes, times: int = 10) -> Script:
    """Answer request after request on the same connection."""

    def script(visit: Visit) -> None:
        for _ in range(times):
            if not visit.read_request():
                return
            visit.socket.sendall(response)

    return script


def dripping(lead: bytes, drops: bytes, pause: float) -> Script:
    def script(visit: Visit) -> None:
        visit.read_request()
        visit.socket.sendall(lead)
        for drop in drops:
            visit.socket.sendall(bytes([drop]))
            time.sleep(pause)

    return script


@pytest.fixture
def http() -> Http:
    return Http(loopback_only=lambda: True)


def post(url: str) -> httpx.Request:
    return httpx.Request("POST", f"{url}/2/things", json={}, headers={"authorization": "Bearer t"})


def test_a_complete_answer_is_handed_over_as_it_came(http: Http) -> None:
    with serving(answering(CREATED)) as server:
        answer = http.call(post(server.url), deadline_seconds=5)
        received = server.visits[0].received
    assert isinstance(answer, Answer)
    assert (answer.status, answer.whole, answer.body) == (201, True, b'{"data":{"a":1}}'[:15])
    assert received.startswith(b"POST /2/things HTTP/1.1\r\n") and received.endswith(b"\r\n\r\n{}")


def test_no_listener_means_that_nothing_was_started(http: Http) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    outcome = http.call(post(f"http://127.0.0.1:{port}"), deadline_seconds=5)
    assert isinstance(outcome, NotStarted) and not outcome.guarded


def test_a_failed_tls_handshake_means_that_nothing_was_started(http: Http) -> None:
    asked: list[str] = []

    def guard() -> bool:
        asked.append("guard")
        return True

    with serving(lambda visit: visit.socket.sendall(b"this is no TLS\r\n")) as server:
        url = server.url.replace("http://", "https://")
        outcome = http.call(post(url), deadline_seconds=5, may_begin=guard)
    assert isinstance(outcome, NotStarted) and not outcome.guarded
    assert asked == []


def test_a_tls_handshake_that_never_ends_is_given_up_at_the_deadline(http: Http) -> None:
    with serving(lambda visit: visit.socket.recv(1) and visit.read_request()) as server:
        began = time.monotonic()
        outcome = http.call(post(server.url.replace("http://", "https://")), deadline_seconds=0.3)
        took = time.monotonic() - began
    assert isinstance(outcome, NotStarted)
    assert 0.3 <= took < 3.0


def test_the_guard_is_asked_once_the_connection_stands_and_before_any_byte_is_written(http: Http) -> None:
    at_the_guard: list[tuple[int, bytes]] = []

    def guard() -> bool:
        time.sleep(0.1)  # long enough for the server to see whatever was written
        at_the_guard.append((len(server.visits), b"".join(visit.received for visit in server.visits)))
        return True

    with serving(answering(CREATED)) as server:
        answer = http.call(post(server.url), deadline_seconds=5, may_begin=guard)
    assert at_the_guard == [(1, b"")]
    assert isinstance(answer, Answer)


def test_a_guard_that_says_no_leaves_the_server_without_a_byte(http: Http) -> None:
    with serving(answering(CREATED)) as server:
        outcome = http.call(
            post(server.url), deadline_seconds=5, may_begin=lambda: not server.visited.wait(5)
        )
    assert [visit.received for visit in server.visits] == [b""]
    assert outcome == NotStarted("the guard said no", guarded=True)


def test_the_guard_is_asked_again_on_a_connection_that_was_kept(http: Http) -> None:
    with serving(keeping(CREATED)) as server:
        assert isinstance(http.call(post(server.url), deadline_seconds=5), Answer)
        refused = http.call(post(server.url), deadline_seconds=5, may_begin=lambda: False)
        assert len(server.visits) == 1
        assert server.visits[0].received.count(b"POST") == 1
    assert isinstance(refused, NotStarted) and refused.guarded


def test_a_deadline_that_passed_before_the_connection_stood_writes_nothing(http: Http) -> None:
    with serving(answering(CREATED)) as server:
        outcome = http.call(post(server.url), deadline_seconds=0)
        assert all(visit.received == b"" for visit in server.visits)
    assert isinstance(outcome, NotStarted) and not outcome.guarded


def test_a_server_that_hangs_up_without_an_answer_leaves_a_doubt(http: Http) -> None:
    with serving(answering(b"")) as server:
        assert isinstance(http.call(post(server.url), deadline_seconds=5), Unknown)
        assert len(server.visits) == 1


def test_a_reset_after_the_request_leaves_a_doubt(http: Http) -> None:
    def script(visit: Visit) -> None:
        visit.read_request()
        visit.reset()

    with serving(script) as server:
        assert isinstance(http.call(post(server.url), deadline_seconds=5), Unknown)


def test_a_silent_server_leaves_a_doubt_when_the_deadline_passes(http: Http) -> None:
    def script(visit: Visit) -> None:
        visit.read_request()
        visit.socket.recv(1)  # until the client gives up

    with serving(script) as server:
        began = time.monotonic()
        outcome = http.call(post(server.url), deadline_seconds=0.3)
        took = time.monotonic() - began
    assert isinstance(outcome, Unknown)
    assert 0.3 <= took < 3.0


def test_a_head_that_drips_past_the_deadline_leaves_a_doubt_at_the_deadline(http: Http) -> None:
    with serving(dripping(b"", CREATED, pause=0.05)) as server:
        began = time.monotonic()
        outcome = http.call(post(server.url), deadline_seconds=0.4)
        took = time.monotonic() - began
    assert isinstance(outcome, Unknown)
    assert 0.4 <= took < 3.0


def test_a_body_that_drips_past_the_deadline_does_not_take_its_status_back(http: Http) -> None:
    with serving(dripping(HEAD, b"x" * 15, pause=0.3)) as server:
        began = time.monotonic()
        answer = http.call(post(server.url), deadline_seconds=0.4)
        took = time.monotonic() - began
    assert isinstance(answer, Answer)
    assert (answer.status, answer.whole, answer.document()) == (201, False, {})
    assert 0.4 <= took < 3.0


def test_wherever_an_answer_breaks_off_its_status_counts_once_the_head_is_complete(http: Http) -> None:
    for length in range(len(CREATED) + 1):
        with serving(answering(CREATED[:length])) as server:
            outcome = http.call(post(server.url), deadline_seconds=5)
        if length < len(HEAD):
            assert isinstance(outcome, Unknown), length
        else:
            assert isinstance(outcome, Answer), length
            assert outcome.status == 201
            assert outcome.whole == (length == len(CREATED))


def test_an_endless_body_is_cut_at_a_megabyte(http: Http) -> None:
    endless = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + b" " * (3 * MAX_BODY)
    with serving(answering(endless)) as server:
        answer = http.call(post(server.url), deadline_seconds=5)
    assert isinstance(answer, Answer)
    assert (len(answer.body), answer.whole) == (MAX_BODY, False)


def test_a_connection_that_the_server_closed_while_idle_is_not_used_again(http: Http) -> None:
    with serving(keeping(CREATED, times=1)) as server:
        assert isinstance(http.call(post(server.url), deadline_seconds=5), Answer)
        time.sleep(0.1)
        assert isinstance(http.call(post(server.url), deadline_seconds=5), Answer)
        assert len(server.visits) == 2


def test_a_reset_on_a_kept_connection_leaves_a_doubt_and_is_not_tried_again(http: Http) -> None:
    def script(visit: Visit) -> None:
        visit.read_request()
        visit.socket.sendall(CREATED)
        visit.read_request()
        visit.reset()

    with serving(script) as server:
        assert isinstance(http.call(post(server.url), deadline_seconds=5), Answer)
        assert isinstance(http.call(post(server.url), deadline_seconds=5), Unknown)
        assert len(server.visits) == 1
        assert server.visits[0].received.count(b"POST") == 2


def test_a_call_after_a_doubt_takes_a_fresh_connection(http: Http) -> None:
    scripts = iter([answering(b""), answering(CREATED)])
    with serving(lambda visit: next(scripts)(visit)) as server:
        assert isinstance(http.call(post(server.url), deadline_seconds=5), Unknown)
        assert isinstance(http.call(post(server.url), deadline_seconds=5), Answer)


def test_redirects_are_answers_and_are_not_followed(http: Http) -> None:
    with serving(answering(b"HTTP/1.1 307 Go\r\nlocation: /else\r\ncontent-length: 0\r\n\r\n")) as server:
        answer = http.call(post(server.url), deadline_seconds=5)
        assert len(server.visits) == 1
    assert isinstance(answer, Answer) and answer.status == 307


def test_a_proxy_of_the_environment_is_not_used(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with serving(answering(CREATED)) as server:
        assert isinstance(http.call(post(server.url), deadline_seconds=5), Answer)


def test_each_thread_has_connections_of_its_own_and_they_close_with_it(http: Http) -> None:
    ended = threading.Event()

    def script(visit: Visit) -> None:
        keeping(CREATED)(visit)
        ended.set()

    with serving(script) as server:
        thread = threading.Thread(target=http.call, args=[post(server.url)], kwargs={"deadline_seconds": 5})
        thread.start()
        thread.join()
        assert ended.wait(5), "the thread's connection outlived it"
        assert isinstance(http.call(post(server.url), deadline_seconds=5), Answer)
        assert len(server.visits) == 2
