"""Runs named children: speaks their lines, restarts the crashed, and leaves no process behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import IO, Self

from outreach.embedded.spawning import Command, spawn
from outreach.errors import NotFound, UsageError

__all__ = ["Command", "Supervisor", "interrupted_by_signals"]

#: seconds between two looks at the children
_TICK = 0.05
#: seconds before a crashed child is started again: doubled with every crash in a row
_FIRST_DELAY, _LONGEST_DELAY = 0.25, 30.0
#: a child that ran this many seconds is well again: its next crash counts as the first
_HEALTHY_AFTER = 30.0
#: seconds that a killed child may take to be gone, and a reader to say its last lines
_REAP_TIMEOUT, _LAST_LINES_TIMEOUT = 5.0, 1.0


@dataclass(slots=True)
class _Child:
    """Runs while it has a process, will be started while it has a start_at, is over when it has neither."""

    command: Command
    process: "subprocess.Popen[str] | None" = None
    #: monotonic second of the next start
    start_at: float | None = 0.0
    started_at: float = 0.0
    #: of the last process
    pid: int | None = None
    exit_codes: list[int] = field(default_factory=list)
    failure: OSError | None = None
    crashes_in_a_row: int = 0
    #: it was told to end in order to start again
    restarting: bool = False
    #: it was told to end for good
    retired: bool = False
    reader: threading.Thread | None = None

    def is_over(self) -> bool:
        return self.process is None and self.start_at is None

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def send(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)  # does nothing when it has ended

    def signal_group(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, number)


class Supervisor:
    """The parent of named children. A context manager: leaving it stops them all.

    One thread starts and reaps every child and lives as long as they do, because the kernel ties a child to
    the thread that started it. So children end with this process however it ends, and not before.
    """

    def __init__(self, say: Callable[[str], None] | None = None) -> None:
        """`say` gets every output line, prefixed with the child's name; by default it goes to stdout."""
        self._say = say or _to_stdout
        self._children: dict[str, _Child] = {}
        self._stopping = False
        self._closed = False
        self._changed = threading.Condition()
        self._keeper = threading.Thread(target=self._keep, name="supervisor", daemon=True)
        self._keeper.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, command: Command) -> int:
        """Start a child and return its pid. Raises UsageError on a name that runs, OSError if it cannot start."""
        with self._changed:
            known = self._children.get(command.name)
            if self._stopping or (known is not None and not known.is_over()):
                raise UsageError(f"{command.name} cannot be started: it runs, or its supervisor is stopping")
            child = self._children[command.name] = _Child(command)
            self._changed.notify_all()
            self._changed.wait_for(lambda: child.pid is not None or child.failure is not None)
        if child.pid is None:
            raise child.failure or OSError(f"{command.name} did not start")
        return child.pid

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to one child. A child with `restart` comes back unless it then ends with 0."""
        with self._changed:
            child = self._children.get(name)
            if child is None or not child.is_running():
                raise NotFound(f"no child named {name} is running")
            child.send(number)

    def restart(self, name: str, number: signal.Signals) -> None:
        """End a child and all that it started by a signal; whatever it ends with, it starts again. No crash is counted."""
        with self._changed:
            child = self._children.get(name)
            if child is None or not child.is_running():
                raise NotFound(f"no child named {name} is running")
            child.restarting = True
            child.signal_group(number)

    def retire(self, name: str) -> None:
        """Tell one child to end (its first stop signal), and do not start it again whatever it ends or has ended with."""
        with self._changed:
            child = self._children.get(name)
            if child is None:
                raise NotFound(f"no child is named {name}")
            child.retired, child.start_at = True, None
            child.send(child.command.stop_signals[0])

    def running(self) -> dict[str, int]:
        """Name and pid of every child that runs now."""
        with self._changed:
            return {n: c.pid for n, c in self._children.items() if c.pid is not None and c.is_running()}

    def exit_codes(self) -> dict[str, tuple[int, ...]]:
        """How every child ended so far, oldest first (-9: killed); empty for one that still runs its first time."""
        with self._changed:
            return {name: tuple(child.exit_codes) for name, child in self._children.items()}

    def wait(self, timeout: float | None = None) -> str | None:
        """Wait until some child is over, that is ended for good; its name, or None after `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(self._first_over, timeout)

    def stop(self, timeout: float = 25.0) -> None:
        """End every child: its stop signals in turn, sharing `timeout` seconds, then SIGKILL to its group."""
        with self._changed:
            self._stopping = True
            for child in self._children.values():
                child.start_at = None
            self._end_within(timeout)
            self._closed = True
            self._changed.notify_all()
        self._keeper.join()

    def _end_within(self, timeout: float) -> None:
        children = self._children.values()
        rounds = max((len(c.command.stop_signals) for c in children), default=1)
        for turn in range(rounds):
            for child in children:
                signals = child.command.stop_signals
                child.send(signals[min(turn, len(signals) - 1)])
            if self._changed.wait_for(self._all_over, timeout / rounds):
                return
        for child in children:
            child.signal_group(signal.SIGKILL)
        self._changed.wait_for(self._all_over, _REAP_TIMEOUT)

    def _first_over(self) -> str | None:
        return next((name for name, child in self._children.items() if child.is_over()), None)

    def _all_over(self) -> bool:
        return all(child.is_over() for child in self._children.values())

    # --- in the keeper's thread ------------------------------------------------------------------------------

    def _keep(self) -> None:
        with self._changed:
            while not self._closed:
                for child in self._children.values():
                    self._look_after(child, time.monotonic())
                self._changed.wait(_TICK)
        for child in self._children.values():
            if child.reader is not None:
                child.reader.join(_LAST_LINES_TIMEOUT)

    def _look_after(self, child: _Child, now: float) -> None:
        if child.process is None:
            if child.start_at is not None and child.start_at <= now:
                self._begin(child, now)
        elif (code := child.process.poll()) is not None:
            child.process = None
            child.exit_codes.append(code)
            restarting, child.restarting = child.restarting, False
            if restarting and not self._stopping:
                child.start_at = now + _FIRST_DELAY
            elif code != 0 and child.command.restart and not child.retired and not self._stopping:
                self._schedule_restart(child, now, f"ended with {code}")
            self._changed.notify_all()

    def _begin(self, child: _Child, now: float) -> None:
        child.start_at = None
        try:
            child.process = spawn(child.command)
        except OSError as error:
            child.failure = error
            if child.pid is not None and child.command.restart:
                self._schedule_restart(child, now, f"could not be started: {error}")
        else:
            child.pid, child.started_at = child.process.pid, now
            child.reader = self._read(child.command.name, child.process.stdout)
        self._changed.notify_all()

    def _schedule_restart(self, child: _Child, now: float, why: str) -> None:
        was_healthy = now - child.started_at >= _HEALTHY_AFTER
        child.crashes_in_a_row = 1 if was_healthy else child.crashes_in_a_row + 1
        delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** (child.crashes_in_a_row - 1))
        child.start_at = now + delay
        self._say(f"{child.command.name} | {why}; starting again in {delay:g} s")

    def _read(self, name: str, output: IO[str] | None) -> threading.Thread | None:
        if output is None:
            return None
        reader = threading.Thread(target=_speak, args=(name, output, self._say), name=name, daemon=True)
        reader.start()
        return reader


def _speak(name: str, output: IO[str], say: Callable[[str], None]) -> None:
    with output:
        for line in output:
            try:
                say(f"{name} | {line.rstrip()}")
            except OSError:
                # nobody listens any more (a closed pipe): read on all the same, or the child blocks on it
                say = _to_nobody


def _to_stdout(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _to_nobody(line: str) -> None:
    del line


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Within, the first SIGINT, SIGTERM or SIGHUP raises KeyboardInterrupt; all later ones are ignored.

    Platforms and impatient people signal twice, and the second must not break the clean-up that the first
    began; that takes bounded time. To be entered in the main thread, around servers and supervisors.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(number: int, frame: FrameType | None) -> None:
        del number, frame
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
