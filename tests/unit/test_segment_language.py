"""The words of `--where`: what they mean, and how a slip is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outreach.audience.segment_language import parse_condition
from outreach.errors import UsageError
from outreach.models.segments import FIELDS, All, AnyOf, Condition, Not, Test, condition_sql


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("source = solana-directory", Test("source", "=", ("solana-directory",))),
        ("twitter exists", Test("twitter", "exists")),
        ("country in (DE, France, uk)", Test("country", "in", ("DE", "FR", "GB"))),
        ("zone NOT IN ('Europe/Berlin')", Test("zone", "not in", ("Europe/Berlin",))),
        ("attribute.category = defi", Test("attribute.category", "=", ("defi",))),
        ("attribute.Job-Title contains 'head of'", Test("attribute.Job-Title", "contains", ("head of",))),
        ("attribute.followers >= 1000", Test("attribute.followers", ">=", ("1000",))),
        ("name <> 'O''Neil'", Test("name", "!=", ("O'Neil",))),
        ('name = "say ""hi"""', Test("name", "=", ('say "hi"',))),
        ("invented = FALSE", Test("invented", "=", ("false",))),
        ("twitter_handle = https://x.com/Ada", Test("twitter_handle", "=", ("ada",))),
        ("email = Ada@Example.TEST", Test("email", "=", ("ada@example.test",))),
        ("everybody", All(())),
    ],
)
def test_a_test_says_what_it_says(text: str, expected: Condition) -> None:
    assert parse_condition(text) == expected


A, B, C = Test("country", "=", ("DE",)), Test("source", "=", ("b",)), Test("basis", "=", ("opt_in",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("country = DE and source = b or basis = opt_in", AnyOf((All((A, B)), C))),
        ("country = DE and (source = b or basis = opt_in)", All((A, AnyOf((B, C))))),
        ("not country = DE and source = b", All((Not(A), B))),
        ("not (country = DE and source = b)", Not(All((A, B)))),
        ("country = DE AND source = b And basis = opt_in", All((A, B, C))),
    ],
)
def test_not_binds_before_and_and_and_before_or(text: str, expected: Condition) -> None:
    assert parse_condition(text) == expected


@pytest.mark.parametrize(
    ("text", "character", "message", "hint"),
    [
        ("contry = DE", 1, "no field is named 'contry'", "did you mean country?"),
        ("country = DE and sorce = b", 18, "no field is named 'sorce'", "did you mean source?"),
        ("category = defi", 1, "no field is named 'category'", "attribute.category"),
        ("country is DE", 9, "no comparison is written 'is'", "comparisons:"),
        ("country in DE", 12, "in wants a list", "country in (DE, FR)"),
        ("country in (DE FR)", 16, "the list is not closed", "write , or )"),
        ("country = Narnia", 11, "not a country", "DE"),
        ("basis = optin", 9, "basis is never 'optin'", "did you mean opt_in?"),
        ("twitter = ada", 1, "twitter is a channel", "twitter_handle"),
        ("email = nonsense", 9, "not an email", ""),
        ("attribute.n > many", 15, "compares numbers", ""),
        ("(source = b", 12, "a parenthesis is not closed", "write )"),
        ("source = b)", 11, "not expected here", "and, or"),
        ("source = b country = DE", 12, "not expected here", "and, or"),
        ("source =", 9, "a value is missing here", "quotes"),
        ("source", 7, "a comparison is missing here", "comparisons:"),
        ("source = 'b", 10, "cannot read", "quotes"),
        ("not", 4, "a field is missing here", ""),
        ("", 1, "there is no condition", "everybody"),
        ("'; DROP TABLE person; --", 1, "cannot read", ""),
    ],
)
def test_a_slip_is_shown_where_it_is(text: str, character: int, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_condition(text)
    first, shown, caret = caught.value.message.split("\n")
    assert first.startswith(f"character {character}: ")
    assert message in first
    assert hint in (caught.value.hint or "")
    assert shown.strip() == text.strip()
    assert caret.index("^") == character - 1 + 2


@pytest.mark.parametrize(
    "text",
    ["(" * 40 + "everybody" + ")" * 40, "not " * 40 + "everybody", "source = b or " * 400 + "everybody"],
)
def test_what_nobody_would_write_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_condition(text)


@given(st.text(max_size=60) | st.text(alphabet="()=<>!', andornotexists.attribute", max_size=60))
def test_any_text_is_a_condition_or_a_usage_error(text: str) -> None:
    try:
        condition = parse_condition(text)
    except UsageError:
        return
    sql, params = condition_sql(condition)
    assert sql.count("%s") == len(params)


@given(
    st.sampled_from(sorted(set(FIELDS) - {"twitter", "linkedin", "xmtp"})),
    st.sampled_from(["=", "!=", "contains", "in", "not in"]),
    st.text(),
)
def test_no_value_ever_becomes_sql(field: str, operator: str, value: str) -> None:
    mark = f"§{value}§"
    sql, params = condition_sql(Test(field, operator, (mark,)))  # type: ignore[arg-type]
    assert "§" not in sql
    assert sql.count("%s") == len(params) == 1


def test_an_attribute_name_is_a_parameter_too() -> None:
    sql, params = condition_sql(Test("attribute.n') OR true --", ">", ("3",)))
    assert "true" not in sql
    assert params == ["n') OR true --"] * 2 + ["3"]
