"""Forms: signed, taken once, and person, permission and lead together or not at all. Every refusal has a name."""

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from outreach.models.base import Database
from outreach.runtime.doors import form_secret
from outreach.runtime.forms import MOST_BYTES, sign
from outreach.runtime.optout import opt_out
from outreach.web.server import create_app
from tests.integration.law_support import DAY, MINUTE, acts, open_house, race, roomy_account
from tests.integration.test_entries import Listening, leads
from tests.stage import House

pytestmark = pytest.mark.servers
URL = "/forms/welcome/website"
WELCOME = """
sequence: welcome
entry: {on: form, form: website, source: the form on example.com, cool_off: 30d}
requires: [first_name]
actions:
  hello: {do: SEND_TWITTER_DM, message: "Hello {{ first_name }} of {{ company }}. {{ opt_out }}", next: END}
variables: {company: your company}
"""
ANN = {"name": "Ann Lee", "twitter": "@ann", "email": "ann@example.test", "company": "{{7*7}}"}


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    found = open_house(db, tmp_path)
    roomy_account(found)
    found.publish(WELCOME)
    return found


@pytest.fixture
def web(house: House) -> Iterator[TestClient]:
    with TestClient(create_app(Listening(house))) as client:
        yield client


def post(
    house: House, web: TestClient, fields: Any = ANN, *, at: timedelta = timedelta(0), **change: Any
) -> Any:
    """Post as a server of our customer would; `change` says what goes wrong."""
    body = change.get("body") or json.dumps(fields).encode()
    stamp = str(int((house.clock.now() + at).timestamp()))
    secret = change.get("secret") or form_secret(house.ctx, "welcome", "website", rotate=False).secret
    header = change.get("header", f"t={stamp},v1={sign(secret, stamp, change.get('signed', body))}")
    headers = {"content-type": change.get("kind", "application/json")}
    if header is not None:
        headers["outreach-signature"] = header
    return web.post(change.get("url", URL), content=body, headers=headers)


def nothing_kept(house: House) -> bool:
    tables = ("person", "identity", "profile", "consent", "lead", "form_submission", "import")
    return all(house.db.read(f"SELECT 1 FROM {table}") == [] for table in tables)


def test_a_form_makes_the_person_the_permission_and_the_lead(house: House, web: TestClient) -> None:
    answer = post(house, web)
    assert (answer.status_code, answer.json()) == (200, {"ok": True, "entered": True})
    house.run()
    assert acts(house) == [("dm", "ann")]
    assert (house.accepted()[0].body or "").startswith("Hello Ann of {{7*7}}."), (
        "what they wrote is text, never a template"
    )
    consents = house.db.read("SELECT channel, basis, source, proof FROM consent ORDER BY channel")
    assert [(c["channel"], c["basis"], c["source"]) for c in consents] == [
        ("email", "opt_in", "the form on example.com"), ("twitter", "opt_in", "the form on example.com")
    ]  # fmt: skip
    assert {c["proof"] for c in consents} == {"form submission 1"}
    (lead,) = leads(house)
    assert house.events(lead["id"])[0] == "LeadEnrolled"


def test_it_speaks_to_the_handle_that_the_form_named(house: House, web: TestClient) -> None:
    """Two accounts of one human: only the one in the form is covered by what they said."""
    ann = house.person("bob", basis=None)
    house.db.run(lambda tx: house.identity(tx, ann, "email", "ann@example.test"))
    post(house, web, ANN | {"email": "ann@example.test"})
    house.run()
    house.pass_time(3 * MINUTE)
    assert acts(house) == [("dm", "ann")]


def test_browsers_fields_are_read_too(house: House, web: TestClient) -> None:
    body = b"name=Ann+Lee&twitter=%40ann&email=ann%40example.test"
    answer = post(house, web, body=body, kind="application/x-www-form-urlencoded; charset=utf-8")
    assert (answer.status_code, len(leads(house))) == (200, 1)


