"""Files that a user named by URL: https to public addresses only, a size limit, one deadline for everything.

A name is looked up once, every address it stands for must be public, and the connection goes to an address that was checked: a name
that changes its mind in between reaches nothing. What we tell others goes through outbound.py; provider clients have a door of their own (providers/http.py).
"""

import contextlib
import http.client
import io
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import BinaryIO
from urllib.parse import urljoin, urlsplit

from outreach.addresses import Address, is_public
from outreach.errors import OutreachError, UsageError

_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 3
_BLOCK = 64 * 1024
_PLAIN = {"Accept-Encoding": "identity", "User-Agent": "outreach"}


class NotPublic(UsageError):
    """This address may not be called: it is no https URL of a public host."""


class Unreachable(OutreachError):
    """The other side did not answer as it should, or not in time."""


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Which addresses may be called, and whose certificates are believed. Tests have one that opens to loopback."""

    allows: Callable[[Address], bool] = is_public
    tls: Callable[[], ssl.SSLContext] = field(default=_tls)


PUBLIC = Door()


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A URL that was checked, and the addresses that its host stood for at that moment, all of them allowed."""

    host: str
    port: int
    #: path and query, as the request has them
    path: str
    addresses: tuple[str, ...]
    #: what may be shown: never the query, which often holds a secret
    shown: str


def check_public(url: str, *, door: Door = PUBLIC, seconds: float = 10.0) -> Target:
    """The target of an https URL. Raises NotPublic for any other, Unreachable where the name cannot be looked up."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 443
    except ValueError as error:
        raise NotPublic(f"that is no URL: {error}") from None
    shown = f"{parts.scheme}://{host}{parts.path}"
    if parts.scheme != "https" or not host:
        raise NotPublic(f"{shown} is no https URL", hint="as in https://example.org/people.csv")
    if parts.username or parts.password:
        raise NotPublic(f"{shown} carries a name or a password", hint="use a signed URL instead")
    addresses = _literal(host) or _looked_up(host, port, seconds)
    refused = [str(address) for address in addresses if not door.allows(address)]
    if refused:
        raise NotPublic(
            f"{host} is {refused[0]}, which is not public",
            hint="an address of this machine or of an inner network is never called; hand the file over with -",
        )
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(
        host=host, port=port, path=path, addresses=tuple(str(address) for address in addresses), shown=shown
    )


def _literal(host: str) -> list[Address]:
    try:
        return [ipaddress.ip_address(host.partition("%")[0])]
    except ValueError:
        return []


def _looked_up(host: str, port: int, seconds: float) -> list[Address]:
    """Every address of the host. A resolver cannot be hurried, so it is waited for in a thread of its own."""
    found: list[Address] = []
    failed: list[OSError | UnicodeError] = []

    def look_up() -> None:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.extend(ipaddress.ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers)
        except (OSError, UnicodeError) as error:
            failed.append(error)

    thread = threading.Thread(target=look_up, name="look-up", daemon=True)
    thread.start()
    thread.join(seconds)
    if failed or not found:
        why = failed[0] if failed else "no answer in time"
        raise Unreachable(f"{host} cannot be looked up: {why}", hint="is the name right?")
    return list(dict.fromkeys(found))


def fetch(url: str, *, most_bytes: int, deadline: float, door: Door = PUBLIC) -> bytes:
    """The body behind the URL; `deadline` in real seconds for all of it. Raises as `fetch_into` does."""
    whole = io.BytesIO()
    fetch_into(whole, url, most_bytes=most_bytes, deadline=deadline, door=door)
    return whole.getvalue()


def fetch_into(file: BinaryIO, url: str, *, most_bytes: int, deadline: float, door: Door = PUBLIC) -> None:
    """Write the body behind the URL into the file. Redirects are followed three times, each checked anew.

    Raises NotPublic for an address that may not be called, Unreachable for everything that went wrong on the way, UsageError
    for a body of more than `most_bytes`.
    """
    ends = time.monotonic() + deadline
    for _ in range(_MOST_REDIRECTS + 1):
        target = check_public(url, door=door, seconds=max(0.1, ends - time.monotonic()))
        elsewhere = _get(target, file, most_bytes, ends, door)
        if elsewhere is None:
            return
        url = urljoin(url, elsewhere)
    raise Unreachable(f"{target.shown} redirects more than {_MOST_REDIRECTS} times", hint="name the last URL")


def _get(target: Target, file: BinaryIO, most_bytes: int, ends: float, door: Door) -> str | None:
    """Where it redirects to; None: the body is in the file."""
    try:
        with connected(target, ends, door) as connection:
            connection.request("GET", target.path, headers=_PLAIN)
            answer = connection.getresponse()
            if answer.status in _REDIRECTS and (place := answer.getheader("location")):
                return place
            if answer.status != 200:
                raise Unreachable(f"{target.shown} answered {answer.status} {answer.reason}")
            _copy(answer, file, most_bytes, target.shown)
            if time.monotonic() >= ends:
                # A connection that was cut may look like one that had said everything.
                raise TimeoutError
            return None
    except (OSError, http.client.HTTPException) as error:
        why = "it took too long" if time.monotonic() >= ends else f"{type(error).__name__}: {error}"
        raise Unreachable(
            f"{target.shown} cannot be read: {why}", hint="nothing was done; run it again"
        ) from error


def _copy(answer: http.client.HTTPResponse, file: BinaryIO, most_bytes: int, shown: str) -> None:
    size = 0
    while block := answer.read1(_BLOCK):
        size += len(block)
        if size > most_bytes:
            raise UsageError(f"{shown} is larger than {most_bytes:,} bytes")
        file.write(block)
    # What breaks off early ends like a body that is whole; only its length tells.
    if answer.length:
        raise http.client.IncompleteRead(b"", answer.length)


@contextlib.contextmanager
def connected(target: Target, ends: float, door: Door = PUBLIC) -> Iterator[http.client.HTTPSConnection]:
    """A connection to an address that was checked, for one request. At `ends` (monotonic) it is cut, whatever it is doing."""
    left = ends - time.monotonic()
    if left <= 0:
        raise TimeoutError("it took too long")
    connection = http.client.HTTPSConnection(target.host, target.port)
    with contextlib.ExitStack() as stack:
        plain = stack.enter_context(_connect(target, left))
        secure = door.tls().wrap_socket(plain, server_hostname=target.host, do_handshake_on_connect=False)
        stack.enter_context(secure)
        cut = threading.Timer(max(0.0, ends - time.monotonic()), _cut, [secure])
        cut.daemon = True
        cut.start()
        stack.callback(cut.cancel)
        secure.do_handshake()
        connection.sock = secure
        # Closes the answer too, which otherwise holds the socket open until somebody collects it.
        stack.callback(connection.close)
        yield connection


def _connect(target: Target, seconds: float) -> socket.socket:
    """The first address that answers."""
    failed: OSError = OSError("no address")
    for address in target.addresses:
        try:
            return socket.create_connection(
                (address, target.port), timeout=max(0.1, seconds / len(target.addresses))
            )
        except OSError as error:
            failed = error
    raise failed


def _cut(sock: socket.socket) -> None:
    """End whatever it waits for. Not by its own shutdown(), which would take the encryption away under a reader."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
