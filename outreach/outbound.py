"""The door to addresses that an operator names: alerts, notices, heartbeats, files by https. Never a way into our own network.

A URL is allowed when its scheme is https, or http to this very machine while the instance is simulated. Its host is resolved once, and
exactly the address that was judged is connected to (a name cannot answer differently the second time). Private, link-local, loopback
and otherwise special addresses are refused: the metadata service of a cloud is one of them. Hosts of a private network can be
permitted by name. One attempt, one total deadline, no redirect, no cookie, no proxy of the environment, no password in the URL.
"""

import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import httpcore
import httpx

from outreach.errors import ConfigurationError
from outreach.providers.http import MAX_BODY, Answer, Http

_NAT64 = bytes.fromhex("0064ff9b0000000000000000")

Resolver = Callable[[str, int], list[str]]


@dataclass(frozen=True, slots=True)
class Failed:
    """It was not answered, or was not even asked: why, without the URL, which is often a secret."""

    reason: str


def resolve(host: str, port: int) -> list[str]:
    """The host's addresses. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Outbound:
    """One process's door. `simulated` is asked before every call; `inside`: hosts that may be at a private address."""

    def __init__(
        self,
        *,
        simulated: Callable[[], bool],
        inside: tuple[str, ...] = (),
        transport: httpx.BaseTransport | None = None,
        resolver: Resolver = resolve,
    ) -> None:
        self._simulated = simulated
        self._inside = frozenset(inside)
        self._resolver = resolver
        # Which address may be called is judged here, and more strictly.
        self._http = Http(loopback_only=lambda: False, transport=transport, address_of=self._address_of)

    def call(
        self,
        method: str,
        url: str,
        *,
        body: Mapping[str, Any] | None = None,
        deadline_seconds: float,
        most_bytes: int = MAX_BODY,
    ) -> Answer | Failed:
        """One exchange. Any status is an Answer, a redirect too; an address that is not allowed is Failed."""
        try:
            self.require_allowed(url)
            request = _request(method, url, body)
            found = self._http.call(request, deadline_seconds=deadline_seconds, most_bytes=most_bytes)
        except ConfigurationError as refused:
            return Failed(f"{refused.message}; {refused.hint}" if refused.hint else refused.message)
        return found if isinstance(found, Answer) else Failed(found.detail or "no answer")

    def require_allowed(self, url: str) -> None:
        """Raises ConfigurationError for a URL that would be refused by its looks, before anything is resolved."""
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL:
            raise ConfigurationError("that is no URL", hint="as in https://example.org/path") from None
        if not parsed.host:
            raise ConfigurationError("the URL names no host", hint="as in https://example.org/path")
        if parsed.userinfo:
            raise ConfigurationError(
                "the URL carries a user or a password", hint="put the secret into its path or query"
            )
        here = _is_this_machine(parsed.host) and self._simulated()
        if parsed.scheme != "https" and not (parsed.scheme == "http" and here):
            raise ConfigurationError(
                f"{parsed.scheme}://{parsed.host} is not https",
                hint="use https://; http is allowed to 127.0.0.1 only, while the instance is simulated",
            )
        address = _literal("127.0.0.1" if parsed.host.lower() == "localhost" else parsed.host)
        if address is not None:
            self._require_address(parsed.host, address)

    def _address_of(self, host: str, port: int) -> str:
        """The address to connect to. One that is not allowed among several means that all are refused."""
        try:
            addresses = self._resolver(host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"{host} cannot be resolved: {error}") from error
        for address in addresses:
            self._require_address(host, ip_address(address.partition("%")[0]))
        return addresses[0]

    def _require_address(self, host: str, address: IPv4Address | IPv6Address) -> None:
        inner = _unwrapped(address)
        if _is_this_machine(host) and inner.is_loopback and self._simulated():
            return
        if host.lower() in self._inside and not inner.is_link_local and not inner.is_multicast:
            return
        if not inner.is_global or inner.is_multicast or inner.is_reserved:
            raise ConfigurationError(
                f"{host} is at {address}, which is no public address",
                hint="a host of your own network is permitted by name: OUTREACH_OUTBOUND_HOSTS",
            )


def _request(method: str, url: str, body: Mapping[str, Any] | None) -> httpx.Request:
    headers = {"User-Agent": "outreach", "Accept": "*/*", "Accept-Encoding": "identity"}
    if body is None:
        return httpx.Request(method, url, headers=headers)
    content = json.dumps(body, ensure_ascii=False).encode()
    return httpx.Request(
        method, url, headers={**headers, "Content-Type": "application/json"}, content=content
    )


def _is_this_machine(host: str) -> bool:
    address = _literal(host)
    return host.lower() == "localhost" or (address is not None and address.is_loopback)


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that hides in an IPv6 one: mapped, 6to4, NAT64."""
    if isinstance(address, IPv6Address):
        if address.packed.startswith(_NAT64):
            return IPv4Address(address.packed[-4:])
        return address.ipv4_mapped or address.sixtofour or address
    return address
