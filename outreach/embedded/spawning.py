"""Starting one child process: its own session, tied to our life, as another user where asked."""

import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from outreach.errors import ConfigurationError

_LAUNCHER = Path(__file__).with_name("launch.py")
#: what our servers get to see of the environment: nothing of the caller's
BARE_ENVIRON: Mapping[str, str] = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True, slots=True, kw_only=True)
class OsUser:
    """A user of the operating system."""

    name: str
    uid: int
    gid: int

    @classmethod
    def named(cls, name: str) -> "OsUser":
        """Raises ConfigurationError when this machine has no such user."""
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise ConfigurationError(
                f"Postgres refuses to run as root, and there is no user {name!r} to run it as",
                hint="run this as an ordinary user, or set DATABASE_URL",
            ) from None
        return cls(name=name, uid=entry.pw_uid, gid=entry.pw_gid)

    @classmethod
    def of(cls, uid: int, gid: int) -> "OsUser":
        """The user with these numbers, who need not have a name."""
        try:
            return cls(name=pwd.getpwuid(uid).pw_name, uid=uid, gid=gid)
        except KeyError:
            return cls(name=f"uid {uid}", uid=uid, gid=gid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run as a child, and how it wishes to be treated."""

    name: str
    words: Sequence[str]
    environ: Mapping[str, str]
    #: start it again, with back-off, whenever it ends with another exit code than 0
    restart: bool = False
    #: its output goes to the end of this file; None: to the supervisor's voice, line by line
    log: Path | None = None
    #: sent one after the other to make it stop; what then still lives is killed
    stop_signals: tuple[signal.Signals, ...] = (signal.SIGTERM,)
    cwd: Path | None = None
    os_user: OsUser | None = None


def launch_words(words: Sequence[str], os_user: OsUser | None, death_signal: signal.Signals) -> list[str]:
    """The command line that runs `words` tied to this process's life. Keeps the pid: it becomes the program."""
    who = (str(os_user.uid), str(os_user.gid)) if os_user else ("-", "-")
    launcher = (sys.executable, "-I", "-S", str(_LAUNCHER))
    return [*launcher, str(int(death_signal)), str(os.getpid()), *who, *words]


def run(
    words: Sequence[str | Path],
    *,
    environ: Mapping[str, str] = BARE_ENVIRON,
    os_user: OsUser | None = None,
    timeout: float = 30.0,
) -> "subprocess.CompletedProcess[str]":
    """Run a short program to its end, as another user where asked. Raises OSError, subprocess.TimeoutExpired."""
    return subprocess.run(  # noqa: S603  our own words, no shell
        words,
        env=dict(environ),
        cwd="/",
        user=os_user.uid if os_user else None,
        group=os_user.gid if os_user else None,
        extra_groups=[] if os_user else None,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
    )


def spawn(command: Command) -> "subprocess.Popen[str]":
    """Start the child. Call from a thread that outlives it: Linux counts that *thread* as the parent.

    Its own session, so that the terminal's Ctrl-C reaches us alone and we end it in our order.
    Its stdout carries both streams when the command has no log file. Raises OSError when it cannot be started.
    """
    words = launch_words(command.words, command.os_user, command.stop_signals[0])
    if command.log is None:
        return _popen(words, command, subprocess.PIPE)
    with command.log.open("ab") as log:
        return _popen(words, command, log.fileno())


def _popen(words: list[str], command: Command, output: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(  # noqa: S603  our caller's words, no shell
        words,
        env={"PYTHONUNBUFFERED": "1", **command.environ},
        cwd=command.cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
