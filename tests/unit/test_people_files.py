"""Files of people as programs write them: delimiters, encodings, dirt, and what is refused with which words."""

import io
import json
from pathlib import Path

import pytest

from outreach.audience import reading
from outreach.audience.reading import BadLine, Record, open_table
from outreach.audience.rows import Columns, Reject, Row, parse_columns, read_row
from outreach.errors import UsageError

HEADER = "name,twitter,email\n"


def records(path: Path) -> list[Record | BadLine]:
    with open_table(str(path)) as table:
        return list(table.records)


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def understood(**cells: object) -> tuple[Row | None, list[Reject]]:
    return read_row(Record(line=2, cells=cells), Columns({}))


# --- reading ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_usual_spreadsheet_exports_read_alike(
    tmp_file: Path, delimiter: str, encoding: str, end: str
) -> None:
    text = end.join(
        [
            delimiter.join(["name", "twitter"]),
            delimiter.join(['"Zoë, Ж"' if encoding != "cp1252" else '"Zoë, é"', "@zoe"]),
            "",
        ]
    )
    (record,) = records(written(tmp_file, text.encode(encoding)))
    assert isinstance(record, Record)
    assert record.line == 2
    assert record.cells["twitter"] == "@zoe"
    assert record.cells["name"].startswith("Zoë, ")


def test_a_record_is_known_by_the_line_on_which_it_begins(tmp_file: Path) -> None:
    text = HEADER + '"two\nlines",@ada,\n\n,@bob,\n'
    assert [r.line for r in records(written(tmp_file, text))] == [2, 5]


def test_a_row_with_more_cells_than_columns_is_a_bad_line(tmp_file: Path) -> None:
    (bad,) = records(written(tmp_file, HEADER + "Lovelace, Ada,@ada,a@example.test\n"))
    assert isinstance(bad, BadLine)
    assert (bad.line, "4 cells under 3 columns" in bad.reason) == (2, True)


def test_json_lines_are_flattened_and_bad_ones_told_by_line(tmp_file: Path) -> None:
    lines = ['{"social": {"twitter": "@ada"}, "n": 1}', "", "[1]", "{", '{"n": NaN}', "[" * 100_000]
    found = records(written(tmp_file, "\n".join(lines)))
    assert found[0] == Record(line=1, cells={"social.twitter": "@ada", "n": 1})
    assert [b.line for b in found[1:]] == [3, 4, 5, 6]
    assert all(isinstance(b, BadLine) for b in found[1:])


