"""One suite for both limiters: whatever one answers, the other answers."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import limits
import pytest

from outreach.limits.caps import Counted, judge_caps, parse_caps
from outreach.limits.limiter import Limiter, MemoryLimiter, RedisLimiter
from outreach.limits.scope import Full, Scope, Unseeded
from tests.contract.limiter_support import (
    GRANTED,
    HOUR,
    MINUTE,
    MS,
    NOON,
    SECOND,
    D,
    Valkey,
    account,
    acquire,
    app,
    fill,
    opened,
    record,
    running_valkey,
    seed,
)

pytestmark = pytest.mark.servers


@pytest.fixture(scope="session")
def shared_valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server


@pytest.fixture
def valkey(shared_valkey: Valkey) -> Valkey:
    with shared_valkey.client() as client:
        client.flushall()
    return shared_valkey


@pytest.fixture
def redis_limiter(valkey: Valkey) -> Iterator[RedisLimiter]:
    with opened(valkey.url) as limiter:
        yield limiter


@pytest.fixture(params=["memory", "redis"])
def limiter(request: pytest.FixtureRequest) -> Limiter:
    if request.param == "memory":
        return MemoryLimiter()
    made: RedisLimiter = request.getfixturevalue("redis_limiter")
    return made


# --- caps ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def restless_threads() -> Iterator[None]:
    """Threads take turns a thousand times as often, so that a missing lock shows."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("restless_threads")
def test_400_concurrent_tries_an_hour_pass_neither_8_per_hour_nor_40_per_day(limiter: Limiter) -> None:
    scope = account()
    seed(limiter, scope)
    granted: list[int] = []
    with ThreadPoolExecutor(16) as pool:
        for hour in range(7):
            now = NOON + hour * HOUR
            ids = range(hour * 1000, hour * 1000 + 400)
            answers = list(pool.map(lambda id_, at=now: acquire(limiter, id_, scope, at), ids))
            granted.append(answers.count(GRANTED))
    assert granted == [8, 8, 8, 8, 8, 0, 0]


def test_a_full_cap_names_itself_and_the_millisecond_at_which_it_frees(limiter: Limiter) -> None:
    scope = account("2/hour; 40/day")
    seed(limiter, scope)
    fill(limiter, scope, 1, NOON)
    fill(limiter, scope, 1, NOON + MINUTE, first_id=2)
    until = NOON + HOUR
    assert acquire(limiter, 3, scope, NOON + 2 * MINUTE) == Full(scope=scope, reason="2/hour", until=until)
    assert acquire(limiter, 3, scope, until - MS) == Full(scope=scope, reason="2/hour", until=until)
    assert acquire(limiter, 3, scope, until) == GRANTED


def test_of_all_that_refuse_the_one_that_lasts_longest_is_named(limiter: Limiter) -> None:
    scope = account("1/hour; 1/day; 1/15minute", pace=60)
    seed(limiter, scope)
    fill(limiter, scope, 1)
    assert acquire(limiter, 2, scope, NOON + MS) == Full(scope=scope, reason="1/day", until=NOON + 24 * HOUR)


def test_of_refusals_that_last_equally_long_the_first_is_named(limiter: Limiter) -> None:
    paced, other = account("1/hour", pace=3600), app("1/hour")
    seed(limiter, paced, other)
    assert acquire(limiter, 1, [paced, other], NOON) == GRANTED
    until = NOON + HOUR
    assert acquire(limiter, 2, [paced, other], NOON) == Full(scope=paced, reason="pace", until=until)
    assert acquire(limiter, 2, [other, paced], NOON) == Full(scope=other, reason="1/hour", until=until)


def test_a_call_counts_until_a_window_after_the_last_instant_at_which_it_can_be_accepted(
    limiter: Limiter,
) -> None:
    scope = account("1/hour")
    seed(limiter, scope)
    assert acquire(limiter, 1, scope, NOON, hold=D) == GRANTED
    until = NOON + D + HOUR
    assert acquire(limiter, 2, scope, until - MS) == Full(scope=scope, reason="1/hour", until=until)
    assert acquire(limiter, 2, scope, until) == GRANTED


@pytest.mark.parametrize("answered_after", [timedelta(milliseconds=200), timedelta(seconds=16)])
def test_once_recorded_a_call_counts_for_as_long_as_the_ledger_says(
    limiter: Limiter, answered_after: timedelta
) -> None:
    scope = account("1/hour")
    seed(limiter, scope)
    assert acquire(limiter, 1, scope, NOON, hold=D) == GRANTED
    assert record(limiter, 1, [scope], NOON, NOON + answered_after) is None
    until = NOON + answered_after + HOUR
    assert acquire(limiter, 2, scope, until - MS) == Full(scope=scope, reason="1/hour", until=until)
    assert acquire(limiter, 2, scope, until) == GRANTED


