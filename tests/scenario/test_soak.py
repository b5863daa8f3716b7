"""Three greedy days at tight caps, over the night on which the clocks change, while Redis forgets: never one over, and hardly one under."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from outreach.limits.limiter import MemoryLimiter
from outreach.models.base import Database
from outreach.runtime.audit import audit_caps
from tests.integration.law_support import (
    DAY,
    FOLLOW,
    HOUR,
    MINUTE,
    NO_CAPS,
    friends,
    open_house,
    rolling_most,
    roomy_account,
)

pytestmark = pytest.mark.servers
PER_HOUR, PER_DAY, DAYS = 10, 30, 3
CROWD = tuple(f"p{n}" for n in range(PER_DAY * DAYS + 10))
#: midnight in Berlin, a day before its clocks go forward
START = datetime(2026, 3, 27, 23, tzinfo=UTC)


def test_three_greedy_days(db: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limiter = MemoryLimiter()
    house = open_house(db, tmp_path, CROWD, limiter=limiter)
    house.clock.instant = START
    roomy_account(
        house,
        zone="Europe/Berlin",
        caps=NO_CAPS | {"FOLLOW_ON_TWITTER": f"{PER_HOUR}/hour; {PER_DAY}/day; {PER_DAY}/date"},
    )
    house.publish(FOLLOW)
    house.enroll("follow", friends(house, *CROWD))
    while house.clock.now() < START + DAYS * DAY - MINUTE:
        limiter.__init__()  # type: ignore[misc]
        house.pass_time(2 * HOUR, step=timedelta(minutes=15))

    stamps = [one.t_scaled for one in house.accepted()]
    largest = (rolling_most(stamps, HOUR), rolling_most(stamps, DAY))
    utilisation = sum(at < START + DAYS * DAY for at in stamps) / (PER_DAY * DAYS)
    with capsys.disabled():
        print(f"\nsoak: most in an hour {largest[0]}, most in a day {largest[1]}, used {utilisation:.0%}")
    assert largest == (PER_HOUR, PER_DAY)
    assert utilisation >= 0.95, "safety is not bought with idleness"
    assert [one.peak.over for one in audit_caps(house.ctx, None)] == [0, 0, 0]
