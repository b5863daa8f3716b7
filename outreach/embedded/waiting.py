"""Waiting for something to become true: the machine's own seconds, never business time."""

import threading
import time
from collections.abc import Callable


def wait_until(happened: Callable[[], bool], *, timeout: float, every: float = 0.03) -> bool:
    """Ask until the answer is yes; False after `timeout` seconds. Asked at least once, `every` seconds apart."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while not happened():
        if time.monotonic() >= deadline:
            return False
        pause.wait(every)
    return True