def test_a_send_made_by_hand_counts_once_it_is_recorded(limiter: Limiter) -> None:
    scope = account("1/hour", pace=60)
    seed(limiter, scope)
    assert record(limiter, 99, [scope], NOON, NOON) is None
    assert acquire(limiter, 1, scope, NOON + SECOND) == Full(scope=scope, reason="1/hour", until=NOON + HOUR)


def test_the_log_never_frees_before_the_microseconds_of_the_ledger(limiter: Limiter) -> None:
    scope = account("1/hour")
    effect_by = NOON + timedelta(microseconds=1)
    assert limiter.seed(scope, [(1, effect_by)], NOON + SECOND) is None
    refused = acquire(limiter, 2, scope, NOON + SECOND)
    assert refused == Full(scope=scope, reason="1/hour", until=NOON + MS + HOUR)
    assert judge_caps([Counted(cap=scope.caps[0], nth_newest=effect_by)], NOON + MS + HOUR, "UTC") is None
    assert isinstance(acquire(limiter, 2, scope, NOON + HOUR + timedelta(microseconds=999)), Full)


def test_a_cap_on_the_local_date_frees_at_local_midnight(limiter: Limiter) -> None:
    scope = account("2/date", zone="America/New_York")
    seed(limiter, scope)
    midnight = datetime(2026, 1, 6, 5, 0, tzinfo=UTC)
    fill(limiter, scope, 2, midnight - 2 * SECOND)
    assert acquire(limiter, 3, scope, midnight - MS) == Full(scope=scope, reason="2/date", until=midnight)
    fill(limiter, scope, 2, midnight, first_id=3)
    assert acquire(limiter, 5, scope, midnight) == Full(
        scope=scope, reason="2/date", until=midnight + 24 * HOUR
    )


@pytest.mark.parametrize(("month", "day", "hours"), [(3, 29, 23), (10, 25, 25)])
def test_a_cap_on_the_local_date_lasts_as_long_as_the_date_when_clocks_change(
    limiter: Limiter, month: int, day: int, hours: int
) -> None:
    scope = account("1/date", zone="Europe/Berlin")
    midnight = datetime(2026, month, day, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC)
    until = midnight + hours * HOUR
    seed(limiter, scope, now=midnight)
    assert acquire(limiter, 1, scope, midnight) == GRANTED
    assert acquire(limiter, 2, scope, until - MS) == Full(scope=scope, reason="1/date", until=until)
    assert acquire(limiter, 2, scope, until) == GRANTED


def test_a_call_that_is_open_over_midnight_counts_on_both_dates(limiter: Limiter) -> None:
    scope = account("1/date")
    midnight = datetime(2026, 1, 6, tzinfo=UTC)
    seed(limiter, scope)
    assert acquire(limiter, 1, scope, midnight - SECOND, hold=D) == GRANTED
    assert isinstance(acquire(limiter, 2, scope, midnight - MS), Full)
    assert isinstance(acquire(limiter, 2, scope, midnight + SECOND), Full)
    assert record(limiter, 1, [scope], midnight - SECOND, midnight - MS) is None
    assert acquire(limiter, 2, scope, midnight + SECOND) == GRANTED


def test_a_cap_that_is_raised_or_lowered_keeps_its_usage(limiter: Limiter) -> None:
    eight, nine, seven = account("8/day"), account("9/day"), account("7/day")
    seed(limiter, eight)
    fill(limiter, eight, 8)
    assert isinstance(acquire(limiter, 9, seven, NOON + SECOND), Full)
    assert isinstance(acquire(limiter, 9, eight, NOON + SECOND), Full)
    assert acquire(limiter, 9, nine, NOON + SECOND) == GRANTED
    assert isinstance(acquire(limiter, 10, nine, NOON + 2 * SECOND), Full)


def test_a_window_longer_than_the_log_reaches_back_asks_for_a_seed(limiter: Limiter) -> None:
    hourly, weekly = account("8/hour"), account("8/hour; 9/week")
    seed(limiter, hourly)
    fill(limiter, hourly, 8)
    fill(limiter, hourly, 8, NOON + 3 * HOUR, first_id=101)
    later = NOON + 5 * HOUR
    assert acquire(limiter, 200, weekly, later) == Unseeded(scopes=(weekly,))
    ledger = [(i, NOON) for i in range(1, 9)] + [(i, NOON + 3 * HOUR) for i in range(101, 109)]
    assert limiter.seed(weekly, ledger, later) is None
    # Of sixteen the ninth newest is of noon.
    until = NOON + 7 * 24 * HOUR
    assert acquire(limiter, 200, weekly, later) == Full(scope=weekly, reason="9/week", until=until)


