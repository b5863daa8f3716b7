"""One server per data directory, whoever comes: the first process owns it, the others share it.

The owner holds a file lock for as long as it lives; the kernel lets go of it however the owner ends. So who
gets the lock knows that the last owner is dead, whatever files it left.
"""

import json
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from outreach.embedded.locking import lock_file, try_lock
from outreach.embedded.recipe import Address, Opening, Recipe
from outreach.embedded.supervisor import Supervisor
from outreach.embedded.waiting import wait_until
from outreach.errors import OutreachError

_log = logging.getLogger(__name__)
#: seconds: until a server takes commands (a crashed one recovers first), until its owner lets us share it
_START_TIMEOUT, _JOIN_TIMEOUT = 60.0, 90.0
#: seconds that a server gets to stop before it is killed
_STOP_TIMEOUT = 20.0
#: Postgres may refuse once or twice while backends of a killed server end; who ends this often is broken
_TOO_MANY_ENDS = 4
#: bytes from which on a log is begun anew
_LOG_LIMIT = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that takes commands."""

    address: Address
    notes: tuple[str, ...]
    #: ends it by a signal and starts it again at the same address; None: another process owns it
    restart: Callable[[signal.Signals], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Published:
    """What the owner says to others, in a file of mode 0600."""

    address: Address
    title: str
    owner: int


@contextmanager
def serve(recipe: Recipe, data_dir: Path, *, scratch: bool) -> Iterator[Running]:
    """Start the server, or share the one that another process started. On leaving, its owner stops it."""
    state = data_dir / f"{recipe.name}.json"
    with lock_file(data_dir, recipe.name).open("a") as lock:
        shared = _share_or_lock(recipe, lock, state)
        if shared is not None:
            yield Running(
                address=shared.address, notes=(f"{shared.title} shared with process {shared.owner}",)
            )
            return
        began = time.monotonic()
        stale = _read(state)
        opening = recipe.open(stale.address if stale else None)
        try:
            with _own(recipe, opening, state) as supervisor:
                took = f"{opening.title} started in {time.monotonic() - began:.2f} s"
                yield Running(
                    address=opening.address,
                    notes=(took, *opening.notes),
                    restart=partial(supervisor.restart, opening.command.name),
                )
        finally:
            if scratch:
                for folder in opening.folders:
                    shutil.rmtree(folder, ignore_errors=True)


def _share_or_lock(recipe: Recipe, lock: IO[str], state: Path) -> _Published | None:
    """What a living owner published, once it answers; None: the lock is ours, and there is no living owner."""
    deadline = time.monotonic() + _JOIN_TIMEOUT
    pause = threading.Event()
    while not try_lock(lock):
        published = _read(state)
        if published is not None and recipe.answers(published.address):
            return published
        if time.monotonic() > deadline:
            raise OutreachError(
                f"another process holds {recipe.name} in {state.parent}, but it does not answer",
                hint=f"see {state.with_suffix('.log')}, or end that process",
            )
        pause.wait(0.1)
    return None


@contextmanager
def _own(recipe: Recipe, opening: Opening, state: Path) -> Iterator[Supervisor]:
    _prepare_log(opening.command.log)
    _write(state, _Published(address=opening.address, title=opening.title, owner=os.getpid()))
    supervisor = Supervisor(say=_log.warning)
    try:
        supervisor.start(opening.command)
        _await_answer(recipe, opening, supervisor)
        yield supervisor
    finally:
        state.unlink(missing_ok=True)  # first, so that nobody comes to share what is about to stop
        supervisor.stop(_STOP_TIMEOUT)


def _await_answer(recipe: Recipe, opening: Opening, supervisor: Supervisor) -> None:
    def is_broken() -> bool:
        return len(supervisor.exit_codes()[opening.command.name]) >= _TOO_MANY_ENDS

    def is_settled() -> bool:
        return is_broken() or recipe.answers(opening.address)

    if not wait_until(is_settled, timeout=_START_TIMEOUT) or is_broken():
        raise OutreachError(f"{opening.title} does not start", hint=_last_lines(opening.command.log))


def _last_lines(log: Path | None) -> str:
    lines = log.read_text(errors="replace").splitlines()[-10:] if log and log.exists() else []
    return "\n  ".join([f"the end of {log}:", *lines])


def _prepare_log(log: Path | None) -> None:
    """Begin a long one anew; keep it to ourselves, for failing statements show what was in them."""
    if log is None:
        return
    if log.exists() and log.stat().st_size > _LOG_LIMIT:
        log.unlink()
    log.touch(mode=0o600)


def _read(state: Path) -> _Published | None:
    """What the last owner published; None when it published nothing or was cut short."""
    try:
        said = json.loads(state.read_text())
        return _Published(
            address=Address(port=said["port"], password=said["password"]),
            title=said["title"],
            owner=said["owner"],
        )
    except (FileNotFoundError, ValueError, KeyError):
        return None


def _write(state: Path, published: _Published) -> None:
    """Replace the file in one step, readable by us alone from the first byte on."""
    address = published.address
    said = {
        "port": address.port,
        "password": address.password,
        "title": published.title,
        "owner": published.owner,
    }
    unfinished = state.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)
    unfinished.write_text(json.dumps(said))
    unfinished.replace(state)
