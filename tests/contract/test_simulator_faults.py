"""Fault plans: every way in which a call can go wrong, and whether it was accepted all the same."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from outreach.simulator.__main__ import main
from outreach.simulator.faults import CALLS, PUSHES, read_rules
from outreach.simulator.webhooks import EVENT_TYPES
from tests.contract.simulator_bench import ACME, ANNA, START, Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


def accepted_count(bench: Bench) -> int:
    return len(bench.witness.read()[0])


def faulty(**fault: Any) -> Bench:
    match = {"route": "dm.send", "times": 1, **fault.pop("match", {})}
    return Bench(faults=[{"match": match, **fault}])


def test_a_planned_429_has_a_reset_and_sends_nothing() -> None:
    bench = faulty(do="rate_limit", seconds=7)

    answer = bench.dm()

    assert (answer.status_code, answer.headers["x-rate-limit-remaining"]) == (429, "0")
    assert int(answer.headers["x-rate-limit-reset"]) == int(START.timestamp()) + 7
    assert accepted_count(bench) == 0
    assert bench.dm().status_code == 201


@pytest.mark.parametrize("accepted", [False, True])
@pytest.mark.parametrize("status", [500, 503])
def test_a_server_error_says_nothing_about_whether_it_was_accepted(accepted: bool, status: int) -> None:
    bench = faulty(do="error", status=status, accepted=accepted)

    assert bench.dm().status_code == status
    assert accepted_count(bench) == accepted


@pytest.mark.parametrize("accepted", [False, True])
@pytest.mark.parametrize(("do", "error"), [("hang", httpx.ReadTimeout), ("reset", httpx.ReadError)])
def test_a_connection_can_die_before_or_after_acceptance(
    do: str, error: type[Exception], accepted: bool
) -> None:
    bench = faulty(do=do, accepted=accepted)

    with pytest.raises(error):
        bench.dm()
    assert accepted_count(bench) == accepted


def test_a_2xx_can_be_no_json_and_is_accepted_all_the_same() -> None:
    bench = faulty(do="garble")

    answer = bench.dm()

    assert answer.status_code == 201
    with pytest.raises(ValueError, match="Expecting value"):
        answer.json()
    assert accepted_count(bench) == 1


def test_a_2xx_can_be_cut_off_after_its_status_was_seen() -> None:
    bench = faulty(do="truncate")

    with bench.acme.stream(
        "POST", f"/2/dm_conversations/with/{ANNA}/messages", json={"text": "hi"}
    ) as answer:
        assert answer.status_code == 201
        with pytest.raises(httpx.RemoteProtocolError):
            answer.read()
    assert accepted_count(bench) == 1


def test_an_effect_can_come_about_after_the_client_gave_up() -> None:
    bench = faulty(do="late", seconds=20)

    with pytest.raises(httpx.ReadTimeout):
        bench.dm("late")
    bench.run(seconds=19)
    early = accepted_count(bench)
    bench.run(seconds=2)

    assert (early, accepted_count(bench)) == (0, 1)
    assert bench.witness.read()[0][0].t_real == START + timedelta(seconds=20)


def test_an_own_echo_can_arrive_before_the_answer() -> None:
    bench = faulty(do="delay", seconds=1)
    bench.subscribe("dm.sent")

    answer = bench.dm()

    echo = bench.subscriber.events[0]["payload"]["direct_message_events"][0]
    assert echo["id"] == answer.json()["data"]["dm_event_id"]


@pytest.mark.parametrize(
    ("problem", "status"),
    [("unauthorized", 401), ("client_forbidden", 403), ("no_credits", 402), ("locked", 403)],
)
def test_known_refusals_can_strike_in_mid_run(problem: str, status: int) -> None:
    bench = faulty(do="refuse", problem=problem, match={"skip": 1})

    assert [bench.dm().status_code for _ in range(3)] == [201, status, 201]
    assert accepted_count(bench) == 2


def test_a_read_can_lag_for_once() -> None:
    bench = Bench(faults=[{"match": {"route": "dm.with", "times": 1}, "do": "lag", "seconds": 5}])
    bench.dm()
    path = f"/2/dm_conversations/with/{ANNA}/dm_events"

    assert [bench.acme.get(path).json()["meta"]["result_count"] for _ in range(2)] == [0, 1]


def test_faults_are_planned_and_reported_while_it_runs(bench: Bench) -> None:
    rule = {"match": {"route": "dm.*", "account": ACME, "every": 2}, "do": "error"}
    planned = bench.acme.post("/__sim/faults", json={"rules": [rule]})
    statuses = [bench.dm().status_code for _ in range(4)]

    assert planned.status_code == 200
    assert statuses == [500, 201, 500, 201]
    assert bench.acme.get("/__sim/faults").json()["rules"] == [
        {"route": "dm.*", "do": "error", "seen": 4, "struck": 2}
    ]


BAD_RULES = [
    ({"do": "explode"}, "rule 0: do is one of rate_limit, "),
    ({"hang": 1}, "rule 0: unknown key 'hang'; known are do, "),
    ({}, "rule 0: do is one of "),
    (7, "rule 0: not an object"),
    ({"do": "hang", "match": "dm.send"}, "rule 0: match: not an object"),
    ({"do": "hang", "match": {"rout": "*"}}, "rule 0: match: unknown key 'rout'; known are route, "),
    ({"do": "hang", "match": {"every": "2"}}, "rule 0: match: every is a whole number, not '2'"),
    ({"do": "hang", "match": {"every": 0}}, "rule 0: every and copies are at least 1"),
    ({"do": "hang", "match": {"probability": 10}}, "rule 0: probability lies between 0 and 1, not at 10"),
    ({"do": "hang", "seconds": -1}, "rule 0: skip, times and seconds are not below 0"),
    ({"do": "hang", "accepted": 1}, "rule 0: accepted is true or false, not 1"),
    ({"do": "error", "status": 404}, "rule 0: status is 500 or 503, not 404"),
    ({"do": "refuse", "problem": "x"}, "rule 0: problem is one of unauthorized, "),
    ({"do": "hang", "match": {"route": "dm.sned"}}, "rule 0: hang cannot strike 'dm.sned'; it can strike users.me, "),
    ({"do": "lose", "match": {"route": "dm.send"}}, "rule 0: lose cannot strike 'dm.send'; it can strike webhook:dm.received, "),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "said"), BAD_RULES, ids=lambda value: str(value)[:50])
def test_a_wrong_fault_plan_is_refused_with_its_place_and_changes_nothing(
    bench: Bench, rule: Any, said: str
) -> None:
    answer = bench.acme.post("/__sim/faults", json={"rules": [rule]})
    assert (answer.status_code, said in answer.text) == (400, True), answer.text
    assert bench.acme.get("/__sim/faults").json()["rules"] == []


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({}, "this one has nothing"),
        ({"rule": []}, 'a plan is {\\"rules\\": [...]}; this one has rule'),
        ({"rules": 5}, "rules: not a list"),
    ],
)
def test_what_is_no_fault_plan_is_refused(bench: Bench, plan: Any, said: str) -> None:
    answer = bench.acme.post("/__sim/faults", json=plan)
    assert (answer.status_code, said in answer.text) == (400, True), answer.text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        ("{rules", "not JSON"),
        ('{"do": "hang"}', 'a plan is {"rules": [...]}; this one has do'),
        ('[{"do": "hang", "match": {"route": "dm.sned"}}]', "rule 0: hang cannot strike 'dm.sned'"),
    ],
)
def test_a_plan_file_that_cannot_be_used_ends_the_program_with_one_line_that_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, said: str
) -> None:
    path = tmp_path / "plan.json"
    if content is not None:
        path.write_text(content)
    code = main(["--witness", str(tmp_path / "witness.jsonl"), "--faults", str(path)])
    error = capsys.readouterr().err
    assert (code, error.count("\n"), error.startswith(f"{path}: ")) == (2, 1, True)
    assert said in error


def test_a_plan_may_name_every_route_there_is_and_a_pattern_strikes_only_what_can_suffer_so(
    bench: Bench,
) -> None:
    shapes = bench.simulator.api.router._by_shape.values()
    named = {route.name for shape in shapes for _, route in shape if not route.name.startswith("sim.")}
    assert named == set(CALLS)
    assert {push.removeprefix("webhook:") for push in PUSHES} <= EVENT_TYPES
    bench.simulator.faults.rules += read_rules([{"do": "lose"}])
    assert bench.dm().status_code == 201
    assert bench.acme.get("/__sim/faults").json()["rules"][0]["seen"] == 0
