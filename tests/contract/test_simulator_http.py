"""The simulator over HTTP: tweepy (which we did not write) as its client, wire faults, webhooks, and the process."""

import hashlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import tweepy  # type: ignore[import-untyped]
from requests.adapters import HTTPAdapter

from outreach.simulator import ScaledClock, Simulator, Witness, WorldSpec, read_witness
from outreach.simulator.faults import read_rules
from outreach.simulator.posting import HttpPost
from outreach.simulator.server import NotLoopback, Server
from tests.contract.simulator_bench import ACME, ANNA, CARL, DORA, WORLD, Bench, Subscriber


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Callable[..., tuple[str, Path]]]:
    """Start a simulator on a real port; gives its URL and its witness file."""
    stops: list[Callable[[], object]] = []

    def start(
        faults: list[dict[str, Any]] | None = None, factor: float = 1.0, **world: Any
    ) -> tuple[str, Path]:
        path = tmp_path / "witness.jsonl"
        clock = ScaledClock(factor=factor)
        witness = Witness(clock, path)
        rules = tuple(read_rules(faults or []))
        post = HttpPost()
        simulator = Simulator(
            WorldSpec.read({**WORLD, **world}), witness=witness, post=post, clock=clock, rules=rules
        )
        running = Server(simulator).running()
        url = running.__enter__()
        stops.extend((witness.close, post.close))
        stops.append(partial(running.__exit__, None, None, None))
        return url, path

    yield start
    for stop in reversed(stops):
        stop()


# --- tweepy ----------------------------------------------------------------------------------------------
class Rewriting(HTTPAdapter):
    """Sends to the simulator what was meant for the provider, whose address tweepy has built in."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        assert request.url is not None
        request.url = request.url.replace("https://api.twitter.com", self._url)
        return super().send(request, *args, **kwargs)


@pytest.fixture
def tweepy_client(served: Callable[..., tuple[str, Path]]) -> Iterator[Callable[..., tweepy.Client]]:
    clients: list[tweepy.Client] = []

    def connect(**world: Any) -> tweepy.Client:
        url, _ = served(**world)
        client = tweepy.Client(bearer_token="t")
        client.session.mount("https://", Rewriting(url))
        clients.append(client)
        return client

    yield connect
    for client in clients:
        client.session.close()


def test_tweepy_looks_up_follows_writes_and_reads(tweepy_client: Callable[..., tweepy.Client]) -> None:
    client = tweepy_client()

    anna = client.get_user(username="anna", user_fields=["connection_status"]).data
    follow = client.follow_user(anna.id, user_auth=False)
    sent = client.create_direct_message(participant_id=anna.id, text="hello from tweepy", user_auth=False)
    events = client.get_direct_message_events(
        participant_id=anna.id, dm_event_fields=["sender_id", "created_at"], user_auth=False
    )
    unfollow = client.unfollow_user(anna.id, user_auth=False)

    assert str(anna.id) == ANNA
    assert follow.data == {"following": True, "pending_follow": False}
    assert events.data[0].text == "hello from tweepy"
    assert str(events.data[0].id) == sent.data["dm_event_id"]
    assert str(events.data[0].sender_id) == ACME
    assert unfollow.data == {"following": False}


def test_tweepy_sees_partial_errors_and_pages(tweepy_client: Callable[..., tweepy.Client]) -> None:
    client = tweepy_client()

    users = client.get_users(usernames=["anna", "nobody", "ben"])
    followers = client.get_users_followers(ACME, max_results=1)

    assert [user.username for user in users.data] == ["anna", "ben"]
    assert users.errors[0]["resource_id"] == "nobody"
    assert followers.data is None


def test_tweepy_understands_both_dialects_and_the_rate_limit(
    tweepy_client: Callable[..., tweepy.Client],
) -> None:
    client = tweepy_client(dialect="legacy", rate_limit_overrides={"users.me": {"user": 1}})

    with pytest.raises(tweepy.Forbidden) as refused:
        client.create_direct_message(participant_id=CARL, text="hello", user_auth=False)
    client.get_me(user_auth=False)
    with pytest.raises(tweepy.TooManyRequests) as limited:
        client.get_me(user_auth=False)

    assert refused.value.api_codes == [349]
    assert limited.value.reset_time is not None


# --- wire faults and webhooks ----------------------------------------------------------------------------
@contextmanager
def listening(subscriber: Subscriber, told: threading.Event) -> Iterator[str]:
    """A subscriber on a real port; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer("GET")

        def do_POST(self) -> None:
            self.answer("POST")
            told.set()

        def answer(self, method: str) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, content = subscriber(method, self.path, headers, body)
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/hook"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_accepted_then_reset_leaves_a_witness_line(served: Callable[..., tuple[str, Path]]) -> None:
    url, witness = served(faults=[{"match": {"route": "dm.send"}, "do": "reset", "accepted": True}])

    with (
        httpx.Client(base_url=url, headers={"authorization": "Bearer t"}) as client,
        pytest.raises(httpx.ReadError),
    ):
        client.post(f"/2/dm_conversations/with/{ANNA}/messages", json={"text": "gone?"})

    (accepted,) = read_witness(witness)[0]
    assert accepted.body_sha256 == hashlib.sha256(b"gone?").hexdigest()
    assert accepted.body is None
    assert accepted.peer_port > 0


