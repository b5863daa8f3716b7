"""Connecting an account: only its own tokens are stored, an answer counts once, and what waited goes on without a burst."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from outreach.errors import ConfigurationError, UsageError
from outreach.models import accounts
from outreach.models.base import Database
from outreach.runtime.authorize import GOOD_FOR_SECONDS, NotConnected
from outreach.runtime.connect import Connected
from outreach.runtime.control import set_account
from outreach.runtime.refresh import refresh
from outreach.simulator import id_of_handle
from outreach.vault import DEVELOPMENT
from tests.integration.connect_support import (
    VALUES,
    account,
    ask,
    come_back,
    connect_as,
    decide,
    told,
)
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
    open_house,
    rolling_most,
    roomy_account,
    sql,
)
from tests.stage import House

pytestmark = pytest.mark.servers
PEOPLE = [f"p{n}" for n in range(8)]
OWN_KEY = "k" * 43
LOST = "UPDATE account SET state = 'needs_reauth', state_reason = 'reconnect the account: x', access_token = 'v1:none:dead', refresh_token = NULL"


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    """Two accounts that the provider knows; neither is here yet, but the app is."""
    found = open_house(
        db,
        tmp_path,
        PEOPLE,
        our_accounts=("we", "us"),
        webhooks=False,
        world={"token_lifetime_s": 30 * 86400.0},
        keys=OWN_KEY,
    )
    found.db.run(
        lambda tx: accounts.put_app(
            tx, {"name": "sim", "channel": "twitter", "client_id": "sim-client", "client_secret": None, "consumer_secret": None, "caps": {}, "now": found.clock.now()}
        )
    )  # fmt: skip
    return found


def refused(answer: Connected | NotConnected) -> str:
    assert isinstance(answer, NotConnected)
    return answer.reason


def stored(house: House) -> str:
    """All that the database holds, but for the account's own row."""
    tables = house.db.read("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'account'")  # fmt: skip
    return "".join(str(house.db.read(f"SELECT t::text AS whole FROM {row['relname']} t")) for row in tables)


# --- a new account -------------------------------------------------------------------------------------------


def test_a_new_account_is_made_of_what_the_provider_says_of_it(house: House) -> None:
    answer = connect_as(house)
    assert isinstance(answer, Connected)
    row = account(house)
    assert (answer.new, answer.missing, answer.state) == (True, [], "ok")
    assert (row["external_id"], row["handle"], row["zone"]) == (id_of_handle("we"), "we", "UTC")
    opened = house.opened(row)
    assert opened.access_token.startswith("sim-access-")
    assert str(opened.refresh_token).startswith("sim-refresh-")
    assert "follows.write" in row["scopes"] and "offline.access" in row["scopes"]
    assert [kind for kind, _ in told(house, "AccountAdded", "AccountConnected")] == ["AccountAdded", "AccountConnected"]  # fmt: skip


def test_no_more_is_asked_for_than_the_account_will_use(house: House) -> None:
    values = {"base_url": "http://127.0.0.1:1", "zone": "UTC", "caps": {}, "pace": {}, "follow_permitted": False, "dm_mode": "inbound_first", "mode_reason": None}  # fmt: skip
    assert "follows.write" not in ask(house, values=values).scopes
    assert "follows.write" in ask(house).scopes


def test_neither_state_nor_verifier_nor_code_nor_token_is_written_anywhere_else(house: House) -> None:
    begun = ask(house)
    said = decide(house, begun)
    assert isinstance(come_back(house, said), Connected)
    opened, everything = house.opened(account(house)), stored(house)
    secret = said["state"].partition(".")[2]
    for word in (secret, said["code"], opened.access_token, opened.refresh_token):
        assert word and word not in everything


def test_who_a_new_account_must_be_can_be_said(house: House) -> None:
    assert refused(connect_as(house, "us", handle="we")) == "wrong_account"
    assert refused(connect_as(house, "us", external_id=id_of_handle("we"))) == "wrong_account"
    assert house.db.read("SELECT 1 FROM account") == []
    assert isinstance(connect_as(house, "us", handle="@US"), Connected)


def test_an_account_that_is_here_is_not_connected_under_a_second_name(house: House) -> None:
    assert isinstance(connect_as(house), Connected)
    assert refused(connect_as(house, "we", name="we-again")) == "taken"
    assert [row["name"] for row in house.db.read("SELECT name FROM account")] == ["we"]


def test_nothing_is_asked_of_a_real_provider_before_the_instance_is_live(house: House) -> None:
    roomy_account(house, base_url="https://api.x.com")
    with pytest.raises(ConfigurationError, match="simulated"):
        ask(house)
    sql(house, "UPDATE instance SET live_confirmed_at = %s, live_confirmed_by = 'eva'", house.clock.now())
    assert ask(house).url.startswith("https://x.com/i/oauth2/authorize?response_type=code&")


