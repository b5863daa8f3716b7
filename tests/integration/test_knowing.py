"""Knowing how things stand: one screen, whatever one has of something, and numbers that say what they count."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from outreach.audience.aliases import alias
from outreach.compliance.prices import ACTIONS, cost_of
from outreach.embedded.servers import Servers
from outreach.models.base import Database
from outreach.runtime.performance import performance_since
from outreach.runtime.standing import standing_now
from tests.integration.cli_support import Terminal, set_environment
from tests.integration.law_support import NO_PACE, fault, open_house, roomy_account
from tests.stage import House

pytestmark = pytest.mark.servers
TALK = """
sequence: talk
title: Talk to founders
actions:
  hello: {do: SEND_TWITTER_DM, message: "Hello. {{ opt_out }}", next: check}
  check:
    do: CHECK_FOR_REPLY
    next:
      - {on: POSITIVE_REPLY, to: thanks}
      - {on: NOT_REPLIED, after: 3d, to: END}
  thanks: {do: SEND_TWITTER_DM, message: "Thank you! {{ opt_out }}"}
"""
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
HANDLES = ("ann", "bob", "cid", "dot")


@pytest.fixture
def house(db: Database, tmp_path: Path) -> Iterator[House]:
    found = open_house(db, tmp_path, HANDLES)
    roomy_account(found, caps={"SEND_TWITTER_DM": "2/hour"}, pace=NO_PACE | {"SEND_TWITTER_DM": 60})
    found.publish(TALK)
    yield found


@pytest.fixture
def terminal(
    house: House, servers: Servers, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Terminal:  # fmt: skip
    """On the house's own clock, whatever this machine's says."""
    set_environment(monkeypatch, servers, database_url, tmp_path)
    monkeypatch.setattr("outreach.app.LiveClock", lambda **_: house.clock)
    return Terminal(capsys)


def contacted(house: House) -> list[int]:
    people = [house.person(handle, basis="opt_in") for handle in HANDLES]
    house.enroll("talk", people)
    house.pass_time(5 * MINUTE)
    return people


def test_the_next_send_is_when_the_full_cap_frees(house: House) -> None:
    contacted(house)
    found = standing_now(house.ctx)
    first = min(row["effect_by"] for row in house.executions() if row["effect_by"])
    assert found["next_send_at"] == first + HOUR
    (cap,) = [c for c in found["caps"] if c.used and c.scope == "account"]
    assert (cap.account, cap.cap, cap.used, cap.left, cap.next_free) == ("we", "2/hour", 2, 0, first + HOUR)
    blocked = {row["reason"]: row["leads"] for row in found["blocked"]}
    assert sum(blocked.values()) <= 2
    house.db.run(lambda tx: tx.execute("UPDATE account SET state = 'paused', state_reason = 'x'"))
    assert standing_now(house.ctx)["next_send_at"] is None


def test_a_reply_is_unanswered_until_something_goes_out_to_them(house: House) -> None:
    contacted(house)
    assert standing_now(house.ctx)["unanswered"] == 0
    for handle, text in (("ann", "Yes, tell me more!"), ("bob", "I am out of office until Monday")):
        house.says(handle, text)
        house.run()
    assert standing_now(house.ctx)["unanswered"] == 1
    house.pass_time(2 * HOUR, step=10 * MINUTE)
    assert standing_now(house.ctx)["unanswered"] == 0
    sent = [row["kind"] for row in house.executions() if row["state"] == "sent"]
    assert len(sent) >= 3


def test_today_costs_what_providers_charge_and_says_what_has_no_price(house: House) -> None:
    contacted(house)
    house.says("ann", "Yes!")
    house.run()
    cost = standing_now(house.ctx)["cost_today"]
    assert cost == {"usd": pytest.approx(2 * 0.015 + 0.010), "simulated": True, "without_price": {}}
    house.clock.advance(timedelta(days=1))
    assert standing_now(house.ctx)["cost_today"]["usd"] == 0
    assert cost_of({"SEND_EMAIL": 3}, {}).without_price == {"SEND_EMAIL": 3}
    assert all(price.usd > Decimal(0) and price.source for price in ACTIONS.values())


def test_status_draws_one_screen_and_the_same_as_json(house: House, terminal: Terminal) -> None:
    people = contacted(house)
    house.db.run(lambda tx: tx.execute("UPDATE account SET state = 'restricted', state_reason = 'locked'"))
    screen = terminal("status")
    for line in (
        "needs somebody",
        "account_needs_somebody",
        "blocked, and by what",
        "caps in use",
        "cost today",
        "next send",
    ):
        assert line in screen, line
    assert "ann" not in re.findall(r"\w+", screen)
    found = terminal.json("status")
    assert found["alerts"][0]["alert"] == "account_needs_somebody"
    assert found["accounts_in_trouble"][0]["name"] == "we"
    assert found["active"] == len(people)


def test_watching_draws_again_until_it_is_interrupted(
    house: House, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []

    def pause(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("outreach.cli.status.pause", pause)
    lines = terminal("status", "--watch", "--every", "7", "--json", code=130).splitlines()
    assert looks == [7.0, 7.0, 7.0]
    assert [json.loads(line)["instance"] for line in lines] == ["test"] * 3


def test_find_names_everything_by_what_one_has_of_it_and_what_to_type_next(
    house: House, terminal: Terminal
) -> None:
    ann = contacted(house)[0]

    def kinds(text: str) -> dict[str, dict[str, Any]]:
        return {row["what"]: row for row in terminal.json("find", text)}

    assert kinds("Ann")["person"]["next"] == f"outreach why {ann}"
    assert kinds(alias(ann))["person"]["id"] == ann
    assert kinds("founders")["sequence"]["next"] == "outreach stats talk"
    assert kinds("we")["account"]["next"] == "outreach account list"
    assert kinds("talk-")["segment"]["next"].startswith("outreach segment show talk-")
    numbered = kinds(str(ann))
    assert {"person", "lead", "execution"} <= numbered.keys()
    assert numbered["lead"]["next"] == f"outreach lead show {ann}"
    assert terminal.json("find", "100%_nothing") == []
    assert "nothing of that name" in terminal("find", "zebra")
    terminal("find", " ", code=2)


def test_why_ends_with_what_blocks_and_when_it_can_go_on(house: House, terminal: Terminal) -> None:
    people = contacted(house)
    ends = {terminal("why", str(person)).splitlines()[-1].strip() for person in people}
    assert any(end.startswith("next send: none is planned") for end in ends)
    waiting = [end for end in ends if "at the earliest" in end]
    assert waiting
    assert all("blocked by cap.account" in end for end in waiting)
    path = terminal("why", str(people[0]))
    assert "cause=start" in path
    assert "=-" not in path
    assert "+00:00" not in path
    house.clock.advance(3 * HOUR)
    ends = {terminal("why", str(person)).splitlines()[-1].strip() for person in people}
    assert any(end.startswith("next send: now") for end in ends)
    assert not any("at the earliest" in end for end in ends)
    told = terminal.json("why", str(people[-1]))
    assert [lead["earliest"] for lead in told["leads"]] == [told["now"]]


def test_health_counts_what_providers_answered_and_how_long_things_took(
    house: House, terminal: Terminal
) -> None:
    fault(house, "dm.send", "rate_limit", seconds=60, times=1)
    people = contacted(house)
    house.pass_time(HOUR, step=5 * MINUTE)
    house.says("ann", "Yes, tell me more!")
    house.run()
    house.pass_time(2 * HOUR, step=5 * MINUTE)
    found = performance_since(house.ctx, "talk", 7)
    (twitter,) = found.providers
    sent = sum(row["state"] == "sent" for row in house.executions())
    assert (twitter.sent, twitter.rate_limited, twitter.calls) == (sent, 1, sent + 1)
    assert twitter.success == pytest.approx(sent / (sent + 1))
    assert found.lateness["claimed"] == sent
    assert (found.replies["replies"], found.replies["answered"]) == (1, 1)
    assert found.replies["theirs"] > 0
    house.db.run(lambda tx: tx.execute("UPDATE lead SET waiting_on = 'missing_variable', entered_at = entered_at - interval '4 days'"
                                       " WHERE person_id = %s AND state = 'active'", (people[1],)))  # fmt: skip
    shown = terminal("stats", "--health")
    assert "median" in shown
    assert "missing_variable" in shown
    assert terminal.json("stats", "talk", "--health")["providers"][0]["rate_limited"] == 1
    terminal("stats", code=2)
    terminal("stats", "tlak", "--health", code=2)


def test_whether_anybody_hears_us_can_be_tried(
    house: House, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal("tell", code=2)
    assert "ALERT_URL" in terminal.err
    monkeypatch.setenv("ALERT_URL", "https://10.0.0.7/hook")
    monkeypatch.setenv("HEARTBEAT_URL", "http://127.0.0.1:1/secret-path")
    rows = {row["url"]: row["answer"] for row in terminal.json("tell", code=1)}
    assert "no public address" in rows["ALERT_URL"]
    assert "refused" in rows["HEARTBEAT_URL"].lower()
    assert "secret-path" not in terminal.out + terminal.err
    assert "secret-path" not in terminal("doctor")
    terminal("status")