def test_standard_input_is_read_like_a_file() -> None:
    with open_table("-", io.BytesIO(b"twitter\n@ada\n")) as table:
        assert (table.name, [r.line for r in table.records]) == ("standard input", [2])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b" \n\n", "nothing but blanks"),
        (b"\x89PNG\r\n\0\0\0", "is binary"),
        ("name,twitter\n".encode("utf-16-le"), "UTF-16 without a byte order mark"),
        ("name,twitter\n".encode("utf-16-be"), "UTF-16 without a byte order mark"),
        ("name,twitter\n".encode("utf-32"), "is UTF-32"),
        (b"PK\x03\x04\x14\0", "is a workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "is a workbook"),
        (b"%PDF-1.7\n", "is a PDF"),
        (b"name,twitter\n", "a header and no row"),
        (b"sep=;\nname;twitter\n\n", "a header and no row"),
        (b"name,twitter\n\x81\xff,@ada\n", "neither UTF-8 nor Windows-1252"),
        (b'[{"twitter": "@ada"}]', "one JSON array"),
        (b'name,twitter\n"Ada,@ada\n', "line 2"),
        (b"name,twitter,twitter\nA,@a,@b\n", "two columns named twitter"),
    ],
)
def test_a_file_that_is_no_table_is_refused_in_words(tmp_file: Path, content: bytes, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        records(written(tmp_file, content))
    assert words in caught.value.message
    assert caught.value.hint, "what to do stands beside what is wrong"


def test_a_missing_file_and_a_folder_are_refused_in_words(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            records(path)


def test_a_huge_cell_and_a_huge_file_are_refused(tmp_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="line 2"):
        records(written(tmp_file, HEADER + "x" * (reading.MAX_FIELD + 1) + ",@ada,\n"))
    with pytest.raises(UsageError, match="longer than"):
        records(written(tmp_file, json.dumps({"twitter": "x" * reading.MAX_FIELD})))
    monkeypatch.setattr(reading, "MAX_BYTES", 100)
    with pytest.raises(UsageError, match="larger than"):
        records(written(tmp_file, HEADER + "A,@ada,\n" * 100))


# --- columns ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "field"),
    [
        ("Twitter", "twitter"),
        ("E-Mail", "email"),
        ("Email Address", "email"),
        (" Time Zone ", "zone"),
        ("X", "twitter"),
        ("favourite colour", None),
    ],
)
def test_columns_are_known_by_their_usual_names(column: str, field: str | None) -> None:
    assert Columns({}).field_of(column) == field


def test_the_users_word_for_a_column_comes_first() -> None:
    columns = parse_columns(["Twitter=ignore", "a=b=email"])
    assert columns.field_of("Twitter") == "ignore"
    assert columns.field_of("a=b") == "email"


@pytest.mark.parametrize(
    ("mapping", "hint"),
    [("x=twiter", "did you mean twitter?"), ("twitter", "did you mean twitter?"), ("x=", "fields:")],
)
def test_a_mapping_to_no_field_is_refused(mapping: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_columns([mapping])
    assert hint in str(caught.value)


def test_a_file_without_a_header_is_told_from_one_with() -> None:
    with pytest.raises(UsageError, match="no column identifies anybody") as caught:
        Columns({}).require(["Ada", "@ada", "ada@example.test"])
    assert "header" in (caught.value.hint or "")


def test_a_column_is_kept_under_the_name_that_a_template_speaks() -> None:
    record = Record(line=2, cells={"X": "@ada", "Firma": "Müller", "Land": "DE"})
    row, rejects = read_row(record, parse_columns(["Firma=attribute.company"]))
    assert row is not None and row.attributes == {"company": "Müller", "Land": "DE"} and not rejects
    with pytest.raises(UsageError, match="no such field"):
        parse_columns(["Firma=attribute.a-b"])


def test_a_mapped_column_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="no column 'twiter handle'") as caught:
        parse_columns(["twiter handle=twitter"]).require(["twitter handle", "name"])
    assert caught.value.hint == "did you mean twitter handle?"


# --- rows ---------------------------------------------------------------------------------------------------


def test_a_row_says_who_and_the_rest_are_attributes() -> None:
    row, rejects = understood(
        name="Ada",
        twitter="@Ada",
        email="ada@example.test",
        timezone="europe/london",
        country="uk",
        invented="yes",
        entity_type="Company",
        stage="A",
        note="",
        n=3,
    )
    assert row is not None
    assert [i.value for i in row.identifiers] == ["ada", "ada@example.test"]
    assert (row.name, row.zone, row.country, row.invented, row.entity_type) == (
        "Ada",
        "Europe/London",
        "GB",
        True,
        "organisation",
    )
    assert (dict(row.attributes), rejects) == ({"stage": "A", "n": 3}, [])


@pytest.mark.parametrize(
    "name",
    [
        "{{7*7}}",
        "<script>alert(1)</script>",
        '=CMD("calc")',
        "'; DROP TABLE person; --",
        "Null",
        "  two  blanks ",
    ],
)
def test_a_hostile_name_is_data_and_kept_verbatim(name: str) -> None:
    row, _ = understood(name=name, twitter="@ada", note=name)
    assert row is not None
    assert row.name == name
    assert row.attributes["note"] == name


def test_namibia_is_a_country_and_no_placeholder() -> None:
    row, rejects = understood(twitter="@ada", country="NA", email="n/a")
    assert row is not None
    assert (row.country, rejects) == ("NA", [])


def test_a_bad_cell_is_left_out_and_the_row_goes_on() -> None:
    row, rejects = understood(
        twitter="https://t.me/ada",
        email="ada@example.test",
        zone="Europe/Berln",
        country="Narnia",
        invented="perhaps",
    )
    assert row is not None
    assert [i.kind for i in row.identifiers] == ["email"]
    assert {r.column: r.hint for r in rejects} == {
        "twitter": None,
        "zone": "did you mean Europe/Berlin?",
        "country": "two letters, as in DE (ISO 3166)",
        "invented": None,
    }


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"name": "Ada", "email": "n/a"}, "nothing in this row identifies anybody"),
        ({"twitter": "@ada", "note": "a\0b"}, "a zero character in a cell"),
        ({"twitter": "@ada", "note": ["\ud800"]}, "half of a surrogate pair in a cell"),
        ({"twitter": "@ada", "note": 1e999}, "a number that no database can hold"),
    ],
)
def test_a_row_that_cannot_be_kept_is_rejected_whole(cells: dict[str, object], reason: str) -> None:
    row, rejects = understood(**cells)
    assert row is None
    assert (rejects[-1].column, rejects[-1].reason) == ("", reason)


