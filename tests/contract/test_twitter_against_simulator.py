"""The X client against the simulator, over HTTP and in process; the witness is the judge of what was accepted."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from outreach.providers.base import (
    Accepted,
    AccountRef,
    AccountStopped,
    Call,
    CannotTell,
    Found,
    InboundItem,
    InboundKind,
    InboundPage,
    Missing,
    NotStarted,
    Outcome,
    Provider,
    RateLimited,
    ReadFailed,
    Refused,
    Tokens,
    Unknown,
)
from outreach.providers.registry import build_providers
from outreach.providers.twitter import TwitterWebhooks
from outreach.providers.twitter.classify import DM, FOLLOW, UNFOLLOW
from outreach.simulator import InProcessTransport, Simulator, Witness
from outreach.simulator.clock import ScaledClock
from outreach.simulator.faults import read_rules
from outreach.simulator.server import Server
from outreach.simulator.world import WorldSpec

US, SELF_SERVE, THEM, CLOSED, PROTECTED = "11", "12", "21", "22", "23"
SECRET = "sim-consumer-secret"
HOOK = "http://127.0.0.1:8000/webhooks/twitter"
WORLD: Mapping[str, Any] = {
    "accounts": [
        {"handle": "we", "id": US, "access_token": "t-we", "refresh_token": "r-we", "follow_permitted": True},
        {"handle": "small", "id": SELF_SERVE, "access_token": "t-small"},
    ],
    "people": [
        {"handle": "Them", "id": THEM, "persona": "silent"},
        {"handle": "closed", "id": CLOSED, "persona": {"receives_dm": False, "reactions": []}},
        {"handle": "shy", "id": PROTECTED, "persona": {"protected": True, "approve_after": None}},
    ],
}


@dataclass
class Stage:
    """A simulator, the provider that calls it, and what it pushed."""

    simulator: Simulator
    provider: Provider
    base_url: str
    pushed: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list)

    def account(self, external_id: str = US) -> AccountRef:
        token, refresh = ("t-we", "r-we") if external_id == US else ("t-small", None)
        return AccountRef(
            id=1,
            external_id=external_id,
            base_url=self.base_url,
            access_token=token,
            refresh_token=refresh,
            client_id="sim-client",
        )

    def call(self, kind: str, to: str = THEM, body: str | None = None, sender: str = US) -> Call:
        return Call(kind=kind, account=self.account(sender), recipient=to, body=body, deadline_seconds=0.8)

    def execute(self, call: Call) -> Outcome:
        return self.provider.execute(call, lambda: True)

    def accepted(self) -> int:
        """How often the provider took something from us, by its own log."""
        return len(self.simulator.witness.read()[0])

    def fault(self, **rule: Any) -> None:
        self.simulator.faults.rules = read_rules([rule])

    def pushes(self) -> list[InboundItem]:
        """What the webhooks said, each signature checked."""
        self.simulator.run_until(datetime.now(UTC) + timedelta(seconds=1))
        # Behind HTTP the server's own pump may just be delivering.
        give_up = time.monotonic() + 5
        while self.simulator.state(datetime.now(UTC))["pending"]["deliveries"] and time.monotonic() < give_up:
            time.sleep(0.01)
        hooks = TwitterWebhooks()
        assert all(hooks.verify(headers, body, SECRET) for headers, body in self.pushed)
        return [item for _, body in self.pushed for item in hooks.parse(body)]


@contextmanager
def playing(manner: str, world: Mapping[str, Any] = WORLD) -> Iterator[Stage]:
    """A stage for this world, over HTTP or in process."""
    pushed: list[tuple[Mapping[str, str], bytes]] = []

    def post(method: str, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        if method == "GET":
            answer = TwitterWebhooks().challenge(httpx.URL(url).params, SECRET)
            return 200, json.dumps(answer).encode()
        pushed.append((headers, body))
        return 200, b""

    clock = ScaledClock()
    simulator = Simulator(WorldSpec.read(world), witness=Witness(clock), post=post, clock=clock, seed=7)
    if manner == "in process":
        provider = build_providers(True, InProcessTransport(simulator))["twitter"]
        yield Stage(simulator, provider, "http://127.0.0.1:1", pushed)
        return
    with Server(simulator).running() as url:
        stage = Stage(simulator, build_providers(True)["twitter"], url, pushed)
        yield stage
        del stage.provider  # lets go of its connections, on which the server would wait


MANNERS = ("http", "in process")


@pytest.fixture(params=MANNERS)
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    with playing(request.param) as played:
        yield played


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


# --- sending


def test_a_message_is_accepted_once_and_known_by_the_same_id_everywhere(stage: Stage) -> None:
    subscribe(stage, "dm.sent")
    since = ago(0)
    call = stage.call(DM, body="Hello there")
    outcome = stage.execute(call)
    assert isinstance(outcome, Accepted)
    assert stage.accepted() == 1
    content_id = outcome.ids["content_id"]
    found = stage.provider.read_back(call, since)
    assert isinstance(found, Found) and found.ids["content_id"] == content_id
    assert since - timedelta(milliseconds=1) <= found.at <= ago(0)  # its time is told in milliseconds
    inbox = stage.provider.poll(stage.account(), None)
    assert isinstance(inbox, InboundPage)
    polled, pushed = inbox.items[0], stage.pushes()[0]
    for item in (polled, pushed):
        assert item.kind is InboundKind.MESSAGE_OUT
        assert (item.content_id, item.peer, item.text) == (content_id, THEM, "Hello there")
    assert pushed.peer_handle == "Them"


def test_a_follow_and_an_unfollow_set_a_state_that_can_be_read_back(stage: Stage) -> None:
    follow, unfollow = stage.call(FOLLOW), stage.call(UNFOLLOW)
    assert stage.provider.read_back(follow, ago(1)) == Missing()
    assert stage.execute(follow) == Accepted({})
    assert isinstance(stage.provider.read_back(follow, ago(1)), Found)
    assert stage.provider.read_back(unfollow, ago(1)) == Missing()
    assert stage.execute(unfollow) == Accepted({})
    assert isinstance(stage.provider.read_back(unfollow, ago(1)), Found)


def test_following_somebody_protected_is_accepted_and_pending(stage: Stage) -> None:
    call = stage.call(FOLLOW, PROTECTED)
    assert stage.execute(call) == Accepted({"pending_follow": "true"})
    assert isinstance(stage.provider.read_back(call, ago(1)), Found)
    relations = stage.provider.relationships(stage.account(), [PROTECTED])
    assert not isinstance(relations, ReadFailed)
    assert (relations[0].pending, relations[0].we_follow) == (True, False)


def test_a_self_serve_account_cannot_follow_and_is_stopped_for_its_tier(stage: Stage) -> None:
    outcome = stage.execute(stage.call(FOLLOW, sender=SELF_SERVE))
    assert isinstance(outcome, AccountStopped)
    assert (outcome.reason, outcome.scope) == ("tier", "account")
    assert stage.accepted() == 0


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("dialect", ["problem", "legacy"])
@pytest.mark.parametrize(
    ("kind", "to", "code"),
    [(DM, CLOSED, "cannot_message"), (DM, "999", "no_such_user"), (FOLLOW, "999", "no_such_user")],
)
def test_a_recipient_who_cannot_be_reached_is_refused_in_both_dialects(
    manner: str, dialect: str, kind: str, to: str, code: str
) -> None:
    with playing(manner, {**WORLD, "dialect": dialect}) as stage:
        outcome = stage.execute(stage.call(kind, to, body="Hello"))
        assert isinstance(outcome, Refused) and outcome.code == code
        assert stage.accepted() == 0


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("dialect", ["problem", "legacy"])
@pytest.mark.parametrize(
    ("problem", "reason", "scope"),
    [
        ("unauthorized", "needs_reauth", "account"),
        ("client_forbidden", "tier", "account"),
        ("no_credits", "no_credits", "app"),
        ("usage_capped", "no_credits", "app"),
        ("locked", "restricted", "account"),
    ],
)
def test_what_only_a_human_can_mend_stops_account_or_app_in_both_dialects(
    manner: str, dialect: str, problem: str, reason: str, scope: str
) -> None:
    with playing(manner, {**WORLD, "dialect": dialect}) as stage:
        stage.fault(do="refuse", problem=problem)
        outcome = stage.execute(stage.call(DM, body="Hello"))
        assert isinstance(outcome, AccountStopped)
        assert (outcome.reason, outcome.scope) == (reason, scope)
        assert stage.accepted() == 0


@pytest.mark.parametrize("manner", MANNERS)
def test_an_empty_bucket_is_told_with_its_reset(manner: str) -> None:
    with playing(manner, {**WORLD, "rate_limit_overrides": {"dm.send": {"user": 1}}}) as stage:
        assert isinstance(stage.execute(stage.call(DM, body="one")), Accepted)
        outcome = stage.execute(stage.call(DM, body="two"))
        assert isinstance(outcome, RateLimited) and outcome.reset_at is not None
        assert timedelta(minutes=14) < outcome.reset_at - ago(0) < timedelta(minutes=16)
        assert stage.accepted() == 1


@pytest.mark.parametrize("kind", [DM, FOLLOW])
@pytest.mark.parametrize(
    "fault",
    [
        {"do": "error", "status": 500},
        {"do": "error", "status": 503, "accepted": True},
        {"do": "reset"},
        {"do": "reset", "accepted": True},
        {"do": "hang", "seconds": 2},
        {"do": "hang", "seconds": 2, "accepted": True},
        {"do": "truncate"},
        {"do": "garble"},
        {"do": "drip", "seconds": 2},
        {"do": "rate_limit", "seconds": 5},
        {"do": "refuse", "problem": "locked"},
    ],
    ids=lambda fault: "-".join(str(value) for value in fault.values()),
)
def test_an_outcome_never_contradicts_the_witness_and_read_back_always_agrees_with_it(
    stage: Stage, kind: str, fault: dict[str, Any]
) -> None:
    stage.fault(**fault, match={"route": "dm.send" if kind == DM else "follow"})
    since = ago(0)
    call = stage.call(kind, body="Hello there")
    began = time.monotonic()
    outcome = stage.execute(call)
    assert time.monotonic() - began < 3, "the deadline did not hold"
    accepted = stage.accepted() == 1
    if isinstance(outcome, Accepted):
        assert accepted
    elif not isinstance(outcome, Unknown):
        assert not accepted
    assert isinstance(outcome, Unknown) == (fault["do"] in ("error", "reset", "hang"))
    read = stage.provider.read_back(call, since)
    assert isinstance(read, Found if accepted else Missing)


def test_an_effect_that_comes_after_the_deadline_is_found_by_a_later_read_back(stage: Stage) -> None:
    stage.fault(do="late", seconds=1.2, match={"route": "dm.send"})
    since = ago(0)
    call = stage.call(DM, body="Hello there")
    assert isinstance(stage.execute(call), Unknown)
    time.sleep(1.5)
    assert isinstance(stage.provider.read_back(call, since), Found)


def test_a_guard_that_says_no_leaves_no_trace_at_the_provider(stage: Stage) -> None:
    outcome = stage.provider.execute(stage.call(DM, body="Hello"), lambda: False)
    assert isinstance(outcome, NotStarted) and outcome.guarded
    assert stage.accepted() == 0


# --- reading


def test_relationships_and_handles_are_looked_up_and_the_missing_are_left_out(stage: Stage) -> None:
    with stage.simulator.lock:
        stage.simulator.acts.follow_back(datetime.now(UTC), THEM, US)
    relations = stage.provider.relationships(stage.account(), [THEM, CLOSED, "999"])
    assert not isinstance(relations, ReadFailed)
    assert [(one.peer, one.follows_us, one.receives_messages) for one in relations] == [
        (THEM, True, True),
        (CLOSED, False, False),
    ]
    resolved = stage.provider.resolve(stage.account(), ["them", "nobody_at_all", "not a handle"])
    assert not isinstance(resolved, ReadFailed)
    assert [(one.handle, one.external_id) for one in resolved] == [("them", THEM)]
    assert stage.provider.relationships(stage.account(), ["999"]) == []


@pytest.mark.parametrize("manner", MANNERS)
def test_an_inbox_of_many_pages_is_read_whole_and_then_only_what_is_new(manner: str) -> None:
    crowd = [
        {
            "handle": f"u{n}",
            "id": str(1000 + n),
            "wrote_first": {"text": f"hi {n}", "after_s": -7200 + 10 * n},
        }
        for n in range(250)
    ]
    with playing(manner, {**WORLD, "people": [*WORLD["people"], *crowd]}) as stage:
        first = stage.provider.poll(stage.account(), None)
        assert isinstance(first, InboundPage) and first.complete
        assert sorted(item.text for item in first.items) == sorted(f"hi {n}" for n in range(250))
        assert {item.kind for item in first.items} == {InboundKind.MESSAGE_IN}
        with stage.simulator.lock:
            stage.simulator.acts.say(datetime.now(UTC), THEM, US, "new", kind="positive")
        second = stage.provider.poll(stage.account(), first.cursor)
        assert isinstance(second, InboundPage) and second.complete
        assert [item.text for item in second.items] == ["new"]


def test_a_message_that_shows_up_late_is_not_lost_between_two_polls(stage: Stage) -> None:
    with stage.simulator.lock:
        now = datetime.now(UTC)
        stage.simulator.acts.say(now - timedelta(seconds=3), THEM, US, "early", kind="positive")
    first = stage.provider.poll(stage.account(), None)
    assert isinstance(first, InboundPage)
    with stage.simulator.lock:
        stage.simulator.acts.say(now - timedelta(seconds=5), CLOSED, US, "late", kind="positive")
    second = stage.provider.poll(stage.account(), first.cursor)
    assert isinstance(second, InboundPage)
    assert "late" in [item.text for item in second.items]


@pytest.mark.parametrize(
    "fault", [{"do": "error"}, {"do": "garble"}, {"do": "truncate"}, {"do": "reset"}, {"do": "rate_limit"}]
)
def test_a_read_that_fails_is_never_an_empty_answer(stage: Stage, fault: dict[str, Any]) -> None:
    stage.fault(**fault)
    assert isinstance(stage.provider.poll(stage.account(), None), ReadFailed)
    assert isinstance(stage.provider.relationships(stage.account(), [THEM]), ReadFailed)
    assert isinstance(stage.provider.resolve(stage.account(), ["them"]), ReadFailed)
    assert isinstance(stage.provider.read_back(stage.call(DM, body="x"), ago(1)), CannotTell)
    assert isinstance(stage.provider.read_back(stage.call(FOLLOW), ago(1)), CannotTell)


# --- tokens


def test_a_refresh_brings_tokens_that_work_and_spends_the_old_one(stage: Stage) -> None:
    old = stage.account()
    fresh = stage.provider.refresh(old, 5)
    assert isinstance(fresh, Tokens)
    renewed = replace(old, access_token=fresh.access_token, refresh_token=fresh.refresh_token)
    assert stage.provider.resolve(renewed, ["them"])
    spent = stage.provider.refresh(old, 5)
    assert isinstance(spent, ReadFailed) and spent.reason == "unauthorised"
    assert isinstance(stage.provider.refresh(renewed, 5), Tokens)


def test_a_refresh_without_an_answer_is_unknown(stage: Stage) -> None:
    stage.fault(do="hang", seconds=2, accepted=True, match={"route": "token"})
    assert isinstance(stage.provider.refresh(stage.account(), 0.3), Unknown)


def test_a_revoked_account_needs_its_owner(stage: Stage) -> None:
    with stage.simulator.lock:
        stage.simulator.tokens.revoke(US, datetime.now(UTC))
    outcome = stage.execute(stage.call(DM, body="Hello"))
    assert isinstance(outcome, AccountStopped) and outcome.reason == "needs_reauth"
    failed = stage.provider.poll(stage.account(), None)
    assert isinstance(failed, ReadFailed) and failed.reason == "unauthorised"


# --- pushes


def subscribe(stage: Stage, *event_types: str) -> None:
    """Register our webhook (its challenge is answered by the real code) and subscribe the account."""
    transport = InProcessTransport(stage.simulator)
    bearer = {"authorization": "Bearer sim-app-bearer"}
    with httpx.Client(transport=transport, base_url="http://127.0.0.1:1", headers=bearer) as app:
        hook = app.post("/2/webhooks", json={"url": HOOK})
        assert hook.status_code == 200, hook.text
        for event_type in event_types:
            wish = {
                "event_type": event_type,
                "filter": {"user_id": US},
                "webhook_id": hook.json()["data"]["id"],
            }
            subscribed = app.post("/2/activity/subscriptions", json=wish)
            assert subscribed.is_success, subscribed.text


def test_every_push_is_signed_and_read_as_a_fact() -> None:
    with playing("in process") as stage:
        subscribe(stage, "dm.received", "follow.follow", "follow.unfollow", "block.block", "oauth.revoke")
        acts, now = stage.simulator.acts, datetime.now(UTC)
        said = acts.say(now, THEM, US, "hello", kind="positive")
        acts.follow_back(now, THEM, US)
        acts.unfollow_back(now, THEM, US)
        acts.block_by_account(US, CLOSED, now)
        assert isinstance(stage.execute(stage.call(FOLLOW)), Accepted)
        assert isinstance(stage.execute(stage.call(UNFOLLOW)), Accepted)
        facts = [(item.kind, item.peer) for item in stage.pushes()]
        assert sorted(facts) == sorted(
            [
                (InboundKind.MESSAGE_IN, THEM),
                (InboundKind.FOLLOWED_US, THEM),
                (InboundKind.UNFOLLOWED_US, THEM),
                (InboundKind.WE_FOLLOWED, THEM),
                (InboundKind.WE_UNFOLLOWED, THEM),
            ]
        )
        polled = stage.provider.poll(stage.account(), None)
        assert isinstance(polled, InboundPage)
        assert polled.items[0].content_id == f"dm:{said.id}" == stage.pushes()[0].content_id
