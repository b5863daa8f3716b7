"""What the X API's answers to a send mean, in both of its dialects."""

import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from outreach.providers.base import (
    Accepted,
    AccountStopped,
    AlreadyDone,
    Outcome,
    RateLimited,
    ReadFailed,
    Refused,
    Unknown,
)
from outreach.providers.http import Answer
from outreach.providers.twitter.classify import DM, FOLLOW, UNFOLLOW, outcome_of, read_failure

RESET = datetime(2026, 1, 5, 12, 15, tzinfo=UTC)
TOMORROW = datetime(2026, 1, 6, 12, 0, tzinfo=UTC)
KINDS = (FOLLOW, UNFOLLOW, DM)


def answer(status: int, document: Any = None, **headers: str) -> Answer:
    body = b"" if document is None else json.dumps(document).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, headers=httpx.Headers(named), body=body)


def problem(name: str, host: str = "api.twitter.com", **more: Any) -> dict[str, Any]:
    return {"title": "T", "detail": "why", "type": f"https://{host}/2/problems/{name}", **more}


def legacy(code: int, message: str = "why") -> dict[str, Any]:
    return {"errors": [{"code": code, "message": message}]}


def blank(detail: str, status: int = 403) -> dict[str, Any]:
    return {"title": "Forbidden", "detail": detail, "type": "about:blank", "status": status}


# --- acceptance


def test_an_accepted_message_is_known_by_the_id_that_its_echo_will_carry() -> None:
    document = {"data": {"dm_conversation_id": "1-2", "dm_event_id": "77"}}
    assert outcome_of(DM, answer(201, document)) == Accepted(
        {"content_id": "dm:77", "dm_event_id": "77", "dm_conversation_id": "1-2"}
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("document", [None, [], {"data": None}, {"data": {"dm_event_id": 5}}, {"meta": {}}])
def test_a_success_that_cannot_be_read_is_an_acceptance_without_ids(kind: str, document: Any) -> None:
    assert outcome_of(kind, answer(201, document)) == Accepted({})


def test_a_success_whose_body_broke_off_is_an_acceptance() -> None:
    broken = Answer(status=201, headers=httpx.Headers(), body=b'{"data":{"dm_ev', whole=False)
    assert outcome_of(DM, broken) == Accepted({})


def test_a_success_that_carries_errors_is_an_acceptance() -> None:
    assert outcome_of(DM, answer(200, {"errors": [problem("resource-not-found")]})) == Accepted({})


def test_a_follow_that_waits_for_approval_is_an_acceptance_that_says_so() -> None:
    waiting = answer(200, {"data": {"following": False, "pending_follow": True}})
    assert outcome_of(FOLLOW, waiting) == Accepted({"pending_follow": "true"})
    assert outcome_of(
        FOLLOW, answer(200, {"data": {"following": True, "pending_follow": False}})
    ) == Accepted({})


def test_a_follow_that_was_requested_before_stands_already() -> None:
    assert isinstance(outcome_of(FOLLOW, answer(403, legacy(160))), AlreadyDone)


# --- doubt


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [302, 307, 408, 500, 502, 503, 504])
def test_neither_a_yes_nor_a_clear_no_leaves_a_doubt(kind: str, status: int) -> None:
    assert outcome_of(kind, answer(status)) == Unknown(f"status {status}")


def test_an_error_code_in_a_server_error_does_not_make_it_a_no() -> None:
    assert isinstance(outcome_of(DM, answer(503, legacy(349))), Unknown)
    assert isinstance(outcome_of(DM, answer(500, problem("usage-capped"))), Unknown)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 409, 413, 422, 429, 451])
@pytest.mark.parametrize("kind", KINDS)
def test_a_client_error_is_never_a_doubt_and_never_a_yes(kind: str, status: int) -> None:
    assert not isinstance(outcome_of(kind, answer(status)), Accepted | AlreadyDone | Unknown)


