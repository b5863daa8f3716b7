"""The authorize page and the token endpoints: codes work once, under PKCE, at one address; driven by tweepy, which we did not write."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import requests
import tweepy  # type: ignore[import-untyped]
from requests.adapters import HTTPAdapter

from outreach.simulator.server import Server
from outreach.simulator.simulator import Simulator
from outreach.simulator.tokens import challenge_of
from outreach.simulator.world import WorldSpec
from tests.contract.simulator_bench import ACME, WORLD, Bench

BACK = "https://app.example/back"
PAGE = "/i/oauth2/authorize"
VERIFIER = "v" * 64
ASKED = {
    "response_type": "code", "client_id": "sim-client", "redirect_uri": BACK, "scope": "users.read tweet.read offline.access",
    "state": "s", "code_challenge": challenge_of(VERIFIER), "code_challenge_method": "S256",
}  # fmt: skip


@pytest.fixture
def bench() -> Bench:
    return Bench(app={"callback_urls": [BACK]})


def answered(bench: Bench, **form: str) -> dict[str, str]:
    """What the owner's browser is sent back with."""
    reply = bench.acme.post(PAGE, data={**ASKED, "as": "acme", **form})
    assert reply.status_code == 302, reply.text
    assert reply.headers["location"].startswith(BACK)
    return {key: values[0] for key, values in parse_qs(urlsplit(reply.headers["location"]).query).items()}


def exchanged(bench: Bench, **form: str) -> httpx.Response:
    right = {
        "grant_type": "authorization_code", "client_id": "sim-client", "redirect_uri": BACK, "code_verifier": VERIFIER,
    }  # fmt: skip
    return bench.acme.post("/2/oauth2/token", data={**right, **form}, headers={"authorization": ""})


def test_the_page_names_what_is_asked_for_and_gives_out_nothing(bench: Bench) -> None:
    page = bench.acme.get(PAGE, params=ASKED)
    assert page.status_code == 200
    assert "offline.access" in page.text and "Authorize app as @acme" in page.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"client_id": "somebody"},
        {"redirect_uri": "https://evil.example/back"},
        {"redirect_uri": f"{BACK}/"},
        {"code_challenge_method": "plain"},
        {"response_type": "token"},
        {"state": ""},
        {"state": "x" * 501},
        {"scope": "everything"},
    ],
)
def test_a_question_that_cannot_be_trusted_goes_back_to_nobody(bench: Bench, wrong: dict[str, str]) -> None:
    assert bench.acme.get(PAGE, params={**ASKED, **wrong}).status_code == 400
    answer = bench.acme.post(PAGE, data={**ASKED, "as": "acme", **wrong})
    assert (answer.status_code, "location" in answer.headers) == (400, False)


def test_a_code_becomes_tokens_of_whoever_agreed_with_the_scopes_they_saw(bench: Bench) -> None:
    said = answered(bench)
    tokens = exchanged(bench, code=said["code"]).json()
    assert said["state"] == "s"
    assert (tokens["token_type"], tokens["scope"]) == ("bearer", ASKED["scope"])
    me = bench.acme.get("/2/users/me", headers={"authorization": f"Bearer {tokens['access_token']}"})
    assert me.json()["data"]["id"] == ACME
    renewed = exchanged(bench, grant_type="refresh_token", refresh_token=tokens["refresh_token"]).json()
    assert renewed["scope"] == ASKED["scope"]


def test_without_offline_access_there_is_no_refresh_token(bench: Bench) -> None:
    said = answered(bench, scope="users.read")
    assert "refresh_token" not in exchanged(bench, code=said["code"]).json()


@pytest.mark.parametrize(
    "wrong", [{"code_verifier": "w" * 64}, {"redirect_uri": "https://app.example/other"}, {"code": "made up"}]
)
def test_a_code_is_good_for_one_try_whatever_comes_of_it(bench: Bench, wrong: dict[str, str]) -> None:
    said = answered(bench)
    refused = exchanged(bench, **{"code": said["code"], **wrong})
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")
    again = exchanged(bench, code=said["code"])
    assert again.status_code == (200 if "code" in wrong else 400)
    assert exchanged(bench, code=said["code"]).status_code == 400


def test_a_code_ends_after_thirty_seconds(bench: Bench) -> None:
    said = answered(bench)
    bench.instant.move(seconds=30)
    assert exchanged(bench, code=said["code"]).status_code == 400


def test_an_owner_who_says_no_is_sent_back_without_a_code(bench: Bench) -> None:
    assert answered(bench, deny="1") == {"state": "s", "error": "access_denied"}


def test_a_revoked_token_is_good_for_nothing_and_the_other_lives_on(bench: Bench) -> None:
    tokens = exchanged(bench, code=answered(bench)["code"]).json()

    def revoke(token: str) -> httpx.Response:
        return bench.acme.post("/2/oauth2/revoke", data={"token": token, "client_id": "sim-client"})

    assert revoke(tokens["refresh_token"]).json() == {"revoked": True}
    assert exchanged(bench, grant_type="refresh_token", refresh_token=tokens["refresh_token"]).status_code == 400  # fmt: skip
    bearer = {"authorization": f"Bearer {tokens['access_token']}"}
    assert bench.acme.get("/2/users/me", headers=bearer).status_code == 200
    assert revoke(tokens["access_token"]).status_code == 200
    assert bench.acme.get("/2/users/me", headers=bearer).status_code == 401
    assert revoke("made up").status_code == 400


# --- tweepy --------------------------------------------------------------------------------------------------


class Rewriting(HTTPAdapter):
    """Sends to the simulator what was meant for the provider."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        assert request.url is not None
        request.url = re.sub(r"https://(api\.)?(twitter|x)\.com", self._url, request.url)
        return super().send(request, *args, **kwargs)


def test_tweepy_lets_an_account_in(tmp_path: Path, simulator_of: Callable[..., Simulator]) -> None:
    simulator = simulator_of(tmp_path, app={"client_secret": "secret", "callback_urls": [BACK]})
    with Server(simulator).running() as url, httpx.Client() as owner:
        handler = tweepy.OAuth2UserHandler(
            client_id="sim-client", client_secret="secret", redirect_uri=BACK, scope=["users.read", "tweet.read"]
        )  # fmt: skip
        handler.mount("https://", Rewriting(url))
        asked = parse_qs(urlsplit(handler.get_authorization_url()).query)
        back = owner.post(f"{url}{PAGE}", data={key: v[0] for key, v in asked.items()} | {"as": "acme"})
        tokens = handler.fetch_token(back.headers["location"])
        handler.close()
        me = owner.get(f"{url}/2/users/me", headers={"authorization": f"Bearer {tokens['access_token']}"})
    assert me.json()["data"]["username"] == "acme"


@pytest.fixture
def simulator_of() -> Callable[..., Simulator]:
    from outreach.simulator import ClientPost, ScaledClock, Witness

    def make(folder: Path, **world: Any) -> Simulator:
        clock = ScaledClock()
        spec = WorldSpec.read({**WORLD, **world})
        witness = Witness(clock, folder / "witness.jsonl")
        return Simulator(spec, witness=witness, post=ClientPost(httpx.Client()), clock=clock)

    return make
