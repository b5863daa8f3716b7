"""The simulator speaks the X API v2: look-ups, follows, messages and the control routes, in process."""

import hashlib
from datetime import timedelta
from typing import Any

import pytest

from tests.contract.simulator_bench import ACME, ANNA, BASIC, BEN, CARL, DORA, START, Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


# --- looking people up -----------------------------------------------------------------------------------


def test_a_lookup_says_how_the_person_stands_to_the_account_that_asks(bench: Bench) -> None:
    fields = {"user.fields": "connection_status,receives_your_dm,protected"}
    bench.follow(ANNA)
    bench.run(hours=2)

    anna = bench.acme.get("/2/users/by/username/ANNA", params=fields).json()["data"]
    carl = bench.acme.get(f"/2/users/{CARL}", params=fields).json()["data"]

    assert anna["connection_status"] == ["following", "followed_by"]
    assert anna["receives_your_dm"] is True
    assert carl == {
        "id": CARL,
        "name": "carl",
        "username": "carl",
        "protected": False,
        "connection_status": [],
        "receives_your_dm": False,
    }


def test_a_batch_lookup_answers_200_with_the_unknown_ones_under_errors(bench: Bench) -> None:
    answer = bench.acme.get("/2/users/by", params={"usernames": "anna,nobody"})

    assert answer.status_code == 200
    assert [user["id"] for user in answer.json()["data"]] == [ANNA]
    assert answer.json()["errors"][0]["resource_id"] == "nobody"
    assert answer.json()["errors"][0]["type"].endswith("/resource-not-found")


def test_a_single_lookup_of_nobody_is_200_without_data(bench: Bench) -> None:
    answer = bench.acme.get("/2/users/by/username/nobody")

    assert answer.status_code == 200
    assert "data" not in answer.json()


def test_one_malformed_handle_spoils_a_whole_batch(bench: Bench) -> None:
    answer = bench.acme.get("/2/users/by", params={"usernames": "anna,not-a-handle"})

    assert answer.status_code == 400
    assert answer.json()["type"].endswith("/invalid-request")


def test_no_more_than_a_hundred_ids_at_once(bench: Bench) -> None:
    assert bench.acme.get("/2/users", params={"ids": ",".join([ANNA] * 100)}).status_code == 200
    assert bench.acme.get("/2/users", params={"ids": ",".join([ANNA] * 101)}).status_code == 400


def test_an_unknown_token_is_401_in_either_dialect() -> None:
    path = "/2/users/me"

    newer = Bench(dialect="problem").client("wrong").get(path)
    older = Bench(dialect="legacy").client("wrong").get(path)

    assert (newer.status_code, newer.json()["title"]) == (401, "Unauthorized")
    assert (older.status_code, older.json()["errors"][0]["code"]) == (401, 89)


# --- following -------------------------------------------------------------------------------------------


def test_a_follow_is_accepted_witnessed_and_answered(bench: Bench) -> None:
    answer = bench.follow(ANNA)

    assert answer.json() == {"data": {"following": True, "pending_follow": False}}
    (accepted,), _ = bench.witness.read()
    assert (accepted.kind, accepted.account, accepted.recipient, accepted.by) == ("follow", ACME, ANNA, "api")


def test_a_second_follow_changes_nothing_and_is_no_second_effect(bench: Bench) -> None:
    bench.follow(ANNA)
    answer = bench.follow(ANNA)

    assert answer.json()["data"]["following"] is True
    accepted, deeds = bench.witness.read()
    assert len(accepted) == 1
    assert [(deed.what, deed.kind) for deed in deeds if deed.person == ANNA] == [("repeated", "follow")]


def test_a_protected_person_is_asked_and_may_let_us_in_later(bench: Bench) -> None:
    assert bench.follow(BEN).json()["data"] == {"following": False, "pending_follow": True}
    before = bench.acme.get(f"/2/users/{BEN}", params={"user.fields": "connection_status"}).json()["data"]
    bench.run(minutes=2)
    after = bench.acme.get(f"/2/users/{BEN}", params={"user.fields": "connection_status"}).json()["data"]

    assert before["connection_status"] == ["follow_request_sent"]
    assert after["connection_status"] == ["following"]


