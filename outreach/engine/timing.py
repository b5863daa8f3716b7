"""Back-off: when a step that surely did not happen is tried again."""

from datetime import timedelta

from outreach.ids import bucket

#: Business durations. What a provider refuses five times, over some ten minutes, is refused for good.
_FIRST = timedelta(seconds=30)
_LONGEST = timedelta(hours=1)
MAX_ATTEMPTS = 5


def backoff(execution_id: int, attempts: int) -> timedelta:
    """Doubles with each attempt, with up to half as much again of jitter that depends on the ids alone."""
    delay: timedelta = min(_FIRST * 2 ** max(0, attempts - 1), _LONGEST)
    return delay * (1 + bucket("backoff", execution_id, attempts) / 2)
