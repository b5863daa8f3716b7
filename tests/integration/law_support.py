"""What the tests of the laws share: a roomy account, sequences of a few words, races of threads, looks at the ledger."""

import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from outreach.engine.kinds import ActionKind
from outreach.limits.scope import Answer, Ask, Effect, Granted, Scope
from outreach.models.base import Database, Row
from outreach.runtime.enroll import enroll
from outreach.runtime.hints import Hints
from outreach.runtime.perform import perform
from outreach.simulator import id_of_handle
from outreach.simulator.faults import read_rules
from tests.stage import House, build

T = TypeVar("T")
NO_CAPS = {kind.value: "none" for kind in ActionKind}
NO_PACE = {kind.value: 0 for kind in ActionKind}
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

FOLLOW = "sequence: follow\nactions:\n  follow: {do: FOLLOW_ON_TWITTER}\n"
WRITE = 'sequence: write\nactions:\n  hello: {do: SEND_TWITTER_DM, message: "Hello. {{ opt_out }}"}\n'
FOLLOW_THEN_UNFOLLOW = """
sequence: follow-unfollow
actions:
  follow:
    do: FOLLOW_ON_TWITTER
    next:
      - {on: FOLLOWED_BACK, to: END}
      - {on: NOT_FOLLOWED_BACK, after: 2d, to: unfollow}
  unfollow: {do: UNFOLLOW_ON_TWITTER}
"""
WRITE_AND_LISTEN = """
sequence: listen
actions:
  hello: {do: SEND_TWITTER_DM, message: "Hello. {{ opt_out }}", next: check}
  check:
    do: CHECK_FOR_REPLY
    next:
      - {on: POSITIVE_REPLY, to: thanks}
      - {on: NOT_REPLIED, after: 3d, to: again}
  thanks: {do: SEND_TWITTER_DM, message: "Thank you! {{ opt_out }}"}
  again: {do: SEND_TWITTER_DM, message: "One more word. {{ opt_out }}"}
"""


def people(*handles: str) -> list[dict[str, Any]]:
    """As the simulator knows them: they do nothing by themselves."""
    never: dict[str, Any] = {
        "follow_back_after": None, "unfollow_back_after": None, "approve_after": None, "protected": False, "receives_dm": True,
        "reactions": [],
    }  # fmt: skip
    return [{"handle": handle, "persona": never} for handle in handles]


def open_house(
    db: Database, folder: Path, handles: Iterable[str] = ("ann", "bob", "cid"), **options: Any
) -> House:
    """A house with silent people and nothing published."""
    return build(db, folder, people=people(*handles), **options)


def roomy_account(house: House, name: str = "we", **changes: Any) -> int:
    """An account that may write to whoever opted in, without caps and without pace, unless told otherwise."""
    open_minded = {"dm_mode": "opt_in", "mode_reason": "a test", "caps": NO_CAPS, "pace": NO_PACE}
    return house.account(name, **(open_minded | changes))


def silent_house(db: Database, folder: Path, *, webhooks: bool = False) -> House:
    """No webhook tells anything unless told otherwise: only polls and look-ups can know."""
    house = open_house(db, folder, webhooks=webhooks)
    roomy_account(house)
    for text in (FOLLOW_THEN_UNFOLLOW, WRITE_AND_LISTEN):
        house.publish(text)
    return house


def follows_back(house: House, handle: str) -> None:
    house.simulator.acts.follow_back(house.clock.now(), id_of_handle(handle), id_of_handle("we"))


def friends(house: House, *handles: str, **options: Any) -> list[int]:
    """People who opted in."""
    return [house.person(handle, **({"basis": "opt_in"} | options)) for handle in handles]


def fault(house: House, route: str, do: str, **fault: Any) -> None:
    """From now on calls of this route go wrong. `times`, `skip`: as in a fault plan's match."""
    match = {"route": route} | {key: fault.pop(key) for key in ("times", "skip", "account") if key in fault}
    house.simulator.faults.rules += read_rules([{"match": match, "do": do, **fault}])


def mend(house: House) -> None:
    """Nothing goes wrong any more."""
    house.simulator.faults.rules.clear()


def plan(house: House, sequence: str, person_ids: Sequence[int], **options: Any) -> list[int]:
    """Leads whose first action is planned and not begun; the executions' ids."""
    name = house.segment(f"{sequence}-planned-{house.clock.now().timestamp()}-{person_ids[0]}", person_ids)
    made = enroll(house.ctx, sequence, [name], by="test", **options).hints
    from outreach.runtime.advance import advance

    for hint in made:
        advance(house.ctx, hint.id)
    rows = house.db.read(
        "SELECT id FROM execution WHERE lead_id = ANY(%s) ORDER BY id", ([h.id for h in made],)
    )
    return [row["id"] for row in rows]


def execution(house: House, execution_id: int) -> Row:
    return house.db.read("SELECT * FROM execution WHERE id = %s", (execution_id,))[0]


def only_execution(house: House, lead_id: int) -> Row:
    (row,) = house.executions(lead_id)
    return row


def states(house: House, lead_id: int | None = None) -> list[str]:
    return [row["state"] for row in house.executions(lead_id)]


def acts(house: House) -> list[tuple[str, str]]:
    """(kind, to whom) of everything that the provider took, in its order; by name."""
    names = {user.id: user.handle for user in house.simulator.network.users.values()}
    return [(one.kind, names[one.recipient]) for one in house.accepted()]


def sql(house: House, statement: str, *values: Any) -> None:
    """Change a row behind the engine's back."""
    house.db.run(lambda tx: tx.execute(statement, values))


def race(*works: Callable[[], T]) -> list[T]:
    """Run all at once, each on a thread of its own; their answers in order. An exception of any is raised here."""
    barrier = threading.Barrier(len(works))
    answers: dict[int, T] = {}
    failures: list[BaseException] = []

    def run(index: int, work: Callable[[], T]) -> None:
        barrier.wait()
        try:
            answers[index] = work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return [answers[index] for index in range(len(works))]


def linger(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    """Let the function rest a moment after its work, so that racing threads surely overlap there."""
    work = getattr(module, name)

    def slowly(*args: Any, **options: Any) -> Any:
        answer = work(*args, **options)
        threading.Event().wait(0.05)
        return answer

    monkeypatch.setattr(module, name, slowly)


def performing(house: House, execution_id: int) -> Callable[[], Hints]:
    return lambda: perform(house.ctx, execution_id)


def rolling_most(instants: Sequence[datetime], window: timedelta) -> int:
    """The most that ever fell into one window of this length."""
    return max(
        (sum(1 for other in instants if start <= other < start + window) for start in instants), default=0
    )


class GrantsEverything:
    """A limiter that lets everything through: the ledger alone must hold the caps."""

    def acquire(
        self, execution_id: int, scopes: Sequence[Scope], now: datetime, effect_by: datetime
    ) -> Answer:
        return Granted()

    def acquire_all(self, asks: Sequence[Ask]) -> Sequence[Answer]:
        return [Granted() for _ in asks]

    def record(self, effects: Sequence[Effect]) -> None:
        return None

    def seed(
        self,
        scope: Scope,
        entries: Iterable[tuple[int, datetime]],
        now: datetime,
        last_started_at: datetime | None = None,
    ) -> None:
        return None

    def forget(self, scopes: Sequence[Scope]) -> None:
        return None


__all__ = ["id_of_handle"]