def test_over_http_a_hang_ends_in_a_dropped_connection(served: Callable[..., tuple[str, Path]]) -> None:
    url, witness = served(
        faults=[{"match": {"route": "dm.send"}, "do": "hang", "accepted": True, "seconds": 0.2}]
    )

    with httpx.Client(base_url=url, headers={"authorization": "Bearer t"}) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            client.post(f"/2/dm_conversations/with/{ANNA}/messages", json={"text": "hi"})
        with pytest.raises(httpx.ReadTimeout):
            client.post(f"/2/dm_conversations/with/{ANNA}/messages", json={"text": "hi"}, timeout=0.05)
        assert client.get("/2/users/me").status_code == 200

    assert len(read_witness(witness)[0]) == 2


def test_over_http_a_body_can_be_cut_or_drip(served: Callable[..., tuple[str, Path]]) -> None:
    cut = {"match": {"route": "dm.send"}, "do": "truncate"}
    drip = {"match": {"route": "users.me"}, "do": "drip", "seconds": 0.1}
    url, _ = served(faults=[cut, drip])

    with httpx.Client(base_url=url, headers={"authorization": "Bearer t"}) as client:
        with client.stream(
            "POST", f"/2/dm_conversations/with/{ANNA}/messages", json={"text": "hi"}
        ) as answer:
            assert answer.status_code == 201
            with pytest.raises(httpx.RemoteProtocolError):
                answer.read()
        assert client.get("/2/users/me").json()["data"]["id"] == ACME


def test_answers_do_not_wait_for_the_delayed_acknowledgement_of_their_headers(
    served: Callable[..., tuple[str, Path]],
) -> None:
    url, _ = served()

    with httpx.Client(base_url=url, headers={"authorization": "Bearer t"}) as client:
        began = time.monotonic()
        for _ in range(50):
            client.get("/2/users/me")
        took = time.monotonic() - began

    # 40 ms each where small writes are held back
    assert took < 1.5


def test_over_http_people_answer_in_scaled_time_and_webhooks_tell_of_it(
    served: Callable[..., tuple[str, Path]],
) -> None:
    url, witness = served(factor=6000)
    subscriber = Subscriber()
    told = threading.Event()
    with (
        listening(subscriber, told) as hook_url,
        httpx.Client(base_url=url, headers={"authorization": "Bearer app"}) as app,
    ):
        hook = app.post("/2/webhooks", json={"url": hook_url}).json()["data"]["id"]
        wanted = {"event_type": "dm.received", "filter": {"user_id": ACME}, "webhook_id": hook}
        app.post("/2/activity/subscriptions", json=wanted)
        ours = {"authorization": "Bearer t"}
        app.post(f"/2/dm_conversations/with/{DORA}/messages", json={"text": "hello"}, headers=ours)
        assert told.wait(5)

    assert subscriber.heard() == ["dm.received"]
    assert subscriber.forged == 0
    (sent,), deeds = read_witness(witness)
    (said,) = (deed for deed in deeds if deed.kind == "stop")
    assert said.t_scaled - sent.t_scaled == timedelta(seconds=600)


# --- the process -----------------------------------------------------------------------------------------


def test_it_listens_on_loopback_only() -> None:
    with pytest.raises(NotLoopback):
        Server(Bench().simulator, host="0.0.0.0")


def spawn(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "outreach.simulator", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_process_says_that_it_is_ready_and_stops_cleanly_on_sigterm(tmp_path: Path) -> None:
    world, witness = tmp_path / "world.json", tmp_path / "witness.jsonl"
    world.write_text(json.dumps(WORLD))
    arguments = [
        "--world",
        str(world),
        "--witness",
        str(witness),
        "--origin",
        "2026-01-05T12:00:00Z",
        "--factor",
        "60",
    ]
    with spawn(*arguments, "--seed", "7") as process:
        assert process.stdout is not None and process.stderr is not None
        ready, url = process.stdout.readline().split()
        answer = httpx.get(f"{url}/2/users/me", headers={"authorization": "Bearer t"})
        process.send_signal(signal.SIGTERM)
        code = process.wait(10)
        errors = process.stderr.read()

    assert (ready, answer.json()["data"]["username"], code, errors) == ("ready", "acme", 0, "")
    assert read_witness(witness)[1][0].kind == "wrote_first"


def test_the_process_refuses_a_wrong_world_with_its_place(tmp_path: Path) -> None:
    world = tmp_path / "world.json"
    world.write_text(json.dumps({"accounts": [{"handle": "acme"}]}))
    with spawn("--world", str(world), "--witness", str(tmp_path / "w")) as process:
        assert process.stderr is not None
        message = process.stderr.read()
        code = process.wait(10)

    assert (code, message) == (2, "accounts[0]: 'access_token' is missing\n")


def test_the_process_refuses_to_be_reachable(tmp_path: Path) -> None:
    with spawn("--host", "0.0.0.0", "--witness", str(tmp_path / "w")) as process:
        code = process.wait(10)
        process.communicate()

    assert code == 2


def test_a_busy_port_is_one_line_and_exit_2(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with spawn("--port", str(taken.getsockname()[1]), "--witness", str(tmp_path / "w")) as process:
            _, errors = process.communicate(timeout=10)

    assert process.returncode == 2
    assert "in use" in errors and errors.count("\n") == 1
