"""The demo's simulated human: starts follow tasks, taps in the provider's own app, and says done."""

import threading
from collections.abc import Callable
from typing import Any, Self

import httpx

from outreach.errors import OutreachError
from outreach.models import demo
from outreach.models.base import UNREACHABLE, Row
from outreach.runtime import human
from outreach.runtime.context import Context
from outreach.runtime.taking import start

_NAME = "sam"
#: Real seconds between two rounds of a patient human.
_EVERY = 0.15
_DO = {"FOLLOW_ON_TWITTER": "follow", "UNFOLLOW_ON_TWITTER": "unfollow"}


class Human:
    """A thread that taps. `taps`: how many; `busy`: the last round found something to do."""

    def __init__(self, ctx: Context, simulator_url: str) -> None:
        self._ctx = ctx
        self._client = httpx.Client(base_url=simulator_url, trust_env=False)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, name="human", daemon=True)
        self.taps = 0
        self.busy = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=10)
        self._client.close()

    def _live(self) -> None:
        while not self._stop.wait(_EVERY):
            try:
                tasks = self._ctx.db.run(lambda tx: demo.open_follow_tasks(tx, 10))
                self.busy = sum(self._tap(task) for task in tasks) > 0
            except UNREACHABLE:
                # The list does not load; a human looks again. A claim whose answer was lost runs out and is asked about.
                self.busy = True

    def _tap(self, task: Row) -> bool:
        """One task, if the gate lets a human do it now. True: something was done."""
        try:
            start(self._ctx, task["id"], _NAME)
        except OutreachError:
            # Not now (its window, its cap) or no longer ours: what the gate says binds humans too.
            return False
        body: dict[str, Any] = {"who": task["account"], "do": _DO[task["kind"]], "to": task["recipient"]}
        done = self._client.post("/__sim/act", json=body).is_success
        if self._say(human.done if done else human.skip, task["id"]):
            self.taps += 1
        return True

    def _say(self, word: Callable[[Context, int, str], object], task_id: int) -> bool:
        """Said until it is heard: whoever has tapped does not forget it because a page failed to load."""
        while True:
            try:
                word(self._ctx, task_id, _NAME)
            except OutreachError:
                # The provider's own echo was faster than our word (or our first word was heard): the task is closed.
                return False
            except UNREACHABLE:
                if self._stop.wait(_EVERY):
                    return False
            else:
                return True