def test_what_was_trimmed_is_asked_for_again_when_a_window_grows(limiter: Limiter) -> None:
    short, long = account("8/hour"), account("8/4hour")
    seed(limiter, short)
    fill(limiter, short, 8)
    assert acquire(limiter, 9, short, NOON + 3 * HOUR) == GRANTED
    assert acquire(limiter, 10, long, NOON + 3 * HOUR + MINUTE) == Unseeded(scopes=(long,))


def test_caps_of_different_accounts_actions_and_kinds_of_scope_do_not_meet(limiter: Limiter) -> None:
    first = account("1/hour")
    others = [
        account("1/hour", id=8),
        replace(first, action_kind="FOLLOW_ON_TWITTER"),
        replace(first, kind="sequence"),
    ]
    seed(limiter, first, *others)
    fill(limiter, first, 1)
    for scope in others:
        assert acquire(limiter, 2, scope, NOON) == GRANTED


# --- pace ----------------------------------------------------------------------------------------------------------


def test_the_pace_is_exact(limiter: Limiter) -> None:
    scope = account(pace=60)
    seed(limiter, scope)
    assert acquire(limiter, 1, scope, NOON, hold=D) == GRANTED
    until = NOON + 60 * SECOND
    assert acquire(limiter, 2, scope, NOON + MS, hold=D) == Full(scope=scope, reason="pace", until=until)
    assert acquire(limiter, 2, scope, until - MS, hold=D) == Full(scope=scope, reason="pace", until=until)
    assert acquire(limiter, 2, scope, until, hold=D) == GRANTED
    assert acquire(limiter, 3, scope, until, hold=D) == Full(
        scope=scope, reason="pace", until=until + 60 * SECOND
    )


def test_the_pace_runs_from_the_start_that_the_ledger_knows(limiter: Limiter) -> None:
    scope = account(pace=60)
    assert limiter.seed(scope, [(1, NOON)], NOON + SECOND, last_started_at=NOON) is None
    assert acquire(limiter, 2, scope, NOON + SECOND) == Full(scope=scope, reason="pace", until=NOON + MINUTE)
    assert acquire(limiter, 2, scope, NOON + MINUTE) == GRANTED
    started = NOON + MINUTE + 3 * SECOND
    assert record(limiter, 2, [scope], started, started + SECOND) is None
    assert acquire(limiter, 3, scope, started + SECOND) == Full(
        scope=scope, reason="pace", until=started + MINUTE
    )
    assert record(limiter, 1, [scope], NOON, NOON) is None
    assert acquire(limiter, 3, scope, started + SECOND) == Full(
        scope=scope, reason="pace", until=started + MINUTE
    )


def test_a_pace_needs_no_cap(limiter: Limiter) -> None:
    scope = Scope(kind="account", id=7, action_kind="SEND_EMAIL", pace_seconds=10)
    assert acquire(limiter, 1, scope, NOON) == Unseeded(scopes=(scope,))
    seed(limiter, scope)
    assert acquire(limiter, 1, scope, NOON) == GRANTED
    assert acquire(limiter, 2, scope, NOON) == Full(scope=scope, reason="pace", until=NOON + 10 * SECOND)


# --- paid once -----------------------------------------------------------------------------------------------------


def test_an_execution_pays_once_however_often_it_asks(limiter: Limiter) -> None:
    scope = account("2/hour", pace=60)
    seed(limiter, scope)
    for again in range(5):
        assert acquire(limiter, 1, scope, NOON + again * SECOND, hold=D) == GRANTED
    assert acquire(limiter, 2, scope, NOON + 2 * MINUTE, hold=D) == GRANTED
    assert isinstance(acquire(limiter, 3, scope, NOON + 4 * MINUTE), Full)
    assert acquire(limiter, 1, scope, NOON + 4 * MINUTE) == GRANTED


def test_an_execution_that_starts_anew_is_judged_anew_and_its_old_place_is_free(limiter: Limiter) -> None:
    scope = account("1/hour; 2/day")
    seed(limiter, scope)
    assert acquire(limiter, 1, scope, NOON) == GRANTED
    assert acquire(limiter, 2, scope, NOON + 2 * HOUR) == GRANTED
    # The first was surely not accepted; its new start does not fit into the second's hour.
    assert acquire(limiter, 1, scope, NOON + 2 * HOUR + MINUTE) == Full(
        scope=scope, reason="1/hour", until=NOON + 3 * HOUR
    )
    assert acquire(limiter, 1, scope, NOON + 3 * HOUR) == GRANTED
    # It counts from its new start, and once.
    assert acquire(limiter, 3, scope, NOON + 25 * HOUR) == Full(
        scope=scope, reason="2/day", until=NOON + 26 * HOUR
    )


