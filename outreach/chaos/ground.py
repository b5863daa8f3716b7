"""What a scenario stands on: the suite's servers, or a Postgres of its own on a disk that can be filled."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from outreach.embedded.servers import Servers, start_servers
from outreach.errors import OutreachError
from outreach.settings import Settings

#: Bytes of one write, and of the disk: room for a cluster, its log, and a run's rows.
_CHUNK, _SIZE = 2**20, 384 * 2**20


class NotHere(OutreachError):
    """This machine cannot break that; the message says why."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A filesystem of its own, and the file that fills it."""

    folder: Path

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"

    def fill(self) -> None:
        """Not a byte is left."""
        with self._ballast.open("ab", buffering=0) as file:
            size = _CHUNK
            while size:
                try:
                    file.write(bytes(size))
                except OSError:
                    size //= 2

    def empty(self) -> None:
        """There is room again."""
        self._ballast.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The servers of a run, and the disk that its Postgres lies on where that can be filled."""

    servers: Servers
    disk: Disk | None = None


@contextmanager
def as_they_are(servers: Servers) -> Iterator[Ground]:
    """The suite's own."""
    yield Ground(servers=servers)


@contextmanager
def on_a_small_disk(servers: Servers) -> Iterator[Ground]:
    """Postgres alone moves to a disk of its own. Raises NotHere without the right to mount one."""
    with _mounted() as folder:
        settings = Settings(data_dir=folder / "data", redis_url=servers.redis_url)
        with start_servers(settings) as moved:
            yield Ground(servers=replace(moved, flush_valkey=servers.flush_valkey), disk=Disk(folder))


@contextmanager
def _mounted() -> Iterator[Path]:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        raise NotHere("only root can mount a small disk, and fill it")
    # Postgres must not be root, and reach its data all the same: /tmp may be closed to it, this folder is not.
    folder = Path(tempfile.mkdtemp(prefix="outreach-disk-", dir="/var/tmp"))
    folder.chmod(0o711)
    try:
        words = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=0711", "outreach-chaos", str(folder)]
        mounted = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603  our own words, no shell
        if mounted.returncode != 0:
            raise NotHere(f"no small disk can be mounted here: {mounted.stderr.strip()}")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=False)  # noqa: S603, S607  as above
    finally:
        with suppress(OSError):  # it is mounted still: what is in it goes with the machine
            folder.rmdir()
