"""What a route is, what its handler is given, and how a path finds its route."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from outreach.simulator.problems import Problem
from outreach.simulator.wire import Request, Response


class Auth(StrEnum):
    """Whose token a route wants."""

    NONE = "none"
    USER = "user"
    APP = "app"
    EITHER = "either"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One authenticated request. `account` is the caller's id (empty for the app); reads end at `horizon`."""

    request: Request
    params: Mapping[str, str]
    account: str
    now: datetime
    horizon: datetime


Handler = Callable[[Call], Response | Problem]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One endpoint. `name` is what fault plans match; `bucket` names its rate windows."""

    name: str
    method: str
    path: str
    handler: Handler
    auth: Auth = Auth.USER
    bucket: str | None = None
    #: makes a request of its own: runs without the simulator's lock, and takes it itself
    calls_out: bool = False


def table(*rows: tuple[str, str, str, Handler, Auth, str | None]) -> list[Route]:
    """Routes from rows of name, method, path, handler, auth and bucket."""
    return [
        Route(name=name, method=method, path=path, handler=handler, auth=auth, bucket=bucket)
        for name, method, path, handler, auth, bucket in rows
    ]


class Router:
    """Finds routes by method and path segments; a segment in braces matches anything."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._by_shape: defaultdict[tuple[str, int], list[tuple[list[str], Route]]] = defaultdict(list)
        for route in routes:
            segments = route.path.split("/")
            self._by_shape[route.method, len(segments)].append((segments, route))

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """The first route that fits, and what its braces matched."""
        segments = path.split("/")
        for pattern, route in self._by_shape.get((method, len(segments)), ()):
            params: dict[str, str] = {}
            for wanted, given in zip(pattern, segments, strict=True):
                if wanted[:1] == "{":
                    params[wanted[1:-1]] = given
                elif wanted != given:
                    break
            else:
                return route, params
        return None
