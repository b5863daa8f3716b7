"""The plan of `outreach demo --chaos`: made of the seed alone, and always enough to be worth its name."""

from collections import Counter

import pytest

from outreach.cli.demo_chaos import FIRST, LAST, Kind, plan

SEEDS = range(50)
SECONDS = 56.0


def test_equal_seeds_plan_equally_and_others_do_not() -> None:
    assert all(plan(seed, SECONDS) == plan(seed, SECONDS) for seed in SEEDS)
    assert len({tuple(plan(seed, SECONDS)) for seed in SEEDS}) == len(SEEDS)


@pytest.mark.parametrize(("seconds", "kills"), [(SECONDS, 7), (24.0, 3)])
@pytest.mark.parametrize("seed", SEEDS)
def test_every_plan_has_everything_in_it_in_order_and_leaves_time_for_the_doubts(
    seed: int, seconds: float, kills: int
) -> None:
    blows = plan(seed, seconds)
    instants = [blow.at for blow in blows]
    assert instants == sorted(instants) and instants[0] >= FIRST and instants[-1] < LAST * seconds
    done = Counter(blow.kind for blow in blows)
    assert done[Kind.KILL] >= kills and done[Kind.FLUSH] in (1, 2) and done[Kind.RESTART] == 1


def test_over_many_seeds_each_worker_is_met_and_redis_is_lost_once_as_often_as_twice() -> None:
    plans = [plan(seed, SECONDS) for seed in range(400)]
    twice = sum(Counter(b.kind for b in p)[Kind.FLUSH] == 2 for p in plans)
    assert 150 < twice < 250
    lots = [b.lot for p in plans for b in p if b.kind is Kind.KILL]
    assert 0.45 < sum(lot < 0.5 for lot in lots) / len(lots) < 0.55
