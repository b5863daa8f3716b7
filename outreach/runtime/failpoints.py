"""Named points at which a test may kill the process. Inert unless the environment named one at start."""

import os
import signal
from collections.abc import Callable

_armed: Callable[[str], None] | None = None


def arm(name: str) -> None:
    """The process dies, as by kill -9, when it next passes this point."""
    global _armed

    def die(at: str) -> None:
        if at == name:
            os.kill(os.getpid(), signal.SIGKILL)

    _armed = die


def failpoint(name: str) -> None:
    """A boundary of claim, call or settle."""
    if _armed is not None:
        _armed(name)
