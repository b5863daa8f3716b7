"""The owner of an account at the provider's page, and what the tests of connecting ask the database."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from outreach.models.base import Row
from outreach.runtime.authorize import Begun, NotConnected, Wanted, begin
from outreach.runtime.connect import Connected, connect
from outreach.simulator import InProcessTransport
from tests.integration.law_support import NO_CAPS
from tests.stage import House

BACK = "http://127.0.0.1:8451/oauth/twitter/callback"
VALUES: Mapping[str, Any] = {
    "base_url": "http://127.0.0.1:1", "zone": "UTC", "caps": dict(NO_CAPS), "pace": {}, "follow_permitted": True, "dm_mode": "inbound_first",
    "mode_reason": "a test",
}  # fmt: skip
Said = dict[str, str]


def ask(house: House, name: str = "we", **changes: Any) -> Begun:
    """As the command line does."""
    wanted: dict[str, Any] = {
        "channel": "twitter",
        "name": name,
        "redirect_uri": BACK,
        "app_name": "sim",
        "values": VALUES,
    }
    return begin(house.ctx, Wanted(**{**wanted, **changes}), by="eva")


def decide(house: House, begun: Begun, who: str = "we", **form: str) -> Said:
    """The owner agrees as `who`, or (deny="1") does not; what their browser is sent back with."""
    with httpx.Client(
        transport=InProcessTransport(house.simulator), base_url="http://127.0.0.1:1"
    ) as browser:
        return answer_page(browser, begun.url, who, **form)


def answer_page(browser: httpx.Client, url: str, who: str, **form: str) -> Said:
    asked = urlsplit(url)
    page = browser.get(f"{asked.path}?{asked.query}")
    assert page.status_code == 200, page.text
    reply = browser.post(asked.path, data={**dict(parse_qsl(asked.query)), "as": who, **form})
    assert reply.status_code == 302, reply.text
    return dict(parse_qsl(urlsplit(reply.headers["location"]).query))


def come_back(house: House, said: Said) -> Connected | NotConnected:
    return connect(house.ctx, said["state"], said.get("code"), said.get("error"))


def connect_as(house: House, who: str = "we", name: str = "we", **changes: Any) -> Connected | NotConnected:
    """The whole way."""
    return come_back(house, decide(house, ask(house, name, **changes), who))


def account(house: House, name: str = "we") -> Row:
    return house.db.read("SELECT * FROM account WHERE name = %s", (name,))[0]


def told(house: House, *kinds: str) -> list[tuple[str, Any]]:
    """Events of accounts, with what they say: the state and whether a human is needed, the state that ended, or nothing."""
    wanted = list(kinds or ("AccountStopped", "AccountResumed"))
    rows = house.db.read("SELECT kind, payload FROM event WHERE kind = ANY(%s) ORDER BY id", (wanted,))
    return [(row["kind"], row["payload"].get("reason") or row["payload"].get("was")) for row in rows]