def test_a_self_serve_account_may_not_follow_through_the_api_but_by_hand(bench: Bench) -> None:
    basic = bench.client("t2")

    refused = basic.post(f"/2/users/{BASIC}/following", json={"target_user_id": ANNA})
    by_hand = basic.post("/__sim/act", json={"who": "acme_basic", "do": "follow", "to": "@anna"})

    assert refused.status_code == 403
    assert refused.json()["type"].endswith("/client-forbidden")
    assert refused.json()["reason"] == "client-not-enrolled"
    assert by_hand.status_code == 200
    (accepted,), _ = bench.witness.read()
    assert (accepted.account, accepted.recipient, accepted.by) == (BASIC, ANNA, "hand")


def test_unfollowing_ends_it_and_following_nobody_is_404(bench: Bench) -> None:
    bench.follow(ANNA)

    answer = bench.acme.delete(f"/2/users/{ACME}/following/{ANNA}")
    nobody = bench.follow("424242")

    assert answer.json() == {"data": {"following": False}}
    assert nobody.status_code == 404
    assert [one.kind for one in bench.witness.read()[0]] == ["follow", "unfollow"]


def test_a_numeric_target_must_be_a_string(bench: Bench) -> None:
    answer = bench.acme.post(f"/2/users/{ACME}/following", json={"target_user_id": 101})

    assert answer.status_code == 400


def test_followers_come_latest_first_in_pages(bench: Bench) -> None:
    for handle in ("anna", "ben", "carl"):
        bench.acme.post("/__sim/follow", json={"from": handle, "to": "acme"})

    first = bench.acme.get(f"/2/users/{ACME}/followers", params={"max_results": 2}).json()
    token = first["meta"]["next_token"]
    second = bench.acme.get(
        f"/2/users/{ACME}/followers", params={"max_results": 2, "pagination_token": token}
    ).json()

    assert [user["username"] for user in first["data"] + second["data"]] == ["carl", "ben", "anna"]
    assert "next_token" not in second["meta"]


# --- messages --------------------------------------------------------------------------------------------


def test_a_message_is_201_and_can_be_read_back(bench: Bench) -> None:
    sent = bench.dm("hello Anna")
    fields = {"dm_event.fields": "sender_id,created_at,dm_conversation_id"}
    read = bench.acme.get(f"/2/dm_conversations/with/{ANNA}/dm_events", params=fields).json()

    assert sent.status_code == 201
    assert sent.json()["data"]["dm_conversation_id"] == f"{ANNA}-{ACME}"
    assert read["data"] == [
        {
            "id": sent.json()["data"]["dm_event_id"],
            "event_type": "MessageCreate",
            "text": "hello Anna",
            "created_at": "2026-01-05T12:00:00.000Z",
            "sender_id": ACME,
            "dm_conversation_id": f"{ANNA}-{ACME}",
        }
    ]
    assert read["meta"] == {"result_count": 1}


def test_the_same_text_twice_is_two_messages(bench: Bench) -> None:
    ids = {bench.dm("twice").json()["data"]["dm_event_id"] for _ in range(2)}

    accepted, _ = bench.witness.read()
    assert len(ids) == 2
    assert [one.body_sha256 for one in accepted] == [hashlib.sha256(b"twice").hexdigest()] * 2


def test_the_inbox_is_newest_first_and_pages_do_not_shift_when_something_arrives(bench: Bench) -> None:
    for number in range(3):
        bench.instant.move(seconds=1)
        bench.dm(f"number {number}")

    first = bench.acme.get("/2/dm_events", params={"max_results": 2}).json()
    bench.dm("in between")
    token = first["meta"]["next_token"]
    second = bench.acme.get("/2/dm_events", params={"max_results": 2, "pagination_token": token}).json()

    assert [event["text"] for event in first["data"]] == ["number 2", "number 1"]
    assert [event["text"] for event in second["data"]] == ["number 0", "hello, how does this work?"]


def test_an_empty_inbox_has_no_data(bench: Bench) -> None:
    assert bench.client("t2").get("/2/dm_events").json() == {"meta": {"result_count": 0}}


