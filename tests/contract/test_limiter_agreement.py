"""Both limiters answer one trace alike, and a limiter agrees with the ledger on when things free."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from outreach.limits.caps import Cap, Counted, judge_caps
from outreach.limits.limiter import Limiter, MemoryLimiter, RedisLimiter
from outreach.limits.scope import Ask, Effect, Full, Granted, Scope, Unseeded
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
    opened,
    record,
    running_valkey,
    seed,
)

pytestmark = pytest.mark.servers

SCOPES = [
    [
        account("2/minute; 3/hour", pace=5),
        account("4/hour; 5/date", pace=20, zone="Europe/Berlin"),
        account("2/week"),
    ],
    [app("3/minute"), app("6/day"), app("2/date")],
    [Scope(kind="sequence", id=1, action_kind="SEND_TWITTER_DM", pace_seconds=1.5)],
]
ids = st.integers(1, 9)
spans = st.sampled_from([0, 1, 999, 1_000, 5_000, 60_000, 61_000, 900_000, 3_600_000, 7_300_000, 43_200_000])
chosen = st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True).flatmap(
    lambda rooms: st.tuples(*(st.sampled_from(SCOPES[room]) for room in rooms))
)
moves = st.tuples(st.just("move"), spans | st.sampled_from([-1, -1_000, -70_000, -4_000_000]))
holds = st.sampled_from([0, 1, 15_000])
acquires = st.tuples(st.just("acquire"), ids, chosen, holds)
#: Several in one round trip; a lagging one and doubled ones among them.
crowds = st.tuples(
    st.just("crowd"), st.lists(st.tuples(ids, chosen, holds, st.sampled_from([0, 0, 1_000])), max_size=8)
)
records = st.tuples(st.just("record"), ids, chosen, spans, spans)
ledgers = st.tuples(st.just("ledger"), st.lists(st.tuples(ids, chosen, spans, spans), max_size=5))
seeds = st.tuples(st.just("seed"), chosen, st.dictionaries(ids, spans, max_size=4), st.none() | spans)
forgets = st.tuples(st.just("forget"), chosen)
#: Beginning an hour before clocks go forward in Berlin.
DAWN = datetime(2026, 3, 29, 0, 0, tzinfo=UTC)


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


def ask(execution_id: int, scopes: Sequence[Scope], now: datetime, hold: timedelta = timedelta(0)) -> Ask:
    return Ask(execution_id=execution_id, scopes=scopes, now=now, effect_by=now + hold)


def effect(execution_id: int, scopes: Sequence[Scope], started_at: datetime, after: timedelta) -> Effect:
    return Effect(
        execution_id=execution_id, scopes=scopes, started_at=started_at, effect_by=started_at + after
    )


def play(limiter: Limiter, trace: list[tuple[object, ...]]) -> list[object]:
    answers: list[object] = []
    now = DAWN
    for step in trace:
        match step:
            case ("move", int(span)):
                now += span * MS
            case ("acquire", int(id_), tuple(scopes), int(hold)):
                answers.append(limiter.acquire(id_, scopes, now, now + hold * MS))
            case ("crowd", list(asks)):
                answers.extend(
                    limiter.acquire_all(
                        [ask(i, scopes, now - lag * MS, hold * MS) for i, scopes, hold, lag in asks]
                    )
                )
            case ("ledger", list(rows)):
                answers.append(
                    limiter.record(
                        [effect(i, scopes, now - ago * MS, after * MS) for i, scopes, ago, after in rows]
                    )
                )
            case ("record", int(id_), tuple(scopes), int(ago), int(after)):
                answers.append(record(limiter, id_, scopes, now - ago * MS, now - ago * MS + after * MS))
            case ("seed", tuple(scopes), dict(entries), ago):
                rows = [(id_, now - span * MS) for id_, span in entries.items()]
                last = now - ago * MS if isinstance(ago, int) else None
                answers.extend(limiter.seed(scope, rows, now, last) for scope in scopes)
            case ("forget", tuple(scopes)):
                answers.append(limiter.forget(scopes))
    return answers


BEGIN: list[tuple[object, ...]] = [("seed", (room[-1],), {}, None) for room in SCOPES]


@settings(max_examples=150, deadline=None)
@given(
    trace=st.lists(
        acquires | acquires | crowds | crowds | moves | moves | records | ledgers | seeds | forgets,
        max_size=60,
    )
)
@example(trace=[("crowd", [(id_, (SCOPES[0][0], SCOPES[1][0]), 0, 0) for id_ in (1, 2, 1, 3)])])
@example(
    trace=[
        ("ledger", [(id_, (SCOPES[0][2], SCOPES[1][2]), id_, 0) for id_ in (3, 2, 1)]),
        ("acquire", 4, (SCOPES[0][2],), 0),
    ]
)
@example(trace=[("acquire", id_, (SCOPES[0][2], SCOPES[1][2]), 0) for id_ in (1, 2, 3)])
def test_one_trace_gives_the_same_answers_on_both_stores(
    shared_valkey: Valkey, trace: list[tuple[object, ...]]
) -> None:
    with shared_valkey.client() as client:
        client.flushall()
    on_redis = RedisLimiter(shared_valkey.url, "trace")
    try:
        assert play(MemoryLimiter(), [*BEGIN, *trace]) == play(on_redis, [*BEGIN, *trace])
    finally:
        on_redis.close()


# --- several in one call -------------------------------------------------------------------------------------------


def together(limiter: Limiter, *asks: Ask) -> list[object]:
    return list(limiter.acquire_all(asks))


def full(scope: Scope, reason: str, until: datetime) -> Full:
    return Full(scope=scope, reason=reason, until=until)


def test_each_of_several_is_judged_after_those_before_it(limiter: Limiter) -> None:
    scope = account("3/hour")
    seed(limiter, scope)
    refused = full(scope, "3/hour", NOON + D + HOUR)
    asks = [ask(id_, [scope], NOON, D) for id_ in range(1, 6)]
    assert together(limiter, *asks) == [GRANTED] * 3 + [refused] * 2
    # Paid once each: asked again together they stand aside, whatever their order.
    assert together(limiter, *reversed(asks)) == [refused] * 2 + [GRANTED] * 3


def test_what_one_of_several_is_refused_takes_no_room_from_those_after_it(limiter: Limiter) -> None:
    ours, theirs, shared = account("1/hour"), account("1/hour", id=8), app("2/hour")
    seed(limiter, ours, theirs, shared)
    asks = [ask(id_, [whose, shared], NOON) for id_, whose in enumerate((ours, ours, theirs, theirs))]
    refused = [full(whose, "1/hour", NOON + HOUR) for whose in (ours, theirs)]
    assert together(limiter, *asks) == [GRANTED, refused[0], GRANTED, refused[1]]
    assert acquire(limiter, 9, shared, NOON) == full(shared, "2/hour", NOON + HOUR)


def test_of_several_that_keep_a_pace_the_first_goes(limiter: Limiter) -> None:
    ours, theirs = account("9/hour", pace=60), account("9/hour", pace=60, id=8)
    seed(limiter, ours, theirs)
    asks = [ask(id_, [whose], NOON) for id_, whose in enumerate((ours, theirs, ours, theirs))]
    paces = [full(whose, "pace", NOON + MINUTE) for whose in (ours, theirs)]
    assert together(limiter, *asks) == [GRANTED, GRANTED, *paces]


def test_a_lost_log_concerns_only_those_of_several_that_need_it(limiter: Limiter) -> None:
    known, lost = account("9/hour"), account("9/hour", id=8)
    free = Scope(kind="sequence", id=1, action_kind="SEND_TWITTER_DM")
    seed(limiter, known)
    asks = [
        ask(id_, scopes, NOON) for id_, scopes in enumerate(([known], [lost, known], [free], [], [known]))
    ]
    unseeded = Unseeded(scopes=(lost,))
    assert together(limiter, *asks) == [GRANTED, unseeded, GRANTED, GRANTED, GRANTED]
    assert together(limiter) == []


def test_one_who_asks_twice_in_one_call_pays_once(limiter: Limiter) -> None:
    scope = account("2/hour", pace=60)
    seed(limiter, scope)
    assert together(limiter, *[ask(1, [scope], NOON, D)] * 3) == [GRANTED] * 3
    assert acquire(limiter, 2, scope, NOON + MINUTE) == GRANTED


def test_the_ledgers_word_on_several_reaches_every_scope_of_each(limiter: Limiter) -> None:
    ours, theirs, shared = account("1/hour"), account("1/hour", id=8), app("2/hour")
    seed(limiter, ours, theirs, shared)
    assert (
        together(limiter, ask(1, [ours, shared], NOON, D), ask(2, [theirs, shared], NOON, D)) == [GRANTED] * 2
    )
    effects = [effect(1, [ours, shared], NOON, SECOND), effect(2, [theirs, shared], NOON, 3 * SECOND)]
    assert limiter.record(effects) is None
    assert limiter.record([]) is None
    for scope, after in ((ours, SECOND), (theirs, 3 * SECOND)):
        until = NOON + after + HOUR
        assert acquire(limiter, 3, scope, until - MS) == full(scope, str(scope.caps[0]), until)
    assert acquire(limiter, 3, shared, NOON + HOUR) == full(shared, "2/hour", NOON + SECOND + HOUR)


# --- beside the ledger ---------------------------------------------------------------------------------------------


@dataclass
class Ledger:
    """What T1 would judge by: rows with their effect_by, and the witness's own record of what was accepted when."""

    caps: tuple[Cap, ...]
    effects: dict[int, datetime] = field(default_factory=dict)
    accepted: list[datetime] = field(default_factory=list)
    refusals: int = 0
    deaths: int = 0

    def refuses(self, now: datetime) -> datetime | None:
        newest = sorted(self.effects.values(), reverse=True)
        counted = [
            Counted(cap=cap, nth_newest=newest[cap.limit - 1] if len(newest) >= cap.limit else None)
            for cap in self.caps
        ]
        refusal = judge_caps(counted, now, "UTC")
        return refusal.until if refusal else None

    def most_within(self, window: timedelta) -> int:
        """The witness's verdict: the most that were accepted in any half-open window of this length."""
        times = sorted(self.accepted)
        return max(sum(at <= other < at + window for other in times) for at in times)


