"""The lock by which a process owns the servers of a data directory."""

import fcntl
from pathlib import Path
from typing import IO


def lock_file(data_dir: Path, name: str) -> Path:
    """Which file stands for the server of that name. It is never removed: somebody may be waiting for it."""
    return data_dir / f"{name}.lock"


def try_lock(lock: IO[str]) -> bool:
    """Take the lock until the file is closed; False when another holds it. The kernel lets go of a dead holder's."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
