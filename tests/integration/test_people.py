"""Finding a person by whatever one has of them, and why two identifiers are one person."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from outreach.audience.aliases import alias
from outreach.audience.importing import Order, run_import
from outreach.audience.people import find_person, the_person, why_linked
from outreach.errors import NotFound, UsageError
from outreach.models import identities
from outreach.models.base import Database

pytestmark = pytest.mark.servers

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def audience(db: Database, tmp_path: Path) -> None:
    """Ada (1) over three rows, Adam (2), and two who share an office mailbox (3, 4)."""
    lines = [
        "name,twitter,email,linkedin",
        "Ada Lovelace,@ada,ada@example.test,",
        "Ada,,ada@example.test,in/ada-l",
        "Adam 50%,@adam,,",
        "Bo,@bo,info@example.test,",
        "Cy,@cy,info@example.test,",
    ]
    path = tmp_path / "people.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    run_import(db, Order(path=str(path), source="crm"), pepper="p", now=NOW)


@pytest.mark.parametrize(
    "who",
    [
        "1",
        alias(1),
        "@ADA",
        "https://x.com/ada?s=20",
        "Ada@Example.TEST",
        "linkedin.com/in/ada-l",
        "lovelace",
        "twitter_handle:ada",
    ],
)
def test_a_person_is_found_by_whatever_one_has_of_them(db: Database, who: str) -> None:
    assert the_person(db, who) == 1
    assert [m.alias for m in find_person(db, who)] == [alias(1)]


def test_part_of_a_name_lists_everybody_it_may_mean(db: Database) -> None:
    with pytest.raises(UsageError, match="may mean several") as caught:
        the_person(db, "ada")
    assert alias(1) in caught.value.message
    assert alias(2) in caught.value.message


def test_percent_and_underscore_are_letters_of_a_name(db: Database) -> None:
    assert the_person(db, "50%") == 2
    assert find_person(db, "%") == find_person(db, "50%")
    assert find_person(db, "_") == []


@pytest.mark.parametrize("who", ["99", "@nobody", "nobody@example.test", "Zeno", " ", "9" * 40])
def test_nobody_is_not_found(db: Database, who: str) -> None:
    with pytest.raises(NotFound, match="nobody like"):
        the_person(db, who)


def test_a_merged_person_is_found_as_whom_they_live_on_as(db: Database) -> None:
    db.run(lambda tx: tx.execute("UPDATE person SET merged_into = 1 WHERE id = 2"))
    assert the_person(db, "2") == the_person(db, alias(2)) == 1


def test_the_path_between_two_identifiers_names_each_link_and_its_source(db: Database) -> None:
    found = why_linked(db, "@ada", "linkedin.com/in/ada-l")
    assert found.joined
    assert [(s.shown_from, s.shown_to, s.source, s.status, s.evidence) for s in found.steps] == [
        ("@ada", "ada@example.test", "crm", "active", {"line": 2}),
        ("ada@example.test", "in/ada-l", "crm", "active", {"line": 3}),
    ]


def test_what_keeps_two_persons_apart_is_told_too(db: Database) -> None:
    found = why_linked(db, "@bo", "@cy")
    assert not found.joined
    assert [s.status for s in found.steps] == ["active", "held_degree"]


def test_strangers_have_no_path(db: Database) -> None:
    found = why_linked(db, "@ada", "@adam")
    assert (found.joined, list(found.steps), found.person_a, found.person_b) == (False, [], 1, 2)


def test_an_unknown_identifier_has_no_path(db: Database) -> None:
    with pytest.raises(NotFound):
        why_linked(db, "@ada", "@nobody")
    with pytest.raises(UsageError):
        why_linked(db, "@ada", "Lovelace")


def test_hubs_and_open_proposals_are_listed(db: Database, tmp_path: Path) -> None:
    path = tmp_path / "more.csv"
    path.write_text("twitter,linkedin\n@adam,in/ada-l\n", encoding="utf-8")
    run_import(db, Order(path=str(path), source="list"), pepper="p", now=NOW)
    (proposal,) = db.run(lambda tx: identities.open_proposals(tx, 10))
    assert {proposal["person_a"], proposal["person_b"]} == {1, 2}
    hubs = db.run(lambda tx: identities.hubs(tx, 3))
    assert ("info@example.test", 1, 1) in [(hub["shown"], hub["active"], hub["held"]) for hub in hubs]