# --- several scopes ------------------------------------------------------------------------------------------------


def test_where_one_scope_is_full_no_other_is_paid(limiter: Limiter) -> None:
    one, many = account("1/hour"), app("3/day")
    seed(limiter, one, many)
    assert acquire(limiter, 1, [one, many], NOON) == GRANTED
    for execution_id in range(2, 12):
        assert acquire(limiter, execution_id, [many, one], NOON) == Full(
            scope=one, reason="1/hour", until=NOON + HOUR
        )
    fill(limiter, many, 2, first_id=20)
    assert acquire(limiter, 30, many, NOON) == Full(scope=many, reason="3/day", until=NOON + 24 * HOUR)


def test_where_one_scope_is_unseeded_no_other_is_paid(limiter: Limiter) -> None:
    one, other = account("1/hour"), app("1/day")
    seed(limiter, one)
    assert acquire(limiter, 1, [one, other], NOON) == Unseeded(scopes=(other,))
    assert acquire(limiter, 2, one, NOON) == GRANTED


def test_accounts_of_one_app_share_its_cap_under_concurrency(limiter: Limiter) -> None:
    shared = app("10/day")
    accounts = [account("5/hour", id=id_) for id_ in range(4)]
    seed(limiter, shared, *accounts)
    with ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(lambda id_: acquire(limiter, id_, [accounts[id_ % 4], shared], NOON), range(200))
        )
    assert answers.count(GRANTED) == 10


def test_a_scope_without_caps_or_pace_is_granted_and_keeps_no_log(limiter: Limiter) -> None:
    free = Scope(kind="instance", id=1, action_kind="SEND_EMAIL")
    assert acquire(limiter, 1, free, NOON) == GRANTED
    assert acquire(limiter, 1, [], NOON) == GRANTED
    assert record(limiter, 1, [free], NOON, NOON) is None


# --- seeds ---------------------------------------------------------------------------------------------------------


def test_a_log_that_was_never_seeded_grants_nothing(limiter: Limiter) -> None:
    assert acquire(limiter, 1, [account(), app()], NOON) == Unseeded(scopes=(account(), app()))


def test_a_record_alone_does_not_make_a_log_that_grants(limiter: Limiter) -> None:
    assert record(limiter, 1, [account()], NOON, NOON) is None
    assert acquire(limiter, 2, account(), NOON) == Unseeded(scopes=(account(),))


def test_a_seeded_log_counts_what_the_ledger_counted(limiter: Limiter) -> None:
    scope = account("3/hour")
    assert limiter.seed(scope, [(1, NOON - 50 * MINUTE), (2, NOON - 2 * HOUR), (3, NOON)], NOON) is None
    assert acquire(limiter, 4, scope, NOON) == GRANTED
    assert acquire(limiter, 5, scope, NOON) == Full(scope=scope, reason="3/hour", until=NOON + 10 * MINUTE)


def test_after_forget_the_log_is_the_ledgers_picture_and_nothing_else(limiter: Limiter) -> None:
    scope, other = account("2/hour"), app()
    seed(limiter, scope, other)
    fill(limiter, scope, 2)
    assert limiter.forget([scope]) is None
    assert acquire(limiter, 3, [scope, other], NOON) == Unseeded(scopes=(scope,))
    assert limiter.seed(scope, [(1, NOON)], NOON) is None
    assert acquire(limiter, 3, [scope, other], NOON) == GRANTED
    assert isinstance(acquire(limiter, 4, scope, NOON), Full)


def test_a_second_seed_keeps_what_was_paid_after_the_first(limiter: Limiter) -> None:
    scope = account("2/hour", pace=60)
    ledger = [(1, NOON - MINUTE)]
    assert limiter.seed(scope, ledger, NOON, last_started_at=NOON - MINUTE) is None
    assert acquire(limiter, 2, scope, NOON) == GRANTED
    assert limiter.seed(scope, ledger, NOON, last_started_at=NOON - MINUTE) is None
    assert acquire(limiter, 3, scope, NOON + SECOND) == Full(
        scope=scope, reason="2/hour", until=NOON + 59 * MINUTE
    )
    assert acquire(limiter, 3, account("3/hour", pace=60), NOON + SECOND) == Full(
        scope=account("3/hour", pace=60), reason="pace", until=NOON + MINUTE
    )


def test_rolling_caps_are_written_as_the_limits_package_writes_them() -> None:
    text = "8/hour; 40/day; 15/15minute; 3/30second"
    ours = [(cap.limit, cap.seconds) for cap in parse_caps(text)]
    assert ours == [(item.amount, item.get_expiry()) for item in limits.parse_many(text)]