# --- refusals ---------------------------------------------------------------------------------------------------


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"header": None}, 401, "unsigned"),
    ({"header": "t=1,v1=00"}, 401, "bad_signature"),
    ({"header": "sha256=abc"}, 401, "bad_signature"),
    ({"secret": "somebody else's"}, 401, "bad_signature"),
    ({"signed": b"{}"}, 401, "bad_signature"),
    ({"at": timedelta(seconds=-301)}, 401, "expired"),
    ({"at": timedelta(seconds=301)}, 401, "expired"),
    ({"body": b"{"}, 400, "malformed"),
    ({"body": b"[1]"}, 400, "malformed"),
    ({"body": b"[" * 50_000}, 400, "malformed"),
    ({"body": b"\xff=\xfe", "kind": "application/x-www-form-urlencoded"}, 400, "malformed"),
    ({"kind": "text/plain"}, 400, "malformed"),
    ({"fields": {"name": "Ann"}}, 422, "unusable"),
    ({"fields": ANN | {"email": "ann at example"}}, 422, "unusable"),
    ({"fields": ANN | {"company": "a\0b"}}, 422, "unusable"),
    ({"fields": ANN | {"company": "\ud800"}}, 422, "unusable"),
    ({"body": b" " * (MOST_BYTES + 1)}, 413, "too_large"),
    ({"url": "/forms/welcome/elsewhere"}, 404, "unknown"),
    ({"url": "/forms/nowhere/website"}, 404, "unknown"),
]


def test_a_refused_submission_has_a_name_and_leaves_nothing(house: House, web: TestClient) -> None:
    for change, status, error in REFUSED:
        answer = post(house, web, **change)
        assert (answer.status_code, answer.json()["error"]) == (status, error), change
        assert nothing_kept(house), change


def test_within_the_tolerance_it_is_taken(house: House, web: TestClient) -> None:
    assert post(house, web, at=timedelta(seconds=-299)).status_code == 200


def test_the_same_submission_again_is_refused_and_done_once(house: House, web: TestClient) -> None:
    assert [post(house, web).status_code for _ in range(3)] == [200, 409, 409]
    assert post(house, web).json()["error"] == "replayed"
    assert (len(leads(house)), len(house.db.read("SELECT 1 FROM consent"))) == (1, 2)


def test_many_at_once_are_one(house: House, web: TestClient) -> None:
    codes = race(*[lambda: post(house, web).status_code] * 4)
    assert sorted(codes) == [200, 409, 409, 409]
    assert (len(leads(house)), len(house.db.read("SELECT 1 FROM person"))) == (1, 1)


def test_a_rotated_secret_is_the_only_one(house: House, web: TestClient) -> None:
    old = form_secret(house.ctx, "welcome", None, rotate=False).secret
    assert form_secret(house.ctx, "welcome", None, rotate=True).secret != old
    assert post(house, web, secret=old).json()["error"] == "bad_signature"
    assert post(house, web).status_code == 200
    before = form_secret(house.ctx, "welcome", None, rotate=False)
    house.publish(WELCOME.replace("Hello", "Welcome"))
    assert form_secret(house.ctx, "welcome", None, rotate=False) == before, "publishing keeps it"


# --- who does not come in ---------------------------------------------------------------------------------------


def test_who_opted_out_is_recorded_and_not_written_to(house: House, web: TestClient) -> None:
    """Only a human with a reason lifts an opt-out, whatever a form says."""
    ann = house.person("ann", basis=None, resolved=False)
    opt_out(house.ctx, ann, reason="asked by phone", source="operator", evidence={}, actor="test")
    assert post(house, web).json() == {"ok": True, "entered": False, "why": "suppressed"}
    house.pass_time(3 * MINUTE)
    assert (leads(house), acts(house)) == ([], [])


def test_once_and_again_after_the_cool_off(house: House, web: TestClient) -> None:
    post(house, web)
    house.run()
    house.clock.advance(DAY)
    assert post(house, web).json() == {"ok": True, "entered": False, "why": "cool_off"}
    house.clock.advance(30 * DAY)
    assert post(house, web).json()["entered"] is True
    assert len(leads(house)) == 2


def test_while_a_file_is_imported_it_is_told_to_come_again(
    house: House, web: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from outreach.models import identities
    from outreach.runtime import forms

    monkeypatch.setattr(forms, "_PATIENCE", 0.05)
    held, over = threading.Event(), threading.Event()

    def importing(tx: Any) -> None:
        identities.lock_audience(tx)
        held.set()
        over.wait(10)

    other = threading.Thread(target=house.db.run, args=(importing,))
    other.start()
    held.wait(10)
    answer = post(house, web)
    over.set()
    other.join()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
    assert nothing_kept(house)
    assert post(house, web).status_code == 200