def run_greedily(
    limiter: Limiter,
    ledger: Ledger,
    scope: Scope,
    *,
    deadline: timedelta,
    days: int,
    allowance: timedelta = SECOND,
) -> None:
    """A sender with endless leads, calls of random length, a T1 that comes late, and one worker in ten that dies."""
    chance = random.Random(11)
    now, end, open_calls = NOON, NOON + timedelta(days=days), list[tuple[datetime, int, datetime]]()
    execution_id = 0
    while now < end:
        for call in [call for call in open_calls if call[0] <= now]:
            arrived, id_, started = call
            open_calls.remove(call)
            ledger.effects[id_] = arrived
            assert record(limiter, id_, [scope], started, arrived) is None
        execution_id += 1
        match acquire(limiter, execution_id, scope, now, hold=deadline + allowance):
            case Unseeded():
                assert limiter.seed(scope, ledger.effects.items(), now) is None
            case Full(until=until):
                now = min([until, *(arrived for arrived, _, _ in open_calls)])
            case Granted():
                now += chance.random() * SECOND
                if refused_until := ledger.refuses(now):
                    ledger.refusals += 1
                    assert limiter.forget([scope]) is None
                    now = refused_until
                    continue
                ledger.effects[execution_id] = now + deadline
                arrived = now + deadline * chance.random()
                ledger.accepted.append(now + (arrived - now) * chance.random())
                if chance.random() < 0.9:
                    open_calls.append((arrived, execution_id, now))
                else:
                    ledger.deaths += 1
            case other:
                pytest.fail(f"{other}")


