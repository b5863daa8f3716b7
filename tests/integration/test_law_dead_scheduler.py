"""The scheduler was dead for ten days, over New Year, or over the end of summer time: nothing is lost, doubled or bursts out.

Workers and web process live on meanwhile: what comes in is answered. What the sends of the days afterwards owe to caps, pace,
window and local dates is counted from the provider's own log, with a calendar that is not the engine's.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from outreach.models import health
from outreach.models.base import Database
from outreach.runtime.tick import tick
from tests.integration.law_support import (
    DAY,
    HOUR,
    MINUTE,
    NO_CAPS,
    friends,
    open_house,
    rolling_most,
    roomy_account,
)
from tests.stage import House

pytestmark = pytest.mark.servers
PEOPLE = [f"p{n}" for n in range(7)]
STEP = 20 * MINUTE
CAPS = {"FOLLOW_ON_TWITTER": (2, 3), "SEND_TWITTER_DM": (2, 3)}
KINDS = {"follow": "FOLLOW_ON_TWITTER", "dm": "SEND_TWITTER_DM"}
SEQUENCE = """
sequence: patient
window: {days: [mon, tue, wed, thu, fri], from: "09:00", until: "18:00", zone: account}
actions:
  follow: {do: FOLLOW_ON_TWITTER, next: [{to: hello, after: 2d}]}
  hello: {do: SEND_TWITTER_DM, message: "Hello. {{ opt_out }}", max_lateness: 6d, next: listen}
  listen:
    do: CHECK_FOR_REPLY
    next:
      - {on: REPLIED, to: thanks}
      - {on: NOT_REPLIED, after: 3d, to: again}
  thanks: {do: SEND_TWITTER_DM, message: "Thank you. {{ opt_out }}"}
  again: {do: SEND_TWITTER_DM, message: "One more word. {{ opt_out }}"}
"""


@pytest.fixture(
    params=[
        ("Europe/Berlin", datetime(2026, 12, 21, 12, tzinfo=UTC)),
        ("America/New_York", datetime(2026, 10, 26, 15, tzinfo=UTC)),
    ],
    ids=["new-year", "fall-back"],
)
def house(db: Database, tmp_path: Path, request: pytest.FixtureRequest) -> House:
    """On a Monday morning, local time."""
    zone, monday = request.param
    found = open_house(db, tmp_path, PEOPLE, poll_seconds=3600)
    found.clock.advance(monday - found.clock.now())
    caps = {kind: f"{hour}/hour;{date}/date" for kind, (hour, date) in CAPS.items()}
    roomy_account(found, zone=zone, caps=NO_CAPS | caps, pace=dict.fromkeys(CAPS, STEP.total_seconds()))
    found.publish(SEQUENCE)
    return found


def zone_of(house: House) -> ZoneInfo:
    return ZoneInfo(house.db.read("SELECT zone FROM account")[0]["zone"])


def live(house: House, until: datetime) -> None:
    """A tick every twenty minutes by day, from before the window opens until after it closes, and none at night."""
    zone = zone_of(house)
    while house.clock.now() < until and house.db.read("SELECT 1 FROM lead WHERE state = 'active' LIMIT 1"):
        local = house.clock.now().astimezone(zone)
        by_day = local.weekday() < 5 and time(8) <= local.time() < time(19)
        house.clock.advance(STEP if by_day else _to_eight(local))
        house.tick()


def _to_eight(local: datetime) -> timedelta:
    """To the next eight o'clock of the place, by a calendar of our own."""
    day = local.date() if local.time() < time(8) else local.date() + DAY
    return datetime.combine(day, time(8), local.tzinfo).astimezone(UTC) - local.astimezone(UTC)


def local_days(house: House) -> Iterator[tuple[str, datetime]]:
    """(action kind, local time) of everything that the provider took."""
    zone = zone_of(house)
    for one in house.accepted():
        yield KINDS[one.kind], one.t_scaled.astimezone(zone)


def test_ten_days_without_a_scheduler(house: House) -> None:
    leads = house.enroll("patient", friends(house, *PEOPLE))
    monday, zone = house.clock.now(), zone_of(house)
    live(house, monday + 3 * DAY)
    died = house.clock.now()
    before = Counter(one.kind for one in house.accepted())
    assert (before["follow"], before["dm"] > 0) == (7, True), (
        "some are on their way in every part of the sequence"
    )

    # Ten days without a tick. Somebody answers on the second Monday, while nobody sweeps.
    answering = next(one for one in house.accepted() if one.kind == "dm")
    handle = next(u.handle for u in house.simulator.network.users.values() if u.id == answering.recipient)
    house.clock.advance(monday + 7 * DAY - house.clock.now())
    house.says(handle, "tell me more")
    house.run()
    assert [str(one.body)[:9] for one in house.accepted()][-1] == "Thank you"
    house.clock.advance(died + 10 * DAY - house.clock.now())
    house.run()
    assert len(house.accepted()) == sum(before.values()) + 1
    revived = house.clock.now()
    assert zone.utcoffset(revived) != zone.utcoffset(monday) or revived.year > monday.year

    # No more than one per kind may start before the next tick, however many are due.
    assert house.db.read("SELECT count(*) AS n FROM lead WHERE due_at <= %s", (revived,))[0]["n"] >= 6
    hinted = [hint for hint in tick(house.ctx) if hint.actor == "advance_lead"]
    house.hints.extend(hinted)
    house.run()
    assert len(house.accepted()) <= sum(before.values()) + 3

    live(house, revived + 14 * DAY)
    _caps_pace_and_window_held(house)
    _nothing_is_lost(house, leads)
    _nothing_is_doubled(house)
    _lateness_was_applied(house, revived)


def _nothing_is_lost(house: House, leads: list[int]) -> None:
    assert {house.lead(lead)["state"] for lead in leads} == {"finished"}
    assert house.db.run(lambda tx: health.unexplained(tx, house.clock.now(), MINUTE)) == []
    assert {row["state"] for row in house.executions()} == {"sent", "skipped"}


def _nothing_is_doubled(house: House) -> None:
    told = Counter((one.kind, one.recipient, one.body) for one in house.accepted())
    assert set(told.values()) == {1}
    assert sum(told.values()) == sum(row["state"] == "sent" for row in house.executions())


def _lateness_was_applied(house: House, revived: datetime) -> None:
    """What was due more than six days before somebody looked again is passed over; the rest has been sent in its time."""
    limited = [row for row in house.executions() if row["late_at"] is not None]
    assert {row["state"] for row in limited} == {"sent", "skipped"}
    for row in limited:
        if row["state"] == "sent":
            assert row["sent_at"] < row["late_at"]
        else:
            assert (row["reason"], row["late_at"] <= row["settled_at"]) == ("late", True)
            assert row["settled_at"] <= max(row["late_at"], revived) + DAY


def _caps_pace_and_window_held(house: House) -> None:
    sends = list(local_days(house))
    for kind, (hourly, daily) in CAPS.items():
        at = sorted(moment.astimezone(UTC) for each, moment in sends if each == kind)
        dates = Counter(moment.date() for each, moment in sends if each == kind)
        assert rolling_most(at, HOUR) <= hourly
        assert max(dates.values()) <= daily
        assert max(dates.values()) == daily, "the cap was worth something"
        assert min(later - earlier for earlier, later in pairwise(at)) >= STEP
    for _, moment in sends:
        assert moment.weekday() < 5
        assert time(9) <= moment.time() < time(18)