def test_a_real_provider_s_credentials_are_not_stored_under_the_key_that_everybody_knows(
    house: House,
) -> None:
    sql(house, "UPDATE instance SET live_confirmed_at = %s, live_confirmed_by = 'eva'", house.clock.now())
    everybodys = replace(house.ctx, settings=replace(house.ctx.settings, keys=f"{DEVELOPMENT},{OWN_KEY}"))
    values = {**VALUES, "base_url": "https://api.x.com"}
    with pytest.raises(ConfigurationError, match="everybody knows"):
        ask(replace(house, ctx=everybodys), values=values)
    assert ask(house, values=values).url.startswith("https://x.com/")


def test_a_question_that_lacks_something_is_not_asked(house: House) -> None:
    lacking: dict[str, dict[str, Any]] = {
        "which developer app": {"app_name": ""},
        "cannot be connected": {"channel": "linkedin"},
        "another client id": {"secrets": {"client_id": "another"}},
    }
    for said, changes in lacking.items():
        with pytest.raises(UsageError, match=said):
            ask(house, **changes)
    assert house.db.read("SELECT 1 FROM account_authorization") == []


# --- an answer counts once -----------------------------------------------------------------------------------


def test_the_same_answer_again_is_refused_and_changes_nothing(house: House) -> None:
    said = decide(house, ask(house))
    assert isinstance(come_back(house, said), Connected)
    before = account(house)
    assert refused(come_back(house, said)) == "used"
    assert refused(come_back(house, {**said, "code": "another"})) == "used"
    assert account(house) == before


def test_an_answer_is_used_up_even_when_nothing_came_of_it(house: House) -> None:
    said = decide(house, ask(house))
    assert refused(come_back(house, {**said, "code": "made up"})) == "refused"
    assert refused(come_back(house, said)) == "used"
    assert house.db.read("SELECT 1 FROM account") == []


def test_an_answer_that_comes_too_late_is_refused(house: House) -> None:
    begun = ask(house)
    house.clock.advance(timedelta(seconds=GOOD_FOR_SECONDS))
    assert refused(come_back(house, decide(house, begun))) == "expired"
    assert house.db.read("SELECT 1 FROM account") == []


def test_an_answer_to_a_question_that_nobody_asked_spoils_no_other(house: House) -> None:
    said = decide(house, ask(house))
    for state in ("", "1", "1.", "x.y", "99.abc", "1.abc", "9" * 30 + ".a", "1.²"):
        assert refused(come_back(house, {"state": state, "code": said["code"]})) == "unknown"
    assert isinstance(come_back(house, said), Connected)


def test_the_state_of_one_question_does_not_open_another(house: House) -> None:
    first, second = decide(house, ask(house)), decide(house, ask(house, "us"), "us")
    crossed = f"{second['state'].partition('.')[0]}.{first['state'].partition('.')[2]}"
    assert refused(come_back(house, {"state": crossed, "code": first["code"]})) == "unknown"


def test_a_code_that_somebody_else_caught_is_worth_nothing_without_the_verifier(house: House) -> None:
    """Its thief begins a question of their own and answers it with our owner's code."""
    caught = decide(house, ask(house))
    theirs = ask(house, "us")
    mine = decide(house, theirs, "us")
    assert refused(come_back(house, {"state": mine["state"], "code": caught["code"]})) == "refused"
    assert house.db.read("SELECT 1 FROM account") == []


def test_an_owner_who_says_no_is_believed(house: House) -> None:
    assert refused(come_back(house, decide(house, ask(house), deny="1"))) == "denied"
    row = house.db.read("SELECT state, detail FROM account_authorization")[0]
    assert row == {"state": "refused", "detail": "the owner said no"}


def test_an_exchange_without_an_answer_is_not_tried_again(house: House) -> None:
    for tried, do in enumerate(("hang", "reset", "error", "garble"), start=1):
        said = decide(house, ask(house))
        fault(house, "token", do, times=1, **({} if do == "garble" else {"accepted": True}))
        assert refused(come_back(house, said)) == "refused"
        assert refused(come_back(house, said)) == "used"
        assert [deed.what for deed in house.deeds()].count("connected") == tried
    assert house.db.read("SELECT 1 FROM account") == []


def test_tokens_whose_owner_cannot_be_told_are_given_back(house: House) -> None:
    said = decide(house, ask(house))
    fault(house, "users.me", "error", status=503)
    assert refused(come_back(house, said)) == "refused"
    assert [deed.what for deed in house.deeds()] == ["connected", "revoked", "revoked"]
    assert house.db.read("SELECT 1 FROM account") == []


