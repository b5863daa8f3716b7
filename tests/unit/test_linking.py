"""Which identities of a file are one person: the partition, its independence of order, and every guard."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outreach.audience.identifiers import Identifier, IdentityKind, normalise
from outreach.audience.linking import SIZE_CAP, Known, Linking, LinkStatus, link_rows
from outreach.audience.rows import Row
from outreach.models.identities import KnownIdentity, KnownPerson

FIELD_OF = {"@": "twitter", "#": "twitter_id", "m": "email", "0": "evm_address", "l": "linkedin"}


def identifier(word: str) -> Identifier:
    """`@ada`, `#12`, `mail@example.test` (words beginning with m), `0x…`, `linkedin.com/…`."""
    field = "email" if "@" in word[1:] else FIELD_OF[word[0]]
    reading = normalise(field, word.removeprefix("#"))
    assert isinstance(reading, Identifier), reading
    return reading


def wallet(number: int) -> str:
    return f"0x{number:040x}"


def rows(*lines: str, entity_type: str = "person") -> list[Row]:
    return [
        Row(
            line=n,
            identifiers=tuple(
                sorted(map(identifier, line.split()), key=lambda i: list(IdentityKind).index(i.kind))
            ),
            key=line,
            attributes={},
            entity_type=entity_type,
        )
        for n, line in enumerate(lines, 2)
    ]


def persons(linking: Linking) -> set[frozenset[str]]:
    return {frozenset(linking.identifiers[n].value for n in g.members) for g in linking.partition.groups()}


def statuses(linking: Linking) -> list[str]:
    return [str(link.status) for link in linking.links]


def known(
    identities: Mapping[str, int],
    *,
    links: Mapping[tuple[str, str], str] | None = None,
    status: str = "active",
) -> Known:
    """Identities by the word that writes them -> person. Their ids count from 1."""
    ids = {word: n for n, word in enumerate(identities, 1)}
    found = {word: identifier(word) for word in identities}
    unique = {
        p: {str(i.kind): i.value for w, i in found.items() if identities[w] == p and i.kind == "twitter_id"}
        for p in identities.values()
    }
    return Known(
        identities=[
            KnownIdentity(
                id=ids[w], kind=i.kind, value=i.value, person_id=identities[w], status=status, hmac=w
            )
            for w, i in found.items()
        ],
        persons=[
            KnownPerson(id=p, size=list(identities.values()).count(p), unique=unique[p], suppressed=False)
            for p in sorted(set(identities.values()))
        ],
        links={(min(ids[a], ids[b]), max(ids[a], ids[b])): s for (a, b), s in (links or {}).items()},
    )


def test_rows_that_share_an_identifier_are_one_person() -> None:
    linking = link_rows(rows("@ada ma@example.test", f"ma@example.test {wallet(5)}", "@bob"), Known())
    assert persons(linking) == {frozenset({"ada", "ma@example.test", wallet(5)}), frozenset({"bob"})}
    assert statuses(linking) == ["active", "active"]


def test_a_row_links_each_of_its_identities_with_each_other_once() -> None:
    linking = link_rows(rows("@ada ma@example.test linkedin.com/in/ada", "@ada ma@example.test"), Known())
    assert len(linking.links) == 3
    assert {link.line for link in linking.links} == {2}


#: Few names and few channels, so that rows meet; every name stays below every cap.
_NAMES = st.sampled_from(["ada", "bob", "cy"])
_ROWS = st.lists(
    st.builds(
        lambda name, channels: " ".join(
            f"@{name}" if c == 0 else f"m{name}@example.test" if c == 1 else f"linkedin.com/in/{name}"
            for c in sorted(channels)
        ),
        _NAMES,
        st.sets(st.integers(0, 2), min_size=1),
    ),
    min_size=1,
    max_size=12,
)


@given(st.data(), _ROWS)
def test_the_order_of_rows_changes_no_partition_where_no_guard_speaks(
    data: st.DataObject, lines: list[str]
) -> None:
    shuffled: Sequence[str] = data.draw(st.permutations(lines))
    one, two = link_rows(rows(*lines), Known()), link_rows(rows(*shuffled), Known())
    assert set(statuses(one)) <= {"active"}
    assert persons(one) == persons(two)


@pytest.mark.parametrize(
    ("lines", "joined"),
    [
        ([f"ma@example.test @h{n}" for n in range(6)], 3),
        ([f"contact@example.test @h{n}" for n in range(6)], 1),
        ([f"{wallet(7)} @h{n}" for n in range(6)], 2),
        ([f"@hub linkedin.com/in/p{n}" for n in range(6)], 3),
    ],
    ids=["email", "role mailbox", "wallet", "handle"],
)
def test_an_identifier_that_too_many_share_joins_no_more_of_them(lines: list[str], joined: int) -> None:
    linking = link_rows(rows(*lines), Known())
    assert statuses(linking) == ["active"] * joined + ["held_degree"] * (6 - joined)
    assert max(g.size for g in linking.partition.groups()) == 1 + joined
    assert len(persons(linking)) == 6 - joined + 1


def test_an_organisation_shares_its_mailbox_among_ten_projects() -> None:
    linking = link_rows(
        rows(*[f"contact@example.test {wallet(n)}" for n in range(20, 40)], entity_type="organisation"),
        Known(),
    )
    assert statuses(linking).count("active") == 10


def test_degrees_that_are_known_count() -> None:
    before = Known(
        identities=known({"ma@example.test": 1}).identities,
        persons=known({"ma@example.test": 1}).persons,
        degrees={(1, "twitter_handle"): 3},
    )
    assert statuses(link_rows(rows("ma@example.test @new"), before)) == ["held_degree"]


def test_two_twitter_ids_are_two_humans() -> None:
    linking = link_rows(rows("#1 @ada", "#2 @ada"), Known())
    assert statuses(linking) == ["active", "held_conflict"]
    assert len(persons(linking)) == 2


def test_a_person_who_has_another_twitter_id_already_is_not_joined() -> None:
    assert statuses(link_rows(rows("@ada #2"), known({"#1": 7, "@ada": 7}))) == ["held_conflict"]


def test_a_person_stops_growing_at_the_size_cap() -> None:
    chain = [
        f"{'@h' if n % 2 == 0 else 'linkedin.com/in/h'}{n // 2} {'@h' if n % 2 else 'linkedin.com/in/h'}{(n + 1) // 2}"
        for n in range(SIZE_CAP + 5)
    ]
    linking = link_rows(rows(*chain), Known())
    assert max(g.size for g in linking.partition.groups()) == SIZE_CAP
    assert "held_size" in statuses(linking)


def test_a_new_identity_is_attached_to_the_person_who_exists() -> None:
    linking = link_rows(rows("@ada ma@example.test"), known({"@ada": 7}))
    assert {g.person_id for g in linking.partition.groups()} == {7}
    assert statuses(linking) == ["active"]


def test_two_persons_who_exist_are_proposed_and_left_apart() -> None:
    linking = link_rows(rows(f"@ada ma@example.test {wallet(9)}"), known({"@ada": 7, "ma@example.test": 3}))
    assert sorted(statuses(linking)) == ["active", "proposed", "proposed"]
    assert [(m.person_a, m.person_b, m.line) for m in linking.would_merge.values()] == [(3, 7, 2)]
    assert {g.person_id: len(g.members) for g in linking.partition.groups()} == {7: 2, 3: 1}


def test_an_open_proposal_is_told_again_and_not_written_again() -> None:
    before = known({"@ada": 7, "ma@example.test": 3}, links={("@ada", "ma@example.test"): "proposed"})
    linking = link_rows(rows("@ada ma@example.test"), before)
    assert (linking.links, linking.known_links, len(linking.would_merge)) == ([], 1, 1)


@pytest.mark.parametrize("status", ["cut", "held_degree", "held_conflict"])
def test_what_was_cut_or_held_stays_so(status: str) -> None:
    before = known({"@ada": 7, "ma@example.test": 3}, links={("@ada", "ma@example.test"): status})
    linking = link_rows(rows("@ada ma@example.test"), before)
    assert (linking.links, linking.would_merge, len(persons(linking))) == ([], {}, 2)


@pytest.mark.parametrize("status", ["shared", "blocked", "closed"])
def test_an_identity_that_a_human_marked_joins_nobody(status: str) -> None:
    assert statuses(
        link_rows(rows("ma@example.test @new"), known({"ma@example.test": 1}, status=status))
    ) == ["held_degree"]


def test_a_row_is_about_the_person_who_holds_most_of_it_and_in_a_draw_not_about_the_hub() -> None:
    lines = rows(*[f"@hub {wallet(n)}" for n in range(20, 26)])
    linking = link_rows(lines, Known())
    hub, last = linking.home_of(lines[0]), linking.home_of(lines[-1])
    assert (hub.size, last.size) == (4, 1)
    assert LinkStatus.HELD_DEGREE in {link.status for link in linking.links}
