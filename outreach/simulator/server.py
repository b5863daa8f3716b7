"""The simulator behind HTTP, on loopback and nowhere else: a thin ASGI shell, and the pump that makes things happen.

Requests are answered straight in the event loop, since they take microseconds; only those that call a subscriber
first run in a thread. The pump is one thread that does what is due and hands webhook attempts to a few workers.
"""

import asyncio
import ipaddress
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from outreach.simulator.simulator import Simulator
from outreach.simulator.wire import Manner, Request, Response

#: webhook attempts at the same time
WORKERS = 4
DRIP_PIECES = 10


class NotLoopback(ValueError):
    """The simulator was asked to listen where others could reach it."""


class Pump:
    """Does what is due, when it is due, until it is stopped."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._news = threading.Event()
        self._stopping = False
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="webhook")
        self._thread = threading.Thread(target=self._run, name="pump", daemon=True)
        simulator.on_wake(self._news.set)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop; attempts not yet begun are dropped."""
        self._stopping = True
        self._news.set()
        self._thread.join()
        self._workers.shutdown(wait=True, cancel_futures=True)

    def _run(self) -> None:
        while not self._stopping:
            self._news.clear()
            for delivery in self._simulator.step(self._simulator.clock.now()):
                self._workers.submit(self._simulator.deliver, delivery).add_done_callback(_not_silently)
            self._news.wait(self._pause())

    def _pause(self) -> float | None:
        """Seconds until something is due; None: until there is news."""
        due = self._simulator.next_due()
        return None if due is None else max(0.0, (due - self._simulator.clock.now()).total_seconds())


def _not_silently(attempt: Future[None]) -> None:
    """What goes wrong in a worker is raised where it is logged, instead of dying with its future."""
    if not attempt.cancelled():
        attempt.result()


class Shell:
    """The ASGI application: bytes in, `Simulator.handle`, bytes out in the response's manner."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = await _read(scope, receive)
        if self._simulator.calls_out(request):
            response = await asyncio.to_thread(self._simulator.handle, request)
        else:
            response = self._simulator.handle(request)
        await self._leave(response, scope, receive, send)

    async def _leave(self, response: Response, scope: Scope, receive: Receive, send: Send) -> None:
        match response.manner:
            case Manner.WHOLE:
                await asyncio.sleep(response.seconds) if response.seconds else None
                await _start(response, send)
                await send({"type": "http.response.body", "body": response.body})
            case Manner.DRIP:
                await _drip(response, send)
            case Manner.TRUNCATED:
                await _start(response, send)
                half = response.body[: len(response.body) // 2]
                await send({"type": "http.response.body", "body": half, "more_body": True})
                await _hang_up(scope, receive, reset=False)
            case Manner.RESET:
                await _hang_up(scope, receive, reset=True)
            case Manner.HANG:
                await _until_gone(receive, response.seconds)
                await _hang_up(scope, receive, reset=False)


async def _read(scope: Scope, receive: Receive) -> Request:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return Request(
        method=scope["method"],
        path=scope["path"],
        query=dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)),
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
        body=body,
        peer_port=scope["client"][1] if scope.get("client") else 0,
    )


async def _start(response: Response, send: Send) -> None:
    headers = [(name.encode(), value.encode()) for name, value in response.headers.items()]
    headers.append((b"content-length", str(len(response.body)).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})


async def _drip(response: Response, send: Send) -> None:
    await _start(response, send)
    size = max(1, -(-len(response.body) // DRIP_PIECES))
    for at in range(0, len(response.body), size):
        piece = response.body[at : at + size]
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await asyncio.sleep(response.seconds / DRIP_PIECES)
    await send({"type": "http.response.body", "body": b""})


async def _until_gone(receive: Receive, seconds: float) -> None:
    """Wait, but not for a client that has hung up."""
    try:
        await asyncio.wait_for(receive(), seconds)
    except TimeoutError:
        return


async def _hang_up(scope: Scope, receive: Receive, *, reset: bool) -> None:
    """Close the connection under the response, and wait until the server has noticed."""
    transport: asyncio.Transport = scope["state"]["transport"]
    if reset:
        sock = transport.get_extra_info("socket")
        # lingering for zero seconds makes the kernel send RST instead of FIN
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    else:
        transport.close()
    while (await receive())["type"] != "http.disconnect":
        pass


class _Protocol(H11Protocol):
    """Lets the shell reach the connection that a request came in on."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)


def create_app(simulator: Simulator) -> Starlette:
    """The ASGI application; its lifespan runs the pump."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        pump = Pump(simulator)
        pump.start()
        try:
            yield
        finally:
            await asyncio.to_thread(pump.stop)

    return Starlette(routes=[Mount("/", app=Shell(simulator))], lifespan=lifespan)


class Server(uvicorn.Server):
    """One simulator on one loopback port (0: any free one). `run` serves until a signal, `running` in a thread."""

    def __init__(self, simulator: Simulator, *, host: str = "127.0.0.1", port: int = 0) -> None:
        if not ipaddress.ip_address(host).is_loopback:
            raise NotLoopback(f"{host} is not loopback; the simulator listens nowhere else")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # named as TCP, so that the event loop switches off the delay for small writes
        self._socket = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((host, port))
        self.on_ready: Callable[[], None] = lambda: None
        config: dict[str, Any] = {
            "http": _Protocol,
            "lifespan": "on",
            "access_log": False,
            "log_level": "warning",
            "server_header": False,
            "timeout_keep_alive": 60,
            "timeout_graceful_shutdown": 1,
        }
        super().__init__(uvicorn.Config(create_app(simulator), **config))

    @property
    def url(self) -> str:
        host, port = self._socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.on_ready()

    def serve_until_stopped(self) -> None:
        """Block until a signal or `should_exit`."""
        try:
            asyncio.run(self.serve([self._socket]))
        finally:
            self._socket.close()

    @contextmanager
    def running(self) -> Iterator[str]:
        """Serve in a thread; gives the base URL."""
        ready = threading.Event()
        self.on_ready = ready.set
        thread = threading.Thread(target=self.serve_until_stopped, name="simulator")
        thread.start()
        try:
            if not ready.wait(10):
                raise RuntimeError("the simulator did not come up within 10 s")
            yield self.url
        finally:
            self.should_exit = True
            thread.join()
