"""The provider's rate windows and its tokens."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.contract.simulator_bench import ACME, ANNA, BEN, SECRET, START, Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


# --- limits ----------------------------------------------------------------------------------------------


def test_every_answer_tells_its_window_and_the_call_above_it_is_429() -> None:
    bench = Bench(rate_limits="published")

    answers = [bench.dm() for _ in range(16)]

    assert [answer.status_code for answer in answers] == [201] * 15 + [429]
    assert [answer.headers["x-rate-limit-remaining"] for answer in answers[-2:]] == ["0", "0"]
    reset = int(answers[-1].headers["x-rate-limit-reset"])
    assert datetime.fromtimestamp(reset, UTC) == START + timedelta(minutes=15)
    assert "retry-after" not in answers[-1].headers
    bench.instant.move(minutes=15)
    assert bench.dm().status_code == 201


def test_windows_run_on_scaled_time_and_resets_are_told_in_real_time() -> None:
    bench = Bench(rate_limit_overrides={"dm.send": {"user": 1}}, factor=90)

    bench.dm()
    refused = bench.dm()

    assert refused.status_code == 429
    assert int(refused.headers["x-rate-limit-reset"]) == int(START.timestamp()) + 10
    bench.instant.move(seconds=10)
    assert bench.dm().status_code == 201


def test_the_24_hour_bucket_of_the_app_is_shared_and_headers_do_not_show_it() -> None:
    bench = Bench(rate_limit_overrides={"dm.send": {"app_day": 2}})
    other = bench.client("t2")

    bench.dm()
    other.post(f"/2/dm_conversations/with/{ANNA}/messages", json={"text": "hi"})
    refused = bench.dm()

    assert refused.status_code == 429
    assert int(refused.headers["x-rate-limit-remaining"]) > 0


def test_a_refused_call_witnesses_nothing() -> None:
    bench = Bench(rate_limit_overrides={"follow": {"user": 1}})

    bench.follow(ANNA)
    bench.follow(BEN)

    assert [one.recipient for one in bench.witness.read()[0]] == [ANNA]


# --- tokens ----------------------------------------------------------------------------------------------


def refresh(bench: Bench, token: str) -> httpx.Response:
    form = {"grant_type": "refresh_token", "refresh_token": token, "client_id": "sim-client"}
    return httpx.Client(transport=bench.transport, base_url="http://simulator").post(
        "/2/oauth2/token", data=form
    )


def test_a_refresh_gives_new_tokens_and_its_second_use_is_refused(bench: Bench) -> None:
    fresh = refresh(bench, "r")
    again = refresh(bench, "r")

    tokens = fresh.json()
    assert (fresh.status_code, tokens["expires_in"], tokens["token_type"]) == (200, 7200, "bearer")
    assert bench.client(tokens["access_token"]).get("/2/users/me").json()["data"]["id"] == ACME
    assert again.status_code == 400
    assert again.json()["error"] == "invalid_request"
    assert refresh(bench, tokens["refresh_token"]).status_code == 200


def test_an_access_token_from_a_refresh_dies_after_its_time(bench: Bench) -> None:
    client = bench.client(refresh(bench, "r").json()["access_token"])

    bench.instant.move(seconds=7199)
    assert client.get("/2/users/me").status_code == 200
    bench.instant.move(seconds=1)
    assert client.get("/2/users/me").status_code == 401


def test_a_confidential_client_must_prove_itself() -> None:
    bench = Bench(app={"client_secret": "s", "consumer_secret": SECRET})

    assert refresh(bench, "r").status_code == 401
    form = {"grant_type": "refresh_token", "refresh_token": "r"}
    client = httpx.Client(transport=bench.transport, base_url="http://simulator", auth=("sim-client", "s"))
    assert client.post("/2/oauth2/token", data=form).status_code == 200


def test_revoking_ends_the_tokens_and_is_told(bench: Bench) -> None:
    bench.subscribe("oauth.revoke")
    bench.acme.post("/__sim/act", json={"who": "acme", "do": "revoke"})
    bench.run(seconds=1)

    assert bench.acme.get("/2/users/me").status_code == 401
    assert refresh(bench, "r").status_code == 400
    (event,) = bench.subscriber.events
    assert (event["filter"], event["payload"]["user_id"]) == ({}, ACME)
