"""Where a cluster lives and who runs it: here and we ourselves, unless we are root, whom Postgres refuses.

As root, its user must reach both the programs and the data. What it cannot reach (a HOME of mode 0700, say)
moves to a *refuge*, a folder of root's in /var/tmp named after the data directory, where it can.
"""

import hashlib
import os
import shutil
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from outreach.embedded.binaries import PostgresPrograms
from outreach.embedded.locking import lock_file, try_lock
from outreach.embedded.spawning import OsUser, run
from outreach.errors import ConfigurationError

#: survives a reboot, unlike /tmp on many machines
_REFUGES = Path("/var/tmp")  # noqa: S108  claimed with owner and mode checked, see _claim
#: file in a refuge whose data nobody will miss: says of which data directory
_SCRATCH = "scratch"
_UNPRIVILEGED = "nobody"
#: everything under the wheel that a running server does not need
_NOT_NEEDED = ("include", "pgxs", "pkgconfig", "*.a", "__pycache__", "*.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one cluster's server finds its programs and its data, and who runs it (None: we do)."""

    programs: Path
    data: Path
    os_user: OsUser | None = None
    #: made by us for this data directory, outside of it
    refuge: Path | None = None
    notes: tuple[str, ...] = ()


def choose_place(programs: PostgresPrograms, data_dir: Path) -> Place:
    """The place of this data directory's cluster, made ready. Raises ConfigurationError when there is none."""
    data = data_dir / f"pg{programs.major}"
    if os.geteuid() == 0:
        return _place_as_root(programs, data)
    if data.exists() and data.stat().st_uid != os.geteuid():
        owner = OsUser.of(data.stat().st_uid, data.stat().st_gid)
        raise ConfigurationError(
            f"{data} belongs to {owner.name}",
            hint="run this as root again, or set OUTREACH_DATA_DIR to a folder of your own",
        )
    return Place(programs=programs.folder, data=data)


def mark_scratch(refuge: Path, data_dir: Path) -> None:
    """Note that this refuge may be swept once nobody holds its data directory."""
    (refuge / _SCRATCH).write_text(str(data_dir))


def refuge_of(data_dir: Path) -> Path:
    """The refuge that belongs to this data directory, an absolute path that may not exist."""
    return _REFUGES / f"outreach-{hashlib.sha256(bytes(data_dir)).hexdigest()[:12]}"


def _place_as_root(programs: PostgresPrograms, data: Path) -> Place:
    os_user, refuge = _user_for(data), refuge_of(data.parent)
    moved = []
    folder = programs.folder
    if not _can_reach(folder / "postgres", os_user):
        moved.append("its programs")
        folder = _copy_programs(programs, _claim(refuge))
    if (refuge / data.name).exists() or not _can_reach(data.parent, os_user):
        moved.append("its data")
        data = _claim(refuge) / data.name
    note = f'postgres refuses root and runs as user "{os_user.name}"'
    if moved:
        note += f"; {' and '.join(moved)} are in {refuge}, where that user can reach them"
    return Place(programs=folder, data=data, os_user=os_user, refuge=refuge if moved else None, notes=(note,))


def _user_for(data: Path) -> OsUser:
    """The owner of data that an ordinary user made before; nobody for new data, and for data in the refuge."""
    if data.exists() and (status := data.stat()).st_uid != 0:
        return OsUser.of(status.st_uid, status.st_gid)
    return OsUser.named(_UNPRIVILEGED)


def _can_reach(path: Path, os_user: OsUser) -> bool:
    """Asked of the kernel, as that user: mode bits alone do not tell of access lists and mounts."""
    return run(["/bin/sh", "-c", 'test -x "$0"', path], os_user=os_user).returncode == 0


def sweep_scratch(name: str) -> None:
    """Remove the refuges of scratch servers (of this name) that were killed before they could do so themselves."""
    for marker in _REFUGES.glob(f"outreach-*/{_SCRATCH}"):
        if marker.lstat().st_uid != os.geteuid():
            continue
        lock = lock_file(Path(marker.read_text()), name)
        if not lock.exists():
            shutil.rmtree(marker.parent, ignore_errors=True)
            continue
        with lock.open("a") as held:
            if try_lock(held):
                shutil.rmtree(marker.parent, ignore_errors=True)


def _claim(refuge: Path) -> Path:
    """Make the refuge ours: root's, passable to all, writable by none but us. Others may write beside it."""
    refuge.mkdir(mode=0o711, exist_ok=True)
    status = refuge.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != 0:
        raise ConfigurationError(
            f"{refuge} is not a folder of root's: somebody else made it", hint="remove it"
        )
    refuge.chmod(0o711)
    return refuge


def _copy_programs(programs: PostgresPrograms, refuge: Path) -> Path:
    """Copy the wheel's programs, keeping the layout by which they find each other; a copy made before serves."""
    if not programs.is_embedded:
        raise ConfigurationError(
            f"{programs.folder} cannot be reached by {_UNPRIVILEGED}, as whom Postgres must run",
            hint="pip install 'outreach-engine[local]', or set DATABASE_URL",
        )
    package = programs.folder.parent.parent
    copy = refuge / f"postgres-{programs.version}"
    postgres = programs.folder.relative_to(package.parent) / "postgres"
    if not _is_same_file(package.parent / postgres, copy / postgres):
        _replace_tree(_wheel_parts(package), copy)
    return copy / postgres.parent


def _wheel_parts(package: Path) -> Iterable[Path]:
    """The package, and beside it the folder of shared libraries that its programs look for."""
    return [part for part in (package, package.with_name(f"{package.name}.libs")) if part.is_dir()]


def _is_same_file(one: Path, other: Path) -> bool:
    """Same size and time: copies keep the time."""
    if not other.exists():
        return False
    a, b = one.stat(), other.stat()
    return (a.st_size, int(a.st_mtime)) == (b.st_size, int(b.st_mtime))


def _replace_tree(parts: Iterable[Path], target: Path) -> None:
    """Put the copy in place in one step, so that a copy cut short is never taken for whole."""
    unfinished = target.with_name(f"{target.name}.new")
    for leftover in (unfinished, target):
        shutil.rmtree(leftover, ignore_errors=True)
    for part in parts:
        shutil.copytree(
            part, unfinished / part.name, symlinks=True, ignore=shutil.ignore_patterns(*_NOT_NEEDED)
        )
    unfinished.rename(target)
