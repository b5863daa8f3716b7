"""How an account stands: one event per transition, leads that say why they wait, and an account that is given back."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from outreach.errors import UsageError
from outreach.models import alerts, reports
from outreach.models.accounts import GAVE_UP
from outreach.models.base import Database
from outreach.providers.base import AccountStopped
from outreach.runtime.connect import Connected
from outreach.runtime.control import set_account
from outreach.runtime.disconnect import disconnect, purge
from outreach.runtime.examine import examine
from outreach.runtime.refresh import refresh
from outreach.runtime.settle import settle
from outreach.runtime.tick import tick
from outreach.simulator import id_of_handle
from tests.integration.connect_support import account, ask, come_back, connect_as, decide, told
from tests.integration.law_support import (
    FOLLOW,
    HOUR,
    MINUTE,
    NO_CAPS,
    NO_PACE,
    WRITE,
    acts,
    fault,
    friends,
    mend,
    open_house,
    plan,
    rolling_most,
    roomy_account,
    sql,
)
from tests.integration.test_law_accounts import begin
from tests.stage import House

pytestmark = pytest.mark.servers
PEOPLE = [f"p{n}" for n in range(6)]


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    found = open_house(
        db, tmp_path, PEOPLE, our_accounts=("we", "us"), world={"token_lifetime_s": 30 * 86400.0}
    )
    for name in ("we", "us"):
        roomy_account(found, name)
    for text in (FOLLOW, WRITE):
        found.publish(text)
    return found


def waits(house: House, leads: list[int]) -> set[tuple[str, str | None]]:
    return {(house.lead(i)["waiting_on"], house.lead(i)["waiting_detail"]) for i in leads}


# --- one transition, one event -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "scope", "rule"),
    [
        ("restricted", "account", "account.restricted"),
        ("tier", "account", "account.tier"),
        ("needs_reauth", "account", "account.needs_reauth"),
        ("no_credits", "app", "app.no_credits"),
    ],
)
def test_calls_that_are_refused_together_are_one_transition_and_hold_all_leads(
    house: House, reason: Any, scope: Any, rule: str
) -> None:
    sql(house, "UPDATE account SET refresh_token = NULL")
    everybody = friends(house, *PEOPLE)
    claimed = [begin(house, one) for one in plan(house, "follow", everybody[:3], account_names=["we"])]
    for one in claimed:
        settle(
            house.ctx, one, AccountStopped(reason, scope=scope, detail="as they say", code="status 403 326")
        )
    assert told(house) == [("AccountStopped", reason)]
    house.enroll("write", everybody[3:], account_names=["we"])
    house.pass_time(HOUR, step=10 * MINUTE)
    leads = [row["id"] for row in house.db.read("SELECT id FROM lead")]
    assert (waits(house, leads), acts(house)) == ({("account", rule)}, [])
    assert told(house) == [("AccountStopped", reason)]
    (trouble,) = [row for row in reports.stopped(house.db.run(reports.accounts)) if row["name"] == "we"]
    assert trouble["needs_human"]
    assert (
        reason in trouble["state"] and "status 403 326" in trouble["reason"] and trouble["since"] is not None
    )
    assert "as they say" not in trouble["reason"], "their prose may quote what was sent, and is kept nowhere"


def test_out_of_credits_comes_back_for_every_account_of_the_app_and_without_a_burst(house: House) -> None:
    caps = NO_CAPS | {"FOLLOW_ON_TWITTER": "2/hour"}
    sql(house, "UPDATE account SET caps = %s::jsonb, pace = %s::jsonb", *map(_json, (caps, NO_PACE)))
    fault(house, "follow", "refuse", problem="no_credits")
    people = friends(house, *PEOPLE)
    house.enroll("follow", people[:3], account_names=["we"])
    house.enroll("follow", people[3:], account_names=["us"])
    house.pass_time(2 * HOUR, step=10 * MINUTE)
    mend(house)
    assert (acts(house), told(house)) == ([], [("AccountStopped", "no_credits")])
    set_account(house.ctx, "us", None, "eva")
    assert told(house)[1:] == [("AccountResumed", "no_credits")]
    house.pass_time(3 * HOUR, step=5 * MINUTE)
    assert len(acts(house)) == 6
    for name in ("we", "us"):
        ours = [one.t_scaled for one in house.accepted() if one.account == id_of_handle(name)]
        assert rolling_most(ours, HOUR) == 2


def _json(value: Any) -> str:
    import json

    return json.dumps(value)


def test_leads_of_an_account_that_stands_still_are_not_even_looked_at(house: House) -> None:
    fault(house, "follow", "refuse", problem="client_forbidden")
    leads = house.enroll("follow", friends(house, *PEOPLE), account_names=["we"])
    sql(house, "UPDATE lead SET due_at = %s, waiting_on = 'time', hinted_until = NULL", house.clock.now())
    assert [hint for hint in tick(house.ctx) if hint.actor == "advance_lead"] == []
    assert waits(house, leads) == {("account", "account.tier")}
    assert min(house.lead(i)["due_at"] for i in leads) > house.clock.now()


def test_an_operators_pause_is_not_overwritten_by_a_provider(house: House) -> None:
    (one,) = plan(house, "follow", friends(house, "p0"), account_names=["we"])
    claimed = begin(house, one)
    set_account(house.ctx, "we", "holidays", "eva")
    settle(house.ctx, claimed, AccountStopped("needs_reauth"))
    assert (account(house)["state"], account(house)["state_reason"]) == ("paused", "holidays")
    set_account(house.ctx, "we", "holidays", "eva")
    assert told(house) == [("AccountStopped", "paused")]


def test_a_pause_during_a_refresh_is_not_lifted_by_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = house.ctx.providers["twitter"]
    refreshed = provider.refresh

    def meanwhile(*args: Any) -> Any:
        set_account(house.ctx, "we", "holidays", "eva")
        return refreshed(*args)

    monkeypatch.setattr(provider, "refresh", meanwhile)
    refresh(house.ctx, account(house)["id"])
    assert (account(house)["state"], house.opened(account(house)).access_token != "token-we") == (
        "paused",
        True,
    )


def test_a_refusal_that_a_refresh_mends_needs_no_human_and_one_that_it_does_not_says_so_once(
    house: House,
) -> None:
    fault(house, "follow", "refuse", problem="unauthorized", times=1)
    house.enroll("follow", friends(house, "p0"), account_names=["we"])
    house.pass_time(MINUTE)
    house.simulator.tokens.revoke(id_of_handle("we"), house.clock.now())
    house.enroll("follow", friends(house, "p1", "p2"), account_names=["we"])
    house.pass_time(HOUR, step=10 * MINUTE)
    rows = house.db.read("SELECT payload FROM event WHERE kind = 'AccountStopped' ORDER BY id")
    assert [row["payload"]["human"] for row in rows] == [False, False, True]
    assert acts(house) == [("follow", "p0")]


def test_a_revocation_that_is_told_late_does_not_stop_the_permission_given_since(house: House) -> None:
    house.simulator.tokens.revoke(id_of_handle("we"), house.clock.now())
    happened = house.clock.now()
    house.clock.advance(timedelta(minutes=5))
    assert isinstance(connect_as(house), Connected)
    sql(
        house,
        "INSERT INTO inbound (channel, account_key, content_id, kind, account_id, raw, via, occurred_at, received_at)"
        " VALUES ('twitter', %s, 'revoked', 'account_revoked', %s, '{}', 'webhook', %s, %s)",
        id_of_handle("we"), account(house)["id"], happened, house.clock.now(),
    )  # fmt: skip
    house.tick()
    assert account(house)["state"] == "ok"
    sql(house, "UPDATE inbound SET state = 'stored', occurred_at = %s", house.clock.now())
    house.tick()
    assert account(house)["state"] == "needs_reauth"
    assert "revoked" in account(house)["state_reason"]


# --- given back ----------------------------------------------------------------------------------------------


def test_a_disconnected_account_has_no_tokens_anywhere_and_its_leads_wait_for_it(house: House) -> None:
    leads = plan_leads(house)
    given = disconnect(house.ctx, "we", by="eva")
    row = account(house)
    assert (given.revoked, row["access_token"], row["refresh_token"], row["scopes"]) == (True, "", None, None)
    assert [deed.what for deed in house.deeds() if deed.what == "revoked"] == ["revoked", "revoked"]
    house.pass_time(HOUR, step=10 * MINUTE)
    assert (waits(house, leads), acts(house)) == ({("account", "account.disconnected")}, [])
    assert told(house, "AccountStopped", "AccountDisconnected") == [("AccountStopped", "disconnected"), ("AccountDisconnected", None)]  # fmt: skip
    with pytest.raises(UsageError, match="disconnected"):
        set_account(house.ctx, "we", None, "eva")
    assert disconnect(house.ctx, "we", by="eva").revoked
    assert isinstance(connect_as(house), Connected)
    house.pass_time(10 * MINUTE)
    assert len(acts(house)) == 3


def plan_leads(house: House) -> list[int]:
    """Three leads whose follow is due in an hour."""
    house.publish(
        "sequence: later\nactions:\n  wait: {do: WAIT, for: 30m, next: follow}\n  follow: {do: FOLLOW_ON_TWITTER}\n"
    )
    return house.enroll("later", friends(house, "p0", "p1", "p2"), account_names=["we"])


def test_a_provider_that_is_away_does_not_keep_an_account(house: House) -> None:
    fault(house, "token.revoke", "error", status=503)
    given = disconnect(house.ctx, "we", by="eva")
    assert (given.revoked, account(house)["access_token"]) == (False, "")
    assert given.detail is not None and "unreachable" in given.detail


def test_a_refusal_under_way_while_an_account_is_given_back_does_not_bring_it_back(house: House) -> None:
    (one,) = plan(house, "follow", friends(house, "p0"), account_names=["we"])
    claimed = begin(house, one)
    disconnect(house.ctx, "we", by="eva")
    assert house.db.run(lambda tx: alerts.accounts_in_need(tx, GAVE_UP)) == []
    settle(house.ctx, claimed, AccountStopped("needs_reauth"))
    assert account(house)["state"] == "disconnected"
    house.pass_time(10 * MINUTE)
    assert account(house)["state"] == "disconnected"


def test_a_purge_takes_the_texts_and_leaves_the_ledger_what_was_understood_and_the_others(
    house: House,
) -> None:
    ann, bob = friends(house, "p0", "p1")
    house.enroll("write", [ann], account_names=["we"])
    house.enroll("write", [bob], account_names=["us"])
    house.says("p0", "please stop", to="we")
    house.says("p1", "tell me more", to="us")
    house.run()
    house.says("p0", "STOP", to="we")
    house.hints.clear()
    house.simulator.run_until(house.clock.now())
    house.hints.clear()
    assert house.db.read("SELECT 1 FROM inbound WHERE state = 'stored'") != []
    disconnect(house.ctx, "we", by="eva")
    gone = purge(house.ctx, account(house)["id"])
    assert (gone.bodies, gone.bodies_left, gone.messages_left) == (1, 0, 0)
    ours, theirs = (_content(house, name) for name in ("we", "us"))
    assert ours == ([], {None}, {"{}"})
    assert len(theirs[0]) == 1 and "tell me more" in theirs[1]
    assert house.db.read("SELECT suppressed_at IS NOT NULL AS yes FROM person WHERE id = %s", (ann,))[0]["yes"]  # fmt: skip
    assert sorted(acts(house)) == [("dm", "p0"), ("dm", "p1")]
    assert len(house.db.read("SELECT 1 FROM execution WHERE state = 'sent'")) == 2
    assert purge(house.ctx, account(house)["id"]).bodies == 0


def test_a_purge_keeps_what_nobody_has_understood_yet(house: House) -> None:
    """A push that waits for its time: it may yet turn out to be a send by hand, or a stop."""
    sql(
        house,
        "INSERT INTO inbound (channel, account_key, content_id, kind, account_id, text, raw, via, occurred_at, received_at, state, digest_after)"
        " VALUES ('twitter', %s, 'dm:1', 'message_out', %s, 'hi', '{}', 'webhook', %s, %s, 'waiting', %s)",
        id_of_handle("we"), account(house)["id"], house.clock.now(), house.clock.now(), house.clock.now() + HOUR,
    )  # fmt: skip
    disconnect(house.ctx, "we", by="eva")
    gone = purge(house.ctx, account(house)["id"])
    assert (gone.messages_left, _content(house, "we")[1]) == (1, {"hi"})


def _content(house: House, name: str) -> tuple[list[str], set[str | None], set[str]]:
    bodies = house.db.read(
        "SELECT b.body FROM message_body b JOIN execution e ON e.id = b.execution_id JOIN account a ON a.id = e.account_id WHERE a.name = %s",
        (name,),
    )
    inbound = house.db.read(
        "SELECT m.text, m.raw::text AS raw FROM inbound m JOIN account a ON a.id = m.account_id WHERE a.name = %s",
        (name,),
    )
    return [row["body"] for row in bodies], {row["text"] for row in inbound}, {row["raw"] for row in inbound}


# --- examined ------------------------------------------------------------------------------------------------


def test_an_account_is_who_it_says_and_may_do_what_the_pack_lets_it(house: House) -> None:
    assert isinstance(connect_as(house), Connected)
    found = examine(house.ctx, "we")
    assert found.fine and found.me is not None
    assert (found.me.external_id, found.me.handle) == (id_of_handle("we"), "we")
    by_kind = {one.kind: one for one in found.permitted}
    assert by_kind["FOLLOW_ON_TWITTER"].auto is not None and by_kind["FOLLOW_ON_TWITTER"].lacks == []
    assert "opt-in is recorded" in str(by_kind["SEND_TWITTER_DM"].auto)
    assert found.automated_label.startswith("not told") and found.credits.startswith("not told")
    assert {cap["scope"] for cap in found.caps} == {"app"}


def test_what_the_owner_did_not_permit_is_named(house: House) -> None:
    begun = ask(house)
    url = begun.url.replace("dm.write%20", "").replace("follows.write%20", "")
    answer = come_back(house, decide(house, type(begun)(**{**_values(begun), "url": url})))
    assert isinstance(answer, Connected)
    assert set(answer.missing) == {"dm.write", "follows.write"}
    found = examine(house.ctx, "we")
    assert not found.fine
    assert {one.kind: list(one.lacks or ()) for one in found.permitted}["SEND_TWITTER_DM"] == ["dm.write"]


def _values(begun: Any) -> dict[str, Any]:
    return {name: getattr(begun, name) for name in type(begun).__slots__}


def test_tokens_of_somebody_else_stop_the_account_before_it_writes_in_their_name(house: House) -> None:
    sql(
        house,
        "UPDATE account SET access_token = %s, refresh_token = NULL WHERE name = 'we'",
        house.sealed("token-us"),
    )
    found = examine(house.ctx, "we")
    assert (found.fine, found.state, found.needs_human) == (False, "needs_reauth", True)
    assert found.me is not None and found.me.handle == "us"
    assert "belong to @us" in str(found.reason)
    examine(house.ctx, "we")
    assert told(house) == [("AccountStopped", "needs_reauth")]


def test_a_token_that_is_refused_is_refreshed_once_and_asked_about_again(house: House) -> None:
    sql(house, "UPDATE account SET access_token = %s WHERE name = 'we'", house.sealed("dead"))
    assert examine(house.ctx, "we").fine
    sql(
        house,
        "UPDATE account SET access_token = %s, refresh_token = NULL WHERE name = 'we'",
        house.sealed("dead"),
    )
    found = examine(house.ctx, "we")
    assert (found.state, found.me, found.needs_human) == ("needs_reauth", None, True)
    assert [deed.what for deed in house.deeds()].count("refreshed") == 1


def test_what_stopped_credits_is_told(house: House) -> None:
    fault(house, "users.me", "refuse", problem="no_credits")
    found = examine(house.ctx, "we")
    assert (found.app_state, found.fine) == ("no_credits", False)
    assert "credits" in found.credits and not found.credits.startswith("not told")
