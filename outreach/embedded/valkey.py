"""The recipe of an embedded Valkey (or Redis): its configuration file, asking it and ending it."""

import hashlib
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from outreach import ids
from outreach.embedded.binaries import ValkeyProgram
from outreach.embedded.recipe import HOST, Address, Opening, free_port, is_listening, shown
from outreach.embedded.spawning import BARE_ENVIRON, Command
from outreach.embedded.waiting import wait_until
from outreach.errors import OutreachError

#: numbered databases of one server; number 0 belongs to the database named below
_DATABASES = 1024
_DATABASE_ZERO = "outreach"
#: seconds that a server whose owner died may take to end
_RETIRE_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Valkey:
    """A server whose append-only file lies under `data_dir`."""

    name: ClassVar[str] = "valkey"
    program: ValkeyProgram
    #: absolute
    data_dir: Path
    scratch: bool = False

    def open(self, stale: Address | None) -> Opening:
        if stale is not None:
            self._retire(stale)
        folder = self.data_dir / "valkey"
        folder.mkdir(mode=0o700, exist_ok=True)
        address = Address(port=free_port(), password=ids.new_token())
        configuration = self.data_dir / "valkey.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(self._configuration(folder, address))
        origin = "embedded" if self.program.is_embedded else "of this system"
        return Opening(
            address=address,
            command=self._command(configuration),
            title=f"{self.program.kind} {self.program.version} ({origin}, {shown(folder)})",
            folders=(folder,),
        )

    def answers(self, address: Address) -> bool:
        return is_listening(address.port) and _ask(address, "PING") == "+PONG"

    @staticmethod
    def url(address: Address, database_name: str) -> str:
        """Every database name has a numbered database of its own, always the same one."""
        return f"redis://:{address.password}@{HOST}:{address.port}/{_database_number(database_name)}"

    @staticmethod
    def flush(address: Address) -> None:
        """Lose everything in it. Raises OutreachError where it does not."""
        answer = _ask(address, "FLUSHALL")
        if answer != "+OK":
            raise OutreachError(f"valkey does not flush: {answer or 'no answer'}")

    def kill(self, address: Address, restart: Callable[[signal.Signals], None]) -> None:
        """kill -9; it comes back, and everything in it is lost. Raises OutreachError where it does not come back."""
        restart(signal.SIGKILL)
        wait_until(lambda: not is_listening(address.port), timeout=_RETIRE_TIMEOUT)
        if not wait_until(lambda: self.answers(address), timeout=_RETIRE_TIMEOUT):
            raise OutreachError(
                f"valkey was killed and does not come back: see {self.data_dir / self.name}.log"
            )
        # What its file remembers is not what a server without one would.
        self.flush(address)

    def _configuration(self, folder: Path, address: Address) -> str:
        """A file and no arguments: those would show the password to everybody on the machine."""
        return (
            f'bind {HOST}\nport {address.port}\nrequirepass "{address.password}"\ndatabases {_DATABASES}\n'
            f'dir "{folder}"\nappendonly yes\nappendfsync {"no" if self.scratch else "everysec"}\nsave ""\n'
            'maxmemory-policy noeviction\ndaemonize no\nlogfile ""\nalways-show-logo no\n'
        )

    def _command(self, configuration: Path) -> Command:
        return Command(
            name=self.name,
            words=[str(self.program.path), str(configuration)],
            environ=BARE_ENVIRON,
            restart=True,
            log=self.data_dir / f"{self.name}.log",
            cwd=Path("/"),
        )

    def _retire(self, stale: Address) -> None:
        """End the server of a dead owner: two servers must never write one append-only file."""
        if not self.answers(stale):
            return
        _ask(stale, "SHUTDOWN")
        if not wait_until(lambda: not is_listening(stale.port), timeout=_RETIRE_TIMEOUT):
            raise OutreachError(f"an older valkey on port {stale.port} does not let go of {self.data_dir}")


def _database_number(database_name: str) -> int:
    if database_name == _DATABASE_ZERO:
        return 0
    return 1 + int.from_bytes(hashlib.sha256(database_name.encode()).digest()[:8], "big") % (_DATABASES - 1)


def _ask(address: Address, question: str) -> str:
    """The last line that the server says to AUTH and this command; empty when it hangs up or says nothing in time."""
    try:
        with socket.create_connection((HOST, address.port), timeout=2.0) as connection:
            connection.sendall(f"AUTH {address.password}\r\n{question}\r\nQUIT\r\n".encode())
            with connection.makefile(encoding="utf-8", errors="replace") as answers:
                return ([line.strip() for line in answers][1:2] or [""])[0]
    except OSError:
        return ""
