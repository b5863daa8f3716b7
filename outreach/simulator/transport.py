"""The simulator behind an httpx client, without a socket or a thread: same handlers, same bytes.

Mangled responses become what a client would meet on the wire: a hang is a read timeout, a reset a read error, a
truncated body a protocol error after half of it. Pauses move nothing but the simulator's own events.
"""

from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import parse_qsl

import httpx

from outreach.simulator.simulator import Simulator
from outreach.simulator.wire import Manner, Request, Response


class InProcessTransport(httpx.BaseTransport):
    """`httpx.Client(transport=InProcessTransport(simulator), base_url="http://simulator")`."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._simulator.handle(_read(request))
        if response.seconds and response.manner is Manner.WHOLE:
            # what was to arrive before the answer arrives before the answer
            pause = timedelta(seconds=response.seconds)
            self._simulator.run_until(self._simulator.clock.now() + pause)
        if response.manner is Manner.HANG:
            raise httpx.ReadTimeout("the provider hangs", request=request)
        if response.manner is Manner.RESET:
            raise httpx.ReadError("connection reset by peer", request=request)
        headers = {**response.headers, "content-length": str(len(response.body))}
        return httpx.Response(response.status, headers=headers, stream=_Body(response), request=request)


class _Body(httpx.SyncByteStream):
    def __init__(self, response: Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        body = self._response.body
        if self._response.manner is Manner.TRUNCATED:
            yield body[: len(body) // 2]
            raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")
        yield body


def _read(request: httpx.Request) -> Request:
    return Request(
        method=request.method,
        path=request.url.path,
        query=dict(parse_qsl(request.url.query.decode(), keep_blank_values=True)),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=request.read(),
    )