# --- the account and the app


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        (answer(401), AccountStopped("needs_reauth", "account", "status 401")),
        (answer(401, legacy(89)), AccountStopped("needs_reauth", "account", "why")),
        (answer(401, blank("Unauthorized", 401)), AccountStopped("needs_reauth", "account", "Unauthorized")),
        (answer(403, problem("client-forbidden")), AccountStopped("tier", "account", "why")),
        (answer(403, problem("client-not-enrolled", "api.x.com")), AccountStopped("tier", "account", "why")),
        (
            answer(403, problem("unsupported-authentication")),
            AccountStopped("needs_reauth", "account", "why"),
        ),
        (answer(403, problem("oauth1-permissions")), AccountStopped("needs_reauth", "account", "why")),
        (answer(402, problem("credits")), AccountStopped("no_credits", "app", "why")),
        (answer(402), AccountStopped("no_credits", "app", "status 402")),
        (answer(403, problem("credits")), AccountStopped("no_credits", "app", "why")),
        (answer(429, problem("usage-capped")), AccountStopped("no_credits", "app", "why")),
        (answer(403, problem("usage-capped", "api.x.com")), AccountStopped("no_credits", "app", "why")),
        (answer(403, legacy(326)), AccountStopped("restricted", "account", "why")),
        (answer(403, legacy(64)), AccountStopped("restricted", "account", "why")),
        (answer(403, legacy(226)), AccountStopped("restricted", "account", "why")),
        (answer(403, legacy(416)), AccountStopped("restricted", "app", "why")),
        (answer(403, legacy(93)), AccountStopped("needs_reauth", "account", "why")),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_only_a_human_can_mend_stops_the_account_or_the_app(
    kind: str, refusal: Answer, expected: AccountStopped
) -> None:
    assert outcome_of(kind, refusal) == expected


def test_the_problem_type_counts_wherever_it_stands() -> None:
    nested = answer(403, {"errors": [problem("client-forbidden", reason="client-not-enrolled")]})
    assert outcome_of(FOLLOW, nested) == AccountStopped("tier", "account", "why; client-not-enrolled")


@pytest.mark.parametrize(
    "refusal", [answer(403), answer(403, blank("Forbidden")), answer(403, legacy(99999))]
)
def test_a_403_that_blames_nobody_stops_the_account_rather_than_burning_its_leads(refusal: Answer) -> None:
    outcome = outcome_of(DM, refusal)
    assert isinstance(outcome, AccountStopped) and outcome.reason == "restricted"


# --- the recipient and the text


@pytest.mark.parametrize(
    ("kind", "refusal", "code"),
    [
        (DM, answer(403, legacy(349)), "cannot_message"),
        (DM, answer(403, legacy(150)), "cannot_message"),
        (DM, answer(403, legacy(476)), "cannot_message"),
        (
            DM,
            answer(403, blank("You do not have permission to DM one or more participants.")),
            "cannot_message",
        ),
        (DM, answer(403, blank("This operation is not permitted.")), "cannot_message"),
        (DM, answer(403, problem("not-authorized-for-resource")), "cannot_message"),
        (FOLLOW, answer(403, problem("not-authorized-for-resource")), "forbidden"),
        (FOLLOW, answer(403, legacy(162)), "blocked"),
        (FOLLOW, answer(403, blank("You have been blocked from following this account.")), "blocked"),
        (FOLLOW, answer(403, blank("User has been suspended: [7].")), "suspended"),
        (FOLLOW, answer(404, problem("resource-not-found")), "no_such_user"),
        (FOLLOW, answer(404, blank("Not Found", 404)), "no_such_user"),
        (DM, answer(404, legacy(108)), "no_such_user"),
        (DM, answer(400, problem("invalid-request")), "bad_request"),
        (DM, answer(400), "bad_request"),
        (DM, answer(403, legacy(354)), "too_long"),
        (DM, answer(409, problem("conflict")), "bad_request"),
    ],
)
def test_what_concerns_one_recipient_or_one_text_is_a_refusal(kind: str, refusal: Answer, code: str) -> None:
    outcome = outcome_of(kind, refusal)
    assert isinstance(outcome, Refused)
    assert outcome.code == code


