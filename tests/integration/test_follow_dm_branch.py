"""The main story on one thread: follow, write, branch on what they do. Real Postgres, the simulator as X."""

from datetime import timedelta
from pathlib import Path

import pytest

from outreach.models.base import Database
from tests.stage import House, build

pytestmark = pytest.mark.servers

SEQUENCE = """
sequence: story
variables: {first_name: there}
start: follow
actions:
  follow:
    do: FOLLOW_ON_TWITTER
    next:
      - {on: FOLLOWED_BACK, to: hello}
      - {on: NOT_FOLLOWED_BACK, after: 2d, to: unfollow}
  hello:
    do: SEND_TWITTER_DM
    message: "Hi {{ first_name }}. {{ opt_out }}"
    next: check
  check:
    do: CHECK_FOR_REPLY
    next:
      - {on: POSITIVE_REPLY, to: thanks}
      - {on: REPLIED, to: END}
      - {on: NOT_REPLIED, after: 3d, to: unfollow}
  thanks: {do: SEND_TWITTER_DM, message: "Thank you! {{ opt_out }}"}
  unfollow: {do: UNFOLLOW_ON_TWITTER}
"""


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    people = [{"handle": name, "persona": "silent"} for name in ("ann", "bob", "cid")]
    found = build(db, tmp_path, people=people)
    found.account()
    found.publish(SEQUENCE)
    return found


def kinds(house: House) -> list[tuple[str, str]]:
    return [(a.kind, a.recipient) for a in house.accepted()]


def test_a_follow_back_leads_to_a_message_and_a_positive_reply_to_thanks(house: House) -> None:
    ann = house.person("ann", basis="legitimate_interest")
    house.says("ann", "Hello, I saw your talk")
    house.run()
    (lead,) = house.enroll("story", [ann])
    assert [a.kind for a in house.accepted()] == ["follow"]
    house.simulator.acts.follow_back(
        house.clock.now(), house.accepted()[0].recipient, house.accepted()[0].account
    )
    house.run()
    house.pass_time(timedelta(minutes=2))
    assert [a.kind for a in house.accepted()] == ["follow", "dm"]
    house.says("ann", "Yes please, sounds great!")
    house.pass_time(timedelta(minutes=2))
    assert [a.kind for a in house.accepted()] == ["follow", "dm", "dm"]
    assert house.lead(lead)["state"] == "finished", house.lead(lead)
