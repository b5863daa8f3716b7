"""`outreach up --simulate`: never in a database that could go live; whoever is imported lives in the simulated X, and what happens is told."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from outreach.audience.aliases import alias
from outreach.cli import run, simulated
from outreach.cli.simulated_world import ACCOUNT, TOKEN, World, witness_of
from outreach.errors import ConfigurationError
from outreach.models import instance
from outreach.models.base import Database
from outreach.rehearsal.world import external_id
from outreach.settings import Settings
from outreach.simulator.clock import ScaledClock
from outreach.simulator.posting import HttpPost
from outreach.simulator.server import Server
from outreach.simulator.simulator import Simulator
from outreach.simulator.witness import Witness
from outreach.simulator.world import WorldSpec
from tests.conftest import MONDAY
from tests.integration.cli_support import add_person

pytestmark = pytest.mark.servers


@pytest.fixture
def settings(db: Database, tmp_path: Path) -> Settings:
    return Settings(database_url=db.url, redis_url="redis://127.0.0.1:1/0", data_dir=tmp_path)


def test_a_database_that_could_go_live_is_never_played_with(db: Database, settings: Settings) -> None:
    instance.create(db, name="real", simulated_only=False, origin=MONDAY, factor=1, now=MONDAY)
    with (
        pytest.raises(ConfigurationError, match="could go live"),
        simulated._simulated_database(settings, 60, False),
    ):
        raise AssertionError("it was opened")
    assert db.read("SELECT count(*) AS n FROM account") == [{"n": 0}]


def test_urls_of_servers_that_are_somebodys_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://127.0.0.1:1/real")
    assert run(["up", "--simulate"]) == 2
    assert "a simulation has servers of its own" in capsys.readouterr().err


def test_a_new_one_is_simulated_for_ever_on_a_fast_clock_and_goes_on_where_it_was(
    db: Database, settings: Settings
) -> None:
    with simulated._simulated_database(settings, 1440, False) as (ready, _):
        assert ready.clock_factor == 1440
    here, accounts = db.run(instance.read), db.read("SELECT name, base_url, dm_mode FROM account")
    assert (here.mode, here.name) == ("SIMULATED ONLY", "simulated")
    with simulated._simulated_database(settings, 60, False) as (ready, _):
        assert ready.clock_factor == 1440, "a clock that has begun is not set anew"
    assert db.read("SELECT name, base_url, dm_mode FROM account") == accounts
    assert accounts[0]["base_url"].startswith("http://127.0.0.1:")


@pytest.fixture
def network(settings: Settings) -> Iterator[str]:
    clock = ScaledClock(origin=datetime.now(UTC), factor=1440.0)
    world = WorldSpec.read(
        {
            "accounts": [
                {
                    "handle": ACCOUNT,
                    "id": external_id(ACCOUNT),
                    "access_token": TOKEN,
                    "follow_permitted": True,
                }
            ]
        }
    )
    post, witness = HttpPost(), Witness(clock, witness_of(settings), keep_bodies=True)
    with Server(
        Simulator(world, witness=witness, post=post, clock=clock, seed=0), host="127.0.0.1", port=0
    ).running() as url:
        yield url
    post.close()
    witness.close()


def test_whoever_is_imported_moves_in_once_and_what_happens_is_told_by_alias(
    db: Database, settings: Settings, network: str, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(settings=settings, db=db, url=network, secret="s")
    ann, ben = add_person(db, "Ann", "ann_sim"), add_person(db, "Ben", "ben_sim")
    world.meet()
    add_person(db, "Cyd", "cyd_sim")
    world.meet()
    world.meet()
    state: dict[str, Any] = httpx.get(f"{network}/__sim/state", trust_env=False).json()
    assert len(world.person_of) == 3 and state, state
    headers = {"authorization": f"Bearer {TOKEN}"}
    for person, text in ((ann, "Hello Ann"), (ben, "=HYPERLINK()")):
        url = f"{network}/2/dm_conversations/with/{1000 + person}/messages"
        httpx.post(url, json={"text": text}, headers=headers, trust_env=False).raise_for_status()
    world.tell()
    said = capsys.readouterr().out
    assert f'we wrote to {alias(ann)}: "Hello Ann"' in said and f"we wrote to {alias(ben)}" in said
    assert "ann_sim" not in said and "Ann_" not in said
    world.tell()
    assert "we wrote to" not in capsys.readouterr().out, "a fact is told once"


def test_a_simulator_that_is_away_loses_nobody(
    db: Database, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(settings=settings, db=db, url="http://127.0.0.1:1", secret="s")
    add_person(db, "Ann", "ann_sim")
    world.meet()
    assert "does not answer" in capsys.readouterr().err
    assert "ann_sim" in (settings.data_dir / "world.json").read_text(encoding="utf-8")


def test_the_default_directory_is_left_to_what_is_real() -> None:
    assert simulated.simulated_data_dir(Settings()).data_dir == Settings().data_dir / "simulated"
    own = replace(Settings(), data_dir=Path("elsewhere"))
    assert simulated.simulated_data_dir(own) == own
