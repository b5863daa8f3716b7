"""What there is to know of a server to run it and share it: implemented by Postgres and by Valkey."""

import socket
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from outreach.embedded.spawning import Command

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a server on this machine listens, and the password that proves that it is ours."""

    port: int
    password: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A server that is ready to be started."""

    address: Address
    command: Command
    #: "postgres 18.6 (embedded, .outreach/pg18)"
    title: str
    notes: tuple[str, ...] = ()
    #: folders that hold its data and nothing else: removed with a scratch server
    folders: tuple[Path, ...] = ()


class Recipe(Protocol):
    """One kind of server over one data directory."""

    @property
    def name(self) -> str:
        """Names the lock, the state file and the log."""
        ...

    def open(self, stale: Address | None) -> Opening:
        """End what a dead owner left (last seen at `stale`), make the data fit to be opened, choose an address.

        Only the holder of the lock may call this.
        """
        ...

    def answers(self, address: Address) -> bool:
        """Does our server, not another's, take commands at this address?"""
        ...


def shown(path: Path) -> str:
    """The path as a person would type it here: relative where it lies below the working directory."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def free_port() -> int:
    """A TCP port of the loopback that was free a moment ago."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """So many of them, all different: asked for one by one, the kernel may name one twice."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]


def is_listening(port: int) -> bool:
    """Does anybody accept connections there? Cheap to ask before asking who it is."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0
