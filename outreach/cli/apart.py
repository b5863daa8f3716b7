"""A look at one lead in a process of its own: both ends of it. What dies there takes nobody along."""

import signal
import subprocess
import sys
import threading
from dataclasses import replace

from outreach.settings import Settings

#: The last word of a process that came to its end, whatever it found. Who dies says none, whatever its exit code.
_ENDED = "ended"


def look_apart(lead_id: int, *, seconds: float) -> str | None:
    """How the process died that looked at it; None: it came to its end."""
    words = [sys.executable, "-m", "outreach", "worker", "--lead", str(lead_id)]
    # Its log lines go where ours go.
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  our own words, no shell
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return f"it did not come to an end within {seconds:g} s"
    return None if said.split()[-1:] == [_ENDED] else _in_words(process.returncode)


def _in_words(code: int) -> str:
    if code >= 0:
        return f"it ended with {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def look_at(settings: Settings, lead_id: int) -> int:
    """That process: the exit code. It takes every channel on itself, whose-ever queue it has."""
    from outreach import app as apps
    from outreach.broker import CHANNEL_QUEUES
    from outreach.runtime.perform import look_and_perform

    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        # A platform tells every process to end; a call that is under way comes to its end first.
        signal.signal(number, lambda *_: ending.set())
    app = apps.build(replace(settings, pool_size=2), carries=frozenset(CHANNEL_QUEUES), ending=ending.is_set)
    try:
        app.hint(look_and_perform(app.context, lead_id, counted=True))
    finally:
        # An exception, too, is an end: where it was the lead's doing, it has been counted.
        sys.stdout.write(f"{_ENDED}\n")
        sys.stdout.flush()
    app.close()
    return 0
