"""The recipe of an embedded Postgres: making its cluster, its command line, asking it and ending it."""

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from outreach import ids
from outreach.embedded.binaries import PostgresPrograms
from outreach.embedded.place import Place, choose_place, mark_scratch, sweep_scratch
from outreach.embedded.recipe import HOST, Address, Opening, free_port, is_listening, shown
from outreach.embedded.spawning import BARE_ENVIRON, Command, launch_words, run
from outreach.embedded.waiting import wait_until
from outreach.errors import OutreachError

_SUPERUSER = "outreach"
#: a pid beyond every kernel's limit: no process has it
_NO_PROCESS = 2**31 - 2
#: seconds that a server whose owner died may take to end, and initdb to make a cluster
_RETIRE_TIMEOUT, _INITDB_TIMEOUT = 30.0, 120.0
#: builtin C.UTF-8 (17 and later) knows the case of all letters and needs no locale of the machine
_BUILTIN_LOCALE = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8")
_OPTIONS = {
    "listen_addresses": HOST,
    # TCP and a password only: a socket's path may not be longer than about 100 characters
    "unix_socket_directories": "",
    # two workers, web, scheduler and a few shells; memory and disk of a laptop
    "max_connections": "60",
    "shared_buffers": "128MB",
    "max_wal_size": "512MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # A refused statement is logged with its values, and its row in the detail: people's addresses, and our tokens.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length_on_error": "0",
    "jit": "off",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """A cluster under `data_dir`, one per major version. `scratch` trades durability for speed."""

    name: ClassVar[str] = "postgres"
    #: `pg_ctl -m immediate`: no checkpoint, no farewell to clients; the next start recovers from the log
    immediately: ClassVar[signal.Signals] = signal.SIGQUIT
    programs: PostgresPrograms
    #: absolute
    data_dir: Path
    scratch: bool = False

    def open(self, stale: Address | None) -> Opening:
        place = choose_place(self.programs, self.data_dir)
        if self.scratch and place.refuge is not None:
            sweep_scratch(self.name)
            mark_scratch(place.refuge, self.data_dir)
        self._retire(place.data, stale)
        if not (place.data / "PG_VERSION").exists():
            self._create_cluster(place)
        address = Address(port=free_port(), password=_password_file(place.data).read_text())
        return Opening(
            address=address,
            command=self._command(place, address.port),
            title=self._title(place),
            notes=place.notes,
            folders=(place.data, place.refuge) if place.refuge else (place.data,),
        )

    def answers(self, address: Address) -> bool:
        return is_listening(address.port) and self._psql(address, "SELECT 1").returncode == 0

    def ensure_database(self, address: Address, database_name: str) -> None:
        """Create the database (an SQL identifier) unless it is there."""
        seen = f"SELECT 1 FROM pg_database WHERE datname = '{database_name}'"
        if self._psql(address, seen).stdout.strip() == "1":
            return
        made = self._psql(address, f'CREATE DATABASE "{database_name}"')
        # another process may have made it just now: then ours failed, and all is well
        if made.returncode != 0 and self._psql(address, seen).stdout.strip() != "1":
            raise OutreachError(f"the database {database_name} cannot be created: {made.stderr.strip()}")

    @staticmethod
    def url(address: Address, database_name: str) -> str:
        return f"postgresql://{_SUPERUSER}:{address.password}@{HOST}:{address.port}/{database_name}"

    def _title(self, place: Place) -> str:
        origin = "embedded" if self.programs.is_embedded else "of this system"
        return f"postgres {self.programs.version} ({origin}, {shown(place.data)})"

    def _command(self, place: Place, port: int) -> Command:
        options = {**_OPTIONS, "port": str(port), "fsync": "off" if self.scratch else "on"}
        words = [str(place.programs / "postgres"), "-D", str(place.data)]
        for key, value in options.items():
            words += ["-c", f"{key}={value}"]
        return Command(
            name=self.name,
            words=words,
            environ=BARE_ENVIRON,
            restart=True,
            log=self.data_dir / f"{self.name}.log",
            # fast shutdown, then immediate: alone among its signals the latter takes stuck backends along
            stop_signals=(signal.SIGINT, self.immediately),
            cwd=Path("/"),
            os_user=place.os_user,
        )

    def _create_cluster(self, place: Place) -> None:
        """Make a cluster beside its final place and move it there: one cut short is never taken for whole."""
        unfinished = place.data.with_name(f"{place.data.name}.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        password_file = _password_file(place.data)
        password_file.touch(mode=0o600)
        password_file.write_text(ids.new_token())
        if place.os_user is not None:
            os.chown(unfinished, place.os_user.uid, place.os_user.gid)
            os.chown(password_file, place.os_user.uid, place.os_user.gid)
        self._initdb(place, unfinished, password_file)
        unfinished.rename(place.data)

    def _initdb(self, place: Place, data: Path, password_file: Path) -> None:
        words = [
            str(place.programs / "initdb"),
            "-D",
            str(data),
            "-U",
            _SUPERUSER,
            f"--pwfile={password_file}",
        ]
        words += ["--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-instructions"]
        if self.programs.major >= 17:
            words += _BUILTIN_LOCALE
        if self.scratch:
            words.append("--no-sync")
        made = run(launch_words(words, place.os_user, signal.SIGTERM), timeout=_INITDB_TIMEOUT)
        if made.returncode != 0:
            raise OutreachError(f"initdb could not make a cluster in {data}: {made.stderr.strip()}")

    def _psql(self, address: Address, sql: str) -> "subprocess.CompletedProcess[str]":
        where = f"host={HOST} port={address.port} user={_SUPERUSER} dbname=postgres connect_timeout=5"
        words = (self.programs.folder / "psql", "-X", "-A", "-t", "-d", where, "-c", sql)
        return run(words, environ={**BARE_ENVIRON, "PGPASSWORD": address.password})

    def _retire(self, data: Path, stale: Address | None) -> None:
        """End the server of a dead owner, so that ours can open its data; see that a dead one is known as dead."""
        pid = _recorded_pid(data)
        if pid is None or not _exists(pid):
            return

        def is_at_work() -> bool:
            return _works_in(pid, data) or (stale is not None and self.answers(stale))

        if is_at_work():
            os.kill(pid, signal.SIGINT)
            if not wait_until(lambda: not is_at_work(), timeout=_RETIRE_TIMEOUT):
                raise OutreachError(
                    f"an older postgres (process {pid}) does not let go of {data}", hint=f"kill {pid}"
                )
        if _recorded_pid(data) == pid:
            _record_as_dead(data)


def _password_file(data: Path) -> Path:
    return data.with_name(f"{data.name}.password")


def _recorded_pid(data: Path) -> int | None:
    """The first line of postmaster.pid: who opened this cluster and has not closed it properly."""
    try:
        return int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _works_in(pid: int, data: Path) -> bool:
    """Is that process, alive, this cluster's postmaster? It works in its data directory; zombies work nowhere.

    Known on Linux only; elsewhere the caller asks the server itself.
    """
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == data.resolve()
    except OSError:
        return False


def _record_as_dead(data: Path) -> None:
    """The recorded pid lives, but as a zombie or as somebody else; Postgres would wait for it for ever.

    We replace the pid alone. The rest of the file must stay: by it Postgres finds out by itself whether any
    backend of the dead server still has the data open.
    """
    file = data / "postmaster.pid"
    _, rest = file.read_text().split("\n", 1)
    file.write_text(f"{_NO_PROCESS}\n{rest}")