def test_what_was_written_before_the_start_is_in_the_inbox_at_its_own_time(bench: Bench) -> None:
    params = {"dm_event.fields": "created_at,sender_id", "expansions": "sender_id"}
    inbox = bench.acme.get("/2/dm_events", params=params).json()

    assert inbox["data"][0]["sender_id"] == DORA
    assert inbox["data"][0]["created_at"] == "2026-01-05T10:00:00.000Z"
    assert inbox["includes"]["users"][0]["username"] == "dora"


def test_who_is_suspended_is_found_by_nobody_and_does_nothing_more(bench: Bench) -> None:
    bench.follow(ANNA)
    bench.app.post("/__sim/act", json={"who": "anna", "do": "suspend"})
    bench.instant.move(seconds=4000)
    bench.simulator.run_until(bench.instant.now)

    assert not bench.simulator.network.follows(ANNA, ACME)
    assert [e["value"] for e in bench.acme.get("/2/users", params={"ids": ANNA}).json()["errors"]] == [ANNA]
    assert bench.acme.get("/2/users/by", params={"usernames": "anna"}).json()["errors"][0]["value"] == "anna"


def test_a_sender_who_is_gone_is_named_under_errors_and_what_they_wrote_is_there(bench: Bench) -> None:
    bench.dm("still here")
    assert bench.app.post("/__sim/act", json={"who": "dora", "do": "suspend"}).json() == {"done": "suspend"}
    params = {"dm_event.fields": "sender_id", "expansions": "sender_id", "user.fields": "username"}
    inbox = bench.acme.get("/2/dm_events", params=params).json()

    assert [event["sender_id"] for event in inbox["data"]] == [ACME, DORA]
    assert [user["username"] for user in inbox["includes"]["users"]] == ["acme"]
    (error,) = inbox["errors"]
    assert (error["resource_type"], error["resource_id"], error["parameter"]) == ("user", DORA, "sender_id")


@pytest.mark.parametrize(("dialect", "code"), [("legacy", 349), ("problem", None)])
def test_who_takes_no_messages_is_403_until_they_write_themselves(dialect: str, code: int | None) -> None:
    bench = Bench(dialect=dialect)

    refused = bench.dm(to=CARL)
    bench.acme.post("/__sim/say", json={"from": "carl", "to": "acme", "text": "hey"})
    accepted = bench.dm(to=CARL)

    assert refused.status_code == 403
    if code:
        assert refused.json()["errors"][0]["code"] == code
    else:
        assert "permission to DM" in refused.json()["detail"]
    assert accepted.status_code == 201


def test_a_block_ends_messages_and_follows_and_no_webhook_tells_of_it(bench: Bench) -> None:
    bench.subscribe("block.block", "follow.unfollow")
    bench.follow(ANNA)
    bench.acme.post("/__sim/follow", json={"from": "anna", "to": "acme"})
    bench.acme.post("/__sim/act", json={"who": "anna", "do": "block", "to": "acme"})
    bench.run(seconds=1)

    assert bench.dm().status_code == 403
    assert bench.follow(ANNA).status_code == 403
    assert bench.acme.get(f"/2/users/{ACME}/followers").json()["meta"]["result_count"] == 0
    assert bench.acme.get(f"/2/users/{ACME}/following").json()["meta"]["result_count"] == 0
    assert bench.subscriber.heard() == []


@pytest.mark.parametrize(
    "body", [{"text": ""}, {"text": "x" * 10_001}, {"text": "a", "extra": 1}, {}, {"text": 7}]
)
def test_a_body_outside_of_the_schema_is_400_and_sends_nothing(bench: Bench, body: dict[str, Any]) -> None:
    answer = bench.acme.post(f"/2/dm_conversations/with/{ANNA}/messages", json=body)

    assert answer.status_code == 400
    assert bench.witness.read()[0] == []


