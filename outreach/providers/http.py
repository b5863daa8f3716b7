"""One HTTP exchange: at most one attempt, a total deadline, and an exact answer to "was anything written?".

Each thread keeps its own connections. A call is bounded in real seconds: every wait on the socket is cut to
what is left, so that not even a server that drips a byte a second can stretch it. (A slow resolver can, but
then nothing is written.) The guard is asked when the connection stands, just before the first byte of the
request. What follows from that:

* nothing was written (no connection, or the guard said no): NotStarted;
* something was written and no complete status came back: Unknown;
* a status came back: Answer, even when its body broke off.

Nothing is ever retried, redirected or remembered (no cookies), and no proxy of the environment is used.
"""

import json
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from ipaddress import ip_address
from ssl import SSLContext
from typing import Any

import httpcore
import httpx

from outreach.errors import ConfigurationError
from outreach.failpoints import failpoint
from outreach.providers.base import NotStarted, Unknown

#: An answer's body is cut here, in bytes.
MAX_BODY = 1_000_000
#: A connection that does not stand after this many seconds will not be of use to a guarded call.
CONNECT_SECONDS = 5.0
#: Idle connections are dropped early, in seconds: a reset on a stale one would leave a send in doubt.
KEEPALIVE_SECONDS = 2.0

_WIRE_FAILURES = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
    httpx.RequestError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A status that was surely received. `whole` is False when the body broke off, dripped on or was too big."""

    status: int
    headers: httpx.Headers
    body: bytes
    whole: bool = True

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def date(self) -> datetime | None:
        """The server's own time (real, whole seconds), if it sent one."""
        try:
            return parsedate_to_datetime(self.headers.get("date", "")).astimezone(UTC)
        except ValueError:
            return None

    def document(self) -> Mapping[str, Any]:
        """The JSON object in the body; empty when there is none that can be read."""
        try:
            parsed = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return parsed if isinstance(parsed, dict) else {}


class Http:
    """The door to the network: one set of connections per thread, or a given transport in their place."""

    def __init__(
        self,
        *,
        loopback_only: Callable[[], bool],
        transport: httpx.BaseTransport | None = None,
        address_of: Callable[[str, int], str] = lambda host, _port: host,
    ) -> None:
        """`address_of` may turn a host into the one address that is connected to; what it raises ends the call."""
        self._loopback_only = loopback_only
        self._transport = transport
        self._address_of = address_of
        self._local = threading.local()

    def call(
        self,
        request: httpx.Request,
        *,
        deadline_seconds: float,
        may_begin: Callable[[], bool] = lambda: True,
        most_bytes: int = MAX_BODY,
    ) -> Answer | NotStarted | Unknown:
        """Make the exchange, once. Raises ConfigurationError when the address is not allowed."""
        check_address(request.url, loopback_only=self._loopback_only())
        exchange = _Exchange(deadline_seconds, may_begin)
        try:
            response = self._open(request, exchange)
        except _NotBegun as refusal:
            return refusal.outcome
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:  # how a given transport says so
            return NotStarted(_describe(error))
        except _WIRE_FAILURES as error:
            return Unknown(_describe(error)) if exchange.begun else NotStarted(_describe(error))
        return _read(response, most_bytes)

    def _open(self, request: httpx.Request, exchange: "_Exchange") -> httpx.Response:
        if self._transport is not None:
            exchange.begin()
            return self._transport.handle_request(request)
        if not hasattr(self._local, "wire"):
            self._local.wire = _Wire(self._address_of)
        wire: _Wire = self._local.wire
        return wire.send(request, exchange)


def check_address(url: httpx.URL, *, loopback_only: bool) -> None:
    """Raise ConfigurationError for what may not be called: off this machine, anything unless live, and plain http."""
    if _is_loopback(url.host):
        return
    origin = f"{url.scheme}://{url.netloc.decode()}"
    if loopback_only:
        raise ConfigurationError(
            f"{origin} is not on this machine, and this instance is simulated",
            hint="go live, or point the account's base URL at a simulator on 127.0.0.1",
        )
    if url.scheme != "https":
        raise ConfigurationError(f"{origin} would carry a token in the clear", hint="use https://")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _read(response: httpx.Response, most_bytes: int) -> Answer:
    """Read the body as far as it comes. The status stands whatever happens to it."""
    body, whole = bytearray(), True
    try:
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > most_bytes:
                whole = False
                break
    except _WIRE_FAILURES:
        whole = False
    finally:
        response.close()
    return Answer(
        status=response.status_code, headers=response.headers, body=bytes(body[:most_bytes]), whole=whole
    )


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


