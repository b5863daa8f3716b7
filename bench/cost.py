"""What a run cost: CPU of process trees from /proc, memory, commits."""

import os
from collections.abc import Iterable
from pathlib import Path

from outreach.models.base import Database

_TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(roots: Iterable[int]) -> float:
    """User and system time of these processes and of all below them, those that have ended included."""
    return sum(_own_and_reaped(pid) for pid in _trees(roots))


def parent(pid: int) -> int:
    """The process that started this one."""
    return int(_fields(pid)[1])


def rss_mb(pid: int) -> float:
    """Resident memory."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def commits(db: Database) -> int:
    """Transactions that this database has committed, reads included."""
    row = db.read("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")[0]
    return int(row["xact_commit"])


def _trees(roots: Iterable[int]) -> set[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _fields(int(entry.name))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: set[int] = set()
    todo = list(roots)
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.add(pid)
            todo += children.get(pid, [])
    return found


def _own_and_reaped(pid: int) -> float:
    fields = _fields(pid)
    return sum(int(fields[i]) for i in (11, 12, 13, 14)) / _TICK if fields else 0.0


def _fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command's name, state first; empty for one that has gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()
