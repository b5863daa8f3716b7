"""A TCP proxy that stands between two honest parties and is not honest itself."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from enum import StrEnum
from typing import Self

#: Bytes of one read, and seconds after which a pump looks whether it is to end.
_CHUNK, _LOOK = 65_536, 0.2
#: SO_LINGER: closing sends RST, and what was not sent is lost
_AT_ONCE = struct.pack("ii", 1, 0)


class Act(StrEnum):
    """What becomes of a chunk on its way to the server."""

    WHOLE = "whole"
    #: nothing of it arrives, and the connection is reset
    BEFORE = "cut before"
    #: half of it arrives
    HALF = "cut in the middle"
    #: all of it arrives and is answered; the answer is lost
    AFTER = "answer lost"


def passes(chunk: bytes) -> Act:
    """Nothing is tampered with."""
    del chunk
    return Act.WHOLE


class Proxy:
    """Listens on a port of its own. `tamper` decides of every chunk that a client sends; `stalled`: nothing moves, nothing is closed."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.settimeout(_LOOK)
        self._links: set[_Link] = set()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._flowing = threading.Event()
        self._flowing.set()
        self.refusing = False
        self.tamper: Callable[[bytes], Act] = passes

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name=f"proxy-{self.port}", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._flowing.set()
        self.cut()
        self._listener.close()

    def cut(self) -> None:
        """Every connection is reset."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.cut()

    def stall(self) -> None:
        """Connections stay, and nothing passes any more."""
        self._flowing.clear()

    def flow(self) -> None:
        """As if nothing had been."""
        self.refusing = False
        self.tamper = passes
        self._flowing.set()

    # --- in threads of its own ---------------------------------------------------------------------------------

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return  # closed: the proxy is over
            if self.refusing:
                _reset(client)
                continue
            self._join(client)

    def _join(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._target, timeout=5.0)
        except OSError:
            _reset(client)  # the server is away, and so are we
            return
        link = _Link(client, server)
        with self._lock:
            self._links.add(link)
        for pump in (self._to_server, self._to_client):
            threading.Thread(target=self._run, args=(pump, link), daemon=True).start()

    def _run(self, pump: "Callable[[_Link], None]", link: "_Link") -> None:
        with contextlib.suppress(
            OSError
        ):  # either side went away, or the link was cut: both ends learn of it below
            pump(link)
        link.cut()
        with self._lock:
            self._links.discard(link)

    def _to_server(self, link: "_Link") -> None:
        while chunk := self._read(link.client):
            act = self.tamper(chunk)
            if act is Act.BEFORE:
                return
            link.loses_answer = link.loses_answer or act is not Act.WHOLE
            if act is Act.HALF:
                link.server.sendall(chunk[: len(chunk) // 2])
                return
            link.server.sendall(chunk)

    def _to_client(self, link: "_Link") -> None:
        while (chunk := self._read(link.server)) and not link.loses_answer:
            link.client.sendall(chunk)

    def _read(self, side: socket.socket) -> bytes:
        chunk = side.recv(_CHUNK)
        self._flowing.wait()
        return chunk


class _Link:
    """One connection: its two sockets."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        server.settimeout(None)
        self.loses_answer = False

    def cut(self) -> None:
        for side in (self.client, self.server):
            _reset(side)


def _reset(side: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it is closed already
        side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        side.shutdown(socket.SHUT_RDWR)
    side.close()
