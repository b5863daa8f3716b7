"""Becomes another program, tied to the life of its parent. Run by path with `python -I -S`, never imported.

Usage: launch.py DEATH_SIGNAL PARENT_PID UID GID PROGRAM [WORD...]; UID and GID are "-" to stay who we are.

Why a program of its own and no `preexec_fn`: that one may deadlock a threaded parent (and warns so from
Python 3.12 on), and the kernel forgets the death signal when the user changes, so it is set after that.
By then this Python itself may be out of reach, so everything is imported before.
"""

import os
import signal
import sys
import warnings  # noqa: F401  os.execvp imports it

try:
    import ctypes
except ImportError:
    ctypes = None  # type: ignore[assignment]  # a Python that was built without libffi: see _die_with

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_RESET = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)
_CANNOT_EXECUTE = 126


def _become(uid: str, gid: str) -> None:
    if uid != "-":
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))


def _die_with(parent: int, death_signal: int) -> None:
    """Ask the kernel for `death_signal` when the parent ends. Linux only; elsewhere the next owner clears up."""
    if sys.platform != "linux":
        return
    if ctypes is None:
        sys.stderr.write("launch: this Python has no ctypes, so a parent that is killed leaves this child\n")
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(death_signal))
    if os.getppid() != parent:  # it ended before we could ask
        sys.exit(128 + death_signal)


def _reset_signals() -> None:
    """What the parent ignores or blocks is the parent's business: a shell's background job ignores SIGINT."""
    for each in _RESET:
        signal.signal(each, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def main(words: list[str]) -> None:
    death_signal, parent, uid, gid, *command = words
    try:
        _become(uid, gid)
        _die_with(int(parent), int(death_signal))
        _reset_signals()
        os.execvp(command[0], command)  # noqa: S606  no shell is what we want
    except OSError as error:
        sys.stderr.write(f"launch: {command[0]}: {error.strerror}\n")
        sys.exit(_CANNOT_EXECUTE)


main(sys.argv[1:])