def test_a_backslash_is_no_zero_character() -> None:
    assert understood(twitter="@ada", note="\\u0000")[0] is not None


def test_json_lists_and_numbers_are_read() -> None:
    row, _ = understood(email=["a@example.test", "b@example.test"], twitter_id=12)
    assert row is not None
    assert [i.value for i in row.identifiers] == ["12", "a@example.test", "b@example.test"]


def test_the_same_record_has_the_same_key_in_every_spelling_and_with_every_attribute() -> None:
    one, _ = understood(twitter="@Ada", email="ADA@example.test", note="old")
    two, _ = understood(email="ada@example.test", twitter="x.com/ada", note="new")
    three, _ = understood(twitter="@ada")
    assert one is not None
    assert two is not None
    assert three is not None
    assert one.key == two.key != three.key


def test_a_record_with_a_key_of_its_own_keeps_it() -> None:
    row, _ = understood(key="crm-7", twitter="@ada")
    assert row is not None
    assert row.key == "crm-7"


# --- spreadsheets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "handle"),
    [
        ('=HYPERLINK("https://x.com/bob","@bob")', "bob"),
        ('=HYPERLINK("https://x.com/bob";"@bob")', "bob"),
        ('=hyperlink( "https://x.com/bob" , "see Bob" )', "bob"),
        ('=HYPERLINK("https://x.com/bob")', "bob"),
        ('="@bob"', "bob"),
    ],
)
def test_a_spreadsheets_link_is_read_as_what_it_shows(cell: str, handle: str) -> None:
    row, rejects = understood(twitter=cell)
    assert row is not None
    assert ([i.value for i in row.identifiers], rejects) == ([handle], [])


def test_a_link_in_any_other_column_is_its_text() -> None:
    row, _ = understood(
        twitter="@ada", name='=HYPERLINK("https://x.com/a";"Ada ""the"" A")', note='=HYPERLINK("u","n")'
    )
    assert row is not None
    assert (row.name, dict(row.attributes)) == ('Ada "the" A', {"note": "n"})


def test_a_mail_link_is_a_mailbox() -> None:
    row, _ = understood(email='=HYPERLINK("mailto:ada@example.test","write to her")')
    assert row is not None
    assert [i.value for i in row.identifiers] == ["ada@example.test"]


def test_a_link_whose_text_names_somebody_else_names_nobody() -> None:
    row, rejects = understood(email="ada@example.test", twitter='=HYPERLINK("https://x.com/eve","@bob")')
    assert row is not None
    assert [i.value for i in row.identifiers] == ["ada@example.test"]
    assert "text names one" in rejects[0].reason


@pytest.mark.parametrize("cell", ["=1+1", "=A2", '=CMD("calc")'])
def test_any_other_formula_identifies_nobody_and_is_called_one(cell: str) -> None:
    row, rejects = understood(email="ada@example.test", twitter=cell)
    assert row is not None
    assert [i.value for i in row.identifiers] == ["ada@example.test"]
    assert rejects[0].reason == "a spreadsheet formula"


def test_excels_own_first_line_names_the_delimiter_and_counts_as_a_line(tmp_file: Path) -> None:
    text = 'sep=;\r\nname;twitter\r\n"Ada; B";@ada\r\nC;@c;x\r\n'
    first, second = records(written(tmp_file, text.encode("cp1252")))
    assert first == Record(line=3, cells={"name": "Ada; B", "twitter": "@ada"})
    assert isinstance(second, BadLine) and second.line == 4


def test_a_file_that_breaks_off_in_its_middle_gives_no_row_at_all(tmp_file: Path) -> None:
    path = written(tmp_file, "name,twitter\n" + "A,@a\n" * 1000 + '"B,@b\n')
    with pytest.raises(UsageError, match="line 1002"), open_table(str(path)):
        pytest.fail("the table opened")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (("Vorname", "Twittter"), "did you mean --map Twittter=twitter?"),
        (("e-mial", "First Name"), "did you mean --map e-mial=email?"),
        (("Eth Adress",), "did you mean --map 'Eth Adress'=evm_address?"),
        (("a", "b"), "is the header missing?"),
    ],
)
def test_other_columns_bring_up_what_they_may_mean_and_what_is_known(
    columns: tuple[str, ...], words: str
) -> None:
    with pytest.raises(UsageError) as caught:
        Columns({}).require(columns)
    assert ", ".join(columns) in caught.value.message
    assert words in (caught.value.hint or "")
    assert "linkedin" in (caught.value.hint or "")