class _NotBegun(Exception):
    """The exchange was abandoned before its first byte: the way out through the layers of the transport."""

    def __init__(self, outcome: NotStarted) -> None:
        super().__init__(outcome.detail)
        self.outcome = outcome


class _Exchange:
    """One call under way: what is left of its time, its guard, and whether a byte of it was written."""

    def __init__(self, deadline_seconds: float, may_begin: Callable[[], bool]) -> None:
        self._until = time.monotonic() + deadline_seconds
        self._may_begin = may_begin
        self.begun = False

    def left(self, late: Callable[[str], Exception], at_most: float | None = None) -> float:
        """Seconds left, never more than `at_most`. Raises `late` when there are none."""
        seconds = self._until - time.monotonic()
        if seconds <= 0:
            raise late("the call's deadline passed")
        return seconds if at_most is None else min(seconds, at_most)

    def begin(self) -> None:
        """Called before each write: the first one is the point of no return."""
        if self.begun:
            return
        if time.monotonic() >= self._until:
            raise _NotBegun(NotStarted("the deadline passed before the connection stood"))
        if not self._may_begin():
            raise _NotBegun(NotStarted("the guard said no", guarded=True))
        self.begun = True


class _Line:
    """What the sockets of one thread have in common: the exchange that is using them."""

    exchange: _Exchange


class _BoundedStream(httpcore.NetworkStream):
    """A socket whose waits end with the exchange's deadline and whose first write asks the guard.

    The timeouts that the layers above hand down are per wait, so they are ignored in favour of the total one.
    """

    def __init__(self, inner: httpcore.NetworkStream, line: _Line) -> None:
        self._inner = inner
        self._line = line

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        failpoint("http.written")
        return self._inner.read(max_bytes, self._line.exchange.left(httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._line.exchange.begin()
        self._inner.write(buffer, self._line.exchange.left(httpcore.WriteTimeout))
        failpoint("http.half_written")

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        seconds = self._line.exchange.left(httpcore.ConnectTimeout, CONNECT_SECONDS)
        return _BoundedStream(self._inner.start_tls(ssl_context, server_hostname, seconds), self._line)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _BoundedBackend(httpcore.NetworkBackend):
    """Opens bounded streams."""

    def __init__(self, line: _Line, address_of: Callable[[str, int], str]) -> None:
        self._line = line
        self._address_of = address_of
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.NetworkStream:
        address = self._address_of(host, port)
        seconds = self._line.exchange.left(httpcore.ConnectTimeout, CONNECT_SECONDS)
        stream = self._inner.connect_tcp(address, port, seconds, local_address, socket_options)
        return _BoundedStream(stream, self._line)


class _Body(httpx.SyncByteStream):
    """A response's body as it arrives."""

    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        return self._response.iter_stream()

    def close(self) -> None:
        self._response.close()


class _Wire:
    """One thread's connections. HTTP/1.1 only: a connection carries one exchange at a time."""

    def __init__(self, address_of: Callable[[str, int], str]) -> None:
        self._line = _Line()
        self._pool = httpcore.ConnectionPool(
            ssl_context=_tls(),
            max_connections=4,
            keepalive_expiry=KEEPALIVE_SECONDS,
            retries=0,
            network_backend=_BoundedBackend(self._line, address_of),
        )
        # threads come and go; their sockets go with them
        weakref.finalize(self, self._pool.close)

    def send(self, request: httpx.Request, exchange: _Exchange) -> httpx.Response:
        self._line.exchange = exchange
        response = self._pool.handle_request(
            httpcore.Request(
                request.method, str(request.url), headers=request.headers.raw, content=request.read()
            )
        )
        return httpx.Response(response.status, headers=response.headers, stream=_Body(response))


@cache
def _tls() -> SSLContext:
    """One context for the process: loading the root certificates takes tens of milliseconds."""
    return httpx.create_ssl_context(trust_env=False)
