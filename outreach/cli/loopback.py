"""A web server for one answer: the owner's browser comes back to this machine, and to nobody else's."""

import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Generic, TypeVar
from urllib.parse import parse_qsl, urlsplit

from outreach.errors import ConfigurationError

Answer = TypeVar("Answer")
#: Seconds that a connection may keep us waiting without saying anything.
_SILENT_SECONDS = 5.0
#: The longest address that is read.
_MOST = 8000


class Callback(Generic[Answer]):
    """Listens at http://127.0.0.1:PORT/PATH from when it is made. `port` 0: any free one."""

    def __init__(self, port: int, path: str) -> None:
        self._path = path
        self._answer: Answer | None = None
        try:
            self._server = HTTPServer(("127.0.0.1", port), _handler(self._got))
        except OSError as error:
            raise ConfigurationError(
                f"port {port} of this machine cannot be listened on: {(error.strerror or str(error)).lower()}",
                hint="--port N, with a callback URL of that port in the app's settings at the provider; or --via-web",
            ) from error
        self._finish: Callable[[dict[str, str]], tuple[Answer | None, bytes, int]] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{self._path}"

    def wait(
        self, finish: Callable[[dict[str, str]], tuple[Answer | None, bytes, int]], seconds: float
    ) -> Answer | None:
        """`finish` the question with what comes back: the answer (None: go on waiting), a page and its status. None: nobody came."""
        self._finish = finish
        until = time.monotonic() + seconds
        try:
            while self._answer is None and (left := until - time.monotonic()) > 0:
                self._server.timeout = left
                self._server.handle_request()
        finally:
            self._server.server_close()
        return self._answer

    def close(self) -> None:
        """Listen no more."""
        self._server.server_close()

    def _got(self, target: str) -> tuple[int, bytes]:
        asked = urlsplit(target)
        if asked.path != self._path or len(target) > _MOST or self._finish is None:
            return 404, b"nothing here"
        answer, page, status = self._finish(dict(parse_qsl(asked.query, keep_blank_values=True)))
        self._answer = answer
        return status, page


def _handler(got: Callable[[str], tuple[int, bytes]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _SILENT_SECONDS

        def do_GET(self) -> None:
            status, page = got(self.path)
            self.send_response(status)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(page)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("Referrer-Policy", "no-referrer")
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            """The address holds a code: it is written nowhere."""

    return Handler
