"""What the simulator is given and what it writes down: worlds, rate windows, the agenda, the witness's file."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from outreach.simulator import (
    ScaledClock,
    Witness,
    WorldProblem,
    WorldSpec,
    id_of_handle,
    read_witness,
    read_world,
)
from outreach.simulator.agenda import Agenda
from outreach.simulator.faults import Do, read_rules
from outreach.simulator.quotas import Quotas
from outreach.simulator.witness import parse_witness

START = datetime(2026, 1, 5, 12, tzinfo=UTC)


def account(**changes: Any) -> dict[str, Any]:
    return {"handle": "acme", "access_token": "t", **changes}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"acounts": []}, "world: unknown key 'acounts'"),
        ({"accounts": [{"handle": "acme"}]}, "accounts[0]: 'access_token' is missing"),
        ({"accounts": [account(id=5)]}, "accounts[0]: 5 is not an id"),
        ({"accounts": "acme"}, "accounts: not a list"),
        ({"people": [{"handle": "not a handle"}]}, "people[0]: 'not a handle' is not a handle"),
        ({"people": [{"handle": "anna"}, {"handle": "Anna"}]}, "handle 'anna' is there twice"),
        ({"people": [{"handle": "anna", "persona": "shrug"}]}, "person anna: 'shrug' is not a valid Habit"),
        (
            {"people": [{"handle": "a", "wrote_first": {"words": "x"}}]},
            "people[0].wrote_first: unknown key 'words'",
        ),
        ({"mixture": {"charm": 1}}, "mixture: "),
        ({"rate_limits": "none"}, "rate_limits is"),
        ({"rate_limit_overrides": {"dm.sned": {"user": 1}}}, "'dm.sned' is none of"),
        ({"rate_limit_overrides": {"dm.send": {"user": 0}}}, "not a whole number above zero"),
        ({"dialect": "klingon"}, "dialect: 'klingon'"),
    ],
)
def test_a_wrong_world_is_refused_with_its_place(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(WorldProblem) as refused:
        WorldSpec.read(raw)

    assert message in str(refused.value)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"accounts": 1}'])
def test_a_file_that_holds_no_world_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "world.json"
    path.write_text(text)

    with pytest.raises(WorldProblem):
        read_world(path)


def test_the_examples_on_the_users_page_are_understood() -> None:
    page = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text(encoding="utf-8")
    world, faults = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL))

    assert len(WorldSpec.read(world).people) == 4
    assert len(read_rules(faults["rules"])) == 2
    assert all(f"`{do}`" in page for do in Do)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(WorldProblem, match="nowhere"):
        read_world(tmp_path / "nowhere.json")


def test_an_id_is_made_of_the_handle_in_any_case() -> None:
    made = {id_of_handle(f"person{number}") for number in range(1000)}

    assert id_of_handle("Anna") == id_of_handle("aNNA")
    assert len(made) == 1000
    assert all(one.isdigit() and 1 <= len(one) <= 19 and int(one) < 2**63 for one in made)


def test_scaled_and_real_time_map_onto_each_other() -> None:
    clock = ScaledClock(origin=START, factor=360, now=lambda: START)

    assert clock.scaled(START + timedelta(seconds=10)) == START + timedelta(hours=1)
    assert clock.real(START + timedelta(hours=1)) == START + timedelta(seconds=10)
    assert clock.real_duration(timedelta(hours=2)) == timedelta(seconds=20)


def test_the_agenda_gives_what_is_due_in_order_and_equals_first_in_first_out() -> None:
    agenda: Agenda[str] = Agenda()
    for seconds, item in ((2, "late"), (1, "first"), (1, "second"), (3, "later")):
        agenda.push(START + timedelta(seconds=seconds), item)

    now = START + timedelta(seconds=2)
    given = [item for _ in range(4) if (due := agenda.pop_due(now)) for item in due[1:]]

    assert given == ["first", "second", "late"]
    assert (len(agenda), agenda.next_due()) == (1, START + timedelta(seconds=3))


def test_published_limits_count_per_account_and_roomy_ones_hardly_at_all() -> None:
    published = Quotas(published=True, overrides={})
    roomy = Quotas(published=False, overrides={})

    allowed = [
        spent is not None and spent.allowed
        for spent in (published.spend("follow", "1", START) for _ in range(51))
    ]
    other = published.spend("follow", "2", START)

    assert allowed == [True] * 50 + [False]
    assert other is not None and other.allowed
    plenty = [roomy.spend("follow", "1", START) for _ in range(200)]
    assert all(spent is not None and spent.allowed for spent in plenty)


def test_a_refused_call_is_not_counted_in_any_window() -> None:
    quotas = Quotas(published=True, overrides={"dm.send": {"user": 1, "app_day": 2}})

    for _ in range(5):
        quotas.spend("dm.send", "1", START)
    other = quotas.spend("dm.send", "2", START)

    assert other is not None and other.allowed


def write_some(witness: Witness) -> None:
    witness.accepted(START, account="1", recipient="2", kind="dm", by="api", port=7, text="hi", message="33")
    witness.saw(START, "said", account="1", person="2", kind="stop", id="34", text="STOP", by="persona")


@pytest.mark.parametrize("keep_bodies", [False, True])
def test_the_witness_reads_back_what_it_wrote(tmp_path: Path, keep_bodies: bool) -> None:
    path = tmp_path / "witness.jsonl"
    witness = Witness(ScaledClock(origin=START - timedelta(hours=1), factor=2), path, keep_bodies=keep_bodies)
    write_some(witness)
    witness.close()

    (accepted,), (said,) = read_witness(path)

    assert (accepted.account, accepted.recipient, accepted.id, accepted.peer_port) == ("1", "2", "33", 7)
    assert (accepted.t_real, accepted.t_scaled) == (START, START + timedelta(hours=1))
    assert (said.what, said.kind, said.person) == ("said", "stop", "2")
    assert (accepted.body, said.body) == (("hi", "STOP") if keep_bodies else (None, None))


def test_a_line_is_with_the_operating_system_before_the_witness_returns(tmp_path: Path) -> None:
    path = tmp_path / "witness.jsonl"
    witness = Witness(ScaledClock(), path)

    write_some(witness)

    assert path.read_text().count("\n") == 2
    witness.close()


def test_a_last_line_cut_by_a_kill_is_left_out_and_a_broken_one_within_is_not(tmp_path: Path) -> None:
    path = tmp_path / "witness.jsonl"
    witness = Witness(ScaledClock(), path)
    write_some(witness)
    witness.close()
    whole = path.read_text()
    path.write_text(whole + whole[:40])

    assert len(read_witness(path)[0]) == 1
    with pytest.raises(ValueError, match="witness line 2"):
        parse_witness([whole.splitlines()[0], "{}"])


def test_a_closed_witness_fails_loudly_instead_of_losing_a_line(tmp_path: Path) -> None:
    witness = Witness(ScaledClock(), tmp_path / "witness.jsonl")
    witness.close()

    with pytest.raises(OSError, match="descriptor"):
        write_some(witness)


def test_every_line_of_the_witness_is_one_json_object() -> None:
    witness = Witness(ScaledClock())
    witness.accepted(
        START, account="1", recipient="2", kind="dm", by="api", port=7, text="two\nlines", message="3"
    )

    assert [json.loads(line)["what"] for line in witness.lines] == ["accepted"]
    assert "\n" not in witness.lines[0]
