"""Lists of permissions: what a row must say, how dates are read, what is refused and with which words."""

from datetime import UTC, datetime
from typing import Any

import pytest

from outreach.audience.consent_rows import Columns, ConsentRow, read_consent, read_date
from outreach.audience.identifiers import Rejected
from outreach.audience.reading import Record
from outreach.audience.rows import Reject
from outreach.errors import UsageError

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
GOOD = {
    "identifier": "@Ada", "channel": "twitter", "basis": "opt in", "source": "web form", "obtained_at": "2025-05-03", "proof": "row 7",
    "country": "Austria", "expiry": "2027-05-03",
}  # fmt: skip


def read(**cells: Any) -> ConsentRow | Reject:
    return read_consent(Record(line=3, cells=GOOD | cells), Columns({}), NOW)


def refused(**cells: Any) -> tuple[str, str]:
    found = read(**cells)
    assert isinstance(found, Reject), found
    assert found.line == 3
    return found.column, found.reason


def test_a_whole_row() -> None:
    found = read()
    assert isinstance(found, ConsentRow)
    assert (found.identifier.value, found.channel, found.basis, found.source, found.proof, found.country) == (
        "ada", "twitter", "opt_in", "web form", "row 7", "AT"
    )  # fmt: skip
    assert found.obtained_at == datetime(2025, 5, 3, tzinfo=UTC)
    assert found.expires_at == datetime(2027, 5, 3, tzinfo=UTC)


@pytest.mark.parametrize("blank", ["", "  ", "n/a", "-", None])
@pytest.mark.parametrize("column", ["identifier", "basis", "source", "obtained_at", "proof"])
def test_what_cannot_be_told_is_refused(column: str, blank: str | None) -> None:
    found_column, reason = refused(**{column: blank})
    assert (found_column, "missing" in reason) == (column, True)


@pytest.mark.parametrize("column", ["channel", "country", "expiry"])
def test_what_may_be_left_out(column: str) -> None:
    found = read(**{column: ""})
    assert isinstance(found, ConsentRow)
    assert found.channel == "twitter"


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({"basis": "optin"}, ("basis", "no basis that we know")),
        ({"basis": "inbound"}, ("basis", "no basis that we know")),
        ({"channel": "fax"}, ("channel", "no channel of ours")),
        ({"channel": "email"}, ("channel", "an identifier of twitter, and the row says email")),
        ({"obtained_at": "2026-01-06"}, ("obtained_at", "a date that is still to come")),
        ({"obtained_at": "05/03/2025"}, ("obtained_at", "a date that may be read in two ways")),
        ({"obtained_at": "45780"}, ("obtained_at", "not a date")),
        ({"obtained_at": "last May"}, ("obtained_at", "not a date")),
        ({"obtained_at": "0203-05-03"}, ("obtained_at", "not a date of our time")),
        ({"expiry": "2025-05-03"}, ("expiry", "it ends before it begins")),
        ({"country": "Atlantis"}, ("country", "not a country")),
        ({"identifier": "=cmd|' /C calc'!A0"}, ("identifier", "a spreadsheet formula")),
        ({"identifier": "company/acme", "channel": ""}, ("identifier", "'company/acme' does not look like an identifier")),
        ({"identifier": "https://linkedin.com/company/acme", "channel": ""}, ("identifier", "nothing reaches it")),
        ({"source": "a\0b"}, ("", "a zero character in a cell")),
    ],
)  # fmt: skip
def test_refusals(cells: dict[str, str], expected: tuple[str, str]) -> None:
    assert refused(**cells) == expected


@pytest.mark.parametrize(
    "identifier",
    [
        '=HYPERLINK("mailto:ada@example.test";"ada@example.test")',
        "Ada <ADA@example.test>",
        "mailto:ada@example.test",
    ],
)
def test_spellings_of_a_mailbox(identifier: str) -> None:
    for channel in ("email", ""):
        found = read(identifier=identifier, channel=channel)
        assert isinstance(found, ConsentRow), found
        assert (found.identifier.value, found.channel) == ("ada@example.test", "email")


def test_templates_and_markup_are_words_like_any_others() -> None:
    found = read(source="{{7*7}}", proof="<script>alert(1)</script>")
    assert isinstance(found, ConsentRow)
    assert (found.source, found.proof) == ("{{7*7}}", "<script>alert(1)</script>")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-05-03", "2025-05-03T00:00:00+00:00"),
        ("03.05.2025", "2025-05-03T00:00:00+00:00"),
        ("3.5.2025 9:30", "2025-05-03T09:30:00+00:00"),
        ("2025-05-03T10:00:00+02:00", "2025-05-03T08:00:00+00:00"),
        ("2025-05-03 10:00 UTC", "2025-05-03T10:00:00+00:00"),
        ('="2025-05-03"', "2025-05-03T00:00:00+00:00"),
    ],
)
def test_dates(text: str, expected: str) -> None:
    assert read_date(text) == datetime.fromisoformat(expected)


@pytest.mark.parametrize(
    "text", ["31.02.2025", "2025-13-01", "9999-12-31T23:00:00-23:00", "1e9", "²025-05-03"]
)
def test_no_dates(text: str) -> None:
    assert isinstance(read_date(text), Rejected)


def test_columns_are_known_by_their_usual_names_and_the_rest_is_said() -> None:
    columns = Columns.of(["Wann=obtained_at"])
    assert columns.require(["E-Mail", "basis", "Source", "Wann", "proof", "Valid until", "name"]) == ["name"]


@pytest.mark.parametrize(
    ("columns", "mappings", "words"),
    [
        (["email", "basis", "source", "proof"], [], "no column is obtained_at"),
        (
            ["email", "handle", "basis", "source", "proof", "date"],
            [],
            "email and handle both mean identifier",
        ),
        (["email", "basis", "source", "proof", "date"], ["Datum=obtained_at"], "no column 'Datum' to map"),
    ],
)
def test_columns_that_cannot_be_right(columns: list[str], mappings: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Columns.of(mappings).require(columns)
    with pytest.raises(UsageError, match="no such field"):
        Columns.of(["a=when"])