def test_a_404_that_is_not_the_apis_own_does_not_claim_that_a_user_is_gone() -> None:
    outcome = outcome_of(DM, Answer(status=404, headers=httpx.Headers(), body=b"<html>no such page</html>"))
    assert outcome == Refused("bad_request", "status 404")


# --- rate limits


def limited(**headers: str) -> Outcome:
    document = blank("Too Many Requests", 429)
    return outcome_of(DM, answer(429, document, **headers))


def seconds(instant: datetime) -> str:
    return str(int(instant.timestamp()))


def test_a_429_empties_the_accounts_bucket_until_its_reset() -> None:
    outcome = limited(x_rate_limit_remaining="0", x_rate_limit_reset=seconds(RESET))
    assert outcome == RateLimited("account", RESET)


def test_the_apps_daily_bucket_stops_the_whole_app_until_its_own_reset() -> None:
    outcome = limited(
        x_rate_limit_remaining="9",
        x_rate_limit_reset=seconds(RESET),
        x_app_limit_24hour_remaining="0",
        x_app_limit_24hour_reset=seconds(TOMORROW),
    )
    assert outcome == RateLimited("app", TOMORROW)


def test_the_users_daily_bucket_outlasts_the_short_window_and_stays_with_the_account() -> None:
    outcome = limited(
        x_rate_limit_remaining="0",
        x_rate_limit_reset=seconds(RESET),
        x_user_limit_24hour_remaining="0",
        x_user_limit_24hour_reset=seconds(TOMORROW),
    )
    assert outcome == RateLimited("account", TOMORROW)


def test_a_body_that_names_the_app_as_its_scope_stops_the_app() -> None:
    document = blank("Too Many Requests", 429) | {"scope": "App"}
    assert outcome_of(DM, answer(429, document)) == RateLimited("app", None)


def test_a_daily_bucket_that_is_not_empty_changes_nothing() -> None:
    outcome = limited(
        x_rate_limit_remaining="0",
        x_rate_limit_reset=seconds(RESET),
        x_app_limit_24hour_remaining="12",
        x_app_limit_24hour_reset=seconds(TOMORROW),
    )
    assert outcome == RateLimited("account", RESET)


@pytest.mark.parametrize("value", ["", "soon", "-1", "9" * 40])
def test_a_reset_that_cannot_be_read_is_unknown(value: str) -> None:
    assert limited(x_rate_limit_remaining="0", x_rate_limit_reset=value) == RateLimited("account", None)


@pytest.mark.parametrize(
    "refusal", [answer(403, legacy(161)), answer(403, legacy(185)), answer(429, legacy(88))]
)
def test_the_old_codes_for_too_much_are_rate_limits(refusal: Answer) -> None:
    assert outcome_of(FOLLOW, refusal) == RateLimited("account", None)


# --- reads


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (answer(401), "unauthorised"),
        (answer(402), "forbidden"),
        (answer(403, problem("client-forbidden")), "forbidden"),
        (answer(429), "rate_limited"),
        (answer(500), "unreachable"),
        (answer(503), "unreachable"),
        (answer(400), "unreadable"),
        (answer(204), "unreadable"),
    ],
)
def test_a_read_that_fails_says_why(refusal: Answer, reason: str) -> None:
    assert read_failure(refusal).reason == reason


def test_a_limited_read_says_when_to_come_back() -> None:
    refusal = answer(429, x_rate_limit_remaining="0", x_rate_limit_reset=seconds(RESET))
    assert read_failure(refusal) == ReadFailed("rate_limited", RESET, "status 429")
