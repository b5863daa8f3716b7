"""Segments against a real database: whom a condition holds for, and that the list is frozen."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from outreach.audience.importing import Order, run_import
from outreach.audience.segments import create_segment, list_segments, show_segment
from outreach.errors import NotFound, UsageError
from outreach.models.base import Database
from outreach.peppers import Peppers

pytestmark = pytest.mark.servers

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
PEPPER = "test-pepper"
CRM = """key,name,twitter,email,linkedin,address,country,zone,invented,category,followers
1,Ada,@ada,ada@example.test,in/ada,,DE,Europe/Berlin,,defi,1500
2,Bob,@bob,,company/bob,,FR,,yes,nft,"1,500"
3,Cy,,cy@example.test,,0x1111111111111111111111111111111111111111,,,,defi,-3.5
4,100% Di_,@di,,,,DE,,,,
"""
LIST = "twitter\n@ada\n@eve\n"


@pytest.fixture(autouse=True)
def audience(db: Database, tmp_path: Path) -> None:
    """Five people of two sources; one has opted in by email."""
    for source, text, basis in (
        ("crm", CRM, None),
        ("list", LIST, None),
        ("form", "email\nada@example.test\n", "opt_in"),
    ):
        path = tmp_path / f"{source}.csv"
        path.write_text(text, encoding="utf-8")
        run_import(
            db,
            Order(path=str(path), source=source, basis=basis, proof=basis and "form 7"),
            pepper=PEPPER,
            now=NOW,
        )


def names(db: Database, where: str) -> set[str | None]:
    segment = create_segment(db, f"s{abs(hash(where))}", where, NOW)
    return {member.name for member in show_segment(db, segment.name)[1]}


EVE = None


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("everybody", {"Ada", "Bob", "Cy", "100% Di_", EVE}),
        ("source = crm", {"Ada", "Bob", "Cy", "100% Di_"}),
        ("source = crm and source = list", {"Ada"}),
        ("not source = crm", {EVE}),
        ("twitter exists", {"Ada", "Bob", "100% Di_", EVE}),
        ("linkedin exists", {"Ada"}),
        ("linkedin_slug exists", {"Ada", "Bob"}),
        ("xmtp exists or email = CY@example.test", {"Cy"}),
        ("twitter_handle in (x.com/Ada, @bob)", {"Ada", "Bob"}),
        ("country = de", {"Ada", "100% Di_"}),
        ("country != DE", {"Bob", "Cy", EVE}),
        ("country != DE and country exists", {"Bob"}),
        ("country not in (DE, FR)", {"Cy", EVE}),
        ("not country exists", {"Cy", EVE}),
        ("zone = Europe/Berlin", {"Ada"}),
        ("invented = true", {"Bob"}),
        ("invented != true and attribute.category = defi", {"Ada", "Cy"}),
        ("attribute.category exists", {"Ada", "Bob", "Cy"}),
        ("attribute.category != defi", {"Bob", "100% Di_", EVE}),
        ("attribute.category contains EF", {"Ada", "Cy"}),
        ("name contains '%'", {"100% Di_"}),
        ("name contains '_'", {"100% Di_"}),
        ("attribute.followers > 1000", {"Ada"}),
        ("attribute.followers < 0", {"Cy"}),
        ("attribute.category > 3", set()),
        ("basis = opt_in", {"Ada"}),
        ("basis exists", {"Ada"}),
        ("import = 2", {"Ada", EVE}),
        ("entity_type = person and (name = Bob or name = Cy)", {"Bob", "Cy"}),
        ('name = "\'; DROP TABLE person; --"', set()),
    ],
)
def test_a_condition_holds_for_whom_it_says(db: Database, where: str, expected: set[str | None]) -> None:
    assert names(db, where) == expected


def test_a_segment_is_frozen(db: Database, tmp_path: Path) -> None:
    create_segment(db, "germans", "country = DE", NOW)
    db.run(lambda tx: tx.execute("UPDATE person SET country = 'FR'"))
    segment, members = show_segment(db, "germans")
    assert (segment.members, {m.name for m in members}) == (2, {"Ada", "100% Di_"})
    assert (segment.where, segment.built_at) == ("country = DE", NOW)


def test_a_segment_may_build_on_another(db: Database) -> None:
    create_segment(db, "germans", "country = DE", NOW)
    assert names(db, "segment = germans and not email exists") == {"100% Di_"}


def test_who_opted_out_is_counted_and_kept_out(db: Database) -> None:
    db.run(
        lambda tx: tx.execute(
            "UPDATE person SET suppressed_at = %s, suppression_reason = 'stop' WHERE name = 'Bob'", (NOW,)
        )
    )
    hmac = Peppers.of(PEPPER).digest("email", "cy@example.test")
    db.run(
        lambda tx: tx.execute(
            "INSERT INTO suppression (hmac, reason, source, at) VALUES (%s, 'stop', 'reply', %s)", (hmac, NOW)
        )
    )
    db.run(lambda tx: tx.execute("UPDATE person SET erased_at = %s WHERE name IS NULL", (NOW,)))
    segment = create_segment(db, "all", "everybody", NOW)
    assert (segment.members, dict(segment.kept_out)) == (2, {"suppressed": 2, "erased": 1})


def test_a_merged_person_stands_in_no_new_segment(db: Database) -> None:
    db.run(lambda tx: tx.execute("UPDATE person SET merged_into = 1 WHERE name = 'Bob'"))
    assert create_segment(db, "all", "everybody", NOW).members == 4


def test_a_name_is_taken_once(db: Database) -> None:
    create_segment(db, "all", "everybody", NOW)
    with pytest.raises(UsageError, match="a segment all already"):
        create_segment(db, "all", "country = DE", NOW)
    assert [(s.name, s.members) for s in list_segments(db)] == [("all", 5)]


@pytest.mark.parametrize("name", ["", "a b", "-x", "x" * 101, "ü", "a;b"])
def test_a_name_that_is_hard_to_type_is_refused(db: Database, name: str) -> None:
    with pytest.raises(UsageError, match="no name for a segment"):
        create_segment(db, name, "everybody", NOW)


def test_an_unknown_segment_is_not_found(db: Database) -> None:
    with pytest.raises(NotFound, match="no segment nobody"):
        show_segment(db, "nobody")