def test_somebody_told_to_stop_says_so_when_it_is_due(bench: Bench) -> None:
    bench.dm("are you still interested?", to=DORA)
    bench.instant.move(seconds=599)
    early = bench.acme.get(f"/2/dm_conversations/with/{DORA}/dm_events").json()["meta"]["result_count"]
    bench.instant.move(seconds=2)
    late = bench.acme.get(f"/2/dm_conversations/with/{DORA}/dm_events").json()

    said = [deed for deed in bench.witness.read()[1] if deed.kind == "stop"]
    assert early == 2
    assert late["data"][0]["text"] == "STOP"
    assert [deed.t_real for deed in said] == [START + timedelta(seconds=600)]


def test_every_message_of_ours_has_its_own_reaction() -> None:
    reactions = [
        [{"habit": "positive", "after": 1, "text": "first"}],
        [{"habit": "stop", "after": 1, "text": "second"}],
    ]
    bench = Bench(
        people=[{"id": ANNA, "handle": "anna", "persona": {"reactions": reactions, "receives_dm": True}}]
    )

    for _ in range(3):
        bench.dm()
        bench.run(seconds=2)

    said = [deed.kind for deed in bench.witness.read()[1] if deed.what == "said"]
    assert said == ["positive", "stop"]


def test_lag_hides_what_is_young_from_reads() -> None:
    bench = Bench(read_lag_s=30)
    bench.dm()
    bench.follow(ANNA)
    path, fields = f"/2/dm_conversations/with/{ANNA}/dm_events", {"user.fields": "connection_status"}

    young = (
        bench.acme.get(path).json()["meta"]["result_count"],
        bench.acme.get(f"/2/users/{ANNA}", params=fields),
    )
    bench.instant.move(seconds=31)
    old = (
        bench.acme.get(path).json()["meta"]["result_count"],
        bench.acme.get(f"/2/users/{ANNA}", params=fields),
    )

    assert (young[0], young[1].json()["data"]["connection_status"]) == (0, [])
    assert (old[0], old[1].json()["data"]["connection_status"]) == (1, ["following"])


# --- control ---------------------------------------------------------------------------------------------


def test_the_state_is_quiet_when_nothing_is_to_come(bench: Bench) -> None:
    before = bench.acme.get("/__sim/state").json()
    bench.dm(to=DORA)
    during = bench.acme.get("/__sim/state").json()
    bench.run(minutes=11)
    after = bench.acme.get("/__sim/state").json()

    assert (before["quiet"], during["quiet"], after["quiet"]) == (True, False, True)
    assert during["pending"] == {"deeds": 1, "deliveries": 0, "next_in_s": 600}
    assert (after["counts"]["accepted.dm"], after["counts"]["said"]) == (1, 2)


def test_the_ledger_is_the_truth_about_each_person(bench: Bench) -> None:
    bench.follow(ANNA)
    bench.dm("hello")

    people = bench.acme.get("/__sim/ledger").json()["people"]

    assert people[ANNA]["followed_by"] == [ACME]
    assert [(one["from"], one["text"]) for one in people[ANNA]["messages"]] == [(ACME, "hello")]
    assert CARL not in people


def test_people_can_be_added_while_it_runs(bench: Bench) -> None:
    added = bench.acme.post("/__sim/world", json={"people": [{"handle": "zoe"}]})
    taken = bench.acme.post("/__sim/world", json={"people": [{"handle": "Anna", "id": "7"}]})

    assert added.json() == {"accounts": 0, "people": 1}
    assert taken.status_code == 400
    assert bench.acme.get("/2/users/by/username/zoe").json()["data"]["id"].isdigit()


def test_an_account_can_write_and_block_by_hand(bench: Bench) -> None:
    bench.subscribe("dm.sent", "block.block")
    wrote = bench.acme.post("/__sim/act", json={"who": "acme", "do": "dm", "to": "anna", "text": "by hand"})
    bench.acme.post("/__sim/act", json={"who": "acme", "do": "block", "to": "anna"})
    bench.run(seconds=1)

    assert wrote.json()["id"] == bench.subscriber.events[0]["payload"]["direct_message_events"][0]["id"]
    assert bench.subscriber.heard() == ["dm.sent", "block.block"]
    assert bench.witness.read()[0][0].by == "hand"