# --- an account that is here ---------------------------------------------------------------------------------


def test_tokens_of_somebody_else_are_refused_given_back_and_not_stored(house: House) -> None:
    roomy_account(house)
    sql(house, LOST)
    before = account(house)
    answer = connect_as(house, "us")
    assert refused(answer) == "wrong_account"
    assert isinstance(answer, NotConnected) and "@us" in answer.message and "@we" in answer.message
    assert account(house) == before
    assert [deed.what for deed in house.deeds()] == ["connected", "revoked", "revoked"]


def test_a_reconnected_account_goes_on_with_all_that_waited_and_without_a_burst(house: House) -> None:
    roomy_account(
        house, caps=NO_CAPS | {"FOLLOW_ON_TWITTER": "3/hour"}, pace=NO_PACE | {"FOLLOW_ON_TWITTER": 60}
    )
    house.publish(FOLLOW)
    sql(house, LOST)
    leads = house.enroll("follow", friends(house, *PEOPLE))
    house.pass_time(3 * HOUR, step=10 * MINUTE)
    assert {(house.lead(i)["waiting_on"], house.lead(i)["waiting_detail"]) for i in leads} == {("account", "account.needs_reauth")}  # fmt: skip
    answer = connect_as(house)
    assert isinstance(answer, Connected)
    assert (answer.new, answer.released, answer.state) == (False, 8, "ok")
    house.pass_time(4 * HOUR, step=5 * MINUTE)
    starts = [one.t_scaled for one in house.accepted()]
    assert len(starts) == 8
    assert rolling_most(starts, HOUR) == 3
    assert rolling_most(starts, MINUTE) == 1
    assert told(house) == [("AccountResumed", "needs_reauth")]


def test_new_tokens_lift_nothing_that_they_do_not_mend(house: House) -> None:
    roomy_account(house)
    for state in ("paused", "restricted", "no_credits", "tier"):
        sql(house, "UPDATE account SET state = %s, state_reason = 'why', access_token = 'v1:none:old'", state)
        answer = connect_as(house)
        assert isinstance(answer, Connected)
        assert (answer.state, account(house)["access_token"] != "v1:none:old") == (state, True)
    assert told(house) == []


def test_a_refresh_of_the_old_tokens_that_comes_back_later_writes_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    account_id = roomy_account(house)
    provider = house.ctx.providers["twitter"]
    refreshed = provider.refresh

    def slowly(*args: object, **options: object) -> object:
        answer = refreshed(*args, **options)  # type: ignore[arg-type]
        assert isinstance(connect_as(house), Connected)
        return answer

    monkeypatch.setattr(provider, "refresh", slowly)
    refresh(house.ctx, account_id)
    newest = house.simulator.tokens._access
    assert list(newest)[-1] == house.opened(account(house)).access_token
    assert account(house)["refresh_fence"] is None


def test_a_refusal_of_the_old_token_does_not_stop_the_new_one(house: House) -> None:
    """A call under way with the old token is refused after the account was connected anew."""
    roomy_account(house)
    house.publish(WRITE)
    fault(house, "dm.send", "refuse", problem="unauthorized", times=1)
    provider = house.ctx.providers["twitter"]
    done: list[int] = []
    execute = provider.execute

    def meanwhile(call: object, may_begin: object) -> object:
        if not done:
            done.append(1)
            house.clock.advance(timedelta(seconds=1))
            assert isinstance(connect_as(house), Connected)
        return execute(call, may_begin)  # type: ignore[arg-type]

    provider.execute = meanwhile  # type: ignore[method-assign,assignment]
    house.enroll("write", friends(house, "p0"))
    house.pass_time(MINUTE)
    assert (account(house)["state"], told(house)) == ("ok", [])
    assert acts(house) == [("dm", "p0")]


def test_a_pause_outlives_a_refresh_and_a_refusal_that_was_under_way(house: House) -> None:
    roomy_account(house)
    house.publish(WRITE)
    fault(house, "dm.send", "refuse", problem="unauthorized", times=1)
    provider = house.ctx.providers["twitter"]
    execute = provider.execute

    def paused_meanwhile(call: object, may_begin: object) -> object:
        set_account(house.ctx, "we", "holidays", "eva")
        return execute(call, may_begin)  # type: ignore[arg-type]

    provider.execute = paused_meanwhile  # type: ignore[method-assign,assignment]
    house.enroll("write", friends(house, "p0"))
    house.pass_time(HOUR, step=10 * MINUTE)
    assert (account(house)["state"], acts(house)) == ("paused", [])
    assert told(house) == [("AccountStopped", "paused")]
