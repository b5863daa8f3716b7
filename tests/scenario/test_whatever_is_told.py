"""What the provider pushes, once and in order, or doubled, shuffled and replayed: the engine ends in the same state."""

import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from outreach.embedded.servers import Servers
from outreach.models.base import Database
from tests import stage
from tests.conftest import _database_url, _on_server
from tests.integration.law_support import (
    DAY,
    HOUR,
    WRITE_AND_LISTEN,
    acts,
    friends,
    open_house,
    roomy_account,
)
from tests.stage import House

pytestmark = pytest.mark.servers
#: OUTREACH_TEST_PUSHES=10000 tells more of them
PUSHES = int(os.environ.get("OUTREACH_TEST_PUSHES", "240"))
CROWD = tuple(f"p{n}" for n in range(24))
Push = tuple[Mapping[str, str], bytes]
#: what must be the same: nothing of when or how often it was told. (By which of two answers a lead was moved, or for which of two good
#: reasons it has left, depends on which was known first, and may.)
STATE = {
    "lead": "SELECT person_id, state, cursor FROM lead ORDER BY person_id",
    "execution": "SELECT lead_id, action_id, visit, kind, state FROM execution ORDER BY 1, 2, 3",
    "person": "SELECT id, suppressed_at IS NOT NULL AS stopped, suppression_effective_at IS NOT NULL AS effective, paused_at IS NOT NULL AS paused"
    " FROM person ORDER BY id",
    "inbound": "SELECT content_id, kind, state, occurred_at FROM inbound ORDER BY content_id",
}


@contextmanager
def house_of(servers: Servers, template: str, folder: Path, name: str) -> Iterator[tuple[House, list[Push]]]:
    """A house that nobody tells anything: what would be pushed is only written down."""
    _on_server(servers.database_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    db = Database(_database_url(servers.database_url, name), pool_size=2)
    (folder / name).mkdir()
    house = open_house(db, folder / name, CROWD)
    roomy_account(house)
    house.publish(WRITE_AND_LISTEN)
    told: list[Push] = []

    def write_down(_house: House, headers: Any, body: bytes) -> tuple[int, bytes]:
        told.append((headers, body))
        return 200, b""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "_receive", write_down)
        house.enroll("listen", friends(house, *CROWD))
        _say(house)
    yield house, told
    db.close()
    _on_server(servers.database_url, f"DROP DATABASE {name} WITH (FORCE)")


def _say(house: House) -> None:
    """Some are silent, some answer once and well, most chat; and every fourth of those ends with a no."""
    chatty = [handle for number, handle in enumerate(CROWD) if number % 4]
    for number in range(PUSHES // len(chatty)):
        house.clock.advance(timedelta(minutes=2))
        for place, handle in enumerate(chatty):
            last = number + 1 == PUSHES // len(chatty)
            if place % 3 == 0:
                if number == 0:
                    house.says(handle, "Yes, tell me more!", kind="positive")
            elif last and place % 4 == 1:
                house.says(handle, "STOP", kind="stop")
            else:
                house.says(handle, f"Who are you, once more ({number})?", kind="neutral")
    house.simulator.run_until(house.clock.now())


def _state(house: House) -> dict[str, Any]:
    house.pass_time(4 * DAY, step=6 * HOUR)
    found: dict[str, Any] = {name: house.db.read(text) for name, text in STATE.items()}
    return found | {"accepted": sorted(acts(house))}


def _deliver(house: House, pushes: list[Push], rest: Callable[[], bool]) -> None:
    for headers, body in pushes:
        assert stage._receive(house, headers, body)[0] == 200
        if rest():
            house.run()
    house.run()


def test_the_state_does_not_depend_on_how_often_or_in_which_order_it_is_told(
    servers: Servers, template: str, tmp_path: Path
) -> None:
    dice = random.Random(7)
    with (
        house_of(servers, template, tmp_path, f"told_once_{os.getpid()}") as (once, pushes),
        house_of(servers, template, tmp_path, f"told_badly_{os.getpid()}") as (badly, same),
    ):
        assert [body for _, body in pushes] == [body for _, body in same], "two worlds that behave alike"
        _deliver(once, pushes, lambda: True)
        shuffled = pushes * 2
        dice.shuffle(shuffled)
        _deliver(badly, shuffled, lambda: dice.random() < 0.3)
        first = _state(once)
        second = _state(badly)
        for name in first:
            assert second[name] == first[name], name
        _deliver(badly, pushes, lambda: dice.random() < 0.3)
        assert _state(badly)["inbound"] == first["inbound"], "told once more after four days, it is known"
        assert {row["state"] for row in first["lead"]} >= {"exited", "finished"} and len(
            first["inbound"]
        ) >= len(pushes) // 2