def test_limiter_and_ledger_agree_so_that_95_percent_of_a_cap_is_usable_and_none_is_passed(
    limiter: Limiter,
) -> None:
    # A clock scaled 150 times makes a deadline of 2 s five minutes long: a twelfth of the hour.
    scope = account("8/hour")
    ledger = Ledger(caps=scope.caps)
    run_greedily(limiter, ledger, scope, deadline=5 * MINUTE, days=3)
    assert ledger.most_within(HOUR) <= 8
    assert len(ledger.accepted) >= 0.95 * 8 * 24 * 3
    assert ledger.refusals == 0


def test_where_t1_is_later_than_allowed_for_the_ledger_refuses_at_most_once_per_worker_that_died(
    limiter: Limiter,
) -> None:
    scope = account("8/hour")
    ledger = Ledger(caps=scope.caps)
    run_greedily(limiter, ledger, scope, deadline=5 * MINUTE, days=2, allowance=timedelta(0))
    assert ledger.most_within(HOUR) <= 8
    assert len(ledger.accepted) >= 0.95 * 8 * 24 * 2
    assert 0 < ledger.refusals <= ledger.deaths


# --- clocks --------------------------------------------------------------------------------------------------------


def test_what_a_lagging_clock_writes_is_never_earlier_than_the_newest_start(limiter: Limiter) -> None:
    scope = account("2/hour")
    seed(limiter, scope)
    assert acquire(limiter, 1, scope, NOON) == GRANTED
    assert acquire(limiter, 2, scope, NOON - 10 * MINUTE, hold=D) == GRANTED
    assert record(limiter, 1, [scope], NOON, NOON - MINUTE) is None
    # The first frees at 12:59; the second stands at noon + D, not at 11:50.
    assert acquire(limiter, 3, scope, NOON + 59 * MINUTE) == GRANTED
    until = NOON + D + HOUR
    assert acquire(limiter, 4, scope, NOON + 59 * MINUTE) == Full(scope=scope, reason="2/hour", until=until)


def test_a_clock_that_lags_by_more_than_the_log_reaches_back_is_granted_nothing(limiter: Limiter) -> None:
    scope = account("8/hour")
    seed(limiter, scope)
    assert acquire(limiter, 1, scope, NOON) == GRANTED
    assert acquire(limiter, 2, scope, NOON - HOUR) == GRANTED
    assert acquire(limiter, 3, scope, NOON - HOUR - MS) == Unseeded(scopes=(scope,))
