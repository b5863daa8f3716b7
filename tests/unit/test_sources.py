"""Policy is data: every rule of a pack has a document, an address and a day, and old ones are said to be old."""

import json
from datetime import UTC, date, datetime, timedelta

import pytest

from outreach.cli import run
from outreach.compliance import sources
from outreach.compliance.packs import BASE, PACK_OF, X
from outreach.compliance.policy import sender_rule
from outreach.compliance.verdicts import RULES
from outreach.engine.kinds import Channel


def at_noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


def test_every_kind_of_every_pack_rests_on_a_document_with_an_address_and_a_day() -> None:
    for pack in PACK_OF.values():
        found = sources.SOURCES[pack.name]
        assert {kind for source in found for kind in source.kinds} == {kind.value for kind in pack.automation}
        for source in found:
            assert source.url.startswith("https://") and source.title and source.says.endswith(".")
            assert source.read <= date(2100, 1, 1)


def test_every_way_to_run_by_itself_names_the_rule_that_stands_against_it() -> None:
    for lane in sources.LANES.values():
        assert lane.rule in RULES
        assert (lane.otherwise == "yours") == (RULES[lane.rule].decision.value == "hand_over")


def test_a_pack_is_as_old_as_the_source_that_nobody_has_read_for_longest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from dataclasses import replace

    old = replace(sources.SOURCES["x"][1], read=date(2026, 1, 1))
    monkeypatch.setitem(sources.SOURCES, "x", (sources.SOURCES["x"][0], old))
    assert sources.read_on(X) == date(2026, 1, 1)


def test_a_pack_warns_after_180_days_and_not_before() -> None:
    day = at_noon(sources.read_on(X))
    assert not sources.is_old(X, day + timedelta(days=180))
    assert sources.is_old(X, day + timedelta(days=181))
    assert "181 days ago" in sources.warning(X, day + timedelta(days=181))
    assert [pack.name for pack in sources.old_packs(day + timedelta(days=181), [Channel.TWITTER])] == ["x"]
    assert sources.old_packs(day, list(Channel)) == []


def test_who_stands_still_is_named_by_the_rule_that_the_gate_would_name() -> None:
    assert sender_rule("ok", "ok") is None
    assert sender_rule("no_credits", "paused") == "app.no_credits"
    assert sender_rule("ok", "disconnected") == "account.disconnected"
    assert (sender_rule("ok", "asleep"), sender_rule("asleep", "ok")) == ("account.stopped", "app.stopped")


# --- policy show ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channel", ["twitter", "linkedin", "email", "xmtp"])
def test_a_pack_is_shown_whole_without_a_database(channel: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["policy", "show", channel]) == 0
    text = capsys.readouterr().out
    pack = PACK_OF[Channel(channel)]
    assert f"pack {pack.name}, version {pack.version}" in text
    for kind in pack.automation:
        assert kind.value in text
    for source in sources.SOURCES[pack.name]:
        assert source.url in text and str(source.read) in text
    assert ("no adapter" in text) == (channel != "twitter")


def test_a_pack_as_json_says_lane_reason_and_override_of_every_action(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["policy", "show", "twitter", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    dm, follow, unfollow = found["actions"]
    assert (dm["lane"], dm["otherwise"], dm["rule"]) == ("auto", "yours", "x.dm.inbound_first")
    assert dm["reason"] == RULES["x.dm.inbound_first"].meaning and "opt_in" in dm["override"]
    assert (follow["rule"], unfollow["rule"]) == ("x.follow.not_permitted", "x.follow.not_permitted")
    assert {rule["rule"] for rule in found["rules"]} == {"x.dm.inbound_first", "x.follow.not_permitted"}
    assert len(found["base"]["rules"]) == sum(1 for rule in RULES.values() if rule.pack == BASE.name)
    assert run(["policy", "show", "--json"]) == 0
    assert [pack["pack"] for pack in json.loads(capsys.readouterr().out)] == [
        "x",
        "linkedin",
        "xmtp",
        "email",
    ]


def test_a_channel_that_is_none_brings_up_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["policy", "show", "twiter"]) == 2
    assert "twitter" in capsys.readouterr().err


def test_an_old_pack_warns_on_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "OLD_AFTER", timedelta(days=-100_000))
    assert run(["policy", "show", "linkedin", "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["old"] is True
    assert shown.err.count("warning: policy pack") == 1 and "linkedin" in shown.err
