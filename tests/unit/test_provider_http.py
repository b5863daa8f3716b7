"""The exchange over a given transport, and which addresses may be called at all."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import httpx
import pytest

from outreach.errors import ConfigurationError
from outreach.providers.base import NotStarted, Unknown
from outreach.providers.http import Answer, Http, check_address

HERE = httpx.Request("GET", "http://127.0.0.1:9/2/users")


def http_over(handler: Callable[[httpx.Request], httpx.Response]) -> Http:
    return Http(loopback_only=lambda: True, transport=httpx.MockTransport(handler))


def answer_with(body: bytes, **headers: str) -> Answer:
    return Answer(status=200, headers=httpx.Headers(headers), body=body)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/",
        "http://localhost/",
        "http://[::1]:8/",
        "http://127.8.9.1/",
        "https://127.0.0.1/",
    ],
)
def test_this_machine_may_always_be_called(url: str) -> None:
    check_address(httpx.URL(url), loopback_only=True)
    check_address(httpx.URL(url), loopback_only=False)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.x.com/2/users",
        "http://0.0.0.0/",
        "http://10.0.0.1/",
        "http://169.254.169.254/",
        "http://localhost.example.test/",
        "http://127.0.0.1.example.test/",
        "http://127.0.0.1@example.test/",
        "http://[::ffff:127.0.0.1]/",
        "/2/users",
    ],
)
def test_a_simulated_instance_calls_nothing_off_this_machine(url: str) -> None:
    with pytest.raises(ConfigurationError, match="not on this machine"):
        check_address(httpx.URL(url), loopback_only=True)


def test_the_refusal_names_the_address_but_not_its_path() -> None:
    with pytest.raises(ConfigurationError) as refusal:
        check_address(httpx.URL("https://api.x.com/2/users?ids=4711"), loopback_only=True)
    assert "https://api.x.com " in refusal.value.message
    assert "4711" not in refusal.value.message


def test_a_live_instance_calls_other_machines_by_https_only() -> None:
    check_address(httpx.URL("https://api.x.com/2/users"), loopback_only=False)
    with pytest.raises(ConfigurationError, match="in the clear"):
        check_address(httpx.URL("http://api.x.com/2/users"), loopback_only=False)


def test_whether_the_instance_is_live_is_asked_before_every_call() -> None:
    live = False
    http = Http(
        loopback_only=lambda: not live, transport=httpx.MockTransport(lambda _: httpx.Response(200, json={}))
    )
    away = httpx.Request("GET", "https://api.x.com/2/users")
    with pytest.raises(ConfigurationError):
        http.call(away, deadline_seconds=1)
    live = True
    assert isinstance(http.call(away, deadline_seconds=1), Answer)


def test_the_guard_stands_before_a_given_transport_too() -> None:
    handled: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        handled.append(request)
        return httpx.Response(200)

    http = http_over(handle)
    outcome = http.call(HERE, deadline_seconds=1, may_begin=lambda: False)
    assert outcome == NotStarted("the guard said no", guarded=True)
    assert handled == []


def test_a_given_transport_that_cannot_connect_started_nothing() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    assert http_over(refuse).call(HERE, deadline_seconds=1) == NotStarted("ConnectError: refused")


@pytest.mark.parametrize(
    "failure", [httpx.ReadTimeout, httpx.ReadError, httpx.RemoteProtocolError, httpx.WriteError]
)
def test_any_other_failure_of_a_given_transport_leaves_a_doubt(failure: type[httpx.TransportError]) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise failure("broken", request=request)

    assert isinstance(http_over(fail).call(HERE, deadline_seconds=1), Unknown)


def test_a_body_that_breaks_off_leaves_the_status_standing() -> None:
    class Broken(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield b'{"data":'
            raise httpx.ReadError("reset")

    answer = http_over(lambda _: httpx.Response(201, stream=Broken())).call(HERE, deadline_seconds=1)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.whole, answer.document()) == (201, False, {})


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"null", b'{"data":', b"\xff\xfe"])
def test_a_body_that_is_no_json_object_reads_as_an_empty_document(body: bytes) -> None:
    assert answer_with(body).document() == {}


def test_the_servers_date_is_read_as_utc() -> None:
    dated = answer_with(b"", date="Mon, 05 Jan 2026 12:00:00 GMT")
    assert dated.date == datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
    assert answer_with(b"").date is None
    assert answer_with(b"", date="yesterday").date is None
