"""Aliases stand for one person each, and back."""

from hypothesis import given
from hypothesis import strategies as st

from outreach.audience.aliases import alias, person_id_of

IDS = st.integers(min_value=0, max_value=10**10)


@given(IDS)
def test_an_alias_leads_back_to_its_person(person_id: int) -> None:
    assert person_id_of(alias(person_id)) == person_id
    assert person_id_of(alias(person_id).upper()) == person_id


@given(IDS, IDS)
def test_two_persons_have_two_aliases(one: int, other: int) -> None:
    assert (alias(one) == alias(other)) == (one == other)


def test_neighbours_look_unlike() -> None:
    assert len({alias(n).rsplit("-", 1)[0] for n in range(1, 200)}) > 190


def test_other_words_are_no_alias() -> None:
    for text in (
        "amber-otter",
        "amber-lamp-412",
        "otter-amber-412",
        "amber-otter-12",
        "Ada Lovelace",
        "",
        "412",
    ):
        assert person_id_of(text) is None


def test_an_alias_never_changes() -> None:
    assert [alias(n) for n in (1, 2, 5_000_000)] == ["mild-kestrel-433", "early-tapir-866", "modest-cat-1000"]
