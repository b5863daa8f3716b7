"""How a subscriber is reached: over HTTP on loopback, or through any httpx client in process."""

import threading
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

import httpx

from outreach.simulator.hooks import on_loopback

#: how long the provider waits for a subscriber, in real seconds
PATIENCE = 10.0


class HttpPost:
    """Over HTTP, with one kept connection per thread and subscriber. Reaches loopback only."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._opened: list[HTTPConnection] = []

    def __call__(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes] | None:
        if not on_loopback(url):
            return None
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        for connection, kept in self._connections(parts.netloc):
            try:
                connection.request(method, target, body, dict(headers))
                response = connection.getresponse()
                return response.status, response.read()
            except (OSError, HTTPException):
                connection.close()
                if not kept:
                    return None
        return None

    def _connections(self, netloc: str) -> list[tuple[HTTPConnection, bool]]:
        """The connection to use; a kept one may be stale, so it gets a second chance as a fresh one."""
        kept: dict[str, HTTPConnection] = self._local.__dict__
        if netloc in kept and kept[netloc].sock is not None:
            return [(kept[netloc], True), (kept[netloc], False)]
        kept[netloc] = HTTPConnection(netloc, timeout=PATIENCE)
        self._opened.append(kept[netloc])
        return [(kept[netloc], False)]

    def close(self) -> None:
        """Close all connections; none may be in use any more."""
        for connection in self._opened:
            connection.close()


class ClientPost:
    """Through an httpx client, such as a test client around the subscriber's app."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def __call__(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes] | None:
        try:
            response = self._client.request(method, url, headers=dict(headers), content=body)
        except httpx.TransportError:
            return None
        return response.status_code, response.content


def post_nowhere(method: str, url: str, headers: Mapping[str, str], body: bytes) -> None:  # noqa: ARG001  as the protocol has it
    """For worlds without subscribers: nobody answers."""
    return
