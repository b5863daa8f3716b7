"""The highest claim of an instance, known outside its database: whoever draws a lower fence claims in a restored one.

Fences come from one sequence, so what T1 draws is above every fence that anybody knew of before that T1 began. A database that
was restored draws them anew. The knowledge travels with the limiter's one round trip per send and costs none of its own.
"""

from dataclasses import dataclass
from threading import Lock


@dataclass(frozen=True, slots=True, order=True)
class Claim:
    """A fence and the execution that was claimed under it; 0, 0: none was made yet."""

    fence: int = 0
    execution_id: int = 0

    def __str__(self) -> str:
        return f"{self.fence}:{self.execution_id}"


class Fences:
    """What this process knows of: its own claims, and those that it was told of. Threads share it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._highest = Claim()

    @property
    def highest(self) -> Claim:
        """Read it before a transaction begins: every fence that it draws must be above."""
        return self._highest

    def note(self, claim: Claim) -> None:
        """One more, of this process after its commit or of another."""
        with self._lock:
            self._highest = max(self._highest, claim)


def read_claim(text: object) -> Claim:
    """Of its text; what cannot be read is none."""
    fence, _, execution = str(text or "").partition(":")
    return Claim(int(fence), int(execution)) if fence.isdigit() and execution.isdigit() else Claim()
